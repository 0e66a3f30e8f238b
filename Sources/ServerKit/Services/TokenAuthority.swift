/// Gives clients tokens with which they log in quickly from then on; the module `fast` offers it to the one that
/// negotiates.
@ServerActor
public protocol TokenAuthority: AnyObject {
    /// What is announced on a stream; nil where tokens are of no use.
    func feature(for stream: ClientStream) -> Element?

    /// The attempt that a request makes; nil if it is not about a token.
    func attempt(
        _ authenticate: Element, initialResponse: [UInt8]?, agentID: String?, on stream: ClientStream
    ) throws(SASLFailure) -> TokenAttempt?

    /// Takes note of a login before the client learns of it, and gives it the token it asked for or needs.
    ///
    /// - Parameters:
    ///   - agent: What the client says about itself, with the `client` that stands for it.
    /// - Returns: what the client is told.
    /// - Throws: the failure, if the token is not worth anything after all.
    func conclude(
        _ success: AuthenticationSuccess, _ authenticate: Element, agent: UserAgent?, client: String?,
        on stream: ClientStream
    ) async throws(SASLFailure) -> Element?

    /// The clients of an account that can log in with a token.
    func clients(of account: String) async throws -> [TokenClient]

    /// Makes the tokens of a client worthless, and returns once that is on disk.
    func revoke(client: String, of account: String) async throws
}

/// A client that has a token.
public struct TokenClient: Sendable {
    /// What stands for the client; see ``UserAgent/client(of:on:)``.
    public let client: String
    public let userAgent: UserAgent
    /// When it got its first token.
    public let since: Timestamp
    /// When it last logged in with one.
    public let lastUse: Timestamp

    public init(client: String, userAgent: UserAgent, since: Timestamp, lastUse: Timestamp) {
        self.client = client
        self.userAgent = userAgent
        self.since = since
        self.lastUse = lastUse
    }
}
