import ServerKit

/// Ad-Hoc Commands (XEP-0050): lists and runs the commands that modules offer on the host.
final class Commands: Module {
    static let info = ModuleInfo(
        "commands", "Lets users and administrators run commands from their clients",
        implements: [.xep(50, "1.3.0")],
        group: .recommended, scope: .domain, requires: ["disco"])

    struct Options: ModuleOptions {
        let idleTime: Duration
        let sessionsPerUser: Int

        init(_ config: inout OptionReader) {
            idleTime = config.duration(
                "idle_time", default: .minutes(15), in: .minutes(1)...(.hours(24)),
                "After how much hesitation a command that was begun is forgotten.")
            sessionsPerUser = config.int(
                "sessions_per_user", default: 10, in: 1...100,
                "Commands a user may have begun; the oldest is forgotten for one more.")
        }
    }

    private let options: Options

    init(options: Options) {
        self.options = options
    }

    func load(into host: ModuleHost) {
        let sessions = CommandSessions(
            host: host.host, idleTime: options.idleTime, perUser: options.sessionsPerUser)
        let entry = CommandNode()
        host.advertise(.commands, on: .host)
        host.discoNode(Namespace.commands.uri, CommandList())
        host.discoNodes(on: .host) { name, request in request.host.commands[name] == nil ? nil : entry }
        host.answer(.set, "command", .commands, on: .host) { try await self.run($0, sessions) }
        host.every(.minutes(1)) { sessions.forgetIdle() }
    }

    // MARK: Running

    /// XEP-0050 §2.4.
    private func run(_ request: IQRequest, _ sessions: CommandSessions) async throws -> Element {
        let input = try CommandInput(request.query)
        let host = request.host
        // XEP-0050 §4.4. Asked at every step: whoever lost a right has lost it for what was begun, too.
        guard let command = host.commands[input.node] else { throw StanzaError.itemNotFound }
        guard host.allows(command.access, from: request.from) else { throw StanzaError.forbidden }
        guard let id = input.sessionID else { return try await start(command, input, request, sessions) }
        let session = try sessions.session(id, of: request.from, node: input.node)
        let action = try session.resolve(input.action)
        switch action {
        case .cancel:
            sessions.end(session)
            return CommandReply(session, .canceled).element
        case .prev:
            session.goBack()
            return session.reply
        case .next, .complete, .execute:
            return try await proceed(session, input, request, sessions)
        }
    }

    private func start(
        _ command: AdHocCommand, _ input: CommandInput, _ request: IQRequest, _ sessions: CommandSessions
    ) async throws -> Element {
        guard input.action == .execute else { throw StanzaError.command("bad-action", "Nothing was begun.") }
        try sessions.checkRoom(for: request.from)
        guard let session = sessions.make(for: request.from, node: input.node) else { throw StanzaError.itemNotFound }
        let step = try await command.start(.init(host: request.host, from: request.from))
        return try take(step, session, sessions)
    }

    private func proceed(
        _ session: CommandSession, _ input: CommandInput, _ request: IQRequest, _ sessions: CommandSessions
    ) async throws -> Element {
        let (submission, next) = try session.read(input.form)
        session.isBusy = true
        defer { session.isBusy = false }
        let step = try await next(submission, .init(host: request.host, from: request.from))
        return try take(step, session, sessions)
    }

    private func take(
        _ step: AdHocCommand.Step, _ session: CommandSession, _ sessions: CommandSessions
    ) throws -> Element {
        switch step {
        case .form(let form, let isLast, let next):
            session.stages.append(CommandSession.Stage(form: form, isLast: isLast, next: next))
            try sessions.keep(session)
            return session.reply
        case .done(let form, let note):
            sessions.end(session)
            return CommandReply(session, .completed, form: form, note: note.map { ("info", $0) }).element
        case .failed(let note):
            // XEP-0050 §3.6.
            sessions.end(session)
            return CommandReply(session, .completed, note: ("error", note)).element
        }
    }
}

// MARK: - Listing

/// The fixed node below which commands are found. XEP-0050 §2.2.
private final class CommandList: DiscoNode {
    func info(node: String, request: IQRequest) throws -> [Element] {
        guard node == Namespace.commands.uri else { throw StanzaError.itemNotFound }
        let info = DiscoInfo(
            identities: [.init("automation", "command-list", name: "Commands")], features: [.commands])
        return info.elements
    }

    func items(node: String, request: IQRequest) throws -> [DiscoRegistry.Item] {
        guard node == Namespace.commands.uri else { throw StanzaError.itemNotFound }
        return request.host.commands.all
            .filter { request.host.allows($0.access, from: request.from) }
            .map { DiscoRegistry.Item(jid: request.host.jid, node: $0.node, name: $0.name) }
    }
}

/// A command as disco shows it. XEP-0050 §2.2.
private final class CommandNode: DiscoNode {
    func info(node: String, request: IQRequest) throws -> [Element] {
        let command = try command(node, request)
        let info = DiscoInfo(
            identities: [.init("automation", "command-node", name: command.name)], features: [.commands, .dataForms])
        return info.elements
    }

    func items(node: String, request: IQRequest) throws -> [DiscoRegistry.Item] {
        _ = try command(node, request)
        return []
    }

    private func command(_ node: String, _ request: IQRequest) throws(StanzaError) -> AdHocCommand {
        guard let command = request.host.commands[node] else { throw .itemNotFound }
        guard request.host.allows(command.access, from: request.from) else { throw .forbidden }
        return command
    }
}

extension Namespace {
    static let commands: Namespace = "http://jabber.org/protocol/commands"
}
