import ServerKit
import StorageMemory
import StorageSQLite
import TestKit
import Testing

@testable import Modules

/// What the tests of the archive share.
enum ArchiveStage {
    static let modules: [any Module.Type] = [
        Messages.self, Offline.self, StagePresence.self, Archive.self, Disco.self, Roster.self,
    ]
    static let romeo = "romeo@montague.example"
    static let juliet = "juliet@capulet.example"

    static func config(_ archive: String) -> String {
        "modules:\n" + modules.map { "  \($0.info.name): on\n" }.joined()
            .replacing("archive: on", with: "archive: { \(archive) }")
    }

    /// Romeo and Juliet are there.
    static func play(
        _ archive: String = "", driver: any StorageDriver = MemoryStorageDriver(),
        _ body: @escaping @ServerActor @Sendable (Stage, Actor, Actor) async throws -> Void
    ) async throws {
        let config = archive.isEmpty ? "" : config(archive)
        try await TestKit.play(modules: modules, config: config, driver: driver) { stage in
            let romeo = try await stage.enter(romeo + "/orchard")
            let juliet = try await stage.enter(juliet + "/balcony")
            try await body(stage, romeo, juliet)
        }
    }

    static func form(_ fields: String) -> String {
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value>"
            + "</field>\(fields)</x>"
    }

    static func field(_ name: String, _ values: String...) -> String {
        "<field var='\(name)'>" + values.map { "<value>\($0)</value>" }.joined() + "</field>"
    }

    static func set(_ content: String) -> String { "<set xmlns='http://jabber.org/protocol/rsm'>\(content)</set>" }

    static func query(_ content: String = "") -> String { "<query xmlns='urn:xmpp:mam:2'>\(content)</query>" }
}

extension Actor {
    /// Queries its archive, and returns the results and the `<fin/>`.
    func queries(
        _ content: String = "", file: String = #fileID, line: Int = #line
    ) async throws -> (results: [Element], fin: Element) {
        let fin = try #require(
            try await asks(.set, ArchiveStage.query(content), file: file, line: line))
        let results = takeInbox().compactMap { $0.child("result", .mam) }
        return (results, fin)
    }

    /// What the results of a query say, in their order.
    func bodies(_ content: String = "", file: String = #fileID, line: Int = #line) async throws -> [String] {
        try await queries(content, file: file, line: line).results.map { $0.archived?.text(of: "body") ?? "" }
    }
}

extension Element {
    /// The message in a result.
    var archived: Element? { child("forwarded", .forward)?.child("message", .client) }
    fileprivate var set: Element? { child("set", .rsm) }
}

