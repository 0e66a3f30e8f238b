import TestKit
import Testing

@testable import Modules
@testable import PubSub
@testable import ServerKit

@Suite("Personal eventing (XEP-0163)") struct EventingTests {
    @Test("Contacts and the own clients hear of what they want to hear of, and nobody else")
    func filtered() async throws {
        try await play(modules: eventing) { stage in
            let balcony = try await stage.enter("juliet@capulet.example/balcony", with: wanting(tune))
            let chamber = try await stage.enter("juliet@capulet.example/chamber", with: wanting("other"))
            let romeo = try await stage.enter("romeo@montague.example/orchard", with: wanting(tune))
            let deaf = try await stage.enter("romeo@montague.example/deaf")
            let benvolio = try await stage.enter("benvolio@montague.example/x", with: wanting(tune))
            try await stage.befriend(balcony, romeo)
            for actor in [chamber, deaf, benvolio] { _ = actor.takeInbox() }
            try await balcony.asks(.set, publish("Finzi", id: "1"))
            for (actor, to) in [(balcony, "juliet@capulet.example/balcony"), (romeo, "romeo@montague.example/orchard")]
            {
                try await actor.receives(
                    """
                    <message from='juliet@capulet.example' to='\(to)' type='headline'>
                    \(event("<items node='\(tune)'><item id='1'>\(song("Finzi"))</item></items>"))
                    <addresses xmlns='http://jabber.org/protocol/address'>
                    <address type='replyto' jid='juliet@capulet.example/balcony'/></addresses></message>
                    """)
            }
            try await stage.staysSilent()
        }
    }

    @Test("Who comes online gets the last item, once, also later when it becomes known what it wants")
    func lastItem() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await stage.befriend(juliet, romeo)
            try await juliet.asks(.set, publish("Finzi", id: "1"))
            try await juliet.asks(
                .set, publish("secret", node: "private", options: ["pubsub#access_model": "whitelist"]))
            try await juliet.asks(
                .set, publish("quiet", node: "quiet", options: ["pubsub#send_last_published_item": "on_sub"]))
            let phone = try await stage.enter("romeo@montague.example/phone", presence: false)
            try await phone.sends("<presence>\(wanting(tune, "private", "quiet"))</presence>")
            var events = await phone.everything().filter { $0.name == "message" }
            #expect(events.count == 1)
            #expect(events.first?.has("delay", .delay) == true && events.first?["to"] == "romeo@montague.example/phone")
            // Another presence is no arrival.
            try await phone.sends("<presence><show>away</show>\(wanting(tune, "private", "quiet"))</presence>")
            #expect(await phone.events().isEmpty)
            // It wants more from now on.
            try await romeo.sends("<presence>\(wanting(tune))</presence>")
            events = await romeo.everything().filter { $0.name == "message" }
            #expect(events.count == 1)
            // The owner's own clients get everything.
            let own = try await stage.enter("juliet@capulet.example/chamber", presence: false)
            try await own.sends("<presence>\(wanting(tune, "private", "quiet"))</presence>")
            let nodes = await own.events().compactMap { $0.child("items")?["node"] }
            #expect(Set(nodes) == [tune, "private"])
        }
    }

    @Test("Whoever may see the presence from now on gets the last items")
    func newContact() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await juliet.asks(.set, publish("Finzi", id: "1"))
            let romeo = try await stage.enter("romeo@montague.example/orchard", with: wanting(tune))
            // First she sees his presence, then he hers.
            try await juliet.sends("<presence to='romeo@montague.example' type='subscribe'/>")
            await stage.settle()
            try await romeo.sends("<presence to='juliet@capulet.example' type='subscribed'/>")
            await stage.settle()
            try await romeo.sends("<presence to='juliet@capulet.example' type='subscribe'/>")
            #expect(await romeo.events().isEmpty)
            try await juliet.sends("<presence to='romeo@montague.example' type='subscribed'/>")
            #expect(await romeo.events().map(\.titles) == [["Finzi"]])
            // And when he may no longer, he hears of nothing any more.
            try await juliet.sends("<presence to='romeo@montague.example' type='unsubscribed'/>")
            await stage.settle()
            try await juliet.asks(.set, publish("Britten", id: "2"))
            #expect(await romeo.events().isEmpty)
        }
    }

    @Test("Groups of the roster decide where the node is for them")
    func groups() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("romeo@montague.example/orchard", with: wanting(tune))
            try await stage.befriend(juliet, romeo)
            let options = ["pubsub#access_model": "roster", "pubsub#roster_groups_allowed": "Friends"]
            try await juliet.asks(.set, publish("1", id: "1", options: options))
            let to = "juliet@capulet.example"
            #expect(try await romeo.isRefused(.get, items(), to: to).isError(.notAuthorized, "not-in-roster-group"))
            #expect(await romeo.events().isEmpty)
            func move(_ group: String) async throws {
                try await juliet.asks(
                    .set,
                    """
                    <query xmlns='jabber:iq:roster'><item jid='romeo@montague.example'><group>\(group)</group></item></query>
                    """)
            }
            try await move("Friends")
            #expect(try #require(try await romeo.asks(.get, items(), to: to)).titles == ["1"])
            try await romeo.asks(.set, pubsub("<subscribe node='\(tune)' jid='romeo@montague.example/else'/>"), to: to)
            _ = await romeo.everything()
            try await juliet.asks(.set, publish("2", id: "2"))
            #expect(await romeo.events().map(\.titles) == [["2"]])
            try await move("Enemies")
            try await juliet.asks(.set, publish("3", id: "3"))
            // The subscription to another address went with the access.
            let list = try #require(try await romeo.asks(.get, pubsub("<subscriptions/>"), to: to))
            #expect(list.child("subscriptions")?.hasChildren == false)
            #expect(await romeo.events().flatMap(\.titles).isEmpty)
        }
    }

    @Test("Those who are blocked hear nothing")
    func blocked() async throws {
        try await play(modules: eventing + [Blocker.self]) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let tybalt = try await stage.enter("tybalt@capulet.example/x", with: wanting("x"))
            try await stage.befriend(juliet, tybalt)
            let to = "juliet@capulet.example"
            try await juliet.asks(.set, publish("1", id: "1", options: ["pubsub#access_model": "open"]))
            try await tybalt.asks(.set, pubsub("<subscribe node='\(tune)' jid='tybalt@capulet.example'/>"), to: to)
            try await tybalt.sends("<presence>\(wanting(tune))</presence>")
            try await juliet.asks(.set, publish("2", id: "2"))
            try await juliet.asks(.set, owner("<delete node='\(tune)'/>"))
            #expect(await tybalt.events().isEmpty)
        }
    }

    @Test("A stranger subscribes to an open node and gets what is published at the bare JID, or where it wants it")
    func explicit() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let to = "juliet@capulet.example"
            try await juliet.asks(.set, create(tune, ["pubsub#access_model": "open"]))
            let romeo = try await stage.enter("romeo@montague.example/orchard", with: wanting(tune))
            let phone = try await stage.enter("romeo@montague.example/phone")
            try await romeo.asks(.set, pubsub("<subscribe node='\(tune)' jid='romeo@montague.example'/>"), to: to)
            try await juliet.asks(.set, publish("1", id: "1"))
            for actor in [romeo, phone] {
                let message = try await actor.receives("<message to='romeo@montague.example'/>")
                #expect(!message.has("addresses", .addresses))
            }
            // As a contact he gets it where he wants it, once.
            try await stage.befriend(juliet, romeo)
            _ = await phone.everything()
            try await juliet.asks(.set, publish("2", id: "2"))
            try await romeo.receives("<message to='romeo@montague.example/orchard'/>")
            try await stage.staysSilent()
        }
    }

    @Test("The account says what it is and what there is; nodes describe themselves")
    func discovery() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await stage.befriend(juliet, romeo)
            let to = "juliet@capulet.example"
            func info(_ node: String? = nil) -> String {
                "<query xmlns='http://jabber.org/protocol/disco#info'\(node.map { " node='\($0)'" } ?? "")/>"
            }
            let own = try DiscoInfo(try #require(try await juliet.asks(.get, info())))
            #expect(own.identities.contains { $0.category == "pubsub" && $0.type == "pep" })
            for feature in [
                "publish", "publish-options", "auto-create", "persistent-items", "access-open", "access-presence",
                "access-roster", "access-whitelist", "access-authorize", "config-node-max", "multi-items", "rsm",
                "auto-subscribe", "filtered-notifications", "retrieve-items", "subscribe", "create-nodes",
                "delete-nodes", "config-node", "create-and-configure", "pubsub-on-a-jid", "last-published",
            ] {
                #expect(own.features.contains(.pubsub(feature: feature)), "\(feature)")
            }
            try await juliet.asks(.set, publish("x", id: "one", options: ["pubsub#title": "Songs"]))
            try await juliet.asks(.set, publish("x", node: "private", options: ["pubsub#access_model": "whitelist"]))
            func items(_ node: String? = nil) -> String { info(node).replacing("#info", with: "#items") }
            let seen = try #require(try await romeo.asks(.get, items(), to: to))
            #expect(seen.children.map { "\($0["node"] ?? "") \($0["name"] ?? "")" } == ["\(tune) Songs"])
            #expect(try #require(try await juliet.asks(.get, items())).children.count == 2)
            let node = try #require(try await romeo.asks(.get, info(tune), to: to))
            #expect(node.child("identity")?["type"] == "leaf" && node.child("identity")?["category"] == "pubsub")
            #expect(node.field("title") == "Songs" && node.field("owner") == "juliet@capulet.example")
            #expect(node.field("creator") == "juliet@capulet.example" && node.field("access_model") == "presence")
            #expect(node.field("creation_date") != nil && node.field("num_subscribers") == "0")
            let listed = try #require(try await romeo.asks(.get, items(tune), to: to))
            #expect(listed.firstChild?["name"] == "one" && listed.firstChild?["node"] == nil)
            for request in [info("private"), items("private"), info("nope"), items("nope")] {
                #expect(try await romeo.isRefused(.get, request, to: to).condition == .itemNotFound)
            }
        }
    }

    @Test("Switched off it leaves no trace, and comes back with what was published")
    func reload() async throws {
        let others = "disco: on, roster: on, presence: on, messages: on, caps: on"
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony", with: wanting(tune))
            let host = try #require(stage.server.host("capulet.example"))
            let before = (host.disco.info(of: .account), host.disco.info(of: .host))
            try await juliet.asks(.set, publish("x", id: "1"))
            _ = await juliet.everything()
            try stage.reload("modules: { pubsub: off, \(others) }\n")
            let without = host.disco.info(of: .account)
            #expect(!without.features.contains { $0.uri.hasPrefix("http://jabber.org/protocol/pubsub") })
            #expect(!(without.identities + host.disco.info(of: .host).identities).contains { $0.category == "pubsub" })
            #expect(host.service((any PersonalEventing).self) == nil)
            for request in [items(), publish("y")] {
                let kind: IQ.Kind = request == items() ? .get : .set
                #expect(try await juliet.isRefused(kind, request).condition == .serviceUnavailable)
            }
            let node = "<query xmlns='http://jabber.org/protocol/disco#info' node='\(tune)'/>"
            #expect(try await juliet.isRefused(.get, node).condition == .itemNotFound)
            try await juliet.sends("<presence><show>away</show>\(wanting(tune, "x"))</presence>")
            #expect(await juliet.events().isEmpty)
            try stage.reload("modules: { pubsub: on, \(others) }\n")
            #expect(host.disco.info(of: .account) == before.0 && host.disco.info(of: .host) == before.1)
            #expect(try #require(try await juliet.asks(.get, items())).titles == ["x"])
        }
    }

    @Test("An account that is removed leaves nothing")
    func accountRemoval() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await juliet.asks(.set, publish("x", id: "1", options: ["pubsub#access_model": "open"]))
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await romeo.asks(
                .set, pubsub("<subscribe node='\(tune)' jid='romeo@montague.example'/>"), to: "juliet@capulet.example")
            let host = try #require(stage.server.host("capulet.example"))
            try await host.accounts.remove("juliet")
            #expect(try await stage.driver.stores(of: "juliet", on: "capulet.example") == [])
            let again = try await stage.enter("juliet@capulet.example/balcony")
            #expect(try await again.isRefused(.get, items()).condition == .itemNotFound)
        }
    }
}

