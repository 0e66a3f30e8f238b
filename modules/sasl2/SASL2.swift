import ServerKit

/// Extensible SASL Profile (XEP-0388): logging in without a new stream, with what else a client needs for its session
/// in the same request. Who gets in is decided as ever by the ``AuthenticationService``.
final class SASL2: Module {
    static let info = ModuleInfo(
        "sasl2", "Lets clients log in and take up their session in one round trip",
        implements: [
            .xep(388, "1.0.4"),
            .xep(386, "1.1.0").partial("messages that wait are dropped when they were read in the archive, not before"),
            .xep(480, "0.2.0"),
        ],
        requires: ["sasl"])

    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        let sessions = InlineSession(host: host)
        host.streamFeature { self.feature(for: $0, host, sessions) }
        host.streamElement("authenticate", .sasl2) { stream, element throws(StreamError) in
            try self.begin(element, stream, host, sessions)
        }
        for name in ["response", "abort", "next", "task-data"] {
            host.streamElement(name, .sasl2) { stream, element throws(StreamError) in
                // XEP-0388 §2.4: nothing comes out of turn.
                guard let negotiation = stream[SASL2Negotiation.Key.self] else {
                    throw StreamError(.policyViolation, "There is no authentication to go on with.")
                }
                try negotiation.take(element)
            }
        }
    }

    /// XEP-0388 §2.1. It is the same for everybody, whoever the client says it is: nobody learns from it what accounts
    /// there are.
    private func feature(for stream: ClientStream, _ host: ModuleHost, _ sessions: InlineSession) -> Element? {
        guard let offered = host.service((any AuthenticationService).self)?.offer(to: stream) else { return nil }
        let inline = sessions.features(for: stream)
        return Element("authentication", .sasl2) {
            for mechanism in offered.mechanisms { Element("mechanism", text: mechanism.name) }
            if !inline.isEmpty { Element("inline") { inline } }
            for hash in offered.upgrades(for: host) { Element("upgrade", .saslUpgrade, text: hash.upgradeTask) }
        }
    }

    private func begin(
        _ element: Element, _ stream: ClientStream, _ host: ModuleHost, _ sessions: InlineSession
    ) throws(StreamError) {
        // XEP-0388 §4.8, §2.4.
        guard stream.authenticated == nil, stream[SASL2Negotiation.Key.self] == nil else {
            throw StreamError(.policyViolation, "This stream has had its authentication.")
        }
        // XEP-0388 §2.1 has it in answer to the header; clients that know nothing of this are not troubled with it.
        if let claimed = stream.claimedAddress, claimed.domainpart != host.domain { throw StreamError(.invalidFrom) }
        guard let service = host.service((any AuthenticationService).self) else {
            throw StreamError(.unsupportedStanzaType)
        }
        let negotiation = SASL2Negotiation(stream: stream, host: host, service: service, sessions: sessions)
        stream[SASL2Negotiation.Key.self] = negotiation
        // XEP-0388 §2.4.
        stream.exclusiveNamespace = .sasl2
        negotiation.begin(element)
    }
}

extension SASLMechanismList {
    /// The hashes for which accounts can get keys that they lack; guests have all there are. XEP-0480 §2.1.
    @ServerActor
    func upgrades(for host: ModuleHost) -> [SCRAMHash] {
        guard !host.host.isAnonymous else { return [] }
        return SCRAMHash.byPreference.filter { mechanisms.contains(.scram($0, plus: false)) }
    }
}

extension SCRAMHash {
    /// XEP-0480 §2.1: named without `-PLUS`.
    var upgradeTask: String { "UPGR-\(SASLMechanism.scram(self, plus: false).name)" }
}

extension Namespace {
    static let sasl2: Namespace = "urn:xmpp:sasl:2"
    static let saslUpgrade: Namespace = "urn:xmpp:sasl:upgrade:0"
    static let scramUpgrade: Namespace = "urn:xmpp:scram-upgrade:0"
    static let bind2: Namespace = "urn:xmpp:bind:0"
}
