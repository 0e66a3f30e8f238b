import ServerKit
import StorageMemory
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("Discovering rooms (XEP-0045 §6)") struct RoomDiscoTests {
    private static let itemsQuery = "<query xmlns='http://jabber.org/protocol/disco#items'/>"

    private static func paged(_ set: String) -> String {
        """
        <query xmlns='http://jabber.org/protocol/disco#items'><set xmlns='http://jabber.org/protocol/rsm'>\(set)</set>
        </query>
        """
    }

    /// The JIDs of items, without the domain.
    private static func names(_ query: Element?) -> [String] {
        query?.children("item").compactMap { $0.jid("jid")?.localpart } ?? []
    }

    private static func set(_ query: Element?) throws -> ResultSetResponse? {
        try query?.child("set", .rsm).map { try ResultSetResponse($0) }
    }

    @Test("The service says what it is and can (§6.2)")
    func service() async throws {
        try await playRooms { stage in
            let witch = try await stage.enter("hag66@capulet.example/pda")
            let info = try await witch.discovers(conference)
            #expect(info.identities.contains { $0.category == "conference" && $0.type == "text" })
            for feature in [
                "http://jabber.org/protocol/muc", "http://jabber.org/protocol/muc#stable_id",
                "http://jabber.org/protocol/rsm", "urn:xmpp:channel-search:0:search",
                "http://jabber.org/protocol/disco#items", "urn:xmpp:occupant-id:0",
            ] {
                #expect(info.hasFeature(feature), "\(feature)")
            }
        }
    }

    @Test("Public rooms are listed with their names, hidden and locked ones are not (§6.3)")
    func rooms() async throws {
        try await playRooms { stage in
            let witch = try await stage.enter("hag66@capulet.example/pda")
            #expect(try await witch.asks(.get, Self.itemsQuery, to: conference)?.children.isEmpty == true)
            try await witch.makesRoom("heath@\(conference)", as: "x", ["muc#roomconfig_roomname": "A Lonely Heath"])
            try await witch.makesRoom("forres@\(conference)", as: "x")
            try await witch.makesRoom("cave@\(conference)", as: "x", ["muc#roomconfig_publicroom": "0"])
            try await witch.enters("locked@\(conference)", as: "x")
            var list = try await witch.asks(.get, Self.itemsQuery, to: conference)
            #expect(Self.names(list) == ["forres", "heath"])
            #expect(list?.children("item").map { $0["name"] } == ["forres", "A Lonely Heath"])
            #expect(list?.child("set", .rsm) == nil)
            // What changes is seen at once, and what is not loaded as well.
            try await witch.configures("heath@\(conference)", ["muc#roomconfig_publicroom": "0"])
            try await witch.configures(
                "cave@\(conference)",
                [
                    "muc#roomconfig_publicroom": "1", "muc#roomconfig_persistentroom": "1",
                    "muc#roomconfig_roomname": "Cave",
                ])
            #expect(Self.names(try await witch.asks(.get, Self.itemsQuery, to: conference)) == ["cave", "forres"])
            try await witch.sends("<presence type='unavailable' to='cave@\(conference)/x'/>")
            await witch.forgets()
            await stage.advance(by: .seconds(200))
            list = try await witch.asks(.get, Self.itemsQuery, to: conference)
            #expect(list?.children("item").map { $0["name"] } == ["Cave", "forres"])
            try await witch.sends("<presence type='unavailable' to='forres@\(conference)/x'/>")
            await witch.forgets()
            #expect(Self.names(try await witch.asks(.get, Self.itemsQuery, to: conference)) == ["cave"])
        }
    }

    @Test("A long list comes in pages (§6.3, XEP-0059)")
    func pages() async throws {
        try await playRooms("list_size: 3") { stage in
            let witch = try await stage.enter("hag66@capulet.example/pda")
            let all = (1...7).map { "room\($0)" }
            for name in all { try await witch.makesRoom("\(name)@\(conference)", as: "x") }
            // Who asks for all gets a beginning, and learns that there is more.
            var list = try await witch.asks(.get, Self.itemsQuery, to: conference)
            #expect(Self.names(list) == ["room1", "room2", "room3"])
            #expect(
                try Self.set(list)
                    == ResultSetResponse(
                        first: "room1@\(conference)", index: 0, last: "room3@\(conference)", count: 7))
            // Page by page.
            var seen: [String] = []
            var position = ""
            for _ in 0..<10 {
                list = try await witch.asks(.get, Self.paged("<max>2</max>\(position)"), to: conference)
                seen += Self.names(list)
                guard let last = try Self.set(list)?.last else { break }
                position = "<after>\(last)</after>"
            }
            #expect(seen == all)
            for (set, expected, index) in [
                ("<max>2</max><before/>", ["room6", "room7"], 5),
                ("<max>2</max><before>room6@\(conference)</before>", ["room4", "room5"], 3),
                ("<max>2</max><before>room2@\(conference)</before>", ["room1"], 0),
                ("<max>2</max><index>5</index>", ["room6", "room7"], 5),
                ("<max>1000</max>", ["room1", "room2", "room3"], 0),
            ] {
                list = try await witch.asks(.get, Self.paged(set), to: conference)
                #expect(Self.names(list) == expected, "\(set)")
                #expect(try Self.set(list)?.index == index, "\(set)")
            }
            for set in [
                "<max>0</max>", "<after>room7@\(conference)</after>", "<index>7</index>", "<index>2147483647</index>",
                "<before>room1@\(conference)</before>",
            ] {
                list = try await witch.asks(.get, Self.paged(set), to: conference)
                #expect(Self.names(list).isEmpty)
                #expect(try Self.set(list) == ResultSetResponse(count: 7), "\(set)")
            }
            // A page begins after a room that was there.
            try await witch.sends("<presence type='unavailable' to='room3@\(conference)/x'/>")
            await witch.forgets()
            list = try await witch.asks(
                .get, Self.paged("<max>1</max><after>room3@\(conference)</after>"), to: conference)
            #expect(Self.names(list) == ["room4"])
        }
    }

    @Test("Pages that are none are refused")
    func badPages() async throws {
        try await playRooms { stage in
            let witch = try await stage.enter("hag66@capulet.example/pda")
            for set in [
                "<max>-1</max>", "<max>x</max>", "<after>a@\(conference)</after><before/>", "<index>-1</index>",
            ] {
                #expect(try await witch.isRefused(.get, Self.paged(set), to: conference).condition == .badRequest)
            }
            for set in ["<after>x@elsewhere.example</after>", "<before>@</before>", "<after>\(conference)</after>"] {
                #expect(try await witch.isRefused(.get, Self.paged(set), to: conference).condition == .itemNotFound)
            }
        }
    }

    @Test("A service with very many rooms lists them without loading one")
    func many() async throws {
        let driver = MemoryStorageDriver()
        let stored = Storage(driver).values("room-list", on: conference, of: ListedRoom.self)
        for number in 0..<5_000 {
            stored.set(ListedRoom(RoomSettings()), for: "room\(10_000 + number)")
        }
        try await playRooms(driver: driver) { stage in
            let witch = try await stage.enter("hag66@capulet.example/pda")
            var list = try await witch.asks(.get, Self.itemsQuery, to: conference)
            #expect(Self.names(list).count == 200)
            #expect(try Self.set(list)?.count == 5_000)
            list = try await witch.asks(.get, Self.paged("<max>1</max><before/>"), to: conference)
            #expect(Self.names(list) == ["room14999"])
            #expect(try Self.set(list)?.index == 4_999)
            list = try await witch.asks(
                .get, Self.paged("<max>1</max><before>room13000@\(conference)</before>"), to: conference)
            #expect(Self.names(list) == ["room12999"])
        }
    }

    @Test("A room says what kind of room it is (§6.4)")
    func info() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            let other = try await stage.enter("wiccarocks@montague.example/laptop")
            try await owner.makesRoom(as: "firstwitch")
            var info = try await other.discovers()
            #expect(info.identities == [.init("conference", "text", name: "coven")])
            for feature in [
                "http://jabber.org/protocol/muc", "http://jabber.org/protocol/muc#stable_id", "muc_public",
                "muc_temporary", "muc_open", "muc_unmoderated", "muc_semianonymous", "muc_unsecured",
                "urn:xmpp:occupant-id:0", "urn:xmpp:sid:0",
            ] {
                #expect(info.hasFeature(feature), "\(feature)")
            }
            #expect(Set(info.features).count == info.features.count)
            #expect(info.roomField("muc#roominfo_occupants") == "1")
            #expect(info.roomField("muc#roominfo_subject") == nil)
            try await owner.sends("<message to='\(coven)' type='groupchat'><subject>Spells</subject></message>")
            try await owner.sets([
                "muc#roomconfig_roomname": "A Dark Cave", "muc#roomconfig_roomdesc": "For all good witches!",
                "muc#roomconfig_lang": "en", "muc#roominfo_contactjid": "crone1@capulet.example",
                "muc#roominfo_logs": "https://capulet.example/logs", "muc#maxhistoryfetch": "50",
                "muc#roomconfig_pubsub": "xmpp:pubsub.capulet.example?;node=coven",
                "muc#roomconfig_persistentroom": "1", "muc#roomconfig_moderatedroom": "1",
                "muc#roomconfig_whois": "anyone", "muc#roomconfig_changesubject": "1",
            ])
            info = try await other.discovers()
            #expect(info.identities == [.init("conference", "text", name: "A Dark Cave")])
            for feature in ["muc_public", "muc_persistent", "muc_open", "muc_moderated", "muc_nonanonymous"] {
                #expect(info.hasFeature(feature), "\(feature)")
            }
            for (name, value) in [
                ("muc#roomconfig_roomname", "A Dark Cave"), ("muc#roominfo_description", "For all good witches!"),
                ("muc#roominfo_lang", "en"), ("muc#roominfo_contactjid", "crone1@capulet.example"),
                ("muc#roominfo_logs", "https://capulet.example/logs"), ("muc#roominfo_subject", "Spells"),
                ("muc#maxhistoryfetch", "50"), ("muc#roomconfig_changesubject", "1"),
                ("muc#roominfo_subjectmod", "1"), ("muc#roomconfig_allowpm", "anyone"),
                ("muc#roomconfig_pubsub", "xmpp:pubsub.capulet.example?;node=coven"),
            ] {
                #expect(info.roomField(name) == value, "\(name)")
            }
        }
    }

    @Test(
        "Of rooms that not everybody may enter strangers do not learn what is going on (§14.4)",
        arguments: ["muc#roomconfig_membersonly", "muc#roomconfig_roomsecret"])
    func discreet(field: String) async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            let other = try await stage.enter("wiccarocks@montague.example/laptop")
            try await owner.makesRoom(as: "firstwitch", [field: "1"])
            try await owner.sends("<message to='\(coven)' type='groupchat'><subject>Spells</subject></message>")
            #expect(try await other.discovers().roomField("muc#roominfo_subject") == nil)
            #expect(try await other.discovers().roomField("muc#roominfo_occupants") == "1")
            #expect(try await owner.discovers().roomField("muc#roominfo_subject") == "Spells")
            try await owner.sets(["muc#roomconfig_publicroom": "0"])
            #expect(try await other.discovers().roomField("muc#roominfo_occupants") == nil)
            #expect(try await other.discovers().hasFeature("muc_hidden"))
        }
    }

    @Test(
        "Who is in a room sees who else is; others do, if the administrator wants it (§6.5)", arguments: [true, false])
    func occupants(isListed: Bool) async throws {
        try await playRooms("list_occupants: \(isListed ? "on" : "off"), list_size: 3") { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            let inside = try await stage.enter("hag66@capulet.example/pda")
            let outside = try await stage.enter("wiccarocks@montague.example/laptop")
            try await owner.makesRoom(as: "first")
            try await inside.enters(as: "second")
            func nicks(_ actor: Actor, _ query: String = Self.itemsQuery) async throws -> [String?] {
                let list = try await actor.asks(.get, query, to: coven)
                return try #require(list?.children("item")).map(\.jidResource)
            }
            #expect(try await nicks(inside) == ["first", "second"])
            #expect(try await nicks(outside) == (isListed ? ["first", "second"] : []))
            // Whose presence is not shown is not in lists either.
            try await owner.submits([("muc#roomconfig_presencebroadcast", ["moderator"])])
            #expect(try await nicks(owner) == ["first", "second"])
            #expect(try await nicks(outside) == (isListed ? ["first"] : []))
            try await owner.submits([("muc#roomconfig_presencebroadcast", ["moderator", "participant"])])
            for number in 3...5 {
                try await outside.enters("other\(number)@\(conference)", as: "x")
                let more = try await stage.enter("witch\(number)@capulet.example/x")
                try await more.enters(as: "witch\(number)")
            }
            #expect(try await nicks(inside) == ["first", "second", "witch3"])
            #expect(
                try await nicks(inside, Self.paged("<after>\(coven)/witch3</after>")) == ["witch4", "witch5"])
            try await owner.submits([("muc#roomconfig_publicroom", ["0"])])
            #expect(try await nicks(outside).isEmpty)
        }
    }

    @Test("Whether somebody who is no admin may invite others, which into an open room everybody may (§5.1.1)")
    func invitations() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.makesRoom(as: "firstwitch")
            let name = "muc#roomconfig_allowinvites"
            for (isMembersOnly, membersInvite, expected) in [("0", "0", "1"), ("1", "0", "0"), ("1", "1", "1")] {
                try await owner.configures(coven, ["muc#roomconfig_membersonly": isMembersOnly, name: membersInvite])
                #expect(try await owner.discovers().roomField(name) == expected)
                #expect(try await owner.fetchesForm()[name]?.value == membersInvite)
            }
        }
    }

    @Test("Nodes and rooms that are not there are not found, and nothing is kept out of rooms (§6.4, §18.1.1)")
    func unknown() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.makesRoom(as: "firstwitch")
            for name in ["info", "items"] {
                let query = "<query xmlns='http://jabber.org/protocol/disco#\(name)'"
                #expect(try await owner.isRefused(.get, query + " node='x'/>", to: coven).condition == .itemNotFound)
                let traffic = query + " node='http://jabber.org/protocol/muc#traffic'/>"
                #expect(try await owner.isRefused(.get, traffic, to: coven).condition == .serviceUnavailable)
                let nowhere = "nowhere@\(conference)"
                #expect(try await owner.isRefused(.get, query + "/>", to: nowhere).condition == .itemNotFound)
            }
        }
    }
}

