import ServerKit
import TestKit
import Testing

@testable import Modules

private let modules: [any Module.Type] = [
    Strangers.self, Messages.self, Roster.self, PresenceExchange.self, Disco.self, Commands.self,
]

private func config(_ options: String) -> String {
    let others = modules.dropFirst().map { "\($0.info.name): on" }.joined(separator: ", ")
    return "modules: { strangers: { \(options) }, \(others) }"
}

private func play(
    _ options: String = "messages: refuse",
    _ body: @escaping @ServerActor @Sendable (Stage, TestKit.Actor, TestKit.Actor) async throws -> Void
) async throws {
    try await TestKit.play(modules: modules, config: config(options)) { stage in
        let juliet = try await stage.enter("juliet@capulet.example/balcony")
        let tybalt = try await stage.enter("tybalt@montague.example/sword")
        try await body(stage, juliet, tybalt)
    }
}

/// Sends a message and tells whether it arrived.
@ServerActor
private func reaches(
    _ juliet: TestKit.Actor, _ sender: TestKit.Actor, type: String = "chat", _ content: String = "<body>Hey</body>",
    to: String = "juliet@capulet.example"
) async throws -> Bool {
    try await sender.sends("<message to='\(to)' type='\(type)'>\(content)</message>")
    let got = await juliet.everything()
    let answers = await sender.everything()
    if got.isEmpty, type == "chat" || type == "normal" {
        let error = try #require(answers.first?.child("error"))
        #expect(StanzaError(error) == .serviceUnavailable)
    } else {
        #expect(answers.isEmpty)
    }
    return !got.isEmpty
}

@ServerActor
private func choose(_ actor: TestKit.Actor, messages: Bool, subscriptions: Bool = false) async throws {
    func command(_ rest: String, _ content: String = "") -> String {
        "<command xmlns='http://jabber.org/protocol/commands' node='strangers'\(rest)>\(content)</command>"
    }
    let domain = try #require(actor.jid?.domainpart)
    let shown = try #require(try await actor.asks(.set, command(""), to: domain))
    let session = try #require(shown["sessionid"])
    let done = try await actor.asks(
        .set,
        command(
            " sessionid='\(session)'",
            "<x xmlns='jabber:x:data' type='submit'><field var='messages'><value>\(messages)</value></field>"
                + "<field var='subscriptions'><value>\(subscriptions)</value></field></x>"), to: domain)
    #expect(done?["status"] == "completed")
}

@Suite("Strangers") struct StrangersTests {
    @Test("Nobody is refused unless somebody wants that")
    func off() async throws {
        try await play("") { _, juliet, tybalt in
            #expect(try await reaches(juliet, tybalt))
            try await tybalt.sends("<presence to='juliet@capulet.example' type='subscribe'/>")
            try await juliet.receives("<presence from='tybalt@montague.example' type='subscribe'/>")
        }
    }

    @Test("A user switches it on, for good, and off")
    func command() async throws {
        try await play("") { stage, juliet, tybalt in
            try await choose(juliet, messages: true)
            #expect(try await !reaches(juliet, tybalt))
            try await stage.restart()
            let again = try await stage.enter("juliet@capulet.example/balcony")
            let nurse = try await stage.enter("nurse@montague.example/x")
            #expect(try await !reaches(again, nurse))
            // Others chose nothing.
            let romeo = try await stage.enter("romeo@capulet.example/x")
            #expect(try await reaches(romeo, nurse, to: "romeo@capulet.example"))
            try await choose(again, messages: false)
            #expect(try await reaches(again, nurse))
            // Only users of the host have a choice there.
            let error = try await nurse.isRefused(
                .set, "<command xmlns='http://jabber.org/protocol/commands' node='strangers'/>", to: "capulet.example")
            #expect(error.condition == .forbidden)
        }
    }

