/// The messages that wait for accounts whose users are away. The archive tells it what a client has read there.
@ServerActor
public protocol OfflineQueue: AnyObject {
    /// How many messages wait for the account.
    func count(of account: Account) -> Int
    /// Lets go of messages, by the ids under which the account's archive keeps them: their user has got them.
    func forget(_ archiveIDs: [String], of account: Account)
}