@Suite("Activity of rooms (XEP-0502)") struct ActivityTests {
    private static let field = "{urn:xmpp:muc-activity}message-activity"
    /// Nobody asks for a sign of life while hours go by.
    private static let modules = roomModules.filter { $0 != Ping.self }

    @Test("A public room tells how many messages are said in an hour, once one is over (§3.1, §4)")
    func rate() async throws {
        try await playRooms(modules: Self.modules) { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            let other = try await stage.enter("wiccarocks@montague.example/laptop")
            try await owner.makesRoom(as: "firstwitch", ["muc#roomconfig_persistentroom": "1"])
            #expect(try await other.discovers().roomField(Self.field) == nil)
            await stage.advance(by: .seconds(3_600))
            for number in 0..<5 { try await owner.says("Double \(number)") }
            // What is no message by itself does not count.
            for content in [
                "<subject>Spells</subject>", "<active xmlns='http://jabber.org/protocol/chatstates'/>",
                "<body>x</body><replace xmlns='urn:xmpp:message-correct:0' id='m'/>",
            ] {
                try await owner.sends("<message to='\(coven)' type='groupchat'>\(content)</message>")
            }
            await owner.forgets()
            await stage.advance(by: .seconds(3_600))
            #expect(try await other.discovers().roomField(Self.field) == "5.00")
            await stage.advance(by: .seconds(3_600))
            #expect(try await other.discovers().roomField(Self.field) == "2.50")
            // It is known after a restart, and after everybody has left.
            try await owner.says("Toil")
            await owner.forgets()
            await stage.advance(by: .seconds(3_600))
            try await owner.sends("<presence type='unavailable' to='\(coven)/firstwitch'/>")
            await owner.forgets()
            try await stage.restart()
            let again = try await stage.enter("wiccarocks@montague.example/laptop")
            #expect(try await again.discovers().roomField(Self.field) == "2.00")
            await stage.advance(by: .seconds(3_600 * 30))
            #expect(try await again.discovers().roomField(Self.field) == "0.00")
        }
    }

    @Test(
        "Rooms that are not for everybody tell nothing (§9)",
        arguments: [
            ["muc#roomconfig_persistentroom": "0"], ["muc#roomconfig_publicroom": "0"],
            ["muc#roomconfig_membersonly": "1"], ["muc#roomconfig_roomsecret": "x"],
        ])
    func discreet(fields: [String: String]) async throws {
        try await playRooms("defaults: { persistent: on }", modules: Self.modules) { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.makesRoom(as: "firstwitch")
            await stage.advance(by: .seconds(3 * 3_600))
            #expect(try await owner.discovers().roomField(Self.field) == "0.00")
            try await owner.sets(fields)
            #expect(try await owner.discovers().roomField(Self.field) == nil)
        }
    }

    @Test("Counts move on by the hour")
    func counts() {
        var counts = MessageCounts(hour: 100)
        for _ in 0..<10 { counts.count(at: 100) }
        #expect(counts.rate(at: 100, hours: 1) == 0)
        #expect(counts.rate(at: 101, hours: 1) == 10)
        counts.count(at: 102)
        #expect(counts.counts == [1, 0, 10])
        #expect(counts.rate(at: 124, hours: 24) == 11.0 / 24)
        #expect(counts.rate(at: 125, hours: 24) == 1.0 / 24)
        counts.count(at: .max / 2)
        #expect(counts.counts.count == 25 && counts.counts.reduce(0, +) == 1)
        // A clock that goes back is no reason to stop.
        counts.count(at: 0)
        #expect(counts.counts[0] == 2)
    }
}

extension Element {
    /// The nick in an item.
    fileprivate var jidResource: String? { jid("jid")?.resourcepart }
}
