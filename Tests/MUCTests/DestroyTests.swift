import ServerKit
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("Destroying a room (XEP-0045 §10.9)") struct DestroyTests {
    private static let destroy = """
        <query xmlns='http://jabber.org/protocol/muc#owner'><destroy jid='dark@\(conference)'>
        <password>cauldron</password><reason>Macbeth doth come.</reason></destroy></query>
        """

    @Test("Everybody is shown out once, with reason and another venue, and the room is gone, persistent or not")
    func destroyed() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            let second = try await stage.enter("wiccarocks@montague.example/laptop")
            let phone = try await stage.enter("wiccarocks@montague.example/phone")
            try await owner.makesRoom(as: "firstwitch", ["muc#roomconfig_persistentroom": "1"])
            try await second.enters(as: "secondwitch")
            try await phone.enters(as: "secondwitch")
            try await owner.says("Double, double")
            for actor in [owner, second, phone] { await actor.forgets() }
            try await owner.asks(.set, Self.destroy, to: coven)
            var ids: [String] = []
            for (actor, nick) in [(owner, "firstwitch"), (second, "secondwitch"), (phone, "secondwitch")] {
                let received = await actor.everything()
                ids += received.compactMap { $0.child("occupant-id", .occupantID)?["id"] }
                #expect(received.count == 1 && received[0].nick == nick && received[0]["type"] == "unavailable")
                let content = try #require(received.first?.child("x", .mucUser))
                #expect(content.child("item")?["affiliation"] == "none" && content.child("item")?["role"] == "none")
                let destroy = try #require(content.child("destroy"))
                #expect(destroy["jid"] == "dark@\(conference)")
                #expect(destroy.text(of: "password") == "cauldron")
                #expect(destroy.text(of: "reason") == "Macbeth doth come.")
            }
            // XEP-0421 §4.
            #expect(ids.count == 3 && ids[0] != ids[1] && ids[1] == ids[2])
            // The name is free for its owner, and nothing is left of what was said and decided.
            try await second.isKeptOut(as: "x", .gone)
            let received = try await owner.enters(as: "x")
            #expect(received.contains { $0.hasStatus(201) && $0.item?["affiliation"] == "owner" })
            #expect(!received.contains { $0.child("body") != nil })
            try await owner.submits()
            #expect(try await owner.discovers().hasFeature("muc_temporary"))
        }
    }

    @Test("It does not come back after a restart")
    func restart() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.makesRoom(as: "firstwitch", ["muc#roomconfig_persistentroom": "1"])
            try await owner.asks(.set, Self.destroy, to: coven)
            try await stage.restart()
            let other = try await stage.enter("wiccarocks@montague.example/laptop")
            let query = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
            #expect(try await other.isRefused(.get, query, to: coven).condition == .itemNotFound)
        }
    }

    @Test("Without a reason there is a destroy element all the same")
    func bare() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.makesRoom(as: "firstwitch")
            try await owner.asks(
                .set, "<query xmlns='http://jabber.org/protocol/muc#owner'><destroy/></query>", to: coven)
            let farewell = try await owner.receives("<presence type='unavailable'/>")
            let destroy = try #require(farewell.child("x", .mucUser)?.child("destroy"))
            #expect(destroy["jid"] == nil && destroy.children.isEmpty)
            // A second time there is nothing left.
            #expect(try await owner.isRefused(.set, Self.destroy, to: coven).condition == .itemNotFound)
        }
    }

    @Test("Only owners may, and the administrators of the service")
    func access() async throws {
        try await playRooms(admins: "hecate@capulet.example") { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            let admin = try await stage.enter("wiccarocks@montague.example/laptop")
            let stranger = try await stage.enter("hag66@capulet.example/pda")
            let hecate = try await stage.enter("hecate@capulet.example/moon")
            try await owner.makesRoom(as: "firstwitch")
            try await owner.submits([("muc#roomconfig_roomadmins", ["wiccarocks@montague.example"])])
            try await admin.enters(as: "secondwitch")
            for actor in [admin, stranger] {
                #expect(try await actor.isRefused(.set, Self.destroy, to: coven).condition == .forbidden)
            }
            await owner.forgets()
            try await hecate.asks(.set, Self.destroy, to: coven)
            try await owner.receives("<presence type='unavailable' from='\(coven)/firstwitch'/>")
        }
    }

    @Test("An alternate venue that is no address is refused, and nothing happens")
    func badVenue() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.makesRoom(as: "firstwitch")
            let payload = "<query xmlns='http://jabber.org/protocol/muc#owner'><destroy jid='a@b@c/'/></query>"
            #expect(try await owner.isRefused(.set, payload, to: coven).condition == .jidMalformed)
            #expect(try await owner.discovers().identities.count == 1)
        }
    }
}

