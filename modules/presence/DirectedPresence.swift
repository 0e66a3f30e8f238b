import ServerKit

/// Presence with an address, for rooms and chats with strangers. RFC 6121 §4.6.
extension PresenceExchange {
    /// The addresses that have seen a resource by directed presence alone. RFC 6121 §4.6.1.
    struct DirectedPresence: Sendable, Codable {
        private(set) var addresses: Set<JID> = []
        /// How many of them share a bare JID.
        private var bareCounts: [JID: Int] = [:]

        init() {}

        init(from decoder: any Decoder) throws {
            for jid in try [JID](from: decoder) { insert(jid) }
        }

        func encode(to encoder: any Encoder) throws {
            try Array(addresses).encode(to: encoder)
        }

        mutating func insert(_ jid: JID) {
            if addresses.insert(jid).inserted { bareCounts[jid.bare, default: 0] += 1 }
        }

        mutating func remove(_ jid: JID) {
            guard addresses.remove(jid) != nil else { return }
            let count = bareCounts[jid.bare, default: 1] - 1
            bareCounts[jid.bare] = count > 0 ? count : nil
        }

        /// Whether the address or another one of its bare JID has seen the presence. A room asks by its bare JID, and
        /// its occupants see what the room was sent.
        func reached(_ jid: JID) -> Bool { bareCounts[jid.bare] != nil }
    }

    enum Directed: ResourceKey {
        static let defaultValue: DirectedPresence? = nil
    }

    /// RFC 6121 §4.6.3. Returns whether the presence stops here; otherwise it is routed.
    func direct(_ presence: Presence, from resource: Resource) -> Bool {
        guard let to = presence.to else { return true }
        if presence.kind == .unavailable {
            resource[Directed.self]?.remove(to)
            return false
        }
        // Rule 1: those who get the broadcasts get the last one, too.
        if resource.isAvailable, resource.account.isVisible(to: to) { return false }
        var directed = resource[Directed.self] ?? DirectedPresence()
        guard directed.addresses.contains(to) || directed.addresses.count < options.directedLimit else {
            resource.account.host.router.bounce(
                .presence(presence), .resourceConstraint("This client shows its presence to too many already."))
            return true
        }
        directed.insert(to)
        resource[Directed.self] = directed
        return false
    }

    /// Tells everybody who saw a resource by directed presence that it is gone. RFC 6121 §4.6.3, rules 2 and 3.
    ///
    /// - Parameter isBroadcast: whether subscribers have been told already.
    func takeBackDirectedPresence(of resource: Resource, _ farewell: Presence?, isBroadcast: Bool = false) {
        guard let directed = resource[Directed.self] else { return }
        resource[Directed.self] = nil
        let account = resource.account
        let presence = farewell ?? Presence(from: resource.jid, kind: .unavailable)
        for address in directed.addresses where !isBroadcast || !account.isVisible(to: address) {
            show(presence, of: resource, to: address)
        }
    }

    /// An entity that leaves needs no farewell. RFC 6121 §4.6.1.
    ///
    /// - Parameter address: whom it told. One client of an account may leave a room while another one stays.
    func forgetDirectedPresence(of account: Account, to entity: JID?, from address: JID?) {
        guard let entity else { return }
        for resource in account.resources where address?.isFull != true || resource.jid == address {
            resource[Directed.self]?.remove(entity)
        }
    }

    func forgetDirectedPresence(from resource: Resource, to entity: JID) {
        resource[Directed.self]?.remove(entity)
    }
}
