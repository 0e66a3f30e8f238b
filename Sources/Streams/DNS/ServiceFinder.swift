import Glibc

/// Where a stream may be opened.
public struct ServiceEndpoint: Sendable, Hashable {
    /// A host in ASCII form, or an IP address.
    public let target: String
    public let port: Int
    /// Whether TLS begins at once rather than by STARTTLS. XEP-0368 §5.
    public let isDirectTLS: Bool
    /// Whether DNSSEC vouches for it that the domain is served here, so that the certificate may also be for the
    /// target. RFC 7673 §4.1.
    public let isSecure: Bool

    public init(target: String, port: Int, isDirectTLS: Bool = false, isSecure: Bool = false) {
        self.target = target
        self.port = port
        self.isDirectTLS = isDirectTLS
        self.isSecure = isSecure
    }
}

/// Where a domain's service is.
public enum ServiceFinding: Sendable, Equatable {
    /// What to try, in this order. Never empty.
    case endpoints([ServiceEndpoint])
    /// The domain is there and does not offer the service: it says so, or it has no address.
    case notOffered
    /// Nobody has this name.
    case noSuchDomain
    /// It is not known. A sentence for administrators; it makes sense to ask again later.
    case failed(String)
}

/// What the TLSA records of an endpoint say.
public enum TLSAFinding: Sendable, Equatable {
    /// Those that are usable, given securely; empty when there are none or they are not secure. RFC 7673 §3.4.
    case records([TLSARecord])
    /// It is not known, and the endpoint must not be used: somebody might have suppressed them. RFC 7673 §3.2, §3.4.
    case failed(String)
}

/// Finds where the service of a domain is. RFC 6120 §3.2, XEP-0368 §5.
///
/// A target is only looked up for its addresses, so that there is nothing to go round in circles with.
public struct ServiceFinder: Sendable {
    /// What service is wanted.
    public struct Kind: Sendable, Hashable {
        /// The service of RFC 6120 without the underscore, as SRV-IDs have it.
        public let service: String
        /// The same by direct TLS.
        public let directTLSService: String
        /// Where it is without SRV records.
        public let defaultPort: Int

        public static let client = Kind(
            service: "xmpp-client", directTLSService: "xmpps-client", defaultPort: 5222)
        public static let server = Kind(
            service: "xmpp-server", directTLSService: "xmpps-server", defaultPort: 5269)
    }

    /// How many endpoints are used at most.
    public static let maximumEndpoints = 16
    /// TLSA records beyond these are not looked at.
    static let maximumTLSARecords = 32

    private let dns: any DNSLookup
    private let random: @Sendable (Int) -> Int

    /// - Parameter random: a number from 0 up to and including the one it is given.
    public init(dns: any DNSLookup, random: @escaping @Sendable (Int) -> Int = { Int.random(in: 0...$0) }) {
        self.dns = dns
        self.random = random
    }

    /// Finds the endpoints of a domain.
    ///
    /// - Parameter domain: in ASCII form; an IP address, with or without brackets, is its own endpoint.
    public func find(_ domain: String, _ kind: Kind = .server) async -> ServiceFinding {
        if let address = IPAddress(domain) {
            return .endpoints([ServiceEndpoint(target: address.text, port: kind.defaultPort)])
        }
        guard DNSName.isValid(domain) else { return .noSuchDomain }
        let domain = domain.hasSuffix(".") ? String(domain.dropLast()) : domain
        async let direct = dns.lookup("_\(kind.directTLSService)._tcp.\(domain)", .srv)
        let startTLS = await dns.lookup("_\(kind.service)._tcp.\(domain)", .srv)
        if let finding = merge(direct: await direct, startTLS: startTLS) { return finding }
        return await fallback(domain, kind)
    }

    /// Both sets are one list. XEP-0368 §5.
    ///
    /// - Returns: nil when there are no records at all.
    private func merge(direct: DNSAnswer, startTLS: DNSAnswer) -> ServiceFinding? {
        var records: [ServiceRecord] = []
        var endpoints: [ServiceEndpoint] = []
        var known: Set<ServiceEndpoint> = []
        var isDamaged = false
        var hasRecords = false
        for (answer, isDirectTLS) in [(direct, true), (startTLS, false)] {
            for data in answer.records {
                guard let record = ServiceRecord(data: data), record.target == "." || record.port > 0 else {
                    isDamaged = true
                    continue
                }
                hasRecords = true
                // Of this kind it is decidedly not offered here. RFC 2782; XEP-0368 §5.
                guard record.target != "." else { continue }
                let endpoint = ServiceEndpoint(
                    target: record.target, port: Int(record.port), isDirectTLS: isDirectTLS, isSecure: answer.isSecure)
                guard known.insert(endpoint).inserted else { continue }
                records.append(record)
                endpoints.append(endpoint)
            }
        }
        let order = ServiceRecord.order(records, limit: Self.maximumEndpoints, random: random)
        if !order.isEmpty { return .endpoints(order.map { endpoints[$0] }) }
        // What failed may have held the endpoints: to go on with something else would be what an attacker wants.
        // RFC 7673 §3.1; RFC 6120 §3.2.1 would try the domain itself after a timeout.
        if let failure = startTLS.failure ?? direct.failure { return .failed(failure) }
        if hasRecords { return .notOffered }
        return isDamaged ? .failed("All of the domain's SRV records are damaged.") : nil
    }

    /// The domain itself, if it has an address. RFC 6120 §3.2.2.
    private func fallback(_ domain: String, _ kind: Kind) async -> ServiceFinding {
        switch await AddressFinder.find(domain, port: kind.defaultPort, dns) {
        case .success: .endpoints([ServiceEndpoint(target: domain, port: kind.defaultPort)])
        case .failure(.noSuchName): .noSuchDomain
        case .failure(.noAddresses): .notOffered
        case .failure(.failed(let reason)): .failed(reason)
        }
    }

    /// Looks up what certificate an endpoint has. RFC 7673 §§3.2-3.3.
    public func tlsa(for endpoint: ServiceEndpoint) async -> TLSAFinding {
        guard endpoint.isSecure, IPAddress(endpoint.target) == nil else { return .records([]) }
        async let four = dns.lookup(endpoint.target, .a)
        let six = await dns.lookup(endpoint.target, .aaaa)
        let addresses = [await four, six]
        for case .bogus(let reason) in addresses.map(\.outcome) { return .failed(reason) }
        // Without a secure address the question would most likely fail, with servers that have never heard of the type.
        guard addresses.contains(where: { $0.isSecure && !$0.records.isEmpty }) else { return .records([]) }
        let answer = await dns.lookup("_\(endpoint.port)._tcp.\(endpoint.target)", .tlsa)
        if let failure = answer.failure { return .failed(failure) }
        guard answer.isSecure else { return .records([]) }
        return .records(answer.records.prefix(Self.maximumTLSARecords).compactMap(TLSARecord.init(data:)))
    }
}
