import NIOCore
import NIOPosix
import ServerKit
import StorageMemory
import Synchronization

/// How the bytes of a play travel.
public enum Medium: Sendable {
    /// Through buffers in memory.
    case memory
    /// Through TLS sockets on the loopback interface.
    case tls
}

/// Performs a play: a server with these modules, and clients in dialogue with it.
///
/// - Parameters:
///   - modules: those to load, with their defaults unless `config` says otherwise.
///   - config: lines for the top level of the configuration; hosts are `montague.example` and `capulet.example` unless
///     it names others.
///   - medium: how the bytes travel.
///   - names: answers questions about names in place of the DNS.
public func play(
    modules: [any Module.Type], config: String = "", over medium: Medium = .memory,
    driver: any StorageDriver = MemoryStorageDriver(), names: (any DNSLookup)? = nil,
    _ body: @escaping @ServerActor @Sendable (Stage) async throws -> Void
) async throws {
    let stage = try await Stage(modules: modules, config: config, medium: medium, driver: driver, names: names)
    do {
        try await body(stage)
    } catch {
        await stage.strike()
        throw error
    }
    await stage.strike()
}

/// The place of a play: a server, its clock and everybody who entered.
@ServerActor
public final class Stage {
    public private(set) var server: Server
    public let clock = StageClock()
    public let driver: any StorageDriver
    let medium: Medium
    var listener: StageListener?
    private let modules: [any Module.Type]
    private var config: String
    private let names: (any DNSLookup)?
    private var actors: [Actor] = []
    private var performedRestarts = 0

    init(
        modules: [any Module.Type], config: String, medium: Medium, driver: any StorageDriver,
        names: (any DNSLookup)? = nil
    ) async throws {
        self.modules = modules
        self.names = names
        self.config = config
        self.medium = medium
        self.driver = driver
        server = try Self.makeServer(modules, config, driver, clock, names)
        try await server.start()
        if medium == .tls { listener = try await StageListener() }
    }

    private static func makeServer(
        _ modules: [any Module.Type], _ config: String, _ driver: any StorageDriver, _ clock: StageClock,
        _ names: (any DNSLookup)?
    ) throws -> Server {
        let configuration = try configuration(config, modules)
        var log = Logger(label: "stage") { _ in SwiftLogNoOpLogHandler() }
        log.logLevel = .critical
        let server = Server(
            configuration: configuration, storage: Storage(driver), modules: modules, log: log, clock: clock)
        server.nameService = names
        return server
    }

    /// The configuration of a play: the modules given are on, whatever their default.
    private static func configuration(
        _ config: String, _ modules: [any Module.Type]
    ) throws -> ServerConfiguration {
        var text = config.hasSuffix("\n") ? config : config + "\n"
        if !text.contains("hosts:") { text += "hosts: { montague.example: {}, capulet.example: {} }\n" }
        if !text.contains("\nmodules:"), !text.hasPrefix("modules:") {
            let switched = modules.map { $0.info }.filter { $0.scope != .component }
            text += "modules:\n" + switched.map { "  \($0.name): on\n" }.joined()
        }
        let (read, problems) = ServerConfiguration.read(
            bytes: Array(text.utf8), file: "play.yaml", listeners: ServerConfiguration.knownListeners)
        let all = problems + (read.map { ModulePlanner(modules).problems(in: $0) } ?? [])
        guard let read, all.isEmpty else { throw ConfigProblems(all) }
        return read
    }

    /// Ends the play.
    func strike() async {
        for actor in actors { actor.drop() }
        await server.stop()
        await listener?.close()
    }

    // MARK: The server

    /// Takes up another configuration, as `martlet reload` does.
    public func reload(_ config: String) throws {
        try server.reload(Self.configuration(config, modules))
        self.config = config
    }

    /// Stops the server and starts another one on the same storage. Whoever was on stage has left it.
    ///
    /// - Parameter pause: how long nothing runs.
    public func restart(after pause: Duration = .zero) async throws {
        await server.stop()
        for actor in actors { actor.drop() }
        actors = []
        let end = clock.now + pause
        while clock.runNext(until: end) {}
        server = try Self.makeServer(modules, config, driver, clock, names)
        try await server.start()
    }

