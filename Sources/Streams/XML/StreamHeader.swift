import XMPP

/// The start tag of a stream. RFC 6120 §4.7.
public struct StreamHeader: Sendable {
    public var to: String?
    public var from: String?
    public var id: String?
    /// Major and minor; (0, 9) when the attribute is missing (RFC 6120 §4.7.5), nil when it is nonsense.
    public var version: (major: Int, minor: Int)?
    public var language: String?
    /// The default namespace, which the content of the stream is in. RFC 6120 §4.8.2.
    public var contentNamespace: Namespace

    public init(
        to: String? = nil, from: String? = nil, id: String? = nil, version: (major: Int, minor: Int)? = (1, 0),
        language: String? = nil, contentNamespace: Namespace = .client
    ) {
        self.to = to
        self.from = from
        self.id = id
        self.version = version
        self.language = language
        self.contentNamespace = contentNamespace
    }

    /// Parses the value of the `version` attribute. RFC 6120 §4.7.5.
    static func version(_ text: String?) -> (major: Int, minor: Int)? {
        guard let text else { return (0, 9) }
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        let isNumber: (Substring) -> Bool = { $0.utf8.allSatisfy { 0x30...0x39 ~= $0 } }
        guard parts.count == 2, parts.allSatisfy(isNumber), let major = Int(parts[0]), let minor = Int(parts[1])
        else { return nil }
        return (major, minor)
    }
}

extension XMLWriter {
    /// Writes the XML declaration and a stream's start tag. Checkers read its first bytes: the declaration is never
    /// left out.
    public mutating func write(_ header: StreamHeader) {
        raw("<?xml version='1.0'?><stream:stream")
        declare(header.contentNamespace)
        declare(.streams, as: "stream")
        if header.contentNamespace == .server { raw(" xmlns:db='jabber:server:dialback'") }
        if let version = header.version { attribute("version", "\(version.major).\(version.minor)") }
        if let id = header.id { attribute("id", id) }
        if let from = header.from { attribute("from", from) }
        if let to = header.to { attribute("to", to) }
        attribute("xml:lang", header.language ?? "en")
        raw(">")
    }
}
