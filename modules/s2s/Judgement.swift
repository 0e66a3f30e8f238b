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
        _ stream: ServerStream, claims pair: DomainPair, at target: DialTarget?,
        completion: @escaping @ServerActor (Judgement) -> Void
    ) {
        guard let tls = stream.transport.tls, let trust else {
            return completion(.invalid("The connection is not secured."))
        }
        let settings = federation.policies.settings(of: pair.remote)
        let records: [TLSARecord] = if case .records(let records)? = target?.tlsa { records } else { [] }
        let verdict = tls.judgePeer(
            trust: trust, host: pair.remoteJID.asciiDomain, service: ServiceFinder.Kind.server.service, tlsa: records,
            pins: settings.pins)
        completion(Judgement(verdict))
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
