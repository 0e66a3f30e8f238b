import ServerKit
import TestKit
import Testing

@testable import MUC
@testable import Modules

private let version = "<query xmlns='jabber:iq:version'/>"
private let discoInfo = "<query xmlns='http://jabber.org/protocol/disco#info'/>"

@Suite("Requests through the room (XEP-0045 §17.4)") struct RelayTests {
    /// Has secondwitch ask thirdwitch, and returns what arrives there.
    @ServerActor
    private func ask(_ scene: Coven, _ id: String = "q", _ query: String = version) async throws -> Element {
        try await scene.second.sends("<iq type='get' id='\(id)' to='\(coven)/thirdwitch'>\(query)</iq>")
        return try await scene.third.receives(
            "<iq type='get' from='\(coven)/secondwitch' to='hag66@capulet.example/pda'>\(query)</iq>")
    }

    @Test(
        "A request reaches the client, and its answer the one who asked; neither learns a real JID",
        arguments: ["get", "set"])
    func relayed(_ type: String) async throws {
        try await playCoven { scene in
            try await scene.second.sends("<iq type='\(type)' id='q' to='\(coven)/thirdwitch'>\(version)</iq>")
            let request = try await scene.third.receives(
                "<iq type='\(type)' from='\(coven)/secondwitch' to='hag66@capulet.example/pda'>\(version)</iq>"
            )
            #expect(request["id"] != "q" && !request.xml.contains("wiccarocks"))
            try await scene.third.sends(
                """
                <iq type='result' id='\(request["id"] ?? "")' to='\(coven)/secondwitch'>
                <query xmlns='jabber:iq:version'><name>Cauldron</name></query></iq>
                """)
            let answer = try await scene.second.receives(
                """
                <iq type='result' id='q' from='\(coven)/thirdwitch' to='wiccarocks@montague.example/laptop'>
                <query xmlns='jabber:iq:version'><name>Cauldron</name></query></iq>
                """)
            #expect(!answer.xml.contains("hag66"))
            try await scene.stage.staysSilent()
        }
    }

    @Test("Two occupants may use the same id")
    func sameID() async throws {
        try await playCoven { scene in
            let request = try await ask(scene)
            try await scene.first.sends("<iq type='get' id='q' to='\(coven)/thirdwitch'>\(version)</iq>")
            let other = try await scene.third.receives("<iq from='\(coven)/firstwitch'/>")
            try await scene.third.sends(
                "<iq type='result' id='\(other["id"] ?? "")' to='\(coven)/firstwitch'><query xmlns='jabber:iq:version'><name>1</name></query></iq>"
            )
            try await scene.third.sends(
                "<iq type='result' id='\(request["id"] ?? "")' to='\(coven)/secondwitch'><query xmlns='jabber:iq:version'><name>2</name></query></iq>"
            )
            let first = try await scene.first.receives("<iq type='result' id='q'/>")
            let second = try await scene.second.receives("<iq type='result' id='q'/>")
            #expect(first.firstChild?.text(of: "name") == "1" && second.firstChild?.text(of: "name") == "2")
        }
    }

    @Test("An error comes back without the addresses in it, and is no reason to show anybody out")
    func errors() async throws {
        try await playCoven { scene in
            for condition in ["service-unavailable", "item-not-found", "gone"] {
                let request = try await ask(scene)
                try await scene.third.sends(
                    """
                    <iq type='error' id='\(request["id"] ?? "")' to='\(coven)/secondwitch'>\(version)
                    <error type='cancel' by='hag66@capulet.example'>
                    <\(condition) xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>
                    <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>hag66@capulet.example is not here</text>
                    <address xmlns='urn:x'>hag66@capulet.example</address></error></iq>
                    """)
                let answer = try await scene.second.receives(
                    """
                    <iq type='error' id='q' from='\(coven)/thirdwitch'>
                    <error type='cancel'><\(condition) xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>
                    """)
                #expect(!answer.xml.contains("hag66"))
            }
            try await scene.stage.staysSilent()
        }
    }

    @Test(
        "Answers that are forged reach nobody: from another occupant, to another one, twice, with the sender's own id")
    func forged() async throws {
        try await playCoven { scene in
            let request = try await ask(scene)
            let id = request["id"] ?? ""
            let outsider = try await scene.stage.enter("romeo@montague.example/garden")
            let phone = try await scene.stage.enter("hag66@capulet.example/phone")
            for actor in [scene.first, scene.second, outsider, phone] {
                try await actor.sends("<iq type='result' id='\(id)' to='\(coven)/secondwitch'/>")
                try await actor.sends("<iq type='result' id='q' to='\(coven)/secondwitch'/>")
            }
            try await scene.third.sends("<iq type='result' id='q' to='\(coven)/secondwitch'/>")
            try await scene.third.sends("<iq type='result' id='\(id)' to='\(coven)/firstwitch'/>")
            try await scene.third.sends("<iq type='result' id='\(id)' to='\(coven)'/>")
            try await scene.third.sends("<iq type='result' id='\(id)' to='elsewhere@\(conference)/secondwitch'/>")
            try await scene.third.sends("<iq type='error' id='\(id)' to='\(coven)/firstwitch'/>")
            try await scene.stage.staysSilent()
            try await scene.third.sends("<iq type='result' id='\(id)' to='\(coven)/secondwitch'/>")
            try await scene.second.receives("<iq type='result' id='q'/>")
            try await scene.third.sends("<iq type='result' id='\(id)' to='\(coven)/secondwitch'/>")
            try await scene.stage.staysSilent()
        }
    }

    @Test("An answer finds its way when either has changed its nick meanwhile")
    func nickChange() async throws {
        try await playCoven { scene in
            let request = try await ask(scene)
            try await scene.second.sends("<presence to='\(coven)/oldhag'/>")
            try await scene.third.sends("<presence to='\(coven)/younghag'/>")
            try await scene.forget()
            try await scene.third.sends(
                "<iq type='result' id='\(request["id"] ?? "")' to='\(coven)/secondwitch'/>")
            try await scene.second.receives("<iq type='result' id='q' from='\(coven)/thirdwitch'/>")
        }
    }

    @Test("Refused: nobody with this nick; those outside get bad-request for disco (§6.6), else not-acceptable")
    func refused() async throws {
        try await playCoven { scene in
            let nobody = "\(coven)/nobody"
            #expect(try await scene.second.isRefused(.get, version, to: nobody).condition == .itemNotFound)
            let outsider = try await scene.stage.enter("romeo@montague.example/garden")
            for nick in ["nobody", "firstwitch"] {
                let to = "\(coven)/\(nick)"
                #expect(try await outsider.isRefused(.get, version, to: to).condition == .notAcceptable)
                #expect(try await outsider.isRefused(.get, discoInfo, to: to).condition == .badRequest)
            }
            try await scene.stage.staysSilent()
        }
    }

    @Test("Disco of an occupant is answered by its client (§6.6)")
    func disco() async throws {
        try await playCoven { scene in
            let request = try await ask(scene, "d", discoInfo)
            try await scene.third.sends(
                """
                <iq type='result' id='\(request["id"] ?? "")' to='\(coven)/secondwitch'>
                <query xmlns='http://jabber.org/protocol/disco#info'><identity category='client' type='pc'/></query></iq>
                """)
            try await scene.second.receives(
                "<iq type='result' id='d' from='\(coven)/thirdwitch'><query xmlns='http://jabber.org/protocol/disco#info'><identity category='client'/></query></iq>"
            )
        }
    }

    @Test("One client of several is asked: the one whose presence is shown; of oneself, another one")
    func sessions() async throws {
        try await playCoven { scene in
            let phone = try await scene.stage.enter("hag66@capulet.example/phone")
            try await phone.enters(as: "thirdwitch")
            try await scene.forget()
            try await scene.second.sends("<iq type='get' id='q' to='\(coven)/thirdwitch'>\(version)</iq>")
            try await phone.receives("<iq type='get'>\(version)</iq>")
            try await scene.stage.staysSilent()
            try await phone.sends("<iq type='get' id='q' to='\(coven)/thirdwitch'>\(version)</iq>")
            let request = try await scene.third.receives("<iq type='get' from='\(coven)/thirdwitch'/>")
            try await scene.third.sends(
                "<iq type='result' id='\(request["id"] ?? "")' to='\(coven)/thirdwitch'/>")
            try await phone.receives("<iq type='result' id='q' from='\(coven)/thirdwitch'/>")
            // Alone, one asks oneself.
            try await scene.second.sends("<iq type='get' id='s' to='\(coven)/secondwitch'>\(version)</iq>")
            let own = try await scene.second.receives("<iq type='get' from='\(coven)/secondwitch'/>")
            try await scene.second.sends(
                "<iq type='result' id='\(own["id"] ?? "")' to='\(coven)/secondwitch'/>")
            try await scene.second.receives("<iq type='result' id='s' from='\(coven)/secondwitch'/>")
            try await scene.stage.staysSilent()
        }
    }

    private let pubsub = bundledModules.filter { $0.info.name == "pubsub" }

    @Test("A card and an avatar come from the account, which does not learn who asks")
    func cards() async throws {
        try await playCoven(modules: roomModules + [VCard.self, Avatars.self] + pubsub) { scene in
            // "Hi" in place of a picture, which no one checks as long as its type is said.
            let photo = "<PHOTO><TYPE>image/png</TYPE><BINVAL>SGk=</BINVAL></PHOTO>"
            try await scene.third.asks(.set, "<vCard xmlns='vcard-temp'><FN>Hag</FN>\(photo)</vCard>")
            try await scene.forget()
            let card = try await scene.second.asks(
                .get, "<vCard xmlns='vcard-temp'/>", to: "\(coven)/thirdwitch")
            #expect(card?.text(of: "FN") == "Hag" && card?.has("PHOTO") == true)
            let items = try await scene.second.asks(
                .get,
                "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:avatar:metadata'/></pubsub>",
                to: "\(coven)/thirdwitch")
            #expect(items?.firstChild?.firstChild?.firstChild?.name == "metadata")
            // Nothing of it went to the client.
            #expect(await scene.third.everything().allSatisfy { $0.name != "iq" })
            #expect(
                try await scene.second.isRefused(
                    .get, "<vCard xmlns='vcard-temp'/>", to: "\(coven)/firstwitch"
                )
                .condition == .serviceUnavailable)
        }
    }

    @Test("Silence ends after a time, and a client may have only so many open requests")
    func bounded() async throws {
        try await playCoven("open_requests: 3") { scene in
            for id in 1...3 { _ = try await ask(scene, "q\(id)") }
            try await scene.second.sends("<iq type='get' id='q4' to='\(coven)/thirdwitch'>\(version)</iq>")
            try await scene.second.receives(
                "<iq type='error' id='q4'><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            )
            // Others are not concerned.
            try await scene.first.sends("<iq type='get' id='q' to='\(coven)/thirdwitch'>\(version)</iq>")
            try await scene.third.receives("<iq type='get' from='\(coven)/firstwitch'/>")
            await scene.stage.advance(by: .seconds(150))
            for id in 1...3 {
                try await scene.second.receives(
                    """
                    <iq type='error' id='q\(id)' from='\(coven)/thirdwitch'><error type='wait'>
                    <remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>
                    """)
            }
            let request = try await ask(scene, "q5")
            try await scene.third.sends(
                "<iq type='result' id='\(request["id"] ?? "")' to='\(coven)/secondwitch'/>")
            try await scene.second.receives("<iq type='result' id='q5'/>")
        }
    }

    @Test("All clients of an account have as many open requests as one, and ids are short")
    func accounts() async throws {
        try await playCoven("open_requests: 3") { scene in
            let phone = try await scene.stage.enter("wiccarocks@montague.example/phone")
            try await phone.enters(as: "secondwitch")
            try await scene.forget()
            for id in 1...2 { _ = try await ask(scene, "q\(id)") }
            try await phone.sends("<iq type='get' id='q3' to='\(coven)/thirdwitch'>\(version)</iq>")
            try await scene.third.receives("<iq type='get' from='\(coven)/secondwitch'/>")
            try await phone.sends("<iq type='get' id='q4' to='\(coven)/thirdwitch'>\(version)</iq>")
            try await phone.receives("<iq type='error' id='q4'><error type='wait'/></iq>")
            let long = String(repeating: "x", count: 1_025)
            try await scene.first.sends("<iq type='get' id='\(long)' to='\(coven)/thirdwitch'>\(version)</iq>")
            try await scene.first.receives("<iq type='error' id='\(long)'><error type='modify'/></iq>")
            try await scene.first.sends(
                "<message id='\(long)' type='chat' to='\(coven)/thirdwitch'><body>a</body></message>")
            try await scene.first.receives("<message type='error' id='\(long)'/>")
            try await scene.stage.staysSilent()
        }
    }
}
