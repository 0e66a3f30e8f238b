/// Authenticates the clients of a host: mechanisms, credentials, limits. The module `sasl` offers it to whatever
/// negotiates SASL on a stream, in the elements of RFC 6120 §6 or in others.
@ServerActor
public protocol AuthenticationService: AnyObject {
    /// The mechanisms offered on a stream; nil where there are none: before TLS (RFC 6120 §5.3.1), and once the client
    /// has authenticated.
    func offer(to stream: ClientStream) -> SASLMechanismList?

    /// Takes what a client says.
    ///
    /// - Parameter reply: gets the one answer, at once or, with the stream suspended meanwhile, later; never once the
    ///   stream has ended. After too many failures the stream is closed when it returns.
    func take(
        _ request: AuthenticationRequest, on stream: ClientStream,
        reply: @escaping @ServerActor (AuthenticationReply) -> Void)
}

/// What a client says while it authenticates.
public enum AuthenticationRequest: Sendable {
    /// Begins an attempt. An initial response that is empty but present is not nil. RFC 6120 §6.4.2.
    case begin(mechanism: String, initialResponse: [UInt8]?)
    /// Begins an attempt with a token.
    case beginWithToken(TokenAttempt)
    case response([UInt8])
    case abort
    /// Something that could not be decoded, or asks for what it must not.
    case invalid(SASLFailure)
}

/// What a client is told while it authenticates.
public enum AuthenticationReply: Sendable {
    case challenge([UInt8])
    /// Send this, and tell the stream with ``ClientStream/authenticate(_:username:mechanism:restarts:)``.
    case success(AuthenticationSuccess)
    case failure(SASLFailure)
}

/// Who proved to be whom, and how.
public struct AuthenticationSuccess: Sendable {
    /// The localpart of the address that the client gets.
    public let localpart: String
    /// The localpart that the client proved to be; nil if it proved nothing. The same, but for a guest whose
    /// invitation is for several.
    public let username: String?
    public let mechanism: String
    public let additionalData: [UInt8]?
    /// The account as it was when the client was checked against it; nil for guests.
    public let record: AccountRecord?
    /// The token that was used, as its keeper calls it; nil if it was a password.
    public let token: String?

    public init(
        localpart: String, username: String?, mechanism: String, additionalData: [UInt8]? = nil,
        record: AccountRecord? = nil, token: String? = nil
    ) {
        self.localpart = localpart
        self.username = username
        self.mechanism = mechanism
        self.additionalData = additionalData
        self.record = record
        self.token = token
    }

    /// What is kept with the session about its beginning.
    public func login(by agent: UserAgent? = nil, client: String? = nil) -> ClientLogin {
        ClientLogin(
            userAgent: agent, client: client, mechanism: mechanism,
            passwordVersion: token == nil ? record.map { $0.passwordVersion ?? 0 } : nil)
    }
}

/// A client's attempt to log in with a token rather than a password.
public struct TokenAttempt: Sendable {
    public let mechanism: HashedTokenMechanism
    public let initialResponse: [UInt8]?
    /// The tokens that would open an account, given what is stored about it, if there is such an account. Asked for
    /// those that do not exist, too, so that the time it takes tells nothing.
    public let lookUp: @ServerActor @Sendable (String, AccountRecord?) async throws -> [HashedToken]

    public init(
        mechanism: HashedTokenMechanism, initialResponse: [UInt8]?,
        lookUp: @escaping @ServerActor @Sendable (String, AccountRecord?) async throws -> [HashedToken]
    ) {
        self.mechanism = mechanism
        self.initialResponse = initialResponse
        self.lookUp = lookUp
    }
}
