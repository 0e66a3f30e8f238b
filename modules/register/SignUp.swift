import ServerKit

/// How strangers make an account, before they log in on the same stream. XEP-0077 §3.1.1.
@ServerActor
final class SignUp {
    private let host: ModuleHost
    private let options: Register.Options
    /// When names were tried, for each network; the oldest first.
    private var attempts: [PeerNetwork?: [Duration]] = [:]

    /// How many networks are remembered. Beyond that nobody signs up, which is better than everybody.
    private static let networkLimit = 10_000
    /// How often a stream may be wrong before it ends.
    private static let failureLimit = 10

    init(host: ModuleHost, options: Register.Options) {
        self.host = host
        self.options = options
    }

    /// XEP-0077 §8. Only where passwords cannot be read on their way (XEP-0077 §11).
    func feature(for stream: ClientStream) -> Element? {
        guard options.allowsRegistration, stream.authenticated == nil, stream.transport.isSecure else { return nil }
        return Element("register", .registerFeature)
    }

    /// Takes a request that came before a resource was bound.
    func take(_ stream: ClientStream, _ iq: IQ, _ query: Element) {
        guard iq.isRequest else { return }
        do throws(StanzaError) {
            // XEP-0077 §3.1: what is not supported is not there.
            guard options.allowsRegistration else { throw .serviceUnavailable }
            guard stream.transport.isSecure else { throw StanzaError(.notAuthorized, nil, "Use TLS first.") }
            // XEP-0077 §3.2, §3.3: who is not bound has no address to change anything of.
            guard stream.authenticated == nil, !query.has("remove") else { throw .unexpectedRequest }
            // XEP-0077 §3.1.1: one identity for each stream.
            guard !stream[HasSignedUp.self] else { throw .notAcceptable("This stream has its account. Log in.") }
            switch iq.kind {
            case .get: stream.deliver(.iq(iq.result(form)))
            case .set: try signUp(stream, iq, query)
            case .result, .error: break
            }
        } catch {
            refuse(stream, iq, error)
        }
    }

    /// The form, and beside it the fields for clients that know no forms. XEP-0077 §4, §6.
    private var form: Element {
        let instructions = "Choose a username and a password for use with this service."
        let form = DataForm(
            .form, formType: Namespace.register.uri, title: "Sign up", instructions: [instructions],
            fields: [
                DataFormField("username", .textSingle, label: "Username", isRequired: true),
                DataFormField("password", .textPrivate, label: "Password", isRequired: true),
            ])
        return Element("query", .register) {
            Element("instructions", text: instructions)
            Element("username")
            Element("password")
            form.element
        }
    }

    private func signUp(_ stream: ClientStream, _ iq: IQ, _ query: Element) throws(StanzaError) {
        let fields = try RegistrationFields(query)
        guard fields.formType ?? Namespace.register.uri == Namespace.register.uri else {
            throw .badRequest("The form has the wrong FORM_TYPE.")
        }
        guard let wanted = fields.username, let password = fields.password, !wanted.isEmpty, !password.isEmpty else {
            throw .notAcceptable("A username and a password are needed.")
        }
        guard let username = Register.username(wanted), username.utf8.count <= options.usernameLength else {
            throw .notAcceptable("This is no username.")
        }
        guard !options.reservedUsernames.contains(username) else { throw .notAcceptable("This name is reserved.") }
        try options.check(password: password, username: username)
        // Last, so that only what could have led to an account counts: nobody can find out many names, either.
        try countAttempt(stream)
        stream.suspend()
        Task { @ServerActor in
            let failure = await self.create(username, password)
            if !stream.isClosing { self.finish(stream, iq, username, failure) }
            stream.resume()
        }
    }

    private func create(_ username: String, _ password: String) async -> StanzaError? {
        do {
            try await host.accounts.create(username, password: password)
            return nil
        } catch AccountError.exists {
            return .conflict
        } catch AccountError.badPassword {
            return .notAcceptable
        } catch {
            host.log.error("An account cannot be made", metadata: ["reason": "\(error)"])
            return StanzaError(.internalServerError, .wait)
        }
    }

    private func finish(_ stream: ClientStream, _ iq: IQ, _ username: String, _ failure: StanzaError?) {
        if let failure { return refuse(stream, iq, failure) }
        stream[HasSignedUp.self] = true
        stream.log.info("Account made", metadata: ["jid": "\(username)@\(host.domain)"])
        stream.deliver(.iq(iq.result()))
    }

    private func refuse(_ stream: ClientStream, _ iq: IQ, _ error: StanzaError) {
        stream.log.debug("Sign-up refused", metadata: ["reason": "\(error.condition.rawValue)"])
        // XEP-0077 §3.3: passwords are not sent back.
        stream.deliver(.iq(iq.bounced(error.withoutRequest())))
        stream[FailureCount.self] += 1
        guard stream[FailureCount.self] >= Self.failureLimit else { return }
        stream.close(StreamError(.policyViolation, "Too many failed attempts to sign up."))
    }

    // MARK: Limits

    /// XEP-0077 §3.1.1: not-acceptable for those who try too often. Peers without an address share a limit.
    private func countAttempt(_ stream: ClientStream) throws(StanzaError) {
        let network = PeerNetwork(stream.transport.peerAddress) 
        let now = host.clock.now
        let recent = (attempts[network] ?? []).filter { now - $0 < options.perAddress.interval }
        let isRoom = attempts[network] != nil || attempts.count < Self.networkLimit
        guard isRoom, recent.count < options.perAddress.count else {
            throw StanzaError(.notAcceptable, .wait, "Too many accounts were made here lately. Try again later.")
        }
        attempts[network] = recent + [now]
    }

    func forgetOldAttempts() {
        let now = host.clock.now
        attempts = attempts.filter { _, times in times.contains { now - $0 < options.perAddress.interval } }
    }

    private enum HasSignedUp: StreamKey {
        static let defaultValue = false
    }

    private enum FailureCount: StreamKey {
        static let defaultValue = 0
    }
}
