import ServerKit

/// Whether a peer has proved to be a domain.
enum Judgement: Sendable {
    /// By what: an authority's certificate, DANE, a pin.
    case valid(String)
    /// What is wrong, in sentences for administrators on both sides.
    case invalid(String)

    var problem: String? {
        if case .invalid(let problem) = self { problem } else { nil }
    }
}

/// Looks at the certificates of other servers. RFC 6120 §13.7.1.2, RFC 7590 §3.4.
@ServerActor
final class PeerJudge {
    private unowned let federation: Federation
    private var trust: TLSTrust?
    private lazy var posh = POSH(federation)
    /// The resolver, which knows whether it can validate; nil in tests.
    private var resolver: DNSResolver? { federation.dns as? DNSResolver }

    init(_ federation: Federation) {
        self.federation = federation
    }

    /// The authorities to believe: the system's, or those of a file.
    func loadTrust() throws {
        if let file = federation.options.authorities {
            trust = try TLSTrust(file: file)
        } else {
            trust = try TLSTrust.system()
        }
    }

    /// Judges what the peer presented as the certificate of a domain.
    ///
    /// - Parameter target: where the connection was opened to; nil for one that was accepted.
    func judge(
        _ stream: ServerStream, claims pair: DomainPair, at target: DialTarget? = nil,
        completion: @escaping @ServerActor (Judgement) -> Void
    ) {
        guard let tls = stream.transport.tls, let trust else {
            return completion(.invalid("The connection is not secured."))
        }
        let settings = federation.policies.settings(of: pair.remote)
        let host = pair.remoteJID.asciiDomain
        let chain = tls.peerChain
        let service = ServiceFinder.Kind.server.service
        let records: [TLSARecord] = if case .records(let records)? = target?.tlsa { records } else { [] }
        let place = target.flatMap { $0.endpoint.isSecure ? $0.endpoint.target : nil }
        let verdict = chain.judge(
            trust: trust, host: host, service: service, target: place, tlsa: records, pins: settings.pins)
        // Pins and TLSA records leave nothing to ask.
        guard case .invalid = verdict, settings.pins.isEmpty, records.isEmpty,
            let certificate = chain.leaf
        else { return completion(Judgement(verdict)) }
        let asksDNS = target == nil && resolver?.isValidating == true
        let asksWeb = federation.options.usesPOSH && federation.policies.policy(for: pair.remote) == .secure
        guard asksDNS || asksWeb else { return completion(Judgement(verdict)) }
        // The stream may end meanwhile, and the module be unloaded: both live until the answer.
        let federation = self.federation
        Task { @ServerActor in
            defer { withExtendedLifetime((stream, federation)) {} }
            if asksDNS, let better = await self.judgeByDNS(chain, host) { return completion(better) }
            if asksWeb, await self.posh.vouches(for: certificate, of: host, trust: trust) {
                return completion(.valid("POSH"))
            }
            completion(Judgement(verdict))
        }
    }

    /// A peer that connects presents what its own endpoints have, whose TLSA records DNSSEC vouches for. RFC 7673 §5.
    private func judgeByDNS(_ chain: PeerChain, _ host: String) async -> Judgement? {
        let finder = ServiceFinder(dns: federation.dns)
        guard case .endpoints(let endpoints) = await finder.find(host) else { return nil }
        for endpoint in endpoints.prefix(4) where endpoint.isSecure {
            guard case .records(let records) = await finder.tlsa(for: endpoint), !records.isEmpty else { continue }
            let verdict = chain.judge(trust: trust, host: host, target: endpoint.target, tlsa: records)
            if verdict.isValid { return Judgement(verdict) }
        }
        return nil
    }
}

extension Judgement {
    init(_ verdict: PeerVerdict) {
        switch verdict {
        case .valid(let means): self = .valid("\(means)")
        case .invalid(let problems): self = .invalid(problems.map { "\($0)" }.joined(separator: " "))
        }
    }
}
