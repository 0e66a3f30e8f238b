extension JID {
    /// One of the three parts of an address. RFC 7622 §3.1.
    public enum Part: String, Hashable, Sendable {
        case localpart, domainpart, resourcepart
    }
}

/// Why something is not an XMPP address. On the wire each of these is `jid-malformed` (RFC 6120 §8.3.3.8).
public enum JIDError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The bytes are not UTF-8.
    case notUTF8
    /// A part is there but has no characters, or the domainpart is missing.
    case empty(JID.Part)
    /// A part is longer than 1023 bytes, or a domainpart longer than DNS allows.
    case tooLong(JID.Part)
    /// A part contains what its rules do not allow.
    case disallowed(JID.Part)

    /// A sentence for the administrator.
    public var description: String {
        switch self {
        case .notUTF8: "The address is not valid UTF-8."
        case .empty(let part): "The \(part.rawValue) of the address is empty."
        case .tooLong(let part): "The \(part.rawValue) of the address is too long."
        case .disallowed(let part): "The \(part.rawValue) of the address contains characters that are not allowed."
        }
    }
}
