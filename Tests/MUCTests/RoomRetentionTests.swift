import ServerKit
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("Archives of rooms: for how long") struct RoomRetentionTests {
    /// Puts messages into a room's archive that came so long ago, in hours.
    @ServerActor
    private static func age(_ stage: Stage, _ room: String, _ hours: [Int]) throws {
        let jid = try #require(JID(room))
        let store = stage.server.storage.rawArchive("room-archive", on: jid.domainpart)
        for (index, hours) in hours.enumerated() {
            let time = stage.clock.date.advanced(by: .zero - .hours(hours)).microseconds
            let message = Message(from: JID("\(room)/a"), kind: .groupchat) { Element("body", text: "\(hours)") }
            let head = ArchivedRoomMessage.Head(sender: nil, isForHistory: true, isOpen: false)
            store.append(
                NewArchiveItem(
                    id: "\(index)", time: time, with: "a", value: ArchivedRoomMessage.encode(message, head)),
                to: jid.localpart ?? "")
        }
    }

    /// Without those that ask clients whether they are still there: the clock runs for hours.
    @ServerActor
    private static let modules = roomModules.filter { $0 != Ping.self }

    /// The stage opens at 15:06 UTC.
    @Test("Old messages go when it is quiet, those of rooms whose owners want it sooner")
    func retention() async throws {
        try await playRooms("retention: 5 days, cleanup_hour: 17", modules: Self.modules) { stage in
            let watch = RoomWatch(stage)
            let first = try await stage.enter("crone1@capulet.example/desktop")
            let heath = "heath@\(conference)"
            let cave = "cave@\(conference)"
            for room in [coven, heath, cave] { try await first.makesRoom(room, as: "firstwitch") }
            try watch.set(heath) { $0.retentionDays = 2 }
            // One that is not loaded.
            try watch.set(cave) {
                $0.retentionDays = 1
                $0.isPersistent = true
            }
            try await first.sends("<presence to='\(cave)/firstwitch' type='unavailable'/>")
            await first.forgets()
            let hours = Array(repeating: 300, count: 450) + [125, 72, 30, 1]
            for room in [coven, heath, cave] { try Self.age(stage, room, hours) }
            await stage.advance(by: .minutes(90))
            #expect(try await first.bodies(in: heath, Query.page("<max>4</max><before/>")) == ["125", "72", "30", "1"])
            await stage.advance(by: .minutes(60))
            #expect(try await first.bodies(in: coven) == ["72", "30", "1"])
            #expect(try await first.bodies(in: heath) == ["30", "1"])
            #expect(try await first.bodies(in: cave) == ["1"])
        }
    }

    @Test("What is gone from the archive is gone from the history, too")
    func history() async throws {
        try await playRooms("cleanup_hour: 17", modules: Self.modules) { stage in
            let watch = RoomWatch(stage)
            let first = try await stage.enter("crone1@capulet.example/desktop")
            try await first.makesRoom(as: "firstwitch")
            try watch.set {
                $0.retentionDays = 1
                $0.isPersistent = true
            }
            try await first.says("old")
            // It looks at the time for the first time.
            await stage.advance(by: .minutes(61))
            await first.forgets()
            try await stage.restart(after: .hours(24))
            let second = try await stage.enter("wiccarocks@montague.example/laptop")
            #expect(try await second.history(as: "secondwitch").count == 1)
            try await second.says("new")
            await stage.advance(by: .minutes(65))
            await second.forgets()
            let hag = try await stage.enter("hag66@capulet.example/pda")
            #expect(try await hag.history(as: "thirdwitch").map { $0.text(of: "body") } == ["new"])
            #expect(try await hag.bodies() == ["new"])
        }
    }
}
