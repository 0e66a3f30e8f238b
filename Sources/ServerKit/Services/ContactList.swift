/// A contact as the account's owner sees it. RFC 6121 §2.1.2.
public struct Contact: Sendable, Hashable {
    /// RFC 6121 §2.1.2.5, from the account's point of view.
    public enum Subscription: String, Sendable, Codable, CaseIterable {
        case none, to, from, both

        /// Whether the account sees the contact's presence.
        public var seesContact: Bool { self == .to || self == .both }
        /// Whether the contact sees the account's presence.
        public var isSeenByContact: Bool { self == .from || self == .both }
    }

    public let jid: JID
    public let name: String?
    public let groups: [String]
    public let subscription: Subscription

    public init(jid: JID, name: String?, groups: [String], subscription: Subscription) {
        self.jid = jid
        self.name = name
        self.groups = groups
        self.subscription = subscription
    }
}

/// What the roster tells others about an account's contacts. Addresses may be full; their bare JID counts.
@ServerActor
public protocol ContactList: AnyObject {
    /// The contact, if it is in the roster.
    func contact(_ jid: JID, of account: Account) -> Contact?
    /// All contacts, in no particular order.
    func contacts(of account: Account) -> [Contact]
    /// Whether `contact` may see the account's presence: subscription "from" or "both". RFC 6121 §2.1.2.5.
    func hasSubscriber(_ contact: JID, account: Account) -> Bool
    /// The contacts that see the account's presence.
    func subscribers(of account: Account) -> [JID]
    /// The contacts whose presence the account sees: subscription "to" or "both".
    func subscriptions(of account: Account) -> [JID]
    /// Sends what a resource that becomes available missed about subscriptions: requests that still wait for an answer
    /// (RFC 6121 §3.1.3). Also asks again where the account's own requests went unanswered (RFC 6121 §3.1.2).
    func deliverPendingRequests(to resource: Resource)
    /// Whose requests to subscribe wait for an answer.
    func pendingRequests(of account: Account) -> [JID]
}

extension ContactList {
    public func pendingRequests(of account: Account) -> [JID] { [] }

    /// Whether the contact is in the roster at all.
    public func contains(_ contact: JID, account: Account) -> Bool { self.contact(contact, of: account) != nil }
}

/// Shows an account's presence to others. The roster calls it when a subscription changes.
@ServerActor
public protocol PresenceBroadcast: AnyObject {
    /// Shows a contact the presence of all available resources. RFC 6121 §3.1.5.
    func sendPresence(of account: Account, to contact: JID)
    /// Shows everybody the presence of an available resource anew, because the server has changed something in it.
    func broadcast(_ presence: Presence, from resource: Resource)
    /// Tells a contact that no resource is available any more. RFC 6121 §3.2.2, §3.3.3.
    func sendUnavailable(of account: Account, to contact: JID)
    /// Takes back what some addresses saw of the account, by subscription or by directed presence, as when they are
    /// blocked. XEP-0191 §3.3.
    func hidePresence(of account: Account, from isMeant: (JID) -> Bool)
    /// Shows contacts the presence of the account anew, if they are subscribed to it, and asks for theirs.
    /// XEP-0191 §3.4.
    func revealPresence(of account: Account, to isMeant: (JID) -> Bool)
    /// Whether the resource sent directed presence to this address, or to another one of its bare JID, and has not
    /// taken it back. RFC 6121 §4.6.
    func hasDirectedPresence(from resource: Resource, to jid: JID) -> Bool
    /// Has this address told when the resource goes away, as if it had sent it directed presence: a service knows from
    /// before a crash that its client has. RFC 6121 §4.6.3.
    func addDirectedPresence(from resource: Resource, to jid: JID)
}

extension Account {
    /// Whether this address may know of the account's presence, and so of what depends on it, such as its last
    /// activity: the account itself, or a contact with a subscription. RFC 6121 §8.5.3.1.
    public func isVisible(to jid: JID) -> Bool {
        let bare = jid.bare
        return bare == self.jid || host.service((any ContactList).self)?.hasSubscriber(bare, account: self) ?? false
    }
}

extension Resource {
    /// Whether this address may know that the resource is there: those who may know of the account's presence, and
    /// those to whom the resource showed itself with directed presence. RFC 6121 §8.5.3.1.
    public func isVisible(to jid: JID) -> Bool {
        account.isVisible(to: jid)
            || account.host.service((any PresenceBroadcast).self)?.hasDirectedPresence(from: self, to: jid) ?? false
    }
}
