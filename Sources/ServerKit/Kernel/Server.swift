import NIOCore

/// A server: its hosts and components, its router, and the modules that a configuration asks for.
@ServerActor
public final class Server {
    public private(set) var configuration: ServerConfiguration
    public let storage: Storage
    public let clock: any ServerClock
    public let router = Router()
    /// What peers may make the server hold. The module `c2s` sets it from its options.
    public var limits = Limits()
    public let parsers = ParserPool()
    /// What administrators' tools may ask of the running server.
    public let control = ControlRegistry()
    /// The certificates, by host; filled by the module `tls`.
    public let identities: TLSIdentities
    public let planner: ModulePlanner
    public internal(set) var log: Logger
    /// How many iterations new passwords are salted with. Set by the module `sasl`.
    public var passwordIterations = StoredPassword.defaultIterations
    /// When the server was started, by its clock.
    public let startedAt: Duration
    /// A secret that survives restarts, for answers that must look the same each time. Set when the server starts.
    public private(set) var secret: [UInt8] = []

    /// The addresses that are open, by the service's name under `listen:`.
    public var listening: [String: [ListenAddress]] = [:]

    /// Answers questions about names in place of the DNS, for tests; nil for the DNS.
    public var nameService: (any DNSLookup)?

    /// Whether ``stop()`` has begun.
    public private(set) var isStopping = false

    private var startUps: [Task<Void, any Error>] = []
    private var configurationObservers: [(id: Int, body: @ServerActor () -> Void)] = []
    private var stopObservers: [(id: Int, body: @ServerActor () -> Void)] = []
    private var workChecks: [(id: Int, hasWork: @ServerActor () -> Bool)] = []
    private var nextObserver = 0
    private var hosts: [String: Host] = [:]
    private var components: [String: Host] = [:]
    /// Of hosts and components, by domain.
    private var managers: [String: ModuleManager] = [:]
    /// The modules that are loaded once; their facade's host is the first one.
    private var serverModules: ModuleManager?
    private var writer = XMLWriter(inStream: true)
    private var tracedJIDs: Set<JID> = []
    private var eviction: ScheduledAction?

    public init(
        configuration: ServerConfiguration, storage: Storage, modules: [any Module.Type], log: Logger,
        clock: any ServerClock = SystemClock()
    ) {
        self.configuration = configuration
        self.storage = storage
        self.clock = clock
        self.log = log
        identities = TLSIdentities([:])
        planner = ModulePlanner(modules)
        startedAt = clock.now
    }

    // MARK: Life

    /// Loads the secret, makes the hosts and loads their modules.
    ///
    /// - Throws: a storage error, or a ``ModuleError``.
    public func start() async throws {
        let store = storage.rawValues("secret", on: "")
        if let stored = try await store.value(for: "server") {
            secret = stored
        } else {
            secret = Digest.randomBytes(32)
            try await storage.durable(store.set(secret, for: "server"))
        }
        loadCertificates()
        do {
            try apply(configuration)
            try await finishStartUp()
        } catch {
            await stop()
            throw error
        }
        scheduleEviction()
    }

    /// Returns when everything that takes time during start or reload is done, such as opening ports.
    ///
    /// - Throws: what a module reported.
    public func finishStartUp() async throws {
        var failure: (any Error)?
        while !startUps.isEmpty {
            let next = startUps.removeFirst()
            do { try await next.value } catch { failure = failure ?? error }
        }
        if let failure { throw failure }
    }

    func addStartUp(_ body: @escaping @ServerActor () async throws -> Void) {
        startUps.append(Task { @ServerActor in try await body() })
    }

    /// Takes up another configuration: hosts and modules come, go and change; clients stay connected.
    ///
    /// - Throws: ``ConfigProblems``, and nothing has changed; or a ``ModuleError`` of modules that refused to load, and
    ///   everything else is as the configuration says.
    public func reload(_ new: ServerConfiguration) throws {
        let problems = planner.problems(in: new)
        guard problems.isEmpty else { throw ConfigProblems(problems) }
        loadCertificates(of: new)
        defer { for observer in configurationObservers { observer.body() } }
        try apply(new)
    }

    /// Reads the certificates anew; connections keep the one they began with.
    ///
    /// - Returns: what was found.
    @discardableResult
    public func loadCertificates() -> CertificateStore.Result {
        loadCertificates(of: configuration)
    }

