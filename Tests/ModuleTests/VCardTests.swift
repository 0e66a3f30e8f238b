import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("vcard-temp (XEP-0054)") struct VCardTests {
    private static let card = """
        <vCard xmlns='vcard-temp'><FN>Peter Saint-Andre</FN><N><FAMILY>Saint-Andre</FAMILY><GIVEN>Peter</GIVEN>\
        <MIDDLE/></N><TEL><WORK/><VOICE/><NUMBER>303-308-3282</NUMBER></TEL><DESC>a &lt;b&gt; &amp; c</DESC></vCard>
        """
    private static let request = "<vCard xmlns='vcard-temp'/>"

    @Test("A user's card is there for the user and for everybody, after a restart too")
    func card() async throws {
        try await play(modules: [VCard.self]) { stage in
            let peter = try await stage.enter("stpeter@montague.example/roundabout")
            try await peter.asks(.set, Self.card)
            let own = try await peter.asks(.get, Self.request)
            #expect(own?.matches(try Element.parse(Self.card), exactly: true) == true)
            try await stage.restart()
            let jer = try await stage.enter("jer@capulet.example/x")
            let seen = try await jer.asks(.get, Self.request, to: "stpeter@montague.example")
            #expect(seen?.matches(try Element.parse(Self.card), exactly: true) == true)
            // XEP-0054 §3.2: the whole card is replaced, and an empty one is none.
            let again = try await stage.enter("stpeter@montague.example/roundabout")
            try await again.asks(.set, "<vCard xmlns='vcard-temp'><FN>P</FN></vCard>", to: "stpeter@montague.example")
            let changed = try await jer.asks(.get, Self.request, to: "stpeter@montague.example")
            #expect(changed?.children.count == 1)
            try await again.asks(.set, Self.request)
            #expect(try await again.isRefused(.get, Self.request) == .itemNotFound)
        }
    }

    @Test("Who has no card cannot be told from who does not exist")
    func none() async throws {
        try await play(modules: [VCard.self]) { stage in
            let peter = try await stage.enter("stpeter@montague.example/roundabout")
            try await stage.account("jer@montague.example")
            #expect(try await peter.isRefused(.get, Self.request) == .itemNotFound)
            for to in ["jer@montague.example", "nobody@montague.example"] {
                #expect(try await peter.isRefused(.get, Self.request, to: to) == .serviceUnavailable)
                #expect(try await peter.isRefused(.set, Self.card, to: to) == .serviceUnavailable)
            }
        }
    }

    @Test("Only its owner changes a card, and the host's nobody")
    func others() async throws {
        try await play(modules: [VCard.self]) { stage in
            let peter = try await stage.enter("stpeter@montague.example/roundabout")
            try await peter.asks(.set, Self.card)
            let jer = try await stage.enter("jer@montague.example/x")
            try await jer.isRefused(.set, Self.request, to: "stpeter@montague.example")
            try await jer.isRefused(.set, Self.card, to: "montague.example")
            #expect(try await jer.asks(.get, Self.request, to: "stpeter@montague.example")?.hasChildren == true)
        }
    }

    @Test("A large card is refused, and the old one stays")
    func size() async throws {
        try await play(modules: [VCard.self], config: "modules:\n  vcard: { size: 1 KiB }\n") { stage in
            let peter = try await stage.enter("stpeter@montague.example/roundabout")
            try await peter.asks(.set, Self.card)
            let photo = String(repeating: "A", count: 2_000)
            let error = try await peter.isRefused(.set, "<vCard xmlns='vcard-temp'><PHOTO>\(photo)</PHOTO></vCard>")
            #expect(error.condition == .policyViolation)
            #expect(try await peter.asks(.get, Self.request)?.has("FN", "vcard-temp") == true)
        }
    }

    @Test("The host has a card when its administrator wrote one, and says what it supports")
    func host() async throws {
        let config = """
            modules:
              vcard: { name: Montague & Sons, url: "https://montague.example", email: a@b.example }
            """
        try await play(modules: [VCard.self], config: config) { stage in
            let peter = try await stage.enter("stpeter@montague.example/roundabout")
            let card = try await peter.asks(.get, Self.request, to: "montague.example")
            #expect(card?.text(of: "FN") == "Montague & Sons")
            #expect(card?.text(of: "URL") == "https://montague.example")
            #expect(card?.child("EMAIL")?.text(of: "USERID") == "a@b.example")
            let host = try #require(stage.server.host("montague.example"))
            #expect(host.disco.features(of: .host).contains("vcard-temp"))
            try stage.reload("modules: { vcard: on }\n")
            #expect(try await peter.isRefused(.get, Self.request, to: "montague.example") == .serviceUnavailable)
            try stage.reload("modules: { vcard: off }\n")
            #expect(!host.disco.features(of: .host).contains("vcard-temp"))
            #expect(try await peter.isRefused(.get, Self.request) == .serviceUnavailable)
        }
    }
}
