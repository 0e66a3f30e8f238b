/// Runs ad-hoc commands, step by step. XEP-0050 §2.4, §3. Whoever has commands has one: a host, a service with rooms.
@ServerActor
public final class CommandRunner {
    /// A command, and which registration of it: what was begun with another one must not go on.
    public typealias Found = (command: AdHocCommand, registration: Int)

    private let sessions: CommandSessions

    /// - Parameters:
    ///   - idleTime: after how much hesitation a command that was begun is forgotten.
    ///   - perUser: how many somebody may have begun; the oldest is forgotten for one more.
    public init(server: Server, idleTime: Duration = .minutes(15), perUser: Int = 10) {
        sessions = CommandSessions(server: server, idleTime: idleTime, perUser: perUser)
    }

    /// Takes the step that a `<command/>` asks for.
    ///
    /// - Parameters:
    ///   - place: whose command it is, where one runner serves many.
    ///   - takesFormAtOnce: whether who knows the form may send it with the first request, in place of asking for it.
    ///   - find: finds a command by its node. It is asked at every step: whoever lost a right has lost it for what was
    ///     begun, too. Throws `.itemNotFound` or `.forbidden` (XEP-0050 §4.4).
    /// - Returns: the answer.
    public func run(
        _ request: IQRequest, at place: String = "", takesFormAtOnce: Bool = false,
        find: (_ node: String) throws(StanzaError) -> Found
    ) async throws -> Element {
        let input = try CommandInput(request.query)
        let found = try find(input.node)
        guard let id = input.sessionID else {
            guard input.action == .execute || takesFormAtOnce && input.form != nil && input.action == .complete else {
                throw StanzaError.command("bad-action", "Nothing was begun.")
            }
            return try await start(found, input, request, place, takesFormAtOnce)
        }
        let session = try sessions.session(
            id, of: request.from, node: input.node, registration: found.registration, at: place)
        switch try session.resolve(input.action) {
        case .cancel:
            sessions.end(session)
            return CommandReply(session, .canceled).element
        case .prev:
            session.goBack()
            return session.reply
        case .next, .complete, .execute: return try await proceed(session, input.form, request)
        }
    }

    /// Forgets what nobody goes on with. Call it now and then.
    public func forgetIdle() { sessions.forgetIdle() }

    private func start(
        _ found: Found, _ input: CommandInput, _ request: IQRequest, _ place: String, _ takesFormAtOnce: Bool
    ) async throws -> Element {
        try sessions.checkRoom(for: request.from)
        let session = sessions.make(
            for: request.from, node: input.node, registration: found.registration, at: place)
        let step = try await found.command.start(.init(host: request.host, from: request.from))
        if takesFormAtOnce, let submission = input.form, case .form(let form, let isLast, let next) = step {
            session.stages.append(CommandSession.Stage(form: form, isLast: isLast, next: next))
            return try await proceed(session, submission, request)
        }
        return try take(step, session)
    }

    private func proceed(
        _ session: CommandSession, _ form: DataForm?, _ request: IQRequest
    ) async throws -> Element {
        let (submission, next) = try session.read(form)
        session.isBusy = true
        defer { session.isBusy = false }
        let step = try await next(submission, .init(host: request.host, from: request.from))
        return try take(step, session)
    }

    private func take(_ step: AdHocCommand.Step, _ session: CommandSession) throws -> Element {
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
