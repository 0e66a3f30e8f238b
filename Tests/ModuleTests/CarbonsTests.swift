import ServerKit
import TestKit
import Testing

@testable import Modules

private let enable = "<enable xmlns='urn:xmpp:carbons:2'/>"
private let disable = "<disable xmlns='urn:xmpp:carbons:2'/>"

/// Romeo with two devices that want copies and a third that does not, and Juliet.
private struct Scene: Sendable {
    let stage: Stage
    let home: TestKit.Actor
    let garden: TestKit.Actor
    let old: TestKit.Actor
    let juliet: TestKit.Actor

    @ServerActor
    init(_ stage: Stage) async throws {
        self.stage = stage
        home = try await stage.enter("romeo@montague.example/home")
        garden = try await stage.enter("romeo@montague.example/garden")
        old = try await stage.enter("romeo@montague.example/old", with: "<priority>-1</priority>")
        juliet = try await stage.enter("juliet@capulet.example/balcony")
        try await home.asks(.set, enable)
        try await garden.asks(.set, enable)
        _ = await home.everything()
    }
}

private func play(
    _ others: [any Module.Type] = [], _ body: @escaping @ServerActor @Sendable (Scene) async throws -> Void
) async throws {
    try await TestKit.play(modules: [Carbons.self, Messages.self, PresenceExchange.self] + others) { stage in
        try await body(try await Scene(stage))
    }
}

private func copy(_ direction: String, type: String? = "chat", _ message: String) -> String {
    let type = type.map { " type='\($0)'" } ?? ""
    return "<message from='romeo@montague.example'\(type)><\(direction) xmlns='urn:xmpp:carbons:2'>"
        + "<forwarded xmlns='urn:xmpp:forward:0'>\(message)</forwarded></\(direction)></message>"
}

