/// What a module sees of the host it is loaded into. Everything that is registered through it is recorded, and taken
/// back in reverse order when the module is unloaded.
@ServerActor
public final class ModuleHost {
    public let host: Host
    /// The module's name.
    public let module: String
    /// Carries the host's and the module's name.
    public let log: Logger
    private let rank: Int
    private var undo: [@ServerActor () -> Void] = []
    private var hasNested = false
    /// What went wrong while registering; the module is not loaded then.
    private(set) var conflict: String?

    init(host: Host, module: String, rank: Int) {
        self.host = host
        self.module = module
        self.rank = rank
        var log = host.log
        log[metadataKey: "module"] = "\(module)"
        self.log = log
    }

    public var server: Server { host.server }
    public var domain: String { host.domain }
    /// Whether the domain has no accounts, and a module serves it.
    public var isComponent: Bool { host.isComponent }
    public var jid: JID { host.jid }
    public var router: Router { host.router }
    public var clock: any ServerClock { host.server.clock }
    public var accounts: AccountDirectory { host.accounts }

    func unload() {
        for action in undo.reversed() { action() }
        undo = []
    }

    /// Calls `body` when the module is unloaded, after everything that was registered later was taken back.
    public func onUnload(_ body: @escaping @ServerActor () -> Void) {
        undo.append(body)
    }

    /// Does something that takes time as part of starting or reloading, such as opening a port. If it throws, the
    /// administrator is told, and a server that starts does not.
    public func startUp(_ body: @escaping @ServerActor () async throws -> Void) {
        server.addStartUp(body)
    }

    /// Calls `body` after each reload of the configuration.
    public func onConfigurationChange(_ body: @escaping @ServerActor () -> Void) {
        let server = self.server
        let id = server.addConfigurationObserver(body)
        onUnload { server.removeConfigurationObserver(id) }
    }

    /// Calls `body` when the server stops, before modules are unloaded.
    public func onStop(_ body: @escaping @ServerActor () -> Void) {
        let server = self.server
        let id = server.addStopObserver(body)
        onUnload { server.removeStopObserver(id) }
    }

    /// Has a server that stops wait while `hasWork` says that something is still under way to clients, for some seconds
    /// at most. Their streams are closed by then, but those that resume get it after the restart.
    public func finishBeforeStop(while hasWork: @escaping @ServerActor () -> Bool) {
        let server = self.server
        let id = server.addWorkCheck(hasWork)
        onUnload { server.removeWorkCheck(id) }
    }

    // MARK: Disco

    /// Advertises features. XEP-0030 §3.1.
    public func advertise(_ features: Namespace..., on subject: DiscoRegistry.Subject) {
        let disco = host.disco
        for feature in features {
            disco.add(feature, subject)
            onUnload { disco.remove(feature, subject) }
        }
    }

    /// Adds an identity. XEP-0030 §3.1.
    public func identify(
        _ category: String, _ type: String, name: String? = nil, on subject: DiscoRegistry.Subject
    ) {
        let disco = host.disco
        let identity = DiscoRegistry.Identity(category, type, name: name)
        disco.add(identity, subject)
        onUnload { disco.remove(identity, subject) }
    }

    /// Adds a form to disco#info, made anew for each answer. XEP-0128.
    public func extendInfo(of subject: DiscoRegistry.Subject, _ form: @escaping @ServerActor () -> DataForm?) {
        let disco = host.disco
        let id = disco.addForm(subject, form)
        onUnload { disco.removeForm(id) }
    }

    /// Adds entries to disco#items of the host or of accounts.
    public func listItems(_ items: @escaping @ServerActor (IQRequest) -> [DiscoRegistry.Item]) {
        let disco = host.disco
        let id = disco.addItems(items)
        onUnload { disco.removeItems(id) }
    }

    /// Says what other entities do in place of the host or its accounts, instead of what was said before.
    public func nest(_ nested: [DiscoRegistry.Nested]) {
        let disco = host.disco
        if nested.isEmpty, !hasNested { return }
        disco.setNested(nested)
        if !hasNested { onUnload { disco.setNested([]) } }
        hasNested = true
    }

    /// Lists in pages what lies below a component, which may be more than fits into one answer. XEP-0059.
    public func listPages(_ page: @escaping DiscoRegistry.PageFinder) {
        let disco = host.disco
        disco.setPages(page)
        onUnload { disco.setPages(nil) }
    }

    /// Answers disco requests about a node of the host, and about those whose names begin with it and `#`.
    public func discoNode(_ name: String, _ node: any DiscoNode) {
        let disco = host.disco
        disco.setNode(name, node)
        onUnload { disco.setNode(name, nil) }
    }

    /// Answers disco requests about nodes that come and go, or belong to accounts.
    public func discoNodes(on subject: DiscoRegistry.Subject, _ find: @escaping DiscoRegistry.NodeFinder) {
        let disco = host.disco
        let id = disco.addFinder(subject, find)
        onUnload { disco.removeFinder(id) }
    }

