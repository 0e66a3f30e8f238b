import ServerKit
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("Business rules (XEP-0045 §17, §7.7)") struct BusinessRuleTests {
    // MARK: Addresses, §17.1

    @Test(
        "Nicks that nobody can see are none",
        arguments: ["&#x20;&#x20;", "&#xA0;", "&#x3000;&#x2003;", "&#x200B;", "&#x3164;"])
    func invisible(_ nick: String) async throws {
        try await playCoven { scene in
            let outsider = try await scene.stage.enter("romeo@montague.example/garden")
            for actor in [outsider, scene.second] {
                try await actor.sends(
                    "<presence to='\(coven)/\(nick)'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
                let answer = await actor.everything()
                #expect(answer.count == 1 && answer.first?["type"] == "error")
            }
            try await scene.stage.staysSilent()
        }
    }

    // MARK: Messages, §17.2

    @Test("What is for everybody is of type groupchat, whoever else sends it is told")
    func mistyped() async throws {
        try await playCoven { scene in
            let outsider = try await scene.stage.enter("romeo@montague.example/garden")
            for type in ["chat", "normal", "headline"] {
                try await scene.second.sends("<message to='\(coven)' type='\(type)' id='1'><body>a</body></message>")
                try await scene.second.receives(
                    "<message id='1' type='error'><error><bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
                )
            }
            for type in ["chat", "groupchat"] {
                try await outsider.sends("<message to='\(coven)' type='\(type)' id='1'><body>a</body></message>")
                try await outsider.receives(
                    "<message id='1' type='error'><error><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
                )
            }
            try await scene.stage.staysSilent()
        }
    }

    @Test("To rooms that do not exist, or are not open yet, a message is not found")
    func missing() async throws {
        try await playRooms { stage in
            let first = try await stage.enter("crone1@capulet.example/desktop")
            let second = try await stage.enter("wiccarocks@montague.example/laptop")
            try await first.enters(as: "firstwitch")
            for (actor, to) in [(second, "nowhere@\(conference)"), (second, coven), (first, coven)] {
                try await actor.says("a", in: to)
                try await actor.receives(
                    "<message from='\(to)' type='error'><error><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
                )
            }
            try await stage.staysSilent()
        }
    }

    @Test("A room that is not open yet takes no invitations and private messages either (§17.2)")
    func unopened() async throws {
        try await playRooms { stage in
            let first = try await stage.enter("crone1@capulet.example/desktop")
            let phone = try await stage.enter("crone1@capulet.example/phone")
            try await first.enters(as: "firstwitch")
            try await phone.enters(as: "hecate")
            await first.forgets()
            let hag = try await stage.enter("hag66@montague.example/pda")
            try await first.invites("hag66@montague.example")
            try await first.isBounced(.itemNotFound, id: "i")
            try await hag.staysSilent()
            try await first.sends("<message to='\(coven)/hecate' type='chat' id='p'><body>Hark</body></message>")
            try await first.isBounced(.itemNotFound, id: "p")
            // To strangers it is none, whatever they say.
            let second = try await stage.enter("wiccarocks@montague.example/laptop")
            for (to, id) in [(coven, "1"), ("\(coven)/firstwitch", "2")] {
                try await second.sends("<message to='\(to)' type='chat' id='\(id)'><body>Hark</body></message>")
                try await second.isBounced(.itemNotFound, id: id)
            }
            try await stage.staysSilent()
            try await first.configures(coven, [:])
            try await first.sends("<message to='\(coven)/hecate' type='chat' id='p'><body>Hark</body></message>")
            try await phone.receivesAnywhere("<message type='chat'><body>Hark</body></message>")
        }
    }

    @Test("Extended content passes unchanged, and what only the room may say does not")
    func content() async throws {
        try await playCoven { scene in
            try await scene.second.sends(
                """
                <message to='\(coven)' type='groupchat' id='1' xml:lang='en'><body>a</body>
                <html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'><p>a</p></body></html>
                <active xmlns='http://jabber.org/protocol/chatstates'/><unknown xmlns='urn:x'><y z='1'/></unknown>
                <stanza-id xmlns='urn:xmpp:sid:0' by='\(coven)' id='forged'/>
                <stanza-id xmlns='urn:xmpp:sid:0' by='elsewhere.example' id='kept'/>
                <x xmlns='http://jabber.org/protocol/muc#user'><status code='104'/></x>
                <addresses xmlns='http://jabber.org/protocol/address'><address type='ofrom' jid='a@b.example'/></addresses>
                </message>
                """)
            let got = try await scene.first.receives(
                """
                <message from='\(coven)/secondwitch' type='groupchat' id='1' xml:lang='en'><body>a</body>
                <html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'><p>a</p></body></html>
                <active xmlns='http://jabber.org/protocol/chatstates'/><unknown xmlns='urn:x'><y z='1'/></unknown></message>
                """)
            let ids = got.children("stanza-id", .stanzaIDs)
            #expect(ids.compactMap { $0["id"] }.contains("kept") && !ids.contains { $0["id"] == "forged" })
            #expect(!got.has("x", .mucUser) && !got.has("addresses", .addresses))
        }
    }

    // MARK: Presence, §17.3

    @Test("Presence of another type than available makes nobody an occupant, and none but unavailable ends a visit")
    func types() async throws {
        try await playCoven { scene in
            let outsider = try await scene.stage.enter("romeo@montague.example/garden")
            for type in ["probe", "subscribe", "unsubscribed", "unavailable", "error"] {
                try await outsider.sends(
                    "<presence to='\(coven)/ghost' type='\(type)'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
                )
                await outsider.forgets()
            }
            for type in ["probe", "subscribe", "subscribed", "unsubscribe", "unsubscribed"] {
                try await scene.second.sends("<presence to='\(coven)/secondwitch' type='\(type)'/>")
                await scene.second.forgets()
            }
            try await scene.first.says("Who is here?", id: "1")
            try await scene.first.receives("<message id='1'/>")
            try await scene.second.receives("<message id='1'/>")
            try await scene.third.receives("<message id='1'/>")
            try await scene.stage.staysSilent()
        }
    }

    @Test("Changed availability reaches everybody with role and affiliation, real JIDs only moderators (§7.7)")
    func availability() async throws {
        try await playCoven { scene in
            try await scene.second.sends(
                """
                <presence id='kr7v143h' to='\(coven)/secondwitch'><show>xa</show><status>gone where the goblins go</status>
                <priority>5</priority><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:x' ver='v'/>
                <x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner' role='moderator'/></x>
                <occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/></presence>
                """)
            let item =
                "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='participant'/></x>"
            let shown = """
                <presence from='\(coven)/secondwitch'><show>xa</show><status>gone where the goblins go</status>
                <c xmlns='http://jabber.org/protocol/caps'/>\(item)</presence>
                """
            let (open, hidden) = (try await scene.first.receives(shown), try await scene.third.receives(shown))
            let own = try await scene.second.receives(shown)
            #expect(open.item?["jid"] == "wiccarocks@montague.example/laptop" && hidden.item?["jid"] == nil)
            #expect(own["id"] == "kr7v143h" && own.hasStatus(110))
            #expect(open["id"] == nil && !open.hasStatus(110) && !hidden.hasStatus(110))
            for presence in [open, hidden, own] {
                #expect(presence.children("x", .mucUser).count == 1)
                #expect(presence.children("occupant-id", .occupantID).map { $0["id"] != "forged" } == [true])
            }
            try await scene.stage.staysSilent()
        }
    }

    @Test("Entering once more synchronises the client and nobody else, unless its presence is another one")
    func again() async throws {
        try await playCoven { scene in
            try await scene.first.says("Thrice the brinded cat")
            try await scene.forget()
            let received = try await scene.second.enters(as: "secondwitch")
            #expect(
                received.filter { $0.name == "presence" }.map(\.nick) == ["firstwitch", "thirdwitch", "secondwitch"])
            #expect(received.contains { $0.text(of: "body") == "Thrice the brinded cat" })
            #expect(received.last?.has("subject") == true)
            try await scene.stage.staysSilent()
            try await scene.second.enters(as: "secondwitch", presence: "<show>dnd</show>")
            try await scene.first.receives("<presence from='\(coven)/secondwitch'><show>dnd</show></presence>")
            try await scene.third.receives("<presence from='\(coven)/secondwitch'><show>dnd</show></presence>")
            try await scene.stage.staysSilent()
        }
    }

    @Test("One that has lost track and enters under another nick gets what everybody gets, and itself last (§17.3)")
    func againOtherwise() async throws {
        try await playCoven { scene in
            try await scene.forget()
            let received = try await scene.second.enters(as: "hecate").filter { $0.name == "presence" }
            #expect(received.map(\.nick) == ["firstwitch", "thirdwitch", "hecate"])
            #expect(received.allSatisfy { $0["type"] == nil } && received.last?.statuses == [110])
            for other in [scene.first, scene.third] {
                let seen = await other.everything()
                #expect(seen.map(\.nick) == ["secondwitch", "hecate"])
                #expect(seen.first?.statuses == [303] && seen.last?["type"] == nil)
            }
            // It parts from another client of its account, and comes back to it.
            let phone = try await scene.stage.enter("wiccarocks@montague.example/phone")
            try await phone.enters(as: "hecate")
            try await scene.forget()
            let parted = try await phone.enters(as: "graymalkin").filter { $0.name == "presence" }
            #expect(Set(parted.compactMap(\.nick)) == ["firstwitch", "thirdwitch", "hecate", "graymalkin"])
            #expect(parted.count == 4 && parted.last?.nick == "graymalkin" && parted.last?.statuses == [110])
            try await scene.forget()
            let back = try await phone.enters(as: "hecate").filter { $0.name == "presence" }
            #expect(Set(back.compactMap(\.nick)) == ["firstwitch", "thirdwitch", "hecate"])
            #expect(back.count == 3 && back.last?.nick == "hecate" && back.last?.statuses == [110])
            // Its other client sees the one nick go.
            let other = await scene.second.everything().filter { $0.name == "presence" }
            #expect(other.first?.nick == "graymalkin" && other.first?["type"] == "unavailable")
        }
    }

    @Test("Presence of those who are not in the room: unavailable is ignored, available tells them so")
    func strangers() async throws {
        try await playCoven { scene in
            let outsider = try await scene.stage.enter("romeo@montague.example/garden")
            try await outsider.sends("<presence to='\(coven)/firstwitch' type='unavailable'/>")
            try await scene.stage.staysSilent()
            try await outsider.sends("<presence to='\(coven)/firstwitch'/>")
            let told = try await outsider.receives("<presence from='\(coven)/firstwitch' type='unavailable'/>")
            #expect(told.hasStatus(110))
            try await scene.stage.staysSilent()
        }
    }

    @Test("A farewell is passed on, and nothing else of the last presence")
    func farewell() async throws {
        try await playCoven { scene in
            try await scene.second.sends(
                """
                <presence to='\(coven)/secondwitch' type='unavailable'><status>gone where the goblins go</status>
                <x xmlns='http://jabber.org/protocol/muc#user'><destroy/></x></presence>
                """)
            for actor in [scene.first, scene.third] {
                let seen = try await actor.receives(
                    """
                    <presence from='\(coven)/secondwitch' type='unavailable'><status>gone where the goblins go</status>
                    <x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='none'/></x></presence>
                    """)
                #expect(seen.children("x", .mucUser).count == 1 && seen.child("x", .mucUser)?.has("destroy") == false)
            }
            try await scene.second.receives("<presence from='\(coven)/secondwitch' type='unavailable'/>")
            try await scene.stage.staysSilent()
        }
    }

    // MARK: IQs, §17.4

    @Test("Requests to the room are not reflected; what nobody answers is refused")
    func requests() async throws {
        try await playCoven { scene in
            let error = try await scene.second.isRefused(.get, "<query xmlns='jabber:iq:version'/>", to: coven)
            #expect(error.condition == .serviceUnavailable)
            try await scene.stage.staysSilent()
        }
    }
}
