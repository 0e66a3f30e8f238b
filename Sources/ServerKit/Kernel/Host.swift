/// A domain that is served here: one with accounts, or a component, which is what a module makes of it.
///
/// On the domain of a component nobody logs in. It has everything else that a host has: disco, commands, answers to
/// requests, hooks, stores. Stanzas to addresses with a localpart go to ``Hook/addressArrived``.
@ServerActor
public final class Host: Entity {
    public let server: Server
    public let domain: String
    public let jid: JID
    /// Whether a module serves the domain, and there are no accounts.
    public let isComponent: Bool
    public internal(set) var configuration: HostConfiguration
    public let hooks = HostHooks()
    public let accounts: AccountDirectory
    /// What disco and stream features say about the host and its accounts.
    public let disco = DiscoRegistry()
    /// The ad-hoc commands that modules offer.
    public let commands = CommandRegistry()
    /// What is negotiated on the host's streams.
    public let negotiation = StreamNegotiation()
    /// What is negotiated inside of that.
    public let inline = InlineNegotiation()
    /// What modules keep with resources across restarts.
    public let sessionState = SessionState()
    let answers = IQTable()
    var log: Logger
    /// Takes every stanza to the domain in place of the host; nil where it answers itself.
    private(set) var substitute: (any Entity)?
    private var services: [ObjectIdentifier: Any] = [:]
    private var pendingReplies: [String: (reply: @ServerActor (IQ) -> Void, limit: ScheduledAction)] = [:]
    private var nextRequest = 0

    init(server: Server, configuration: HostConfiguration, isComponent: Bool = false) {
        self.server = server
        self.configuration = configuration
        self.isComponent = isComponent
        domain = configuration.name
        jid = JID(unchecked: nil, domainpart: domain, resourcepart: nil)
        log = server.log
        log[metadataKey: "host"] = "\(domain)"
        accounts = AccountDirectory(storage: server.storage, host: domain)
        accounts.host = self
    }

    public var router: Router { server.router }
    public var isAnonymous: Bool { configuration.authentication == .anonymous }

    /// Whether this address may administer the host.
    public func isAdmin(_ jid: JID) -> Bool {
        let bare = jid.bare
        return server.configuration.admins.contains(bare) || configuration.admins.contains(bare)
    }

    // MARK: Services

    /// What a module offers to others under a protocol that ServerKit defines; nil when no such module is loaded.
    public func service<Service>(_ type: Service.Type) -> Service? {
        services[ObjectIdentifier(type)] as? Service
    }

    func setService<Service>(_ type: Service.Type, _ service: Service?) {
        services[ObjectIdentifier(type)] = service
    }

    func setSubstitute(_ entity: (any Entity)?) {
        substitute = entity
    }

    // MARK: Stanzas

    public func receive(_ stanza: Stanza) {
        guard let to = stanza.to else { return }
        if let substitute { return substitute.receive(stanza) }
        if to.localpart == nil {
            receiveHere(stanza)
        } else if isComponent {
            receiveBelow(stanza)
        } else {
            accounts.deliver(stanza, to: to)
        }
    }

    /// A stanza for something that a component serves.
    private func receiveBelow(_ stanza: Stanza) {
        let event = AddressEvent(host: self, stanza: stanza)
        switch hooks.addressArrived.verdict(on: event) {
        case .drop: return
        case .bounce(let error): return router.bounce(stanza, error)
        case .pass: break
        }
        if !hooks.addressArrived.isClaimed(event) {
            // RFC 6121 §8.5.1: presence is not answered.
            if case .presence = stanza { return }
            router.bounce(stanza, .serviceUnavailable)
        }
        hooks.addressArrived.notify(event)
    }

    /// A stanza for the host itself. RFC 6121 §8 leaves messages and presence to the service.
    private func receiveHere(_ stanza: Stanza) {
        switch stanza {
        case .message(let message):
            let isTaken = hooks.hostMessage.isClaimed(HostMessageEvent(host: self, message: message))
            if !isTaken { router.bounce(stanza, .serviceUnavailable) }
        case .presence(let presence):
            _ = hooks.hostPresence.isClaimed(HostPresenceEvent(host: self, presence: presence))
        case .iq(let iq):
            if iq.isRequest {
                switch hooks.iqArrived.verdict(on: IQEvent(host: self, account: nil, iq: iq)) {
                case .drop: return
                case .bounce(let error): return router.bounce(stanza, error)
                case .pass: break
                }
            }
            answer(iq, account: nil)
        }
    }

    /// Sends a request in the host's name.
    ///
    /// - Parameters:
    ///   - limit: after how much time silence becomes a `remote-server-timeout`.
    ///   - reply: gets the result or error, once.
    public func ask(_ iq: IQ, limit: Duration = .seconds(300), reply: @escaping @ServerActor (IQ) -> Void) {
        nextRequest += 1
        var request = iq
        request.id = "host-\(nextRequest)"
        request.from = jid
        if let to = request.to {
            let key = "host-\(nextRequest)\n\(to)"
            let timeout = request.bounced(.remoteServerTimeout)
            let action = server.clock.after(limit) { self.pendingReplies.removeValue(forKey: key)?.reply(timeout) }
            pendingReplies[key] = (reply, action)
        }
        router.route(request)
    }

