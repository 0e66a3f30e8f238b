import ServerKit

/// Entity Capabilities (XEP-0115): what the host can do, as one hash in its stream features, so that clients need not
/// ask each time they connect; and what clients can do, learned from the hashes in their presence.
final class Caps: Module {
    static let info = ModuleInfo(
        "caps", "Knows what clients support, and saves them from asking what the server does",
        implements: [.xep(115, "1.6.0").partial("Presence is passed on as it is, without the optimization of §8.4.")],
        group: .recommended, requires: ["disco"])

    struct Options: ModuleOptions {
        let cache: Int
        let expire: Duration
        let resources: Int
        let resourcesPerContact: Int
        let answerSize: Int
        let requests: Int
        let questions: Int

        init(_ config: inout OptionReader) {
            cache = config.int(
                "cache", default: 2_000, in: 1...1_000_000,
                "How many different sets of capabilities are remembered, restarts included.")
            expire = config.duration(
                "expire", default: .seconds(30 * 86_400), in: .seconds(3_600)...(.seconds(3_155_760_000)),
                "After what time capabilities that no client had are forgotten.")
            resources = config.int(
                "max_resources", default: 5_000, in: 1...1_000_000,
                "Clients of contacts whose capabilities are noted for one account.")
            resourcesPerContact = config.int(
                "max_resources_per_contact", default: 20, in: 1...10_000,
                "Clients of one contact whose capabilities are noted.")
            answerSize = config.size(
                "answer_size", default: 16_384, in: 1_024...1_048_576,
                "How large a client's description of its capabilities may be.")
            requests = config.int(
                "max_requests", default: 1_000, in: 1...1_000_000,
                "Clients that may be asked for their capabilities at the same time.")
            questions = config.int(
                "questions_per_hour", default: 30, in: 1...100_000,
                "How often the clients of one user may be asked for capabilities within an hour.")
        }
    }

    private var options: Options
    private var peers: PeerCaps?
    /// What was advertised last, and what it was made from.
    private var known: (revision: Int, forms: [DataForm], verification: String)?

    init(options: Options) {
        self.options = options
    }

    func reconfigure(_ options: Options) -> Bool {
        self.options = options
        peers?.options = options
        return true
    }

    func load(into host: ModuleHost) {
        let disco = host.host.disco
        host.advertise(.caps, on: .host)
        host.discoNode(ServerVersion.node, CapsNode { self.verification(disco) })
        // Before authentication it would tell strangers more than they need to log in. XEP-0115 §9.4.
        host.streamFeature { stream in
            guard stream.authenticated != nil else { return nil }
            return Element(
                "c", .caps, ["hash": "sha-1", "node": ServerVersion.node, "ver": self.verification(disco)])
        }
        observePeers(host)
    }

    private func observePeers(_ host: ModuleHost) {
        let peers = PeerCaps(host, options)
        self.peers = peers
        host.onUnload { peers.unload() }
        host.loadWithAccounts(PeerCaps.Around.self) { try await peers.surroundings(of: $0) }
        // Contacts come while the user is away, and are to be told what the user has published.
        host.loadAccounts { $0.payload.has("c", .caps) }
        host.observe(.resourceAvailable) { event in
            guard let presence = event.resource.presence else { return }
            peers.note(presence, of: event.resource.jid, around: event.resource.account)
        }
        host.observe(.presenceSent) { event in
            guard event.presence.to == nil, let resource = event.origin, let presence = resource.presence else {
                return
            }
            peers.note(presence, of: resource.jid, around: event.account)
        }
        host.observe(.resourceUnavailable) { peers.forget($0.resource.jid, around: $0.resource.account) }
        host.observe(.resourceClosed) { peers.forget($0.resource.jid, around: $0.resource.account) }
        host.observe(.presenceArrived) { self.noteContact($0, peers, host) }
        host.onStop { peers.save() }
        host.every(.seconds(3600)) {
            peers.forgetQuestions()
            peers.cache.expire(after: self.options.expire)
        }
        host.provide((any Capabilities).self, peers)
    }

    /// Presence of contacts. Occupants of rooms and strangers who show themselves are not noted: who may be told what
    /// an account publishes is in its roster.
    private func noteContact(_ event: PresenceEvent, _ peers: PeerCaps, _ host: ModuleHost) {
        guard let from = event.presence.from, from.localpart != nil, from.bare != event.account.jid else { return }
        switch event.presence.kind {
        case .available:
            guard from.isFull, event.presence.payload.has("c", .caps),
                host.service((any ContactList).self)?.contains(from.bare, account: event.account) == true
            else { return }
            peers.note(event.presence, of: from, around: event.account)
        case .unavailable, .error: peers.forget(from, around: event.account)
        case .probe, .subscribe, .subscribed, .unsubscribe, .unsubscribed: break
        }
    }

    /// The verification string of the host. Forms are made anew for each answer, and compared: they may change with no
    /// module coming or going.
    private func verification(_ disco: DiscoRegistry) -> String {
        let forms = disco.forms(of: .host)
        if let known, known.revision == disco.revision, known.forms == forms { return known.verification }
        let verification = disco.info(of: .host).verificationString()
        known = (disco.revision, forms, verification)
        return verification
    }
}

/// The node that clients ask about to learn what a hash stands for. XEP-0115 §6.2.
private final class CapsNode: DiscoNode {
    private let verification: @ServerActor () -> String

    init(_ verification: @escaping @ServerActor () -> String) {
        self.verification = verification
    }

    func info(node: String, request: IQRequest) throws -> [Element] {
        guard node == "\(ServerVersion.node)#\(verification())" else { throw StanzaError.itemNotFound }
        return request.host.disco.info(of: .host).elements
    }

    func items(node: String, request: IQRequest) throws -> [DiscoRegistry.Item] {
        throw StanzaError.itemNotFound
    }
}

extension Namespace {
    static let caps: Namespace = "http://jabber.org/protocol/caps"
}
