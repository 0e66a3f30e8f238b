import Glibc
import ServerKit
import StorageSQLite
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("Creating a room (XEP-0045 §10.1)") struct CreationTests {
    @Test("Who enters a room that is not there makes it, owns it, and is alone in it until it is configured (§10.1.1)")
    func locked() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            let other = try await stage.enter("wiccarocks@montague.example/laptop")
            let received = try await owner.enters(as: "firstwitch")
            let own = try #require(received.first { $0.hasStatus(110) })
            #expect(own.hasStatus(201))
            #expect(own.item?["affiliation"] == "owner" && own.item?["role"] == "moderator")
            for _ in 0..<2 {
                try await other.sends(
                    "<presence to='\(coven)/x'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
                let refused = try await other.receives("<presence type='error' from='\(coven)/x'/>")
                #expect(try StanzaError(#require(refused.child("error"))).condition == .itemNotFound)
            }
            // To others it is not there in any other way either.
            for payload in [
                "<query xmlns='http://jabber.org/protocol/disco#info'/>",
                "<query xmlns='http://jabber.org/protocol/disco#items'/>",
                "<query xmlns='http://jabber.org/protocol/muc#owner'/>",
            ] {
                #expect(try await other.isRefused(.get, payload, to: coven).condition == .itemNotFound)
            }
            #expect(try await owner.discovers().identities.map(\.name) == ["coven"])
            try await owner.submits()
            try await other.enters(as: "secondwitch")
        }
    }

    @Test("An instant room takes the settings as they are (§10.1.2)")
    func instant() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.enters(as: "firstwitch")
            let result = try await owner.asks(
                .set,
                "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>",
                to: coven)
            #expect(result == nil)
            #expect(try await owner.discovers().hasFeature("muc_open"))
            // Nothing has changed that anybody should know.
            try await stage.staysSilent()
        }
    }

    @Test("A reserved room is configured first (§10.1.3)")
    func reserved() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.enters(as: "firstwitch")
            let form = try await owner.fetchesForm()
            #expect(form.kind == .form && form.formType == "http://jabber.org/protocol/muc#roomconfig")
            #expect(!form.instructions.isEmpty)
            try await owner.sets(["muc#roomconfig_membersonly": "1", "muc#roomconfig_roomname": "A Dark Cave"])
            let info = try await owner.discovers()
            #expect(info.identities.map(\.name) == ["A Dark Cave"] && info.hasFeature("muc_membersonly"))
            #expect(try await owner.fetchesForm().instructions.isEmpty)
        }
    }

    @Test("Who cancels the first configuration does not want the room (§10.1.3)")
    func cancelled() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            let other = try await stage.enter("wiccarocks@montague.example/laptop")
            try await owner.enters(as: "firstwitch")
            try await owner.asks(.set, cancelledForm, to: coven)
            try await owner.receives(
                """
                <presence type='unavailable' from='\(coven)/firstwitch'><x xmlns='http://jabber.org/protocol/muc#user'>
                <item affiliation='none' role='none'/><destroy/></x></presence>
                """)
            // The name is free.
            #expect(try await other.enters(as: "secondwitch").contains { $0.hasStatus(201) })
        }
    }

    @Test("A room goes away when its owner leaves it unconfigured, persistent or not (§10.1.3)")
    func abandoned() async throws {
        try await playRooms("defaults: { persistent: on }") { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            let other = try await stage.enter("wiccarocks@montague.example/laptop")
            try await owner.enters(as: "firstwitch")
            try await owner.sends("<presence type='unavailable' to='\(coven)/firstwitch'/>")
            let farewell = try await owner.receives("<presence type='unavailable' from='\(coven)/firstwitch'/>")
            #expect(farewell.child("x", .mucUser)?.child("destroy") != nil && farewell.hasStatus(110))
            #expect(
                try await other.isRefused(
                    .get, "<query xmlns='http://jabber.org/protocol/disco#info'/>", to: coven
                ).condition == .itemNotFound)
            #expect(try await other.enters(as: "x").contains { $0.hasStatus(201) })
        }
    }

    @Test("A wrong form leaves a new room locked, and a right one opens it")
    func wrongFirst() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            let other = try await stage.enter("wiccarocks@montague.example/laptop")
            try await owner.enters(as: "firstwitch")
            try await owner.configuresInVain([("muc#roomconfig_whois", ["nobody"])])
            try await other.sends("<presence to='\(coven)/x'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
            try await other.receives("<presence type='error'/>")
            try await owner.submits()
            try await other.enters(as: "x")
        }
    }

    @Test("Rooms need not be locked, and may begin as the administrator wants")
    func options() async throws {
        let options = """
            lock_new_rooms: off, defaults: { public: off, persistent: on, moderated: on, whois: anyone, \
            change_subject: on, allow_invites: on, private_messages: moderators, language: de }
            """
        try await playRooms(options) { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            let other = try await stage.enter("wiccarocks@montague.example/laptop")
            #expect(try await owner.enters(as: "firstwitch").contains { $0.hasStatus(201) && $0.hasStatus(100) })
            let received = try await other.enters(as: "secondwitch")
            #expect(received.contains { $0.hasStatus(110) && $0.item?["role"] == "visitor" })
            let info = try await other.discovers()
            for feature in ["muc_hidden", "muc_persistent", "muc_moderated", "muc_nonanonymous", "muc_open"] {
                #expect(info.hasFeature(feature), "\(feature)")
            }
            #expect(info.roomField("muc#roominfo_lang") == "de")
            #expect(info.roomField("muc#roomconfig_allowpm") == "moderators")
            #expect(info.roomField("muc#roomconfig_changesubject") == "1")
            // A cancelled form changes nothing: it is no new room any more.
            try await owner.asks(.set, cancelledForm, to: coven)
            #expect(try await other.discovers().hasFeature("muc_hidden"))
        }
    }

    @Test("Without options new rooms are as the code has them")
    func defaults() {
        var reader = OptionReader.describing()
        let options = MUC.Options(&reader)
        #expect(options.newRoom == RoomSettings())
    }

    @Test("Nobody makes more rooms than it may, not even all at once")
    func limit() async throws {
        // Its reads take a while, so that they are under way at the same time.
        let path = "/tmp/martlet-muc-\(RandomToken.make()).sqlite"
        defer { for suffix in ["", "-wal", "-shm", "-lock", ".lock"] { unlink(path + suffix) } }
        let driver = try SQLiteStorageDriver(path: path)
        defer { driver.close() }
        try await playRooms("max_rooms: 3", driver: driver) { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            let entries = (1...6).map { number in
                "<presence to='room\(number)@\(conference)/x'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
            }
            try await owner.sends(entries.joined())
            let received = await owner.everything()
            #expect(received.filter { $0.hasStatus(201) }.count == 3)
            #expect(received.filter { $0["type"] == "error" }.count == 3)
            #expect(stage.rooms?.loaded.count == 3)
            // One that goes away makes place.
            let name = try #require(stage.rooms?.loaded.keys.first)
            try await owner.sends("<presence type='unavailable' to='\(name)@\(conference)/x'/>")
            await owner.forgets()
            try await owner.sends(entries.joined())
            #expect(await owner.everything().filter { $0.hasStatus(201) }.count == 1)
            #expect(stage.rooms?.loaded.count == 3)
        }
    }
}