@Suite("Commands for the administrators of rooms") struct RoomCommandTests {
    private static let modules: [any Module.Type] = roomModules + [Commands.self]

    private static func run(_ actor: Actor, _ node: String, _ fields: [String: String]) async throws -> Element {
        let first = try #require(
            try await actor.asks(
                .set, "<command xmlns='http://jabber.org/protocol/commands' node='\(node)'/>", to: conference))
        let session = try #require(first["sessionid"])
        let content = fields.map { "<field var='\($0.key)'><value>\($0.value)</value></field>" }.joined()
        return try #require(
            try await actor.asks(
                .set,
                """
                <command xmlns='http://jabber.org/protocol/commands' node='\(node)' sessionid='\(session)'>
                <x xmlns='jabber:x:data' type='submit'>\(content)</x></command>
                """, to: conference))
    }

    @Test("They list, make and destroy rooms")
    func commands() async throws {
        try await playRooms(admins: "hecate@capulet.example", modules: Self.modules) { stage in
            let hecate = try await stage.enter("hecate@capulet.example/moon")
            let witch = try await stage.enter("crone1@capulet.example/desktop")
            let fields = ["name": "Heath", "owner": "crone1@capulet.example", "title": "A Lonely Heath", "public": "0"]
            let made = try await Self.run(hecate, "muc#create-room", fields)
            #expect(made.text(of: "note")?.contains("heath@\(conference)") == true)
            let again = try await Self.run(hecate, "muc#create-room", fields)
            #expect(again.child("note")?["type"] == "error")
            let received = try await witch.enters("heath@\(conference)", as: "firstwitch")
            #expect(received.contains { $0.hasStatus(110) && $0.item?["affiliation"] == "owner" })

            let listed = try await Self.run(hecate, "muc#list-rooms", [:])
            let table = try #require(try DataForm.find(in: listed))
            let row = try #require(table.items.first)
            #expect(table.items.count == 1)
            #expect(row.first { $0.name == "room" }?.value == "heath@\(conference)")
            #expect(row.first { $0.name == "kind" }?.value == "hidden, persistent, open")
            #expect(row.first { $0.name == "occupants" }?.value == "1")

            let destroyed = try await Self.run(
                hecate, "muc#destroy-room", ["name": "heath@\(conference)", "reason": "Dawn"])
            #expect(destroyed.text(of: "note")?.contains("destroyed") == true)
            let farewell = try await witch.receives("<presence type='unavailable'/>")
            #expect(farewell.child("x", .mucUser)?.child("destroy")?.text(of: "reason") == "Dawn")
            let missing = try await Self.run(hecate, "muc#destroy-room", ["name": "heath"])
            #expect(missing.child("note")?["type"] == "error")
        }
    }

    @Test("Nonsense makes no room, and nobody else may")
    func hostile() async throws {
        try await playRooms(admins: "hecate@capulet.example", modules: Self.modules) { stage in
            let hecate = try await stage.enter("hecate@capulet.example/moon")
            let witch = try await stage.enter("crone1@capulet.example/desktop")
            for name in ["a@capulet.example", "a@\(conference)/b", "a b", "@", "\u{200b}"] {
                let result = try await Self.run(
                    hecate, "muc#create-room", ["name": name, "owner": "x@capulet.example"])
                #expect(result.child("note")?["type"] == "error", "\(name)")
            }
            for node in ["muc#list-rooms", "muc#create-room", "muc#destroy-room"] {
                let error = try await witch.isRefused(
                    .set, "<command xmlns='http://jabber.org/protocol/commands' node='\(node)'/>", to: conference)
                #expect(error.condition == .forbidden)
            }
        }
    }
}
