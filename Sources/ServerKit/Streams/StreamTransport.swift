/// What carries a stream's bytes: a socket, or a test's stage.
@ServerActor
public protocol StreamTransport: AnyObject {
    /// The peer's address without its port, for limits and logs.
    var peerAddress: String { get }
    /// What TLS agreed upon; nil on a connection that is not secured.
    var tls: TLSInfo? { get }
    /// Whether what is sent can be read by the peer alone.
    var isSecure: Bool { get }
    /// Bytes that were written and have not left.
    var backlog: Int { get }
    /// Queues bytes; what is written within one turn leaves in one piece.
    ///
    /// - Parameter isUrgent: whether somebody waits for them. Others may stay for some milliseconds, to leave together
    ///   with what comes next: that saves most of what they cost.
    func write(_ bytes: [UInt8], isUrgent: Bool)
    /// Secures a connection that was accepted, after what was written has left in plain text.
    /// ``StreamEndpoint/secured()`` follows.
    func startTLS(_ server: TLSServer) throws
    /// Secures a connection that was opened, likewise.
    func startTLS(_ client: TLSClient) throws
    /// Stops or resumes taking bytes from the peer.
    func setReading(_ isReading: Bool)
    /// Closes the connection, after what was written has left.
    func close()
}

/// Takes what a transport carries: one end of a stream, of whatever kind.
@ServerActor
public protocol StreamEndpoint: AnyObject {
    /// Takes bytes from the peer.
    func receive(_ bytes: UnsafeRawBufferPointer)
    /// The connection has been secured.
    func secured()
    /// The connection is gone.
    func connectionLost(_ reason: String)
}

/// How a connection to another server is secured.
public struct TLSClient: Sendable {
    /// Whom to believe, and what to present.
    public let context: TLSContext
    /// The host to ask for, in ASCII form. RFC 6066 §3.
    public let serverName: String
    /// What to offer, in order of preference. RFC 7301.
    public let applicationProtocols: [String]

    public init(_ context: TLSContext, serverName: String, applicationProtocols: [String] = []) {
        self.context = context
        self.serverName = serverName
        self.applicationProtocols = applicationProtocols
    }
}
