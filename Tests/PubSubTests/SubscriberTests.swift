import ServerKit
import TestKit
import Testing

@testable import Modules
@testable import PubSub

@Suite("Subscribing (XEP-0060 §6)") struct SubscriberTests {
    private static let juliet = "juliet@capulet.example"

    private static func subscribe(_ jid: String = "romeo@montague.example", node: String = tune) -> String {
        pubsub("<subscribe node='\(node)' jid='\(jid)'/>")
    }

    private static func unsubscribe(_ jid: String = "romeo@montague.example", node: String = tune) -> String {
        pubsub("<unsubscribe node='\(node)' jid='\(jid)'/>")
    }

    @Test("A subscriber gets the last item, what is published, and after unsubscribing nothing")
    func subscribing() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await juliet.asks(.set, publish("first", id: "1", options: ["pubsub#access_model": "open"]))
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let answer = try #require(try await romeo.asks(.set, Self.subscribe(), to: Self.juliet))
            #expect(
                answer.matches(
                    try Element.parse(
                        pubsub("<subscription node='\(tune)' jid='romeo@montague.example' subscription='subscribed'/>"))
                ))
            // XEP-0060 §6.1.7.
            let last = try await romeo.receives(
                """
                <message from='juliet@capulet.example' to='romeo@montague.example' type='headline'>
                \(event("<items node='\(tune)'><item id='1'>\(song("first"))</item></items>"))
                <delay xmlns='urn:xmpp:delay' from='juliet@capulet.example'/></message>
                """)
            #expect(last["id"] != nil)
            try await juliet.asks(.set, publish("second", id: "2"))
            let next = try await romeo.receives(
                "<message>\(event("<items node='\(tune)'><item id='2'>\(song("second"))</item></items>"))</message>")
            #expect(!next.has("delay", .delay) && !next.has("addresses", .addresses))
            // Again is no error, and tells how things stand (§6.1.6).
            try await romeo.asks(.set, Self.subscribe(), to: Self.juliet)
            let ended = try #require(try await romeo.asks(.set, Self.unsubscribe(), to: Self.juliet))
            #expect(ended.child("subscription")?["subscription"] == "none")
            try await juliet.asks(.set, publish("third", id: "3"))
            try await stage.staysSilent()
        }
    }

    @Test("Subscriptions survive a restart, and go with the node")
    func restart() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await juliet.asks(.set, create(tune, ["pubsub#access_model": "open"]))
            var romeo = try await stage.enter("romeo@montague.example/phone")
            try await romeo.asks(.set, Self.subscribe(), to: Self.juliet)
            try await romeo.asks(.set, Self.subscribe("romeo@montague.example/phone"), to: Self.juliet)
            try await stage.restart()
            romeo = try await stage.enter("romeo@montague.example/phone")
            let list = try #require(try await romeo.asks(.get, pubsub("<subscriptions/>"), to: Self.juliet))
            #expect(list.child("subscriptions")?.children.count == 2)
            let again = try await stage.enter("juliet@capulet.example/balcony")
            try await again.asks(.set, owner("<delete node='\(tune)'/>"))
            #expect(await romeo.events().filter { $0.child("delete")?["node"] == tune }.count == 2)
            try await again.asks(.set, create(tune, ["pubsub#access_model": "open"]))
            let empty = try #require(try await romeo.asks(.get, pubsub("<subscriptions/>"), to: Self.juliet))
            #expect(empty.child("subscriptions")?.hasChildren == false)
        }
    }

    @Test("Requests that cannot be are refused (§6.1.3, §6.2.3)")
    func refused() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            for model in AccessModel.allCases {
                try await juliet.asks(.set, create(model.rawValue, ["pubsub#access_model": model.rawValue]))
            }
            try await juliet.asks(.set, create("closed", ["pubsub#access_model": "open", "pubsub#subscribe": "0"]))
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let cases: [(String, StanzaError.Condition, String?)] = [
                (Self.subscribe("tybalt@capulet.example", node: "open"), .badRequest, "invalid-jid"),
                (Self.subscribe("@", node: "open"), .badRequest, "invalid-jid"),
                (pubsub("<subscribe node='open'/>"), .badRequest, "jid-required"),
                (pubsub("<subscribe jid='romeo@montague.example'/>"), .badRequest, "nodeid-required"),
                (Self.subscribe(node: "presence"), .notAuthorized, "presence-subscription-required"),
                (Self.subscribe(node: "roster"), .notAuthorized, "not-in-roster-group"),
                (Self.subscribe(node: "whitelist"), .notAllowed, "closed-node"),
                (Self.subscribe(node: "nope"), .itemNotFound, nil),
                (Self.subscribe(node: "closed"), .featureNotImplemented, "unsupported"),
                (Self.unsubscribe(node: "open"), .unexpectedRequest, "not-subscribed"),
                (Self.unsubscribe("tybalt@capulet.example", node: "open"), .forbidden, nil),
                (Self.unsubscribe(node: "nope"), .itemNotFound, nil),
            ]
            for (request, condition, detail) in cases {
                let error = try await romeo.isRefused(.set, request, to: Self.juliet)
                #expect(error.isError(condition, detail), "\(request): \(error)")
            }
            let outcast = "<affiliation jid='romeo@montague.example' affiliation='outcast'/>"
            try await juliet.asks(.set, owner("<affiliations node='open'>\(outcast)</affiliations>"))
            #expect(try await romeo.isRefused(.set, Self.subscribe(node: "open"), to: Self.juliet).isError(.forbidden))
            #expect(try await romeo.isRefused(.get, items("open"), to: Self.juliet).isError(.forbidden))
            // A JID that normalises to the sender's is the sender's.
            try await romeo.asks(.set, Self.subscribe("ROMEO@Montague.example", node: "authorize"), to: Self.juliet)
        }
    }

    @Test("Owners approve of subscribers, or not (§8.6)")
    func approval() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await juliet.asks(.set, publish("x", id: "1", options: ["pubsub#access_model": "authorize"]))
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let answer = try #require(try await romeo.asks(.set, Self.subscribe(), to: Self.juliet))
            #expect(answer.child("subscription")?["subscription"] == "pending")
            let request = try await juliet.receives(
                """
                <message from='juliet@capulet.example' to='juliet@capulet.example'>
                <x xmlns='jabber:x:data' type='form'/></message>
                """)
            #expect(request.field("node") == tune && request.field("subscriber_jid") == "romeo@montague.example")
            #expect(request.field("allow") == "0")
            let again = try await romeo.isRefused(.set, Self.subscribe(), to: Self.juliet)
            #expect(again.isError(.notAuthorized, "pending-subscription"))
            #expect(try await romeo.isRefused(.get, items(), to: Self.juliet).isError(.notAuthorized, "not-subscribed"))
            try await juliet.asks(.set, publish("y", id: "2"))
            try await stage.staysSilent()
            func decide(_ allow: String, _ kind: String = "submit", by actor: Actor) async throws {
                let fields = [
                    "pubsub#node": tune, "pubsub#subscriber_jid": "romeo@montague.example", "pubsub#allow": allow,
                ]
                let answer = form("subscribe_authorization", fields).replacing("type='submit'", with: "type='\(kind)'")
                try await actor.sends(
                    "<message to='juliet@capulet.example' id='\(request["id"] ?? "")'>\(answer)</message>")
                await stage.settle()
            }
            // Nobody approves of themselves; who cancels has not decided; nonsense decides nothing.
            try await decide("1", by: romeo)
            try await decide("1", "cancel", by: juliet)
            try await decide("perhaps", by: juliet)
            _ = romeo.takeInbox()
            _ = juliet.takeInbox()
            #expect(try await romeo.isRefused(.get, items(), to: Self.juliet).condition == .notAuthorized)
            try await decide("true", by: juliet)
            try await romeo.receives(
                """
                <message from='juliet@capulet.example' to='romeo@montague.example'>
                \(event("<subscription node='\(tune)' jid='romeo@montague.example' subscription='subscribed'/>"))</message>
                """)
            try await romeo.receives("<message>\(event("<items node='\(tune)'><item id='2'/></items>"))</message>")
            #expect(try #require(try await romeo.asks(.get, items(), to: Self.juliet)).titles == ["y"])
            try await romeo.asks(.set, Self.unsubscribe(), to: Self.juliet)
            try await romeo.asks(.set, Self.subscribe(), to: Self.juliet)
            _ = await juliet.everything()
            try await decide("0", by: juliet)
            try await romeo.receives(
                "<message>\(event("<subscription node='\(tune)' subscription='none'/>"))</message>")
            let list = try #require(try await romeo.asks(.get, pubsub("<subscriptions/>"), to: Self.juliet))
            #expect(list.child("subscriptions")?.hasChildren == false)
            try await stage.staysSilent()
        }
    }

    @Test("A subscriber may pause delivery (§6.3)")
    func options() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await juliet.asks(.set, create(tune, ["pubsub#access_model": "open"]))
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let off = form("subscribe_options", ["pubsub#deliver": "0"])
            let both = pubsub("<subscribe node='\(tune)' jid='romeo@montague.example'/><options>\(off)</options>")
            let answer = try #require(try await romeo.asks(.set, both, to: Self.juliet))
            #expect(answer.child("options")?.field("deliver") == "0")
            try await juliet.asks(.set, publish("1"))
            try await stage.staysSilent()
            func options(_ content: String, _ jid: String = "romeo@montague.example") -> String {
                pubsub("<options node='\(tune)' jid='\(jid)'>\(content)</options>")
            }
            #expect(try await romeo.asks(.get, options(""), to: Self.juliet)?.field("deliver") == "0")
            let on = form("subscribe_options", ["pubsub#deliver": "true"])
            #expect(try await romeo.asks(.set, options(on), to: Self.juliet) == nil)
            try await juliet.asks(.set, publish("2"))
            #expect(await romeo.events().count == 1)
            for (field, value) in [("pubsub#deliver", "x"), ("pubsub#digest", "1"), ("pubsub#expire", "never")] {
                let bad = options(form("subscribe_options", [field: value]))
                #expect(try await romeo.isRefused(.set, bad, to: Self.juliet).isError(.badRequest, "invalid-options"))
            }
            #expect(
                try await romeo.isRefused(.get, options("", "juliet@capulet.example"), to: Self.juliet).isError(
                    .forbidden))
            let other = try await romeo.isRefused(.get, options("", "romeo@montague.example/phone"), to: Self.juliet)
            #expect(other.isError(.unexpectedRequest, "not-subscribed"))
            #expect(
                try await romeo.isRefused(.get, pubsub("<options node='\(tune)'/>"), to: Self.juliet).isError(
                    .badRequest, "jid-required"))
            let defaults = try #require(
                try await romeo.asks(.get, pubsub("<default node='\(tune)'/>"), to: Self.juliet))
            #expect(defaults.field("deliver") == "1")
        }
    }

    @Test("There is room for so many subscribers")
    func limit() async throws {
        try await play(
            modules: eventing,
            config:
                "modules: { pubsub: { max_subscribers: 3 } }"
        ) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await juliet.asks(.set, create(tune, ["pubsub#access_model": "open"]))
            let romeo = try await stage.enter("romeo@montague.example/phone")
            for resource in ["a", "b", "c"] {
                try await romeo.asks(.set, Self.subscribe("romeo@montague.example/\(resource)"), to: Self.juliet)
            }
            let error = try await romeo.isRefused(.set, Self.subscribe(), to: Self.juliet)
            #expect(error.isError(.policyViolation, "too-many-subscriptions", .wait))
            let members = (0..<4).map { "<affiliation jid='x\($0)@y.example' affiliation='member'/>" }.joined()
            let tooMany = owner("<affiliations node='\(tune)'>\(members)</affiliations>")
            #expect(try await juliet.isRefused(.set, tooMany).condition == .resourceConstraint)
        }
    }

    @Test("One who subscribes every resource leaves room for others")
    func hog() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await juliet.asks(.set, create(tune, ["pubsub#access_model": "open"]))
            let romeo = try await stage.enter("romeo@montague.example/phone")
            for number in 1...20 {
                try await romeo.asks(.set, Self.subscribe("romeo@montague.example/\(number)"), to: Self.juliet)
            }
            let error = try await romeo.isRefused(.set, Self.subscribe(), to: Self.juliet)
            #expect(error.isError(.policyViolation, "too-many-subscriptions", .wait))
            try await romeo.asks(.set, Self.subscribe("romeo@montague.example/1"), to: Self.juliet)
            let benvolio = try await stage.enter("benvolio@montague.example/x")
            try await benvolio.asks(.set, Self.subscribe("benvolio@montague.example"), to: Self.juliet)
        }
    }

    @Test("Affiliations are listed for those who have them (§5.7)")
    func affiliations() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await juliet.asks(.set, create("a"))
            try await juliet.asks(.set, create("b"))
            let publisher = "<affiliation jid='romeo@montague.example/phone' affiliation='publisher'/>"
            try await juliet.asks(.set, owner("<affiliations node='b'>\(publisher)</affiliations>"))
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let list = try #require(try await romeo.asks(.get, pubsub("<affiliations/>"), to: Self.juliet))
            #expect(list.child("affiliations")?.children.map { $0["node"] } == ["b"])
            #expect(list.child("affiliations")?.firstChild?["affiliation"] == "publisher")
            let own = try #require(try await juliet.asks(.get, pubsub("<affiliations/>")))
            #expect(own.child("affiliations")?.children.map { $0["affiliation"] } == ["owner", "owner"])
            let none = try #require(try await romeo.asks(.get, pubsub("<affiliations node='a'/>"), to: Self.juliet))
            #expect(none.child("affiliations")?.hasChildren == false)
            #expect(
                try await romeo.isRefused(.get, pubsub("<affiliations node='c'/>"), to: Self.juliet).condition
                    == .itemNotFound)
        }
    }
}
