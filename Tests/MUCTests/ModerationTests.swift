import ServerKit
import TestKit
import Testing

@testable import MUC

@Suite("Moderated retraction (XEP-0425)") struct ModerationTests {
    private static let reason = "This message contains inappropriate content for this forum"

    private static func moderate(_ id: String, _ content: String = "<retract xmlns='urn:xmpp:message-retract:1'/>")
        -> String
    {
        "<moderate id='\(id)' xmlns='urn:xmpp:message-moderate:1'>\(content)</moderate>"
    }

    /// The second witch has said something that the first one, who moderates, does not like. Everybody has heard it.
    private static func play(
        _ options: String = "",
        _ body: @escaping @ServerActor @Sendable (Stage, RoomWatch, Actor, Actor, _ said: Element) async throws -> Void
    ) async throws {
        try await playRooms(options) { stage in
            let watch = RoomWatch(stage)
            let first = try await stage.enter("crone1@capulet.example/desktop")
            let second = try await stage.enter("wiccarocks@montague.example/laptop")
            try await first.makesRoom(as: "macbeth")
            try await second.enters(as: "oldhag")
            await first.forgets()
            try await second.says("DM me for free magic potions!", id: "inappropriate-1")
            let said = try #require(await first.everything().first)
            await second.forgets()
            try await body(stage, watch, first, second, said)
        }
    }

    @Test("A moderator retracts: everybody is told by whom, and a tombstone stays (§3.1, §4)")
    func success() async throws {
        try await Self.play { stage, _, first, second, said in
            let id = try #require(said.roomID)
            let answer = try await first.asks(
                .set,
                Self.moderate(
                    id, "<retract xmlns='urn:xmpp:message-retract:1'/><reason>\(Self.reason)</reason>"), to: coven)
            #expect(answer == nil)
            let hag = try await stage.enter("hag66@capulet.example/pda")
            let archived = try await hag.archived()
            let told = try #require(archived.last)
            for actor in [first, second] {
                let message = try await actor.receives(
                    """
                    <message type='groupchat' from='\(coven)'>
                    <retract id='\(id)' xmlns='urn:xmpp:message-retract:1'>
                    <moderated by='\(coven)/macbeth' xmlns='urn:xmpp:message-moderate:1'>
                    <occupant-id xmlns='urn:xmpp:occupant-id:0'/></moderated>
                    <reason>\(Self.reason)</reason></retract>
                    <stanza-id xmlns='urn:xmpp:sid:0' by='\(coven)'/></message>
                    """)
                #expect(message["id"] != nil && !message.has("body") && message.roomID == told.roomID)
            }
            #expect(archived.count == 2 && told["from"] == coven && told["id"] != nil)
            let tombstone = try #require(archived.first)
            #expect(tombstone["from"] == "\(coven)/oldhag" && tombstone["id"] == "inappropriate-1")
            #expect(!tombstone.has("body") && tombstone.roomID == id)
            #expect(tombstone.child("occupant-id", .occupantID)?["id"] == said.child("occupant-id", .occupantID)?["id"])
            let retracted = try #require(tombstone.child("retracted", .retraction))
            #expect(retracted["stamp"] != nil && retracted["id"] == told["id"])
            #expect(retracted.text(of: "reason") == Self.reason)
            let moderated = try #require(retracted.child("moderated", .moderation))
            #expect(moderated["by"] == "\(coven)/macbeth" && moderated.has("occupant-id", .occupantID))
            // Who comes now is not shown it.
            let shown = try await hag.history(as: "thirdwitch")
            #expect(shown.count == 2 && shown.allSatisfy { !$0.has("body") })
            await first.forgets()
            await second.forgets()
            // What is gone already is not announced again.
            try await first.asks(.set, Self.moderate(id), to: coven)
            try await first.staysSilent()
        }
    }

    @Test("The form before version 0.3, which clients still send and look for")
    func legacy() async throws {
        try await Self.play { stage, _, first, second, said in
            let id = try #require(said.roomID)
            try await first.asks(
                .set,
                """
                <apply-to id='\(id)' xmlns='urn:xmpp:fasten:0'><moderate xmlns='urn:xmpp:message-moderate:0'>
                <retract xmlns='urn:xmpp:message-retract:0'/><reason>\(Self.reason)</reason></moderate></apply-to>
                """, to: coven)
            try await second.receives(
                """
                <message type='groupchat' from='\(coven)'>
                <retract id='\(id)' xmlns='urn:xmpp:message-retract:1'/>
                <apply-to id='\(id)' xmlns='urn:xmpp:fasten:0'>
                <moderated by='\(coven)/macbeth' xmlns='urn:xmpp:message-moderate:0'>
                <retract xmlns='urn:xmpp:message-retract:0'/><reason>\(Self.reason)</reason></moderated></apply-to></message>
                """)
            let tombstone = try #require(try await second.archived().first)
            let moderated = try #require(tombstone.child("moderated", .legacyModeration))
            #expect(moderated.has("retracted", .legacyRetraction) && moderated.text(of: "reason") == Self.reason)
            #expect(tombstone.has("retracted", .retraction))
            let error = try await first.isRefused(.set, "<apply-to id='x' xmlns='urn:xmpp:fasten:0'/>", to: coven)
            #expect(error.condition == .featureNotImplemented)
        }
    }

    @Test("Who may not, and what is not there (§3.2)")
    func errors() async throws {
        try await Self.play { stage, watch, first, second, said in
            let id = try #require(said.roomID)
            @ServerActor
            func refusal(_ actor: Actor, _ payload: String) async throws -> StanzaError.Condition {
                try await actor.isRefused(.set, payload, to: coven).condition
            }
            #expect(try await refusal(second, Self.moderate(id)) == .forbidden)
            let hag = try await stage.enter("hag66@capulet.example/pda")
            #expect(try await refusal(hag, Self.moderate(id)) == .forbidden)
            #expect(try await refusal(first, Self.moderate("unknown")) == .itemNotFound)
            // The id that its sender has given it is not unique.
            #expect(try await refusal(first, Self.moderate("inappropriate-1")) == .itemNotFound)
            #expect(try await refusal(first, Self.moderate("")) == .badRequest)
            #expect(
                try await refusal(first, Self.moderate(id, "<edit xmlns='urn:example'/>")) == .featureNotImplemented)
            #expect(try await first.isRefused(.get, Self.moderate(id), to: coven).condition == .notAllowed)
            try await stage.staysSilent()
            #expect(try await hag.bodies() == ["DM me for free magic potions!"])
            // What the room itself has said stays.
            try await first.asks(.set, Self.moderate(id), to: coven)
            let own = try #require(await second.everything().first?.roomID)
            #expect(try await refusal(first, Self.moderate(own)) == .notAllowed)
        }
    }

    @Test("Where it is not allowed nobody can")
    func off() async throws {
        try await Self.play("moderation: off") { stage, _, first, second, said in
            let id = try #require(said.roomID)
            let error = try await first.isRefused(.set, Self.moderate(id), to: coven)
            #expect(error.condition == .serviceUnavailable)
        }
    }

    @Test("Without an archive the history is what counts", arguments: ["archive: off", "archive: on_request"])
    func memory(_ options: String) async throws {
        try await Self.play(options) { stage, _, first, second, said in
            let id = try #require(said.roomID)
            try await first.asks(.set, Self.moderate(id), to: coven)
            try await second.receives(
                "<message from='\(coven)'><retract xmlns='urn:xmpp:message-retract:1' id='\(id)'/></message>")
            let hag = try await stage.enter("hag66@capulet.example/pda")
            #expect(try await hag.history(as: "thirdwitch").first?.has("retracted", .retraction) == true)
        }
    }

    @Test(
        "What passes for moderated or retracted already is not, and is moderated like everything else (XEP-0424 §4)",
        arguments: [
            "<retracted xmlns='urn:xmpp:message-retract:1' id='x' stamp='2026-01-01T00:00:00Z'/>",
            "<retracted xmlns='urn:xmpp:message-retract:0' stamp='2026-01-01T00:00:00Z'/>",
            "<moderated xmlns='urn:xmpp:message-moderate:1' by='\(coven)/macbeth'/>",
            "<moderated xmlns='urn:xmpp:message-moderate:0' by='\(coven)/macbeth'/>",
        ])
    func immune(_ pretence: String) async throws {
        try await Self.play { stage, _, first, second, _ in
            try await second.sends(
                "<message to='\(coven)' type='groupchat' id='x'><body>spam</body>\(pretence)</message>")
            let spam = try await first.receives("<message id='x'><body>spam</body></message>")
            #expect(!spam.children.contains { $0.name == "retracted" || $0.name == "moderated" })
            let id = try #require(spam.roomID)
            try await first.asks(.set, Self.moderate(id), to: coven)
            try await first.receives(
                "<message from='\(coven)'><retract xmlns='urn:xmpp:message-retract:1' id='\(id)'/></message>")
            let archived = try await second.archived()
            #expect(archived[1].has("retracted", .retraction) && !archived[1].has("body"))
        }
    }

    @Test(
        "What is in no archive is moderated for those who have seen it, once",
        arguments: ["no-store", "no-permanent-store"])
    func passing(_ hint: String) async throws {
        try await Self.play("history: 0, message_rate: unlimited") { stage, _, first, second, _ in
            let spam =
                "<message to='\(coven)' type='groupchat' id='x'><body>spam</body><\(hint) xmlns='urn:xmpp:hints'/></message>"
            try await second.sends(spam)
            let id = try #require(await first.everything().first?.roomID)
            await second.forgets()
            try await first.asks(.set, Self.moderate(id, "<retract xmlns='urn:xmpp:message-retract:1'/>"), to: coven)
            for actor in [first, second] {
                try await actor.receives(
                    """
                    <message from='\(coven)' type='groupchat'><retract xmlns='urn:xmpp:message-retract:1' id='\(id)'>
                    <moderated xmlns='urn:xmpp:message-moderate:1' by='\(coven)/macbeth'/></retract></message>
                    """)
            }
            #expect(try await first.isRefused(.set, Self.moderate(id), to: coven).condition == .itemNotFound)
            // Only the last ones are remembered; chat states push none of them out.
            try await second.sends(spam)
            let old = try #require(await first.everything().first?.roomID)
            for _ in 1...501 { try await second.sends(spam) }
            let last = try #require(await first.everything().last?.roomID)
            for _ in 1...600 {
                try await second.sends(
                    "<message to='\(coven)' type='groupchat'><active xmlns='http://jabber.org/protocol/chatstates'/></message>"
                )
            }
            _ = await first.everything()
            #expect(try await first.isRefused(.set, Self.moderate(old), to: coven).condition == .itemNotFound)
            try await first.asks(.set, Self.moderate(last), to: coven)
            await stage.settle()
        }
    }

    @Test("A message older than the history, after a restart; a retraction that hides something is moderated, too")
    func old() async throws {
        try await Self.play("history: 1") { stage, watch, first, second, said in
            let id = try #require(said.roomID)
            try watch.set { $0.isPersistent = true }
            try await second.sends(
                """
                <message to='\(coven)' type='groupchat' id='x'><body>spam</body>
                <retract xmlns='urn:xmpp:message-retract:1' id='nothing'/></message>
                """)
            let spam = try #require(await second.everything().first?.roomID)
            for number in 1...3 { try await second.says("\(number)") }
            try await stage.restart()
            let again = try await stage.enter("crone1@capulet.example/desktop")
            try await again.enters(as: "macbeth")
            for id in [id, spam] { try await again.asks(.set, Self.moderate(id), to: coven) }
            _ = await again.everything()
            let archived = try await again.archived()
            #expect(archived[0].has("retracted", .retraction))
            #expect(!archived[1].has("body") && archived[1].child("retract", .retraction)?["id"] == "nothing")
            #expect(archived[2].text(of: "body") == "1")
        }
    }
}