    // MARK: Handlers

    /// Answers requests with this payload, at once.
    public func answer(
        _ kind: IQ.Kind, _ name: String, _ namespace: Namespace, on target: IQTarget = .account,
        from access: IQAccess = .anyone, _ body: @escaping @ServerActor (IQRequest) throws -> Element?
    ) {
        add([kind], name, namespace, target, access, .now(body))
    }

    /// Answers requests with this payload after waiting for something. The world may have moved meanwhile.
    public func answer(
        _ kind: IQ.Kind, _ name: String, _ namespace: Namespace, on target: IQTarget = .account,
        from access: IQAccess = .anyone, _ body: @escaping @ServerActor (IQRequest) async throws -> Element?
    ) {
        add([kind], name, namespace, target, access, .later(body))
    }

    /// Answers one request that was claimed from ``Hook/addressArrived``, at once. What `body` throws becomes an error
    /// as with the requests above, and the answer waits for what its sender wrote in the same way.
    public func answer(_ iq: IQ, _ body: @escaping @ServerActor (IQRequest) throws -> Element?) {
        host.answer(iq, with: .now(body))
    }

    /// Answers one such request after waiting for something.
    public func answer(_ iq: IQ, _ body: @escaping @ServerActor (IQRequest) async throws -> Element?) {
        host.answer(iq, with: .later(body))
    }

    private func add(
        _ kinds: [IQ.Kind], _ name: String, _ namespace: Namespace, _ target: IQTarget, _ access: IQAccess,
        _ body: IQTable.Body
    ) {
        let table = host.answers
        let key = IQTable.Key(name: name, namespace: namespace)
        let entry = IQTable.Entry(kinds: kinds, targets: target, access: access, module: module, body: body)
        switch table.add(key, entry) {
        case .success(let id): onUnload { table.remove(key, id) }
        case .failure(let rival):
            conflict = "The modules \(rival.module) and \(module) both answer {\(namespace)}\(name). Switch one off."
        }
    }

    /// Lets, drops or bounces what passes; runs first.
    public func filter<Event>(_ hook: Hook<Event>, _ body: @escaping @ServerActor (Event) -> Verdict) {
        let list = host.hooks.list(hook)
        let id = list.filter(rank: rank, body)
        onUnload { list.remove(id) }
    }

    /// Changes what passes; runs second.
    public func transform<Event>(_ hook: Hook<Event>, _ body: @escaping @ServerActor (inout Event) -> Void) {
        let list = host.hooks.list(hook)
        let id = list.transform(rank: rank, body)
        onUnload { list.remove(id) }
    }

    /// Takes a stanza over in place of delivery by returning true; the first taker wins.
    public func claim<Event>(_ hook: Hook<Event>, _ body: @escaping @ServerActor (Event) -> Bool) {
        let list = host.hooks.list(hook)
        let id = list.claim(rank: rank, body)
        onUnload { list.remove(id) }
    }

    /// Reacts to what happened; runs last.
    public func observe<Event>(_ hook: Hook<Event>, _ body: @escaping @ServerActor (Event) -> Void) {
        let list = host.hooks.list(hook)
        let id = list.observe(rank: rank, body)
        onUnload { list.remove(id) }
    }

    // MARK: Streams

    /// Advertises a stream feature where `body` returns one, in the order of the modules. RFC 6120 §4.3.2.
    public func streamFeature(_ body: @escaping @ServerActor (ClientStream) -> Element?) {
        let negotiation = host.negotiation
        let id = negotiation.addFeature(rank: rank, body)
        onUnload { negotiation.removeFeature(id) }
    }

    /// Handles a first-level element that is no stanza, such as `<auth/>`.
    public func streamElement(
        _ name: String, _ namespace: Namespace,
        _ body: @escaping @ServerActor (ClientStream, Element) throws(StreamError) -> Void
    ) {
        let negotiation = host.negotiation
        negotiation.setHandler(name, namespace, body)
        onUnload { negotiation.setHandler(name, namespace, nil) }
    }

    /// Handles an IQ that arrives before the resource is bound, such as the bind request itself.
    public func streamIQ(
        _ name: String, _ namespace: Namespace, _ body: @escaping @ServerActor (ClientStream, IQ, Element) -> Void
    ) {
        let negotiation = host.negotiation
        negotiation.setIQHandler(name, namespace, body)
        onUnload { negotiation.setIQHandler(name, namespace, nil) }
    }

    /// Answers an element inside of another negotiation: see ``InlineStep``. Without a module that negotiates so, it is
    /// never asked.
    ///
    /// - Parameter feature: what advertises it there; nil for what needs no advertising.
    public func inline(
        _ step: InlineStep, _ name: String, _ namespace: Namespace, feature: Element? = nil,
        _ body: @escaping @ServerActor (ClientStream, Element) async -> InlineAnswer?
    ) {
        let negotiation = host.inline
        let id = negotiation.add(step, name, namespace, rank: rank, feature, body)
        onUnload { negotiation.remove(id) }
    }