    /// How many requests of the host wait for an answer.
    var pendingRequests: Int { pendingReplies.count }

    /// Answers a request to a bare JID or to the host. RFC 6120 §8.2.3, RFC 6121 §8.5.
    func answer(_ iq: IQ, account: Account?) {
        guard iq.isRequest, let from = iq.from, let query = iq.query else {
            // A result or an error: to a request of the host, or of nobody, and never answered.
            if account == nil, !iq.isRequest, let from = iq.from, let id = iq.id,
                let pending = pendingReplies.removeValue(forKey: "\(id)\n\(from)")
            {
                pending.limit.cancel()
                pending.reply(iq)
            }
            return
        }
        let target: IQTarget = account == nil ? .host : .account
        guard let entry = answers.entry(for: query, iq.kind, target) else {
            // RFC 6120 §8.4: a namespace nobody understands. The other kind of a known request is refused as such, to
            // those who may ask at all.
            let isKnown = answers.accesses(of: query, target).contains { allows($0, from: from, account: account) }
            return refuse(iq, isKnown ? .notAllowed : .serviceUnavailable)
        }
        guard allows(entry.access, from: from, account: account) else {
            // Strangers cannot tell what is not for them from what is not there. RFC 6121 §8.5.2.1.1.
            return refuse(iq, account == nil ? .forbidden : .serviceUnavailable)
        }
        let request = IQRequest(
            iq: iq, from: from, query: query, host: self, account: account, resource: server.localResource(from),
            followUps: FollowUps())
        run(entry.body, request)
    }

    /// Answers a request to an address below the domain of a component.
    func answer(_ iq: IQ, with body: IQTable.Body) {
        guard iq.isRequest, let from = iq.from, let query = iq.query else { return }
        let request = IQRequest(
            iq: iq, from: from, query: query, host: self, account: nil, resource: server.localResource(from),
            followUps: FollowUps())
        run(body, request)
    }

    /// Whether disco knows the node that a request is about.
    public func hasDiscoNode(_ node: String, for iq: IQ, account: Account?) -> Bool {
        guard let from = iq.from, let query = iq.query else { return false }
        let request = IQRequest(
            iq: iq, from: from, query: query, host: self, account: account, resource: server.localResource(from),
            followUps: FollowUps())
        return disco.node(node, for: request) != nil
    }

    /// Answers a request that is not even tried. To its sender any answer tells that what it sent before was taken, so
    /// this one waits for the disk like the others.
    private func refuse(_ iq: IQ, _ error: StanzaError) {
        guard let fence = router.fence else { return router.bounce(.iq(iq), error) }
        fence.whenAnswerable { lost in
            self.router.bounce(.iq(iq), lost == nil ? error : StanzaError(.internalServerError, .wait))
        }
    }

    private func run(_ body: IQTable.Body, _ request: IQRequest) {
        let fence = router.fence ?? DurabilityFence(storage: server.storage)
        switch body {
        case .now(let body):
            let outcome = Result { try router.track(fence) { try body(request) } }
            finish(request, outcome, fence)
        case .later(let body):
            fence.enterRequest()
            Task { @ServerActor in
                let before = self.server.storage.lastEnqueued
                let losses = self.server.storage.lostCommits
                let outcome: Result<Element?, any Error>
                do { outcome = .success(try await body(request)) } catch { outcome = .failure(error) }
                // Other turns may have written meanwhile; waiting for those, too, is harmless.
                let after = self.server.storage.lastEnqueued
                if after != before { fence.require(after, losses) }
                fence.leaveRequest()
                self.finish(request, outcome, fence)
            }
        }
    }

    /// Sends the answer once everything its sender should be able to rely on is on disk.
    private func finish(_ request: IQRequest, _ outcome: Result<Element?, any Error>, _ fence: DurabilityFence) {
        fence.whenAnswerable { lost in
            switch (outcome, lost) {
            case (.success(let content), nil): self.router.route(request.iq.result(content))
            case (.failure(let error), _): self.fail(request, error)
            case (.success, let lost?): self.fail(request, lost)
            }
            request.followUps.run()
        }
    }

    private func fail(_ request: IQRequest, _ error: any Error) {
        if let error = error as? StanzaError { return router.bounce(.iq(request.iq), error) }
        log.error(
            "A request failed",
            metadata: ["reason": "\(error)", "peer": "\(request.from)", "payload": "\(request.query.namespace)"])
        let isStorage = error is StorageError
        router.bounce(.iq(request.iq), isStorage ? StanzaError(.internalServerError, .wait) : .internalServerError)
    }

    /// Whether this address has this access to the host, or to one of its accounts.
    public func allows(_ access: IQAccess, from: JID, account: Account? = nil) -> Bool {
        switch access {
        case .anyone: true
        case .owner: account.map { $0.jid == from.bare } ?? false
        case .local:
            from.localpart != nil && (isComponent ? server.host(from.domainpart) != nil : from.domainpart == domain)
        case .admin: isAdmin(from)
        case .subscriber: account?.isVisible(to: from) ?? false
        }
    }

    /// Removes a temporary account and all that its modules stored.
    func discardTemporary(_ account: Account) {
        hooks.accountRemoved.notify(AccountEvent(account: account))
        accounts.unload(account.name)
        server.storage.removeEverything(of: account.name, on: domain)
    }
}
