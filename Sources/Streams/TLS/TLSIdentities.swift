import Synchronization

/// The certificates a server presents, by the host name the client asks for.
///
/// Replacing them concerns new connections only; those in progress keep what they began with.
public final class TLSIdentities: Sendable {
    private struct Table {
        var exact: [String: TLSContext] = [:]
        var wildcard: [String: TLSContext] = [:]
        var fallback: TLSContext?
    }

    private let table: Mutex<Table>

    /// - Parameters:
    ///   - contexts: by host name in ASCII form; `*.example.org` stands for every name with one more label.
    ///   - fallback: for clients that ask for no host, or one that is not listed.
    public init(_ contexts: [String: TLSContext] = [:], fallback: TLSContext? = nil) {
        table = Mutex(Self.table(contexts, fallback))
    }

    /// Puts others in the place of all that were there, in one step.
    public func replace(with contexts: [String: TLSContext], fallback: TLSContext? = nil) {
        let new = Self.table(contexts, fallback)
        table.withLock { $0 = new }
    }

    /// What is presented to clients that ask for no host, or one that is not listed.
    public var fallback: TLSContext? { table.withLock { $0.fallback } }

    /// What is presented for a host: its own certificate before a wildcard's; nil when it is not listed.
    public func context(for host: String) -> TLSContext? {
        let host = Self.normalized(host)
        return table.withLock { table in
            if let context = table.exact[host] { return context }
            guard let dot = host.firstIndex(of: "."), dot != host.startIndex else { return nil }
            return table.wildcard[String(host[host.index(after: dot)...])]
        }
    }

    private static func table(_ contexts: [String: TLSContext], _ fallback: TLSContext?) -> Table {
        var table = Table(fallback: fallback)
        for (host, context) in contexts {
            let host = normalized(host)
            if host.hasPrefix("*.") {
                table.wildcard[String(host.dropFirst(2))] = context
            } else {
                table.exact[host] = context
            }
        }
        return table
    }

    private static func normalized(_ host: String) -> String {
        let host = host.lowercased()
        return host.hasSuffix(".") ? String(host.dropLast()) : host
    }
}

/// How the connections of one listener are secured.
public final class TLSServer: Sendable {
    /// The certificates to choose from.
    public let identities: TLSIdentities
    /// What is spoken here, in order of preference (`xmpp-client`, XEP-0368 §3). A client that offers only others is
    /// refused, one that offers none is not. Empty to ignore what clients offer. RFC 7301 §3.2.
    public let applicationProtocols: [String]
    /// Whether clients are asked for a certificate. It is not judged during the handshake, see `TLSInfo.verifyPeer`;
    /// sessions of such connections are not resumed, for tickets do not carry the chain.
    public let requestsClientCertificate: Bool
    /// Whether a client that asks for a host not listed is refused, instead of getting the fallback's certificate.
    public let refusesUnknownNames: Bool

    /// The host whose certificate is for clients that ask for none, in ASCII form: the one their stream is for, where
    /// that is known before TLS.
    public let defaultName: String?

    /// Served until a name is known, where there is no fallback.
    let nameless: TLSContext

    /// - Throws: `TLSError.configuration` when OpenSSL refuses its basic settings.
    public init(
        _ identities: TLSIdentities, applicationProtocols: [String] = [], requestsClientCertificate: Bool = false,
        refusesUnknownNames: Bool = false, defaultName: String? = nil
    ) throws(TLSError) {
        self.identities = identities
        self.applicationProtocols = applicationProtocols
        self.requestsClientCertificate = requestsClientCertificate
        self.refusesUnknownNames = refusesUnknownNames
        self.defaultName = defaultName
        nameless = try TLSContext(chain: [], key: nil)
    }

    /// What is presented to clients that ask for no host, or one that is not listed.
    var fallback: TLSContext? { defaultName.flatMap(identities.context) ?? identities.fallback }
}
