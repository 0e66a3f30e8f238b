import ServerKit
import TestKit
import Testing

@testable import Modules

private let sasl = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"

@Suite("Guests log in like anybody") struct GuestLoginTests {
    @ServerActor
    private func offered(_ stage: Stage) async throws -> [String]? {
        let features = try await stage.connect(to: "guests.example").opens()
        return features.child("mechanisms", .sasl)?.children.map(\.text)
    }

    @Test("ANONYMOUS is offered where people without an invitation get in, and passwords where there are invitations")
    func offer() async throws {
        try await playWithGuests { stage in
            #expect(try await offered(stage) == ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
            try stage.reload(guestConfig("open: on"))
            #expect(try await offered(stage) == ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "ANONYMOUS"])
            try stage.reload(guestConfig(isOn: false))
            #expect(try await offered(stage) == ["ANONYMOUS"])
        }
    }

    @Test("SCRAM and PLAIN let guests in", arguments: ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
    func mechanisms(mechanism: String) async throws {
        try await playWithGuests { stage in
            let pass = try await stage.invites(juliets, name: "Friar John")
            // However it is spelled, and with the own address asked for.
            for (username, authzid) in [
                (pass.username, nil), (pass.username.uppercased(), nil), (pass.username, "\(pass.address)"),
            ] {
                let guest = try await stage.connect(to: "guests.example")
                try await guest.opens()
                if mechanism == "PLAIN" {
                    try await guest.authenticatesPlain(username, pass.password, authzid: authzid ?? "")
                    try await guest.receives("<success \(sasl)/>", exactly: true)
                } else {
                    var client = try await guest.authenticatesScram(
                        username, pass.password, with: mechanism, authzid: authzid)
                    let success = try await guest.receives("<success \(sasl)/>")
                    try client.finish(#require(Base64.decode(success.text)))
                }
                try await guest.opens()
                try await guest.bindsResource("x")
                try await guest.receives("<iq type='result' id='bind'/>")
                #expect(guest.jid == (try pass.address.with(resource: "x")))
                await guest.leaves()
            }
        }
    }

    @Test("An invitation looks like an address that nobody was given")
    func decoys() async throws {
        try await playWithGuests { stage in
            let pass = try await stage.invites(juliets)
            let old = try await stage.invites(juliets)
            _ = try await stage.book.revoke(old.invitation.id)
            var seen: Set<String> = []
            for username in [pass.username, old.username, "nobody"] {
                let guest = try await stage.tries("SCRAM-SHA-256", Array("n,,n=\(username),r=abc".utf8))
                let challenge = String(decoding: try await guest.isChallenged(), as: UTF8.self)
                let parts = challenge.split(separator: ",")
                seen.insert("\(parts[2]) \(parts[1].utf8.count) \(parts.count)")
                let other = try await stage.connect(to: "guests.example")
                try await other.opens()
                _ = try await other.authenticatesScram(username, "guess")
                try await other.receives("<failure \(sasl)><not-authorized/></failure>", exactly: true)
            }
            #expect(seen.count == 1)
        }
    }

    @Test("An invitation for several is the address of none of them, and clients that name it get on")
    func places() async throws {
        try await playWithGuests { stage in
            let juliet = try await stage.enter("\(juliets)/balcony")
            let pass = try await stage.invites(juliets, places: 2)
            var addresses: Set<JID> = [pass.address]
            for _ in 0..<2 {
                let guest = try await stage.connect(to: "guests.example")
                try await guest.opens(from: "\(pass.address)", and: "")
                _ = try await guest.authenticatesScram(pass.username, pass.password)
                try await guest.receives("<success \(sasl)/>")
                // RFC 6120 §4.3.6: until it has bound a resource the client knows no other.
                try await guest.opens(from: "\(pass.address)", and: "")
                try await guest.bindsResource("x")
                try await guest.receives("<iq type='result' id='bind'/>")
                addresses.insert(try #require(guest.jid?.bare))
                try await guest.writes(to: juliet)
                try await juliet.writes(to: guest)
            }
            #expect(addresses.count == 3)
            // There is nobody of that name.
            try await juliet.cannotWrite(to: "\(pass.address)", "service-unavailable")
            // Only who knows the password learns that it is full.
            try await stage.tries(pass).fails("temporary-auth-failure")
            try await stage.tries(pass, password: "guess").fails("not-authorized")
        }
    }

    @Test("Who asks for the address of an invitation for several, or claims another, does not get in")
    func exact() async throws {
        try await playWithGuests { stage in
            let pass = try await stage.invites(juliets, places: 2)
            let stubborn = try await stage.tries(
                "PLAIN", Array("\(pass.address)\0\(pass.username)\0\(pass.password)".utf8))
            try await stubborn.fails("invalid-authzid")
            let liar = try await stage.tries(pass)
            try await liar.receives("<success \(sasl)/>")
            liar.restart()
            try await liar.sends(
                "<stream:stream to='guests.example' from='other@guests.example' version='1.0' xmlns='jabber:client' "
                    + "xmlns:stream='http://etherx.jabber.org/streams'>")
            try await liar.isClosed(with: .invalidFrom)
        }
    }

    @Test("Guests bind to the channel as well")
    func channelBinding() async throws {
        try await playWithGuests(over: .tls) { stage in
            let pass = try await stage.invites(juliets)
            let guest = try await stage.connect(to: "guests.example")
            let features = try await guest.opens()
            #expect(features.child("mechanisms", .sasl)?.children.first?.text == "SCRAM-SHA-256-PLUS")
            let exporter = try #require(guest.stream?.transport.tls?.exporter())
            _ = try await guest.authenticatesScram(
                pass.username, pass.password, with: "SCRAM-SHA-256-PLUS",
                binding: .bound(ChannelBinding(.tlsExporter, exporter)))
            try await guest.receives("<success \(sasl)/>")
        }
    }

    @Test("By SASL2, too; there are no tokens, and no keys to be had")
    func sasl2() async throws {
        try await playWithGuests(more: [SASL2.self, FAST.self]) { stage in
            let request =
                "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>"
                + "<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-256</upgrade><bind xmlns='urn:xmpp:bind:0'/>"
            for places in [1, 2] {
                let pass = try await stage.invites(juliets, places: places)
                let guest = try await stage.connect(to: "guests.example")
                let offer = try await guest.opens(
                    from: "\(pass.address)",
                    and: Actor.plain(pass.username, pass.password, with: Actor.agent + request))
                let feature = try #require(offer.child("authentication", .sasl2))
                #expect(!feature.has("upgrade", .saslUpgrade))
                #expect(feature.child("inline")?.has("fast", .fast) == false)
                let success = try await guest.receives("<success xmlns='urn:xmpp:sasl:2'/>")
                #expect(!success.has("token", .fast))
                #expect(success.text(of: "authorization-identifier") == guest.jid?.description)
                #expect((guest.jid?.bare == pass.address) == (places == 1))
                let other = try await stage.connect(to: "guests.example")
                try await other.opens(from: "other@guests.example", and: Actor.plain(pass.username, pass.password))
                try await other.failsAgain("invalid-authzid")
            }
            #expect(try await stage.server.storage.rawMap("fast", on: "guests.example").owners().isEmpty)
        }
    }
}
