import ServerKit

/// Runs the exchanges of a host's streams: offers mechanisms, looks up credentials, limits guessing.
final class Authenticator: AuthenticationService {
    private let host: ModuleHost
    private var options: SASL.Options
    private var throttle = AuthenticationThrottle()
    private let preparation: SASLPreparation
    /// The last password that is being compared, or waits to be.
    private var lastVerification: Task<SASLStep, Never>?

    init(host: ModuleHost, options: SASL.Options) {
        self.host = host
        self.options = options
        preparation = SASLPreparation(domain: host.domain)
    }

    func reconfigure(_ options: SASL.Options) {
        self.options = options
        host.server.passwordIterations = options.passwordIterations
    }

    // MARK: The offer

    /// Who may be a guest; nil where there are accounts, and where guests are let in without being asked.
    private var book: (any GuestBook)? {
        host.host.isAnonymous ? host.service((any GuestBook).self) : nil
    }

    /// Whether everybody is let in.
    private var isOpen: Bool { host.host.isAnonymous && book?.isOpen != false }

    func offer(to stream: ClientStream) -> SASLMechanismList? {
        // RFC 6120 §5.3.1: TLS comes first, and SCRAM without it could be listened to and guessed at leisure.
        guard stream.authenticated == nil, stream.transport.isSecure else { return nil }
        let offered = login(on: stream).context.offered
        return offered.mechanisms.isEmpty ? nil : offered
    }

    /// What the stream was offered stays as it was for as long as it may be taken up.
    private func login(on stream: ClientStream) -> Login {
        if let login = stream[LoginKey.self] { return login }
        let policy = SASLPolicy(
            isAnonymous: isOpen, hasCredentials: !host.host.isAnonymous || book != nil,
            enabled: Set(options.mechanisms))
        let binds = policy.hasCredentials && policy.enabled.contains { $0.bindsChannel }
        let bindings = binds ? stream.transport.tls?.channelBindings ?? [] : []
        let context = SASLContext(
            domain: host.domain,
            offered: SASLMechanismList(policy, hasTLS: true, channelBindingTypes: bindings.map(\.type)),
            preparation: preparation,
            decoy: SCRAMDecoy(secret: host.server.secret, iterations: host.server.passwordIterations),
            channelBindings: bindings,
            // XEP-0474 §6.1: whatever negotiates SASL on a stream announces this list and no other.
            signsOffer: options.downgradeProtection)
        let login = Login(context: context)
        stream[LoginKey.self] = login
        return login
    }

    // MARK: The exchange

    func take(
        _ request: AuthenticationRequest, on stream: ClientStream,
        reply: @escaping @ServerActor (AuthenticationReply) -> Void
    ) {
        // RFC 6120 §6.5.4. What the client may have sent along is not even looked at.
        guard stream.transport.isSecure else { return count(.encryptionRequired, on: stream, reply) }
        let attempt = Attempt(login: login(on: stream), stream: stream, reply: reply)
        switch request {
        case .begin(let mechanism, let initialResponse):
            begin(attempt, mechanism, initialResponse) { context throws(SASLFailure) in
                try SASLExchange(mechanism: mechanism, context: context)
            }
        case .beginWithToken(let token):
            let bindings = stream.transport.tls?.channelBindings ?? []
            begin(attempt, token.mechanism.rawValue, token.initialResponse, token) { context throws(SASLFailure) in
                try SASLExchange(token: token.mechanism, bindings: bindings, context: context)
            }
        case .response(let data): respond(attempt, data)
        case .abort: fail(attempt, .aborted)
        case .invalid(let failure): fail(attempt, failure)
        }
    }

    private func begin(
        _ attempt: Attempt, _ mechanism: String, _ initialResponse: [UInt8]?, _ token: TokenAttempt? = nil,
        _ make: (SASLContext) throws(SASLFailure) -> SASLExchange
    ) {
        let login = attempt.login
        // RFC 6120 §6.5.8: an attempt ends before the next one begins.
        guard login.exchange == nil else { return fail(attempt, .malformedRequest) }
        do throws(SASLFailure) {
            var exchange = try make(login.context)
            let step = exchange.start(initialResponse: initialResponse)
            login.begin(exchange, mechanism, token)
            proceed(attempt, step)
        } catch {
            fail(attempt, error)
        }
    }

