import ServerKit

/// SASL for clients (RFC 6120 §6): the stream feature and the elements; who gets in, and how, the ``Authenticator``
/// decides.
final class SASL: Module {
    static let info = ModuleInfo(
        "sasl", "Lets clients log in",
        implements: [
            .rfc(6120), .rfc(5802), .rfc(7677), .rfc(9266), .xep(175, "1.2"), .xep(440, "1.0.0"),
            .xep(474, "0.5.0"),
        ],
        group: .core)

    struct Options: ModuleOptions {
        let mechanisms: [SASLMechanism]
        let attempts: Int
        let passwordIterations: Int
        let downgradeProtection: Bool

        init(_ config: inout OptionReader) {
            mechanisms = config.parsedList(
                "mechanisms", default: Self.supported, as: "a mechanism such as SCRAM-SHA-256",
                "How clients may prove their password; PLAIN, as everything else, over TLS only."
            ) { name in Self.supported.first { $0.name == name.uppercased() } }
            // RFC 6120 §6.4.5: at least two and no more than five.
            attempts = config.int(
                "attempts", default: 5, in: 2...5, "Failed attempts after which a stream is closed.")
            // RFC 5802 §5.1 asks for at least 4096; clients refuse to compute more than a million.
            passwordIterations = config.int(
                "password_iterations", default: StoredPassword.defaultIterations, in: SCRAMClient.acceptedIterations,
                "How hard new passwords are to guess from stolen storage; logging in takes clients as long.")
            downgradeProtection = config.bool(
                "downgrade_protection", default: true,
                "Whether clients can tell if somebody took mechanisms out of the list on its way (XEP-0474).")
            if mechanisms.isEmpty { config.report("mechanisms", "nobody can log in without a mechanism.") }
        }

        /// Everything for passwords, the best first.
        private static let supported = SASLMechanism.byPreference.filter {
            switch $0 {
            case .scram, .plain: true
            case .anonymous, .external: false
            }
        }
    }

    private var options: Options
    private var authenticator: Authenticator?

    init(options: Options) {
        self.options = options
    }

    func load(into host: ModuleHost) {
        let authenticator = Authenticator(host: host, options: options)
        self.authenticator = authenticator
        host.server.passwordIterations = options.passwordIterations
        host.provide((any AuthenticationService).self, authenticator)
        host.keepWithSession(ClientLogin.Key.self)
        host.streamFeature { self.mechanisms(for: $0) }
        host.streamFeature { self.channelBindings(for: $0) }
        host.streamElement("auth", .sasl) { stream, element throws(StreamError) in
            try self.take(.begin(element), stream)
        }
        host.streamElement("response", .sasl) { stream, element throws(StreamError) in
            try self.take(.response(element), stream)
        }
        host.streamElement("abort", .sasl) { stream, _ throws(StreamError) in try self.take(.abort, stream) }
        // XEP-0175 §5.
        if host.host.isAnonymous { host.identify("account", "anonymous", on: .account) }
    }

    /// New options keep what the throttle remembers.
    func reconfigure(_ options: Options) -> Bool {
        self.options = options
        authenticator?.reconfigure(options)
        return true
    }

    // MARK: Stream features

    /// RFC 6120 §6.4.1.
    private func mechanisms(for stream: ClientStream) -> Element? {
        guard let offered = authenticator?.offer(to: stream) else { return nil }
        return Element("mechanisms", .sasl) {
            for mechanism in offered.mechanisms { Element("mechanism", text: mechanism.name) }
        }
    }

    /// XEP-0440 §2.
    private func channelBindings(for stream: ClientStream) -> Element? {
        guard let offered = authenticator?.offer(to: stream), offered.offersChannelBinding else { return nil }
        return Element("sasl-channel-binding", .saslChannelBinding) {
            for type in offered.channelBindingTypes { Element("channel-binding", nil, ["type": type.rawValue]) }
        }
    }

    // MARK: Elements

    private func take(_ request: AuthenticationRequest, _ stream: ClientStream) throws(StreamError) {
        // RFC 6120 §4.9.3.24: after success none of these elements means anything.
        guard stream.authenticated == nil else { throw StreamError(.unsupportedStanzaType) }
        authenticator?.take(request, on: stream) { reply in self.send(reply, stream) }
    }

    private func send(_ reply: AuthenticationReply, _ stream: ClientStream) {
        switch reply {
        case .challenge(let data): stream.send(Element("challenge", .sasl, text: data.saslText))
        case .failure(let failure): stream.send(failure.element)
        case .success(let success):
            stream.send(Element("success", .sasl, text: success.additionalData?.saslText))
            stream[ClientLogin.Key.self] = success.login()
            stream.authenticate(
                success.localpart, username: success.username, mechanism: success.mechanism)
        }
    }
}

extension AuthenticationRequest {
    /// RFC 6120 §6.4.2.
    fileprivate static func begin(_ element: Element) -> AuthenticationRequest {
        let text = element.text
        guard !text.isEmpty else { return .begin(mechanism: element["mechanism"] ?? "", initialResponse: nil) }
        guard let data = [UInt8](saslText: text) else { return .invalid(.incorrectEncoding) }
        return .begin(mechanism: element["mechanism"] ?? "", initialResponse: data)
    }

    /// RFC 6120 §6.4.3.
    fileprivate static func response(_ element: Element) -> AuthenticationRequest {
        [UInt8](saslText: element.text).map { .response($0) } ?? .invalid(.incorrectEncoding)
    }
}

extension [UInt8] {
    /// Base 64, with `=` for data that is there but empty. RFC 6120 §6.4.2.
    fileprivate init?(saslText text: String) {
        guard let data = text == "=" ? [] : Base64.decode(text) else { return nil }
        self = data
    }

    fileprivate var saslText: String { isEmpty ? "=" : Base64.encode(self) }
}

extension SASLFailure {
    /// RFC 6120 §6.4.5.
    fileprivate var element: Element {
        Element("failure", .sasl) {
            Element(condition.rawValue)
            if let text { Element("text", nil, ["xml:lang": "en"], text: text) }
        }
    }
}

extension Namespace {
    static let saslChannelBinding: Namespace = "urn:xmpp:sasl-cb:0"
}
