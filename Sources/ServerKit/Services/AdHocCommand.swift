/// A command that users or administrators run from their clients. XEP-0050. Modules add commands to their host; the
/// module `commands` lists and runs them.
public struct AdHocCommand: Sendable {
    /// What a run of a command knows.
    public struct Context: Sendable {
        public let host: Host
        /// Who runs it.
        public let from: JID

        public init(host: Host, from: JID) {
            self.host = host
            self.from = from
        }
    }

    /// What a step leads to.
    public enum Step: Sendable {
        /// Shows a form, whose submission, checked against the form, `next` gets. `isLast` tells whether the command is
        /// then done, unless something goes wrong.
        case form(
            DataForm, isLast: Bool = true, next: @Sendable @ServerActor (DataForm, Context) async throws -> Step)
        /// It is done; a form with results, a sentence, or both.
        case done(DataForm? = nil, note: String? = nil)
        /// It is done with a warning or an error, which people read.
        case failed(String)
    }

    public let node: String
    public let name: String
    public let access: IQAccess
    public let start: @Sendable @ServerActor (Context) async throws -> Step

    /// - Parameters:
    ///   - node: identifies the command.
    ///   - name: what clients show.
    ///   - access: who may list and run it.
    public init(
        _ node: String, _ name: String, access: IQAccess = .admin,
        start: @escaping @Sendable @ServerActor (Context) async throws -> Step
    ) {
        self.node = node
        self.name = name
        self.access = access
        self.start = start
    }
}

/// The ad-hoc commands of a host.
@ServerActor
public final class CommandRegistry {
    private var commands: [String: (registration: Int, command: AdHocCommand)] = [:]
    private var nextRegistration = 0

    init() {}

    public subscript(node: String) -> AdHocCommand? { commands[node]?.command }

    /// A number that changes when another module, or the same one loaded anew, registers the command: what was begun
    /// before must not go on.
    public func registration(of node: String) -> Int? { commands[node]?.registration }

    /// All commands, by name.
    public var all: [AdHocCommand] { commands.values.map(\.command).sorted { $0.name < $1.name } }

    func add(_ command: AdHocCommand) {
        nextRegistration += 1
        commands[command.node] = (nextRegistration, command)
    }

    func remove(_ node: String) { commands[node] = nil }
}