    /// Has the server end without a word, as when its process is killed, and starts another one on the same storage. What
    /// was queued for the storage by then is there. For plays in memory.
    ///
    /// - Parameter pause: how long nothing runs.
    public func crash(after pause: Duration = .zero) async throws {
        await settle()
        for actor in actors { actor.losesServer() }
        actors = []
        clock.forgetAll()
        clock.pass(pause)
        server = try Self.makeServer(modules, config, driver, clock, names)
        try await server.start()
    }

    /// Lets time pass, with everything that is due in between.
    public func advance(by duration: Duration) async {
        // What was said before happens before.
        await settle()
        let limit = clock.now + duration
        while clock.runNext(until: limit) { await settle() }
        await settle()
    }

    /// Returns when nothing is in progress any more.
    public func settle() async {
        for _ in 0..<8 {
            await driver.flush()
            for round in 0..<4 {
                // Work that left the loop, too; going there and back is most of what a play costs.
                if round % 2 == 0 { await Task.yield() }
                await SocketTurn.tasks()
            }
        }
        guard medium == .tls else { return }
        for _ in 0..<4 {
            await SocketTurn.pass(2)
            await driver.flush()
        }
    }

    // MARK: Those who act

    /// Makes an account. Its password is "secret".
    public func account(_ jid: String, password: String = "secret") async throws {
        guard let jid = JID(jid), let localpart = jid.localpart, let host = server.host(jid.domainpart) else {
            throw AccountError.unknown
        }
        do { try await host.accounts.create(localpart, password: password) } catch AccountError.exists {}
    }

    /// Brings a client on stage: makes its account, logs in, binds, sends presence, and swallows the exchange.
    ///
    /// - Parameter presence: whether to send initial presence; its content, if given.
    public func enter(
        _ jid: String, presence: Bool = true, with content: String = "", file: String = #fileID, line: Int = #line
    ) async throws -> Actor {
        guard let full = JID(jid), let localpart = full.localpart, let resourcepart = full.resourcepart,
            let host = server.host(full.domainpart)
        else { throw StageError("\(jid) is no full JID of a host on stage", .init(file: file, line: line)) }
        if !host.isAnonymous { try await account(full.bare.description) }
        let actor = try await connect(to: full.domainpart)
        try await actor.becomes(localpart, resourcepart, host)
        await settle()
        actor.forgetAll()
        guard presence else { return actor }
        try await actor.sends("<presence>\(content)</presence>")
        // What the presence brings comes before the answer to what nobody understands. Over sockets of a busy machine
        // that may take longer than things seem to need to settle.
        if medium == .tls { try await actor.isRefused(.get, "<settled xmlns='urn:x-stage'/>") }
        await settle()
        if actor.resource?.isAvailable == false { actor.resource?.setPresence(Presence()) }
        await settle()
        actor.forgetAll()
        for other in actors { other.forgetPresence(of: full) }
        return actor
    }

    /// Brings somebody without an account on stage: logs in on an anonymous host (XEP-0175), binds, sends presence. Needs
    /// the modules `sasl` and `bind`.
    ///
    /// - Parameter login: with what an invited guest logs in, by PLAIN; nil for somebody who has no invitation.
    public func enterAsGuest(
        of domain: String, as login: (localpart: String, password: String)? = nil, presence: Bool = true,
        file: String = #fileID, line: Int = #line
    ) async throws -> Actor {
        let actor = try await connect(to: domain)
        try await actor.becomesGuest(login, .init(file: file, line: line))
        await settle()
        if presence { try await actor.sends("<presence/>") }
        await settle()
        actor.forgetAll()
        return actor
    }

    /// Brings an invited guest on stage.
    public func enter(
        with pass: GuestPass, presence: Bool = true, file: String = #fileID, line: Int = #line
    ) async throws -> Actor {
        let login = (pass.address.localpart ?? "", pass.password)
        return try await enterAsGuest(
            of: pass.address.domainpart, as: login, presence: presence, file: file, line: line)
    }

    /// Opens a connection and nothing more; the actor speaks raw XML, stream header included.
    public func connect(to domain: String, secure: Bool = true) async throws -> Actor {
        let actor = Actor(domain: domain, stage: self)
        try await actor.open(secure: secure)
        actors.append(actor)
        return actor
    }

    /// Fails if anybody has something unread once everything has settled.
    public func staysSilent(file: String = #fileID, line: Int = #line) async throws {
        await settle()
        for actor in actors { try actor.hasNothing(.init(file: file, line: line)) }
    }
}
