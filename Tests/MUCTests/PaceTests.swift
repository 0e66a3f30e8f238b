import ServerKit
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("The pace of rooms (XEP-0045 §14.6)") struct PaceTests {
    @Test("Slow mode: participants wait between two messages, and are told how long; moderators need not")
    func slowMode() async throws {
        try await playCoven("", ["muc#roomconfig_slow_mode_duration": "30"]) { scene in
            try await scene.second.says("one", id: "1")
            try await scene.forget()
            await scene.stage.advance(by: .seconds(10))
            try await scene.second.says("two", id: "2")
            let refused = try await scene.second.receives(
                """
                <message from='\(coven)' id='2' type='error'><error type='wait'>
                <policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
                """)
            #expect(refused.child("error")?.text(of: "text", .stanzaErrors)?.contains("20 seconds") == true)
            // Others are not concerned, and nor is that somebody types.
            try await scene.third.says("three")
            try await scene.second.sends(
                "<message to='\(coven)' type='groupchat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>"
            )
            try await scene.first.says("four")
            try await scene.first.says("five")
            let heard = await scene.first.everything().filter { $0.name == "message" }
            #expect(heard.compactMap { $0.text(of: "body") } == ["three", "four", "five"])
            #expect(heard.contains { $0.has("composing", .chatStates) })
            try await scene.forget()
            let info = try await scene.second.asks(
                .get, "<query xmlns='http://jabber.org/protocol/disco#info'/>", to: coven)
            let forms = info?.children("x", .dataForms).compactMap { try? DataForm($0) }
            #expect(forms?.first?.text("muc#roominfo_slow_mode_duration") == "30")
            // Leaving and entering again does not help; nor does a hint that nothing is to be kept.
            try await scene.second.sends("<presence to='\(coven)/secondwitch' type='unavailable'/>")
            try await scene.second.enters(as: "secondwitch")
            try await scene.forget()
            try await scene.second.sends(
                "<message to='\(coven)' type='groupchat' id='3'><body>a</body><no-store xmlns='urn:xmpp:hints'/></message>"
            )
            try await scene.second.receives("<message id='3' type='error'/>")
            await scene.stage.advance(by: .seconds(21))
            try await scene.second.says("six", id: "6")
            try await scene.first.receives("<message type='groupchat' id='6'/>")
        }
    }

    @Test("Messages beyond the rate are refused, whether for all or for one, and count for nobody else")
    func messageRate() async throws {
        try await playCoven("message_rate: 5 per 10 seconds") { scene in
            for number in 1...20 { try await scene.second.says("\(number)") }
            try await scene.second.sends(
                "<message to='\(coven)/thirdwitch' type='chat' id='p'><body>a</body></message>")
            let seen = await scene.second.everything()
            #expect(seen.filter { $0["type"] == "groupchat" }.count == 5)
            #expect(seen.filter { $0["type"] == "error" }.count == 16)
            #expect(await scene.third.everything().count == 5)
            try await scene.third.says("still here")
            try await scene.first.receivesAnywhere("<message><body>still here</body></message>")
            // Those that were refused are not held against it.
            await scene.stage.advance(by: .seconds(3))
            try await scene.forget()
            try await scene.second.says("again")
            try await scene.third.receives("<message type='groupchat'><body>again</body></message>")
        }
    }

    @Test("Sizes are bounded: messages to all and to one, subjects, nicks")
    func sizes() async throws {
        try await playCoven("max_message: 2000, max_subject: 20, max_nick: 16") { scene in
            let long = String(repeating: "a", count: 2_100)
            for to in [coven, "\(coven)/thirdwitch"] {
                let type = to == coven ? "groupchat" : "chat"
                try await scene.first.sends("<message to='\(to)' type='\(type)' id='1'><body>\(long)</body></message>")
                let refused = try await scene.first.receives(
                    "<message id='1' type='error'><error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
                )
                #expect(!refused.has("body"))
            }
            try await scene.first.sends(
                "<message to='\(coven)' type='groupchat' id='2'><subject>Fair is foul, and foul is fair</subject></message>"
            )
            try await scene.first.receives("<message id='2' type='error'/>")
            try await scene.second.sends("<presence to='\(coven)/\(String(repeating: "n", count: 17))' id='3'/>")
            try await scene.second.receives(
                "<presence id='3' type='error'><error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
            )
            let outsider = try await scene.stage.enter("romeo@montague.example/garden")
            try await outsider.sends(
                "<presence to='\(coven)/\(String(repeating: "n", count: 17))'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
            )
            try await outsider.receives("<presence type='error'/>")
            try await scene.stage.staysSilent()
        }
    }

    @Test("Presence is bounded: of those who enter, who are there, and who leave")
    func presenceSize() async throws {
        try await playCoven("max_presence: 1024") { scene in
            let status = "<status>\(String(repeating: "a", count: 1_024))</status>"
            let outsider = try await scene.stage.enter("romeo@montague.example/garden")
            let request = "<x xmlns='http://jabber.org/protocol/muc'/>"
            for (actor, nick, request) in [
                (outsider, "romeo", request), (scene.second, "secondwitch", request), (scene.second, "secondwitch", ""),
                (scene.second, "another", ""),
            ] {
                try await actor.sends("<presence to='\(coven)/\(nick)' id='1'>\(status)\(request)</presence>")
                let refused = try await actor.receives(
                    """
                    <presence id='1' type='error'><error type='modify'>
                    <policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>
                    """)
                #expect(!refused.has("status"))
            }
            let language = String(repeating: "a", count: 1_024)
            try await scene.second.sends("<presence to='\(coven)/secondwitch' id='2' xml:lang='\(language)'/>")
            try await scene.second.receives("<presence id='2' type='error'/>")
            try await scene.stage.staysSilent()
            try await scene.second.sends("<presence to='\(coven)/secondwitch' type='unavailable'>\(status)</presence>")
            for actor in [scene.first, scene.second, scene.third] {
                let gone = try await actor.receives("<presence from='\(coven)/secondwitch' type='unavailable'/>")
                #expect(!gone.has("status") && gone.item != nil)
            }
        }
    }

    @Test("A subject is as long as all its texts, and kept without what was said along with it (XEP-0045 §8.1)")
    func subjects() async throws {
        try await playCoven("max_subject: 20") { scene in
            let more = "<subject xml:lang='de'>Fünfzehn Zeichen</subject><unknown xmlns='urn:x'>y</unknown>"
            try await scene.first.sends(
                "<message to='\(coven)' type='groupchat' id='1'><subject>Fire burn</subject>\(more)</message>")
            try await scene.first.isBounced(.policyViolation, id: "1")
            try await scene.first.sends(
                "<message to='\(coven)' type='groupchat' id='2'><subject>Fire</subject>\(more)</message>")
            try await scene.second.receives(
                "<message id='2'><subject>Fire</subject>\(more)<stanza-id xmlns='urn:xmpp:sid:0'/></message>")
            let outsider = try await scene.stage.enter("romeo@montague.example/garden")
            let subject = try #require(try await outsider.enters(as: "romeo").last)
            #expect(subject.children("subject").map(\.text) == ["Fire", "Fünfzehn Zeichen"])
            #expect(subject.has("occupant-id", .occupantID) && subject.roomID != nil)
            #expect(subject.child("delay", .delay) != nil && !subject.children.contains { $0.name == "unknown" })
        }
    }

    @Test("Presence that flickers goes out at the rate, and in the end as it is")
    func presenceRate() async throws {
        try await playCoven("presence_rate: 10 per 10 seconds") { scene in
            // Entering was the first.
            for number in 1...100 {
                try await scene.second.sends(
                    "<presence to='\(coven)/secondwitch'><show>away</show><status>\(number)</status></presence>")
            }
            await scene.stage.settle()
            let seen = await scene.third.everything()
            #expect(seen.count == 9 && seen.last?.text(of: "status") == "9")
            await scene.stage.advance(by: .seconds(3))
            let later = await scene.third.everything()
            #expect(later.last?.text(of: "status") == "100" && later.count <= 2)
            await scene.stage.advance(by: .seconds(60))
            try await scene.third.staysSilent()
            // One that waits does not outlive its sender's visit.
            for number in 1...20 {
                try await scene.second.sends(
                    "<presence to='\(coven)/secondwitch'><status>\(number)</status></presence>")
            }
            try await scene.second.sends("<presence to='\(coven)/secondwitch' type='unavailable'/>")
            try await scene.forget()
            await scene.stage.advance(by: .seconds(60))
            try await scene.stage.staysSilent()
        }
    }

    @Test("Entering again and again is refused, until some time has passed")
    func entering() async throws {
        try await playCoven("presence_rate: 3 per 10 seconds") { scene in
            let outsider = try await scene.stage.enter("romeo@montague.example/garden")
            for _ in 1...3 {
                try await outsider.enters(as: "ghost")
                try await outsider.sends("<presence to='\(coven)/ghost' type='unavailable'/>")
                await outsider.forgets()
            }
            let join = "<presence to='\(coven)/ghost'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
            try await outsider.sends(join)
            try await outsider.receives(
                "<presence type='error'><error type='wait'><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
            )
            await scene.stage.advance(by: .seconds(10))
            try await outsider.enters(as: "ghost")
        }
    }

    @Test("Passwords are tried only so often, and then not even the right one lets anybody in (§7.2.5)")
    func passwordRate() async throws {
        try await playCoven("password_rate: 3 per minute") { scene in
            try scene.stage.settings { $0.password = "cauldronburn" }
            let outsider = try await scene.stage.enter("romeo@montague.example/garden")
            for number in 1...3 {
                try await outsider.isKeptOut(as: "romeo", .notAuthorized, "<password>\(number)</password>")
            }
            let right = "<password>cauldronburn</password>"
            let refused = try await outsider.isKeptOut(as: "romeo", .policyViolation, right)
            #expect(refused.child("error")?["type"] == "wait")
            let balcony = try await scene.stage.enter("romeo@montague.example/balcony")
            try await balcony.isKeptOut(as: "romeo", .policyViolation, right)
            // To come without one is no attempt, and nobody else waits.
            await outsider.forgets()
            try await outsider.isKeptOut(as: "romeo", .notAuthorized)
            let juliet = try await scene.stage.enter("juliet@capulet.example/balcony")
            try await juliet.enters(as: "juliet", right)
            await scene.stage.advance(by: .seconds(20))
            await outsider.forgets()
            try await outsider.enters(as: "romeo", right)
        }
    }

    @Test("Nicks change only so often")
    func nickRate() async throws {
        try await playCoven("nick_rate: 2 per minute") { scene in
            for number in 1...2 { try await scene.second.sends("<presence to='\(coven)/hag\(number)'/>") }
            try await scene.forget()
            try await scene.second.sends("<presence to='\(coven)/hag3' id='3'/>")
            try await scene.second.receives(
                "<presence id='3' type='error'><error type='wait'><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
            )
            try await scene.stage.staysSilent()
            // The one it has is none that changes.
            try await scene.second.sends("<presence to='\(coven)/hag2'><show>xa</show></presence>")
            try await scene.third.receives("<presence from='\(coven)/hag2'><show>xa</show></presence>")
            await scene.stage.advance(by: .seconds(60))
            try await scene.forget()
            try await scene.second.sends("<presence to='\(coven)/hag3'/>")
            try await scene.third.receives("<presence from='\(coven)/hag2' type='unavailable'/>")
        }
    }
}