@Suite("Message archive: queries (XEP-0313 §4, §5)") struct ArchiveTests {
    private typealias Names = ArchiveStage

    /// Romeo writes to Juliet, a second apart: "1", "2", …
    @ServerActor
    private static func write(_ count: Int, _ stage: Stage, _ romeo: Actor, _ juliet: Actor) async throws {
        for number in 1...count {
            try await romeo.sends("<message to='\(Names.juliet)' type='chat'><body>\(number)</body></message>")
            await stage.advance(by: .seconds(1))
        }
        _ = await juliet.everything()
    }

    @Test("Both sides find the message, and the ids that went out with it")
    func example() async throws {
        try await Names.play { stage, romeo, juliet in
            try await romeo.sends("""
                <message to='juliet@capulet.example' type='chat' id='m1' xml:lang='en'>
                <body>Call me but love, &amp; I'll be new baptized</body></message>
                """)
            let got = try await juliet.receives("""
                <message from='romeo@montague.example/orchard'><body/>
                <stanza-id xmlns='urn:xmpp:sid:0' by='juliet@capulet.example'/></message>
                """)
            #expect(got.children("stanza-id", .stanzaIDs).count == 1)
            let time = stage.clock.date
            await stage.advance(by: .seconds(60))
            for (reader, address) in [(romeo, Names.romeo), (juliet, Names.juliet)] {
                let fin = try #require(
                    try await reader.asks(.set, "<query xmlns='urn:xmpp:mam:2' queryid='f27'/>", to: address))
                let message = try await reader.receives("""
                    <message from='\(address)' to='\(reader.jid?.description ?? "")'>
                    <result xmlns='urn:xmpp:mam:2' queryid='f27'><forwarded xmlns='urn:xmpp:forward:0'>
                    <delay xmlns='urn:xmpp:delay' stamp='\(time)'/>
                    <message xmlns='jabber:client' from='romeo@montague.example/orchard' id='m1' type='chat'
                      to='juliet@capulet.example' xml:lang='en'>
                    <body>Call me but love, &amp; I'll be new baptized</body></message></forwarded></result></message>
                    """)
                let id = try #require(message.child("result", .mam)?["id"])
                #expect(fin.is("fin", .mam) && fin["complete"] == "true" && fin["stable"] == nil)
                #expect(fin.set?.text(of: "first") == id && fin.set?.text(of: "last") == id)
                // XEP-0313 §3.5: the sender's id is the sender's business.
                let isHers = got.child("stanza-id", .stanzaIDs)?["id"] == id
                #expect(isHers == (reader === juliet))
            }
            try await stage.staysSilent()
        }
    }

    @Test("Pages forwards and backwards, their ends, and flipped ones")
    func paging() async throws {
        try await Names.play { stage, romeo, juliet in
            try await Self.write(10, stage, romeo, juliet)
            // Forwards.
            var seen: [String] = []
            var after = ""
            for expected in [false, false, true] {
                let page = try await juliet.queries(Names.set("<max>4</max><after>\(after)</after>"))
                seen += page.results.compactMap { $0.archived?.text(of: "body") }
                #expect((page.fin["complete"] == "true") == expected)
                #expect(page.fin.set?.text(of: "first") == page.results.first?["id"])
                after = try #require(page.fin.set?.text(of: "last"))
            }
            #expect(seen == (1...10).map(String.init))
            let end = try await juliet.queries(Names.set("<max>4</max><after>\(after)</after>"))
            #expect(end.results.isEmpty && end.fin["complete"] == "true" && end.fin.set?.has("first") == false)
            // Backwards: pages go back, each is in the order of the archive.
            seen = []
            var before = ""
            for expected in [false, false, true] {
                let page = try await juliet.queries(Names.set("<max>4</max><before>\(before)</before>"))
                seen = page.results.compactMap { $0.archived?.text(of: "body") } + seen
                #expect((page.fin["complete"] == "true") == expected)
                before = try #require(page.fin.set?.text(of: "first"))
            }
            #expect(seen == (1...10).map(String.init))
            // Flipped: the same page, sent the other way around.
            let flipped = try await juliet.queries(Names.set("<max>3</max><before/>") + "<flip-page/>")
            #expect(flipped.results.map { $0.archived?.text(of: "body") } == ["10", "9", "8"])
            #expect(flipped.fin.set?.text(of: "first") == flipped.results.last?["id"])
            #expect(flipped.fin.set?.text(of: "last") == flipped.results.first?["id"])
            #expect(try await juliet.bodies(Names.set("<max>3</max>") + "<flip-page/>") == ["3", "2", "1"])
            // The count alone.
            let count = try await juliet.queries(Names.set("<max>0</max>"))
            #expect(count.results.isEmpty && count.fin.set?.text(of: "count") == "10" && count.fin["complete"] == nil)
        }
    }

    @Test("A page ends where the server wants it to", arguments: ["page_size: 3, page_limit: 4", "page_bytes: 64 KiB"])
    func limits(options: String) async throws {
        try await Names.play(options) { stage, romeo, juliet in
            let text = String(repeating: "x", count: 30_000)
            for number in 1...6 {
                try await romeo.sends("<message to='\(Names.juliet)'><body>\(number)\(text)</body></message>")
            }
            _ = await juliet.everything()
            let page = try await juliet.queries()
            let large = try await juliet.queries(Names.set("<max>1000</max>"))
            #expect(page.fin["complete"] == nil && large.fin["complete"] == nil)
            let isCounted = options.contains("page_limit")
            #expect(page.results.count == 3 && large.results.count == (isCounted ? 4 : 3))
            let last = try #require(large.fin.set?.text(of: "last"))
            let rest = try await juliet.queries(Names.set("<after>\(last)</after>"))
            #expect(rest.results.count == 6 - large.results.count)
        }
    }

    @Test("By peer, by full JID, by time")
    func filters() async throws {
        try await Names.play { stage, romeo, juliet in
            let nurse = try await stage.enter("nurse@capulet.example/hall")
            let phone = try await stage.enter(Names.romeo + "/phone")
            try await romeo.sends("<message to='\(Names.juliet)'><body>1</body></message>")
            await stage.advance(by: .seconds(60))
            let second = stage.clock.date
            try await phone.sends("<message to='\(Names.juliet)'><body>2</body></message>")
            await stage.advance(by: .seconds(60))
            try await nurse.sends("<message to='\(Names.juliet)/balcony'><body>3</body></message>")
            try await juliet.sends("<message to='\(Names.romeo)/phone'><body>4</body></message>")
            try await juliet.sends("<message to='nurse@capulet.example'><body>5</body></message>")
            try await juliet.sends("<message><body>note to self</body></message>")
            _ = await juliet.everything()
            func with(_ jid: String) -> String { Names.form(Names.field("with", jid)) }
            #expect(try await juliet.bodies() == ["1", "2", "3", "4", "5", "note to self"])
            #expect(try await juliet.bodies(with(Names.romeo)) == ["1", "2", "4"])
            #expect(try await juliet.bodies(with("ROMEO@Montague.example")) == ["1", "2", "4"])
            #expect(try await juliet.bodies(with(Names.romeo + "/phone")) == ["2", "4"])
            #expect(try await juliet.bodies(with(Names.romeo + "/ghost")) == [])
            #expect(try await juliet.bodies(with("nurse@capulet.example")) == ["3", "5"])
            // XEP-0313 §4.1.1: only what she sent to herself.
            #expect(try await juliet.bodies(with(Names.juliet)) == ["note to self"])
            #expect(try await juliet.bodies(with("nobody@example.org")) == [])
            func times(_ start: Timestamp?, _ end: Timestamp?) -> String {
                Names.form(
                    (start.map { Names.field("start", "\($0)") } ?? "") + (end.map { Names.field("end", "\($0)") } ?? ""))
            }
            #expect(try await juliet.bodies(times(second, second)) == ["2"])
            #expect(try await juliet.bodies(times(nil, second)) == ["1", "2"])
            #expect(try await juliet.bodies(times(second.advanced(by: .seconds(1)), nil)).count == 4)
            #expect(try await juliet.bodies(times(second, second.advanced(by: .seconds(-5)))) == [])
            // Backwards through one conversation.
            #expect(
                try await juliet.bodies(with(Names.romeo) + Names.set("<max>2</max><before/>")) == ["2", "4"])
            let groupchat = Names.form(Names.field("include-groupchat", "true"))
            #expect(try await juliet.bodies(groupchat).count == 6)
        }
    }

    @Test("A resource is found among very many messages of its account")
    func resources() async throws {
        try await Names.play { stage, romeo, juliet in
            let store = stage.server.storage.rawArchive("archive", on: "capulet.example")
            for number in 1...1200 {
                let peer = try JID(localpart: "romeo", domainpart: "montague.example", resourcepart: "\(number % 600)")
                let message = Message(to: juliet.jid?.bare, from: peer) { Element("body", text: "\(number)") }
                store.append(
                    NewArchiveItem(
                        id: "\(number)", time: Int64(number), with: Names.romeo,
                        value: ArchivedMessage.encode(message, .received, peer)), to: "juliet")
            }
            let with = Names.form(Names.field("with", Names.romeo + "/599"))
            #expect(try await juliet.bodies(with) == ["599", "1199"])
            #expect(try await juliet.bodies(with + Names.set("<max>1</max>")) == ["599"])
            #expect(try await juliet.bodies(with + Names.set("<max>1</max><before/>")) == ["1199"])
            #expect(try await juliet.bodies(with + Names.set("<after>599</after>")) == ["1199"])
            let none = Names.form(Names.field("with", Names.romeo + "/600"))
            let page = try await juliet.queries(none)
            #expect(page.results.isEmpty && page.fin["complete"] == "true")
            let count = try await juliet.queries(with + Names.set("<max>0</max>"))
            #expect(count.fin.child("set", .rsm)?.text(of: "count") == "2")
        }
    }

    @Test("By ids: between two, behind, before, and named ones")
    func ids() async throws {
        try await Names.play { stage, romeo, juliet in
            try await Self.write(8, stage, romeo, juliet)
            let ids = try await juliet.queries().results.compactMap { $0["id"] }
            #expect(ids.count == 8 && ids.sorted() == ids)
            func bodies(_ fields: String, _ more: String = "") async throws -> [String] {
                try await juliet.bodies(Names.form(fields) + more)
            }
            let after = Names.field("after-id", ids[1])
            let before = Names.field("before-id", ids[5])
            #expect(try await bodies(after) == ["3", "4", "5", "6", "7", "8"])
            #expect(try await bodies(before) == ["1", "2", "3", "4", "5"])
            #expect(try await bodies(after + before) == ["3", "4", "5"])
            #expect(try await bodies(after + before, Names.set("<max>2</max><before/>")) == ["4", "5"])
            // The narrower of both counts.
            #expect(try await bodies(after, Names.set("<after>\(ids[3])</after>")) == ["5", "6", "7", "8"])
            #expect(try await bodies(after, Names.set("<after>\(ids[0])</after>")).count == 6)
            #expect(try await bodies(before, Names.set("<max>1</max><before>\(ids[7])</before>")) == ["5"])
            #expect(try await bodies(before, Names.set("<max>1</max><before>\(ids[2])</before>")) == ["2"])
            // The order is the archive's, whatever the asker's.
            #expect(try await bodies(Names.field("ids", ids[6], ids[0], ids[6])) == ["1", "7"])
            #expect(
                try await bodies(Names.field("ids", ids[6], ids[0]) + Names.field("with", "nurse@capulet.example")) == [])
            // XEP-0313 §4.1.3, §4.3.2.
            for fields in [
                Names.field("ids", ids[0], "no-such-id"), Names.field("after-id", "x"), Names.field("before-id", "x"),
            ] {
                let error = try await juliet.isRefused(.set, Names.query(Names.form(fields)))
                #expect(error.condition == .itemNotFound)
            }
            for set in ["<after>x</after>", "<before>x</before>"] {
                #expect(try await juliet.isRefused(.set, Names.query(Names.set(set))).condition == .itemNotFound)
                let error = try await juliet.isRefused(.set, Names.query(Names.form(after + before) + Names.set(set)))
                #expect(error.condition == .itemNotFound)
            }
            // Romeo's ids are others.
            let error = try await romeo.isRefused(.set, Names.query(Names.set("<after>\(ids[0])</after>")))
            #expect(error.condition == .itemNotFound)
        }
    }

    @Test("The archive tells where it begins and ends")
    func metadata() async throws {
        try await Names.play { stage, romeo, juliet in
            let ask = "<metadata xmlns='urn:xmpp:mam:2'/>"
            let empty = try #require(try await juliet.asks(.get, ask))
            #expect(empty.is("metadata", .mam) && empty.children.isEmpty)
            let start = stage.clock.date
            try await Self.write(3, stage, romeo, juliet)
            let ids = try await juliet.queries().results.compactMap { $0["id"] }
            let full = try #require(try await juliet.asks(.get, ask, to: Names.juliet))
            #expect(full.child("start")?["id"] == ids[0] && full.child("start")?["timestamp"] == "\(start)")
            #expect(full.child("end")?["id"] == ids[2])
            #expect(full.child("end")?["timestamp"] == "\(start.advanced(by: .seconds(2)))")
            #expect(try await romeo.isRefused(.get, ask, to: Names.juliet).condition == .forbidden)
            // XEP-0386: whoever binds with Bind 2 is told at once.
            let stream = try #require(juliet.stream)
            let reports = await stage.server.host("capulet.example")?.inline.reports(to: stream)
            #expect(reports?.map(\.xml) == [full.xml])
        }
    }

    @Test("The form tells which fields there are, and disco that there is an archive")
    func discovery() async throws {
        try await Names.play("search: on") { stage, romeo, juliet in
            let form = try #require(try await juliet.asks(.get, Names.query())?.firstChild)
            #expect(form["type"] == "form" && form.child("field")?.text(of: "value") == "urn:xmpp:mam:2")
            #expect(
                Set(form.children("field").compactMap { $0["var"] }) == [
                    "FORM_TYPE", "with", "start", "end", "before-id", "after-id", "ids", "include-groupchat",
                    "{urn:xmpp:fulltext:0}fulltext",
                ])
            #expect(form.children("field").allSatisfy { !$0.has("required") })
            let ids = try #require(form.children("field").first { $0["var"] == "ids" })
            #expect(ids["type"] == "list-multi" && !ids.has("option"))
            #expect(ids.child("validate", .init("http://jabber.org/protocol/xdata-validate"))?.hasChildren == true)
            let info = try #require(try await juliet.asks(.get, DiscoTests.info, to: Names.juliet))
            for feature in [
                "urn:xmpp:mam:2", "urn:xmpp:mam:2#extended", "urn:xmpp:mam:2#groupchat-field", "urn:xmpp:sid:0",
                "urn:xmpp:message-retract:1", "urn:xmpp:message-retract:1#tombstone", "urn:xmpp:fulltext:0",
            ] {
                #expect(info.features.contains(feature), "\(feature)")
            }
            let host = try #require(try await juliet.asks(.get, DiscoTests.info, to: "capulet.example"))
            #expect(host.features.contains("urn:xmpp:mam:2"))
            // Switched off there is nothing of it, and back again everything.
            try stage.reload(Names.config("search: off"))
            let without = try #require(try await juliet.asks(.get, DiscoTests.info, to: Names.juliet))
            #expect(!without.features.contains("urn:xmpp:fulltext:0"))
            try await romeo.sends("<message to='\(Names.juliet)'><body>1</body></message>")
            _ = await juliet.everything()
            try stage.reload(Names.config("").replacing("archive: {  }", with: "archive: off"))
            let none = try #require(try await juliet.asks(.get, DiscoTests.info, to: Names.juliet))
            #expect(!none.features.contains { $0.hasPrefix("urn:xmpp:mam") || $0.contains("sid:0") })
            #expect(try await juliet.isRefused(.set, Names.query()).condition == .serviceUnavailable)
            try await romeo.sends("<message to='\(Names.juliet)'><body>2</body></message>")
            let got = try await juliet.receives("<message><body>2</body></message>")
            #expect(!got.has("stanza-id", .stanzaIDs))
            try stage.reload(Names.config("search: off"))
            #expect(try await juliet.bodies() == ["1"])
        }
    }

    @Test("Nonsense and strangers are refused")
    func refusals() async throws {
        try await Names.play { stage, romeo, juliet in
            try await Self.write(2, stage, romeo, juliet)
            let type = "<field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field>"
            let long = String(repeating: "x", count: 2000)
            let many = (0..<300).map { "<value>\($0)</value>" }.joined()
            let table: [(String, StanzaError.Condition)] = [
                (Names.form(Names.field("colour", "red")), .featureNotImplemented),
                (Names.form(Names.field("{urn:xmpp:fulltext:0}fulltext", "word")), .featureNotImplemented),
                (Names.form(Names.field("with", "@")), .notAcceptable),
                (Names.form(Names.field("with", Names.romeo, Names.juliet)), .notAcceptable),
                (Names.form(Names.field("with", Names.romeo) + Names.field("with", Names.romeo)), .badRequest),
                (Names.form(Names.field("start", "yesterday")), .notAcceptable),
                (Names.form(Names.field("end", "2010-13-41T25:00:00Z")), .notAcceptable),
                (Names.form(Names.field("include-groupchat", "maybe")), .notAcceptable),
                (Names.form("<field var='ids'>\(many)</field>"), .policyViolation),
                (Names.form("<field><value>1</value></field>"), .badRequest),
                ("<x xmlns='jabber:x:data' type='submit'/>", .badRequest),
                ("<x xmlns='jabber:x:data'>\(type)</x>", .badRequest),
                ("<x xmlns='jabber:x:data' type='form'>\(type)</x>", .badRequest),
                (Names.form("").replacing("urn:xmpp:mam:2<", with: "urn:xmpp:mam:1<"), .badRequest),
                (Names.form("") + Names.form(""), .badRequest),
                (Names.set("<max>many</max>"), .badRequest),
                (Names.set("<max>-1</max>"), .badRequest),
                (Names.set("<max>99999999999</max>"), .badRequest),
                (Names.set("<after>a</after><before>b</before>"), .badRequest),
                (Names.set("<index>5</index>"), .featureNotImplemented),
                (Names.set("") + Names.set(""), .badRequest),
                (Names.set("<after>\(long)</after>"), .itemNotFound),
            ]
            for (content, condition) in table {
                let error = try await juliet.isRefused(.set, Names.query(content))
                #expect(error.condition == condition, "\(content)")
            }
            for attribute in ["queryid='\(long)'", "node='urn:xmpp:microblog:0'"] {
                let error = try await juliet.isRefused(.set, "<query xmlns='urn:xmpp:mam:2' \(attribute)/>")
                #expect([.badRequest, .featureNotImplemented].contains(error.condition))
            }
            // XEP-0313 §8.1.
            for stranger in [romeo, try await stage.enter("nurse@capulet.example/hall")] {
                for kind in [IQ.Kind.get, .set] {
                    let error = try await stranger.isRefused(kind, Names.query(), to: Names.juliet)
                    #expect(error.condition == .forbidden)
                }
            }
            let error = try await romeo.isRefused(.set, Names.query(), to: "nobody@capulet.example")
            #expect(error.condition == .serviceUnavailable)
            #expect(try await juliet.bodies() == ["1", "2"])
            try await stage.staysSilent()
        }
    }

    @Test("Everything is there after a restart, over SQLite")
    func restart() async throws {
        try await withDirectory { directory in
            let driver = try SQLiteStorageDriver(path: directory + "/test.sqlite")
            try await Names.play(driver: driver) { stage, romeo, juliet in
                try await Self.write(120, stage, romeo, juliet)
                let prefs = "<prefs xmlns='urn:xmpp:mam:2' default='never'><never><jid>a@b</jid></never></prefs>"
                try await romeo.asks(.set, prefs)
                let before = try await juliet.queries(Names.set("<max>200</max>")).results.map { $0["id"] }
                try await stage.restart()
                let again = try await stage.enter(Names.juliet + "/balcony")
                let after = try await again.queries(Names.set("<max>200</max>"))
                #expect(after.results.map { $0["id"] } == before && before.count == 120)
                #expect(after.results.map { $0.archived?.text(of: "body") } == (1...120).map { "\($0)" })
                let form = Names.form(Names.field("with", Names.romeo + "/orchard"))
                #expect(try await again.queries(form + Names.set("<max>7</max><before/>")).results.count == 7)
                let other = try await stage.enter(Names.romeo + "/orchard")
                let stored = try #require(try await other.asks(.get, "<prefs xmlns='urn:xmpp:mam:2'/>"))
                #expect(stored["default"] == "never" && stored.child("never")?.text(of: "jid") == "a@b")
                try await other.sends("<message to='\(Names.juliet)'><body>not kept</body></message>")
                #expect(try await other.bodies(Names.set("<max>200</max>")).count == 120)
            }
            driver.close()
        }
    }
}
