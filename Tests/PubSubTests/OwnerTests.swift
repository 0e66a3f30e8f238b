import ServerKit
import TestKit
import Testing

@testable import Modules
@testable import PubSub

@Suite("Owning nodes (XEP-0060 §8)") struct OwnerTests {
    private static let romeo = "romeo@montague.example"

    @Test("Nodes are made, with and without configuration and name")
    func creation() async throws {
        try await play(modules: [PubSub.self]) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await juliet.asks(.set, pubsub("<create node='a'/><configure/>"))
            #expect(try await juliet.isRefused(.set, pubsub("<create node='a'/>")).isError(.conflict, nil, .cancel))
            let instant = try #require(try await juliet.asks(.set, pubsub("<create/>")))
            #expect(instant.child("create")?["node"]?.utf8.count ?? 0 >= 20)
            try await juliet.asks(.set, create("b", ["pubsub#title": "A &amp; B", "pubsub#access_model": "whitelist"]))
            let configuration = try #require(try await juliet.asks(.get, owner("<configure node='b'/>")))
            #expect(configuration.field("title") == "A & B")
            #expect(configuration.field("access_model") == "whitelist")
            let cases: [(String, StanzaError.Condition, String?)] = [
                (create("c", ["pubsub#access_model": "nobody"]), .notAcceptable, "unsupported-access-model"),
                (create("c", ["pubsub#max_items": "x"]), .notAcceptable, nil),
                (pubsub("<create node='c'/><configure node='c'/>"), .badRequest, nil),
                (pubsub("<configure/><create node='c'/>"), .badRequest, nil),
                (
                    pubsub(
                        "<create node='c'/><configure><x xmlns='jabber:x:data' type='submit'><field/></x></configure>"),
                    .badRequest, nil
                ),
                (
                    pubsub("<create node='c'/><configure>\(form("subscribe_options", [:]))</configure>"), .badRequest,
                    nil
                ),
            ]
            for (request, condition, detail) in cases {
                let error = try await juliet.isRefused(.set, request)
                #expect(error.isError(condition, detail), "\(request): \(error)")
                #expect(try await juliet.isRefused(.get, items("c")).condition == .itemNotFound)
            }
        }
    }

    @Test("The defaults are those of XEP-0163 §5, and those that well-known nodes need")
    func defaults() async throws {
        try await play(modules: [PubSub.self]) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let form = try #require(try await juliet.asks(.get, owner("<default/>")))
            for (name, value) in [
                ("access_model", "presence"), ("send_last_published_item", "on_sub_and_presence"), ("max_items", "1"),
                ("persist_items", "1"), ("deliver_payloads", "1"), ("deliver_notifications", "1"),
                ("publish_model", "publishers"), ("notification_type", "headline"), ("item_expire", "max"),
                ("max_payload_size", "262144"), ("node_type", "leaf"),
            ] {
                #expect(form.field(name) == value, "\(name)")
            }
            #expect(
                try await juliet.isRefused(.get, owner("<default type='collection'/>")).condition
                    == .featureNotImplemented)
            for (node, model, items) in [
                ("urn:xmpp:omemo:2:bundles", "open", "max"), ("eu.siacs.conversations.axolotl.devicelist", "open", "1"),
                ("urn:xmpp:bookmarks:1", "whitelist", "max"), ("storage:bookmarks", "whitelist", "1"),
                ("urn:xmpp:avatar:data", "presence", "1"),
            ] {
                try await juliet.asks(.set, publish("x", node: node))
                let form = try #require(try await juliet.asks(.get, owner("<configure node='\(node)'/>")))
                #expect(form.field("access_model") == model && form.field("max_items") == items, "\(node)")
            }
        }
    }

    @Test("A configuration is changed as a whole or not at all, and can be told to subscribers")
    func configuration() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony", with: wanting(tune))
            try await juliet.asks(.set, create(tune))
            func configure(_ fields: [String: String]) -> String {
                owner("<configure node='\(tune)'>\(form("node_config", fields))</configure>")
            }
            #expect(try await juliet.asks(.set, configure(["pubsub#title": "T", "pubsub#unknown": "x"])) == nil)
            let bad = configure(["pubsub#title": "U", "pubsub#persist_items": "x"])
            #expect(try await juliet.isRefused(.set, bad).condition == .notAcceptable)
            let model = try await juliet.isRefused(.set, configure(["pubsub#access_model": "x"]))
            #expect(model.isError(.notAcceptable, "unsupported-access-model"))
            let cancel = owner("<configure node='\(tune)'><x xmlns='jabber:x:data' type='cancel'/></configure>")
            #expect(try await juliet.asks(.set, cancel) == nil)
            for request in [
                owner("<configure node='\(tune)'/>"), owner("<configure/>"),
                owner("<configure node='\(tune)'><x xmlns='jabber:x:data' type='form'/></configure>"),
                owner("<configure node='\(tune)'><x xmlns='jabber:x:data' type='nonsense'/></configure>"),
                owner("<configure node='\(tune)'>\(form("meta-data", ["pubsub#title": "V"]))</configure>"),
            ] {
                #expect(try await juliet.isRefused(.set, request).condition == .badRequest, "\(request)")
            }
            let now = try #require(try await juliet.asks(.get, owner("<configure node='\(tune)'/>")))
            #expect(now.field("title") == "T")
            try await stage.staysSilent()
            try await juliet.asks(.set, configure(["pubsub#notify_config": "1"]))
            let events = await juliet.events()
            #expect(events.count == 1 && events[0].child("configuration")?.field("title") == "T")
            try await juliet.asks(.set, configure(["pubsub#deliver_payloads": "0"]))
            #expect(await juliet.events().first?.child("configuration")?.hasChildren == false)
            #expect(try await juliet.isRefused(.get, owner("<configure node='x'/>")).condition == .itemNotFound)
            #expect(try await juliet.isRefused(.get, owner("<configure/>")).isError(.badRequest, "nodeid-required"))
        }
    }

    @Test("Deleting and purging take the items with them, and are told once")
    func removal() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony", with: wanting(tune))
            try await juliet.asks(.set, create(tune, ["pubsub#max_items": "max"]))
            for number in 1...150 { try await juliet.asks(.set, publish("\(number)", id: "\(number)")) }
            _ = await juliet.everything()
            #expect(try await juliet.asks(.set, owner("<purge node='\(tune)'/>")) == nil)
            var events = await juliet.events()
            #expect(events.count == 1 && events[0].child("purge")?["node"] == tune)
            #expect(try #require(try await juliet.asks(.get, items())).itemIDs == [])
            for number in 1...150 { try await juliet.asks(.set, publish("\(number)", id: "\(number)")) }
            _ = await juliet.everything()
            #expect(try await juliet.asks(.set, owner("<delete node='\(tune)'/>")) == nil)
            events = await juliet.events()
            #expect(events.count == 1 && events[0].child("delete")?["node"] == tune)
            let count = try await stage.server.storage.rawArchive("pubsub-items", on: "capulet.example").count(
                of: "juliet")
            #expect(count == 0)
            #expect(try await juliet.isRefused(.set, owner("<delete node='\(tune)'/>")).condition == .itemNotFound)
            #expect(try await juliet.isRefused(.set, owner("<purge node='\(tune)'/>")).condition == .itemNotFound)
            try await juliet.asks(.set, publish("new", id: "n"))
            #expect(try #require(try await juliet.asks(.get, items())).titles == ["new"])
        }
    }

    @Test("A node that has moved says where, also after a restart")
    func redirect() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await juliet.asks(.set, create(tune, ["pubsub#access_model": "open"]))
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let to = "juliet@capulet.example"
            try await romeo.asks(.set, pubsub("<subscribe node='\(tune)' jid='\(Self.romeo)'/>"), to: to)
            let uri = "xmpp:juliet@capulet.example?;node=blog"
            try await juliet.asks(.set, owner("<delete node='\(tune)'><redirect uri='\(uri)'/></delete>"))
            let told = await romeo.events()
            #expect(told.first?.child("delete")?.child("redirect")?["uri"] == uri)
            try await stage.restart()
            let again = try await stage.enter("romeo@montague.example/phone")
            let gone = try await again.isRefused(.get, items(), to: to)
            #expect(gone.condition == .gone && gone.address == uri)
            let back = try await stage.enter("juliet@capulet.example/balcony")
            try await back.asks(.set, create(tune, ["pubsub#access_model": "open"]))
            #expect(try #require(try await again.asks(.get, items(), to: to)).itemIDs == [])
        }
    }

    @Test("Affiliations decide who may publish and read (§8.9)")
    func affiliations() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let to = "juliet@capulet.example"
            try await juliet.asks(
                .set, publish("x", id: "1", options: ["pubsub#access_model": "whitelist", "pubsub#max_items": "max"]))
            let romeo = try await stage.enter("romeo@montague.example/phone")
            func set(_ affiliation: String, _ jid: String = Self.romeo) -> String {
                owner(
                    "<affiliations node='\(tune)'><affiliation jid='\(jid)' affiliation='\(affiliation)'/></affiliations>"
                )
            }
            try await juliet.asks(.set, set("member"))
            #expect(try #require(try await romeo.asks(.get, items(), to: to)).titles == ["x"])
            #expect(try await romeo.isRefused(.set, publish("y"), to: to).isError(.forbidden))
            try await juliet.asks(.set, set("publisher", "ROMEO@montague.example"))
            try await romeo.asks(.set, publish("y", id: "2"), to: to)
            try await romeo.asks(.set, pubsub("<retract node='\(tune)'><item id='1'/></retract>"), to: to)
            try await juliet.asks(.set, publish("z", id: "3"))
            try await juliet.asks(.set, set("publish-only"))
            try await romeo.asks(.set, publish("y2", id: "4"), to: to)
            #expect(try await romeo.isRefused(.get, items(), to: to).isError(.forbidden))
            #expect(
                try await romeo.isRefused(.set, pubsub("<retract node='\(tune)'><item id='3'/></retract>"), to: to)
                    .isError(.forbidden))
            try await romeo.asks(.set, pubsub("<retract node='\(tune)'><item id='4'/></retract>"), to: to)
            try await juliet.asks(.set, set("owner"))
            try await romeo.asks(.get, owner("<configure node='\(tune)'/>"), to: to)
            let list = try #require(try await romeo.asks(.get, owner("<affiliations node='\(tune)'/>"), to: to))
            let found = list.child("affiliations")?.children.map { "\($0["jid"] ?? "") \($0["affiliation"] ?? "")" }
            #expect(found == ["juliet@capulet.example owner", "romeo@montague.example owner"])
            // The account keeps its node.
            #expect(try await romeo.isRefused(.set, set("none", to), to: to).isError(.notAcceptable))
            try await juliet.asks(.set, set("none"))
            #expect(try await romeo.isRefused(.get, items(), to: to).isError(.notAllowed, "closed-node"))
            let double = "<affiliation jid='a@b.example' affiliation='member'/>"
            for bad in [double + double, "<affiliation jid='a@b.example' affiliation='king'/>"] {
                let request = owner("<affiliations node='\(tune)'>\(bad)</affiliations>")
                #expect(try await juliet.isRefused(.set, request).condition == .badRequest)
            }
            let malformed = owner(
                "<affiliations node='\(tune)'><affiliation jid='@' affiliation='member'/></affiliations>")
            #expect(try await juliet.isRefused(.set, malformed).condition == .jidMalformed)
        }
    }

    @Test("Anybody publishes where the node is open for it, and retracts only the own")
    func openPublishing() async throws {
        try await play(modules: [PubSub.self]) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let to = "juliet@capulet.example"
            let configuration = [
                "pubsub#access_model": "open", "pubsub#publish_model": "open", "pubsub#max_items": "10",
                "pubsub#itemreply": "publisher",
            ]
            try await juliet.asks(.set, create("wall", configuration))
            try await juliet.asks(.set, publish("hers", id: "1", node: "wall"))
            let romeo = try await stage.enter("romeo@montague.example/phone")
            try await romeo.asks(.set, publish("his", id: "2", node: "wall"), to: to)
            let error = try await romeo.isRefused(.set, pubsub("<retract node='wall'><item id='1'/></retract>"), to: to)
            #expect(error.isError(.forbidden))
            let answer = try #require(try await juliet.asks(.get, items("wall")))
            let publishers = answer.child("items")?.children.map { $0["publisher"] }
            #expect(publishers == ["juliet@capulet.example/balcony", "romeo@montague.example/phone"])
            try await romeo.asks(.set, pubsub("<retract node='wall'><item id='2'/></retract>"), to: to)
        }
    }

    @Test("Owners list, add and remove subscribers (§8.8)")
    func subscribers() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony", with: wanting("owner"))
            try await juliet.asks(.set, create(tune, ["pubsub#access_model": "authorize", "pubsub#notify_sub": "1"]))
            let romeo = try await stage.enter("romeo@montague.example/phone")
            func set(_ jid: String, _ state: String) -> String {
                owner(
                    "<subscriptions node='\(tune)'><subscription jid='\(jid)' subscription='\(state)'/></subscriptions>"
                )
            }
            try await juliet.asks(.set, set(Self.romeo, "subscribed"))
            try await romeo.receives(
                "<message>\(event("<subscription node='\(tune)' jid='\(Self.romeo)' subscription='subscribed'/>"))</message>"
            )
            let list = try #require(try await juliet.asks(.get, owner("<subscriptions node='\(tune)'/>")))
            #expect(list.child("subscriptions")?.children.map { $0["jid"] } == [Self.romeo])
            try await juliet.asks(.set, set(Self.romeo, "none"))
            try await romeo.receives("<message>\(event("<subscription subscription='none'/>"))</message>")
            #expect(try await juliet.isRefused(.set, set(Self.romeo, "pending")).isError(.notAcceptable))
            #expect(try await juliet.isRefused(.set, set("@", "none")).isError(.jidMalformed))
        }
    }
}