@Suite("Nodes for other modules") struct PersonalEventingTests {
    @Test("Modules read, publish, configure, retract and delete, and hear of everything")
    func service() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony", with: wanting(tune))
            let account = try #require(juliet.resource?.account)
            let host = account.host
            let service = try #require(host.service((any PersonalEventing).self))
            let log = Log(host)
            let payload = try Element.parse(song("a"))
            let options = NodeOptions(accessModel: .whitelist, maxItems: .max, sendLastItem: .never)
            #expect(try await service.publish(payload, id: "a", to: tune, of: account, options: options) == "a")
            #expect(service.options(of: tune, account: account)?.accessModel == .whitelist)
            #expect(service.options(of: tune, account: account)?.maxItems == .max)
            #expect(service.mayRead(tune, of: account, account.jid))
            #expect(!service.mayRead(tune, of: account, host.jid))
            try await service.publish(payload, id: "b", to: tune, of: account, options: NodeOptions(accessModel: .open))
            #expect(service.options(of: tune, account: account)?.accessModel == .whitelist)
            await #expect(throws: StanzaError.self) {
                try await service.publish(
                    payload, id: "c", to: tune, of: account, as: nil, options: NodeOptions(accessModel: .open),
                    mismatch: .refuse)
            }
            try await service.publish(
                payload, id: "c", to: tune, of: account, as: nil, options: NodeOptions(accessModel: .open),
                mismatch: .configure)
            #expect(service.options(of: tune, account: account)?.accessModel == .open)
            #expect(try await service.items(of: tune, account: account, limit: nil).map(\.id) == ["a", "b", "c"])
            #expect(try await service.items(of: tune, account: account, limit: 2).map(\.id) == ["b", "c"])
            #expect(try await service.latestItem(of: tune, account: account)?.id == "c")
            #expect(try await service.item("a", of: tune, account: account)?.payload?.xml == payload.xml)
            #expect(try await service.item("x", of: tune, account: account) == nil)
            #expect(await juliet.events().count == 3)
            try await service.retract("b", of: tune, account: account, notifies: true)
            try await service.retract("b", of: tune, account: account, notifies: true)
            #expect(await juliet.events().count == 1)
            try await juliet.asks(.set, publish("d", id: "d"))
            try await service.deleteNode(tune, of: account)
            #expect(service.nodes(of: account) == [])
            #expect(try await service.latestItem(of: tune, account: account) == nil)
            #expect(
                log.lines == [
                    "published a by juliet@capulet.example", "published b by juliet@capulet.example",
                    "configured", "published c by juliet@capulet.example", "retracted b",
                    "published d by juliet@capulet.example/balcony", "deleted",
                ])
        }
    }

    /// What the hooks tell.
    @ServerActor
    private final class Log {
        var lines: [String] = []

        init(_ host: Host) {
            let hooks = host.hooks
            _ = hooks.list(.nodeItemPublished).observe(rank: 0) {
                self.lines.append("published \($0.id) by \($0.publisher)")
            }
            _ = hooks.list(.nodeItemRetracted).observe(rank: 0) { self.lines.append("retracted \($0.id)") }
            _ = hooks.list(.nodeDeleted).observe(rank: 0) { _ in self.lines.append("deleted") }
            _ = hooks.list(.nodeConfigured).observe(rank: 0) { _ in self.lines.append("configured") }
        }
    }
}
