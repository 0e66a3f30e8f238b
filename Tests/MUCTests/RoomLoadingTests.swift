import NIOCore
import ServerKit
import StorageMemory
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("Rooms are loaded when they are needed") struct RoomLoadingTests {
    private static let fullDisk = StorageError(.full, "The disk is full.")

    /// Lets things happen that wait for no disk.
    @ServerActor private func turns() async {
        for _ in 0..<40 {
            await Task.yield()
            await SocketTurn.tasks()
        }
    }

    @Test("A room that nobody is in leaves the memory, and comes back with everything")
    func eviction() async throws {
        try await playRooms { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@capulet.example/pda")
            try await crone.makesRoom(as: "firstwitch")
            let first = try #require(stage.rooms?.loaded["coven"])
            first.change {
                $0.settings.isPersistent = true
                $0.settings.title = "A Dark Cave"
                $0.settings.isModerated = true
                $0.settings.historyLength = 3
            }
            first.setAffiliate(
                Affiliate(affiliation: .member, nick: "thirdwitch"), of: try #require(JID("hag66@capulet.example")))
            try await hag.enters(as: "thirdwitch")
            let id = try #require(first.occupant(nick: "thirdwitch")?.id)
            try await crone.sends("<message type='groupchat' to='\(coven)'><subject>Fire Burn</subject></message>")
            for number in 1...5 { try await hag.says("\(number)") }
            try await hag.sends("<presence type='unavailable' to='\(coven)/thirdwitch'/>")
            await stage.advance(by: .minutes(3))
            #expect(stage.rooms?.loaded["coven"] === first)
            try await crone.sends("<presence type='unavailable' to='\(coven)/firstwitch'/>")
            await stage.advance(by: .seconds(29))
            #expect(stage.rooms?.loaded["coven"] === first)
            await stage.advance(by: .minutes(2))
            #expect(stage.rooms?.loaded.isEmpty == true)
            await crone.forgets()
            await hag.forgets()

            let received = try await hag.enters(as: "thirdwitch")
            let second = try #require(stage.rooms?.loaded["coven"])
            #expect(second !== first && second.settings == first.settings && second.affiliates == first.affiliates)
            #expect(received.first?.item?["affiliation"] == "member" && received.first?.item?["role"] == "participant")
            #expect(received.first?.child("occupant-id", .occupantID)?["id"] == id)
            #expect(bodies(received) == ["3", "4", "5"])
            #expect(received.last?.text(of: "subject") == "Fire Burn")
            #expect(second.occupant(nick: "thirdwitch")?.id == id && !second.isLocked)
            let macbeth = try await stage.enter("macbeth@montague.example/castle")
            try await macbeth.sends(
                "<presence to='\(coven)/ThirdWitch'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
            try await macbeth.receives("<presence type='error'/>")
        }
    }

    @Test("What many want at the same time is loaded once, and each gets its turn")
    func concurrently() async throws {
        try await playRooms { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            try await crone.makesRoom(as: "firstwitch")
            stage.rooms?.loaded["coven"]?.change { $0.settings.isPersistent = true }
            try await crone.sends("<presence type='unavailable' to='\(coven)/firstwitch'/>")
            await stage.advance(by: .minutes(3))
            let rooms = try #require(stage.rooms)
            #expect(rooms.loaded.isEmpty)
            await crone.forgets()
            let tasks = (0..<5).map { _ in Task { @ServerActor in await rooms.room("coven") } }
            let nowhere = Task { @ServerActor in await rooms.room("nowhere") }
            try await crone.sends(
                """
                <presence to='\(coven)/firstwitch'><x xmlns='http://jabber.org/protocol/muc'/></presence>
                <message type='groupchat' to='\(coven)'><body>one</body></message>
                <message type='groupchat' to='\(coven)'><body>two</body></message>
                """)
            var found: [Room] = []
            for task in tasks { if let room = await task.value { found.append(room) } }
            #expect(found.count == 5 && found.allSatisfy { $0 === rooms.loaded["coven"] })
            #expect(await nowhere.value == nil)
            let received = await crone.everything()
            #expect(received.map(\.name) == ["presence", "message", "message", "message"])
            #expect(bodies(received) == ["one", "two"])
        }
    }

    @Test("A message that is lost on its way to the disk reaches nobody, and its sender is told")
    func lostMessage() async throws {
        let driver = MemoryStorageDriver()
        try await playRooms(driver: driver) { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@capulet.example/pda")
            try await crone.makesRoom(as: "firstwitch")
            try await hag.enters(as: "thirdwitch")
            await crone.forgets()
            driver.fail(with: Self.fullDisk)
            try await crone.says("lost", id: "1")
            try await crone.receives(
                """
                <message type='error' id='1' from='\(coven)'><error type='wait'>
                <internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
                """)
            // What need not be kept goes through.
            try await crone.sends(
                "<message type='groupchat' to='\(coven)'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>"
            )
            try await hag.receives(
                "<message type='groupchat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>")
            driver.fail(with: nil)
            try await crone.says("kept", id: "2")
            #expect(bodies(await hag.everything()) == ["kept"])
            let macbeth = try await stage.enter("macbeth@montague.example/castle")
            #expect(bodies(try await macbeth.enters(as: "macbeth")) == ["kept"])
        }
    }

    @Test("Nor does it reach who enters while it is on its way; everything stays in order")
    func lostHistory() async throws {
        let driver = MemoryStorageDriver()
        try await playRooms(driver: driver) { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@capulet.example/pda")
            let macbeth = try await stage.enter("macbeth@montague.example/castle")
            try await crone.makesRoom(as: "firstwitch")
            for isLost in [true, false] {
                driver.hold()
                try await crone.says(isLost ? "lost" : "kept")
                await turns()
                let newcomer = isLost ? hag : macbeth
                let nick = isLost ? "thirdwitch" : "macbeth"
                try await newcomer.sends(
                    "<presence to='\(coven)/\(nick)'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
                await turns()
                #expect(newcomer.takeInbox().isEmpty)
                if isLost { driver.fail(with: Self.fullDisk) }
                try await crone.sends("<message type='groupchat' to='\(coven)'><body>after</body></message>")
                await turns()
                driver.fail(with: nil)
                driver.release()
                let received = await newcomer.everything()
                #expect(bodies(received) == (isLost ? [] : ["kept", "after"]))
                #expect(received.last { $0.name == "presence" }?.hasStatus(110) == true)
            }
            #expect(bodies(await hag.everything()) == ["kept", "after"])
        }
    }

    @Test("While the disk fails people may enter and leave, and owners learn that nothing was changed")
    func failingDisk() async throws {
        let driver = MemoryStorageDriver()
        try await playRooms(driver: driver) { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@capulet.example/pda")
            try await crone.enters(as: "firstwitch")
            driver.fail(with: Self.fullDisk)
            let refusal = try await crone.isRefused(
                .set,
                "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>",
                to: coven)
            #expect(refusal.condition == .internalServerError)
            driver.fail(with: nil)
            try await crone.configures(coven, [:])
            driver.fail(with: Self.fullDisk)
            try await hag.enters(as: "thirdwitch")
            await crone.forgets()
            try await hag.sends("<presence type='unavailable' to='\(coven)/thirdwitch'/>")
            try await crone.receives("<presence type='unavailable' from='\(coven)/thirdwitch'/>")
            driver.fail(with: nil)
            try await hag.enters(as: "thirdwitch")
        }
    }

    @Test("A room that cannot be read stays as it is, and the others go on")
    func unreadable() async throws {
        try await playRooms { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            try await crone.makesRoom(as: "firstwitch")
            let bytes = Array("{\"settings\": 7}".utf8)
            let records = stage.server.storage.rawValues("rooms", on: conference)
            records.set(bytes, for: "heath")
            await stage.settle()
            for _ in 0..<2 {
                try await crone.sends(
                    """
                    <presence to='heath@\(conference)/firstwitch'><x xmlns='http://jabber.org/protocol/muc'/></presence>
                    """)
                try await crone.receives(
                    """
                    <presence type='error' from='heath@\(conference)/firstwitch'><error type='wait'>
                    <internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>
                    """)
            }
            #expect(await stage.rooms?.room("heath") == nil)
            let owner = try #require(JID("crone1@capulet.example"))
            #expect(await stage.rooms?.create("heath", settings: RoomSettings(), owner: owner) == nil)
            await stage.settle()
            #expect(try await records.value(for: "heath") == bytes)
            try await crone.says("still here")
            try await crone.receives("<message type='groupchat'><body>still here</body></message>")
        }
    }

    @Test("Nothing of a room that is gone comes to life in one with the same name")
    func leftovers() async throws {
        try await playRooms { stage in
            let stores = try #require(stage.rooms?.stores)
            stores.affiliates.set(Affiliate(affiliation: .owner), "macbeth@montague.example", of: "coven")
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            try await crone.makesRoom(as: "firstwitch")
            stage.rooms?.loaded["coven"]?.change { $0.settings.isPersistent = true }
            await stage.settle()
            #expect(try await stores.affiliates.entries(of: "coven").map(\.key) == ["crone1@capulet.example"])
            // One who is refused leaves nothing behind.
            let long = String(repeating: "x", count: 2_000)
            try await crone.sends(
                "<presence to='heath@\(conference)/\(long)'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
            try await crone.receives("<presence type='error'/>")
            await stage.settle()
            #expect(try await stores.affiliates.entries(of: "heath").isEmpty)
            #expect(stage.rooms?.loaded["heath"] == nil)
        }
    }

    @Test("Nobody is told of a room or a membership that is not on disk yet")
    func toldTooEarly() async throws {
        let driver = MemoryStorageDriver()
        try await playRooms(driver: driver) { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@capulet.example/pda")
            try await hag.makesRoom(as: "x")
            try await hag.sends("<presence type='unavailable' to='\(coven)/x'/>")
            await hag.forgets()
            driver.hold()
            try await crone.sends(
                "<presence to='\(coven)/firstwitch'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
            await turns()
            #expect(crone.takeInbox().isEmpty)
            driver.release()
            #expect(await crone.everything().first?.hasStatus(201) == true)
            try await crone.configures(coven, ["muc#roomconfig_membersonly": "1"])
            driver.hold()
            stage.rooms?.loaded["coven"]?.setAffiliation(.member, of: try #require(JID("hag66@capulet.example")))
            await turns()
            #expect(hag.takeInbox().isEmpty)
            driver.release()
            try await hag.receives(
                "<message from='\(coven)'><x xmlns='http://jabber.org/protocol/muc#user'/></message>")
            // A room that could not be stored is none.
            driver.fail(with: Self.fullDisk)
            try await crone.sends(
                "<presence to='heath@\(conference)/x'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
            let last = await crone.everything().last
            #expect(last?["type"] == "unavailable" && last?.child("x", .mucUser)?.has("destroy") == true)
            driver.fail(with: nil)
            #expect(stage.rooms?.loaded["heath"] == nil)
            try await hag.enters("heath@\(conference)", as: "x")
        }
    }
}
