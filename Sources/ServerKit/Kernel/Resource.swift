/// A client of an account, bound to a full JID. RFC 6120 §7.
@ServerActor
public final class Resource {
    public let jid: JID
    public let account: Account
    public let fence: DurabilityFence
    /// The last presence sent to everybody; nil while the resource is not available (RFC 6121 §4.2).
    public internal(set) var presence: Presence? {
        didSet {
            isAvailable = presence != nil
            availableSince = isAvailable ? availableSince ?? account.host.server.clock.now : nil
            priority = presence?.priority ?? 0
        }
    }
    /// Whether it has sent presence without a type. RFC 6121 §4.2.
    public private(set) var isAvailable = false
    /// The priority of its presence; meaningless unless it is available. Read for every message.
    public private(set) var priority: Int8 = 0
    /// Whether it gets what is sent to the bare JID. RFC 6121 §8.5.2.1.1.
    public var takesMessages: Bool { isAvailable && priority >= 0 }
    /// Since when it has been available without a break, by the server's clock; nil while it is not.
    public private(set) var availableSince: Duration?
    /// Whether its end has begun.
    var isLeaving = false
    /// Whether it asked for the roster, and is pushed its changes (RFC 6121 §2.1.6).
    public var isInterested = false
    /// The language of its stream. RFC 6120 §4.7.4.
    public var language: String?
    /// How the stream came about, for logs and for the one who lists sessions: address, TLS, mechanism.
    public var details: [String: String] { link?.details ?? [:] }
    /// When it was bound, by the server's clock.
    public let boundAt: Duration
    /// When the client last sent a stanza, by the server's clock.
    public private(set) var lastActivity: Duration

    /// What holds stanzas back while the client wants few; nil while it wants all.
    public var gate: (any ResourceGate)?
    /// How many stanzas the client has sent, modulo 2³²; those included that were refused. XEP-0198 §4.
    public private(set) var receivedCount: UInt32 = 0

    private weak var link: (any ResourceLink)?
    private var slots = Slots()

    init(jid: JID, account: Account, link: any ResourceLink) {
        self.jid = jid
        self.account = account
        self.link = link
        let server = account.host.server
        fence = DurabilityFence(storage: server.storage)
        boundAt = server.clock.now
        lastActivity = boundAt
    }

    /// What a module keeps with this resource.
    public subscript<Key: ResourceKey>(key: Key.Type) -> Key.Value {
        get { slots.value(key, default: Key.defaultValue) }
        set { slots.set(key, newValue) }
    }

    func hasValue<Key: ResourceKey>(_ key: Key.Type) -> Bool { slots.contains(key) }

    /// Puts another link in the place of the one that carries the stanzas: that of another stream, or one that wraps
    /// it. Whoever attaches it keeps it.
    public func attach(_ link: any ResourceLink) { self.link = link }

    /// Gives the client a stanza, now or when its gate lets it pass.
    public func send(_ stanza: Stanza) {
        if let gate { gate.take(stanza, for: self) } else { link?.deliver(stanza) }
    }

    /// For the gate: gives the client a stanza now.
    public func sendPastGate(_ stanza: Stanza) { link?.deliver(stanza) }

    public func send(_ message: Message) { send(.message(message)) }
    public func send(_ presence: Presence) { send(.presence(presence)) }
    public func send(_ iq: IQ) { send(.iq(iq)) }

    /// Bytes that wait for the client to read them. Whoever sends a lot waits for it; see ``Limits/outputBacklog``.
    public var backlog: Int { link?.backlog ?? 0 }

    /// When the client last sent a byte, by the server's clock; nil while no client is connected.
    public var lastHeard: Duration? { link?.lastHeard }

    /// Ends the client's stream.
    public func close(_ error: StreamError? = nil) { link?.close(error) }

    /// Counts a stanza that the client has sent. Comes before it is handled.
    func countReceived() { receivedCount &+= 1 }

    /// Takes a stanza from the client. Its `from`, if any, was compared with ``jid`` by the stream.
    public func receive(_ stanza: Stanza) {
        let host = account.host
        lastActivity = host.server.clock.now
        var stanza = stanza
        // RFC 6120 §8.1.2.1: the full JID, whatever the client wrote. Subscriptions come from the bare JID
        // (RFC 6121 §3.1.2); the roster sees to that.
        stanza.header.from = jid
        if stanza.header.language == nil { stanza.header.language = language }
        host.router.track(fence) {
            if account.isLoaded { return handle(stanza) }
            account.hold {
                // The account is gone if it could not be loaded.
                if host.accounts.loadedAccount(self.account.name) === self.account { self.handle(stanza) }
            }
        }
    }

    private func handle(_ stanza: Stanza) {
        switch stanza {
        case .message(let message): receive(message)
        case .presence(let presence): receive(presence)
        case .iq(var iq):
            // RFC 6120 §10.3.3: without an address it is for the own account.
            if iq.to == nil { iq.to = jid.bare }
            receive(iq)
        }
    }

    private func receive(_ iq: IQ) {
        let host = account.host
        if iq.isRequest {
            switch host.hooks.iqSent.verdict(on: IQEvent(host: host, account: account, iq: iq)) {
            case .drop: return
            case .bounce(let error): return host.router.bounce(.iq(iq), error)
            case .pass: break
            }
        } else {
            guard case .pass = host.hooks.iqAnswer.verdict(on: IQEvent(host: host, account: account, iq: iq)) else {
                return
            }
        }
        host.router.route(iq)
    }

    private func receive(_ message: Message) {
        var message = message
        // RFC 6120 §10.3.1: without an address it is for the own account.
        if message.to == nil { message.to = jid.bare }
        var event = MessageEvent(account: account, message: message, origin: self)
        let hooks = account.host.hooks.messageSent
        switch hooks.verdict(on: event) {
        case .drop: return
        case .bounce(let error): return account.host.router.bounce(.message(message), error)
        case .pass: break
        }
        hooks.transform(&event)
        if hooks.isClaimed(event) { return }
        account.host.router.route(event.message)
        hooks.notify(event)
    }

    private func receive(_ presence: Presence) {
        var event = PresenceEvent(account: account, presence: presence, origin: self)
        let hooks = account.host.hooks.presenceSent
        switch hooks.verdict(on: event) {
        case .drop: return
        case .bounce(let error): return account.host.router.bounce(.presence(presence), error)
        case .pass: break
        }
        hooks.transform(&event)
        if !hooks.isClaimed(event), event.presence.to != nil { account.host.router.route(event.presence) }
        hooks.notify(event)
    }

    /// Gives a resource that was restored the presence it had. Nobody is told: for everybody it was never away.
    func restorePresence(_ presence: Presence?) { self.presence = presence }

    /// Records the presence that the client broadcast. It becomes unavailable by a presence of that type, or by nil
    /// when it left without one.
    public func setPresence(_ presence: Presence?) {
        let wasAvailable = isAvailable
        self.presence = presence?.kind == .available ? presence : nil
        let hooks = account.host.hooks
        if !wasAvailable, isAvailable {
            hooks.resourceAvailable.notify(ResourceEvent(resource: self, presence: presence))
        } else if wasAvailable, !isAvailable {
            let farewell = presence ?? Presence(from: jid, kind: .unavailable)
            hooks.resourceUnavailable.notify(ResourceEvent(resource: self, presence: farewell))
        }
    }
}
