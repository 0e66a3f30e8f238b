/// Whom users do not want to hear of.
@ServerActor
public protocol BlockList: AnyObject {
    /// Whether the account has blocked this address, or one that stands for it. XEP-0191 §3.2.
    func isBlocked(_ jid: JID, by account: Account) -> Bool
}

/// A user blocks an address, whether or not it was blocked before.
public struct BlockEvent {
    public let account: Account
    public let jid: JID
    /// The item that asked for it, with whatever else it says. XEP-0191 §3.3.
    public let item: Element

    public init(account: Account, jid: JID, item: Element) {
        self.account = account
        self.jid = jid
        self.item = item
    }
}

extension Hook where Event == BlockEvent {
    /// A user blocks an address: observe. What is written now is on disk before the user gets the result.
    public static var addressBlocked: Self { Hook("address-blocked") }
}