    @Test("A user's choice overrules the administrator's")
    func override() async throws {
        try await play { _, juliet, tybalt in
            #expect(try await !reaches(juliet, tybalt))
            try await choose(juliet, messages: false)
            #expect(try await reaches(juliet, tybalt))
        }
    }

    @Test("What reaches the user, whatever its type", arguments: [
        ("chat", false), ("normal", false), ("headline", false), ("groupchat", true), ("error", true),
    ])
    func types(type: String, arrives: Bool) async throws {
        try await play { _, juliet, tybalt in
            let arrived = try await reaches(juliet, tybalt, type: type, to: "juliet@capulet.example/balcony")
            #expect(arrived == arrives)
        }
    }

    @Test("A contact is no stranger")
    func contact() async throws {
        try await play { _, juliet, tybalt in
            try await juliet.asks(
                .set, "<query xmlns='jabber:iq:roster'><item jid='tybalt@montague.example'/></query>")
            #expect(try await reaches(juliet, tybalt))
        }
    }

    @Test("Whoever was written to may write back, after a restart too")
    func addressee() async throws {
        try await play { stage, juliet, tybalt in
            try await juliet.sends("<message to='tybalt@montague.example/x' type='error'><error/></message>")
            _ = await tybalt.everything()
            #expect(try await !reaches(juliet, tybalt))
            try await juliet.sends("<message to='tybalt@montague.example'><body>Who are you?</body></message>")
            _ = await tybalt.everything()
            #expect(try await reaches(juliet, tybalt))
            try await stage.restart()
            let again = try await stage.enter("juliet@capulet.example/balcony")
            let he = try await stage.enter("tybalt@montague.example/x")
            #expect(try await reaches(again, he))
        }
    }

    @Test("So may whoever was asked to change something, as when subscribing to a node")
    func subscribed() async throws {
        try await play { _, juliet, tybalt in
            try await juliet.isRefused(.get, "<a xmlns='urn:x'/>", to: "tybalt@montague.example")
            #expect(try await !reaches(juliet, tybalt))
            try await juliet.isRefused(.set, "<a xmlns='urn:x'/>", to: "tybalt@montague.example")
            #expect(try await reaches(juliet, tybalt))
        }
    }

    @Test("Only so many addresses are remembered; the one that was new the longest time ago is forgotten")
    func limit() async throws {
        try await play("messages: refuse, max_known: 10") { stage, juliet, tybalt in
            try await juliet.sends("<message to='tybalt@montague.example'><body>Hey</body></message>")
            for number in 1...9 {
                try await juliet.sends("<message to='\(number)@montague.example' type='headline'/>")
            }
            // Those that need no remembering take no room.
            for to in ["juliet@capulet.example", "capulet.example", "montague.example"] {
                try await juliet.sends("<message to='\(to)' type='headline'/>")
            }
            _ = await juliet.everything()
            _ = await tybalt.everything()
            #expect(try await reaches(juliet, tybalt))
            try await juliet.sends("<message to='10@montague.example' type='headline'/>")
            #expect(try await !reaches(juliet, tybalt))
            try await stage.restart()
            let again = try await stage.enter("juliet@capulet.example/balcony")
            let (he, ten) = (
                try await stage.enter("tybalt@montague.example/x"), try await stage.enter("10@montague.example/x")
            )
            #expect(try await !reaches(again, he))
            #expect(try await reaches(again, ten))
        }
    }

    @Test("Rooms that were joined may send what they like, private messages too")
    func rooms() async throws {
        try await play { _, juliet, tybalt in
            let words = "<body>psst</body><x xmlns='http://jabber.org/protocol/muc#user'/>"
            #expect(try await !reaches(juliet, tybalt, words))
            // Tybalt's address serves as the room's.
            try await juliet.sends("<presence to='tybalt@montague.example/juliet'/>")
            #expect(try await reaches(juliet, tybalt, words))
            try await juliet.sends("<presence to='tybalt@montague.example/juliet' type='unavailable'/>")
            #expect(try await !reaches(juliet, tybalt, words))
        }
    }

