/// An XML namespace name. Constants are declared once, by whoever implements the protocol:
/// `extension Namespace { static let carbons: Namespace = "urn:xmpp:carbons:2" }`.
public struct Namespace: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    /// The namespace name, compared byte by byte (XML Namespaces §2.3).
    public let uri: String

    public init(_ uri: String) {
        self.uri = uri
    }

    public init(stringLiteral uri: String) {
        self.uri = uri
    }

    public var description: String { uri }
}

extension Namespace {
    /// Content of client streams, and of stanzas inside the server. RFC 6120 §4.8.2.
    public static let client: Namespace = "jabber:client"
    /// Content of server-to-server streams; read and written as ``client`` inside the server. RFC 6120 §4.8.2.
    public static let server: Namespace = "jabber:server"
    /// Content of the streams of external components; read and written as ``client`` inside the server. XEP-0114 §3.
    public static let component: Namespace = "jabber:component:accept"
    /// The stream element and stream features. RFC 6120 §4.8.1.
    public static let streams: Namespace = "http://etherx.jabber.org/streams"
    /// Conditions of stream errors. RFC 6120 §4.9.2.
    public static let streamErrors: Namespace = "urn:ietf:params:xml:ns:xmpp-streams"
    /// Conditions of stanza errors. RFC 6120 §8.3.2.
    public static let stanzaErrors: Namespace = "urn:ietf:params:xml:ns:xmpp-stanzas"
    /// RFC 6120 §5.
    public static let startTLS: Namespace = "urn:ietf:params:xml:ns:xmpp-tls"
    /// RFC 6120 §6.
    public static let sasl: Namespace = "urn:ietf:params:xml:ns:xmpp-sasl"
    /// RFC 6120 §7.
    public static let bind: Namespace = "urn:ietf:params:xml:ns:xmpp-bind"
    /// RFC 3921 §3, kept as an optional feature for old clients.
    public static let session: Namespace = "urn:ietf:params:xml:ns:xmpp-session"
    /// Whether somebody is there. XEP-0199 §2.
    public static let ping: Namespace = "urn:xmpp:ping"
    /// Registration with a host, or with what it serves. XEP-0077 §14.1.
    public static let register: Namespace = "jabber:iq:register"
    /// The predeclared `xml:` prefix.
    public static let xml: Namespace = "http://www.w3.org/XML/1998/namespace"
}
