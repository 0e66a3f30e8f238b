/// Whatever has an address and takes stanzas: a host, an account, a component, a remote domain. Nobody reaches into
/// another entity; they send it stanzas.
@ServerActor
public protocol Entity: AnyObject {
    /// Takes a stanza that was routed here. Its `from` is true and its `to` is present.
    func receive(_ stanza: Stanza)
}

/// Maps addresses to entities.
@ServerActor
public final class Router {
    private var domains: [String: any Entity] = [:]
    /// Where stanzas for other domains go.
    public private(set) var elsewhere: (any Entity)?
    /// The fence of the peer whose stanza is being handled.
    public private(set) var fence: DurabilityFence?

    init() {}

    /// The entity of a domain served here.
    public func entity(for domain: String) -> (any Entity)? {
        domains[domain]
    }

    func attach(_ entity: any Entity, to domain: String) {
        domains[domain] = entity
    }

    func detach(_ domain: String) {
        domains[domain] = nil
    }

    func setElsewhere(_ entity: (any Entity)?) {
        elsewhere = entity
    }

    /// Sends a stanza on its way. Without an address it is dropped: whoever accepts stanzas without one from clients
    /// gives it to them first (RFC 6120 §10.3).
    public func route(_ stanza: Stanza) {
        guard let to = stanza.to else { return }
        if let entity = domains[to.domainpart] {
            entity.receive(stanza)
        } else if let elsewhere {
            elsewhere.receive(stanza)
        } else {
            // RFC 6120 §10.4: there is no way to other domains.
            bounce(stanza, .remoteServerNotFound)
        }
    }

    public func route(_ message: Message) { route(.message(message)) }
    public func route(_ presence: Presence) { route(.presence(presence)) }
    public func route(_ iq: IQ) { route(.iq(iq)) }

    /// Answers a stanza with an error, if it may be answered at all (RFC 6120 §8.3.1).
    public func bounce(_ stanza: Stanza, _ error: StanzaError) {
        if let bounce = stanza.bounced(error) { route(bounce) }
    }

    /// Handles a peer's stanza, with the writes it causes counted by `fence`.
    public func track<T>(_ fence: DurabilityFence?, _ body: () throws -> T) rethrows -> T {
        let outer = self.fence
        self.fence = fence
        defer { self.fence = outer }
        guard let fence else { return try body() }
        return try fence.track(body)
    }
}
