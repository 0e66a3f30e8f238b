@testable import ServerKit
import TestKit
import Testing

@testable import Modules

/// A push service in the place of one on another server: keeps what is published, and answers as it is told.
@ServerActor private var published: [IQ] = []
@ServerActor private var answer: StanzaError?

private final class PushService: Module {
    static let info = ModuleInfo("push_service", "Wakes phones", scope: .component)
    init(options: NoOptions) {}
    func load(into host: ModuleHost) {
        host.answer(.set, "pubsub", .pushPubSub, on: .host) { request in
            published.append(request.iq)
            if let answer { throw answer }
            return nil
        }
    }
}

/// Keeps resources whose stream was lost, and says what waits for them, as stream management does.
private final class Sleeper: Module {
    static let info = ModuleInfo("sleeper", "Keeps resources")
    init(options: NoOptions) {}
    func load(into host: ModuleHost) {
        host.claim(.resourceDetaching) { event in
            let bed = Bed(event.resource)
            event.resource[Bed.Key.self] = bed
            event.resource.attach(bed)
            return true
        }
    }
}

private final class Bed: ResourceLink {
    enum Key: ResourceKey { static var defaultValue: Bed? { nil } }
    unowned let resource: Resource
    init(_ resource: Resource) { self.resource = resource }
    func deliver(_ stanza: Stanza) {
        resource.account.host.hooks.stanzaDelayed.notify(StanzaDelayEvent(resource: resource, stanza: stanza))
    }
    func close(_ error: StreamError?) { resource.account.remove(resource) }
}

private final class Deaf: ResourceLink {
    func deliver(_ stanza: Stanza) {}
    func close(_ error: StreamError?) {}
}

