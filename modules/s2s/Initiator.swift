import ServerKit

/// Why a stream that this server opens cannot be used.
struct InitiationFailure: Error {
    let text: String
    /// Whether another address of the peer may do better, or this one later.
    let isTemporary: Bool
    /// The certificates that were refused, a line each.
    let certificates: [String]

    init(_ text: String, isTemporary: Bool = true, certificates: [String] = []) {
        self.text = text
        self.isTemporary = isTemporary
        self.certificates = certificates
    }
}

/// Opens a stream to another server: TLS, whom it is, who we are. RFC 6120 §4.3, §5.4.2, §6.4.
@ServerActor
final class Initiator: StreamNegotiator {
    private enum Step {
        case connecting
        /// The features of a stream in plain text.
        case plain
        /// `<proceed/>`
        case startingTLS
        case securing
        /// The features of a secured stream.
        case secured
        case authenticating
        /// The features of an authenticated stream.
        case authenticated
        case dialback
        case ready
        case ended
    }

    let pair: DomainPair
    let target: DialTarget
    private unowned let stream: ServerStream
    private let federation: Federation
    /// Whether the stream is for stanzas; one that is for verifying keys needs no authentication.
    let authenticates: Bool
    private var step = Step.connecting
    private var features = Element("features", .streams)
    /// What the peer's certificate is worth.
    private(set) var verdict: Judgement?
    /// Why SASL did not do.
    private var refusal: String?
    private var completion: (@ServerActor (Result<ServerStream, InitiationFailure>) -> Void)?

    init(
        _ pair: DomainPair, _ target: DialTarget, _ stream: ServerStream, authenticates: Bool,
        completion: @escaping @ServerActor (Result<ServerStream, InitiationFailure>) -> Void
    ) {
        self.pair = pair
        self.target = target
        self.stream = stream
        federation = stream.federation
        self.authenticates = authenticates
        self.completion = completion
        stream.pair = pair
    }

    /// The connection is there.
    func connected() {
        guard !stream.isClosing else { return ended("The connection was lost.") }
        guard target.isDirectTLS else { return sendHeader(.plain) }
        step = .securing
        // The handshake may have been quick.
        if stream.transport.tls != nil { secured() }
    }

    private func sendHeader(_ next: Step) {
        step = next
        stream.sendHeader(from: pair.local, to: pair.remote)
    }

    private func succeed() {
        step = .ready
        completion?(.success(stream))
        completion = nil
    }

    private func fail(
        _ text: String, isTemporary: Bool = true, showing certificates: [String] = [], _ error: StreamError? = nil
    ) {
        let completion = self.completion
        self.completion = nil
        step = .ended
        stream.close(error, reason: text)
        completion?(.failure(InitiationFailure(text, isTemporary: isTemporary, certificates: certificates)))
    }

    /// Gives up, because it takes too long.
    func expire() {
        guard completion != nil else { return }
        let what =
            switch step {
            case .connecting, .plain: "did not answer"
            case .startingTLS, .securing: "did not finish the TLS handshake"
            case .secured, .authenticating, .authenticated: "did not finish authenticating"
            case .dialback: "did not say whether it takes our dialback key"
            case .ready, .ended: "did nothing"
            }
        fail("The server \(what) in time.", StreamError(.connectionTimeout))
    }

    func ended(_ reason: String) {
        let completion = self.completion
        self.completion = nil
        guard step != .ended else { return }
        let wasSecuring = step == .securing
        step = .ended
        completion?(.failure(InitiationFailure(wasSecuring ? "TLS failed: \(reason)" : reason)))
    }

    // MARK: From the peer

    func opened(_ header: StreamHeader) throws(StreamError) {
        // RFC 6120 §4.7.1: the peer says who it is; what that is worth the certificate tells.
        if let from = header.from, !from.isEmpty, JID.domain(from) != pair.remote {
            throw StreamError(.invalidFrom, "The stream was opened to \(pair.remote).")
        }
        stream.id = header.id ?? ""
        guard let version = header.version, version.major >= 1 else {
            return fail("The server is too old: its streams have no version, and so no TLS.", isTemporary: false)
        }
    }

    func handle(_ element: Element) throws(StreamError) {
        switch (step, element.name, element.namespace) {
        case (.plain, "features", .streams): try startTLS(element)
        case (.startingTLS, "proceed", .startTLS): secure()
        case (.startingTLS, "failure", .startTLS): fail("The server cannot do TLS now.")
        case (.secured, "features", .streams): secured(element)
        case (.authenticating, "success", .sasl):
            stream.authentication = "EXTERNAL"
            stream.restart()
            sendHeader(.authenticated)
        case (.authenticating, "challenge", .sasl):
            // XEP-0178 §3: a server that wants the domain asks for it.
            stream.send(Element("response", .sasl, text: Base64.encode(Array(pair.local.utf8))))
        case (.authenticating, "failure", .sasl):
            refusal = element.children.first.map { $0.name } ?? "failure"
            if let text = element.text(of: "text", .sasl) { refusal? += " (\(text))" }
            try tryDialback()
        case (.authenticated, "features", .streams):
            features = element
            finish()
        default:
            throw StreamError(.unsupportedStanzaType)
        }
    }

