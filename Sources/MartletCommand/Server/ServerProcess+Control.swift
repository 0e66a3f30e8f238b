import Glibc
import ServerKit

extension ServerProcess {
    /// Answers the administrator's tool.
    func answerControlCommands() {
        let control = server.control
        control.answer(.status) { _ in try await self.status() }
        control.answer(.reload) { _ in
            do {
                return ControlNotes(notes: try await self.reload())
            } catch let problems as ConfigProblems {
                throw ControlFailure(
                    "\(problems)\nThe running configuration is kept.", exitCode: ExitStatus.configuration)
            }
        }
        control.answer(.stop) { _ in
            self.requestStop()
            return ControlNothing()
        }
        control.answer(.log) { try self.changeLog($0) }
        control.answer(.keys) { try await self.keys($0) }
        answerAccountCommands()
        answerGuestCommands()
    }

    private func status() async throws -> ServerStatus {
        var hosts: [ServerStatus.Host] = []
        for host in server.allHosts {
            hosts.append(
                ServerStatus.Host(
                    name: host.domain, accounts: try await host.accounts.store.count(),
                    resources: host.accounts.resourceCount, modules: server.loadedModules(on: host.domain)))
        }
        let components = server.allComponents.map { component in
            ServerStatus.Component(name: component.domain, modules: server.loadedModules(on: component.domain))
        }
        let uptime = server.clock.now - server.startedAt
        let started = Timestamp(seconds: server.clock.date.seconds - uptime.components.seconds)
        return ServerStatus(
            version: ServerVersion.number, processID: getpid(), startedAt: started.description,
            uptimeSeconds: uptime.components.seconds, memoryKiB: Self.residentKiB,
            logLevel: logControl.level.rawValue, listening: server.listening.mapValues { $0.map(\.description) },
            hosts: hosts, components: components, passwordIterations: server.passwordIterations)
    }

    private nonisolated static var residentKiB: Int {
        // The second number of statm is the count of resident pages. proc(5)
        guard let bytes = try? Files.read("/proc/self/statm") else { return 0 }
        let fields = String(decoding: bytes, as: UTF8.self).split(separator: " ")
        return fields.count > 1 ? (Int(fields[1]) ?? 0) * (sysconf(Int32(_SC_PAGESIZE)) / 1024) : 0
    }

    private func changeLog(_ arguments: LogArguments) throws -> LogReply {
        if let name = arguments.level {
            guard let level = Logger.Level(rawValue: name) else {
                throw ControlFailure("There is no log level \"\(name)\".", exitCode: ExitStatus.configuration)
            }
            logControl.level = level
            log.notice("Log level changed", metadata: ["level": "\(name)"])
        }
        if let address = arguments.trace {
            let jid = try account(address).jid
            let isOn = arguments.isTraceOn ?? true
            server.trace(jid, isOn)
            log.notice(isOn ? "Tracing" : "No longer tracing", metadata: ["jid": "\(jid)"])
        }
        return LogReply(level: logControl.level.rawValue)
    }

    private func keys(_ arguments: AccountArguments) async throws -> KeyLogReport {
        let (host, localpart, jid) = try account(arguments.address)
        guard let logs = host.service((any KeyLogs).self) else {
            throw ControlFailure("The module keys is not on for \(host.domain).", exitCode: ExitStatus.configuration)
        }
        guard try await host.accounts.store.record(of: localpart) != nil else {
            throw ControlFailure("There is no account \(jid).")
        }
        return try await logs.report(of: localpart)
    }

    // MARK: Accounts

    private func answerAccountCommands() {
        let control = server.control
        control.answer(.addAccount) { arguments in
            let (host, localpart, _) = try self.account(arguments.address)
            try await host.accounts.create(localpart, password: arguments.password ?? "")
            return ControlNothing()
        }
        control.answer(.setPassword) { arguments in
            let (host, localpart, _) = try self.account(arguments.address)
            try await host.accounts.setPassword(arguments.password ?? "", of: localpart)
            return ControlNothing()
        }
        control.answer(.removeAccount) { arguments in
            let (host, localpart, _) = try self.account(arguments.address)
            try await host.accounts.remove(localpart)
            return ControlNothing()
        }
        control.answer(.lockAccount) { try await self.setLocked(true, $0) }
        control.answer(.unlockAccount) { try await self.setLocked(false, $0) }
        control.answer(.listAccounts) { page in
            try await self.host(page.host).accounts.store.page(page)
        }
        control.answer(.insertAccounts) { batch in
            AccountBatchReply(existing: try await self.host(batch.host).accounts.store.insert(batch))
        }
    }

    private func setLocked(_ isLocked: Bool, _ arguments: AccountArguments) async throws -> ControlNothing {
        let (host, localpart, _) = try account(arguments.address)
        try await host.accounts.setLocked(isLocked, localpart)
        return ControlNothing()
    }

    private func account(_ address: String) throws -> (host: Host, localpart: String, jid: JID) {
        guard let jid = JID(address), let localpart = jid.localpart, jid.resourcepart == nil else {
            throw ControlFailure("\"\(address)\" is not the address of an account.", exitCode: 2)
        }
        return (try host(jid.domainpart), localpart, jid)
    }

    private func host(_ domain: String) throws -> Host {
        guard let host = server.host(domain) else {
            throw ControlFailure("The running server has no host \(domain).", exitCode: ExitStatus.configuration)
        }
        return host
    }
}
