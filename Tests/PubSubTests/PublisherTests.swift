import ServerKit
import TestKit
import Testing

@testable import Modules
@testable import PubSub

@Suite("Publishing (XEP-0060 §7)") struct PublisherTests {
    @Test("An item is published with an id or gets one, and is there for all of the owner's clients")
    func publishing() async throws {
        try await play(modules: [PubSub.self]) { stage in
            // Clients that never send presence may publish, too.
            let juliet = try await stage.enter("juliet@capulet.example/balcony", presence: false)
            let answer = try #require(try await juliet.asks(.set, publish("Nightingale", id: "one")))
            #expect(answer.matches(try Element.parse(pubsub("<publish node='\(tune)'><item id='one'/></publish>"))))
            let chamber = try await stage.enter("juliet@capulet.example/chamber", presence: false)
            for to in [nil, "juliet@capulet.example"] {
                let items = try #require(try await chamber.asks(.get, items(), to: to))
                #expect(
                    items.matches(
                        try Element.parse(
                            pubsub("<items node='\(tune)'><item id='one'>\(song("Nightingale"))</item></items>"))))
                #expect(items.child("items")?.child("item")?["publisher"] == nil)
            }
            let generated = try #require(try await chamber.asks(.set, publish("Lark")))
            let id = try #require(generated.child("publish")?.child("item")?["id"])
            #expect(id.count >= 16)
            let items = try #require(try await juliet.asks(.get, items()))
            #expect(items.itemIDs == [id])
            try await stage.staysSilent()
        }
    }

    @Test("What was published survives a restart, with its configuration")
    func restart() async throws {
        try await play(modules: [PubSub.self]) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await juliet.asks(
                .set, publish("A", id: "a", options: ["pubsub#max_items": "max", "pubsub#access_model": "open"]))
            try await juliet.asks(.set, publish("B", id: "b"))
            try await juliet.asks(.set, publish("A2", id: "a"))
            try await stage.restart()
            let romeo = try await stage.enter("romeo@montague.example/phone")
            // XEP-0060 §12.1: in the order of publication, a new version last.
            let answer = try #require(try await romeo.asks(.get, items(), to: "juliet@capulet.example"))
            #expect(answer.titles == ["B", "A2"])
            let again = try await stage.enter("juliet@capulet.example/balcony")
            let configuration = try #require(try await again.asks(.get, owner("<configure node='\(tune)'/>")))
            #expect(configuration.field("max_items") == "max")
            #expect(configuration.field("access_model") == "open")
        }
    }

    @Test("A node keeps as many items as it is configured for")
    func limit() async throws {
        try await play(modules: [PubSub.self]) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await juliet.asks(.set, create(tune, ["pubsub#max_items": "3"]))
            for number in 1...5 { try await juliet.asks(.set, publish("\(number)", id: "\(number)")) }
            try await juliet.asks(.set, publish("4 again", id: "4"))
            var answer = try #require(try await juliet.asks(.get, items()))
            #expect(answer.itemIDs == ["3", "5", "4"])
            // Fewer from now on.
            let fewer = form("node_config", ["pubsub#max_items": "2"])
            try await juliet.asks(.set, owner("<configure node='\(tune)'>\(fewer)</configure>"))
            answer = try #require(try await juliet.asks(.get, items()))
            #expect(answer.itemIDs == ["5", "4"])
            let one = form("node_config", ["pubsub#max_items": "1"])
            try await juliet.asks(.set, owner("<configure node='\(tune)'>\(one)</configure>"))
            try await juliet.asks(.set, publish("6", id: "6"))
            answer = try #require(try await juliet.asks(.get, items()))
            #expect(answer.itemIDs == ["6"])
        }
    }

    @Test("A full node may refuse, or drop the oldest with or without a word")
    func full() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony", with: wanting(tune))
            let base = ["pubsub#max_items": "2", "pubsub#publish_node_full": "reject"]
            try await juliet.asks(.set, create(tune, base))
            for id in ["1", "2", "1"] { try await juliet.asks(.set, publish(id, id: id)) }
            #expect(try await juliet.isRefused(.set, publish("3", id: "3")).isError(.conflict, "node-full", .cancel))
            var answer = try #require(try await juliet.asks(.get, items()))
            #expect(answer.itemIDs == ["2", "1"])
            for (behaviour, expected) in [("retract-oldest", 1), ("discard-oldest", 0)] {
                let change = form("node_config", ["pubsub#publish_node_full": behaviour])
                try await juliet.asks(.set, owner("<configure node='\(tune)'>\(change)</configure>"))
                _ = await juliet.everything()
                try await juliet.asks(.set, publish("new", id: behaviour))
                let events = await juliet.events()
                #expect(events.count == 1 + expected)
                #expect(events.filter { $0.child("items")?.has("retract") == true }.count == expected)
            }
            answer = try #require(try await juliet.asks(.get, items()))
            #expect(answer.itemIDs == ["retract-oldest", "discard-oldest"])
        }
    }

    @Test("Publish-options make a node, and are preconditions for one that is there (§7.1.5)")
    func options() async throws {
        try await play(modules: [PubSub.self]) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony", presence: false)
            let node = "eu.siacs.conversations.axolotl.bundles:31415"
            let open = ["pubsub#access_model": "open", "pubsub#persist_items": "true"]
            try await juliet.asks(.set, publish("key", id: "current", node: node, options: open))
            try await juliet.asks(.set, publish("key", id: "current", node: node, options: open))
            let other = ["pubsub#access_model": "whitelist"]
            let error = try await juliet.isRefused(.set, publish("key 2", id: "current", node: node, options: other))
            #expect(error.isError(.conflict, "precondition-not-met", .cancel))
            let answer = try #require(try await juliet.asks(.get, items(node)))
            #expect(answer.titles == ["key"])
            // What a client does then: it configures the node and tries again.
            let configuration = try #require(try await juliet.asks(.get, owner("<configure node='\(node)'/>")))
            #expect(configuration.field("access_model") == "open")
            let change = form("node_config", other)
            try await juliet.asks(.set, owner("<configure node='\(node)'>\(change)</configure>"))
            try await juliet.asks(.set, publish("key 2", id: "current", node: node, options: other))
            try await juliet.asks(.set, owner("<delete node='\(node)'/>"))
            #expect(try await juliet.isRefused(.get, items(node)).condition == .itemNotFound)
        }
    }

    @Test(
        "Options that cannot be met are refused, whether or not there is a node",
        arguments: [
            ("pubsub#nonsense", "1", StanzaError.Condition.conflict), ("pubsub#access_model", "nobody", .notAcceptable),
            ("pubsub#max_items", "-1", .notAcceptable), ("pubsub#max_items", "many", .notAcceptable),
            ("pubsub#max_items", "1001", .notAcceptable), ("pubsub#max_items", "0", .notAcceptable),
            ("pubsub#persist_items", "perhaps", .notAcceptable), ("pubsub#item_expire", "0", .notAcceptable),
            ("pubsub#item_expire", "99999999999", .notAcceptable), ("pubsub#node_type", "collection", .notAcceptable),
            ("pubsub#max_payload_size", "999999999", .notAcceptable), ("pubsub#contact", "a@b@c", .notAcceptable),
            ("pubsub#purge_offline", "1", .notAcceptable),
            ("pubsub#send_last_published_item", "always", .notAcceptable),
        ])
    func badOptions(name: String, value: String, condition: StanzaError.Condition) async throws {
        try await play(modules: [PubSub.self]) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let request = publish("x", id: "x", options: [name: value])
            #expect(try await juliet.isRefused(.set, request).condition == condition)
            #expect(try await juliet.isRefused(.get, items()).condition == .itemNotFound)
            try await juliet.asks(.set, publish("y", id: "y"))
            #expect(try await juliet.isRefused(.set, request).condition == condition)
            let answer = try #require(try await juliet.asks(.get, items()))
            #expect(answer.titles == ["y"])
        }
    }

    @Test("What fits neither the protocol nor the node is refused (§7.1.3)")
    func badItems() async throws {
        try await play(modules: [PubSub.self], config: "modules: { pubsub: { max_item_size: 1 KiB } }") { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let large = String(repeating: "x", count: 2_000)
            let cases: [(String, StanzaError.Condition, String?)] = [
                ("<publish><item>\(song("x"))</item></publish>", .badRequest, "nodeid-required"),
                ("<publish node=''><item>\(song("x"))</item></publish>", .badRequest, "nodeid-required"),
                ("<publish node='\(tune)'/>", .badRequest, "item-required"),
                ("<publish node='\(tune)'><item id='x'/></publish>", .badRequest, "payload-required"),
                ("<publish node='\(tune)'><item>text</item></publish>", .badRequest, "payload-required"),
                ("<publish node='\(tune)'><item>\(song("x"))<y/></item></publish>", .badRequest, "invalid-payload"),
                ("<publish node='\(tune)'><item><a/></item><item><b/></item></publish>", .badRequest, nil),
                ("<publish node='\(tune)'><item>\(song(large))</item></publish>", .notAcceptable, "payload-too-big"),
                ("<publish node='\(tune)'><item>\(song("x"))</item></publish><publish-options/>", .badRequest, nil),
                ("<publish node='\(tune)'><item>\(song("x"))</item></publish><retract/>", .badRequest, nil),
                ("<publish-options/><publish node='\(tune)'><item>\(song("x"))</item></publish>", .badRequest, nil),
                ("<publish node='\(tune)'><item id='\(large)'>\(song("x"))</item></publish>", .notAcceptable, nil),
                ("<publish node='\(large)'><item>\(song("x"))</item></publish>", .notAcceptable, nil),
                ("<nonsense/>", .featureNotImplemented, nil), ("", .badRequest, nil),
                ("<items node='\(tune)'/>", .badRequest, nil),
            ]
            for (content, condition, detail) in cases {
                let error = try await juliet.isRefused(.set, pubsub(content))
                #expect(error.isError(condition, detail), "\(content.prefix(80)): \(error)")
            }
            let service = try #require(stage.server.host("capulet.example")?.service((any PersonalEventing).self))
            let account = try #require(juliet.resource?.account)
            #expect(service.nodes(of: account).isEmpty)
        }
    }

    @Test("Nodes without payloads, or without memory (§4.3)")
    func eventTypes() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony", with: wanting("a", "b", "c"))
            try await juliet.asks(.set, create("a", ["pubsub#deliver_payloads": "0"]))
            try await juliet.asks(.set, publish("x", id: "1", node: "a"))
            var events = await juliet.events()
            #expect(
                events.count == 1 && events[0].itemIDs == ["1"]
                    && events[0].child("items")?.child("item")?.hasChildren == false)
            try await juliet.asks(.set, pubsub("<publish node='a'><item id='2'/></publish>"))
            #expect(try #require(try await juliet.asks(.get, items("a"))).itemIDs == ["2"])
            _ = await juliet.everything()

            try await juliet.asks(.set, create("b", ["pubsub#persist_items": "0"]))
            try await juliet.asks(.set, publish("y", node: "b"))
            events = await juliet.events()
            #expect(events.count == 1 && events[0].titles == ["y"])
            for request in [items("b"), items("b", "", "<item id='1'/>")] {
                #expect(try await juliet.isRefused(.get, request).isError(.featureNotImplemented, "unsupported"))
            }
            let retract = pubsub("<retract node='b'><item id='1'/></retract>")
            #expect(try await juliet.isRefused(.set, retract).detail?["feature"] == "persistent-items")
            #expect(
                try await juliet.isRefused(.set, owner("<purge node='b'/>")).detail?["feature"] == "persistent-items")

            try await juliet.asks(.set, create("c", ["pubsub#persist_items": "0", "pubsub#deliver_payloads": "0"]))
            #expect(try await juliet.isRefused(.set, publish("z", node: "c")).isError(.badRequest, "item-forbidden"))
            let answer = try await juliet.asks(.set, pubsub("<publish node='c'/>"))
            #expect(answer?.child("publish")?.hasChildren == false)
            events = await juliet.events()
            #expect(events.count == 1 && events[0].child("items")?.hasChildren == false)
            try await juliet.asks(.set, create("d", ["pubsub#type": "urn:example:other"]))
            #expect(try await juliet.isRefused(.set, publish("z", node: "d")).isError(.badRequest, "invalid-payload"))
        }
    }

    @Test("Items are retracted, with or without a word (§7.2)")
    func retraction() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony", with: wanting(tune))
            try await juliet.asks(.set, create(tune, ["pubsub#max_items": "max"]))
            for id in ["1", "2", "3"] { try await juliet.asks(.set, publish(id, id: id)) }
            _ = await juliet.everything()
            func retract(_ id: String, _ notify: String = "") -> String {
                pubsub("<retract node='\(tune)' \(notify)><item id='\(id)'/></retract>")
            }
            #expect(try await juliet.asks(.set, retract("3", "notify='true'")) == nil)
            let events = await juliet.events()
            #expect(events.count == 1 && events[0].child("items")?.child("retract")?["id"] == "3")
            try await juliet.asks(.set, retract("2", "notify='0'"))
            #expect(await juliet.events().isEmpty)
            #expect(try #require(try await juliet.asks(.get, items())).itemIDs == ["1"])
            #expect(try await juliet.isRefused(.set, retract("2")).isError(.itemNotFound, nil, .cancel))
            #expect(try await juliet.isRefused(.set, retract("1", "notify='maybe'")).condition == .badRequest)
            for (request, condition, detail) in [
                ("<retract node='\(tune)'/>", StanzaError.Condition.badRequest, "item-required"),
                ("<retract node='\(tune)'><item/></retract>", .badRequest, "item-required"),
                ("<retract><item id='1'/></retract>", .badRequest, "nodeid-required"),
                ("<retract node='x'><item id='1'/></retract>", .itemNotFound, nil),
            ] as [(String, StanzaError.Condition, String?)] {
                #expect(try await juliet.isRefused(.set, pubsub(request)).isError(condition, detail))
            }
        }
    }

    @Test("Items expire")
    func expiry() async throws {
        try await play(modules: [PubSub.self]) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await juliet.asks(.set, create(tune, ["pubsub#max_items": "max", "pubsub#item_expire": "60"]))
            try await juliet.asks(.set, publish("1", id: "1"))
            await stage.advance(by: .seconds(40))
            try await juliet.asks(.set, publish("2", id: "2"))
            await stage.advance(by: .seconds(40))
            #expect(try #require(try await juliet.asks(.get, items())).itemIDs == ["2"])
            #expect(try #require(try await juliet.asks(.get, items(tune, "", "<item id='1'/>"))).itemIDs == [])
            try await juliet.asks(.set, publish("3", id: "3"))
            let account = try #require(juliet.resource?.account)
            let stored = try await stage.server.storage.rawArchive("pubsub-items", on: "capulet.example")
                .count(of: account.name)
            #expect(stored == 2)
        }
    }

    @Test("Publishing in a storm keeps order, and no more than the node may hold")
    func storm() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony", with: wanting(tune))
            try await juliet.asks(.set, create(tune, ["pubsub#max_items": "5"]))
            for number in 1...100 {
                try await juliet.sends("<iq type='set' id='\(number)'>\(publish("\(number)", id: "\(number)"))</iq>")
                if number == 60 {
                    let retract = pubsub("<retract node='\(tune)' notify='1'><item id='60'/></retract>")
                    try await juliet.sends("<iq type='set' id='r'>\(retract)</iq>")
                }
            }
            let all = await juliet.everything()
            #expect(all.filter { $0.name == "iq" && $0["type"] == "result" }.count == 101)
            let events = all.compactMap { $0.child("event", "http://jabber.org/protocol/pubsub#event") }
            let published = events.flatMap(\.itemIDs)
            #expect(published == (1...100).map(String.init))
            #expect(try #require(try await juliet.asks(.get, items())).itemIDs == ["96", "97", "98", "99", "100"])
        }
    }

    @Test("Only so many changes to a node wait at a time, and each is answered")
    func waiting() async throws {
        let config = "modules: { pubsub: { max_waiting: 10 } }"
        try await play(modules: [PubSub.self], config: config) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await juliet.asks(.set, create(tune, ["pubsub#max_items": "max"]))
            let retract = pubsub("<retract node='\(tune)'><item id='x'/></retract>")
            let account = try #require(juliet.resource?.account)
            let module = try #require(account.host.service((any PersonalEventing).self) as? PubSub)
            let node = try #require(module.service(of: account)?.node(tune))
            // Somebody takes a long turn.
            let (gate, opener) = AsyncStream.makeStream(of: Void.self)
            let long = Task { @ServerActor in await node.turn { for await _ in gate {} } }
            await stage.settle()
            let stanzas = (1...50).map { "<iq type='set' id='\($0)'>\(retract)</iq>" }
            try await juliet.sends(stanzas.joined())
            await stage.settle()
            let early = juliet.takeInbox().compactMap { $0.child("error") }.map { StanzaError($0).condition }
            #expect(early == Array(repeating: .resourceConstraint, count: 40))
            opener.finish()
            await long.value
            let late = await juliet.everything().compactMap { $0.child("error") }.map { StanzaError($0).condition }
            #expect(late == Array(repeating: .itemNotFound, count: 10))
            try await juliet.asks(.set, publish("x", id: "x"))
            try await juliet.asks(.set, retract)
        }
    }

    @Test("There are limits to nodes and names")
    func limits() async throws {
        let config = "modules: { pubsub: { max_nodes: 10, max_name: 100 } }"
        try await play(modules: [PubSub.self], config: config) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            for number in 1...10 { try await juliet.asks(.set, publish("x", node: "node \(number)")) }
            #expect(try await juliet.isRefused(.set, publish("x", node: "one more")).condition == .resourceConstraint)
            #expect(try await juliet.isRefused(.set, create("one more")).condition == .resourceConstraint)
            try await juliet.asks(.set, publish("y", node: "node 3"))
            try await juliet.asks(.set, owner("<delete node='node 3'/>"))
            try await juliet.asks(.set, publish("x", node: String(repeating: "n", count: 100)))
            try await juliet.asks(.set, owner("<delete node='node 4'/>"))
            let long = String(repeating: "n", count: 10_000)
            #expect(try await juliet.isRefused(.set, create(long)).condition == .notAcceptable)
            #expect(try await juliet.isRefused(.get, items(long)).condition == .itemNotFound)
        }
    }
}
