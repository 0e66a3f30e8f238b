import ServerKit
import TestKit
import Testing

@testable import MUC
@testable import Modules

/// Three in the room: firstwitch owns it.
struct Coven: Sendable {
    let stage: Stage
    let first: TestKit.Actor
    let second: TestKit.Actor
    let third: TestKit.Actor

    @ServerActor
    init(_ stage: Stage, _ fields: [String: String] = [:]) async throws {
        self.stage = stage
        first = try await stage.enter("crone1@capulet.example/desktop")
        second = try await stage.enter("wiccarocks@montague.example/laptop")
        third = try await stage.enter("hag66@capulet.example/pda")
        try await first.makesRoom(as: "firstwitch", fields)
        try await second.enters(as: "secondwitch")
        try await third.enters(as: "thirdwitch")
        try await forget()
    }

    @ServerActor
    func forget() async throws {
        await stage.settle()
        for actor in [first, second, third] { await actor.forgets() }
    }
}

func playCoven(
    _ options: String = "", _ fields: [String: String] = [:], modules: [any Module.Type] = roomModules,
    _ body: @escaping @ServerActor @Sendable (Coven) async throws -> Void
) async throws {
    try await playRooms(options, modules: modules) { stage in try await body(try await Coven(stage, fields)) }
}

@Suite("Private messages (XEP-0045 §7.5)") struct PrivateMessageTests {
    @Test("A private message comes from the occupant's JID, with what marks it, and reaches nobody else")
    func sent() async throws {
        try await playCoven { scene in
            try await scene.second.sends(
                """
                <message id='hgn27af1' to='\(coven)/firstwitch' type='chat'><body>I'll give thee a wind.</body>
                <x xmlns='http://jabber.org/protocol/muc#user'/></message>
                """)
            let got = try await scene.first.receives(
                """
                <message from='\(coven)/secondwitch' to='crone1@capulet.example/desktop' id='hgn27af1' type='chat'>
                <body>I'll give thee a wind.</body><x xmlns='http://jabber.org/protocol/muc#user'/>
                <occupant-id xmlns='urn:xmpp:occupant-id:0'/></message>
                """)
            #expect(got.children("x", .mucUser).count == 1 && !got.has("stanza-id", .stanzaIDs))
            try await scene.stage.staysSilent()
        }
    }

    @Test(
        "Type and content pass: states, receipts, messages of type normal",
        arguments: [
            "type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/>",
            "type='chat'><received xmlns='urn:xmpp:receipts' id='1'/>",
            "type='chat'><displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>",
            "type='chat'><body>a</body><encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/></encrypted>",
            "type='headline'><body>a</body>",
        ])
    func content(_ content: String) async throws {
        try await playCoven { scene in
            try await scene.second.sends("<message id='1' to='\(coven)/thirdwitch' \(content)</message>")
            try await scene.third.receives(
                "<message from='\(coven)/secondwitch' id='1' \(content)</message>")
            try await scene.stage.staysSilent()
        }
    }

    @Test("One without type stays without")
    func normal() async throws {
        try await playCoven { scene in
            try await scene.second.sends("<message to='\(coven)/thirdwitch'><body>a</body></message>")
            let got = try await scene.third.receives("<message from='\(coven)/secondwitch'/>")
            #expect(got["type"] == nil)
        }
    }

    @Test("What only the room may say is taken out")
    func forged() async throws {
        try await playCoven { scene in
            try await scene.second.sends(
                """
                <message to='\(coven)/firstwitch' type='chat'><body>a</body>
                <x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner' role='moderator'/>
                <status code='307'/></x>
                <occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/>
                <stanza-id xmlns='urn:xmpp:sid:0' by='\(coven)' id='forged'/>
                <delay xmlns='urn:xmpp:delay' from='\(coven)' stamp='2002-09-10T23:08:25Z'/>
                <addresses xmlns='http://jabber.org/protocol/address'><address type='ofrom' jid='a@b.example'/></addresses>
                </message>
                """)
            let got = try await scene.first.receives("<message type='chat'><body>a</body></message>")
            #expect(got.child("x", .mucUser)?.hasChildren == false)
            #expect(
                got.children("occupant-id", .occupantID).count == 1
                    && got.child("occupant-id", .occupantID)?["id"] != "forged")
            #expect(!got.has("stanza-id", .stanzaIDs) && !got.has("delay", .delay) && !got.has("addresses", .addresses))
            #expect(got.children.count == 3)
        }
    }

    @Test("Refused: to nobody, of type groupchat, by those who are not in the room, or if there is no room")
    func refused() async throws {
        try await playCoven { scene in
            let outsider = try await scene.stage.enter("romeo@montague.example/garden")
            let cases: [(TestKit.Actor, String, String, String)] = [
                (scene.second, "\(coven)/nobody", "chat", "item-not-found"),
                (scene.second, "\(coven)/firstwitch", "groupchat", "bad-request"),
                (outsider, "\(coven)/firstwitch", "chat", "not-acceptable"),
                (outsider, "\(coven)/nobody", "chat", "not-acceptable"),
                (outsider, "nowhere@\(conference)/firstwitch", "chat", "item-not-found"),
            ]
            for (actor, to, type, condition) in cases {
                try await actor.sends("<message id='bx71f29k' to='\(to)' type='\(type)'><body>a</body></message>")
                try await actor.receives(
                    """
                    <message from='\(to)' id='bx71f29k' type='error'><body>a</body>
                    <error><\(condition) xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
                    """)
            }
            try await scene.stage.staysSilent()
        }
    }

    @Test("All clients under the nick get it, the sender's own others none (XEP-0280 §6.1)")
    func sessions() async throws {
        try await playCoven { scene in
            let phone = try await scene.stage.enter("crone1@capulet.example/phone")
            try await phone.enters(as: "firstwitch")
            try await scene.forget()
            try await scene.second.sends(
                "<message to='\(coven)/firstwitch' type='chat'><body>a</body></message>")
            for actor in [scene.first, phone] {
                try await actor.receives("<message from='\(coven)/secondwitch'><body>a</body></message>")
            }
            try await phone.sends("<message to='\(coven)/secondwitch' type='chat'><body>b</body></message>")
            try await scene.second.receives("<message from='\(coven)/firstwitch'><body>b</body></message>")
            try await scene.stage.staysSilent()
        }
    }

    @Test("The room decides who may write (§16.5.3)", arguments: ["anyone", "participants", "moderators", "none"])
    func policy(_ policy: String) async throws {
        let fields = ["muc#roomconfig_allowpm": policy, "muc#roomconfig_moderatedroom": "1"]
        try await playCoven("", fields) { scene in
            // firstwitch is a moderator, the others are visitors; secondwitch gets voice.
            try await scene.first.asks(
                .set,
                "<query xmlns='http://jabber.org/protocol/muc#admin'><item nick='secondwitch' role='participant'/></query>",
                to: coven)
            try await scene.forget()
            let allowed = ["anyone": 3, "participants": 2, "moderators": 1, "none": 0][policy] ?? 0
            for (rank, sender) in [scene.first, scene.second, scene.third].enumerated() {
                let (to, recipient) = rank == 0 ? ("thirdwitch", scene.third) : ("firstwitch", scene.first)
                try await sender.sends("<message to='\(coven)/\(to)' type='chat'><body>a</body></message>")
                if rank < allowed {
                    try await recipient.receives("<message type='chat'><body>a</body></message>")
                } else {
                    let condition = policy == "none" ? "not-allowed" : "forbidden"
                    try await sender.receives(
                        "<message type='error'><error><\(condition) xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
                    )
                }
            }
            try await scene.stage.staysSilent()
        }
    }

    @Test("An error from the recipient's client goes to the sender, in the occupant's name, and nobody is shown out")
    func errors() async throws {
        try await playCoven { scene in
            try await scene.second.sends(
                "<message id='p1' to='\(coven)/thirdwitch' type='chat'><body>a</body></message>")
            try await scene.third.receives("<message id='p1'/>")
            try await scene.third.sends(
                """
                <message id='p1' to='\(coven)/secondwitch' type='error'><body>a</body>
                <x xmlns='http://jabber.org/protocol/muc#user'><status code='307'/></x>
                <error type='cancel' by='hag66@capulet.example/pda'>
                <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
                """)
            let got = try await scene.second.receives(
                """
                <message id='p1' from='\(coven)/thirdwitch' to='wiccarocks@montague.example/laptop' type='error'>
                <error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
                """)
            #expect(got.child("error")?["by"] == nil && !got.hasStatus(307))
            #expect(!got.xml.contains("hag66"))
            try await scene.stage.staysSilent()
        }
    }

    @Test("With several clients the sender is told when none of them could take it")
    func severalErrors() async throws {
        try await playCoven { scene in
            let phone = try await scene.stage.enter("hag66@capulet.example/phone")
            try await phone.enters(as: "thirdwitch")
            try await scene.forget()
            try await scene.second.sends(
                "<message id='p1' to='\(coven)/thirdwitch' type='chat'><body>a</body></message>")
            try await scene.forget()
            await phone.forgets()
            let error = """
                <message id='p1' to='\(coven)/secondwitch' type='error'>
                <error type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
                """
            try await phone.sends(error)
            // Saying it twice does not make it two.
            try await phone.sends(error)
            try await scene.stage.staysSilent()
            try await scene.third.sends(error)
            try await scene.second.receives("<message id='p1' from='\(coven)/thirdwitch' type='error'/>")
        }
    }

    @Test("Errors about messages that their sender never got reach nobody")
    func forgedErrors() async throws {
        try await playCoven { scene in
            try await scene.second.sends(
                "<message id='p1' to='\(coven)/firstwitch' type='chat'><body>a</body></message>")
            try await scene.first.receives("<message id='p1'/>")
            for nick in ["secondwitch", "firstwitch", "nobody"] {
                try await scene.third.sends(
                    """
                    <message id='p1' to='\(coven)/\(nick)' type='error'><body>Bad news</body>
                    <error type='cancel'><not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
                    """)
            }
            try await scene.stage.staysSilent()
        }
    }

    @Test("One that blocks an occupant stays in the room (XEP-0191)")
    func blocked() async throws {
        try await playCoven(modules: roomModules + [Blocking.self]) { scene in
            try await scene.third.asks(
                .set, "<block xmlns='urn:xmpp:blocking'><item jid='\(coven)/secondwitch'/></block>")
            try await scene.forget()
            try await scene.second.sends(
                "<message id='p1' to='\(coven)/thirdwitch' type='chat'><body>a</body></message>")
            let got = try await scene.second.receives(
                "<message id='p1' from='\(coven)/thirdwitch' type='error'/>")
            #expect(!got.xml.contains("hag66"))
            try await scene.first.says("still here")
            try await scene.third.receives("<message type='groupchat'><body>still here</body></message>")
        }
    }

    @Test("A client that is there is not shown out for what it says of a private message; new addresses are for nobody")
    func ghost() async throws {
        try await playCoven { scene in
            try await scene.second.sends(
                "<message id='p1' to='\(coven)/thirdwitch' type='chat'><body>a</body></message>")
            try await scene.third.receives("<message id='p1'/>")
            try await scene.third.sends(
                """
                <message id='p1' to='\(coven)/secondwitch' type='error'>
                <error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:hag66@denmark.example</gone></error>
                </message>
                """)
            let answer = try await scene.second.receivesAnywhere("<message id='p1' type='error'/>")
            #expect(!answer.xml.contains("hag66"))
            try await scene.stage.staysSilent()
        }
    }

    @Test("Copies go to the sender's clients in the room, and each account's archive keeps it once (XEP-0280 §6.1)")
    func copies() async throws {
        try await playCoven(modules: roomModules + [Carbons.self, Archive.self]) { scene in
            let phone = try await scene.stage.enter("wiccarocks@montague.example/phone")
            let tablet = try await scene.stage.enter("wiccarocks@montague.example/tablet")
            let other = try await scene.stage.enter("hag66@capulet.example/phone")
            try await phone.enters(as: "secondwitch")
            try await other.enters(as: "thirdwitch")
            for actor in [phone, tablet, scene.second, scene.third, other] {
                try await actor.asks(.set, "<enable xmlns='urn:xmpp:carbons:2'/>")
            }
            try await scene.forget()
            for actor in [phone, tablet, other] { await actor.forgets() }
            try await scene.second.sends(
                """
                <message id='p1' to='\(coven)/thirdwitch' type='chat'><body>a</body>
                <x xmlns='http://jabber.org/protocol/muc#user'/></message>
                """)
            let carbon = try await phone.receives(
                "<message from='wiccarocks@montague.example'><sent xmlns='urn:xmpp:carbons:2'/></message>")
            #expect(carbon.child("sent", .carbons)?.firstChild?.firstChild?["to"] == "\(coven)/thirdwitch")
            var ids: [String?] = []
            for actor in [scene.third, other] {
                let got = try await actor.receives("<message from='\(coven)/secondwitch' id='p1'/>")
                ids.append(got.child("stanza-id", .stanzaIDs)?["id"])
            }
            // The tablet could not answer; those who got it need no copy.
            try await scene.stage.staysSilent()
            #expect(ids[0] != nil && ids[0] == ids[1])
            for (actor, from) in [
                (scene.second, "wiccarocks@montague.example/laptop"), (scene.third, "\(coven)/secondwitch"),
            ] {
                try await actor.asks(.set, "<query xmlns='urn:xmpp:mam:2'/>")
                let kept = await actor.everything().compactMap {
                    $0.child("result", .mam)?.firstChild?.child("message", .client)
                }
                #expect(kept.map { $0["from"] } == [from])
                #expect(kept.first?.has("x", .mucUser) == true)
            }
        }
    }
}
