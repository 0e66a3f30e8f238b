/// What the roster tells others about an account's contacts.
@ServerActor
public protocol ContactList: AnyObject {
    /// Whether `contact` may see the account's presence: subscription "from" or "both". RFC 6121 §2.1.2.5.
    func hasSubscriber(_ contact: JID, account: Account) -> Bool
    /// The contacts that see the account's presence.
    func subscribers(of account: Account) -> [JID]
    /// The contacts whose presence the account sees: subscription "to" or "both".
    func subscriptions(of account: Account) -> [JID]
    /// Whether the contact is in the roster at all.
    func contains(_ contact: JID, account: Account) -> Bool
    /// Sends what the account missed about subscriptions to a resource that becomes available: requests that still wait
    /// for an answer (RFC 6121 §3.1.3).
    func deliverPendingRequests(to resource: Resource)
}

/// Asks the contacts of an account for their presence, and tells them the account's own. The roster calls it when a
/// subscription changes.
@ServerActor
public protocol PresenceBroadcast: AnyObject {
    /// Shows a contact the presence of all available resources. RFC 6121 §3.1.5.
    func sendPresence(of account: Account, to contact: JID)
    /// Tells a contact that no resource is available any more. RFC 6121 §3.3.3.
    func sendUnavailable(of account: Account, to contact: JID)
}
