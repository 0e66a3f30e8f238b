/// Whom users do not want to hear of.
@ServerActor
public protocol BlockList: AnyObject {
    /// Whether the account has blocked this address, or one that stands for it. XEP-0191 §3.2.
    func isBlocked(_ jid: JID, by account: Account) -> Bool
}
