import ServerKit
import StorageMemory
import TestKit
import Testing

@testable import MUC
@testable import Modules

/// Modules with which clients resume what they had before a restart.
private let resuming = roomModules + [SASL.self, Bind.self, StreamManagement.self]

private let sm = "xmlns='urn:xmpp:sm:3'"

extension Actor {
    /// Enables stream management; returns the id by which it resumes.
    func canResume() async throws -> String {
        try await sends("<enable \(sm) resume='true'/>")
        return try await receives("<enabled \(sm)/>")["id"] ?? ""
    }

    /// Everything it gets, stream management and the room's own questions aside.
    ///
    /// It acknowledges them, or its connection would be taken for broken.
    func news() async -> [Element] {
        let received = await everything()
        if let sent = resource?[ManagedSession.Key.self]?.queue.sent { try? await sends("<a \(sm) h='\(sent)'/>") }
        return received.filter { $0.namespace == .client && $0.name != "iq" }
    }
}

extension Stage {
    /// A client that resumes what it had before.
    func resumes(_ bareJID: String, _ id: String, h: Int) async throws -> Actor {
        let jid = try #require(JID(bareJID))
        let actor = try await connect(to: jid.domainpart)
        let header =
            "<?xml version='1.0'?><stream:stream to='\(jid.domainpart)' version='1.0' xmlns='jabber:client'"
            + " xmlns:stream='http://etherx.jabber.org/streams'>"
        try await actor.sends(header)
        await settle()
        actor.stream?.authenticate(try #require(jid.localpart))
        actor.restart()
        try await actor.sends(header)
        await settle()
        _ = await actor.everything()
        try await actor.sends("<resume \(sm) previd='\(id)' h='\(h)'/>")
        try await actor.receives("<resumed \(sm)/>")
        return actor
    }

    /// A room with two occupants, the first of which made it.
    fileprivate func fillRoom(_ fields: [String: String] = [:]) async throws -> (crone: Actor, hag: Actor) {
        let crone = try await enter("crone1@capulet.example/desktop")
        let hag = try await enter("hag66@capulet.example/pda")
        try await crone.makesRoom(as: "firstwitch", fields)
        try await hag.enters(as: "thirdwitch")
        await crone.forgets()
        return (crone, hag)
    }
}

@Suite("Rooms survive restarts") struct SurvivalTests {
    // MARK: Clean restarts

    @Test("Clients that resume are where they were, get what was said meanwhile, and nobody sees anything of it")
    func resumed() async throws {
        try await playRooms(modules: resuming) { stage in
            let (crone, hag) = try await stage.fillRoom()
            let croneID = try await crone.canResume()
            let hagID = try await hag.canResume()
            try await stage.restart()
            let again = try await stage.resumes("crone1@capulet.example", croneID, h: 0)
            try await again.says("Thrice the brinded cat hath mew'd.")
            #expect(bodies(await again.news()) == ["Thrice the brinded cat hath mew'd."])
            await stage.advance(by: .minutes(7))
            #expect(await again.news().isEmpty)
            let other = try await stage.resumes("hag66@capulet.example", hagID, h: 0)
            #expect(bodies(await other.news()) == ["Thrice the brinded cat hath mew'd."])
            try await other.sends("<presence to='\(coven)/thirdwitch' type='unavailable'/>")
            try await again.receivesAnywhere("<presence type='unavailable' from='\(coven)/thirdwitch'/>")
        }
    }

    @Test("One that resumes too late has left the room when its session ended")
    func notResumed() async throws {
        try await playRooms(modules: resuming) { stage in
            let (crone, hag) = try await stage.fillRoom()
            let croneID = try await crone.canResume()
            _ = try await hag.canResume()
            try await stage.restart()
            let again = try await stage.resumes("crone1@capulet.example", croneID, h: 0)
            await stage.advance(by: .minutes(9))
            #expect(await again.news().isEmpty)
            await stage.advance(by: .minutes(2))
            let gone = try await again.receivesAnywhere("<presence type='unavailable' from='\(coven)/thirdwitch'/>")
            #expect(!gone.hasStatus(333))
        }
    }

