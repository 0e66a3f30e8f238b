/// A SASL mechanism we implement.
public enum SASLMechanism: Hashable, Sendable {
    /// SCRAM (RFC 5802, RFC 7677), bound to the TLS channel if `plus`.
    case scram(SCRAMHash, plus: Bool)
    /// The password itself (RFC 4616).
    case plain
    /// No credentials at all (RFC 4505, XEP-0175).
    case anonymous
    /// What the TLS layer proved (RFC 4422 appendix A, XEP-0178).
    case external

    /// Every mechanism, the best first: what is bound to the channel before what is not, then the stronger hash.
    /// RFC 6120 §6.3.3 lets the order of the list be ours; EXTERNAL leads as RFC 6120 §6.3.4 recommends.
    public static let byPreference: [SASLMechanism] =
        [.external]
        + SCRAMHash.byPreference.map { .scram($0, plus: true) }
        + SCRAMHash.byPreference.map { .scram($0, plus: false) }
        + [.plain, .anonymous]

    /// The registered name, as in `SCRAM-SHA-256-PLUS`.
    public var name: String {
        switch self {
        case .scram(let hash, plus: true): "SCRAM-\(hash.rawValue)-PLUS"
        case .scram(let hash, plus: false): "SCRAM-\(hash.rawValue)"
        case .plain: "PLAIN"
        case .anonymous: "ANONYMOUS"
        case .external: "EXTERNAL"
        }
    }

    /// The mechanism of this registered name, which is case-sensitive on the wire: RFC 4422 §3.1 has upper case only.
    public init?(name: String) {
        guard let mechanism = SASLMechanism.byPreference.first(where: { $0.name == name }) else { return nil }
        self = mechanism
    }

    /// Whether the mechanism binds itself to the TLS channel.
    public var bindsChannel: Bool {
        switch self {
        case .scram(_, let plus): plus
        case .plain, .anonymous, .external: false
        }
    }

    /// Whether the mechanism gives the password away on a stream that can be read.
    public var needsConfidentiality: Bool {
        switch self {
        case .plain: true
        case .scram, .anonymous, .external: false
        }
    }
}

extension SASLMechanism: CustomStringConvertible {
    public var description: String { name }
}

/// A way to name a TLS connection or its server; the raw value is the registered unique prefix.
///
/// `tls-unique` (RFC 5929 §3) is not among them: TLS 1.3 does not define it.
public enum ChannelBindingType: String, Hashable, Sendable, CaseIterable {
    /// Keying material exported from this very connection (RFC 9266 §2).
    case tlsExporter = "tls-exporter"
    /// The hash of the server's certificate (RFC 5929 §4). Servers must offer it. XEP-0440 §3.
    case tlsServerEndPoint = "tls-server-end-point"
}

/// What both ends of a TLS connection know about it.
public struct ChannelBinding: Hashable, Sendable {
    public var type: ChannelBindingType
    public var data: [UInt8]

    public init(_ type: ChannelBindingType, _ data: [UInt8]) {
        self.type = type
        self.data = data
    }
}
