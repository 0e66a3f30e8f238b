import ServerKit
import TestKit
import Testing

@testable import Modules
@testable import PubSub

@Suite("A domain for nodes (XEP-0060)") struct DomainTests {
    private static let modules: [any Module.Type] = [PubSub.self, Disco.self, Messages.self]

    private static func config(_ options: String = "") -> String {
        """
        admins: [friar@capulet.example]
        hosts: { montague.example: {}, capulet.example: {} }
        components: { pubsub.capulet.example: { module: pubsub\(options) } }

        """
    }

    private static let domain = "pubsub.capulet.example"

    @Test("Users make nodes, which anybody finds, follows and reads, also after a restart")
    func use() async throws {
        try await play(modules: Self.modules, config: Self.config()) { stage in
            var juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await juliet.asks(.set, create("musings", ["pubsub#title": "Musings"]), to: Self.domain)
            #expect(try await romeo.isRefused(.set, create("musings"), to: Self.domain).isError(.conflict))
            let info = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
            let found = try DiscoInfo(try #require(try await romeo.asks(.get, info, to: Self.domain)))
            #expect(found.identities.contains { $0.category == "pubsub" && $0.type == "service" })
            #expect(!found.identities.contains { $0.type == "pep" })
            #expect(found.features.contains(.pubsub(feature: "create-nodes")))
            for feature in ["auto-subscribe", "access-presence", "pubsub-on-a-jid"] {
                #expect(!found.features.contains(.pubsub(feature: feature)))
            }
            let list = try #require(
                try await romeo.asks(.get, info.replacing("#info", with: "#items"), to: Self.domain))
            #expect(
                list.children.map { "\($0["jid"] ?? "") \($0["node"] ?? "") \($0["name"] ?? "")" } == [
                    "\(Self.domain) musings Musings"
                ])
            try await romeo.asks(
                .set, pubsub("<subscribe node='musings' jid='romeo@montague.example'/>"), to: Self.domain)
            try await juliet.asks(.set, publish("Soliloquy", id: "1", node: "musings"), to: Self.domain)
            try await romeo.receives(
                """
                <message from='\(Self.domain)' to='romeo@montague.example'>
                \(event("<items node='musings'><item id='1'>\(song("Soliloquy"))</item></items>"))</message>
                """)
            #expect(try await romeo.isRefused(.set, publish("x", node: "musings"), to: Self.domain).isError(.forbidden))
            try await stage.restart()
            juliet = try await stage.enter("juliet@capulet.example/balcony")
            let back = try await stage.enter("romeo@montague.example/orchard")
            let read = try #require(try await back.asks(.get, items("musings"), to: Self.domain))
            #expect(read.titles == ["Soliloquy"])
            try await juliet.asks(.set, owner("<delete node='musings'/>"), to: Self.domain)
            #expect(await back.events().first?.child("delete")?["node"] == "musings")
        }
    }

    @Test("Owners approve of subscribers; somebody always owns a node; administrators own all")
    func owners() async throws {
        try await play(modules: Self.modules, config: Self.config()) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await juliet.asks(.set, create("secret", ["pubsub#access_model": "authorize"]), to: Self.domain)
            let presence = try await juliet.isRefused(
                .set, create("p", ["pubsub#access_model": "presence"]), to: Self.domain)
            #expect(presence.isError(.notAcceptable, "unsupported-access-model"))
            try await romeo.asks(
                .set, pubsub("<subscribe node='secret' jid='romeo@montague.example'/>"), to: Self.domain)
            let asked = try await juliet.receives("<message from='\(Self.domain)'><x xmlns='jabber:x:data'/></message>")
            let answer = form(
                "subscribe_authorization",
                [
                    "pubsub#node": "secret", "pubsub#subscriber_jid": "romeo@montague.example", "pubsub#allow": "1",
                ])
            try await juliet.sends("<message to='\(Self.domain)' id='\(asked["id"] ?? "")'>\(answer)</message>")
            try await romeo.receives(
                "<message>\(event("<subscription node='secret' subscription='subscribed'/>"))</message>")
            func set(_ jid: String, _ affiliation: String) -> String {
                owner(
                    "<affiliations node='secret'><affiliation jid='\(jid)' affiliation='\(affiliation)'/></affiliations>"
                )
            }
            let alone = try await juliet.isRefused(.set, set("juliet@capulet.example", "none"), to: Self.domain)
            #expect(alone.isError(.notAcceptable))
            try await juliet.asks(.set, set("romeo@montague.example", "owner"), to: Self.domain)
            try await romeo.asks(.set, set("juliet@capulet.example", "none"), to: Self.domain)
            #expect(
                try await juliet.isRefused(.get, owner("<configure node='secret'/>"), to: Self.domain).isError(
                    .forbidden))
            let friar = try await stage.enter("friar@capulet.example/cell")
            try await friar.asks(.set, owner("<delete node='secret'/>"), to: Self.domain)
        }
    }

    @Test("Owners ask again for the requests that wait for them (§8.7)")
    func pending() async throws {
        try await play(modules: Self.modules + [Commands.self], config: Self.config()) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await juliet.asks(.set, create("secret", ["pubsub#access_model": "authorize"]), to: Self.domain)
            try await romeo.asks(
                .set, pubsub("<subscribe node='secret' jid='romeo@montague.example'/>"), to: Self.domain)
            _ = await juliet.everything()
            let node = "http://jabber.org/protocol/pubsub#get-pending"
            func command(_ attributes: String = "", _ content: String = "") -> String {
                "<command xmlns='http://jabber.org/protocol/commands' node='\(node)' \(attributes)>\(content)</command>"
            }
            #expect(try await romeo.isRefused(.set, command(), to: Self.domain).isError(.forbidden))
            let step = try #require(try await juliet.asks(.set, command(), to: Self.domain))
            let asked = try #require(try DataForm.find(in: step))
            #expect(asked["pubsub#node"]?.options.map(\.value) == ["secret"])
            let session = "sessionid='\(step["sessionid"] ?? "")' action='complete'"
            let answer = form("subscribe_authorization", ["pubsub#node": "secret"])
            let done = try #require(try await juliet.asks(.set, command(session, answer), to: Self.domain))
            #expect(done["status"] == "completed")
            let message = try await juliet.receives(
                "<message from='\(Self.domain)'><x xmlns='jabber:x:data'/></message>")
            #expect(message.field("subscriber_jid") == "romeo@montague.example")
            try await stage.staysSilent()
        }
    }

    @Test("One user's nodes leave room for those of others")
    func limits() async throws {
        let config = Self.config(", max_nodes: 2, max_domain_nodes: 3")
        try await play(modules: Self.modules, config: config) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            for name in ["a", "b"] { try await juliet.asks(.set, create(name), to: Self.domain) }
            #expect(try await juliet.isRefused(.set, create("c"), to: Self.domain).condition == .resourceConstraint)
            try await romeo.asks(.set, create("c"), to: Self.domain)
            #expect(try await romeo.isRefused(.set, create("d"), to: Self.domain).condition == .resourceConstraint)
            try await juliet.asks(.set, owner("<delete node='a'/>"), to: Self.domain)
            try await romeo.asks(.set, create("d"), to: Self.domain)
        }
    }

    @Test("Who may make nodes is for the administrator to say")
    func creators() async throws {
        try await play(modules: Self.modules, config: Self.config(", create: admins")) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            for request in [create("x"), publish("x", node: "x")] {
                #expect(try await juliet.isRefused(.set, request, to: Self.domain).isError(.forbidden))
            }
            #expect(try await juliet.isRefused(.get, owner("<default/>"), to: Self.domain).isError(.forbidden))
            let friar = try await stage.enter("friar@capulet.example/cell")
            try await friar.asks(.set, create("x"), to: Self.domain)
            // Accounts are services all the same.
            try await juliet.asks(.set, publish("x"))
        }
    }
}