    @Test("A client without stream management keeps its place over a clean restart, too")
    func notResumable() async throws {
        try await playRooms(modules: resuming) { stage in
            let (crone, hag) = try await stage.fillRoom()
            let croneID = try await crone.canResume()
            #expect(hag.resource != nil)
            try await stage.restart()
            let again = try await stage.resumes("crone1@capulet.example", croneID, h: 0)
            try await again.says("one")
            await stage.advance(by: .seconds(30))
            #expect(bodies(await again.news()) == ["one"])
            let other = try await stage.enter("hag66@capulet.example/pda")
            await stage.advance(by: .seconds(40))
            let missed = await other.news()
            #expect(bodies(missed) == ["one"])
            #expect(missed.contains { $0.hasStatus(110) && $0.nick == "thirdwitch" })
            #expect(await again.news().isEmpty)
            // The room learns when it goes away, although it never entered.
            await other.leaves()
            try await again.receivesAnywhere("<presence type='unavailable' from='\(coven)/thirdwitch'/>")
        }
    }

    // MARK: Crashes

    @Test("After a crash a client that is back goes on without entering, and gets in order what it missed, once")
    func crash() async throws {
        try await playRooms { stage in
            let (_, hag) = try await stage.fillRoom()
            let wiccarocks = try await stage.enter("wiccarocks@montague.example/laptop")
            try await wiccarocks.enters(as: "secondwitch")
            try await hag.says("before")
            try await stage.crash(after: .seconds(3))
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            await stage.advance(by: .seconds(10))
            try await crone.says("one")
            try await crone.says("two")
            #expect(bodies(await crone.news()) == ["one", "two"])
            await stage.advance(by: .seconds(60))
            let hag2 = try await stage.enter("hag66@capulet.example/pda")
            try await crone.says("three")
            #expect(await hag2.news().isEmpty, "It may be about to enter.")
            await stage.advance(by: .seconds(30))
            let missed = await hag2.news()
            #expect(bodies(missed) == ["one", "two", "three"])
            #expect(missed.filter { $0.has("body", .client) }.allSatisfy { $0.has("delay", .delay) })
            let presences = missed.filter { $0.name == "presence" }
            #expect(presences.map(\.nick) == ["firstwitch", "secondwitch", "thirdwitch"])
            #expect(presences.last?.hasStatus(110) == true)
            try await crone.says("four")
            let four = await hag2.news()
            #expect(bodies(four) == ["four"] && four.first?.has("delay", .delay) == false)
            await crone.forgets()
            // Who did not come back has lost the connection.
            await stage.advance(by: .minutes(5))
            let gone = await hag2.news()
            #expect(gone.count == 1 && gone.first?.nick == "secondwitch" && gone.first?["type"] == "unavailable")
            #expect(gone.first?.statuses == [333])
            #expect(bodies(await crone.news()) == [])
        }
    }

    @Test("Who left while a client was away is not there any more for it")
    func departures() async throws {
        try await playRooms { stage in
            let (_, _) = try await stage.fillRoom()
            let wiccarocks = try await stage.enter("wiccarocks@montague.example/laptop")
            try await wiccarocks.enters(as: "secondwitch")
            try await stage.crash()
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            try await crone.enters(as: "firstwitch")
            let wicca2 = try await stage.enter("wiccarocks@montague.example/laptop")
            try await wicca2.enters(as: "secondwitch")
            try await wicca2.sends("<presence to='\(coven)/hecate'/>")
            try await wicca2.sends("<presence to='\(coven)/hecate' type='unavailable'/>")
            try await crone.sends("<presence to='\(coven)/graymalkin'/>")
            let hag = try await stage.enter("hag66@capulet.example/pda")
            await stage.advance(by: .seconds(40))
            let seen = await hag.news()
            #expect(
                Set(seen.filter { $0["type"] == "unavailable" }.compactMap(\.nick)) == [
                    "hecate", "secondwitch", "firstwitch",
                ])
            // As they were when they left (XEP-0045 §17.3, XEP-0421 §4).
            let owner = seen.first { $0.nick == "firstwitch" }
            #expect(owner?.item?["affiliation"] == "owner" && owner?.item?["role"] == "none")
            let ids = seen.filter { $0.name == "presence" }.map {
                ($0.nick, $0.child("occupant-id", .occupantID)?["id"])
            }
            #expect(ids.allSatisfy { $0.1 != nil })
            #expect(ids.first { $0.0 == "firstwitch" }?.1 == ids.first { $0.0 == "graymalkin" }?.1)
            #expect(seen.filter { $0["type"] == nil }.compactMap(\.nick) == ["graymalkin", "thirdwitch"])
        }
    }

