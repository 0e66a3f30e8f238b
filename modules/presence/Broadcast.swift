import ServerKit

/// Presence without an address: to everybody who is subscribed. RFC 6121 §4.2, §4.4, §4.5.
extension PresenceExchange {
    /// The id of the server's own probes.
    static let probeID = "probe"

    func broadcast(_ presence: Presence, from resource: Resource) {
        switch (presence.kind == .available, resource.isAvailable) {
        case (true, let wasAvailable):
            resource.setPresence(presence)
            show(presence, of: resource)
            if !wasAvailable, resource.isAvailable { begin(resource) }
        case (false, true):
            resource.setPresence(presence)
            // RFC 6121 §4.5.2: to the resource itself, too, which is not available any more.
            resource.send(presence.addressed(to: resource.account.jid))
        case (false, false):
            takeBackDirectedPresence(of: resource, presence)
        }
    }

    /// Sends presence to the account's own resources, and to all subscribers. RFC 6121 §4.2.2, §4.4.2, §4.5.2.
    private func show(_ presence: Presence, of resource: Resource) {
        let account = resource.account
        let own = presence.addressed(to: account.jid)
        for other in account.availableResources { other.send(own) }
        for subscriber in account.contactList?.subscribers(of: account) ?? [] {
            show(presence, of: resource, to: subscriber)
        }
    }

    /// Sends presence to one address, if nothing is in its way.
    func show(_ presence: Presence, of resource: Resource, to receiver: JID) {
        let host = resource.account.host
        let event = PresenceEvent(
            account: resource.account, presence: presence.addressed(to: receiver), origin: resource)
        guard case .pass = host.hooks.presenceShown.verdict(on: event) else { return }
        host.router.route(event.presence)
    }

    /// A resource has sent its first presence: it learns who else is there. RFC 6121 §4.2.2, §4.3.1.
    private func begin(_ resource: Resource) {
        let account = resource.account
        for other in account.availableResources where other !== resource {
            if let presence = other.presence { resource.send(presence.addressed(to: account.jid)) }
        }
        guard let contacts = account.contactList else { return }
        probe(contacts.subscriptions(of: account), for: account)
        contacts.deliverPendingRequests(to: resource)
    }

    /// Asks for contacts' presence. RFC 6121 §4.3.1.
    func probe(_ contacts: [JID], for account: Account) {
        let probe = Presence(from: account.jid, id: Self.probeID, kind: .probe)
        let blockList = account.host.service((any BlockList).self)
        for contact in contacts where blockList?.isBlocked(contact, by: account) != true {
            account.host.router.route(probe.addressed(to: contact))
        }
    }

    /// RFC 6121 §4.5.2, however it came about.
    func becameUnavailable(_ resource: Resource, _ farewell: Presence?) {
        let account = resource.account
        var presence = farewell ?? Presence(kind: .unavailable)
        presence.from = resource.jid
        show(presence, of: resource)
        takeBackDirectedPresence(of: resource, presence, isBroadcast: true)
        guard account.availableResources.isEmpty else { return }
        forgetAllShown(to: account)
        let now = account.host.server.clock.date
        account[LastSeen.self] = now
        lastSeen?.set(now, for: account.name)
    }
}

extension PresenceExchange: PresenceBroadcast {
    func sendPresence(of account: Account, to contact: JID) {
        for resource in account.availableResources {
            if let presence = resource.presence { show(presence, of: resource, to: contact) }
        }
    }

    func sendUnavailable(of account: Account, to contact: JID) {
        for resource in account.availableResources {
            show(Presence(from: resource.jid, kind: .unavailable), of: resource, to: contact)
            // RFC 6121 §4.6.1: directed presence does not outlive a subscription that is cancelled.
            forgetDirectedPresence(from: resource, to: contact)
        }
    }

    func hidePresence(of account: Account, from isMeant: (JID) -> Bool) {
        for contact in account.contactList?.subscribers(of: account) ?? [] where isMeant(contact) {
            sendUnavailable(of: account, to: contact)
        }
        for resource in account.resources {
            for address in resource[Directed.self]?.addresses ?? [] where isMeant(address) {
                show(Presence(from: resource.jid, kind: .unavailable), of: resource, to: address)
                forgetDirectedPresence(from: resource, to: address)
            }
        }
    }

    func revealPresence(of account: Account, to isMeant: (JID) -> Bool) {
        guard let contacts = account.contactList, !account.availableResources.isEmpty else { return }
        for contact in contacts.subscribers(of: account) where isMeant(contact) {
            sendPresence(of: account, to: contact)
        }
        probe(contacts.subscriptions(of: account).filter(isMeant), for: account)
    }

    func addDirectedPresence(from resource: Resource, to jid: JID) {
        var directed = resource[Directed.self] ?? DirectedPresence()
        guard directed.addresses.count < options.directedLimit else { return }
        directed.insert(jid)
        resource[Directed.self] = directed
    }

    func hasDirectedPresence(from resource: Resource, to jid: JID) -> Bool {
        resource[Directed.self]?.reached(jid) ?? false
    }
}

extension Presence {
    /// A copy for one receiver; its content is shared with this one.
    func addressed(to receiver: JID) -> Presence {
        var copy = self
        copy.to = receiver
        return copy
    }
}
