/// A local account while it is loaded: its resources, and what modules keep with it.
///
/// It is loaded once, in one asynchronous step, while its stanzas wait; from then on each stanza is handled at once and
/// in order (RFC 6120 §10.1).
@ServerActor
public final class Account: Entity {
    public let jid: JID
    public let host: Host
    /// Whether it may not log in.
    public internal(set) var isLocked: Bool
    /// Whether it goes away with its last resource. XEP-0175.
    public let isTemporary: Bool
    public private(set) var resources: [Resource] = []
    /// When it last had something to do, by the server's clock.
    public private(set) var lastUse: Duration
    private var slots = Slots()
    private var suspensions = 0
    private var mailbox: AccountDirectory.Mailbox = []
    /// Modules that came after the account was loaded and still load what they keep with it.
    private var pendingLoads = 0
    /// What its resources sent meanwhile.
    private var held: [@ServerActor () -> Void] = []

    init(jid: JID, host: Host, isLocked: Bool, isTemporary: Bool = false) {
        self.jid = jid
        self.host = host
        self.isLocked = isLocked
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

    // MARK: Loading

    /// Whether everything that modules keep with the account is there.
    var isLoaded: Bool { pendingLoads == 0 }

    /// Puts off a stanza from the account until it is loaded.
    func hold(_ body: @escaping @ServerActor () -> Void) {
        let router = host.router
        let fence = router.fence
        fence?.enterDelivery()
        held.append {
            router.track(fence, body)
            fence?.leaveDelivery()
        }
    }

    /// Runs a loader of a module that came later, while stanzas wait: with what it starts from missing, the module
    /// would write nonsense over what is stored. If that fails, the account is loaded anew when it is next needed.
    func load(_ loader: @escaping @ServerActor (Account) async throws -> Void) {
        pendingLoads += 1
        suspend()
        Task { @ServerActor in
            do {
                try await loader(self)
            } catch {
                self.host.log.error("An account cannot be loaded", metadata: ["reason": "\(error)"])
                for resource in self.resources { resource.close(StreamError(.internalServerError)) }
                self.host.accounts.unload(self)
            }
            self.resume()
            self.pendingLoads -= 1
            guard self.isLoaded else { return }
            let held = self.held
            self.held = []
            for body in held { body() }
        }
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

    /// Puts back a resource that outlived a restart of the server, as it was. No module is told that it was bound or
    /// became available, for that was before; see ``Hook/resourceRestored``.
    ///
    /// - Parameter restore: gives it back what modules kept with it.
    /// - Returns: nil when the resourcepart is taken.
    public func restore(
        _ resourcepart: String, presence: Presence?, link: any ResourceLink, restore: (Resource) -> Void
    ) -> Resource? {
        guard resource(resourcepart) == nil else { return nil }
        let full = JID(unchecked: jid.localpart, domainpart: jid.domainpart, resourcepart: resourcepart)
        let resource = Resource(jid: full, account: self, link: link)
        resources.append(resource)
        restore(resource)
        resource.restorePresence(presence)
        lastUse = host.server.clock.now
        host.hooks.resourceRestored.notify(ResourceEvent(resource: resource, presence: presence))
        return resource
    }

    /// Takes away a resource whose stream ended for good. If it was available, everybody who saw it learns that it is not any
    /// more (RFC 6121 §4.5.2).
    public func remove(_ resource: Resource) {
        guard resources.contains(where: { $0 === resource }), !resource.isLeaving else { return }
        resource.isLeaving = true
        host.router.track(nil) {
            resource.setPresence(nil)
            // Telling the others may have cost one of them its stream, too.
            resources.removeAll { $0 === resource }
            host.hooks.resourceClosed.notify(ResourceEvent(resource: resource))
        }
        lastUse = host.server.clock.now
        if resources.isEmpty, isTemporary { host.discardTemporary(self) }
    }

    // MARK: Stanzas

    public func receive(_ stanza: Stanza) {
        lastUse = host.server.clock.now
        if suspensions > 0 { return putOff(stanza) }
        handle(stanza)
    }

    private func handle(_ stanza: Stanza) {
        switch stanza {
        case .message(let message): receive(message)
        case .presence(let presence): receive(presence)
        case .iq(let iq): receive(iq)
        }
    }

    /// Puts off what arrives, as while the account is being loaded, because a module reads something that comes first.
    /// As many calls of ``resume()`` must follow; resources may come and go meanwhile.
    public func suspend() {
        suspensions += 1
    }

    /// Handles what was put off, in order (RFC 6120 §10.1).
    public func resume() {
        guard suspensions == 1 else {
            suspensions = max(0, suspensions - 1)
            return
        }
        // What is caused by a stanza of the mailbox comes after the mailbox, which therefore stays in use.
        while let (stanza, fence) = mailbox.popFirst() {
            host.router.track(fence) {
                let isLoaded = host.accounts.loadedAccount(name) === self
                if isLoaded { handle(stanza) } else { host.router.route(stanza) }
            }
            fence?.leaveDelivery()
            // A handler has suspended the account anew: its ``resume()`` goes on from here.
            if suspensions > 1 { break }
        }
        suspensions -= 1
        if suspensions == 0 { mailbox = [] }
    }

    private func putOff(_ stanza: Stanza) {
        guard mailbox.count < AccountDirectory.mailboxLimit else {
            return host.router.bounce(stanza, .resourceConstraint)
        }
        let fence = host.router.fence
        fence?.enterDelivery()
        mailbox.append((stanza, fence))
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
        if !hooks.isClaimed(event) { event.bounce(.serviceUnavailable) }
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
        } else {
            guard case .pass = host.hooks.iqAnswer.verdict(on: IQEvent(host: host, account: self, iq: iq)) else {
                return
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
