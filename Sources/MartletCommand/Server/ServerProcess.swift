import Glibc
import ServerKit

/// A process that serves, from reading the configuration to its end.
@ServerActor
final class ServerProcess {
    let path: String
    let server: Server
    let log: Logger
    let logControl: LogControl
    private let modules: [any Module.Type]
    private let events: AsyncStream<ProcessEvent>
    private let continuation: AsyncStream<ProcessEvent>.Continuation
    private var socket: ControlSocket?

    /// Serves until somebody asks it to stop.
    ///
    /// - Parameter onReady: is called when all ports are open.
    /// - Throws: whatever keeps the server from starting.
    nonisolated static func run(
        _ path: String, modules: [any Module.Type], logLevel: Logger.Level? = nil,
        onReady: @Sendable ([String: [ListenAddress]]) -> Void
    ) async throws {
        let configuration = try ConfigurationFile.read(path, modules: modules)
        let level = logLevel ?? Logger.Level(configuration.log.level)
        let logControl = LogControl(level, format: configuration.log.format)
        let log = logControl.logger()
        let storage = try OpenStorage.open(configuration) { error in
            log.error("Something could not be stored", metadata: ["reason": "\(error)"])
        }
        defer { storage.driver.close() }
        let process = await ServerProcess(path, configuration, storage, modules, logControl, log)
        do {
            try await process.start()
        } catch {
            await process.stop()
            throw error
        }
        let listening = await process.server.listening
        log.notice("Ready", metadata: ["ports": "\(listening.portList)"])
        onReady(listening)
        ServiceManager.ready()
        StartUpMemory.release()
        await process.serve()
    }

    private init(
        _ path: String, _ configuration: ServerConfiguration, _ storage: Storage, _ modules: [any Module.Type],
        _ logControl: LogControl, _ log: Logger
    ) {
        self.path = path
        self.modules = modules
        self.logControl = logControl
        self.log = log
        (events, continuation) = AsyncStream.makeStream()
        server = Server(configuration: configuration, storage: storage, modules: modules, log: log)
    }

    private func start() async throws {
        try await ProcessSignals.watch(continuation)
        try await server.start()
        answerControlCommands()
        if server.configuration.storage != "memory" || Files.exists(server.configuration.dataDirectory) {
            socket = try await ControlSocket.open(at: server.configuration.controlPath, server.control)
        }
    }

    private func serve() async {
        for await event in events {
            switch event {
            case .stop: return await stop()
            case .reload: _ = try? await reload()
            }
        }
    }

    private func stop() async {
        ServiceManager.stopping()
        log.notice("Stopping")
        socket?.close()
        await server.stop()
        log.notice("Stopped")
    }

    /// Asks the process to come to its end.
    func requestStop() {
        continuation.yield(.stop)
    }

    /// Reads the configuration again. With anything wrong in it, the running one is kept.
    ///
    /// - Returns: what the administrator should know although it worked.
    func reload() async throws -> [String] {
        ServiceManager.reloading()
        defer { ServiceManager.ready() }
        do {
            let old = server.configuration
            let new = try ConfigurationFile.read(path, modules: modules)
            let notes = Self.unchangeable(old, new)
            try server.reload(new)
            try await server.finishStartUp()
            if old.log.level != new.log.level { logControl.level = Logger.Level(new.log.level) }
            for note in notes { log.warning("Not changed by a reload", metadata: ["reason": "\(note)"]) }
            log.notice("Configuration reloaded")
            return notes
        } catch let problems as ConfigProblems {
            for problem in problems.all {
                log.error("Configuration kept, for the new one is wrong", metadata: ["reason": "\(problem)"])
            }
            throw problems
        } catch {
            log.error("The configuration could not be applied as a whole", metadata: ["reason": "\(error)"])
            throw error
        }
    }

    private static func unchangeable(_ old: ServerConfiguration, _ new: ServerConfiguration) -> [String] {
        let keys = [
            ("data_directory", old.dataDirectory != new.dataDirectory), ("storage", old.storage != new.storage),
            ("durability", old.durability != new.durability),
            ("log.format", old.log.format != new.log.format),
        ]
        return keys.filter(\.1).map { key, _ in "A new value of \(key) counts from the next start on." }
    }
}

extension [String: [ListenAddress]] {
    /// `c2s 5222, c2s_tls 5223`
    var portList: String {
        let parts = sorted { $0.key < $1.key }.filter { !$0.value.isEmpty }
        return parts.map { name, addresses in
            "\(name) \(addresses.map(\.description).joined(separator: " "))"
        }.joined(separator: ", ")
    }
}