@Suite("Push notifications (XEP-0357)", .serialized) struct PushTests {
    private static let modules: [any Module.Type] = [
        Push.self, Messages.self, Offline.self, PresenceExchange.self, Roster.self, PushService.self, Sleeper.self,
        Disco.self,
    ]
    private static let components = "components: { push.example: { module: push_service } }\n"
    private let juliet = "juliet@capulet.example"
    private let phone = "juliet@capulet.example/phone"
    private let enabling = "<enable xmlns='urn:xmpp:push:0' jid='push.example' node='n'/>"

    private static func play(
        options: String = "", _ body: @escaping @ServerActor @Sendable (Stage) async throws -> Void
    ) async throws {
        let on = modules.map { $0.info }.filter { $0.scope != .component && $0.name != "push" }
            .map { "  \($0.name): on\n" }.joined()
        let config = components + "modules:\n  push: { \(options) }\n" + on
        try await TestKit.play(modules: modules, config: config) { stage in
            (published, answer) = ([], nil)
            try await body(stage)
        }
    }

    /// Enables push for Juliet's phone, which then leaves.
    private func enroll(_ stage: Stage, _ xml: String? = nil) async throws {
        let client = try await stage.enter(phone)
        try await client.asks(.set, xml ?? enabling)
        await client.leaves()
        await leavesForGood(stage)
    }

    @ServerActor private func account(_ stage: Stage) -> Account? {
        stage.server.host("capulet.example")?.accounts.loadedAccount("juliet")
    }

    @ServerActor private func leavesForGood(_ stage: Stage) async {
        for resource in account(stage)?.resources ?? [] { resource.close() }
        await stage.settle()
    }

    @ServerActor private func write(_ stage: Stage, _ content: String = "<body>Hark</body>") throws {
        try give(stage, "<message from='romeo@montague.example/home' to='\(juliet)' type='chat'>\(content)</message>")
    }

    /// Brings a stanza to Juliet's account, as from elsewhere.
    @ServerActor private func give(_ stage: Stage, _ xml: String) throws {
        guard let stanza = try Stanza.parse(Element.parse(xml)) else { return }
        stage.server.router.route(stanza)
    }

    @ServerActor private func field(_ name: String, _ index: Int? = nil) -> String? {
        let iq = index.map { published[$0] } ?? published.last
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

    @Test("A message for somebody who is away is published, with the publish options and without its content")
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
            #expect(published.count == 1)
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
            let iq = try #require(published.first?.element)
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
            #expect(published.isEmpty)
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
            #expect(published.count == 1)
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
            #expect(published.isEmpty)
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
            #expect(published.count == 1)
            #expect(published.first?.query?.has("publish-options") == false)
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
            (published, answer) = ([], nil)
            try write(stage)
            await stage.settle()
            #expect(published.count == 1)
            let accounts = try #require(stage.server.host("capulet.example")?.accounts)
            try await accounts.remove("juliet")
            await stage.settle()
            try await stage.account(juliet)
            try write(stage)
            await stage.advance(by: .seconds(60))
            #expect(published.count == 1)
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
            #expect(published.count == 2)
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
            #expect(published.count == 1)
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
            #expect(published.isEmpty)
        }
    }

    @Test("A request to subscribe counts once it waits, and is counted")
    func subscription() async throws {
        try await Self.play { stage in
            try await enroll(stage)
            try give(stage, "<presence from='romeo@montague.example' to='\(juliet)' type='subscribe'/>")
            await stage.settle()
            #expect(published.count == 1)
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
            let item = published.first?.query?.child("publish")?.child("item")
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
            #expect(published.isEmpty)
            try await enrollTablet(stage)
            try write(stage)
            try await client.receivesAnywhere("<message><body>Hark</body></message>")
            await stage.settle()
            #expect(published.map { $0.query?.child("publish")?["node"] } == ["tablet"])
            // A client that does not want the account's messages does not get them either.
            try await client.sends("<presence type='unavailable'/>")
            await stage.settle()
            try write(stage)
            await stage.settle()
            #expect(published.last?.query?.child("publish")?["node"] == "n")
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
            #expect(published.map { $0.query?.child("publish")?["node"] } == ["n"])
            // What comes to this client alone counts, too.
            let call = "<iq xmlns='jabber:client' type='set' id='1' from='romeo@montague.example/home' to='\(phone)'>"
            try give(stage, call + "<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='a'/></iq>")
            await stage.advance(by: .seconds(1))
            try give(stage, call + "<ping xmlns='urn:xmpp:ping'/></iq>")
            try give(stage, "<message xmlns='jabber:client' from='room@rooms.example/romeo' to='\(phone)'"
                + " type='groupchat'><body>Hark</body></message>")
            await stage.advance(by: .seconds(1))
            #expect(published.count == 3)
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
            #expect(published.count == 4)
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
            #expect(published.isEmpty)
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
            #expect(published.count == 1)
            let resource = try #require(account(stage)?.resource("phone"))
            resource.account.host.hooks.resourceResumed.notify(ResourceEvent(resource: resource))
            await stage.advance(by: .seconds(60))
            #expect(published.count == 1)
            try write(stage)
            await stage.settle()
            #expect(published.count == 2)
            #expect(field("message-count") == "1")
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
            let link = Deaf()
            let restored = try #require(
                resource.account.restore("phone", presence: Presence(), link: link) {
                    host.sessionState.restore(state, to: $0)
                })
            #expect(restored[PushRegistry.Session.self] == ["push.example\nn"])
            try write(stage)
            await stage.settle()
            #expect(published.isEmpty)
        }
    }

    // MARK: Pace

    @Test("The first is told at once, what follows together")
    func coalescing() async throws {
        try await Self.play { stage in
            try await enroll(stage)
            for _ in 0..<50 { try write(stage) }
            await stage.settle()
            #expect(published.count == 1)
            #expect(field("message-count") == "1")
            await stage.advance(by: .seconds(9))
            #expect(published.count == 1)
            await stage.advance(by: .seconds(2))
            #expect(published.count == 2)
            #expect(field("message-count") == "50")
            await stage.advance(by: .seconds(60))
            #expect(published.count == 2)
            try write(stage)
            await stage.settle()
            #expect(published.count == 3)
        }
    }

    @Test("A call does not wait, but a storm of calls does")
    func calls() async throws {
        try await Self.play(options: "interval: 60 s, body: full") { stage in
            try await enroll(stage)
            try write(stage)
            await stage.advance(by: .seconds(2))
            for number in 0..<100 { try write(stage, "<propose xmlns='urn:xmpp:jingle-message:0' id='\(number)'/>") }
            await stage.settle()
            #expect(published.count == 2)
            // What is said meanwhile does not take the place of the call.
            try write(stage)
            await stage.advance(by: .seconds(1))
            #expect(published.count == 3)
            #expect(field("last-message-body") == "New message")
            await stage.advance(by: .seconds(59))
            #expect(published.count == 3)
        }
    }

    // MARK: Errors

    @Test("A service that refuses is not asked again", arguments: [
        StanzaError.itemNotFound, .gone, .forbidden, .notAuthorized, .notAllowed, .badRequest, .conflict,
        .registrationRequired, .policyViolation,
    ])
    func refusal(_ error: StanzaError) async throws {
        try await Self.play { stage in
            try await enroll(stage)
            answer = error
            try write(stage)
            await stage.settle()
            #expect(account(stage)?[PushRegistry.Registrations.self].isEmpty == true)
            answer = nil
            try write(stage)
            await stage.advance(by: .seconds(3_600))
            #expect(published.count == 1)
            // Nor after a restart.
            try await stage.restart()
            try write(stage)
            await stage.settle()
            #expect(published.count == 1)
            // Until the client wants it again. XEP-0357 §5.
            try await enroll(stage)
            try write(stage)
            await stage.settle()
            #expect(published.count == 2)
        }
    }

    @Test("A service that is out of order is tried after ever longer times, with what is new then", arguments: [
        StanzaError(.resourceConstraint), StanzaError(.serviceUnavailable), StanzaError(.itemNotFound, .wait),
        StanzaError(.internalServerError), StanzaError(.remoteServerNotFound),
    ])
    func backOff(_ error: StanzaError) async throws {
        try await Self.play { stage in
            try await enroll(stage)
            answer = error
            try write(stage)
            await stage.settle()
            #expect(published.count == 1)
            for _ in 0..<20 { try write(stage) }
            // Not even calls go out now.
            try write(stage, "<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>")
            await stage.advance(by: .seconds(59))
            #expect(published.count == 1)
            await stage.advance(by: .seconds(2))
            #expect(published.count == 2)
            #expect(field("message-count") == "22")
            await stage.advance(by: .seconds(118))
            #expect(published.count == 2)
            answer = nil
            await stage.advance(by: .seconds(3))
            #expect(published.count == 3)
            await stage.advance(by: .seconds(600))
            #expect(published.count == 3)
            // All is well again.
            try write(stage)
            await stage.settle()
            #expect(published.count == 4)
        }
    }

    @Test("A service that stays out of order is given up")
    func givenUp() async throws {
        try await Self.play(options: "retries: 4") { stage in
            try await enroll(stage)
            answer = .serviceUnavailable
            try write(stage)
            await stage.advance(by: .seconds(60 + 120 + 240 - 5))
            #expect(published.count == 3)
            #expect(account(stage) == nil)
            await stage.advance(by: .seconds(10))
            #expect(published.count == 4)
            answer = nil
            try write(stage)
            await stage.advance(by: .seconds(3_600))
            #expect(published.count == 4)
        }
    }

    @Test("Only the push service answers for itself; silence counts as a failure that may pass")
    func forged() async throws {
        try await Self.play { stage in
            let service = try await stage.enter("service@montague.example/x")
            let mallory = try await stage.enter("mallory@capulet.example/x")
            try await enroll(stage, "<enable xmlns='urn:xmpp:push:0' jid='service@montague.example/x' node='n'/>")
            try write(stage)
            let asked = try await service.receives("<iq type='set' from='capulet.example'/>")
            let id = try #require(asked["id"])
            let error = "<iq type='error' to='capulet.example' id='\(id)'><error type='cancel'>"
                + "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            try await mallory.sends(error)
            await stage.settle()
            #expect(account(stage)?[PushRegistry.Registrations.self].count == 1)
            await stage.advance(by: .seconds(61))
            // Too late.
            try await service.sends(error)
            await stage.settle()
            #expect(account(stage)?[PushRegistry.Registrations.self].count == 1)
            await stage.advance(by: .seconds(60))
            let second = try await service.receives("<iq type='set' from='capulet.example'/>")
            try await service.sends("<iq type='result' to='capulet.example' id='\(second["id"] ?? "")'/>")
            await stage.advance(by: .seconds(600))
            try await service.staysSilent()
        }
    }

    @Test("A service takes a registration back by itself; who pretends to be one writes a message")
    func disabledByService() async throws {
        try await Self.play { stage in
            let client = try await stage.enter(phone)
            try await client.asks(.set, enabling)
            func notice(_ from: String) -> String {
                "<message xmlns='jabber:client' from='\(from)' to='\(juliet)'><pubsub xmlns="
                    + "'http://jabber.org/protocol/pubsub' node='n'><affiliation jid='\(juliet)' affiliation='none'/>"
                    + "</pubsub></message>"
            }
            try give(stage, notice("mallory@montague.example/x"))
            try await client.receives("<message from='mallory@montague.example/x'/>")
            #expect(account(stage)?[PushRegistry.Registrations.self].count == 1)
            // XEP-0357 §8.
            try give(stage, notice("push.example"))
            try await client.staysSilent()
            #expect(account(stage)?[PushRegistry.Registrations.self].isEmpty == true)
            #expect(account(stage)?.resource("phone")?[PushRegistry.Session.self].isEmpty == true)
        }
    }

    @Test("Unloading stops everything that is going on, and loading anew goes on with what is stored")
    func unload() async throws {
        try await Self.play { stage in
            try await enroll(stage)
            answer = .serviceUnavailable
            try write(stage)
            await stage.settle()
            let hosts = "hosts: { montague.example: {}, capulet.example: {} }\n" + Self.components
            let rest = "messages: on, offline: on, presence: on, roster: on, sleeper: on, disco: on"
            try stage.reload(hosts + "modules: { push: off, \(rest) }\n")
            let disco = try #require(stage.server.host("capulet.example")?.disco)
            #expect(!disco.features(of: .account).contains("urn:xmpp:push:0"))
            await stage.advance(by: .seconds(600))
            try write(stage)
            await stage.settle()
            #expect(published.count == 1)
            answer = nil
            try stage.reload(hosts + "modules: { push: on, \(rest) }\n")
            await stage.settle()
            try write(stage)
            await stage.settle()
            #expect(published.count == 2)
        }
    }

    @Test("Who has no account has no use for it")
    func anonymous() async throws {
        let config = "hosts: { guests.example: { authentication: anonymous } }\n"
        try await TestKit.play(modules: [Push.self, Messages.self], config: config) { stage in
            let host = try #require(stage.server.host("guests.example"))
            #expect(!host.disco.features(of: .account).contains("urn:xmpp:push:0"))
        }
    }
}
