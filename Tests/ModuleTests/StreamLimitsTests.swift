import ServerKit
import TestKit
import Testing

@testable import Modules

private let sasl2 = "xmlns='urn:xmpp:sasl:2'"

@Suite("Stream Limits Advertisement (XEP-0478)") struct StreamLimitsTests {
    private static let modules: [any Module.Type] = [
        SASL.self, SASL2.self, Bind.self, StreamLimits.self, Ping.self, Messages.self,
    ]

    @Test("What is announced is what holds, before and after login")
    func limits() async throws {
        let config =
            "modules: { sasl: on, sasl2: on, bind: on, limits: on, messages: on, ping: { interval: 5 minutes } }"
        try await play(modules: Self.modules, config: config) { stage in
            try await stage.account("romeo@montague.example")
            stage.server.limits.unauthenticated.elementBytes = 10_000
            stage.server.limits.authenticated.elementBytes = 20_000
            let romeo = try await stage.connect(to: "montague.example")
            let before = try await romeo.opens().child("limits", "urn:xmpp:stream-limits:0")
            #expect(before?.text(of: "max-bytes") == "10000" && before?.has("idle-seconds") == false)
            try await romeo.sends(Actor.plain())
            try await romeo.receives("<success \(sasl2)/>")
            let after = try await romeo.receives("<features xmlns='http://etherx.jabber.org/streams'/>")
            #expect(after.child("limits", "urn:xmpp:stream-limits:0")?.text(of: "max-bytes") == "20000")
            #expect(after.child("limits", "urn:xmpp:stream-limits:0")?.text(of: "idle-seconds") == "300")
            try await romeo.bindsResource("phone")
            try await romeo.receives("<iq type='result'/>")
            // Exactly as much is taken, and not a byte more.
            let frame = "<message to='romeo@montague.example/phone'><body></body></message>"
            let body = String(repeating: "a", count: 20_000 - frame.utf8.count)
            try await romeo.sends("<message to='romeo@montague.example/phone'><body>\(body)</body></message>")
            try await romeo.receives("<message><body>\(body)</body></message>")
            try await romeo.staysSilent()
            await stage.advance(by: .seconds(290))
            try await romeo.staysSilent()
            await stage.advance(by: .seconds(20))
            try await romeo.receives("<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
            try await romeo.sends("<message to='romeo@montague.example/phone'><body>a\(body)</body></message>")
            try await romeo.isClosed(with: .policyViolation)
        }
    }

    @Test("Where nobody asks after silence, there is no limit to it")
    func noPing() async throws {
        try await play(modules: [SASL.self, SASL2.self, StreamLimits.self]) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens(and: Actor.plain())
            try await romeo.receives("<success \(sasl2)/>")
            let features = try await romeo.receives("<features xmlns='http://etherx.jabber.org/streams'/>")
            #expect(features.child("limits", "urn:xmpp:stream-limits:0")?.children.map(\.name) == ["max-bytes"])
        }
    }
}
