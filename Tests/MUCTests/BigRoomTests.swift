import ServerKit
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("What concerns everybody in a big room is told in turns") struct BigRoomTests {
    private static let count = 120
    private static let usual = "presence_rate: unlimited, nick_rate: unlimited"

    private static func user(_ number: Int) -> String { "user\(number)@verona.example/x" }

    /// A room with its owner and many from elsewhere, and what each of these has seen.
    @ServerActor
    private final class Crowd {
        let stage: Stage
        let elsewhere: Elsewhere
        let owner: Actor
        private var views: [String: RoomView] = [:]

        init(_ stage: Stage, _ elsewhere: Elsewhere, _ fields: [String: String] = [:]) async throws {
            (self.stage, self.elsewhere) = (stage, elsewhere)
            owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.makesRoom(as: "firstwitch", fields)
            for number in 0..<BigRoomTests.count {
                views[BigRoomTests.user(number)] = RoomView()
                views[BigRoomTests.user(number)]?.enters()
                try await elsewhere.enters(as: "nick\(number)", from: BigRoomTests.user(number))
            }
            await owner.forgets()
            await look()
        }

        /// How many stanzas have arrived that nobody has looked at.
        var unseen: Int { elsewhere.inbox.count }

        func look() async {
            for stanza in await elsewhere.takes() {
                if let to = stanza["to"] { views[to]?.take(stanza) }
            }
        }

        /// Everybody who is here must see everybody else as it is.
        func differences(_ room: Room) -> [String] {
            var found: [String] = []
            for (client, view) in views {
                found += view.faults.map { "\(client): \($0)" }
                guard let jid = JID(client), let session = room.session(jid) else {
                    if view.isInside { found.append("\(client) believes to be inside") }
                    continue
                }
                let visible = room.occupants.filter { room.isVisible($0, to: session.occupant) }
                if Set(view.sights.keys) != Set(visible.map(\.nick)) {
                    let difference = Set(view.sights.keys).symmetricDifference(visible.map(\.nick))
                    found.append("\(client) sees too much or too little: \(difference)")
                }
                for occupant in visible {
                    guard let sight = view.sights[occupant.nick] else { continue }
                    let isRight =
                        sight.role == occupant.role.rawValue && sight.affiliation == occupant.affiliation.rawValue
                    if !isRight { found.append("\(client) sees \(occupant.nick) as \(sight)") }
                    if room.seesJIDs(session.occupant), sight.jid == nil {
                        found.append("\(client) does not see who \(occupant.nick) is")
                    }
                }
            }
            return found
        }
    }

    private static func play(
        _ fields: [String: String] = [:], _ options: String = "",
        _ body: @escaping @ServerActor @Sendable (Crowd, Room) async throws -> Void
    ) async throws {
        try await playWithOthers(usual + options) { stage, elsewhere in
            let crowd = try await Crowd(stage, elsewhere, fields)
            try await body(crowd, try stage.room())
        }
    }

    @Test(
        "A request that tells everybody of everybody does so in turns; what happens meanwhile comes after it, in order")
    func moderated() async throws {
        try await Self.play { crowd, room in
            try await crowd.owner.sets(["muc#roomconfig_moderatedroom": "1"])
            let most = Outbox.turnSize + Self.count + 1
            #expect(crowd.unseen > 1_000 && crowd.unseen <= most)
            #expect(!room.outbox.isEmpty)
            // The room itself is what it is to be.
            #expect(room.occupants.allSatisfy { $0.role == ($0.nick == "firstwitch" ? .moderator : .visitor) })
            try await crowd.elsewhere.sends("<presence type='unavailable' from='\(Self.user(7))' to='\(coven)/nick7'/>")
            try await crowd.elsewhere.sends("<presence from='\(Self.user(8))' to='\(coven)/nick7'/>")
            try await crowd.elsewhere.enters(as: "nick8", from: "other@verona.example/x")
            for (nick, role) in [("nick9", Role.participant), ("nick10", .none)] {
                room.setRole(role, of: try #require(room.occupant(nick: nick)))
            }
            #expect(!room.outbox.isEmpty)
            await crowd.stage.advance(by: .seconds(1))
            await crowd.look()
            #expect(room.outbox.isEmpty)
            #expect(crowd.differences(room) == [])
            try await crowd.owner.sets(["muc#roomconfig_moderatedroom": "0"])
            await crowd.stage.advance(by: .seconds(1))
            await crowd.look()
            #expect(crowd.differences(room) == [])
        }
    }

    @Test("Those who are not shown any more disappear, and come back")
    func presenceBroadcast() async throws {
        try await Self.play { crowd, room in
            for values in [["moderator"], ["moderator", "participant", "visitor"]] {
                try await crowd.owner.submits([("muc#roomconfig_presencebroadcast", values)])
                #expect(crowd.unseen <= Outbox.turnSize + Self.count + 1)
                await crowd.stage.advance(by: .seconds(1))
                await crowd.look()
                #expect(crowd.differences(room) == [])
            }
        }
    }

    @Test(
        "A whole domain becomes members, admins, and is banned",
        arguments: [[:], ["muc#roomconfig_moderatedroom": "1"]])
    func domain(fields: [String: String]) async throws {
        try await Self.play(fields) { crowd, room in
            for affiliation in ["member", "admin", "none", "outcast"] {
                try await crowd.owner.administers("<item jid='verona.example' affiliation='\(affiliation)'/>")
                #expect(crowd.unseen <= Outbox.turnSize + Self.count + 1, "\(affiliation)")
                await crowd.stage.advance(by: .seconds(1))
                await crowd.look()
                #expect(crowd.differences(room) == [], "\(affiliation)")
            }
            #expect(room.occupants.map(\.nick) == ["firstwitch"])
            #expect(await crowd.owner.everything().filter { $0.hasStatus(301) }.count == Self.count)
        }
    }

    @Test("A hat that everybody wears gets another title")
    func hat() async throws {
        try await Self.play { crowd, room in
            let put: @ServerActor (String) throws -> Void = { title in
                let hat = try Hat(uri: "urn:x:hat", title: title, hue: nil)
                try room.changeHats { rack throws(StanzaError) in
                    rack.put(hat)
                    for occupant in room.occupants { _ = rack.give(hat.uri, to: occupant.bareJID) }
                }
            }
            for title in ["Witch", "Hag"] {
                try put(title)
                #expect(crowd.unseen <= Outbox.turnSize + Self.count + 1)
                await crowd.stage.advance(by: .seconds(1))
                let last = await crowd.elsewhere.takes().last { $0.name == "presence" }
                #expect(last?.child("hats", .hats)?.firstChild?["title"] == title)
            }
        }
    }

    @Test("Changes come at most at a rate, and each account has its own")
    func rate() async throws {
        try await playCoven("admin_rate: 4 per minute", ["muc#roomconfig_persistentroom": "1"]) { scene in
            // To open the room was the first.
            for name in ["a", "b"] { try await scene.first.sets(["muc#roomconfig_roomname": name]) }
            try await scene.first.administers("<item jid='hag66@capulet.example' affiliation='owner'/>")
            let error = try await scene.first.configuresInVain([("muc#roomconfig_roomname", ["c"])])
            #expect(error.condition == .policyViolation && error.kind == .wait)
            let denied = try await scene.first.isDenied("<item nick='secondwitch' role='visitor'/>")
            #expect(denied.condition == .policyViolation)
            try await scene.third.sets(["muc#roomconfig_roomname": "c"])
            // Nor while very much is being told.
            let outbox = try scene.stage.room().outbox
            for size in [Outbox.turnSize, 20 * Outbox.turnSize + 1] { outbox.send(size: size) {} }
            let busy = try await scene.third.configuresInVain([("muc#roomconfig_roomname", ["d"])])
            #expect(busy.condition == .resourceConstraint && busy.kind == .wait)
            await scene.stage.advance(by: .minutes(1))
            try await scene.first.sets(["muc#roomconfig_roomname": "d"])
        }
    }
}
