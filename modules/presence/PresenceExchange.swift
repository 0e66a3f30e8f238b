import ServerKit

/// Presence: who is there, and who may know. RFC 6121 §4.
final class PresenceExchange: Module {
    static let info = ModuleInfo(
        "presence", "Shows users who of their contacts is available",
        implements: [.rfc(6121)],
        group: .core, defaultOn: true, after: ["roster"])

    struct Options: ModuleOptions {
        let directedLimit: Int
        let hidesResources: Bool

        init(_ config: inout OptionReader) {
            directedLimit = config.int(
                "max_directed", default: 1_000, in: 1...100_000,
                "Addresses beyond the contacts, such as rooms, that one client may show its presence to at a time.")
            hidesResources = config.bool(
                "hide_resources", default: false,
                "Whether requests to a client are refused unless it shares its presence with who asks.")
        }
    }

    private(set) var options: Options
    private(set) var lastSeen: KeyValueStore<Timestamp>?
    /// Accounts that were shown contacts of a domain elsewhere as available, by that domain.
    var onlookers: [String: Set<String>] = [:]

    init(options: Options) {
        self.options = options
    }

    func load(into host: ModuleHost) {
        let store = host.store("last-seen", of: Timestamp.self)
        lastSeen = store
        host.loadWithAccounts(LastSeen.self) { try await store.value(for: $0.name) }

        host.claim(.presenceSent) { self.send($0) }
        host.claim(.presenceArrived) { self.receive($0) }
        host.observe(.resourceUnavailable) { self.becameUnavailable($0.resource, $0.presence) }
        host.observe(.resourceClosed) { self.takeBackDirectedPresence(of: $0.resource, nil) }
        host.filter(.iqArrived) { self.admit($0) }
        host.observe(.resourceRestored) { self.askOthers(for: $0.resource) }
        host.observe(.peerReturned) { event in
            // Whoever is there may have forgotten who is here, and the other way round. RFC 6121 §4.3.
            for account in host.accounts.loadedAccounts where !account.availableResources.isEmpty {
                self.revealPresence(of: account) { event.domains.contains($0.domainpart) }
            }
        }
        host.observe(.peerLost) { event in
            for domain in event.domains { self.takeBackContacts(of: domain, on: host.host) }
        }
        host.provide((any PresenceBroadcast).self, self)
        host.keepWithSession(Directed.self)
    }

    /// While the server was away, other servers could not tell what became of contacts there.
    private func askOthers(for resource: Resource) {
        let account = resource.account
        guard resource.isAvailable, account.availableResources.first === resource, let contacts = account.contactList
        else { return }
        let router = account.host.router
        let remote = contacts.subscriptions(of: account).filter { router.entity(for: $0.domainpart) == nil }
        // What the client was shown before is not known any more.
        for contact in remote { noteShown(contact, to: account) }
        probe(remote, for: account)
    }

    func reconfigure(_ options: Options) -> Bool {
        self.options = options
        return true
    }

    /// When the account's last available resource went away; nil if none ever did.
    enum LastSeen: AccountKey {
        static let defaultValue: Timestamp? = nil
    }

    // MARK: From clients

    /// Returns whether the presence went nowhere else: what is left to the router is addressed.
    private func send(_ event: PresenceEvent) -> Bool {
        guard let resource = event.origin else { return false }
        let presence = event.presence
        switch presence.kind {
        case .available, .unavailable:
            guard presence.hasValidPriority else {
                event.account.host.router.bounce(
                    .presence(presence), .badRequest("A priority is one whole number from -128 to 127."))
                return true
            }
            if presence.to != nil { return direct(presence, from: resource) }
            broadcast(presence, from: resource)
            return true
        case .error, .probe:
            // RFC 6121 §4.3: a client's probe is routed, and never the cause of an error.
            return presence.to == nil
        case .subscribe, .subscribed, .unsubscribe, .unsubscribed:
            // Without a roster nobody can subscribe; the address of the resource must not leak (RFC 6121 §3).
            return event.account.contactList == nil
        }
    }

    // MARK: To accounts

    private func receive(_ event: PresenceEvent) -> Bool {
        let presence = event.presence
        switch presence.kind {
        case .available:
            noteAvailable(presence, to: event.account)
            deliver(presence, to: event.account)
        case .unavailable:
            if let from = presence.from { forgetShown(from, to: event.account) }
            forgetDirectedPresence(of: event.account, to: presence.from, from: presence.to)
            deliver(presence, to: event.account)
        case .error:
            // Nobody asked for the server's probes, so nobody needs to hear that they failed.
            if presence.id != Self.probeID { deliver(presence, to: event.account) }
        case .probe: answerProbe(presence, for: event.account)
        case .subscribe, .subscribed, .unsubscribe, .unsubscribed: return false
        }
        return true
    }

    /// RFC 6121 §4.2.3, §4.4.3, §4.5.3, §8.5.2.1.2, §8.5.3.1, §8.5.3.2.2.
    private func deliver(_ presence: Presence, to account: Account) {
        if let resourcepart = presence.to?.resourcepart {
            account.resource(resourcepart)?.send(presence)
        } else {
            for resource in account.availableResources { resource.send(presence) }
        }
    }

    /// RFC 6121 §8.5.3.1: a request to a client says whether it is there, which strangers should not learn. The field
    /// delivers it all the same, and clients that call or send files to strangers have come to rely on it, so that this
    /// is for administrators to switch on.
    private func admit(_ event: IQEvent) -> Verdict {
        guard options.hidesResources, event.iq.isRequest, let account = event.account, let from = event.iq.from,
            let resource = event.iq.to?.resourcepart.flatMap({ account.resource($0) })
        else { return .pass }
        let isOurService = from.localpart == nil && account.host.router.entity(for: from.domainpart) != nil
        return isOurService || resource.isVisible(to: from) ? .pass : .bounce(.serviceUnavailable)
    }
}

extension Account {
    var contactList: (any ContactList)? { host.service((any ContactList).self) }
}

extension Presence {
    /// RFC 6121 §4.7.2.3: one integer between -128 and 127, or none. Which of several counts, or what nonsense means,
    /// sender and receivers would not agree on, so the sender is told.
    fileprivate var hasValidPriority: Bool {
        let priorities = payload.children("priority", .client)
        guard let first = priorities.first else { return true }
        return priorities.count == 1 && Int8(first.text.trimmedXMLSpace) != nil
    }
}
