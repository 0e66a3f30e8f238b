import MUC
import Modules
import ServerKit
import TestKit
import Testing

@testable import Federation

@Suite("Guests across servers", .serialized) struct GuestTests {
    private func perform(
        s2s: String = "guests: on", isInvited: Bool = true,
        _ body: @escaping @ServerActor @Sendable (TwoServers) async throws -> Void
    ) async throws {
        let names = isInvited ? ["sasl", "guests"] : ["sasl"]
        let modules = bundledModules.filter { names.contains($0.info.name) } + [MUC.self]
        try await playBetweenServers(s2s: s2s, modules: modules, components: true, guests: true, body)
    }

    /// A guest of Montague's.
    @ServerActor
    private func guest(_ servers: TwoServers, of peers: String...) async throws -> (TestKit.Actor, GuestPass) {
        let book = try #require(servers.montague.server.host("guests.montague.example")?.service((any GuestBook).self))
        let pass = try await book.invite(GuestRequest(peers: peers.compactMap { JID($0) }), by: nil)
        return (try await servers.montague.enter(with: pass), pass)
    }

    @ServerActor
    private func enters(_ actor: TestKit.Actor, _ room: String, _ nick: String) async throws {
        try await actor.sends("<presence to='\(room)/\(nick)'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    }

    /// Somebody makes a room that others may enter.
    @ServerActor
    private func makes(
        _ servers: TwoServers, _ actor: TestKit.Actor, _ room: String, _ nick: String
    ) async throws {
        try await enters(actor, room, nick)
        await servers.settle()
        try await actor.sends(
            """
            <iq type='set' id='c' to='\(room)'><query xmlns='http://jabber.org/protocol/muc#owner'>\
            <x xmlns='jabber:x:data' type='submit'/></query></iq>
            """)
    }

    @Test("A guest and a user elsewhere talk; nobody else there is reached, or reaches the guest")
    func remoteUser() async throws {
        try await perform { servers in
            let juliet = try await servers.capulet.enter("juliet@capulet.example/balcony")
            let nurse = try await servers.capulet.enter("nurse@capulet.example/house")
            let (guest, pass) = try await guest(servers, of: "juliet@capulet.example")
            let jid = try #require(guest.jid)
            try await guest.sends("<message to='juliet@capulet.example' type='chat' id='1'><body>Hark</body></message>")
            try await guest.sends("<message to='nurse@capulet.example' type='chat' id='2'><body>Hark</body></message>")
            await servers.settle()
            try await juliet.receives("<message from='\(jid)' id='1'><body>Hark</body></message>")
            try await guest.receives("<message from='nurse@capulet.example' type='error' id='2'/>")
            try await juliet.sends("<message to='\(jid)' type='chat' id='3'><body>Who is there?</body></message>")
            try await juliet.sends("<presence to='\(jid)'/>")
            try await juliet.sends("<iq type='get' id='4' to='\(jid)'><ping xmlns='urn:xmpp:ping'/></iq>")
            await servers.settle()
            try await guest.receives("<message from='juliet@capulet.example/balcony' id='3'/>")
            try await guest.receives("<presence from='juliet@capulet.example/balcony'/>")
            try await guest.receives("<iq type='get' id='4' from='juliet@capulet.example/balcony'/>")
            try await guest.sends("<iq type='result' id='4' to='juliet@capulet.example/balcony'/>")
            await servers.settle()
            try await juliet.receives("<iq type='result' id='4' from='\(jid)'/>")
            try await nurse.sends("<message to='\(jid)' type='chat' id='5'><body>Peter</body></message>")
            try await nurse.sends("<presence to='\(jid)'/>")
            await servers.settle()
            let heard = nurse.takeInbox()
            #expect(heard.map { $0["id"] } == ["5"])
            #expect(heard.first?.child("error")?.has("service-unavailable", .stanzaErrors) == true)
            // Who is sent away still says goodbye.
            try await guest.sends("<presence to='juliet@capulet.example'/>")
            await servers.settle()
            try await juliet.receives("<presence from='\(jid)'/>")
            let book = servers.montague.server.host("guests.montague.example")?.service((any GuestBook).self)
            #expect(try await book?.revoke(pass.invitation.id) == true)
            try await guest.isClosed(with: .notAuthorized)
            await servers.settle()
            try await juliet.receives("<presence from='\(jid)' type='unavailable'/>")
            // From then on there is nobody.
            try await juliet.sends("<message to='\(jid)' type='chat' id='6'><body>Come back</body></message>")
            await servers.settle()
            #expect(book?.mayFederate(with: "capulet.example") == false)
        }
    }

    @Test("A guest takes part in a room here, and in no other")
    func localRoom() async throws {
        try await perform { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            let room = "garden@rooms.montague.example"
            try await makes(servers, romeo, room, "romeo")
            try await makes(servers, romeo, "study@rooms.montague.example", "romeo")
            let (guest, _) = try await guest(servers, of: room)
            try await enters(guest, room, "guest")
            await servers.settle()
            _ = romeo.takeInbox()
            #expect(guest.takeInbox().contains { $0["from"] == "\(room)/romeo" && $0.name == "presence" })
            try await guest.sends("<message to='\(room)' type='groupchat' id='1'><body>O</body></message>")
            await servers.settle()
            #expect(romeo.takeInbox().contains { $0.text(of: "body") == "O" })
            try await romeo.sends("<message to='\(room)' type='groupchat' id='2'><body>Hush</body></message>")
            try await romeo.sends("<message to='\(room)/guest' type='chat' id='3'><body>Psst</body></message>")
            await servers.settle()
            let heard = guest.takeInbox().compactMap { $0.text(of: "body") }
            #expect(heard.contains("Hush") && heard.contains("Psst"))
            // Other rooms, those that are not there yet, and invitations of others.
            for other in ["study@rooms.montague.example", "new@rooms.montague.example", "x@rooms.capulet.example"] {
                try await enters(guest, other, "guest")
                try await guest.receives("<presence type='error' from='\(other)/guest'/>")
            }
            try await guest.sends(
                """
                <message to='\(room)' id='4'><x xmlns='http://jabber.org/protocol/muc#user'>\
                <invite to='juliet@capulet.example'/></x></message>
                """)
            try await guest.receives("<message type='error' id='4'/>")
            let info = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
            try await guest.asks(.get, info, to: "rooms.montague.example")
            let items = "<query xmlns='http://jabber.org/protocol/disco#items'/>"
            let error = try await guest.isRefused(.get, items, to: "rooms.montague.example")
            #expect(error.condition == .notAllowed)
            await guest.leaves()
            await servers.settle()
            #expect(
                romeo.takeInbox().contains { $0["type"] == "unavailable" && $0["from"] == "\(room)/guest" })
        }
    }

    @Test("A guest takes part in a room elsewhere, and is seen leaving it when the connection is lost")
    func remoteRoom() async throws {
        try await perform { servers in
            let juliet = try await servers.capulet.enter("juliet@capulet.example/balcony")
            let room = "orchard@rooms.capulet.example"
            try await makes(servers, juliet, room, "juliet")
            let (guest, _) = try await guest(servers, of: room)
            try await enters(guest, room, "guest")
            await servers.settle()
            #expect(guest.takeInbox().contains { $0["from"] == "\(room)/juliet" && $0.name == "presence" })
            _ = juliet.takeInbox()
            try await guest.sends("<message to='\(room)' type='groupchat' id='1'><body>O</body></message>")
            await servers.settle()
            #expect(juliet.takeInbox().contains { $0.text(of: "body") == "O" })
            try await juliet.sends("<message to='\(room)' type='groupchat' id='2'><body>Hush</body></message>")
            await servers.settle()
            #expect(guest.takeInbox().contains { $0.text(of: "body") == "Hush" })
            await guest.vanishes()
            await servers.settle()
            #expect(
                juliet.takeInbox().contains { $0["type"] == "unavailable" && $0["from"] == "\(room)/guest" })
        }
    }