@Suite("Carbons (XEP-0280)") struct CarbonsTests {
    @Test("What somebody writes to one device is copied to the others that asked for it (§7)")
    func received() async throws {
        try await play { scene in
            let words = "<body>What man art thou</body><thread>0e31</thread>"
            try await scene.juliet.sends("<message to='romeo@montague.example/garden' type='chat'>\(words)</message>")
            try await scene.garden.receives("<message from='juliet@capulet.example/balcony' type='chat'>\(words)</message>")
            try await scene.home.receives(
                """
                <message from='romeo@montague.example' to='romeo@montague.example/home' type='chat'>
                  <received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>
                    <message xmlns='jabber:client' from='juliet@capulet.example/balcony'
                      to='romeo@montague.example/garden' type='chat'>\(words)</message>
                  </forwarded></received></message>
                """, exactly: true)
            try await scene.stage.staysSilent()
        }
    }

    @Test("What one device writes is copied to the others that asked for it, once (§8)")
    func sent() async throws {
        try await play { scene in
            for (sender, receivers) in [
                (scene.home, [scene.garden]), (scene.garden, [scene.home]), (scene.old, [scene.home, scene.garden]),
            ] {
                let from = try #require(sender.jid)
                let words = "<body>Neither, fair saint</body>"
                try await sender.sends(
                    "<message to='juliet@capulet.example/balcony' type='chat' xml:lang='en'>\(words)</message>")
                try await scene.juliet.receives("<message from='\(from)' type='chat'>\(words)</message>")
                for receiver in receivers {
                    let to = try #require(receiver.jid)
                    try await receiver.receives(
                        """
                        <message from='romeo@montague.example' to='\(to)' type='chat'>
                          <sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>
                            <message xmlns='jabber:client' to='juliet@capulet.example/balcony' from='\(from)'
                              type='chat' xml:lang='en'>\(words)</message>
                          </forwarded></sent></message>
                        """, exactly: true)
                }
                try await scene.stage.staysSilent()
            }
        }
    }

    @Test("Asking twice is no mistake, and asking for an end ends it (§10.1)")
    func twice() async throws {
        try await play { scene in
            #expect(try await scene.home.asks(.set, enable) == nil)
            try await scene.garden.asks(.set, disable, to: "romeo@montague.example")
            try await scene.garden.asks(.set, disable)
            try await scene.home.sends("<message to='juliet@capulet.example' type='chat'><body>1</body></message>")
            try await scene.juliet.receives("<message><body>1</body></message>")
            try await scene.stage.staysSilent()
            try await scene.garden.asks(.set, enable)
            try await scene.home.sends("<message to='juliet@capulet.example' type='chat'><body>2</body></message>")
            try await scene.juliet.receives("<message><body>2</body></message>")
            try await scene.garden.receives(copy("sent", "<message xmlns='jabber:client'><body>2</body></message>"))
            try await scene.stage.staysSilent()
        }
    }

    @Test("Nobody switches on copies of another account's messages")
    func strangers() async throws {
        try await play { scene in
            for payload in [enable, disable] {
                let error = try await scene.juliet.isRefused(.set, payload, to: "romeo@montague.example")
                #expect(error.condition == .serviceUnavailable)
            }
            let wrong = try await scene.home.isRefused(.get, enable)
            #expect(wrong.condition == .notAllowed)
        }
    }

    struct Rule: CustomStringConvertible {
        let type: String
        let content: String
        let isCopied: Bool
        var description: String { "\(type.isEmpty ? "normal" : type): \(content)" }
    }

    private static let room = "<x xmlns='http://jabber.org/protocol/muc#user'>"
    static let rules: [Rule] = [
        Rule(type: "chat", content: "<body>x</body>", isCopied: true),
        Rule(type: "chat", content: "<encrypted xmlns='urn:xmpp:omemo:2'/>", isCopied: true),
        Rule(type: "", content: "<body>x</body>", isCopied: true),
        Rule(type: "bogus", content: "<body>x</body>", isCopied: true),
        Rule(type: "", content: "<event xmlns='urn:example:x'/>", isCopied: false),
        Rule(type: "", content: "", isCopied: false),
        Rule(type: "", content: "<received xmlns='urn:xmpp:receipts' id='1'/>", isCopied: true),
        Rule(type: "", content: "<composing xmlns='http://jabber.org/protocol/chatstates'/>", isCopied: true),
        Rule(type: "", content: "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", isCopied: true),
        Rule(type: "headline", content: "<body>x</body>", isCopied: false),
        Rule(type: "headline", content: "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", isCopied: true),
        Rule(type: "groupchat", content: "<body>x</body>", isCopied: false),
        Rule(
            type: "groupchat", content: "<composing xmlns='http://jabber.org/protocol/chatstates'/>", isCopied: false),
        Rule(type: "", content: "<x xmlns='jabber:x:conference' jid='r@c.example'/>", isCopied: true),
        Rule(type: "", content: "\(room)<invite from='a@b.example'/></x>", isCopied: true),
        Rule(type: "", content: "\(room)<decline from='a@b.example'/></x>", isCopied: false),
        Rule(type: "chat", content: "<body>x</body><private xmlns='urn:xmpp:carbons:2'/>", isCopied: false),
        Rule(type: "chat", content: "<body>x</body><no-copy xmlns='urn:xmpp:hints'/>", isCopied: false),
        Rule(type: "chat", content: "<body>x</body><private xmlns='urn:example:x'/>", isCopied: true),
        Rule(type: "chat", content: "<body>x</body><no-store xmlns='urn:xmpp:hints'/>", isCopied: true),
    ]

    @Test("The rules of §6.1 hold in both directions", arguments: rules)
    func rule(rule: Rule) async throws {
        try await play { scene in
            let type = rule.type.isEmpty ? "" : " type='\(rule.type)'"
            try await scene.home.sends(
                "<message to='juliet@capulet.example/balcony'\(type)>\(rule.content)</message>")
            #expect(await scene.juliet.everything().count == 1)
            #expect(await scene.garden.everything().count == (rule.isCopied ? 1 : 0))
            // A private message from somebody in a room is what the rule after next is about.
            try await scene.juliet.sends(
                "<message to='romeo@montague.example/home'\(type)>\(rule.content)</message>")
            #expect(await scene.home.everything().count == 1)
            let isPrivate = rule.content.contains("<decline")
            #expect(await scene.garden.everything().count == (rule.isCopied && !isPrivate ? 1 : 0))
            try await scene.stage.staysSilent()
        }
    }

    @Test("A private message to somebody in a room is copied to the devices that joined it, none from there is (§6.1)")
    func roomPrivateMessages() async throws {
        try await play { scene in
            // Juliet's address serves as the room's.
            for actor in [scene.home, scene.garden] {
                try await actor.sends("<presence to='juliet@capulet.example/romeo'/>")
            }
            try await scene.old.asks(.set, enable)
            _ = await scene.juliet.everything()
            let words = "<body>psst</body>\(Self.room)</x>"
            try await scene.home.sends("<message to='juliet@capulet.example/balcony' type='chat'>\(words)</message>")
            try await scene.juliet.receives("<message>\(words)</message>")
            try await scene.garden.receives(copy("sent", "<message xmlns='jabber:client'>\(words)</message>"))
            try await scene.stage.staysSilent()
            try await scene.juliet.sends("<message to='romeo@montague.example/home' type='chat'>\(words)</message>")
            try await scene.home.receives("<message>\(words)</message>")
            try await scene.stage.staysSilent()
        }
    }

    @Test("An error is copied if what it answers was, even when its client has gone (§6.1, §7)")
    func errors() async throws {
        try await play { scene in
            let failed = "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
            try await scene.home.sends(
                "<message to='juliet@capulet.example' type='chat' id='m1'><body>x</body></message>")
            _ = await scene.juliet.everything()
            _ = await scene.garden.everything()
            // It need not repeat what it answers (§10.3).
            let error = "<message to='romeo@montague.example/home' type='error' id='m1'>\(failed)</message>"
            try await scene.juliet.sends(error)
            try await scene.home.receives("<message type='error' id='m1'/>")
            try await scene.garden.receives(
                copy("received", type: "error", "<message xmlns='jabber:client' type='error' id='m1'>\(failed)</message>"))
            // Not one to something else, nor from somebody else, nor without an id.
            for (sender, id) in [(scene.juliet, "m2"), (scene.old, "m1"), (scene.juliet, "")] {
                try await sender.sends(
                    "<message to='romeo@montague.example/home' type='error' id='\(id)'>\(failed)</message>")
                try await scene.home.receives("<message type='error'/>")
            }
            try await scene.stage.staysSilent()
            await scene.home.leaves()
            for actor in [scene.garden, scene.old] { _ = await actor.everything() }
            try await scene.juliet.sends(error)
            try await scene.garden.receives(copy("received", type: "error", "<message xmlns='jabber:client' id='m1'/>"))
            try await scene.stage.staysSilent()
        }
    }

    @Test("An error to something that was kept from copying is, too, and so are those of room messages")
    func errorsOfPrivateMessages() async throws {
        try await play { scene in
            for content in ["<body>x</body><private xmlns='urn:xmpp:carbons:2'/>", "<body>x</body>"] {
                let type = content.contains("private") ? "chat" : "groupchat"
                try await scene.home.sends(
                    "<message to='juliet@capulet.example/balcony' type='\(type)' id='m1'>\(content)</message>")
                _ = await scene.juliet.everything()
                try await scene.juliet.sends(
                    "<message to='romeo@montague.example/home' type='error' id='m1'>\(content)"
                        + "<error type='cancel'/></message>")
                try await scene.home.receives("<message type='error'/>")
                try await scene.stage.staysSilent()
            }
        }
    }

    @Test("An error that a client sends is copied like what it answers")
    func sentErrors() async throws {
        try await play { scene in
            try await scene.juliet.sends(
                "<message to='romeo@montague.example/home' type='chat' id='m1'><body>x</body></message>")
            try await scene.home.receives("<message id='m1'/>")
            try await scene.garden.receives(copy("received", "<message xmlns='jabber:client' id='m1'/>"))
            try await scene.home.sends(
                "<message to='juliet@capulet.example/balcony' type='error' id='m1'><error type='cancel'/></message>")
            try await scene.juliet.receives("<message type='error' id='m1'/>")
            try await scene.garden.receives(copy("sent", type: "error", "<message xmlns='jabber:client' id='m1'/>"))
            try await scene.stage.staysSilent()
        }
    }

    @Test("What all devices got is not copied, but to those that do not take messages it is")
    func bareAddress() async throws {
        try await play { scene in
            try await scene.old.asks(.set, enable)
            let silent = try await scene.stage.enter("romeo@montague.example/silent", presence: false)
            try await silent.asks(.set, enable)
            for actor in [scene.home, scene.garden, scene.old] { _ = await actor.everything() }
            let message = "<message to='romeo@montague.example' type='chat'><body>all</body></message>"
            try await scene.juliet.sends(message)
            for actor in [scene.home, scene.garden] { try await actor.receives("<message><body>all</body></message>") }
            for actor in [scene.old, silent] {
                try await actor.receives(copy("received", "<message xmlns='jabber:client'><body>all</body></message>"))
            }
            try await scene.stage.staysSilent()
        }
    }

    @Test("A message that is kept for later is not doubled for the device that comes")
    func offline() async throws {
        try await TestKit.play(
            modules: [Carbons.self, Messages.self, PresenceExchange.self, Offline.self]
        ) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let phone = try await stage.enter("romeo@montague.example/phone", presence: false)
            let bot = try await stage.enter("romeo@montague.example/bot", with: "<priority>-1</priority>")
            try await phone.asks(.set, enable)
            try await bot.asks(.set, enable)
            try await juliet.sends("<message to='romeo@montague.example' type='chat'><body>1</body></message>")
            try await bot.receives(copy("received", "<message xmlns='jabber:client'><body>1</body></message>"))
            try await stage.staysSilent()
            try await phone.sends("<presence/>")
            let got = await phone.everything().filter { $0.name == "message" }
            #expect(got.count == 1 && got.first?.text(of: "body") == "1")
        }
    }

    @Test("What is written to oneself reaches every device once")
    func toOneself() async throws {
        try await play { scene in
            try await scene.home.sends("<message to='romeo@montague.example' type='chat'><body>note</body></message>")
            for actor in [scene.home, scene.garden] {
                try await actor.receives("<message from='romeo@montague.example/home'><body>note</body></message>")
            }
            try await scene.home.sends("<message to='romeo@montague.example/old' type='chat'><body>2</body></message>")
            try await scene.old.receives("<message><body>2</body></message>")
            try await scene.garden.receives(copy("received", "<message xmlns='jabber:client'><body>2</body></message>"))
            try await scene.stage.staysSilent()
        }
    }

    @Test("The copy of what was sent says under which id the archive keeps it")
    func archiveID() async throws {
        try await play([StageArchive.self]) { scene in
            try await scene.home.sends("<message to='juliet@capulet.example' type='chat'><body>x</body></message>")
            let got = try await scene.juliet.receives("<message><body>x</body></message>")
            #expect(!got.has("stanza-id", .stanzaIDs))
            try await scene.garden.receives(
                copy(
                    "sent",
                    "<message xmlns='jabber:client'><body>x</body>"
                        + "<stanza-id xmlns='urn:xmpp:sid:0' by='romeo@montague.example' id='kept-1'/></message>"))
        }
    }

    @Test("Forged copies reach nobody (§11)", arguments: ["sent", "received"])
    func forged(direction: String) async throws {
        try await play { scene in
            let forgery = "<\(direction) xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>"
                + "<message xmlns='jabber:client' from='juliet@capulet.example/balcony'><body>Meet me</body></message>"
                + "</forwarded></\(direction)>"
            let tybalt = try await scene.stage.enter("tybalt@capulet.example/home")
            for (actor, to) in [
                (tybalt, "romeo@montague.example"), (tybalt, "romeo@montague.example/home"),
                (scene.home, "romeo@montague.example"), (scene.home, "juliet@capulet.example/balcony"),
            ] {
                try await actor.sends("<message to='\(to)' type='chat'>\(forgery)</message>")
                let error = try await actor.receives("<message type='error' from='\(to)'/>")
                #expect(StanzaError(try #require(error.child("error"))).condition == .notAcceptable)
                // One that was returned is forgotten.
                try await actor.sends("<message to='\(to)' type='error'>\(forgery)<error type='cancel'/></message>")
                try await scene.stage.staysSilent()
            }
            // From elsewhere, and from the account's own address.
            let router = scene.stage.server.router
            for (from, isAnswered) in [("juliet@capulet.example", true), ("romeo@montague.example", false)] {
                let element = try Element.parse(
                    "<message xmlns='jabber:client' from='\(from)' to='romeo@montague.example/home' type='chat'>"
                        + "\(forgery)</message>")
                router.route(try Message(element))
                if isAnswered {
                    #expect(await scene.juliet.everything().isEmpty)  // Errors to a bare JID are for nobody.
                }
                try await scene.stage.staysSilent()
            }
            // Deeper inside a message it is somebody's business.
            try await scene.juliet.sends(
                "<message to='romeo@montague.example/home' type='chat'><x xmlns='urn:x'>\(forgery)</x></message>")
            try await scene.home.receives("<message><x xmlns='urn:x'/></message>")
            #expect(await scene.garden.everything().count == 1)
        }
    }

    @Test("What a device asked for comes back with its session, and can be asked for while it signs in")
    func sessions() async throws {
        try await play { scene in
            let host = try #require(scene.stage.server.host("montague.example"))
            let state = host.sessionState.state(of: try #require(scene.garden.resource))
            try await scene.garden.asks(.set, disable)
            host.sessionState.restore(state, to: try #require(scene.old.resource))
            let late = try await scene.stage.enter("romeo@montague.example/late")
            let request = try Element.parse(enable)
            let handler = try #require(host.inline.handler(.bind, for: request))
            let stream = try #require(late.stream)
            #expect(await handler(stream, request)?.element == nil)
            #expect(host.inline.features(.bind).map { $0["var"] } == ["urn:xmpp:carbons:2"])
            for actor in [scene.home, scene.garden, scene.old] { _ = await actor.everything() }
            try await scene.home.sends("<message to='juliet@capulet.example' type='chat'><body>1</body></message>")
            for actor in [scene.old, late] {
                try await actor.receives(copy("sent", "<message xmlns='jabber:client'><body>1</body></message>"))
            }
            try await scene.garden.staysSilent()
        }
    }

    @Test("The host says so, and when the module is gone nothing is left of it")
    func reload() async throws {
        let on = "modules: { disco: on, carbons: on, messages: on, presence: on }"
        let off = "modules: { disco: on, carbons: off, messages: on, presence: on }"
        let modules: [any Module.Type] = [Disco.self, Carbons.self, Messages.self, PresenceExchange.self]
        try await TestKit.play(modules: modules, config: on) { stage in
            let home = try await stage.enter("romeo@montague.example/home")
            let garden = try await stage.enter("romeo@montague.example/garden")
            _ = await home.everything()
            func features() async throws -> [String] {
                try await home.asks(.get, DiscoTests.info, to: "montague.example")?.features ?? []
            }
            for _ in 0..<2 {
                #expect(try await Set(features()).isSuperset(of: ["urn:xmpp:carbons:2", "urn:xmpp:carbons:rules:0"]))
                try await garden.asks(.set, enable)
                try stage.reload(off)
                #expect(try await !features().contains { $0.contains("carbons") })
                #expect(try await garden.isRefused(.set, enable).condition == .serviceUnavailable)
                try await home.sends("<message to='romeo@montague.example/home' type='chat'><body>x</body></message>")
                try await home.receives("<message><body>x</body></message>")
                try await stage.staysSilent()
                try stage.reload(on)
            }
        }
    }
}

/// Gives messages the ids of an archive.
private final class StageArchive: Module {
    static let info = ModuleInfo("stage_archive", "Pretends to keep messages")
    init(options: NoOptions) {}
    func load(into host: ModuleHost) { host.transform(.messageSent) { $0.archiveID = "kept-1" } }
}
