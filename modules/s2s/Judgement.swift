import ServerKit

/// Whether a peer has proved to be a domain.
enum Judgement: Sendable {
    /// By what: an authority's certificate, DANE, a pin.
    case valid(String)
    /// What is wrong, in sentences for administrators on both sides.
    case invalid(String)
    /// It is not valid by itself, and somebody who might vouch for it could not be asked just now.
    case undecided(String)

    var problem: String? {
        switch self {
        case .invalid(let problem), .undecided(let problem): problem
        case .valid: nil
        }
    }
}

/// Looks at the certificates of other servers. RFC 6120 §13.7.1.2, RFC 7590 §3.4.
@ServerActor
final class PeerJudge {
    private unowned let federation: Federation
    private var trust: TLSTrust?
    private(set) lazy var posh = POSH(federation)
    /// How many certificates wait for somebody to vouch for them.
    private var asking = 0
    /// Strangers present them, and each costs questions to the DNS and to web servers.
    private static let askingLimit = 200
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
        guard asking < Self.askingLimit else {
            return completion(
                .undecided("Too many certificates are being looked at. \(Judgement(verdict).problem ?? "")"))
        }
        asking += 1
        // The stream may end meanwhile, and the module be unloaded: both live until the answer.
        let federation = self.federation
        Task { @ServerActor in
            defer { withExtendedLifetime((stream, federation)) {} }
            var judgement: Judgement?
            if asksDNS { judgement = await self.judgeByDNS(chain, host) }
            if asksWeb, judgement == nil {
                judgement = await self.judgeByWeb(certificate, host, trust, Judgement(verdict).problem ?? "")
            }
            self.asking -= 1
            completion(judgement ?? Judgement(verdict))
        }
    }

    /// - Parameter problem: why the certificate is not valid by itself.
    /// - Returns: nil when the web server does not vouch for it.
    private func judgeByWeb(
        _ certificate: [UInt8], _ host: String, _ trust: TLSTrust, _ problem: String
    ) async -> Judgement? {
        switch await posh.vouches(for: certificate, of: host, trust: trust) {
        case .yes: .valid("POSH")
        case .no: nil
        case .unknown(let reason): .undecided("\(problem) Its web server might vouch for it, but: \(reason)")
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
