import ServerKit
import StorageSQLite
import TestKit
import Testing

@testable import MUC

@Suite("Archives of rooms (XEP-0313 §6.1.2)") struct RoomArchiveTests {
    private static let crone = "crone1@capulet.example"
    private static let wiccarocks = "wiccarocks@montague.example"
    private static let hag = "hag66@capulet.example"

    /// The first witch has made the coven, the second one is in it, and the hag is not.
    private static func play(
        _ options: String = "",
        _ body:
            @escaping @ServerActor @Sendable (Stage, RoomWatch, _ first: Actor, Actor, _ hag: Actor) async throws ->
            Void
    ) async throws {
        try await playRooms(options) { stage in
            let watch = RoomWatch(stage)
            let first = try await stage.enter(crone + "/desktop")
            let second = try await stage.enter(wiccarocks + "/laptop")
            let hag = try await stage.enter(Self.hag + "/pda")
            try await first.makesRoom(as: "firstwitch")
            try await second.enters(as: "secondwitch")
            await first.forgets()
            try await body(stage, watch, first, second, hag)
        }
    }

    @Test("What was said is found under the ids that went out with it, from the occupants' JIDs")
    func query() async throws {
        try await Self.play { stage, _, first, second, hag in
            try await first.says("Thrice the brinded cat hath mew'd.", id: "a1")
            try await second.says("Thrice and once the hedge-pig whined.", id: "a2")
            let heard = await second.everything()
            await first.forgets()
            let (results, fin) = try await hag.queries(coven, "", file: #fileID, line: #line)
            #expect(results.map { $0["id"] } == heard.map(\.roomID))
            #expect(fin.is("fin", .mam) && fin["complete"] == "true")
            #expect(fin.child("set", .rsm)?.text(of: "last") == results.last?["id"])
            let message = try #require(results.first?.archived)
            #expect(message["from"] == "\(coven)/firstwitch" && message["to"] == nil && message["id"] == "a1")
            #expect(message["type"] == "groupchat")
            #expect(message.roomID == results.first?["id"])
            #expect(
                message.child("occupant-id", .occupantID)?["id"]
                    == heard.first?.child("occupant-id", .occupantID)?["id"])
            #expect(message.child("x", .mucUser) == nil && message.child("delay", .delay) == nil)
            // The others do not hear of it.
            try await stage.staysSilent()
        }
    }

    @Test("Pages, their ends, ids, times, and flipped ones (§4)")
    func pages() async throws {
        try await Self.play("page_size: 4, page_limit: 6") { stage, _, first, second, hag in
            let start = stage.clock.date
            for number in 1...9 {
                try await first.says("\(number)")
                await stage.advance(by: .seconds(1))
            }
            let ids = await second.everything().compactMap(\.roomID)
            await first.forgets()
            #expect(try await hag.bodies() == ["1", "2", "3", "4"])
            #expect(try await hag.bodies(in: coven, Query.page("<max>99999999</max>")).count == 6)
            let last = try await hag.queries(coven, "<flip-page/>" + Query.page("<max>3</max><before/>"))
            #expect(last.results.map { $0.archived?.text(of: "body") } == ["9", "8", "7"])
            #expect(last.fin.child("set", .rsm)?.text(of: "first") == ids[6] && last.fin["complete"] == nil)
            let before = Query.page("<max>3</max><before>\(ids[2])</before>")
            #expect(try await hag.bodies(in: coven, before) == ["1", "2"])
            #expect(try await hag.bodies(in: coven, Query.page("<after>\(ids[6])</after>")) == ["8", "9"])
            #expect(try await hag.bodies(in: coven, Query.form(("after-id", ids[7]))) == ["9"])
            #expect(try await hag.bodies(in: coven, Query.form(("before-id", ids[1]))) == ["1"])
            #expect(try await hag.bodies(in: coven, Query.form(("ids", ids[4]))) == ["5"])
            let since = start.advanced(by: .seconds(6)).description
            #expect(try await hag.bodies(in: coven, Query.form(("start", since))) == ["7", "8", "9"])
            let count = try await hag.queries(coven, Query.page("<max>0</max>"))
            #expect(count.results.isEmpty && count.fin.child("set", .rsm)?.text(of: "count") == "9")
            let named = try await hag.asks(.set, "<query xmlns='urn:xmpp:mam:2' queryid='f27'/>", to: coven)
            #expect(named?["complete"] == nil)
            #expect(hag.takeInbox().allSatisfy { $0.child("result", .mam)?["queryid"] == "f27" })

            func refusal(_ content: String) async throws -> StanzaError.Condition {
                try await hag.isRefused(.set, Query.whole(content), to: coven).condition
            }
            #expect(try await refusal(Query.form(("ids", "nothing"))) == .itemNotFound)
            #expect(try await refusal(Query.page("<after>nothing</after>")) == .itemNotFound)
            #expect(try await refusal(Query.page("<max>-1</max>")) == .badRequest)
            #expect(try await refusal(Query.page("<index>1</index>")) == .featureNotImplemented)
            #expect(try await refusal(Query.form(("color", "red"))) == .featureNotImplemented)
            #expect(try await refusal("<x xmlns='jabber:x:data' type='submit'/>") == .badRequest)
        }
    }

    @Test("The form, the metadata, and what is not offered (§4.1.5, §5)")
    func form() async throws {
        try await Self.play { stage, _, first, second, hag in
            let empty = try #require(try await hag.asks(.get, "<metadata xmlns='urn:xmpp:mam:2'/>", to: coven))
            #expect(empty.children.isEmpty)
            for text in ["one", "two", "three"] { try await first.says(text) }
            let ids = await second.everything().compactMap(\.roomID)
            let full = try #require(try await hag.asks(.get, "<metadata xmlns='urn:xmpp:mam:2'/>", to: coven))
            #expect(full.child("start")?["id"] == ids[0] && full.child("end")?["id"] == ids[2])
            let form = try #require(try await hag.asks(.get, Query.whole(), to: coven)?.child("x", .dataForms))
            let fields = form.children("field").compactMap { $0["var"] }
            #expect(fields == ["FORM_TYPE", "with", "start", "end", "before-id", "after-id", "ids"])
            let error = try await hag.isRefused(.get, "<prefs xmlns='urn:xmpp:mam:2'/>", to: coven)
            #expect(error.condition == .serviceUnavailable)
        }
    }

    @Test("Those read who may enter right now (§6.1.2, §8.1)")
    func access() async throws {
        try await Self.play { stage, watch, first, second, hag in
            try await second.says("By the pricking of my thumbs")
            @ServerActor
            func refusal(_ actor: Actor) async throws -> StanzaError.Condition? {
                for payload in ["<metadata xmlns='urn:xmpp:mam:2'/>", Query.whole()] {
                    do { try await actor.asks(.get, payload, to: coven) } catch let error as StanzaError {
                        let other = try await actor.isRefused(.set, Query.whole(), to: coven)
                        #expect(other.condition == error.condition)
                        return error.condition
                    }
                }
                #expect(try await actor.bodies() == ["By the pricking of my thumbs"])
                return nil
            }
            let room = try #require(watch[coven])
            #expect(try await refusal(hag) == nil)
            room.setAffiliation(.outcast, of: try #require(JID(Self.hag)))
            #expect(try await refusal(hag) == .forbidden)
            room.setAffiliation(.none, of: try #require(JID(Self.hag)))
            try watch.set { $0.isMembersOnly = true }
            #expect(try await refusal(hag) == .forbidden)
            #expect(try await refusal(first) == nil)
            room.setAffiliation(.member, of: try #require(JID(Self.hag)))
            #expect(try await refusal(hag) == nil)
            room.setAffiliation(.none, of: try #require(JID(Self.hag)))
            try watch.set {
                $0.isMembersOnly = false
                $0.password = "cauldronburn"
            }
            #expect(try await refusal(hag) == .forbidden)
            // Who is in the room knows the password.
            #expect(try await refusal(second) == nil)
            try watch.set {
                $0.password = nil
                $0.isArchived = false
            }
            #expect(try await refusal(hag) == .serviceUnavailable)
            #expect(try await hag.isRefused(.set, Query.whole(), to: "none@\(conference)").condition == .itemNotFound)
            // A room that is not open yet is not there for others (XEP-0045 §7.2.10).
            try await first.enters("new@\(conference)", as: "firstwitch")
            #expect(try await hag.isRefused(.set, Query.whole(), to: "new@\(conference)").condition == .itemNotFound)
        }
    }

    @Test("Real JIDs are for those who may know them, and only where they could")
    func realJIDs() async throws {
        try await Self.play { stage, watch, first, second, hag in
            @ServerActor
            func seen(_ actor: Actor) async throws -> [String?] {
                try await actor.archived().map { $0.child("x", .mucUser)?.child("item")?["jid"] }
            }
            let full = Self.wiccarocks + "/laptop"
            try await second.says("in the dark")
            #expect(try await seen(first) == [full])
            let item = try await first.archived().first?.child("x", .mucUser)?.child("item")
            #expect(item?["affiliation"] == "none" && item?["role"] == "participant")
            #expect(try await seen(second) == [nil])
            #expect(try await seen(hag) == [nil])
            // What was said under a nick only stays so.
            try watch.set { $0.whois = .anyone }
            try await second.says("in the light")
            #expect(try await seen(hag) == [nil, full])
            #expect(try await seen(first) == [full, full])
            try watch.set { $0.whois = .moderators }
            #expect(try await seen(hag) == [nil, nil])
            // A moderator sees them while it is one.
            let room = try #require(watch[coven])
            let occupant = try #require(room.occupant(nick: "secondwitch"))
            room.setRole(.moderator, of: occupant)
            #expect(try await seen(second) == [full, full])
            room.setRole(.participant, of: occupant)
            #expect(try await seen(second) == [nil, nil])
            // An admin need not be there.
            room.setAffiliation(.admin, of: try #require(JID(Self.hag)))
            #expect(try await seen(hag) == [full, full])
        }
    }

    @Test("By nick for everybody, by real JID for those who may know (§4.1.1)")
    func publishers() async throws {
        try await Self.play { stage, watch, first, second, hag in
            for number in 1...3 {
                try await first.says("first \(number)")
                try await second.says("second \(number)")
            }
            await first.forgets()
            await second.forgets()
            @ServerActor
            func with(_ jid: String, _ actor: Actor) async throws -> [String] {
                try await actor.bodies(in: coven, Query.form(("with", jid)))
            }
            let own = ["second 1", "second 2", "second 3"]
            #expect(try await with("\(coven)/secondwitch", hag) == own)
            #expect(try await with("\(coven)/nobody", hag) == [])
            #expect(try await with(coven, hag).count == 6)
            #expect(try await with(Self.wiccarocks, first) == own)
            #expect(try await with(Self.wiccarocks + "/laptop", first) == own)
            #expect(try await with(Self.wiccarocks + "/other", first) == [])
            // One's own are no secret.
            #expect(try await with(Self.wiccarocks, second) == own)
            for actor in [second, hag] {
                let query = Query.whole(Query.form(("with", Self.crone)))
                #expect(try await actor.isRefused(.set, query, to: coven).condition == .forbidden)
            }
            // In the open everybody may ask, for what was said in the open.
            try watch.set { $0.whois = .anyone }
            try await first.says("first 4")
            #expect(try await with(Self.crone, hag) == ["first 4"])
        }
    }

    @Test(
        "What is kept in archive and history",
        arguments: [
            ("<body>text</body>", true, true),
            ("<body>text</body><no-store xmlns='urn:xmpp:hints'/>", false, false),
            ("<body>text</body><no-permanent-store xmlns='urn:xmpp:hints'/>", false, true),
            ("<composing xmlns='http://jabber.org/protocol/chatstates'/>", false, false),
            ("<active xmlns='http://jabber.org/protocol/chatstates'/><thread>x</thread>", false, false),
            ("<displayed xmlns='urn:xmpp:chat-markers:0' id='x'/>", false, false),
            ("<displayed xmlns='urn:xmpp:chat-markers:0' id='x'/><store xmlns='urn:xmpp:hints'/>", true, false),
            ("<received xmlns='urn:xmpp:receipts' id='x'/>", false, false),
            ("<strange xmlns='urn:example:strange'/>", false, false),
            ("<reactions xmlns='urn:xmpp:reactions:0' id='x'><reaction>👋</reaction></reactions>", true, true),
            ("<body>text</body><replace xmlns='urn:xmpp:message-correct:0' id='x'/>", true, true),
            ("<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/></encrypted>", true, true),
            ("<encrypted xmlns='urn:xmpp:omemo:2'><header sid='1'/></encrypted>", true, true),
            ("<subject>Fire Burn and Cauldron Bubble!</subject>", true, false),
            ("<subject>one</subject><body>two</body>", true, true),
            ("<retract xmlns='urn:xmpp:message-retract:1' id='x'/><no-store xmlns='urn:xmpp:hints'/>", true, true),
        ])
    func kept(_ payload: String, _ isArchived: Bool, _ isInHistory: Bool) async throws {
        try await Self.play { stage, _, first, _, hag in
            try await first.sends("<message to='\(coven)' type='groupchat' id='k'>\(payload)</message>")
            await first.forgets()
            #expect(try await hag.archived().count == (isArchived ? 1 : 0))
            let shown = try await hag.enters(as: "thirdwitch")
                .filter { $0["id"] == "k" && $0.child("delay", .delay)?["from"] == coven }
            #expect(shown.count == (isInHistory || payload.hasPrefix("<subject>Fire") ? 1 : 0))
        }
    }

    @Test("Private messages and what the room refuses are not in the archive (§6.1)")
    func refused() async throws {
        try await Self.play { stage, watch, first, second, hag in
            try await second.sends("<message to='\(coven)/firstwitch' type='chat'><body>psst</body></message>")
            try await hag.says("I am not there")
            let room = try #require(watch[coven])
            room.setRole(.visitor, of: try #require(room.occupant(nick: "secondwitch")))
            try await second.says("I have no voice")
            _ = await hag.everything()
            #expect(try await first.bodies() == [])
        }
    }

    @Test(
        "What claims to come from the room is removed before it is kept, ids of others stay (XEP-0359 §3, XEP-0313 §8.4)"
    )
    func forged() async throws {
        try await Self.play { stage, _, first, second, hag in
            try await second.sends(
                """
                <message to='\(coven)' type='groupchat' id='f'><body>trust me</body>
                <x xmlns='http://jabber.org/protocol/muc#user'><item jid='\(Self.crone)' affiliation='owner'/></x>
                <stanza-id xmlns='urn:xmpp:sid:0' by='\(coven)' id='forged'/>
                <stanza-id xmlns='urn:xmpp:sid:0' by='other@example.com' id='theirs'/>
                <origin-id xmlns='urn:xmpp:sid:0' id='mine'/>
                <occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/></message>
                """)
            let heard = try #require(await first.everything().last)
            for message in [heard, try #require(try await hag.archived().first)] {
                #expect(message.child("x", .mucUser) == nil)
                let ids = message.children.filter { $0.is("stanza-id", .stanzaIDs) }
                #expect(ids.map { $0["by"] } == ["other@example.com", coven] && ids.last?["id"] != "forged")
                #expect(message.child("origin-id", .stanzaIDs)?["id"] == "mine")
                #expect(message.children.filter { $0.namespace == .occupantID }.count == 1)
                #expect(message.child("occupant-id", .occupantID)?["id"] != "forged")
            }
        }
    }

    @Test("A room tells what it can (XEP-0313 §7, XEP-0359 §5, XEP-0424 §4, XEP-0425 §2)")
    func features() async throws {
        for (options, isOn) in [("", true), ("archive: off, moderation: off", false)] {
            try await Self.play(options) { _, watch, _, _, _ in
                let room = try #require(watch[coven])
                let features = room.service.info.description(of: room, for: room.jid).features
                for feature in [Namespace.mam, .mamExtended, .retraction, .tombstones, .moderation] {
                    #expect(features.contains(feature) == isOn)
                }
                #expect(features.contains(.stanzaIDs))
            }
        }
    }

    // MARK: History

    @Test(
        "After a restart the history comes from the archive, without what is not for it",
        arguments: ["memory", "sqlite"])
    func restart(_ kind: String) async throws {
        let path = "/tmp/martlet-rooms-\(UInt64.random(in: 0...UInt64.max)).sqlite"
        let driver: (any StorageDriver)? = kind == "sqlite" ? try SQLiteStorageDriver(path: path) : nil
        @ServerActor
        @Sendable func body(_ stage: Stage) async throws {
            let watch = RoomWatch(stage)
            let first = try await stage.enter(Self.crone + "/desktop")
            try await first.makesRoom(as: "firstwitch")
            try watch.set {
                $0.isPersistent = true
                $0.historyLength = 5
            }
            for number in 1...8 {
                try await first.says("\(number)")
                try await first.sends(
                    "<message to='\(coven)' type='groupchat'><subject>Subject \(number)</subject></message>")
                try await first.sends(
                    """
                    <message to='\(coven)' type='groupchat'><displayed xmlns='urn:xmpp:chat-markers:0' id='x'/>
                    <store xmlns='urn:xmpp:hints'/></message>
                    """)
            }
            await first.forgets()
            try await stage.restart()
            let hag = try await stage.enter(Self.hag + "/pda")
            let shown = try await hag.history(as: "thirdwitch")
            #expect(shown.map { $0.text(of: "body") } == ["4", "5", "6", "7", "8"])
            let all = try await hag.archived(in: coven, Query.page("<max>100</max>"))
            #expect(all.count == 24 && shown.last?.roomID == all.last { $0.has("body") }?.roomID)
        }
        if let driver {
            try await playRooms(driver: driver, body)
            driver.close()
        } else {
            try await playRooms("", body)
        }
    }

    @Test("A room without history, and one without archive, whose history is forgotten")
    func noHistory() async throws {
        try await playRooms("archive: off") { stage in
            let watch = RoomWatch(stage)
            let first = try await stage.enter(Self.crone + "/desktop")
            try await first.makesRoom(as: "firstwitch")
            try watch.set { $0.isPersistent = true }
            try await first.says("heard")
            let second = try await stage.enter(Self.wiccarocks + "/laptop")
            #expect(try await second.history(as: "secondwitch").count == 1)
            try watch.set { $0.historyLength = 0 }
            try await first.says("not heard")
            await second.forgets()
            let hag = try await stage.enter(Self.hag + "/pda")
            #expect(try await hag.history(as: "thirdwitch").isEmpty)
            try watch.set { $0.historyLength = 9 }
            try await first.says("heard again")
            try await stage.restart()
            let again = try await stage.enter(Self.hag + "/pda")
            #expect(try await again.history(as: "thirdwitch").isEmpty)
        }
    }

    @Test("A room that keeps no history starts without any", arguments: [0, 3])
    func emptyHistory(_ length: Int) async throws {
        try await playRooms { stage in
            let watch = RoomWatch(stage)
            let first = try await stage.enter(Self.crone + "/desktop")
            try await first.makesRoom(as: "firstwitch")
            try watch.set {
                $0.isPersistent = true
                $0.historyLength = length
            }
            for number in 1...5 { try await first.says("\(number)") }
            await first.forgets()
            try await stage.restart()
            let hag = try await stage.enter(Self.hag + "/pda")
            #expect(try await hag.history(as: "thirdwitch").count == length)
            #expect(try await hag.archived().count == 5)
        }
    }

    @Test("The archive goes with the room")
    func destroyed() async throws {
        try await Self.play { stage, watch, first, second, hag in
            try await first.says("gone")
            await second.forgets()
            watch[coven]?.destroy()
            _ = await first.everything()
            #expect(try await hag.isRefused(.set, Query.whole(), to: coven).condition == .itemNotFound)
            // Its owner makes it anew.
            try await first.makesRoom(as: "firstwitch")
            #expect(try await first.bodies() == [])
        }
    }

    // MARK: Bombs

    @Test(
        "Requests for history that make no sense harm nobody (XEP-0045 §7.2.14)",
        arguments: [
            ("maxstanzas='99999999999999999999999'", 3), ("maxstanzas='2147483647'", 3), ("maxstanzas='-1'", 0),
            ("maxchars='-99'", 0), ("seconds='-1'", 0), ("seconds='9223372036854775807'", 3),
            ("since='0001-01-01T00:00:00Z'", 3), ("since='9999-12-31T23:59:59Z'", 0), ("since='yesterday'", 3),
            ("maxstanzas='2' seconds='900' maxchars='1000000'", 2), ("maxstanzas='0'", 0), ("maxchars='0'", 0),
        ])
    func historyBombs(_ attributes: String, _ count: Int) async throws {
        try await Self.play { stage, _, first, second, hag in
            for number in 1...3 { try await first.says("\(number)") }
            await stage.advance(by: .seconds(1))
            #expect(try await hag.history(as: "thirdwitch", "<history \(attributes)/>").count == count)
        }
    }

    @Test("Characters are those of the whole stanzas as they are sent, code points of XML (XEP-0045 §7.2.14)")
    func characters() async throws {
        try await Self.play { stage, _, first, second, hag in
            try await first.says("first")
            try await first.says("e\u{301} \u{1F469}\u{200D}\u{1F52C}\u{1F3FD} &amp; &lt;")
            let sent = try #require(try await hag.history(as: "thirdwitch").last)
            var writer = XMLWriter()
            writer.write(try #require(try Stanza.parse(sent)))
            let count = String(decoding: writer.bytes, as: UTF8.self).unicodeScalars.count
            #expect(try await hag.history(as: "thirdwitch", "<history maxchars='\(count)'/>").count == 1)
            #expect(try await hag.history(as: "thirdwitch", "<history maxchars='\(count - 1)'/>").isEmpty)
        }
    }

    @Test("Messages too large together are not all in the history")
    func largeHistory() async throws {
        try await Self.play { stage, _, first, second, hag in
            let text = String(repeating: "x", count: 200_000)
            for number in 1...12 {
                try await first.says("\(number)\(text)")
                await first.forgets()
                await second.forgets()
            }
            #expect(try await hag.history(as: "thirdwitch").count == 5)
        }
    }

    @Test("Of very many queries at once each gets its answer, and the room goes on")
    func manyQueries() async throws {
        try await Self.play("waiting_queries: 5") { stage, _, first, second, hag in
            try await first.says("heard")
            for batch in 0..<10 {
                let queries = (0..<200).map {
                    "<iq type='set' id='\(batch)-\($0)' to='\(coven)'>\(Query.whole())</iq>"
                }
                try await hag.sends(queries.joined())
            }
            var received: [Element] = []
            for _ in 0..<200 where received.count(where: { $0.name == "iq" }) < 2_000 {
                received += await hag.everything()
                await stage.advance(by: .seconds(1))
            }
            let answers = received.filter { $0.name == "iq" }
            #expect(answers.count == 2_000 && Set(answers.map { $0["id"] }).count == 2_000)
            let results = answers.filter { $0["type"] == "result" }.count
            #expect(results >= 6 && results == received.filter { $0.child("result", .mam) != nil }.count)
            let errors = answers.compactMap { $0.child("error") }.map { StanzaError($0).condition }
            #expect(errors.allSatisfy { $0 == .resourceConstraint })
            #expect(try await hag.bodies() == ["heard"])
            try await second.says("still here")
            try await first.receivesAnywhere("<message><body>still here</body></message>")
        }
    }
}
