/// The stream, or whatever takes its place, that carries a resource's stanzas to its client.
@ServerActor
public protocol ResourceLink: AnyObject {
    /// Sends a stanza to the client, in order.
    func deliver(_ stanza: Stanza)
    /// Ends the stream.
    func close(_ error: StreamError?)
    /// Bytes that the client has not read yet.
    var backlog: Int { get }
    /// How the client is connected: `address`, `tls`, `mechanism`.
    var details: [String: String] { get }
    /// When the client last sent a byte, by the server's clock; nil while no client is connected.
    var lastHeard: Duration? { get }
}

extension ResourceLink {
    public var backlog: Int { 0 }
    public var details: [String: String] { [:] }
    public var lastHeard: Duration? { nil }
}

/// Stands between a resource and its link, and may hold stanzas back. XEP-0352 §5.
@ServerActor
public protocol ResourceGate: AnyObject {
    /// Takes a stanza for the resource's client: passes it on by ``Resource/sendPastGate(_:)``, now or later, or drops
    /// what later stanzas make superfluous.
    func take(_ stanza: Stanza, for resource: Resource)
}
