import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("Ping (XEP-0199)") struct PingTests {
    static let ping = "<ping xmlns='urn:xmpp:ping'/>"

    @Test("Host and own account answer, with an empty result")
    func answers() async throws {
        try await play(modules: [Ping.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone", presence: false)
            for to in ["montague.example", "capulet.example", "romeo@montague.example", nil] {
                #expect(try await romeo.asks(.get, Self.ping, to: to) == nil)
            }
            try await stage.staysSilent()
        }
    }

    @Test("A ping does not tell strangers who has an account")
    func strangers() async throws {
        try await play(modules: [Ping.self]) { stage in
            try await stage.account("juliet@capulet.example")
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let there = try await romeo.isRefused(.get, Self.ping, to: "juliet@capulet.example")
            let nobody = try await romeo.isRefused(.get, Self.ping, to: "nobody@capulet.example")
            #expect(there == nobody && there.condition == .serviceUnavailable)
            #expect(try await romeo.isRefused(.set, Self.ping, to: "montague.example").condition == .notAllowed)
        }
    }

    @Test(
        "A client that answers, even with an error or a space, stays",
        arguments: [
            "<iq type='result' id='ID' to='montague.example'/>",
            "<iq type='error' id='ID' to='montague.example'><error type='cancel'><service-unavailable"
                + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
            "<iq type='result' id='forged' to='montague.example'/>", " ",
        ])
    func alive(answer: String) async throws {
        try await play(modules: [Ping.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            for _ in 0..<3 {
                await stage.advance(by: .seconds(615))
                let ping = try await romeo.receives(
                    "<iq type='get' from='montague.example' to='romeo@montague.example/phone'>\(Self.ping)</iq>")
                try await romeo.sends(answer.replacing("ID", with: ping["id"] ?? ""))
                await stage.settle()
            }
            await stage.advance(by: .seconds(500))
            try await romeo.staysSilent()
            #expect(!romeo.isClosed)
        }
    }

    @Test("A client that is heard from is not pinged")
    func busy() async throws {
        try await play(modules: [Ping.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            for _ in 0..<5 {
                await stage.advance(by: .seconds(500))
                try await romeo.sends(" ")
                try await romeo.staysSilent()
            }
        }
    }

    @Test("A client that does not answer is gone, and only that one")
    func dead() async throws {
        let config = "modules: { ping: { interval: 2 minutes, timeout: 30 s } }"
        try await play(modules: [Ping.self], config: config) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let other = try await stage.enter("romeo@montague.example/laptop")
            await stage.advance(by: .seconds(135))
            try await romeo.receives("<iq type='get'>\(Self.ping)</iq>")
            try await other.receives("<iq type='get'>\(Self.ping)</iq>")
            try await other.sends(" ")
            await stage.advance(by: .seconds(40))
            try await romeo.isClosed(with: .connectionTimeout)
            #expect(!other.isClosed)
            #expect(stage.server.host("montague.example")?.accounts.resourceCount == 1)
        }
    }

    @Test("Nobody is pinged when that is switched off, at once or later")
    func off() async throws {
        try await play(modules: [Ping.self], config: "modules: { ping: { interval: never } }") { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            await stage.advance(by: .seconds(7_200))
            try await romeo.staysSilent()
            try stage.reload("modules: { ping: on }")
            try stage.reload("modules: { ping: off }")
            await stage.advance(by: .seconds(7_200))
            try await romeo.staysSilent()
            #expect(!romeo.isClosed)
        }
    }
}
