import ServerKit

/// An item of a roster. RFC 6121 §2.1.2.
struct RosterItem: Hashable, Sendable {
    let jid: JID
    var name: String?
    var groups: [String] = []
    /// Its "Pending In" is never set: requests are kept apart from items, because they come first (RFC 6121 §3.1.3).
    var subscription = PresenceSubscription()

    init(jid: JID) {
        self.jid = jid
    }

    var contact: Contact {
        Contact(jid: jid, name: name, groups: groups, subscription: subscription.visible)
    }

    /// The item as clients see it. RFC 6121 §2.1.2.
    var element: Element {
        Element(
            "item", .roster,
            [
                "jid": jid.description, "name": name, "subscription": subscription.visible.rawValue,
                "ask": subscription.to == .pending ? "subscribe" : nil,
                "approved": subscription.isApproved ? "true" : nil,
            ]
        ) {
            for group in groups { Element("group", text: group) }
        }
    }
}

/// An item as it is stored, under its JID.
struct StoredRosterItem: Codable, Sendable {
    var name: String?
    var groups: [String]?
    var subscription: Contact.Subscription
    /// Set while the user's request waits for an answer.
    var ask: Bool?
    /// Set while a pre-approval waits for its request.
    var approved: Bool?

    init(_ item: RosterItem) {
        name = item.name
        groups = item.groups.isEmpty ? nil : item.groups
        subscription = item.subscription.visible
        ask = item.subscription.to == .pending ? true : nil
        approved = item.subscription.isApproved ? true : nil
    }

    func item(for jid: JID) -> RosterItem {
        var item = RosterItem(jid: jid)
        item.name = name
        item.groups = groups ?? []
        item.subscription = PresenceSubscription(
            to: subscription.seesContact ? .granted : ask == true ? .pending : .none,
            from: subscription.isSeenByContact ? .granted : .none,
            isApproved: approved == true)
        return item
    }
}
