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
    /// Secures the connection, after what was written has left in plain text. ``ClientStream/secured(_:)`` follows.
    func startTLS(_ server: TLSServer) throws
    /// Stops or resumes taking bytes from the peer.
    func setReading(_ isReading: Bool)
    /// Closes the connection, after what was written has left.
    func close()
}
