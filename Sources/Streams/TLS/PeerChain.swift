import COpenSSL
import Glibc

/// The certificates that a peer presented. Keeps them, not the connection.
public struct PeerChain: Sendable {
    /// The peer's own first.
    let certificates: [Certificate]

    init(_ certificates: [Certificate]) { self.certificates = certificates }

    public var isEmpty: Bool { certificates.isEmpty }

    /// The peer's own certificate in DER; nil when there is none.
    public var leaf: [UInt8]? { certificates.first?.der }

    /// One line for each certificate, the peer's own first: subject, names, issuer, validity and fingerprint.
    public var lines: [String] {
        certificates.prefix(10).map { certificate in
            let names = certificate.allNames.prefix(20).map(printable).joined(separator: ", ")
            return "\(printable(certificate.subject))\(names.isEmpty ? "" : " for \(names)"), "
                + "issued by \(printable(certificate.issuer)), "
                + "valid from \(calendarDay(certificate.notBefore)) to \(calendarDay(certificate.notAfter)), "
                + "sha256:\(hexadecimal(Digest.sha256(certificate.der)))"
        }
    }

    /// The pin of the peer's own certificate, as ``CertificatePin`` reads it; nil when there is none.
    public var pin: String? { certificates.first.map { "sha256:" + hexadecimal(Digest.sha256($0.der)) } }

    /// Judges whether the chain proves that the peer is a host's server. Takes about as long as a handshake.
    ///
    /// What the administrator has pinned is believed without another question, and nothing else; then what the domain's
    /// TLSA records tell of, and nothing else (RFC 7673 §§1, 4.2); without any of them, what an authority vouches for.
    /// What a certificate may be used for by the extended key usage is not looked at, for authorities have ceased to
    /// issue for clients, and servers present to each other what they serve with.
    ///
    /// - Parameters:
    ///   - trust: the authorities to believe; nil for none.
    ///   - host: the domain in ASCII form. RFC 6120 §13.7.2.1.
    ///   - service: for SRV-IDs, `xmpp-server` or `xmpp-client`.
    ///   - target: the host that secure SRV records led to, which the certificate may be for instead. Nil when they
    ///     were not secure. RFC 7673 §4.1.
    ///   - tlsa: the usable TLSA records of the endpoint, given securely.
    ///   - pins: what the administrator has named for the peer.
    ///   - now: seconds since 1970.
    public func judge(
        trust: TLSTrust?, host: String, service: String = "xmpp-server", target: String? = nil,
        tlsa: [TLSARecord] = [], pins: [CertificatePin] = [], now: Int = time(nil)
    ) -> PeerVerdict {
        guard let leaf = certificates.first else { return .invalid([.noCertificate]) }
        if !pins.isEmpty {
            return pins.contains { $0.matches(leaf) } ? .valid(by: .pin) : .invalid([.notPinned(pin ?? "")])
        }
        let question = Question(hosts: [host] + (target.map { [$0] } ?? []), service: service, now: now)
        guard tlsa.isEmpty else { return judgeByDANE(leaf, tlsa, trust, question) }
        let (problems, _) = examine(leaf, trust, question)
        return problems.isEmpty ? .valid(by: .authority) : .invalid(problems)
    }

    private struct Question {
        /// The domain first.
        let hosts: [String]
        let service: String
        let now: Int
    }

    private func judgeByDANE(
        _ leaf: Certificate, _ records: [TLSARecord], _ trust: TLSTrust?, _ question: Question
    ) -> PeerVerdict {
        var problems: [PeerProblem] = []
        for record in records {
            let found: [PeerProblem]
            switch record.usage {
            case .daneEE:
                // Names and dates are not looked at: the record stands for them. RFC 7671 §5.1.
                guard record.matches(leaf) else { continue }
                found = []
            case .daneTA:
                var anchors = certificates.dropFirst().filter(record.matches)
                if record.selector == .certificate, record.matching == .full {
                    // It need not be presented. RFC 7671 §5.2.2.
                    anchors += Certificate(der: record.data).map { [$0] } ?? []
                }
                guard !anchors.isEmpty, let trust = try? TLSTrust(anchors: anchors) else { continue }
                found = examine(leaf, trust, question).problems
            case .pkixEE:
                guard record.matches(leaf) else { continue }
                found = examine(leaf, trust, question).problems
            case .pkixTA:
                let (all, chain) = examine(leaf, trust, question)
                guard chain.dropFirst().contains(where: record.matches) else { continue }
                found = all
            }
            if found.isEmpty { return .valid(by: .dane) }
            problems += found
        }
        return .invalid(problems.isEmpty ? [.notInTLSA] : unique(problems))
    }

    /// Everything that is wrong about the chain and its names, and the chain that was found.
    private func examine(
        _ leaf: Certificate, _ trust: TLSTrust?, _ question: Question
    ) -> (problems: [PeerProblem], chain: [Certificate]) {
        let trust = trust ?? Self.nobody
        guard let trust else { return ([.other("no authority is trusted here")], []) }
        let examination = trust.examine(leaf, intermediates: Array(certificates.dropFirst()), now: question.now)
        var problems = examination.findings.compactMap { describe($0, leaf, examination.chain) }
        // An issuer that may only vouch for certain dNSNames could vouch for any name of another kind: OpenSSL does not
        // hold SRV-IDs and XmppAddrs against its limits as RFC 4985 §4 wants.
        let isLimited = examination.chain.dropFirst().contains(where: \.constrainsNames)
        let isCovered = question.hosts.contains { host in
            leaf.covers(service: question.service, host: host, onlyByDNSName: isLimited)
        }
        if !isCovered, let host = question.hosts.first {
            let names = leaf.allNames
            if names.isEmpty, let name = leaf.commonName {
                problems.append(.commonNameOnly(host: host, commonName: name))
            } else {
                problems.append(.wrongName(host: host, names: names))
            }
        }
        return (unique(problems), examination.chain)
    }

    private func describe(
        _ finding: TLSTrust.Examination.Finding, _ leaf: Certificate, _ chain: [Certificate]
    ) -> PeerProblem? {
        let certificate = chain.indices.contains(finding.depth) ? chain[finding.depth] : nil
        switch finding.code {
        case X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_CERT_NOT_YET_VALID:
            if finding.depth > 0 { return .issuerOutOfDate(certificate?.subject ?? "") }
            return finding.code == X509_V_ERR_CERT_HAS_EXPIRED
                ? .expired(since: leaf.notAfter) : .notYetValid(from: leaf.notBefore)
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
            return .selfSigned
        case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
            return .unknownAuthority(certificate?.subject ?? chain.last?.subject ?? "")
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
            X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
            // Whether a single certificate lacks its issuer or comes from an unknown authority directly, it does not
            // say; the former is the usual case.
            return chain.count <= 1
                ? .incompleteChain(issuer: leaf.issuer) : .unknownAuthority(chain.last?.issuer ?? leaf.issuer)
        default:
            return .other(String(cString: X509_verify_cert_error_string(Int(finding.code))))
        }
    }

    private func unique(_ problems: [PeerProblem]) -> [PeerProblem] {
        var known: Set<PeerProblem> = []
        return problems.filter { known.insert($0).inserted }
    }

    /// Trusts no authority at all.
    private static let nobody = try? TLSTrust(anchors: [])
}
