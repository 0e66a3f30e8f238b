import ServerKit
import TestKit
import Testing

@testable import Modules
@testable import PubSub

@Suite("Reading items (XEP-0060 §6.5)") struct RetrievalTests {
    @ServerActor
    private static func filled(_ stage: Stage, _ count: Int) async throws -> Actor {
        let juliet = try await stage.enter("juliet@capulet.example/balcony")
        try await juliet.asks(.set, create(tune, ["pubsub#max_items": "max", "pubsub#access_model": "open"]))
        for number in 1...count { try await juliet.asks(.set, publish("\(number)", id: "\(number)")) }
        return juliet
    }

    @Test("All, some, the newest, and none that are not there")
    func plain() async throws {
        try await play(modules: [PubSub.self]) { stage in
            let juliet = try await Self.filled(stage, 4)
            let cases: [(String, [String])] = [
                (items(), ["1", "2", "3", "4"]), (items(tune, "max_items='2'"), ["3", "4"]),
                (items(tune, "max_items='20'"), ["1", "2", "3", "4"]),
                (items(tune, "", "<item id='3'/><item id='nope'/><item id='1'/><item id='3'/>"), ["3", "1"]),
                (items(tune, "", "<item id='nope'/>"), []),
            ]
            for (request, expected) in cases {
                let answer = try #require(try await juliet.asks(.get, request))
                #expect(answer.itemIDs == expected)
                #expect(!answer.has("set", .rsm))
            }
            for bad in ["max_items='0'", "max_items='-1'", "max_items='x'", "max_items='99999999999999999999'"] {
                #expect(try await juliet.isRefused(.get, items(tune, bad)).condition == .badRequest)
            }
            #expect(try await juliet.isRefused(.get, items(tune, "", "<item/>")).condition == .badRequest)
            #expect(try await juliet.isRefused(.get, items("nope")).isError(.itemNotFound, nil, .cancel))
            #expect(try await juliet.isRefused(.get, pubsub("<items/>")).isError(.badRequest, "nodeid-required"))
            try await juliet.asks(.set, create("empty"))
            #expect(try #require(try await juliet.asks(.get, items("empty"))).itemIDs == [])
        }
    }

    @Test("Page by page in both directions (XEP-0059)")
    func pages() async throws {
        try await play(modules: [PubSub.self]) { stage in
            let juliet = try await Self.filled(stage, 25)
            var ids: [String] = []
            var position = ""
            while true {
                let answer = try #require(try await juliet.asks(.get, items(rsm: "<max>10</max>\(position)")))
                let response = try ResultSetResponse(try #require(answer.child("set", .rsm)))
                #expect(response.count == 25)
                guard let last = response.last else { break }
                #expect(response.index == ids.count && response.first == answer.itemIDs.first)
                ids += answer.itemIDs
                position = "<after>\(last)</after>"
            }
            #expect(ids == (1...25).map(String.init))
            let last = try #require(try await juliet.asks(.get, items(rsm: "<max>3</max><before/>")))
            #expect(last.itemIDs == ["23", "24", "25"])
            let before = try #require(try await juliet.asks(.get, items(rsm: "<max>3</max><before>23</before>")))
            #expect(before.itemIDs == ["20", "21", "22"])
            #expect(before.child("set", .rsm)?.child("first")?["index"] == "19")
            let start = try #require(try await juliet.asks(.get, items(rsm: "<max>50</max><before>3</before>")))
            #expect(start.itemIDs == ["1", "2"])
            let count = try #require(try await juliet.asks(.get, items(rsm: "<max>0</max>")))
            #expect(count.itemIDs == [] && count.child("set", .rsm)?.text(of: "count") == "25")
        }
    }

    @Test(
        "Nonsense about pages is refused",
        arguments: [
            ("<max>-1</max>", StanzaError.Condition.badRequest), ("<max>x</max>", .badRequest), ("<max/>", .badRequest),
            ("<max>99999999999</max>", .badRequest), ("<after>nope</after>", .itemNotFound),
            ("<before>nope</before>", .itemNotFound), ("<after>1</after><before>2</before>", .badRequest),
            ("<index>1</index>", .featureNotImplemented), ("<index>-1</index>", .badRequest),
        ])
    func nonsense(rsm: String, condition: StanzaError.Condition) async throws {
        try await play(modules: [PubSub.self]) { stage in
            let juliet = try await Self.filled(stage, 3)
            #expect(try await juliet.isRefused(.get, items(rsm: rsm)).condition == condition)
            // An item of another node is no border of a page.
            try await juliet.asks(.set, publish("x", id: "elsewhere", node: "other"))
            let error = try await juliet.isRefused(.get, items(rsm: "<after>elsewhere</after>"))
            #expect(error.condition == .itemNotFound)
        }
    }

    @Test("An answer that would be too long ends early and says so")
    func cut() async throws {
        let config = "modules: { pubsub: { page_size: 10, max_page_size: 64 KiB } }"
        try await play(modules: [PubSub.self], config: config) { stage in
            let juliet = try await Self.filled(stage, 25)
            let first = try #require(try await juliet.asks(.get, items()))
            #expect(first.itemIDs == (1...10).map(String.init))
            #expect(first.child("set", .rsm)?.text(of: "last") == "10")
            let newest = try #require(try await juliet.asks(.get, items(tune, "max_items='20'")))
            #expect(newest.itemIDs == (16...25).map(String.init))
            #expect(newest.child("set", .rsm)?.text(of: "first") == "16")
            let large = String(repeating: "x", count: 30_000)
            for id in ["a", "b", "c", "d", "e"] {
                try await juliet.asks(.set, publish(large, id: id, node: "large", options: ["pubsub#max_items": "max"]))
            }
            let cut = try #require(try await juliet.asks(.get, items("large")))
            #expect(cut.itemIDs == ["a", "b", "c"])
            #expect(cut.child("set", .rsm)?.text(of: "count") == "5")
            let ids = (1...11).map { "<item id='\($0)'/>" }.joined()
            #expect(try await juliet.isRefused(.get, items(tune, "", ids)).condition == .policyViolation)
        }
    }

    @Test("Strangers read open nodes, of users who are offline, too, and no others")
    func strangers() async throws {
        try await play(modules: eventing) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let devices = "eu.siacs.conversations.axolotl.devicelist"
            try await juliet.asks(.set, publish("devices", id: "current", node: devices))
            try await juliet.asks(.set, publish("presence", node: "presence"))
            for model in ["whitelist", "roster", "authorize"] {
                try await juliet.asks(.set, publish(model, node: model, options: ["pubsub#access_model": model]))
            }
            await juliet.leaves()
            await stage.advance(by: .seconds(700))
            #expect(stage.server.host("capulet.example")?.accounts.loadedAccount("juliet") == nil)
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let to = "juliet@capulet.example"
            #expect(try #require(try await romeo.asks(.get, items(devices), to: to)).titles == ["devices"])
            let cases: [(String, StanzaError.Condition, String?)] = [
                ("presence", .notAuthorized, "presence-subscription-required"),
                ("roster", .notAuthorized, "not-in-roster-group"), ("whitelist", .notAllowed, "closed-node"),
                ("authorize", .notAuthorized, "not-subscribed"), ("nope", .itemNotFound, nil),
            ]
            for (node, condition, detail) in cases {
                #expect(try await romeo.isRefused(.get, items(node), to: to).isError(condition, detail))
            }
            #expect(
                try await romeo.isRefused(.get, items(devices), to: "nobody@capulet.example").condition
                    == .serviceUnavailable)
        }
    }

    @Test("Strangers change nothing")
    func hostile() async throws {
        try await play(modules: [PubSub.self]) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await juliet.asks(.set, publish("mine", id: "1", options: ["pubsub#access_model": "open"]))
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let to = "juliet@capulet.example"
            let change = form("node_config", ["pubsub#access_model": "whitelist"])
            let requests = [
                publish("his", id: "1"), publish("his", node: "new"), pubsub("<create node='new'/>"),
                pubsub("<create/>"), pubsub("<retract node='\(tune)'><item id='1'/></retract>"),
                pubsub("<retract node='\(tune)'><item id='nope'/></retract>"),
                owner("<configure node='\(tune)'>\(change)</configure>"), owner("<delete node='\(tune)'/>"),
                owner("<purge node='\(tune)'/>"),
                owner(
                    "<affiliations node='\(tune)'><affiliation jid='romeo@montague.example' affiliation='owner'/></affiliations>"
                ),
                owner(
                    "<subscriptions node='\(tune)'><subscription jid='x@y.example' subscription='subscribed'/></subscriptions>"
                ),
            ]
            for request in requests {
                let error = try await romeo.isRefused(.set, request, to: to)
                #expect(error.condition == .forbidden, "\(request)")
            }
            for request in [
                owner("<configure node='\(tune)'/>"), owner("<affiliations node='\(tune)'/>"),
                owner("<subscriptions node='\(tune)'/>"), owner("<default/>"),
            ] {
                #expect(try await romeo.isRefused(.get, request, to: to).condition == .forbidden)
            }
            #expect(try #require(try await romeo.asks(.get, items(), to: to)).titles == ["mine"])
            let service = try #require(stage.server.host("capulet.example")?.service((any PersonalEventing).self))
            #expect(service.nodes(of: try #require(juliet.resource?.account)) == [tune])
        }
    }
}
