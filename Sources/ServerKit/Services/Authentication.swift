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
    case response([UInt8])
    case abort
    /// Something that could not be decoded.
    case invalid(SASLFailure)
}

/// What a client is told while it authenticates.
public enum AuthenticationReply: Sendable {
    case challenge([UInt8])
    /// Send this, and tell the stream with ``ClientStream/authenticate(_:mechanism:)``.
    case success(localpart: String, mechanism: String, additionalData: [UInt8]?)
    case failure(SASLFailure)
}
