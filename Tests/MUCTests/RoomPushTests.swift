import ServerKit
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("Push notifications of rooms (XEP-0357)") struct RoomPushTests {
    private static let service = "push@capulet.example/service"
    private static let published = """
        <iq type='set' from='\(conference)'><pubsub xmlns='http://jabber.org/protocol/pubsub'>
        <publish node='n'><item><notification xmlns='urn:xmpp:push:0'/></item></publish></pubsub></iq>
        """

    private static func enable(_ node: String = "n", _ content: String = "") -> String {
        "<enable xmlns='urn:xmpp:push:0' jid='\(service)' node='\(node)'>\(content)</enable>"
    }

    /// A room with somebody who talks, a member who is away, and a push service.
    private static func away(
        _ options: String = "",
        _ body:
            @escaping @ServerActor @Sendable (
                Stage, Backstage, _ crone: Actor, _ hag: Actor, _ service: Actor
            ) async throws -> Void
    ) async throws {
        try await playRooms(options) { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            let service = try await stage.enter(service)
            try await crone.makesRoom(as: "firstwitch")
            backstage.configure { $0.isPersistent = true }
            try await hag.asks(.set, registration("thirdwitch"), to: coven)
            await hag.forgets()
            await crone.forgets()
            try await body(stage, backstage, crone, hag, service)
        }
    }

    /// The number of messages that a notification tells of.
    private static func count(_ iq: Element) -> String? {
        let item = iq.child("pubsub", .pushPubSub)?.child("publish")?.child("item")
        let form = item?.child("notification", .push)?.child("x", .dataForms).flatMap { try? DataForm($0) }
        return form?["message-count"]?.value
    }

    @Test("Somebody who is mentioned while away is told, with the secret that the service wants")
    func mentioned() async throws {
        try await Self.away { stage, _, crone, hag, service in
            let options = """
                <x xmlns='jabber:x:data' type='submit'>
                <field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#publish-options</value></field>
                <field var='secret'><value>eruio234vzxc2kla-91</value></field></x>
                """
            try await hag.asks(.set, Self.enable("n", options), to: coven)
            for text in ["Hark", "thirdwitches", "athirdwitch"] { try await crone.says(text) }
            try await service.staysSilent()
            try await crone.says("Hey ThirdWitch, come")
            let iq = try await service.receives(Self.published)
            #expect(Self.count(iq) == "1")
            let form = iq.child("pubsub", .pushPubSub)?.child("publish-options")?.child("x", .dataForms)
            #expect(try form.map { try DataForm($0) }?["secret"]?.value == "eruio234vzxc2kla-91")
            // Soon after, several are told as one.
            try await crone.says("thirdwitch?")
            try await crone.says("thirdwitch!")
            try await service.staysSilent()
            await stage.advance(by: .seconds(11))
            #expect(Self.count(try await service.receives(Self.published)) == "3")
            try await crone.sends(
                """
                <message to='\(coven)' type='groupchat'><body>Hag, come</body>
                <reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:hag66@montague.example'/></message>
                """)
            await stage.advance(by: .seconds(11))
            try await service.receives(Self.published)
        }
    }

    @Test("Who is in the room is not told, nor who said it; whoever comes and goes counts anew")
    func present() async throws {
        try await Self.away("push: all") { stage, _, crone, hag, service in
            try await hag.asks(.set, Self.enable(), to: coven)
            try await crone.asks(.set, Self.enable("crone"), to: coven)
            try await crone.says("Hark")
            #expect(Self.count(try await service.receives(Self.published)) == "1")
            try await hag.enters(as: "thirdwitch")
            try await crone.says("Hark")
            await stage.advance(by: .seconds(11))
            try await service.staysSilent()
            try await hag.sends("<presence type='unavailable' to='\(coven)/thirdwitch'/>")
            await stage.settle()
            try await crone.says("Hark")
            #expect(Self.count(try await service.receives(Self.published)) == "1")
            // Nothing to read, nothing to tell.
            try await crone.sends(
                """
                <message to='\(coven)' type='groupchat'>
                <composing xmlns='http://jabber.org/protocol/chatstates'/></message>
                """)
            await stage.advance(by: .seconds(11))
            try await service.staysSilent()
        }
    }

    @Test("In rooms for members only everything counts, unless the administrator says otherwise")
    func membersOnly() async throws {
        try await Self.away { stage, backstage, crone, hag, service in
            backstage.configure { $0.isMembersOnly = true }
            try await hag.asks(.set, Self.enable(), to: coven)
            try await crone.says("Hark")
            try await service.receives(Self.published)
            await stage.advance(by: .seconds(11))
            try await crone.sends(
                """
                <message to='\(coven)' type='groupchat'>
                <encrypted xmlns='eu.siacs.conversations.axolotl'><payload/></encrypted></message>
                """)
            try await service.receives(Self.published)
        }
    }

    @Test(
        "Registrations outlive a restart, and end with a word, with membership, or when the service knows no such node")
    func ends() async throws {
        try await playRooms("push: all") { stage in
            var backstage = try Backstage(stage)
            var crone = try await stage.enter("crone1@capulet.example/desktop")
            var hag = try await stage.enter("hag66@montague.example/pda")
            try await crone.makesRoom(as: "firstwitch")
            backstage.configure { $0.isPersistent = true }
            try await hag.asks(.set, registration("thirdwitch"), to: coven)
            try await hag.asks(.set, Self.enable(), to: coven)
            try await stage.restart()
            backstage = try Backstage(stage)
            crone = try await stage.enter("crone1@capulet.example/desktop")
            hag = try await stage.enter("hag66@montague.example/pda")
            let service = try await stage.enter(Self.service)
            try await crone.enters(as: "firstwitch")
            try await crone.says("Hark")
            let first = try await service.receives(Self.published)
            try await service.sends("<iq type='result' to='\(conference)' id='\(first["id"] ?? "")'/>")

            try await hag.asks(
                .set, "<disable xmlns='urn:xmpp:push:0' jid='\(Self.service)' node='other'/>", to: coven)
            await stage.advance(by: .seconds(11))
            try await crone.says("Hark")
            let second = try await service.receives(Self.published)
            try await service.sends(
                """
                <iq type='error' to='\(conference)' id='\(second["id"] ?? "")'><error type='cancel'>
                <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>
                """)
            await stage.advance(by: .seconds(11))
            try await crone.says("Hark")
            try await service.staysSilent()
            for ending in 0..<3 {
                try await hag.asks(.set, Self.enable(), to: coven)
                switch ending {
                case 0:
                    try await hag.asks(.set, "<disable xmlns='urn:xmpp:push:0' jid='\(Self.service)'/>", to: coven)
                case 1:
                    try await hag.asks(.set, "<query xmlns='jabber:iq:register'><remove/></query>", to: coven)
                    try await hag.asks(.set, registration("thirdwitch"), to: coven)
                default: backstage.setAffiliation(.outcast, of: "hag66@montague.example")
                }
                await stage.advance(by: .seconds(11))
                try await crone.says("Hark")
                try await service.staysSilent()
            }
        }
    }

    @Test("Strangers, nonsense and too much are refused")
    func refused() async throws {
        try await Self.away("push_registrations: 2") { stage, backstage, crone, hag, service in
            let stranger = try await stage.enter("macbeth@montague.example/castle")
            #expect(try await stranger.isRefused(.set, Self.enable(), to: coven).condition == .registrationRequired)
            let wrong: [(String, StanzaError.Condition)] = [
                ("<enable xmlns='urn:xmpp:push:0'/>", .badRequest),
                ("<enable xmlns='urn:xmpp:push:0' jid='@'/>", .jidMalformed),
                ("<disable xmlns='urn:xmpp:push:0'/>", .badRequest),
                ("<disable xmlns='urn:xmpp:push:0' jid='@'/>", .jidMalformed),
                (Self.enable(String(repeating: "n", count: 5_000)), .policyViolation),
                (Self.enable("n", "<x xmlns='jabber:x:data' type='submit'/>"), .badRequest),
            ]
            for (request, condition) in wrong {
                #expect(try await hag.isRefused(.set, request, to: coven).condition == condition)
            }
            for node in ["n", "second", "third"] { try await hag.asks(.set, Self.enable(node), to: coven) }
            // The first has made room.
            #expect(backstage.room?[RoomPushRegistry.Book.self]?.count == 2)
            try await crone.says("thirdwitch")
            let nodes = await service.everything().compactMap {
                $0.child("pubsub", .pushPubSub)?.child("publish")?["node"]
            }
            #expect(Set(nodes) == ["second", "third"])
        }
    }

    @Test("What is off is not there")
    func off() async throws {
        try await Self.away("push: off") { stage, backstage, crone, hag, service in
            let error = try await hag.isRefused(.set, Self.enable(), to: coven)
            #expect(error.condition == .serviceUnavailable)
        }
    }

    @Test("People are looked for in the beginning of a message, as words of their own")
    func mentions() throws {
        let jid = try #require(JID("hag66@montague.example"))
        let mentions = { (text: String) in Mentions(Message(kind: .groupchat) { Element("body", text: text) }) }
        for (text, nick, isNamed) in [
            ("Hark, Third Witch!", "third witch", true), ("third witches", "third witch", false),
            ("a third witch third witches", "third witch", true), ("x☺y", "☺", false), ("☺", "☺", true),
            ("#hag", "hag", true), ("hag", "#hag", false), ("a#hag", "#hag", false), ("", "hag", false),
            ("l'étoile", "étoile", true), ("Étoile", "e\u{301}toile", true), ("hag", "", false),
            ("hag-2", "hag-2", true),
        ] { #expect(mentions(text).contains(nick, jid) == isNamed, "\(text), \(nick)") }
        let far = String(repeating: "e ", count: 3_000) + "hag"
        #expect(!mentions(far).contains("hag", jid) && mentions(far).contains("e", jid))
        // In the middle of a character.
        #expect(mentions(String(repeating: "é", count: 2_047) + " hag").contains("hag", jid) == false)
    }

    @Test("A room with very many phones is none that stands still, and there is an end to them")
    func many() async throws {
        try await Self.away("push: all, max_push_registrations: 2000") { stage, backstage, crone, hag, service in
            let room = try #require(backstage.room)
            let registry = RoomPushRegistry(room.service.host)
            let target = { (number: Int) in
                try PushTarget(Element.parse(Self.enable("n\(number)")), sizeLimit: 4_096)
            }
            let clock = ContinuousClock()
            let time = try clock.measure {
                for number in 0..<2_000 {
                    let jid = try #require(JID("witch\(number)@verona.example"))
                    room.setAffiliate(Affiliate(affiliation: .member), of: jid)
                    try registry.add(try target(number), of: jid, to: room)
                }
            }
            #expect(time < .seconds(10), "\(time)")
            #expect(try await hag.isRefused(.set, Self.enable(), to: coven).condition == .resourceConstraint)
            await stage.settle()
            let text = String(repeating: "e", count: 200_000)
            let turn = await clock.measure { try? await crone.says(text) }
            #expect(turn < .seconds(10), "\(turn)")
            #expect(await service.everything().filter { $0.name == "iq" }.count == 2_000)
            let one = try #require(JID("witch7@verona.example"))
            room.setAffiliation(.none, of: one)
            try await hag.asks(.set, Self.enable(), to: coven)
            #expect(room[RoomPushRegistry.Book.self]?.count == 2_000)
        }
    }
}
