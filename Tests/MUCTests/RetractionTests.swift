import ServerKit
import TestKit
import Testing

@testable import MUC

@Suite("Retraction in rooms (XEP-0424)") struct RetractionTests {
    private static func retract(_ id: String, extra: String = "") -> String {
        """
        <message to='\(coven)' type='groupchat' id='r'><retract xmlns='urn:xmpp:message-retract:1' id='\(id)'/>\(extra)
        <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:message-retract:1'/>
        <body>/me retracted a previous message.</body></message>
        """
    }

    @Test("One's own message becomes a tombstone, in archive and history; everybody is told (§3, §4)")
    func own() async throws {
        try await playRooms { stage in
            let first = try await stage.enter("crone1@capulet.example/desktop")
            let second = try await stage.enter("wiccarocks@montague.example/laptop")
            let hag = try await stage.enter("hag66@capulet.example/pda")
            try await first.makesRoom(as: "firstwitch")
            try await second.enters(as: "secondwitch")
            await first.forgets()
            try await second.says("a secret", id: "s")
            let said = try #require(await first.everything().first)
            let id = try #require(said.roomID)
            // Under another nick it is the same occupant.
            try await second.sends("<presence to='\(coven)/witch2'/>")
            await first.forgets()
            try await second.sends(Self.retract(id))
            let retraction = try await first.receives(
                """
                <message from='\(coven)/witch2' type='groupchat' id='r'>
                <retract xmlns='urn:xmpp:message-retract:1' id='\(id)'/></message>
                """)
            let archived = try await hag.archived()
            #expect(archived.map { $0["id"] } == ["s", "r"])
            let tombstone = try #require(archived.first)
            #expect(tombstone["from"] == "\(coven)/secondwitch" && !tombstone.has("body"))
            let retracted = try #require(tombstone.child("retracted", .retraction))
            #expect(retracted["id"] == "r" && retracted["stamp"] != nil)
            #expect(tombstone.roomID == id)
            #expect(tombstone.child("occupant-id", .occupantID)?["id"] == said.child("occupant-id", .occupantID)?["id"])
            #expect(archived.last?.roomID == retraction.roomID)
            let shown = try await hag.history(as: "thirdwitch")
            #expect(shown.map { $0.has("retracted", .retraction) } == [true, false])
            #expect(shown.first?.has("body") == false)
            // A second time changes nothing but that it is told again.
            await first.forgets()
            try await second.sends(Self.retract(id).replacing("id='r'", with: "id='again'"))
            try await first.receives("<message id='again'/>")
            #expect(try await hag.archived().first?.child("retracted", .retraction)?["id"] == "r")
        }
    }

    @Test("Nobody retracts what others have said, not even under their nick (§5)")
    func others() async throws {
        try await playRooms { stage in
            let first = try await stage.enter("crone1@capulet.example/desktop")
            let second = try await stage.enter("wiccarocks@montague.example/laptop")
            try await first.makesRoom(as: "firstwitch")
            try await second.enters(as: "secondwitch")
            try await second.says("mine", id: "s")
            let id = try #require(await first.everything().last?.roomID)
            await second.forgets()
            try await first.sends(Self.retract(id))
            try await first.receives(
                "<message type='error' id='r' from='\(coven)'><error type='auth'><forbidden/></error></message>"
                    .forbidden)
            try await second.sends("<presence to='\(coven)/secondwitch' type='unavailable'/>")
            await first.forgets()
            await second.forgets()
            let hag = try await stage.enter("hag66@capulet.example/pda")
            try await hag.enters(as: "secondwitch")
            try await hag.sends(Self.retract(id))
            try await hag.receives("<message type='error' id='r'/>")
            #expect(try await hag.bodies() == ["mine"])
            // What would pass for a moderator's is no occupant's to send, nor a retraction that is something else, too.
            for extra in ["<moderated xmlns='urn:xmpp:message-moderate:1' by='\(coven)/firstwitch'/>"] {
                try await hag.sends(
                    """
                    <message to='\(coven)' type='groupchat' id='m'>
                    <retract xmlns='urn:xmpp:message-retract:1' id='\(id)'>\(extra)</retract></message>
                    """)
                try await hag.receives("<message type='error' id='m'/>")
            }
            try await hag.sends(
                """
                <message to='\(coven)' type='groupchat' id='m'><subject>x</subject>
                <retract xmlns='urn:xmpp:message-retract:1' id='\(id)'/></message>
                """)
            try await hag.receives("<message type='error' id='m'/>")
            #expect(try await hag.bodies() == ["mine"])
        }
    }

    @Test(
        "A retraction that hides another one is refused: a second one, a moderator's, one of the form before 0.4",
        arguments: [
            "<retract xmlns='urn:xmpp:message-retract:1' id='own'/><retract xmlns='urn:xmpp:message-retract:1' id='ID'/>",
            """
            <retract xmlns='urn:xmpp:message-retract:1' id='own'/><retract xmlns='urn:xmpp:message-retract:1' id='own'>
            <moderated xmlns='urn:xmpp:message-moderate:1' by='ROOM/firstwitch'/></retract>
            """,
            """
            <apply-to xmlns='urn:xmpp:fasten:0' id='ID'><moderated xmlns='urn:xmpp:message-moderate:0' by='ROOM/firstwitch'>
            <retract xmlns='urn:xmpp:message-retract:0'/></moderated></apply-to>
            """,
            "<apply-to xmlns='urn:xmpp:fasten:0' id='ID'><retract xmlns='urn:xmpp:message-retract:0'/></apply-to>",
            """
            <retract xmlns='urn:xmpp:message-retract:1' id='own'/>
            <apply-to xmlns='urn:xmpp:fasten:0' id='ID'><retract xmlns='urn:xmpp:message-retract:0'/></apply-to>
            """,
            "<retract xmlns='urn:xmpp:message-retract:1'/><retract xmlns='urn:xmpp:message-retract:1' id='ID'/>",
        ])
    func hidden(_ content: String) async throws {
        try await playCoven { scene in
            try await scene.first.says("mine", id: "s")
            let id = try #require(await scene.third.everything().first?.roomID)
            try await scene.forget()
            let content = content.replacing("ID", with: id).replacing("ROOM", with: coven)
            try await scene.second.sends("<message to='\(coven)' type='groupchat' id='r'>\(content)</message>")
            try await scene.second.isBounced(.badRequest, id: "r")
            try await scene.stage.staysSilent()
            // Both forms of the same one pass, and other things that are attached.
            let both = """
                <retract xmlns='urn:xmpp:message-retract:1' id='own'/>
                <apply-to xmlns='urn:xmpp:fasten:0' id='own'><retract xmlns='urn:xmpp:message-retract:0'/></apply-to>
                <apply-to xmlns='urn:xmpp:fasten:0' id='x'><unknown xmlns='urn:x'/></apply-to>
                """
            try await scene.second.sends("<message to='\(coven)' type='groupchat' id='b'>\(both)</message>")
            try await scene.third.receives("<message id='b'>\(both)</message>")
        }
    }

    @Test("Who is shown out or silenced before its message is found retracts nothing any more")
    func kicked() async throws {
        try await playCoven { scene in
            try await scene.second.says("mine", id: "s")
            let id = try #require(await scene.third.everything().first?.roomID)
            try await scene.forget()
            let room = try scene.stage.room()
            for role in [Role.visitor, .none] {
                // Both come in one turn: the archive has not answered when the role is taken.
                let session = try #require(room.session(JID("wiccarocks@montague.example/laptop")!))
                room.setRole(.participant, of: session.occupant)
                let retraction = try #require(try Stanza.parse(Element.parse(Self.retract(id))))
                guard case .message(var message) = retraction else { return }
                message.from = session.jid
                room.say(message, session)
                room.setRole(role, of: session.occupant)
                try await scene.second.isBounced(role == .none ? .notAcceptable : .forbidden, id: "r")
            }
            #expect(try await scene.first.bodies() == ["mine"])
        }
    }

    @Test("A message far back in the archive, one that is not kept, and one that is in the history only")
    func old() async throws {
        try await playRooms("history: 2") { stage in
            let watch = RoomWatch(stage)
            let first = try await stage.enter("crone1@capulet.example/desktop")
            let second = try await stage.enter("wiccarocks@montague.example/laptop")
            try await first.makesRoom(as: "firstwitch")
            try await second.enters(as: "secondwitch")
            for number in 1...6 { try await second.says("\(number)") }
            let id = try #require(await first.everything().first { $0.has("body") }?.roomID)
            await second.forgets()
            try await second.sends(Self.retract(id))
            try await first.receives("<message id='r'><retract/></message>".inRetraction)
            #expect(try await first.archived().first?.has("retracted", .retraction) == true)
            try await second.sends(Self.retract("unknown"))
            try await first.receivesAnywhere(
                "<message id='r'><retract xmlns='urn:xmpp:message-retract:1' id='unknown'/></message>")
            try watch.set { $0.isArchived = false }
            await first.forgets()
            await second.forgets()
            try await second.says("in memory")
            let other = try #require(await first.everything().first?.roomID)
            await second.forgets()
            try await first.sends(Self.retract(other))
            try await first.receives("<message type='error' id='r'/>")
            try await second.sends(Self.retract(other))
            try await first.receives("<message id='r'/>")
            let hag = try await stage.enter("hag66@capulet.example/pda")
            #expect(try await hag.history(as: "thirdwitch").first?.has("retracted", .retraction) == true)
        }
    }

    @Test("Very many retractions at once are each passed on or refused")
    func flood() async throws {
        try await playRooms("message_rate: unlimited") { stage in
            let first = try await stage.enter("crone1@capulet.example/desktop")
            try await first.makesRoom(as: "firstwitch")
            try await first.says("once", id: "s")
            let id = try #require(await first.everything().last?.roomID)
            try await first.sends(Array(repeating: Self.retract(id), count: 1_000).joined())
            let received = await first.everything()
            #expect(received.count == 1_000)
            let refused = received.compactMap { $0.child("error") }.map { StanzaError($0).condition }
            #expect(refused.count <= 900 && refused.allSatisfy { $0 == .resourceConstraint })
            try await first.says("still here")
            try await first.receives("<message><body>still here</body></message>")
        }
    }
}

extension String {
    /// A pattern whose error is in the right namespace.
    fileprivate var forbidden: String {
        replacing("<forbidden/>", with: "<forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>")
    }

    fileprivate var inRetraction: String {
        replacing("<retract/>", with: "<retract xmlns='urn:xmpp:message-retract:1'/>")
    }
}