    private func startTLS(_ features: Element) throws(StreamError) {
        guard features.has("starttls", .startTLS) else {
            return fail(
                "The server offers no TLS, without which nothing is sent.", isTemporary: false,
                StreamError(.policyViolation, "TLS is required."))
        }
        step = .startingTLS
        stream.send(Element("starttls", .startTLS))
    }

    private func secure() {
        step = .securing
        stream.restart()
        do {
            try stream.transport.startTLS(federation.security.client(for: pair, direct: false))
        } catch {
            fail("TLS cannot be started: \(error)")
        }
    }

    func secured() {
        guard step == .securing else { return }
        stream.suspend()
        federation.judge.judge(stream, claims: pair, at: target) { [self, stream] verdict in
            self.verdict = verdict
            stream.resume()
            guard !stream.isClosing else { return }
            let mayCallBack = self.federation.policies.policy(for: self.pair.remote) == .dialback
            if case .undecided(let problem) = verdict, !mayCallBack {
                // RFC 6120 §4.9.3.15
                return self.fail(
                    "Its certificate cannot be judged now: \(problem)", showing: stream.certificates,
                    StreamError(.remoteConnectionFailed, "The certificate cannot be judged now: \(problem)"))
            }
            if case .invalid(let problem) = verdict, !mayCallBack {
                return self.fail(
                    "Its certificate is refused: \(problem)", isTemporary: false, showing: stream.certificates,
                    StreamError(.notAuthorized, "The certificate is not acceptable: \(problem)"))
            }
            self.sendHeader(.secured)
        }
    }

    private func secured(_ features: Element) {
        self.features = features
        guard authenticates else { return succeed() }
        authenticate()
    }

    /// Whether the stream is secured, and carries what it is for.
    var isReady: Bool { step == .ready && !stream.isClosing }

    var streamID: ObjectIdentifier { ObjectIdentifier(stream) }

    private func authenticate() {
        if features.has("bidi", .bidiFeature) {
            stream.isBidirectional = true
            stream.send(Element("bidi", .bidi))
        }
        let mechanisms = features.child("mechanisms", .sasl)?.children.map(\.text) ?? []
        if mechanisms.contains("EXTERNAL"), federation.security.hasCertificate(pair.local) {
            step = .authenticating
            let name = Base64.encode(Array(pair.local.utf8))
            return stream.send(Element("auth", .sasl, ["mechanism": "EXTERNAL"], text: name))
        }
        do throws(StreamError) { try tryDialback() } catch { stream.close(error) }
    }

    private func tryDialback() throws(StreamError) {
        step = .dialback
        federation.dialback.authenticate(pair, on: stream) { answer in
            guard case .dialback = self.step else { return }
            let external = self.refusal.map { " SASL EXTERNAL: \($0)." } ?? ""
            switch answer {
            case .valid:
                self.stream.authentication = "dialback"
                self.finish()
            case .invalid:
                self.fail(
                    "The server does not believe that we are \(self.pair.local): our dialback key was not valid for it.\(external)"
                )
            case .error(let error):
                self.fail(
                    "The server does not believe that we are \(self.pair.local): "
                        + "\(error.text ?? error.condition.rawValue).\(external)")
            }
        }
    }

    private func finish() {
        // XEP-0288 §2.2: stanzas come back on this stream. They are the peer's, whose domain its certificate or, where
        // the policy allows it, DNS has proved.
        if stream.isBidirectional { stream.trust(pair.remote) }
        // After dialback there are no new features: those of the secured stream hold.
        if features.has("sm", .sm) {
            stream.acknowledgements.request()
        } else {
            stream.acknowledgements.usePings(pair)
        }
        let means = if case .valid(let means)? = verdict { "certificate (\(means))" } else { "DNS alone" }
        stream.log.info(
            "Connected to server",
            metadata: [
                "authentication": "\(stream.authentication)", "peer_proved_by": "\(means)",
                "bidi": "\(stream.isBidirectional)",
            ])
        succeed()
    }

    /// Whether the peer takes other domains on the same stream, and says why not. XEP-0220 §2.6.2.
    var canMultiplex: Bool { features.child("dialback", .dialbackFeature)?.has("errors") ?? false }
}