    @Test("A client that enters again after a crash gets what everybody gets, and nothing twice")
    func reentering() async throws {
        try await playRooms { stage in
            let (_, _) = try await stage.fillRoom()
            try await stage.crash()
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            try await crone.enters(as: "firstwitch")
            try await crone.says("one")
            await crone.forgets()
            let hag = try await stage.enter("hag66@capulet.example/pda")
            await stage.advance(by: .seconds(10))
            let received = try await hag.enters(as: "thirdwitch")
            #expect(bodies(received) == ["one"])
            #expect(received.filter { $0.name == "presence" }.map(\.nick) == ["firstwitch", "thirdwitch"])
            await stage.advance(by: .minutes(6))
            try await stage.staysSilent()
            // Under another nick it has changed it.
            try await stage.crash()
            let hag2 = try await stage.enter("hag66@capulet.example/pda")
            let crone2 = try await stage.enter("crone1@capulet.example/desktop")
            try await crone2.enters(as: "firstwitch")
            try await hag2.enters(as: "hecate")
            let change = try await crone2.receivesAnywhere("<presence type='unavailable' from='\(coven)/thirdwitch'/>")
            #expect(change.hasStatus(303) && change.item?["nick"] == "hecate")
            try await crone2.receivesAnywhere("<presence from='\(coven)/hecate'/>")
            #expect(stage.rooms?.loaded["coven"]?.occupants.count == 2)
        }
    }

    @Test("A client that says something takes itself for an occupant, and learns what it missed before")
    func speaking() async throws {
        try await playRooms { stage in
            let (_, _) = try await stage.fillRoom()
            try await stage.crash()
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            try await crone.says("one")
            await crone.forgets()
            let hag = try await stage.enter("hag66@capulet.example/pda")
            try await hag.says("two")
            #expect(bodies(await hag.news()) == ["one", "two"])
            // To ask about the room is what clients do that are about to enter.
            try await stage.crash()
            let crone2 = try await stage.enter("crone1@capulet.example/desktop")
            try await crone2.says("three")
            let hag2 = try await stage.enter("hag66@capulet.example/pda")
            try await hag2.isRefused(.get, "<unknown xmlns='urn:x-unknown'/>", to: coven)
            #expect(await hag2.news().isEmpty)
            try await hag2.enters(as: "thirdwitch")
            await stage.advance(by: .seconds(60))
            #expect(await hag2.news().isEmpty)
        }
    }

