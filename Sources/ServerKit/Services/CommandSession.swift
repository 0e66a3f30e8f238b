import ServerKit

/// One run of a command, from the first form to its end. XEP-0050 §3.3.
@ServerActor
final class CommandSession {
    struct Stage {
        /// As it was shown, with what was filled in since.
        var form: DataForm
        let isLast: Bool
        let next: @Sendable @ServerActor (DataForm, AdHocCommand.Context) async throws -> AdHocCommand.Step
    }

    let id: String
    let user: JID
    let node: String
    /// Which registration of the command it runs.
    let registration: Int
    /// The forms so far; the last one is shown.
    var stages: [Stage] = []
    /// When it was last used, by the server's clock.
    var lastUse: Duration
    /// Whether a step is being taken.
    var isBusy = false

    init(id: String, user: JID, node: String, registration: Int, at now: Duration) {
        self.id = id
        self.user = user
        self.node = node
        self.registration = registration
        lastUse = now
    }

    /// What may be done in this stage, the default first. XEP-0050 §3.4.
    var actions: [CommandAction] {
        let forward: CommandAction = stages.last?.isLast ?? true ? .complete : .next
        return stages.count > 1 ? [forward, .prev] : [forward]
    }

    /// What an action means in this stage.
    ///
    /// - Throws: `bad-action` for one that is not allowed.
    func resolve(_ action: CommandAction) throws(StanzaError) -> CommandAction {
        switch action {
        case .cancel: return .cancel
        case .execute: return actions.first ?? .complete
        case .prev, .next, .complete:
            guard actions.contains(action) else { throw .command("bad-action", "This stage has no such action.") }
            return action
        }
    }

    /// Returns to the form before, which still holds what was filled in.
    func goBack() {
        if stages.count > 1 { stages.removeLast() }
    }

    /// Checks what was filled in, and remembers it.
    ///
    /// - Throws: `bad-payload`; the stage stays as it is.
    func read(
        _ submission: DataForm?
    ) throws(StanzaError) -> (
        DataForm, @Sendable @ServerActor (DataForm, AdHocCommand.Context) async throws -> AdHocCommand.Step
    ) {
        guard let index = stages.indices.last else { throw .command("bad-action", "Nothing was asked.") }
        guard let submission else { throw .command("bad-payload", "The form is missing.") }
        let values: DataForm
        do throws(StanzaError) { values = try stages[index].form.read(submission) } catch {
            throw .command("bad-payload", error.text)
        }
        for position in stages[index].form.fields.indices {
            let field = stages[index].form.fields[position]
            // What is secret is not shown again.
            guard let name = field.name, field.kind != .textPrivate, let filled = values[name] else { continue }
            stages[index].form.fields[position].values = filled.values
        }
        return (values, stages[index].next)
    }

    /// The answer that shows the present stage.
    var reply: Element {
        CommandReply(self, .executing, form: stages.last?.form, actions: actions).element
    }
}

/// The runs that have not come to their end.
@ServerActor
final class CommandSessions {
    private let server: Server
    private let idleTime: Duration
    private let perUser: Int
    private var sessions: [String: CommandSession] = [:]

    /// Forms in progress at one place, whoever they belong to: users elsewhere can be many.
    private static let limit = 10_000

    init(server: Server, idleTime: Duration, perUser: Int) {
        self.server = server
        self.idleTime = idleTime
        self.perUser = perUser
    }

    private var now: Duration { server.clock.now }

    /// A run that is about to begin; it counts once it is kept.
    func make(for user: JID, node: String, registration: Int, at place: String) -> CommandSession {
        let nonce = RandomToken.make()
        let id = nonce + seal(nonce, user, node, place)
        return CommandSession(id: id, user: user, node: node, registration: registration, at: now)
    }

    /// Finds a user's run.
    ///
    /// - Throws: `bad-sessionid` for one that never was, or not this user's; `session-expired` for one that ended.
    func session(
        _ id: String, of user: JID, node: String, registration: Int, at place: String
    ) throws(StanzaError) -> CommandSession {
        // The id itself proves to whom it was given, so that those that ended need not be remembered.
        let nonce = String(id.prefix(32))
        let expected = nonce + seal(nonce, user, node, place)
        guard Digest.constantTimeEqual(Array(id.utf8), Array(expected.utf8)) else {
            throw .command("bad-sessionid", "There is no such session.")
        }
        guard let session = sessions[id], session.registration == registration,
            session.isBusy || now - session.lastUse < idleTime
        else {
            sessions[id] = nil
            throw StanzaError(.notAllowed, nil, "The session has ended.").with(Element("session-expired", .commands))
        }
        guard !session.isBusy else { throw StanzaError(.unexpectedRequest, nil, "The last step is being taken.") }
        session.lastUse = now
        return session
    }

    /// - Throws: `.resourceConstraint` when nobody may begin anything.
    func checkRoom(for user: JID) throws(StanzaError) {
        let hasOwn = sessions.count < Self.limit || sessions.values.contains { $0.user.bare == user.bare }
        guard hasOwn else { throw .resourceConstraint }
    }

    /// Keeps a run for its next step.
    func keep(_ session: CommandSession) throws(StanzaError) {
        session.lastUse = now
        guard sessions[session.id] == nil else { return }
        let own = sessions.values.filter { $0.user.bare == session.user.bare }
        if own.count >= perUser, let oldest = own.filter({ !$0.isBusy }).min(by: { $0.lastUse < $1.lastUse }) {
            end(oldest)
        }
        guard sessions.count < Self.limit else { throw .resourceConstraint }
        sessions[session.id] = session
    }

    func end(_ session: CommandSession) {
        sessions[session.id] = nil
    }

    func forgetIdle() {
        let now = self.now
        sessions = sessions.filter { $0.value.isBusy || now - $0.value.lastUse < idleTime }
    }

    /// Binds a session's id to the one who runs it. XEP-0050 §3.3.
    private func seal(_ nonce: String, _ user: JID, _ node: String, _ place: String) -> String {
        let text = "command\u{0}\(nonce)\u{0}\(user)\u{0}\(node)\u{0}\(place)"
        return Hex.encode(Digest.hmac(.sha256, key: server.secret, Array(text.utf8)).prefix(8))
    }
}