    @discardableResult
    private func loadCertificates(of configuration: ServerConfiguration) -> CertificateStore.Result {
        let result = CertificateLoader(configuration).load()
        // One certificate for all is right for whoever does not say which host is meant.
        let first = result.identities.values.first
        let only = result.identities.values.allSatisfy { $0 === first } ? first : nil
        identities.replace(with: result.identities, fallback: only)
        for problem in result.problems { log.warning("Certificates", metadata: ["reason": "\(problem)"]) }
        for report in result.reports {
            for text in report.errors + report.warnings { log.warning("Certificates", metadata: ["reason": "\(text)"]) }
        }
        return result
    }

    func addConfigurationObserver(_ body: @escaping @ServerActor () -> Void) -> Int {
        nextObserver += 1
        configurationObservers.append((nextObserver, body))
        return nextObserver
    }

    func removeConfigurationObserver(_ id: Int) {
        configurationObservers.removeAll { $0.id == id }
    }

    func addStopObserver(_ body: @escaping @ServerActor () -> Void) -> Int {
        nextObserver += 1
        stopObservers.append((nextObserver, body))
        return nextObserver
    }

    func removeStopObserver(_ id: Int) {
        stopObservers.removeAll { $0.id == id }
    }

    func addWorkCheck(_ hasWork: @escaping @ServerActor () -> Bool) -> Int {
        nextObserver += 1
        workChecks.append((nextObserver, hasWork))
        return nextObserver
    }

    func removeWorkCheck(_ id: Int) {
        workChecks.removeAll { $0.id == id }
    }

    private func apply(_ new: ServerConfiguration) throws {
        configuration = new
        let names = new.hosts.map(\.name)
        let componentNames = new.components.map(\.name)
        for domain in components.keys.sorted() where !componentNames.contains(domain) { remove(domain) }
        for domain in hosts.keys.sorted() where !names.contains(domain) { remove(domain) }
        for settings in new.hosts {
            if let host = hosts[settings.name] {
                host.configuration = settings
            } else {
                hosts[settings.name] = add(settings)
            }
        }
        for component in new.components {
            let settings = HostConfiguration(component: component)
            if let host = components[component.name] {
                host.configuration = settings
            } else {
                components[component.name] = add(settings, isComponent: true)
            }
        }
        var objections: [String] = []
        let plans = names.map { ($0, planner.plan(new, host: $0)) }
            + new.components.map { ($0.name, planner.plan(new, component: $0)) }
        for (domain, plan) in plans {
            do { try managers[domain]?.apply(plan) } catch { objections.append("\(error)") }
        }
        if let first = names.first.flatMap({ hosts[$0] }) {
            let manager = serverModules ?? ModuleManager(host: first, scopes: [.server])
            serverModules = manager
            do { try manager.apply(planner.serverPlan(new)) } catch { objections.append("\(error)") }
        }
        if !objections.isEmpty { throw ModuleError(objections.joined(separator: "\n")) }
    }

    private func add(_ settings: HostConfiguration, isComponent: Bool = false) -> Host {
        let host = Host(server: self, configuration: settings, isComponent: isComponent)
        let scopes: Set<ModuleInfo.Scope> = [isComponent ? .component : .host, .hostAndComponent, .domain]
        managers[settings.name] = ModuleManager(host: host, scopes: scopes)
        router.attach(host, to: settings.name)
        return host
    }

    private func remove(_ domain: String) {
        guard let host = hosts[domain] ?? components[domain] else { return }
        // RFC 6120 §4.9.3.5.
        closeStreams(of: host, StreamError(.hostGone))
        managers.removeValue(forKey: domain)?.unloadAll()
        host.accounts.unloadAll()
        router.detach(domain)
        hosts[domain] = nil
        components[domain] = nil
    }

    /// Ends all streams and unloads all modules; what is queued for storage is on disk when this returns.
    public func stop() async {
        isStopping = true
        eviction?.cancel()
        for host in hosts.values { closeStreams(of: host, StreamError(.systemShutdown)) }
        await finishWork()
        for observer in stopObservers { observer.body() }
        serverModules?.unloadAll()
        for manager in managers.values { manager.unloadAll() }
        await storage.driver.flush()
        // The farewells leave at the ends of the loop's next turns.
        for _ in 0..<16 { try? await ServerActor.loop.submit {}.get() }
    }

    /// Waits until what clients sent has been handled to its end, for some seconds at most.
    private func finishWork() async {
        for _ in 0..<300 where !isIdle {
            try? await ServerActor.loop.scheduleTask(in: .milliseconds(10)) {}.futureResult.get()
        }
    }

