import ServerKit

/// What a client asks for with a roster set. RFC 6121 §2.1.5.
struct RosterSet: Sendable {
    let jid: JID
    let name: String?
    let groups: [String]
    let isRemoval: Bool

    /// - Throws: `.badRequest`, `.jidMalformed` or `.notAcceptable` as RFC 6121 §2.3.3 says.
    init(_ query: Element, limits: Roster.Options) throws(StanzaError) {
        let items = query.children
        guard items.count == 1, let item = items.first, item.is("item", .roster) else {
            throw .badRequest("A roster set has exactly one item.")
        }
        guard item["jid"] != nil else { throw .badRequest("The item has no jid.") }
        guard let jid = item.jid("jid") else { throw .jidMalformed }
        // Subscriptions are between bare JIDs (RFC 6121 §4.3): an item with another address could never have one.
        guard jid.isBare else { throw .badRequest("A roster item is a bare JID.") }
        self.jid = jid
        // RFC 6121 §2.1.2.5: every other value is ignored.
        isRemoval = item["subscription"] == "remove"
        if isRemoval {
            (name, groups) = (nil, [])
            return
        }
        // RFC 6121 §2.4.1: an empty name is no name.
        name = item["name"].flatMap { $0.isEmpty ? nil : $0 }
        guard name?.utf8.count ?? 0 <= limits.nameLimit else {
            throw .notAcceptable("The name is longer than \(limits.nameLimit) bytes.")
        }
        groups = try Self.groups(item, limits)
    }

    private static func groups(_ item: Element, _ limits: Roster.Options) throws(StanzaError) -> [String] {
        let groups = item.children("group").map(\.text)
        guard groups.count <= limits.groupLimit else {
            throw .notAcceptable("The item is in more than \(limits.groupLimit) groups.")
        }
        for group in groups {
            guard !group.isEmpty else { throw .notAcceptable("A group has no name.") }
            guard group.utf8.count <= limits.nameLimit else {
                throw .notAcceptable("The name of a group is longer than \(limits.nameLimit) bytes.")
            }
        }
        guard Set(groups).count == groups.count else { throw .badRequest("The item is in one group twice.") }
        return groups
    }
}