    /// Adds to what a client is told when it binds a resource with Bind 2. XEP-0386 §3.2.
    public func reportOnBind(_ body: @escaping @ServerActor (ClientStream) async -> Element?) {
        let negotiation = host.inline
        let id = negotiation.addReport(rank: rank, body)
        onUnload { negotiation.remove(id) }
    }

    // MARK: Entities

    /// Takes every stanza to the domain in place of the host: disco, ping and all else are its own affair.
    public func takeOver(_ entity: any Entity) {
        let host = self.host
        host.setSubstitute(entity)
        onUnload { host.setSubstitute(nil) }
    }

    /// Takes the stanzas for domains that are not served here.
    public func serveElsewhere(_ entity: any Entity) {
        let router = self.router
        router.setElsewhere(entity)
        onUnload { router.setElsewhere(nil) }
    }

    // MARK: Accounts and stores

    /// Loads what the module keeps with each account, before any stanza reaches it. Stanzas from and to accounts that
    /// are in memory already wait until it is loaded for them, too.
    public func loadWithAccounts<Key: AccountKey>(
        _ key: Key.Type, _ body: @escaping @ServerActor (Account) async throws -> Key.Value
    ) {
        let accounts = host.accounts
        let id = accounts.addLoader(rank: rank) { account in account[key] = try await body(account) }
        onUnload {
            accounts.removeLoader(id)
            for account in accounts.loadedAccounts { account.forget(key) }
        }
        for account in accounts.loadedAccounts {
            account.load { $0[key] = try await body($0) }
        }
    }

    /// Keeps this value of a resource across restarts of the server, as long as its client may resume its stream.
    public func keepWithSession<Key: ResourceKey>(_ key: Key.Type) where Key.Value: Codable & Sendable {
        let state = host.sessionState
        let name = "\(module).\(key)"
        state.add(name, key)
        onUnload { state.remove(name) }
    }

    /// Has accounts loaded for presence, available or unavailable, that arrives while they are not, and would be dropped
    /// otherwise since nobody is there to see it.
    public func loadAccounts(forPresence isOfInterest: @escaping @ServerActor (Presence) -> Bool) {
        let accounts = host.accounts
        let id = accounts.addPresenceInterest(isOfInterest)
        onUnload { accounts.removePresenceInterest(id) }
    }

    /// One value per account.
    public func store<Value: Codable & Sendable>(
        _ name: String, of type: Value.Type = Value.self
    ) -> KeyValueStore<Value> {
        server.storage.values(name, on: domain)
    }

    /// Named values per account.
    public func map<Value: Codable & Sendable>(_ name: String, of type: Value.Type = Value.self) -> MapStore<Value> {
        server.storage.map(name, on: domain)
    }

    /// Named values per account, as bytes.
    public func rawMap(_ name: String) -> MapStore<[UInt8]> {
        server.storage.rawMap(name, on: domain)
    }

    /// Ordered items per account, as bytes.
    public func rawArchive(_ name: String) -> ArchiveStore<[UInt8]> {
        server.storage.rawArchive(name, on: domain)
    }

    // MARK: Services, timers, tasks

    /// Offers a service to other modules.
    public func provide<Service>(_ type: Service.Type, _ service: Service) {
        let host = self.host
        host.setService(type, service)
        onUnload { host.setService(type, nil) }
    }

    /// What another module offers, while it is loaded. Look it up when it is needed.
    public func service<Service>(_ type: Service.Type) -> Service? { host.service(type) }

    /// Calls `body` again and again until the module is unloaded.
    public func every(_ interval: Duration, _ body: @escaping @ServerActor () -> Void) {
        let timer = RepeatingTimer(clock: clock, interval: interval, body)
        timer.schedule()
        onUnload { timer.cancel() }
    }

    /// Calls `body` once, unless the module is unloaded before.
    @discardableResult
    public func after(_ delay: Duration, _ body: @escaping @ServerActor () -> Void) -> ScheduledAction {
        let scheduled = clock.after(delay, body)
        onUnload { scheduled.cancel() }
        return scheduled
    }

    /// Adds an ad-hoc command. XEP-0050.
    public func command(_ command: AdHocCommand) {
        let commands = host.commands
        commands.add(command)
        onUnload { commands.remove(command.node) }
    }
}

@ServerActor
private final class RepeatingTimer {
    private let clock: any ServerClock
    private let interval: Duration
    private let body: @ServerActor () -> Void
    private var scheduled: ScheduledAction?

    init(clock: any ServerClock, interval: Duration, _ body: @escaping @ServerActor () -> Void) {
        self.clock = clock
        self.interval = interval
        self.body = body
    }

    func schedule() {
        scheduled = clock.after(interval) {
            self.schedule()
            self.body()
        }
    }

    func cancel() {
        scheduled?.cancel()
        scheduled = nil
    }
}