    @Test("An invitation is judged by who invites, if it is a room that says so")
    func invitations() async throws {
        try await play { stage, juliet, tybalt in
            func invitation(_ from: String) -> String {
                "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='\(from)'/></x>"
            }
            try await juliet.asks(
                .set, "<query xmlns='jabber:iq:roster'><item jid='romeo@montague.example'/></query>")
            for (from, arrives) in [
                ("romeo@montague.example/x", true), ("paris@montague.example", false), ("@", false),
                ("juliet@capulet.example", false), ("capulet.example", false),
            ] {
                let message = "<message xmlns='jabber:client' from='verona@rooms.example'"
                    + " to='juliet@capulet.example'>\(invitation(from))</message>"
                stage.server.router.route(try Message(Element.parse(message)))
                #expect(await !juliet.everything().isEmpty == arrives)
                // Whoever is no room may write what they like.
                #expect(try await !reaches(juliet, tybalt, type: "normal", invitation(from)))
            }
        }
    }

    @Test("The server and one's own devices are no strangers")
    func services() async throws {
        try await play { stage, juliet, _ in
            let chamber = try await stage.enter("juliet@capulet.example/chamber")
            _ = await juliet.everything()
            try await chamber.sends(
                "<message to='juliet@capulet.example/balcony' type='chat'><body>note</body></message>")
            try await juliet.receives("<message><body>note</body></message>")
            for from in ["capulet.example", "montague.example", "capulet.example/announce"] {
                let message = try Element.parse(
                    "<message xmlns='jabber:client' from='\(from)' to='juliet@capulet.example/balcony'/>")
                stage.server.router.route(try Message(message))
                try await juliet.receives("<message from='\(from)'/>")
            }
            for from in ["elsewhere.example", "spam@elsewhere.example/x"] {
                let message = try Element.parse(
                    "<message xmlns='jabber:client' from='\(from)' to='juliet@capulet.example/balcony'/>")
                stage.server.router.route(try Message(message))
            }
            #expect(await juliet.everything().isEmpty)
        }
    }

    @Test("Subscription requests of strangers are forgotten where that was chosen")
    func subscriptions() async throws {
        try await play("messages: refuse, subscriptions: allow") { stage, juliet, tybalt in
            try await tybalt.sends("<presence to='juliet@capulet.example' type='subscribe'/>")
            try await juliet.receives("<presence type='subscribe'/>")
            try await choose(juliet, messages: true, subscriptions: true)
            let nurse = try await stage.enter("nurse@montague.example/x")
            try await nurse.sends("<presence to='juliet@capulet.example' type='subscribe'/>")
            try await stage.staysSilent()
            let late = try await stage.enter("juliet@capulet.example/late", presence: false)
            try await late.sends("<presence/>")
            #expect(await late.everything().allSatisfy { $0["from"] != "nurse@montague.example" })
            _ = await juliet.everything()
            // Whoever was asked first may ask back.
            try await juliet.sends("<presence to='nurse@montague.example' type='subscribe'/>")
            _ = await nurse.everything()
            try await nurse.sends("<presence to='juliet@capulet.example' type='subscribe'/>")
            try await juliet.receives("<presence from='nurse@montague.example' type='subscribe'/>")
        }
    }

    @Test("When the module is gone nothing is left of it")
    func reload() async throws {
        try await play { stage, juliet, tybalt in
            for _ in 0..<2 {
                #expect(try await !reaches(juliet, tybalt))
                let off = config("X").replacing("strangers: { X }", with: "strangers: off")
                try stage.reload(off)
                #expect(try await reaches(juliet, tybalt))
                #expect(stage.server.host("capulet.example")?.commands["strangers"] == nil)
                try stage.reload(config("messages: refuse"))
            }
        }
    }
}
