/// A local account while it is loaded: its resources, and what modules keep with it.
///
/// It is loaded once, in one asynchronous step, while its stanzas wait; from then on each stanza is handled at once and
/// in order (RFC 6120 §10.1).
@ServerActor
public final class Account: Entity {
    public let jid: JID
    public let host: Host
    /// What is stored about the account; nil for an anonymous one.
    public internal(set) var record: AccountRecord?
    /// Whether it goes away with its last resource. XEP-0175.
    public let isTemporary: Bool
    public private(set) var resources: [Resource] = []
    /// When it last had something to do, by the server's clock.
    public private(set) var lastUse: Duration
    private var slots = Slots()

    init(jid: JID, host: Host, record: AccountRecord?, isTemporary: Bool = false) {
        self.jid = jid
        self.host = host
        self.record = record
        self.isTemporary = isTemporary
        lastUse = host.server.clock.now
    }

    /// The localpart: the owner under which modules store what belongs to the account.
    public var name: String { jid.localpart ?? "" }

    /// What a module keeps with this account.
    public subscript<Key: AccountKey>(key: Key.Type) -> Key.Value {
        get { slots.value(key, default: Key.defaultValue) }
        set { slots.set(key, newValue) }
    }

    func forget(_ key: any AccountKey.Type) {
        slots.remove(key)
    }

    // MARK: Resources

    public func resource(_ resourcepart: String) -> Resource? {
        resources.first { $0.jid.resourcepart == resourcepart }
    }

    /// The resources that have sent presence. RFC 6121 §4.2.
    public var availableResources: [Resource] { resources.filter(\.isAvailable) }

    /// Adds a resource, whose resourcepart is prepared and free. RFC 6120 §7.
    ///
    /// - Parameter announce: tells the client, before any module learns of the resource and sends it something.
    public func bind(
        _ resourcepart: String, link: any ResourceLink, announce: (Resource) -> Void = { _ in }
    ) -> Resource {
        let full = JID(unchecked: jid.localpart, domainpart: jid.domainpart, resourcepart: resourcepart)
        let resource = Resource(jid: full, account: self, link: link)
        resources.append(resource)
        announce(resource)
        lastUse = host.server.clock.now
        host.hooks.resourceBound.notify(ResourceEvent(resource: resource))
        return resource
    }

    /// Takes away a resource whose stream ended. If it was available, everybody who saw it learns that it is not any
    /// more, with `presence` or else without a word (RFC 6121 §4.5).
    func remove(_ resource: Resource) {
        guard let index = resources.firstIndex(where: { $0 === resource }) else { return }
        host.router.track(nil) {
            resource.setPresence(nil)
            host.hooks.resourceClosed.notify(ResourceEvent(resource: resource))
        }
        resources.remove(at: index)
        lastUse = host.server.clock.now
        if resources.isEmpty, isTemporary { host.discardTemporary(self) }
    }

    // MARK: Stanzas

    public func receive(_ stanza: Stanza) {
        lastUse = host.server.clock.now
        switch stanza {
        case .message(let message): receive(message)
        case .presence(let presence): receive(presence)
        case .iq(let iq): receive(iq)
        }
    }

    private func receive(_ message: Message) {
        var event = MessageEvent(account: self, message: message)
        let hooks = host.hooks.messageArrived
        switch hooks.verdict(on: event) {
        case .drop: return
        case .bounce(let error): return host.router.bounce(.message(message), error)
        case .pass: break
        }
        hooks.transform(&event)
        if !hooks.isClaimed(event) { host.router.bounce(.message(event.message), .serviceUnavailable) }
        hooks.notify(event)
    }

    private func receive(_ presence: Presence) {
        var event = PresenceEvent(account: self, presence: presence, origin: nil)
        let hooks = host.hooks.presenceArrived
        switch hooks.verdict(on: event) {
        case .drop: return
        case .bounce(let error): return host.router.bounce(.presence(presence), error)
        case .pass: break
        }
        hooks.transform(&event)
        _ = hooks.isClaimed(event)
        hooks.notify(event)
    }

    private func receive(_ iq: IQ) {
        if iq.isRequest {
            switch host.hooks.iqArrived.verdict(on: IQEvent(host: host, account: self, iq: iq)) {
            case .drop: return
            case .bounce(let error): return host.router.bounce(.iq(iq), error)
            case .pass: break
            }
        }
        guard let resourcepart = iq.to?.resourcepart else { return host.answer(iq, account: self) }
        // RFC 6121 §8.5.3.1 and §8.5.3.2.3: to the resource, or service-unavailable for requests.
        if let resource = resource(resourcepart) {
            resource.send(iq)
        } else {
            host.router.bounce(.iq(iq), .serviceUnavailable)
        }
    }
}
