@testable import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("Push notifications (XEP-0357)", .serialized) struct PushTests {
    static let modules: [any Module.Type] = [
        Push.self, Messages.self, Offline.self, PresenceExchange.self, Roster.self, PushService.self, PushSleeper.self,
        Disco.self,
    ]
    static let components = "components: { push.example: { module: push_service } }\n"
    var juliet: String { "juliet@capulet.example" }
    var phone: String { "juliet@capulet.example/phone" }
    var enabling: String { "<enable xmlns='urn:xmpp:push:0' jid='push.example' node='n'/>" }

    static func play(
        options: String = "", modules: [any Module.Type] = modules,
        _ body: @escaping @ServerActor @Sendable (Stage) async throws -> Void
    ) async throws {
        let on = modules.map { $0.info }.filter { $0.scope != .component && $0.name != "push" }
            .map { "  \($0.name): on\n" }.joined()
        let config = components + "modules:\n  push: { \(options) }\n" + on
        try await TestKit.play(modules: modules, config: config) { stage in
            (PushService.published, PushService.answer) = ([], nil)
            try await body(stage)
        }
    }

    /// Enables push for Juliet's phone, which then leaves.
    func enroll(_ stage: Stage, _ xml: String? = nil) async throws {
        let client = try await stage.enter(phone)
        try await client.asks(.set, xml ?? enabling)
        await client.leaves()
        await leavesForGood(stage)
    }

    @ServerActor func account(_ stage: Stage) -> Account? {
        stage.server.host("capulet.example")?.accounts.loadedAccount("juliet")
    }

    @ServerActor func leavesForGood(_ stage: Stage) async {
        for resource in account(stage)?.resources ?? [] { resource.close() }
        await stage.settle()
    }

    @ServerActor func write(_ stage: Stage, _ content: String = "<body>Hark</body>") throws {
        try give(stage, "<message from='romeo@montague.example/home' to='\(juliet)' type='chat'>\(content)</message>")
    }

    /// Brings a stanza to Juliet's account, as from elsewhere.
    @ServerActor func give(_ stage: Stage, _ xml: String) throws {
        guard let stanza = try Stanza.parse(Element.parse(xml)) else { return }
        stage.server.router.route(stanza)
    }

    @ServerActor func field(_ name: String, _ index: Int? = nil) -> String? {
        let iq = index.map { PushService.published[$0] } ?? PushService.published.last
        let form = iq?.query?.child("publish")?.child("item")?.child("notification", .push)?.child("x", .dataForms)
        return form?.children.first { $0["var"] == name }?.text(of: "value")
    }

    // MARK: Registering

    @Test("The account says that it can, and nobody else does")
    func feature() async throws {
        try await Self.play { stage in
            let client = try await stage.enter(phone)
            let query = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
            let own = try await client.asks(.get, query)
            #expect(own?.children.contains { $0["var"] == "urn:xmpp:push:0" } == true)
            let host = try await client.asks(.get, query, to: "capulet.example")
            #expect(host?.children.contains { $0["var"] == "urn:xmpp:push:0" } == false)
        }
    }

    @Test("A message for somebody who is away is PushService.published, with the publish options and without its content")
    func publish() async throws {
        try await Self.play { stage in
            // XEP-0357 §5.
            try await enroll(stage, """
                <enable xmlns='urn:xmpp:push:0' jid='push.example' node='yxs32uqsflafdk3iuqo'>
                  <x xmlns='jabber:x:data' type='submit'>
                    <field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#publish-options</value></field>
                    <field var='secret'><value>eruio234vzxc2kla-91</value></field>
                  </x>
                </enable>
                """)
            try write(stage, "<body>Wherefore art thou</body>")
            await stage.settle()
            #expect(PushService.published.count == 1)
            // XEP-0357 §7.
            let expected = try Element.parse("""
                <iq xmlns='jabber:client' type='set' from='capulet.example' to='push.example'>
                  <pubsub xmlns='http://jabber.org/protocol/pubsub'>
                    <publish node='yxs32uqsflafdk3iuqo'><item><notification xmlns='urn:xmpp:push:0'>
                      <x xmlns='jabber:x:data' type='submit'>
                        <field var='FORM_TYPE'><value>urn:xmpp:push:summary</value></field>
                        <field var='message-count'><value>1</value></field>
                      </x></notification></item></publish>
                    <publish-options><x xmlns='jabber:x:data' type='submit'>
                      <field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#publish-options</value></field>
                      <field var='secret'><value>eruio234vzxc2kla-91</value></field>
                    </x></publish-options>
                  </pubsub>
                </iq>
                """)
            let iq = try #require(PushService.published.first?.element)
            #expect(iq.matches(expected), "\(iq)")
            #expect(!iq.xml.contains("Wherefore") && !iq.xml.contains("romeo"))
            #expect(field("last-message-body") == "New message")
        }
    }

    @Test("Registrations that make no sense are refused", arguments: [
        ("<enable xmlns='urn:xmpp:push:0' node='n'/>", StanzaError.Condition.badRequest),
        ("<enable xmlns='urn:xmpp:push:0' jid='@' node='n'/>", .jidMalformed),
        ("<disable xmlns='urn:xmpp:push:0'/>", .badRequest),
        ("<disable xmlns='urn:xmpp:push:0' jid='a@b@c/'/>", .jidMalformed),
        ("<enable xmlns='urn:xmpp:push:0' jid='push.example' node='\(String(repeating: "x", count: 10_000))'/>",
            .policyViolation),
        ("<enable xmlns='urn:xmpp:push:0' jid='push.example'><x xmlns='jabber:x:data' type='submit'/></enable>",
            .badRequest),
        ("<enable xmlns='urn:xmpp:push:0' jid='push.example'><x xmlns='jabber:x:data'/></enable>", .badRequest),
        ("<enable xmlns='urn:xmpp:push:0' jid='push.example'><x xmlns='jabber:x:data' type='submit'>"
            + "<field var='FORM_TYPE'><value>urn:xmpp:push:summary</value></field></x></enable>", .badRequest),
    ])
    func refused(_ xml: String, _ condition: StanzaError.Condition) async throws {
        try await Self.play { stage in
            let client = try await stage.enter(phone)
            #expect(try await client.isRefused(.set, xml).condition == condition)
            await leavesForGood(stage)
            try write(stage)
            await stage.settle()
            #expect(PushService.published.isEmpty)
        }
    }

    @Test("Nobody enables or disables push for others")
    func strangers() async throws {
        try await Self.play { stage in
            try await enroll(stage)
            let tybalt = try await stage.enter("tybalt@capulet.example/x")
            #expect(try await tybalt.isRefused(.set, enabling, to: juliet).condition == .serviceUnavailable)
            let disabling = "<disable xmlns='urn:xmpp:push:0' jid='push.example'/>"
            #expect(try await tybalt.isRefused(.set, disabling, to: juliet).condition == .serviceUnavailable)
            try write(stage)
            await stage.settle()
            #expect(PushService.published.count == 1)
        }
    }

    @Test("Disabling with a node takes back that one, without a node all of a service; what is not there is no mistake")
    func disable() async throws {
        try await Self.play(options: "interval: 0 s") { stage in
            let client = try await stage.enter(phone)
            for node in ["a", "b", "c"] {
                try await client.asks(.set, "<enable xmlns='urn:xmpp:push:0' jid='push.example' node='\(node)'/>")
            }
            try await client.asks(.set, "<disable xmlns='urn:xmpp:push:0' jid='push.example' node='a'/>")
            try await client.asks(.set, "<disable xmlns='urn:xmpp:push:0' jid='push.example' node='x'/>")
            try await client.asks(.set, "<disable xmlns='urn:xmpp:push:0' jid='other.example'/>")
            let nodes = account(stage)?[PushRegistry.Registrations.self].values.compactMap(\.node).sorted()
            #expect(nodes == ["b", "c"])
            try await client.asks(.set, "<disable xmlns='urn:xmpp:push:0' jid='push.example'/>")
            await leavesForGood(stage)
            try write(stage)
            await stage.settle()
            #expect(PushService.published.isEmpty)
        }
    }

    @Test("Enabled again, the last publish options count")
    func again() async throws {
        try await Self.play { stage in
            try await enroll(stage, enabling.replacing("/>", with: "><x xmlns='jabber:x:data' type='submit'><field var="
                + "'FORM_TYPE'><value>http://jabber.org/protocol/pubsub#publish-options</value></field></x></enable>"))
            try await enroll(stage)
            try write(stage)
            await stage.settle()
            #expect(PushService.published.count == 1)
            #expect(PushService.published.first?.query?.has("publish-options") == false)
        }
    }

    @Test("The oldest registration that nobody uses makes room for one more; if all are used there is none")
    func limit() async throws {
        try await Self.play(options: "limit: 2") { stage in
            @ServerActor func nodes() -> [String] {
                account(stage)?[PushRegistry.Registrations.self].values.compactMap(\.node).sorted() ?? []
            }
            @ServerActor func enabling(_ node: String) -> String {
                "<enable xmlns='urn:xmpp:push:0' jid='push.example' node='\(node)'/>"
            }
            try await enroll(stage, enabling("old"))
            let client = try await stage.enter(phone)
            try await client.asks(.set, enabling("b"))
            try await client.asks(.set, enabling("a"))
            #expect(nodes() == ["a", "b"])
            let tablet = try await stage.enter(juliet + "/tablet")
            #expect(try await tablet.isRefused(.set, enabling("c")).condition == .resourceConstraint)
            try await tablet.asks(.set, enabling("a"))
            #expect(nodes() == ["a", "b"])
        }
    }

    @Test("Registrations outlive restarts of the server, and go with the account")
    func durable() async throws {
        try await Self.play { stage in
            try await enroll(stage)
            try await stage.restart()
            (PushService.published, PushService.answer) = ([], nil)
            try write(stage)
            await stage.settle()
            #expect(PushService.published.count == 1)
            let accounts = try #require(stage.server.host("capulet.example")?.accounts)
            try await accounts.remove("juliet")
            await stage.settle()
            try await stage.account(juliet)
            try write(stage)
            await stage.advance(by: .seconds(60))
            #expect(PushService.published.count == 1)
        }
    }

    @Test("Accounts that are put out of memory meanwhile keep registrations and counts")
    func eviction() async throws {
        try await Self.play { stage in
            try await enroll(stage)
            try write(stage)
            await stage.advance(by: .seconds(900))
            #expect(account(stage) == nil)
            try write(stage)
            await stage.settle()
            #expect(PushService.published.count == 2)
            #expect(field("message-count") == "2")
        }
    }

    // MARK: What counts

    @Test("These wake a phone", arguments: [
        "<body>Hark</body>",
        "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/><payload>x</payload></encrypted>",
        "<encrypted xmlns='urn:xmpp:omemo:2'><header sid='1'/><payload>x</payload></encrypted>",
        "<openpgp xmlns='urn:xmpp:openpgp:0'>x</openpgp>",
        "<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>",
        "<x xmlns='jabber:x:conference' jid='room@rooms.example'/>",
        "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='romeo@montague.example'/></x>",
    ])
    func counts(_ content: String) async throws {
        try await Self.play(options: "body: full") { stage in
            try await enroll(stage)
            try write(stage, content)
            await stage.settle()
            #expect(PushService.published.count == 1)
            #expect(field("last-message-body") == (content.contains("<body>") ? "Hark" : "New message"))
        }
    }

    @Test("These do not", arguments: [
        "<message type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
        "<message type='chat'><displayed xmlns='urn:xmpp:chat-markers:0' id='1'/></message>",
        "<message type='chat'><received xmlns='urn:xmpp:receipts' id='1'/></message>",
        "<message type='chat'><body/></message>",
        "<message type='chat'><encrypted xmlns='eu.siacs.conversations.axolotl'><header/></encrypted></message>",
        "<message type='headline'><body>News</body></message>",
        "<message type='groupchat'><body>Hark</body></message>",
        "<message type='error'><body>Hark</body></message>",
        "<message type='chat'><retract xmlns='urn:xmpp:jingle-message:0' id='1'/></message>",
        "<message type='chat'><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>"
            + "<message xmlns='jabber:client' from='a@b'><body>Hark</body></message></forwarded></received></message>",
        "<message type='chat' from='juliet@capulet.example/laptop'><body>To myself</body></message>",
        "<presence/>", "<presence type='unavailable'/>",
    ])
    func doesNotCount(_ xml: String) async throws {
        try await Self.play { stage in
            try await enroll(stage)
            let from = xml.contains("from='juliet") ? "" : " from='romeo@montague.example/home'"
            try give(stage, xml.replacing(/^<(\w+)/) { "<\($0.1)\(from) to='juliet@capulet.example'" }
                .replacing(/^<(\w+)/) { "<\($0.1) xmlns='jabber:client'" })
            await stage.advance(by: .seconds(60))
            #expect(PushService.published.isEmpty)
        }
    }

    @Test("A request to subscribe counts once it waits, and is counted")
    func subscription() async throws {
        try await Self.play { stage in
            try await enroll(stage)
            try give(stage, "<presence from='romeo@montague.example' to='\(juliet)' type='subscribe'/>")
            await stage.settle()
            #expect(PushService.published.count == 1)
            #expect(field("pending-subscription-count") == "1")
            #expect(field("message-count") == "0")
            #expect(field("last-message-body") == nil)
        }
    }

    @Test("Push services learn what the administrator allows", arguments: [
        ("counts: off, body: none", nil, nil, nil), ("", "1", nil, "New message"),
        ("sender: on, body: full", "1", "romeo@montague.example/home", "Hark"),
    ] as [(String, String?, String?, String?)])
    func summary(_ options: String, _ count: String?, _ sender: String?, _ body: String?) async throws {
        try await Self.play(options: options) { stage in
            try await enroll(stage)
            try write(stage)
            await stage.settle()
            #expect(field("message-count") == count)
            #expect(field("last-message-sender") == sender)
            #expect(field("last-message-body") == body)
            let item = PushService.published.first?.query?.child("publish")?.child("item")
            #expect(item?.has("notification", .push) == true)
        }
    }

    @Test("The text of an encrypted message stays here, also what stands in for it")
    func encrypted() async throws {
        try await Self.play(options: "body: full") { stage in
            try await enroll(stage)
            try write(stage, "<body>This is encrypted.</body><encrypted xmlns='urn:example:other'><payload/></encrypted>")
            await stage.settle()
            #expect(field("last-message-body") == "New message")
        }
    }

    // MARK: Sessions

    @Test("While a client gets its messages there is nothing to push; its other clients that are gone are told")
    func sessions() async throws {
        try await Self.play { stage in
            let client = try await stage.enter(phone)
            try await client.asks(.set, enabling)
            try write(stage)
            try await client.receives("<message><body>Hark</body></message>")
            #expect(PushService.published.isEmpty)
            try await enrollTablet(stage)
            try write(stage)
            try await client.receivesAnywhere("<message><body>Hark</body></message>")
            await stage.settle()
            #expect(PushService.published.map { $0.query?.child("publish")?["node"] } == ["tablet"])
            // A client that does not want the account's messages does not get them either.
            try await client.sends("<presence type='unavailable'/>")
            await stage.settle()
            try write(stage)
            await stage.settle()
            #expect(PushService.published.last?.query?.child("publish")?["node"] == "n")
        }
    }

    private func enrollTablet(_ stage: Stage) async throws {
        let tablet = try await stage.enter(juliet + "/tablet")
        try await tablet.asks(.set, "<enable xmlns='urn:xmpp:push:0' jid='push.example' node='tablet'/>")
        await tablet.leaves()
    }

    @Test("What waits in a session is told to the client that the session belongs to, and no other")
    func delayed() async throws {
        try await Self.play(options: "interval: 0 s") { stage in
            let laptop = try await stage.enter(juliet + "/laptop")
            try await laptop.asks(.set, "<enable xmlns='urn:xmpp:push:0' jid='push.example' node='laptop'/>")
            let client = try await stage.enter(phone)
            try await client.asks(.set, enabling)
            await client.vanishes()
            #expect(account(stage)?.resources.count == 2)
            try write(stage)
            await stage.settle()
            #expect(PushService.published.map { $0.query?.child("publish")?["node"] } == ["n"])
            // What comes to this client alone counts, too.
            let call = "<iq xmlns='jabber:client' type='set' id='1' from='romeo@montague.example/home' to='\(phone)'>"
            try give(stage, call + "<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='a'/></iq>")
            await stage.advance(by: .seconds(1))
            try give(stage, call + "<ping xmlns='urn:xmpp:ping'/></iq>")
            try give(stage, "<message xmlns='jabber:client' from='room@rooms.example/romeo' to='\(phone)'"
                + " type='groupchat'><body>Hark</body></message>")
            await stage.advance(by: .seconds(1))
            #expect(PushService.published.count == 3)
            #expect(field("message-count") == "3")
            // Copies of what others sent count, of what the user sent do not.
            for direction in ["received", "sent"] {
                let copied = "<message xmlns='jabber:client' from='romeo@montague.example/home' to='\(juliet)/laptop'"
                    + " type='chat'><body>Hark</body></message>"
                let copy = "<message xmlns='jabber:client' from='\(juliet)' to='\(phone)'><\(direction)"
                    + " xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>\(copied)</forwarded>"
                    + "</\(direction)></message>"
                account(stage)?.resource("phone")?.send(try Message(Element.parse(copy)))
                await stage.advance(by: .seconds(1))
            }
            #expect(PushService.published.count == 4)
            _ = await laptop.everything()
        }
    }

    @Test("Rooms can be left out")
    func rooms() async throws {
        try await Self.play(options: "rooms: off") { stage in
            let client = try await stage.enter(phone)
            try await client.asks(.set, enabling)
            await client.vanishes()
            try give(stage, "<message xmlns='jabber:client' from='room@rooms.example/romeo' to='\(phone)'"
                + " type='groupchat'><body>Hark</body></message>")
            await stage.advance(by: .seconds(60))
            #expect(PushService.published.isEmpty)
        }
    }

    @Test("A client that is back has seen everything, and what was to be told is superfluous")
    func back() async throws {
        try await Self.play { stage in
            let client = try await stage.enter(phone)
            try await client.asks(.set, enabling)
            await client.vanishes()
            for _ in 0..<3 { try write(stage) }
            await stage.settle()
            #expect(PushService.published.count == 1)
            let resource = try #require(account(stage)?.resource("phone"))
            resource.account.host.hooks.resourceResumed.notify(ResourceEvent(resource: resource))
            await stage.advance(by: .seconds(60))
            #expect(PushService.published.count == 1)
            try write(stage)
            await stage.settle()
            #expect(PushService.published.count == 2)
            #expect(field("message-count") == "1")
        }
    }

    @Test("Clients with stream management are pushed for when they are cut off or silent, and not once they are back")
    func streamManagement() async throws {
        let modules = Self.modules.filter { $0.info.name != "sleeper" } + [SASL.self, Bind.self, StreamManagement.self]
        try await Self.play(options: "interval: 0 s", modules: modules) { stage in
            let client = try await stage.enter(phone)
            try await client.asks(.set, enabling)
            let id = try await client.enables()
            try write(stage)
            try await client.receives("<message><body>Hark</body></message>")
            await stage.advance(by: .seconds(9))
            #expect(PushService.published.isEmpty)
            await stage.advance(by: .seconds(4))
            #expect(PushService.published.count == 1)
            await client.vanishes()
            try write(stage)
            await stage.settle()
            #expect(PushService.published.count == 2)
            #expect(field("message-count") == "2")
            let again = try await stage.connect(to: "capulet.example")
            try await again.logsIn("juliet")
            try await again.resumes(id, h: 1)
            try await again.receives("<resumed xmlns='urn:xmpp:sm:3'/>")
            try await again.receives("<message><body>Hark</body></message>")
            try await again.sends("<a xmlns='urn:xmpp:sm:3' h='2'/>")
            await stage.advance(by: .seconds(60))
            #expect(PushService.published.count == 2)
            await again.vanishes()
            try write(stage)
            await stage.settle()
            #expect(PushService.published.count == 3)
            #expect(field("message-count") == "1")
            // The session outlives a restart of the server, and knows what is its own. That something waits in it is
            // told once more.
            try await stage.restart()
            try write(stage)
            await stage.settle()
            #expect(PushService.published.count >= 4)
            #expect(account(stage)?.resource("phone")?[PushRegistry.Session.self] == ["push.example\nn"])
        }
    }

    @Test("A session knows after a restart which registration is its own")
    func restored() async throws {
        try await Self.play { stage in
            let client = try await stage.enter(phone)
            try await client.asks(.set, enabling)
            let resource = try #require(client.resource)
            let host = resource.account.host
            let state = host.sessionState.state(of: resource)
            await client.leaves()
            let link = PushDeafLink()
            let restored = try #require(
                resource.account.restore("phone", presence: Presence(), link: link) {
                    host.sessionState.restore(state, to: $0)
                })
            #expect(restored[PushRegistry.Session.self] == ["push.example\nn"])
            try write(stage)
            await stage.settle()
            #expect(PushService.published.isEmpty)
        }
    }
}
