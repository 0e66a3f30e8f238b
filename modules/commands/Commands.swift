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
        let runner = CommandRunner(
            server: host.server, idleTime: options.idleTime, perUser: options.sessionsPerUser)
        let entry = CommandNode()
        host.advertise(.commands, on: .host)
        host.discoNode(Namespace.commands.uri, CommandList())
        host.discoNodes(on: .host) { name, request in request.host.commands[name] == nil ? nil : entry }
        host.answer(.set, "command", .commands, on: .host) { request in
            try await runner.run(request) { node throws(StanzaError) in try self.find(node, request) }
        }
        host.every(.minutes(1)) { runner.forgetIdle() }
    }

    /// XEP-0050 §4.4.
    private func find(_ node: String, _ request: IQRequest) throws(StanzaError) -> CommandRunner.Found {
        let commands = request.host.commands
        guard let command = commands[node], let registration = commands.registration(of: node) else {
            throw .itemNotFound
        }
        guard request.host.allows(command.access, from: request.from) else { throw .forbidden }
        return (command, registration)
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