    private func respond(_ attempt: Attempt, _ data: [UInt8]) {
        // Asked again, or an attacker could open many exchanges before guessing in each.
        if let refusal = refusal(attempt) { return fail(attempt, refusal) }
        guard let step = attempt.login.exchange?.respond(data) else { return fail(attempt, .malformedRequest) }
        proceed(attempt, step)
    }

    private func proceed(_ attempt: Attempt, _ step: SASLStep) {
        let login = attempt.login
        switch step {
        case .challenge(let data): attempt.reply(.challenge(data))
        case .needCredentials(let username):
            login.username = username
            if let refusal = refusal(attempt) { return fail(attempt, refusal) }
            wait(attempt) { login.exchange?.provide(await self.lookUp(username, for: login)) }
        case .needVerification(let verification):
            wait(attempt) { await self.verify(attempt, verification) }
        case .success(.account(let username, let authzid), let data):
            throttle.recordSuccess(account: account(username))
            if host.host.isAnonymous {
                receive(attempt, username, isExact: authzid != nil, data)
            } else {
                succeed(attempt, username, as: username, data)
            }
        case .success(.token(let username, let token), let data):
            throttle.recordSuccess(account: account(username))
            succeed(attempt, username, as: username, data, token: token)
        case .success(.anonymous, let data): receiveAnybody(attempt, data)
        case .success(.certificate, _):
            // EXTERNAL is not among the mechanisms that options allow.
            fail(attempt, .invalidMechanism)
        case .failure(let failure): fail(attempt, failure)
        }
    }

    /// Lets in who proved to have been invited, under the address that the book gives.
    private func receive(_ attempt: Attempt, _ username: String, isExact: Bool, _ data: [UInt8]?) {
        do throws(SASLFailure) {
            guard let book else { throw SASLFailure.notAuthorized }
            succeed(attempt, try book.admit(username, isExact: isExact), as: username, data)
        } catch {
            fail(attempt, error)
        }
    }

    /// Lets in who proved nothing.
    private func receiveAnybody(_ attempt: Attempt, _ data: [UInt8]?) {
        // That may have changed since the mechanism was offered.
        guard isOpen else { return fail(attempt, .invalidMechanism) }
        do throws(SASLFailure) {
            // XEP-0175 §3: an address that nobody has had and nobody can guess.
            succeed(attempt, try book?.admitAnybody() ?? RandomToken.make(bytes: 10), as: nil, data)
        } catch {
            fail(attempt, error)
        }
    }

    /// Goes on with the step that `work` leads to; the stream takes nothing from the client meanwhile.
    private func wait(_ attempt: Attempt, _ work: @escaping @ServerActor () async -> SASLStep?) {
        let stream = attempt.stream
        stream.suspend()
        Task { @ServerActor in
            let step = await work()
            if !stream.isClosing { self.proceed(attempt, step ?? .failure(.malformedRequest)) }
            // The next step may wait as well, and has suspended the stream once more.
            stream.resume()
        }
    }

    // MARK: Credentials

    /// Asks the storage even for accounts that are loaded, or the time it takes would tell strangers who is online.
    private func lookUp(_ username: String, for login: Login) async -> CredentialLookup {
        // What accounts there may once have been here, and their tokens, are of no use.
        if host.host.isAnonymous {
            return login.token == nil ? book?.credentials(of: username) ?? .unknown : .tokens([], nil)
        }
        do {
            let record = try await host.accounts.store.record(of: username)
            login.record = record
            // Whoever proves to know the password, or has a token, learns that the account is locked. RFC 6120 §6.5.2.
            let isLocked = record?.isLocked == true
            if let token = login.token {
                let tokens = try await token.lookUp(username, record)
                return .tokens(record == nil ? [] : tokens, isLocked ? .accountDisabled : nil)
            }
            guard let record else { return .unknown }
            return isLocked ? .disabled(record.password) : .found(record.password)
        } catch {
            host.log.error(
                "An account cannot be read", metadata: ["account": "\(username)", "reason": "\(error)"])
            return .unavailable
        }
    }

    /// Compares passwords one at a time: what one guess tells the throttle counts for the next, and guesses never take
    /// more than one processor.
    private func verify(_ attempt: Attempt, _ verification: PasswordVerification) async -> SASLStep {
        let previous = lastVerification
        let task = Task { @ServerActor () -> SASLStep in
            _ = await previous?.value
            guard !attempt.stream.isClosing else { return .failure(.aborted) }
            if let refusal = self.refusal(attempt) { return .failure(refusal) }
            let isCorrect = await Self.run(verification)
            if !isCorrect { self.recordFailure(attempt) }
            return attempt.login.exchange?.verified(isCorrect) ?? .failure(.malformedRequest)
        }
        lastVerification = task
        return await task.value
    }