    @Test("A temporary room to which nobody comes back goes away; a persistent one stays")
    func abandoned() async throws {
        try await playRooms { stage in
            let (crone, _) = try await stage.fillRoom()
            try await crone.makesRoom("heath@\(conference)", as: "firstwitch")
            guard let heath = stage.rooms?.loaded["heath"] else {
                throw StageError("no heath", file: #file, line: #line)
            }
            heath.change { $0.settings.isPersistent = true }
            await stage.settle()
            try await stage.crash()
            #expect(stage.rooms?.loaded.isEmpty == true)
            await stage.advance(by: .seconds(30))
            #expect(stage.rooms?.loaded["coven"]?.occupants.count == 2)
            await stage.advance(by: .minutes(6))
            let stores = try #require(stage.rooms?.stores)
            #expect(try await stores.rooms.value(for: "coven") == nil)
            #expect(try await stores.rooms.value(for: "heath") != nil)
            #expect(try await stores.sessions.ownerCount() == 0)
            await stage.advance(by: .minutes(3))
            #expect(stage.rooms?.loaded.isEmpty == true)
        }
    }

    @Test("A nick stays with one who may come back; then others may have it")
    func keptNick() async throws {
        try await playRooms { stage in
            let (_, _) = try await stage.fillRoom()
            try await stage.crash()
            let macbeth = try await stage.enter("macbeth@montague.example/castle")
            let entry = "<presence to='\(coven)/thirdwitch'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
            try await macbeth.sends(entry)
            try await macbeth.receives(
                """
                <presence type='error' from='\(coven)/thirdwitch'><error type='cancel'>
                <conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>
                """)
            // Another client of the same account may share it.
            let laptop = try await stage.enter("hag66@capulet.example/laptop")
            try await laptop.enters(as: "thirdwitch")
            await stage.advance(by: .minutes(6))
            #expect(stage.rooms?.loaded["coven"]?.sessions.map(\.jid.resourcepart) == ["laptop"])
            #expect(await laptop.news().filter { $0.nick == "thirdwitch" }.isEmpty)
            try await macbeth.enters(as: "firstwitch")
        }
    }

    @Test("Of two clients under one nick the same one shows its presence as before")
    func primary() async throws {
        try await playRooms { stage in
            let (_, hag) = try await stage.fillRoom()
            let zeta = try await stage.enter("hag66@capulet.example/zeta")
            try await zeta.enters(as: "thirdwitch", presence: "<status>zeta</status>")
            try await hag.sends("<presence to='\(coven)/thirdwitch'><status>pda</status></presence>")
            try await stage.crash()
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let received = try await crone.enters(as: "firstwitch")
            #expect(received.first { $0.nick == "thirdwitch" }?.text(of: "status") == "pda")
        }
    }

    @Test("Who lost its place or affiliation right before a crash does not have it after")
    func changedBeforeCrash() async throws {
        try await playRooms { stage in
            let (_, _) = try await stage.fillRoom()
            let wicca = try await stage.enter("wiccarocks@montague.example/laptop")
            let macbeth = try await stage.enter("macbeth@montague.example/castle")
            let room = try stage.room()
            for jid in ["wiccarocks@montague.example", "hag66@capulet.example"] {
                room.setAffiliation(.admin, of: try #require(JID(jid)))
            }
            try await wicca.enters(as: "secondwitch")
            try await macbeth.enters(as: "macbeth")
            // As when the server ends between the change and what comes of it.
            room.change { $0.settings.isMembersOnly = true }
            room.setAffiliate(Affiliate(affiliation: .member), of: try #require(JID("wiccarocks@montague.example")))
            await stage.settle()
            try await stage.crash()
            await stage.advance(by: .seconds(10))
            let restored = try stage.room().occupants
            #expect(Set(restored.map(\.nick)) == ["firstwitch", "secondwitch", "thirdwitch"])
            #expect(restored.first { $0.nick == "secondwitch" }?.role == .participant)
            #expect(restored.filter { $0.nick != "secondwitch" }.allSatisfy { $0.role == .moderator })
        }
    }

    // MARK: Rooms

    @Test("Only rooms with occupants are loaded after a start, some at a time; what cannot be read stops nobody")
    func loading() async throws {
        try await playRooms("max_rooms: 1000") { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            for number in 1...60 { try await crone.makesRoom("room\(number)@\(conference)", as: "firstwitch") }
            guard let rooms = stage.rooms else { throw StageError("no rooms", file: #file, line: #line) }
            for number in 1...30 {
                rooms.loaded["room\(number)"]?.change { $0.settings.isPersistent = true }
                try await crone.sends("<presence to='room\(number)@\(conference)/firstwitch' type='unavailable'/>")
            }
            await stage.settle()
            let storage = stage.server.storage
            storage.rawValues("rooms", on: conference).set([1, 2, 3], for: "room40")
            storage.rawMap("room-occupants", on: conference).set([1, 2, 3], "x@y/z", of: "room41")
            storage.rawMap("room-occupants", on: conference).set([1, 2, 3], "x@y/z", of: "never-finished")
            try await stage.crash()
            await stage.advance(by: .seconds(1))
            #expect(stage.rooms?.loaded.isEmpty == true)
            await stage.advance(by: .milliseconds(4_100))
            let first = try #require(stage.rooms?.loaded.count)
            #expect(first > 0 && first < 25)
            await stage.advance(by: .seconds(2))
            // Room 40 cannot be read. In room 41 nobody could be put back, and it is temporary.
            #expect(stage.rooms?.loaded.keys.sorted() == (31...60).filter { $0 != 40 && $0 != 41 }.map { "room\($0)" })
            let owners = try await stage.rooms?.stores.sessions.owners(limit: 1_000)
            #expect(owners?.contains("never-finished") == false && owners?.contains("room41") == false)
        }
    }

    // MARK: The service goes away

    @Test("Occupants are told when the service is taken away, not when the server stops (XEP-0045 §11.2)")
    func shutdown() async throws {
        try await playRooms { stage in
            let (crone, hag) = try await stage.fillRoom()
            try stage.reload("hosts: { montague.example: {}, capulet.example: {} }\n")
            await stage.settle()
            for (actor, nick) in [(crone, "firstwitch"), (hag, "thirdwitch")] {
                try await actor.receives(
                    """
                    <presence type='unavailable' from='\(coven)/\(nick)'><x xmlns='http://jabber.org/protocol/muc#user'>
                    <item affiliation='none' role='none'/><status code='110'/><status code='332'/></x>
                    <occupant-id xmlns='urn:xmpp:occupant-id:0'/></presence>
                    """)
                try await actor.staysSilent()
            }
            try stage.reload(roomConfig())
            await stage.advance(by: .seconds(60))
            #expect(stage.rooms?.loaded.isEmpty == true)
            let received = try await crone.enters(as: "firstwitch")
            #expect(received.contains { $0.hasStatus(201) }, "The temporary room went with its occupants.")
            try stage.reload(roomConfig("grace: 1 minute"))
            #expect(await crone.news().isEmpty && stage.rooms?.options.grace == .minutes(1))
        }
    }

    @Test("What waits for the disk when the server stops still reaches those who resume")
    func stopping() async throws {
        let driver = MemoryStorageDriver()
        try await playRooms(modules: resuming, driver: driver) { stage in
            let (crone, hag) = try await stage.fillRoom()
            let croneID = try await crone.canResume()
            let hagID = try await hag.canResume()
            driver.hold()
            try await crone.says("one")
            for _ in 0..<10 { await Task.yield() }
            try await Task.sleep(for: .milliseconds(20))
            let stop = Task { @ServerActor in try await stage.restart() }
            try await Task.sleep(for: .milliseconds(100))
            driver.release()
            try await stop.value
            let again = try await stage.resumes("crone1@capulet.example", croneID, h: 0)
            #expect(bodies(await again.news()) == ["one"])
            let other = try await stage.resumes("hag66@capulet.example", hagID, h: 0)
            #expect(bodies(await other.news()) == ["one"])
        }
    }
}

@Suite("Occupants from other servers after a restart") struct RemoteSurvivalTests {
    private func fill(_ stage: Stage, _ elsewhere: Elsewhere) async throws -> Actor {
        let crone = try await stage.enter("crone1@capulet.example/desktop")
        try await crone.makesRoom(as: "firstwitch")
        try await elsewhere.enters(as: "romeo", from: "romeo@verona.example/orchard")
        await crone.forgets()
        _ = await elsewhere.takes()
        return crone
    }

    @Test("They are asked whether they are there, and nobody sees anything of it")
    func verified() async throws {
        try await playWithOthers { stage, elsewhere in
            let answers: [@ServerActor (IQ) -> IQ?] = [
                { $0.result() }, { $0.bounced(.featureNotImplemented) },
                // XEP-0199 §4.2: a client that knows no pings.
                { $0.query?.name == "ping" ? $0.bounced(.serviceUnavailable) : $0.result() },
            ]
            _ = try await fill(stage, elsewhere)
            for answer in answers {
                try await stage.crash()
                elsewhere.attach()
                elsewhere.answer = answer
                let crone = try await stage.enter("crone1@capulet.example/desktop")
                try await crone.enters(as: "firstwitch")
                await stage.advance(by: .seconds(15))
                #expect(elsewhere.requests.first?.query?.is("ping", "urn:xmpp:ping") == true)
                #expect(elsewhere.requests.allSatisfy { $0.from == JID(coven) })
                #expect(stage.rooms?.loaded["coven"]?.sessions.contains(where: \.isUnverified) == false)
                _ = await elsewhere.takes()
                await stage.advance(by: .minutes(6))
                #expect(elsewhere.requests.isEmpty)
                try await crone.says("one")
                #expect(bodies(await elsewhere.takes()) == ["one"])
                #expect(bodies(await crone.news()) == ["one"])
            }
        }
    }

    @Test("Who is not there has the grace period to come back, and is asked less and less often")
    func gone() async throws {
        try await playWithOthers { stage, elsewhere in
            _ = try await fill(stage, elsewhere)
            try await stage.crash()
            elsewhere.attach()
            elsewhere.answer = { $0.bounced(.serviceUnavailable) }
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            try await crone.enters(as: "firstwitch")
            await stage.advance(by: .seconds(290))
            #expect(await crone.news().isEmpty)
            #expect((8...30).contains(elsewhere.requests.count))
            await stage.advance(by: .seconds(20))
            let gone = try await crone.receivesAnywhere("<presence type='unavailable' from='\(coven)/romeo'/>")
            #expect(gone.statuses == [333])
        }
    }

    @Test("Who says nothing at all is removed when the grace period is over")
    func silent() async throws {
        try await playWithOthers("grace: 1 minute") { stage, elsewhere in
            _ = try await fill(stage, elsewhere)
            try await stage.crash()
            elsewhere.attach()
            elsewhere.answer = nil
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            try await crone.enters(as: "firstwitch")
            try await crone.says("one")
            #expect(bodies(await elsewhere.takes()) == ["one"], "It is sent everything.")
            await stage.advance(by: .seconds(80))
            try await crone.receivesAnywhere("<presence type='unavailable' from='\(coven)/romeo'/>")
        }
    }

    @Test("What came back because a server could not be reached is sent again, in order and once, when it is there")
    func unreachable() async throws {
        try await playWithOthers { stage, elsewhere in
            _ = try await fill(stage, elsewhere)
            try await stage.crash()
            elsewhere.attach()
            elsewhere.error = .remoteServerTimeout
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            try await crone.enters(as: "firstwitch")
            try await crone.says("one", id: "1")
            await stage.advance(by: .seconds(60))
            try await crone.says("two", id: "2")
            elsewhere.error = nil
            await stage.advance(by: .seconds(100))
            let received = await elsewhere.takes()
            #expect(bodies(received) == ["one", "two"])
            #expect(received.filter { $0.name == "presence" }.map(\.nick) == ["firstwitch", "romeo"])
            try await crone.says("three", id: "3")
            #expect(bodies(await elsewhere.takes()) == ["three"])
            #expect(await crone.news().allSatisfy { $0.name == "message" })
        }
    }

    @Test("One that enters again, or leaves, before it was asked")
    func reentering() async throws {
        try await playWithOthers { stage, elsewhere in
            _ = try await fill(stage, elsewhere)
            try await stage.crash()
            elsewhere.attach()
            elsewhere.error = .remoteServerNotFound
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            try await crone.enters(as: "firstwitch")
            try await crone.says("one")
            await stage.settle()
            elsewhere.error = nil
            try await elsewhere.enters(as: "romeo", from: "romeo@verona.example/orchard")
            #expect(bodies(await elsewhere.takes()) == ["one"])
            await stage.advance(by: .minutes(6))
            #expect(await elsewhere.takes().isEmpty)
            try await elsewhere.sends(
                "<presence type='unavailable' from='romeo@verona.example/orchard' to='\(coven)/romeo'/>")
            #expect(await elsewhere.takes().count == 1)
            #expect(await crone.news().filter { $0.name == "presence" }.map { $0["type"] } == ["unavailable"])
        }
    }
}
