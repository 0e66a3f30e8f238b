import Streams
import Testing

@Suite("The mechanisms offered (RFC 6120 §6.3.4)") struct SASLMechanismListTests {
    static let everything = Set(SASLMechanism.byPreference)

    func names(
        _ policy: SASLPolicy = SASLPolicy(enabled: everything), tls: Bool = true, types: [ChannelBindingType] = [],
        certificate: Bool = false
    ) -> [String] {
        SASLMechanismList(policy, hasTLS: tls, channelBindingTypes: types, hasCertificate: certificate)
            .mechanisms.map(\.name)
    }

    @Test("The best comes first, and only what the stream allows comes at all")
    func order() {
        let scram = ["SCRAM-SHA-256", "SCRAM-SHA-1"]
        let plus = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"]
        #expect(names() == scram + ["PLAIN"])
        #expect(names(types: [.tlsExporter]) == plus + scram + ["PLAIN"])
        #expect(names(types: [.tlsExporter], certificate: true) == ["EXTERNAL"] + plus + scram + ["PLAIN"])
        #expect(names(tls: false) == scram)
        #expect(names(tls: false, types: [.tlsExporter], certificate: true) == scram)
        #expect(names(SASLPolicy()) == scram)
        #expect(names(SASLPolicy(enabled: [])) == [])
        #expect(names(SASLPolicy(enabled: [.plain]), tls: false) == [])
    }

    @Test("ANONYMOUS is for hosts that want it (XEP-0175 §3)")
    func anonymous() {
        let policy = SASLPolicy(isAnonymous: true, enabled: Self.everything)
        #expect(names(policy, types: [.tlsExporter], certificate: true) == ["ANONYMOUS"])
        #expect(!names(SASLPolicy(enabled: [.anonymous])).contains("ANONYMOUS"))
        // There may be people with credentials as well.
        let both = SASLPolicy(isAnonymous: true, hasCredentials: true, enabled: [.scram(.sha256, plus: false)])
        #expect(names(both) == ["SCRAM-SHA-256", "ANONYMOUS"])
        #expect(names(SASLPolicy(hasCredentials: false, enabled: Self.everything), certificate: true).isEmpty)
    }

    @Test("Channel binding types go with mechanisms that use them (XEP-0440 §3)")
    func channelBindingTypes() {
        func types(_ policy: SASLPolicy, _ types: [ChannelBindingType], tls: Bool = true) -> [String] {
            SASLMechanismList(policy, hasTLS: tls, channelBindingTypes: types).channelBindingTypes.map(\.rawValue)
        }
        let both: [ChannelBindingType] = [.tlsServerEndPoint, .tlsExporter]
        #expect(types(SASLPolicy(), both) == ["tls-exporter", "tls-server-end-point"])
        #expect(types(SASLPolicy(), [.tlsServerEndPoint]) == ["tls-server-end-point"])
        #expect(types(SASLPolicy(enabled: [.scram(.sha1, plus: false)]), both) == [])
        #expect(types(SASLPolicy(), both, tls: false) == [])
        #expect(types(SASLPolicy(), []) == [])
    }

    @Test("What was not offered is refused, implemented or not")
    func selection() throws {
        let list = SASLMechanismList(SASLPolicy(), hasTLS: true)
        #expect(try list.select("SCRAM-SHA-256") == .scram(.sha256, plus: false))
        for name in [
            "SCRAM-SHA-256-PLUS", "PLAIN", "ANONYMOUS", "EXTERNAL", "CRAM-MD5", "scram-sha-1", "", " PLAIN", "PLAIN\0",
            "SCRAM-SHA-512",
        ] {
            #expect(throws: SASLFailure.invalidMechanism) { try list.select(name) }
        }
        let bare = SASLMechanismList(SASLPolicy(enabled: Self.everything), hasTLS: false)
        #expect(throws: SASLFailure.encryptionRequired) { try bare.select("PLAIN") }
        #expect(throws: SASLFailure.invalidMechanism) { try bare.select("EXTERNAL") }
        #expect(throws: SASLFailure.invalidMechanism) {
            try SASLExchange(mechanism: "ANONYMOUS", context: .test())
        }
    }

    @Test("Every mechanism is found by its name")
    func registry() {
        for mechanism in SASLMechanism.byPreference {
            #expect(SASLMechanism(name: mechanism.name) == mechanism)
        }
        #expect(Set(SASLMechanism.byPreference.map(\.name)).count == SASLMechanism.byPreference.count)
    }
}