    @concurrent
    private static func run(_ verification: PasswordVerification) async -> Bool {
        verification.run()
    }

    // MARK: The throttle

    /// Why the client has to wait, if it has to; the same for accounts that exist and those that do not.
    private func refusal(_ attempt: Attempt) -> SASLFailure? {
        let verdict = throttle.verdict(
            address: PeerNetwork(attempt.stream.transport.peerAddress),
            account: attempt.login.username.map(account), now: host.clock.now)
        switch verdict {
        case .allowed: return nil
        case .refused(let wait):
            let seconds = max(1, wait.components.seconds)
            return SASLFailure(.temporaryAuthFailure, "Too many failed attempts. Try again in \(seconds) s.")
        }
    }

    /// Counts a wrong password, once.
    private func recordFailure(_ attempt: Attempt) {
        guard !attempt.login.isCounted else { return }
        attempt.login.isCounted = true
        throttle.recordFailure(
            address: PeerNetwork(attempt.stream.transport.peerAddress),
            account: attempt.login.username.map(account), now: host.clock.now)
    }

    private func account(_ localpart: String) -> String { "\(localpart)@\(host.domain)" }

    // MARK: The outcome

    private func succeed(
        _ attempt: Attempt, _ localpart: String, as username: String?, _ data: [UInt8]?, token: String? = nil
    ) {
        let mechanism = attempt.login.mechanism
        let success = AuthenticationSuccess(
            localpart: localpart, username: username, mechanism: mechanism, additionalData: data,
            record: attempt.login.record, token: token)
        attempt.stream[LoginKey.self] = nil
        attempt.reply(.success(success))
        attempt.stream.log.info("Authenticated", metadata: ["mechanism": "\(mechanism)"])
    }

    private func fail(_ attempt: Attempt, _ failure: SASLFailure) {
        let login = attempt.login
        if failure.condition == .notAuthorized { recordFailure(attempt) }
        let metadata: Logger.Metadata = [
            "reason": "\(failure.condition.rawValue)", "mechanism": "\(login.mechanism)",
            "account": "\(login.username ?? "")",
        ]
        // What tells of guessing is for the administrator's eyes, clients' mistakes are not.
        let level: Logger.Level = failure.condition == .notAuthorized ? .info : .debug
        attempt.stream.log.log(level: level, "Authentication failed", metadata: metadata)
        login.end()
        count(failure, on: attempt.stream, attempt.reply)
    }

    /// RFC 6120 §6.4.5.
    private func count(
        _ failure: SASLFailure, on stream: ClientStream, _ reply: @ServerActor (AuthenticationReply) -> Void
    ) {
        stream[FailureCount.self] += 1
        reply(.failure(failure))
        guard stream[FailureCount.self] >= options.attempts else { return }
        stream.close(StreamError(.policyViolation, "Too many failed attempts to authenticate."))
    }
}

/// One request of a client, and where the answer goes.
private struct Attempt {
    let login: Login
    let stream: ClientStream
    let reply: @ServerActor (AuthenticationReply) -> Void
}

/// What a stream was offered, and the exchange that is under way.
@ServerActor
private final class Login {
    let context: SASLContext
    var exchange: SASLExchange?
    private(set) var mechanism = ""
    /// The localpart the client named.
    var username: String?
    /// Whether the throttle has counted this exchange.
    var isCounted = false
    /// The token that is tried, where it is not a password.
    private(set) var token: TokenAttempt?
    /// What is stored about the account.
    var record: AccountRecord?

    init(context: SASLContext) {
        self.context = context
    }

    func begin(_ exchange: SASLExchange, _ mechanism: String, _ token: TokenAttempt?) {
        self.exchange = exchange
        self.mechanism = mechanism
        self.token = token
        isCounted = false
    }

    func end() {
        exchange = nil
        mechanism = ""
        username = nil
        token = nil
        record = nil
    }
}

private enum LoginKey: StreamKey {
    static var defaultValue: Login? { nil }
}

private enum FailureCount: StreamKey {
    static let defaultValue = 0
}

extension SASLPreparation {
    fileprivate init(domain: String) {
        self.init(
            localpart: { (try? JID(localpart: $0, domainpart: domain))?.localpart },
            password: { try? PRECIS.opaqueString($0) },
            authzid: { JID($0)?.description })
    }
}