    private var isIdle: Bool {
        !workChecks.contains { $0.hasWork() }
            && hosts.values.allSatisfy { host in
                host.accounts.isIdle
                    && host.accounts.loadedAccounts.allSatisfy { $0.resources.allSatisfy(\.fence.isSettled) }
            }
    }

    private func closeStreams(of host: Host, _ error: StreamError) {
        for account in host.accounts.loadedAccounts {
            for resource in account.resources { resource.close(error) }
        }
    }

    private func scheduleEviction() {
        eviction = clock.after(.seconds(60)) {
            let now = self.clock.now
            for host in self.hosts.values { host.accounts.evictIdle(now: now) }
            self.scheduleEviction()
        }
    }

    // MARK: Hosts

    /// The host with this name, where accounts may live; components are none.
    public func host(_ domain: String) -> Host? { hosts[domain] }

    /// All hosts with accounts, by name.
    public var allHosts: [Host] { hosts.values.sorted { $0.domain < $1.domain } }

    /// The component with this name.
    public func component(_ domain: String) -> Host? { components[domain] }

    /// All components, by name.
    public var allComponents: [Host] { components.values.sorted { $0.domain < $1.domain } }

    /// The components that a host shows to its users, those below its own domain first.
    ///
    /// Which rooms or which upload service a client finds first is the one it will use. So a component belongs to the
    /// hosts at or below the domain it is itself below: `conference.example.org` to `example.org` and
    /// `guests.example.org`. One that is below none, such as `chat.example.net`, belongs to all.
    public func components(of host: Host) -> [Host] {
        let all = allComponents.filter { hosts(of: $0).contains(host.domain) }
        let isOwn: (Host) -> Bool = { $0.domain.hasSuffix(".\(host.domain)") }
        return all.filter(isOwn) + all.filter { !isOwn($0) }
    }

    private func hosts(of component: Host) -> [String] {
        var parent = Substring(component.domain)
        while let dot = parent.firstIndex(of: ".") {
            parent = parent[parent.index(after: dot)...]
            // All of a country are no family.
            let isFamily = parent.contains(".")
            let found = hosts.keys.filter { $0 == parent || isFamily && $0.hasSuffix(".\(parent)") }
            if !found.isEmpty { return found }
        }
        return Array(hosts.keys)
    }

    /// The host of a server that has no other.
    var onlyHost: Host? { hosts.count == 1 ? hosts.values.first : nil }

    /// The names of the modules loaded on a host or component.
    public func loadedModules(on domain: String) -> [String] {
        ((managers[domain]?.names ?? []) + (components[domain] == nil ? serverModules?.names ?? [] : [])).sorted()
    }

    /// The resource with this full JID, if it is bound here.
    public func localResource(_ jid: JID) -> Resource? {
        guard let localpart = jid.localpart, let resourcepart = jid.resourcepart else { return nil }
        return hosts[jid.domainpart]?.accounts.loadedAccount(localpart)?.resource(resourcepart)
    }

    // MARK: Output

    /// Serialises into the one buffer that all streams share, and hands it to the stream.
    func write(to stream: ClientStream, isUrgent: Bool = true, _ body: (inout XMLWriter) -> Void) {
        encode(body) { stream.write($0, isUrgent: isUrgent) }
    }

    /// Serialises what `body` writes into the one buffer that all streams share, for `use` to send.
    public func encode(_ body: (inout XMLWriter) -> Void, to use: ([UInt8]) -> Void) {
        var writer = XMLWriter(inStream: true)
        swap(&writer, &self.writer)
        body(&writer)
        use(writer.bytes)
        writer.removeAll()
        swap(&writer, &self.writer)
    }

    // MARK: Tracing

    /// Shows, in the log, the XML of a bare JID's sessions from now on, or stops to.
    public func trace(_ jid: JID, _ isOn: Bool) {
        if isOn { tracedJIDs.insert(jid.bare) } else { tracedJIDs.remove(jid.bare) }
    }

    /// Whether the XML of an address, of another server for instance, is shown.
    public func isTraced(_ jid: JID) -> Bool { !tracedJIDs.isEmpty && tracedJIDs.contains(jid) }

    func traces(_ stream: ClientStream) -> Bool {
        guard !tracedJIDs.isEmpty, let localpart = stream.authenticated, let host = stream.host else { return false }
        return tracedJIDs.contains(JID(unchecked: localpart, domainpart: host.domain, resourcepart: nil))
    }
}