    @Test("A domain that no invitation names does not get to speak with guests")
    func uninvitedDomain() async throws {
        try await perform { servers in
            let juliet = try await servers.capulet.enter("juliet@capulet.example/balcony")
            try await servers.montague.account("romeo@montague.example")
            let (guest, _) = try await guest(servers, of: "romeo@montague.example")
            let jid = try #require(guest.jid)
            try await guest.sends("<message to='juliet@capulet.example' type='chat' id='1'><body>Hark</body></message>")
            try await guest.receives("<message from='juliet@capulet.example' type='error' id='1'/>")
            try await juliet.sends("<message to='\(jid)' type='chat' id='2'><body>Hark</body></message>")
            var heard: [Element] = []
            for _ in 0..<40 where heard.isEmpty {
                await servers.advance(by: .seconds(10))
                await servers.settle()
                heard = juliet.takeInbox()
            }
            #expect(guest.takeInbox().isEmpty)
            #expect(heard.map { $0["type"] } == ["error"])
            #expect(!servers.montague.federation.routes.keys.contains { $0.local == "guests.montague.example" })
        }
    }

    @Test(
        "Without the option of s2s, and without invitations, guests stay on their server",
        arguments: [("guests: off", true), ("guests: on", false)])
    func off(s2s: String, isInvited: Bool) async throws {
        try await perform(s2s: s2s, isInvited: isInvited) { servers in
            let juliet = try await servers.capulet.enter("juliet@capulet.example/balcony")
            let guest =
                isInvited
                ? try await guest(servers, of: "juliet@capulet.example").0
                : try await servers.montague.enterAsGuest(of: "guests.montague.example")
            try await guest.sends("<message to='juliet@capulet.example' type='chat' id='1'><body>Hark</body></message>")
            await servers.settle()
            let error = try await guest.receives("<message type='error' id='1'/>")
            #expect(error.child("error")?.has("not-allowed", .stanzaErrors) == true)
            #expect(juliet.takeInbox().isEmpty)
            #expect(servers.montague.federation.streams.isEmpty)
        }
    }
}
