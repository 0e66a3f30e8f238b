import ServerKit

/// Takes a stream from another server: TLS, who it is, whom it wants. RFC 6120 §4.3, XEP-0178 §3.
@ServerActor
final class Acceptor: StreamNegotiator {
    private unowned let stream: ServerStream
    private let federation: Federation
    /// The domain that the peer says it is; not to be trusted before it has proved it.
    private var claimed: String?
    /// The domain here that it wants.
    private var local: String?
    private var verdict: Judgement?
    private var attempts = 0

    init(_ stream: ServerStream) {
        self.stream = stream
        federation = stream.federation
    }

    func secured() {}
    func ended(_ reason: String) {}

    func opened(_ header: StreamHeader) throws(StreamError) {
        stream.id = RandomToken.make()
        let from = header.from.flatMap { $0.isEmpty ? nil : $0 }
        let to = JID.domain(header.to)
        stream.sendHeader(from: header.to.flatMap { JID.domain($0) }, to: header.from, id: stream.id)
        guard header.contentNamespace == .server else {
            throw StreamError(.invalidNamespace, "Servers speak jabber:server here.")
        }
        guard let version = header.version, version.major >= 1 else {
            throw StreamError(.unsupportedVersion, "TLS is required, which streams without a version do not have.")
        }
        // RFC 6120 §4.9.3.6, §4.9.3.7
        guard let to else { throw StreamError(.improperAddressing, "The stream header needs a \"to\".") }
        guard federation.serves(to) else { throw StreamError(.hostUnknown, "\(to) is not served here.") }
        guard local == nil || local == to else {
            throw StreamError(.hostUnknown, "The stream was opened for \(local ?? "").")
        }
        local = to
        claimed = JID.domain(from)
        if from != nil, claimed == nil { throw StreamError(.invalidFrom) }
        if let old = stream.pair, old.local != to || !stream.trusted.isEmpty && old.remote != claimed {
            throw StreamError(.invalidFrom, "The addresses of a stream do not change.")
        }
        if let claimed {
            stream.pair = DomainPair(local: to, remote: claimed)
            guard federation.serves(to, for: claimed) else {
                throw StreamError(.hostUnknown, "No guest of \(to) was invited by anybody at \(claimed).")
            }
            guard !federation.isHere(claimed) else { throw StreamError(.invalidFrom, "\(claimed) is served here.") }
            if let reason = federation.policies.refusal(of: claimed) { throw StreamError(.policyViolation, reason) }
        }
        if stream.transport.isSecure, let pair = stream.pair, verdict == nil {
            stream.suspend()
            federation.judge.judge(stream, claims: pair) { [self] verdict in
                self.verdict = verdict
                if !self.stream.isClosing { self.sendFeatures() }
                self.stream.resume()
            }
        } else {
            sendFeatures()
        }
    }

    private var isAuthenticated: Bool { !stream.trusted.isEmpty }

    private func sendFeatures() {
        let isSecure = stream.transport.isSecure
        let features = Element("features", .streams) {
            if !isSecure {
                Element("starttls", .startTLS) { Element("required", .startTLS) }
            } else {
                if !isAuthenticated {
                    if case .valid? = verdict {
                        Element("mechanisms", .sasl) { Element("mechanism", .sasl, text: "EXTERNAL") }
                    }
                    Element("bidi", .bidiFeature)
                }
                Element("dialback", .dialbackFeature) { Element("errors", .dialbackFeature) }
                Element("sm", .sm)
            }
        }
        stream.send(features)
        if isAuthenticated { for pair in stream.proven { federation.expectSoon(stream, pair) } }
    }

    func handle(_ element: Element) throws(StreamError) {
        switch (element.name, element.namespace) {
        case ("starttls", .startTLS): try startTLS()
        case ("bidi", .bidi):
            guard stream.transport.isSecure, !isAuthenticated else { throw StreamError(.policyViolation) }
            stream.isBidirectional = true
        case ("auth", .sasl): try authenticate(element)
        case ("abort", .sasl): failSASL("aborted")
        default: throw StreamError(.unsupportedStanzaType)
        }
    }

    private func startTLS() throws(StreamError) {
        guard !stream.transport.isSecure, let server = federation.security.server(for: local) else {
            stream.send(Element("failure", .startTLS))
            return stream.close()
        }
        stream.send(Element("proceed", .startTLS))
        stream.restart()
        do { try stream.transport.startTLS(server) } catch { throw StreamError(.internalServerError) }
    }

    // MARK: SASL EXTERNAL

    /// XEP-0178 §3: the certificate has been looked at; the name must be the one of the stream.
    private func authenticate(_ element: Element) throws(StreamError) {
        attempts += 1
        guard attempts <= 3 else { throw StreamError(.policyViolation, "Too many attempts.") }
        guard stream.transport.isSecure, !isAuthenticated else { return failSASL("not-authorized") }
        guard element["mechanism"] == "EXTERNAL" else { return failSASL("invalid-mechanism") }
        guard let pair = stream.pair, let claimed, pair.remote == claimed else {
            return failSASL("not-authorized", "The stream has no \"from\".")
        }
        let means: String
        switch verdict {
        case .valid(let proof)?: means = proof
        case .undecided(let problem)?:
            federation.note(refused: pair, problem, on: stream)
            // RFC 6120 §6.5.11
            return failSASL("temporary-auth-failure", problem)
        case .invalid?, nil:
            let problem = verdict?.problem ?? ""
            federation.note(refused: pair, problem, on: stream)
            return failSASL("not-authorized", problem)
        }
        // The configuration may have changed meanwhile.
        if let reason = federation.policies.refusal(of: claimed) { throw StreamError(.policyViolation, reason) }
        let text = element.text
        if !text.isEmpty, text != "=" {
            guard let bytes = Base64.decode(text) else { return failSASL("incorrect-encoding") }
            // RFC 6120 §6.3.8
            guard JID.domain(String(decoding: bytes, as: UTF8.self)) == claimed else {
                return failSASL("invalid-authzid")
            }
        }
        guard federation.loads.makePlace(for: claimed) else {
            throw StreamError(.policyViolation, "\(claimed) has too many connections to this server.")
        }
        stream.send(Element("success", .sasl))
        stream.prove(pair)
        federation.authenticated(stream, pair, by: "EXTERNAL, certificate (\(means))")
        stream.restart()
        federation.expect(stream, pair)
    }

    private func failSASL(_ condition: String, _ text: String? = nil) {
        stream.send(
            Element("failure", .sasl) {
                Element(condition, .sasl)
                if let text { Element("text", .sasl, ["xml:lang": "en"], text: text) }
            })
    }
}
