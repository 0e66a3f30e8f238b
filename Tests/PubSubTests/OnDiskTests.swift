import Glibc
import ServerKit
import StorageSQLite
import TestKit
import Testing

@testable import Modules
@testable import PubSub

@Suite("Nodes on disk") struct OnDiskTests {
    /// Performs a play on a database of its own.
    private func playOnDisk(
        _ modules: [any Module.Type], _ body: @escaping @ServerActor @Sendable (Stage) async throws -> Void
    ) async throws {
        let path = "/tmp/martlet-pubsub-\(RandomToken.make()).sqlite"
        defer { for suffix in ["", "-wal", "-shm", "-lock", ".lock"] { unlink(path + suffix) } }
        let driver = try SQLiteStorageDriver(path: path)
        defer { driver.close() }
        try await play(modules: modules, driver: driver, body)
    }

    @Test("Limits, expiry, pages, retraction and removal")
    func life() async throws {
        try await playOnDisk([PubSub.self]) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await juliet.asks(.set, create("other", ["pubsub#max_items": "max"]))
            try await juliet.asks(.set, publish("other", id: "5", node: "other"))
            try await juliet.asks(.set, create(tune, ["pubsub#max_items": "30", "pubsub#item_expire": "1000"]))
            for number in 1...40 {
                try await juliet.asks(.set, publish("\(number)", id: "\(number)"))
                await stage.advance(by: .seconds(1))
            }
            var ids: [String] = []
            var position = ""
            while true {
                let answer = try #require(try await juliet.asks(.get, items(rsm: "<max>7</max>\(position)")))
                let response = try ResultSetResponse(try #require(answer.child("set", .rsm)))
                #expect(response.count == 30)
                guard let last = response.last else { break }
                #expect(response.index == ids.count)
                ids += answer.itemIDs
                position = "<after>\(last)</after>"
            }
            #expect(ids == (11...40).map(String.init))
            try await juliet.asks(.set, publish("20 again", id: "20"))
            try await juliet.asks(.set, pubsub("<retract node='\(tune)'><item id='30'/></retract>"))
            let before = try #require(try await juliet.asks(.get, items(rsm: "<max>3</max><before>20</before>")))
            #expect(before.itemIDs == ["38", "39", "40"])
            #expect(try await juliet.isRefused(.get, items(rsm: "<before>30</before>")).condition == .itemNotFound)
            await stage.advance(by: .seconds(980))
            let rest = try #require(try await juliet.asks(.get, items()))
            #expect(
                rest.itemIDs == ["21", "22", "23", "24", "25", "26", "27", "28", "29"]
                    + (31...40).map(String.init) + ["20"])
            try await stage.restart()
            let again = try await stage.enter("juliet@capulet.example/balcony")
            try await again.asks(.set, publish("41", id: "41"))
            #expect(try #require(try await again.asks(.get, items())).itemIDs.last == "41")
            try await again.asks(.set, owner("<delete node='\(tune)'/>"))
            #expect(try #require(try await again.asks(.get, items("other"))).titles == ["other"])
            let count = try await stage.server.storage.rawArchive("pubsub-items", on: "capulet.example")
                .count(of: "juliet")
            #expect(count == 1)
        }
    }

    @Test("Hundreds of nodes of many users, read by a stranger")
    func many() async throws {
        try await playOnDisk([PubSub.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            for user in 1...5 {
                let actor = try await stage.enter("user\(user)@capulet.example/x")
                for node in 1...40 {
                    let request = publish("\(user) \(node)", id: "current", node: "urn:xmpp:omemo:2:\(node)")
                    try await actor.asks(.set, request)
                }
                await actor.leaves()
            }
            await stage.advance(by: .seconds(700))
            for user in 1...5 {
                let to = "user\(user)@capulet.example"
                let answer = try #require(try await romeo.asks(.get, items("urn:xmpp:omemo:2:17"), to: to))
                #expect(answer.titles == ["\(user) 17"])
            }
        }
    }
}
