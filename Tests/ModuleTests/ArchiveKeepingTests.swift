import ServerKit
import StorageMemory
import StorageSQLite
import TestKit
import Testing

@testable import Modules

@Suite("Message archive: retention, search, offline messages") struct ArchiveKeepingTests {
    private typealias Names = ArchiveStage

    @ServerActor
    private static func write(_ bodies: [String], _ romeo: Actor, _ juliet: Actor) async throws {
        for body in bodies {
            try await romeo.sends("<message to='\(Names.juliet)' type='chat'><body>\(body)</body></message>")
        }
        _ = await juliet.everything()
    }

    // MARK: Retention

    /// Puts messages into an archive that came so long ago, in hours.
    @ServerActor
    private static func age(_ stage: Stage, _ jid: String, _ hours: [Int]) throws {
        let jid = try #require(JID(jid))
        let store = stage.server.storage.rawArchive("archive", on: jid.domainpart)
        for (index, hours) in hours.enumerated() {
            let time = stage.clock.date.advanced(by: .zero - .hours(hours)).microseconds
            let message = Message(to: jid, from: jid) { Element("body", text: "\(hours)") }
            store.append(
                NewArchiveItem(
                    id: "\(index)", time: time, with: "\(jid)", value: ArchivedMessage.encode(message, .sent, jid)),
                to: jid.localpart ?? "")
        }
    }

    /// The stage opens at 15:06 UTC.
    private static let soon = "cleanup_hour: 17"

    @Test("Old messages go when it is quiet, host by host")
    func retention() async throws {
        let config = """
            hosts:
              montague.example: {}
              capulet.example: { modules: { archive: { retention: 5 hours, \(Self.soon) } } }
            modules:
              messages: on
              stage_presence: on
              archive: { retention: 10 hours, \(Self.soon) }

            """
        try await TestKit.play(modules: [Messages.self, StagePresence.self, Archive.self], config: config) { stage in
            let romeo = try await stage.enter(Names.romeo + "/orchard")
            let juliet = try await stage.enter(Names.juliet + "/balcony")
            let hours = Array(repeating: 99, count: 450) + [12, 7, 4, 1]
            for name in [Names.romeo, Names.juliet] { try Self.age(stage, name, hours) }
            await stage.advance(by: .minutes(90))
            #expect(try await juliet.bodies(Names.set("<max>4</max><before/>")) == ["12", "7", "4", "1"])
            await stage.advance(by: .minutes(60))
            #expect(try await juliet.bodies() == ["1"])
            #expect(try await romeo.bodies() == ["7", "4", "1"])
            // Not again before the next day.
            try Self.age(stage, Names.juliet, [50])
            await stage.advance(by: .hours(3))
            #expect(try await juliet.bodies().count == 2)
        }
    }

    @Test("A server that is never up at that hour cleans up all the same")
    func daytime() async throws {
        try await Names.play("retention: 10 hours") { stage, romeo, juliet in
            try Self.age(stage, Names.juliet, [20])
            await stage.advance(by: .hours(2))
            #expect(try await juliet.bodies() == ["20"])
            let rounds = stage.server.storage.values("archive-cleanup", on: "capulet.example", of: Int64.self)
            #expect(try await rounds.value(for: "last") != nil)
            rounds.set(stage.clock.date.seconds - 31 * 3600, for: "last")
            await stage.advance(by: .hours(1))
            #expect(try await juliet.bodies() == [])
        }
    }

    @Test("Users may have less kept, with a command (XEP-0441 §2.2)")
    func command() async throws {
        let modules = Names.modules + [Commands.self]
        let config = Names.config("retention: 30 days, \(Self.soon)") + "  commands: on\n"
        try await TestKit.play(modules: modules, config: config) { stage in
            let romeo = try await stage.enter(Names.romeo + "/orchard")
            let juliet = try await stage.enter(Names.juliet + "/balcony")
            func command(_ more: String = "", _ attributes: String = "") -> String {
                "<command xmlns='http://jabber.org/protocol/commands' node='urn:xmpp:mam#configure'\(attributes)>"
                    + "\(more)</command>"
            }
            @ServerActor
            func configures(_ actor: Actor, _ days: String) async throws -> Element? {
                let host = actor.domain
                let first = try #require(try await actor.asks(.set, command(), to: host))
                let id = try #require(first["sessionid"])
                let form = "<x xmlns='jabber:x:data' type='submit'><field var='days'><value>\(days)</value></field></x>"
                return try await actor.asks(.set, command(form, " sessionid='\(id)' action='complete'"), to: host)
            }
            for days in ["0", "31", "-1", "soon", "99999999999999999999"] {
                await #expect(throws: StanzaError.self) { _ = try await configures(juliet, days) }
            }
            #expect(try await configures(romeo, "3")?["status"] == "completed")
            #expect(try await configures(romeo, "")?["status"] == "completed")
            #expect(try await configures(juliet, "2")?["status"] == "completed")
            let shown = try #require(try await juliet.asks(.set, command(), to: "capulet.example"))
            let field = shown.child("x", .dataForms)?.children("field").first { $0["var"] == "days" }
            #expect(field?.text(of: "value") == "2")
            await #expect(throws: StanzaError.self) { try await romeo.asks(.set, command(), to: "capulet.example") }
            let hours = Array(repeating: 90, count: 450) + [40]
            for name in [Names.romeo, Names.juliet] { try Self.age(stage, name, hours) }
            await stage.advance(by: .minutes(150))
            #expect(try await juliet.bodies() == ["40"])
            #expect(try await romeo.bodies(Names.set("<max>2</max>")) == ["90", "90"])
        }
    }

    // MARK: Search

    @Test("Words are found, however they are written, and only as words (XEP-0431)", arguments: ["memory", "sqlite"])
    func search(_ storage: String) async throws {
        try await withDirectory { directory in
            let sqlite = storage == "sqlite" ? try SQLiteStorageDriver(path: directory + "/test.sqlite") : nil
            let driver: any StorageDriver = sqlite ?? MemoryStorageDriver()
            try await Names.play("search: on", driver: driver) { stage, romeo, juliet in
                let nurse = try await stage.enter("nurse@capulet.example/hall")
                try await Self.write(
                    ["Wherefore art thou Romeo?", "Deny thy father &amp; refuse thy NAME", "Or, if thou wilt not"],
                    romeo, juliet)
                try await nurse.sends("<message to='\(Names.juliet)'><body>Madam! thou</body></message>")
                try await romeo.sends("""
                    <message to='\(Names.juliet)'><subject>name</subject><body xml:lang='de'>Straße</body>
                    <body>street</body></message>
                    """)
                _ = await juliet.everything()
                func finds(_ text: String, _ more: String = "") async throws -> [String] {
                    try await juliet.bodies(Names.form(Names.field("{urn:xmpp:fulltext:0}fulltext", text) + more))
                }
                #expect(try await finds("THOU").count == 3)
                #expect(try await finds("thou romeo") == ["Wherefore art thou Romeo?"])
                #expect(try await finds("romeo,thou!") == ["Wherefore art thou Romeo?"])
                #expect(try await finds("name").count == 2)
                #expect(try await finds("straße").count == 1)
                #expect(try await finds("fath") == [])
                #expect(try await finds("madam father") == [])
                #expect(try await finds("thou", Names.field("with", "nurse@capulet.example")) == ["Madam! thou"])
                // What would be an operator elsewhere is a word.
                for text in [
                    "thou OR madam", "NOT thou", "th*", "\"thou", "text:thou", "thou NEAR madam", "{text} : thou",
                    "thou AND", "^thou)", "'; DROP TABLE item; --",
                ] {
                    #expect(try await finds(text).count <= 3, "\(text)")
                }
                #expect(try await finds("thou OR madam") == [])
                #expect(try await finds("th*") == [])
                #expect(try await finds("\"thou").count == 3)
                #expect(try await finds("^thou)").count == 3)
                #expect(try await finds("!?\"") == [])
                #expect(try await finds("").count == 5)
                for text in [String(repeating: "a ", count: 20), String(repeating: "a", count: 2000)] {
                    let form = Names.form(Names.field("{urn:xmpp:fulltext:0}fulltext", text))
                    #expect(try await juliet.isRefused(.set, Names.query(form)).condition == .policyViolation)
                }
                // Pages.
                let page = Names.form(Names.field("{urn:xmpp:fulltext:0}fulltext", "thou"))
                #expect(try await juliet.bodies(page + Names.set("<max>1</max><before/>")) == ["Madam! thou"])
                let first = try await juliet.queries(page + Names.set("<max>2</max>"))
                let last = first.fin.child("set", .rsm)?.text(of: "last") ?? ""
                #expect(first.fin["complete"] == nil && first.fin["stable"] == nil)
                #expect(
                    try await juliet.bodies(page + Names.set("<after>\(last)</after>")) == ["Madam! thou"])
            }
            sqlite?.close()
        }
    }

    @Test("What came while searching was off is indexed when it is on", arguments: ["memory", "sqlite"])
    func reindexing(_ storage: String) async throws {
        try await withDirectory { directory in
            let sqlite = storage == "sqlite" ? try SQLiteStorageDriver(path: directory + "/test.sqlite") : nil
            let driver: any StorageDriver = sqlite ?? MemoryStorageDriver()
            try await Names.play("search: off", driver: driver) { stage, romeo, juliet in
                try await Self.write((1...120).map { "early \($0)" }, romeo, juliet)
                let search = Names.form(Names.field("{urn:xmpp:fulltext:0}fulltext", "early"))
                let page = search + Names.set("<max>200</max>")
                #expect(try await juliet.isRefused(.set, Names.query(search)).condition == .featureNotImplemented)
                try stage.reload(Names.config("search: on"))
                await stage.settle()
                let unfinished = try await juliet.queries(page)
                #expect(unfinished.fin["stable"] == "false" && unfinished.results.count < 120)
                await stage.advance(by: .seconds(10))
                let finished = try await juliet.queries(page)
                #expect(finished.fin["stable"] == nil && finished.results.count == 120)
                // Off and on again: only what is missing.
                try stage.reload(Names.config("search: off"))
                await stage.settle()
                await stage.advance(by: .seconds(10))
                try await Self.write(["early as well"], romeo, juliet)
                try stage.reload(Names.config("search: on"))
                await stage.settle()
                await stage.advance(by: .seconds(10))
                #expect(try await juliet.queries(page).results.count == 121)
            }
            sqlite?.close()
        }
    }

    // MARK: Offline messages

    /// Juliet was away while Romeo wrote "1" to "5", and connects without showing herself.
    @ServerActor
    private static func playAway(
        _ body: @escaping @ServerActor @Sendable (Stage, Actor, Actor) async throws -> Void
    ) async throws {
        try await Names.play { stage, romeo, juliet in
            try await write(["0"], romeo, juliet)
            await juliet.leaves()
            for number in 1...5 {
                try await romeo.sends("<message to='\(Names.juliet)' type='chat'><body>\(number)</body></message>")
                await stage.advance(by: .seconds(1))
            }
            try await body(stage, romeo, stage.enter(Names.juliet + "/balcony", presence: false))
        }
    }

    @Test("Offline messages carry the archive's ids")
    func offlineIDs() async throws {
        try await Self.playAway { stage, romeo, juliet in
            try await juliet.sends("<presence/>")
            let got = await juliet.everything()
            #expect(got.map { $0.text(of: "body") } == (1...5).map { "\($0)" })
            #expect(got.allSatisfy { $0.has("delay", .delay) })
            let ids = got.compactMap { message in
                message.children("stanza-id", .stanzaIDs).first { $0["by"] == Names.juliet }?["id"]
            }
            #expect(try await juliet.queries().results.compactMap { $0["id"] }.suffix(5) == ids[...])
        }
    }

    @Test("What the client has read in the archive is not delivered again")
    func caughtUp() async throws {
        try await Self.playAway { stage, romeo, juliet in
            var after = ""
            for _ in 0..<3 {
                let page = try await juliet.queries(Names.set("<max>2</max><after>\(after)</after>"))
                after = page.fin.child("set", .rsm)?.text(of: "last") ?? ""
            }
            try await romeo.sends("<message to='\(Names.juliet)' type='chat'><body>6</body></message>")
            await stage.settle()
            try await juliet.sends("<presence/>")
            #expect(await juliet.everything().compactMap { $0.text(of: "body") } == ["6"])
            // Nothing is left for others.
            _ = try await stage.enter(Names.juliet + "/chamber")
            try await stage.staysSilent()
        }
    }

    @Test("The last page counts as far as it goes, and so do those before it")
    func lastPage() async throws {
        try await Self.playAway { stage, romeo, juliet in
            let page = try await juliet.queries(Names.set("<max>2</max><before/>"))
            let first = page.fin.child("set", .rsm)?.text(of: "first") ?? ""
            _ = try await juliet.queries(Names.set("<max>1</max><before>\(first)</before>"))
            try await juliet.sends("<presence/>")
            #expect(await juliet.everything().compactMap { $0.text(of: "body") } == ["1", "2"])
        }
    }

    @Test(
        "A look at a part of the archive is no catching up",
        arguments: [
            ArchiveStage.form(ArchiveStage.field("with", ArchiveStage.romeo)), ArchiveStage.set("<max>3</max>"),
            ArchiveStage.set("<max>0</max><before/>"), ArchiveStage.form(ArchiveStage.field("end", "2100-01-01T00:00:00Z")),
        ])
    func part(query: String) async throws {
        try await Self.playAway { stage, romeo, juliet in
            _ = try await juliet.queries(query)
            try await juliet.sends("<presence/>")
            #expect(await juliet.everything().count == 5)
        }
    }

    @Test("A message that is kept offline only is delivered whatever was read")
    func offTheRecord() async throws {
        try await Self.playAway { stage, romeo, juliet in
            try await romeo.sends("""
                <message to='\(Names.juliet)'><body>secret</body><no-permanent-store xmlns='urn:xmpp:hints'/></message>
                """)
            await stage.settle()
            #expect(try await juliet.bodies() == ["0", "1", "2", "3", "4", "5"])
            try await juliet.sends("<presence/>")
            let got = await juliet.everything()
            #expect(got.compactMap { $0.text(of: "body") } == ["secret"])
            #expect(got.first?.has("stanza-id", .stanzaIDs) == false)
        }
    }

    @Test("A client that reads slowly gets all of a large page, one that never reads an error; queries wait in line")
    func backlog() async throws {
        try await Names.play("page_bytes: 10 MB, waiting_queries: 3") { stage, romeo, juliet in
            let text = String(repeating: "x", count: 100_000)
            try await Self.write((1...20).map { "\($0)\(text)" }, romeo, juliet)
            let account = try #require(juliet.resource?.account)
            let link = SlowLink()
            let slow = account.bind("slow", link: link)
            @ServerActor
            func asks(_ id: String) throws {
                let query = try Element.parse("<iq type='set' id='\(id)'>\(Names.query())</iq>")
                slow.receive(.iq(try IQ(query)))
            }
            try asks("read")
            await stage.settle()
            for _ in 0..<40 where link.answers.isEmpty {
                await stage.advance(by: .seconds(1))
                link.read()
            }
            #expect(link.messages == 20 && link.answers == ["result read"] && link.most < 1_000_000)
            link.forget()
            // The first sticks, three wait for it.
            for id in ["a", "b", "c", "d", "e", "f"] { try asks(id) }
            await stage.settle()
            #expect(link.answers == ["error e", "error f"])
            await stage.advance(by: .seconds(21))
            #expect(link.messages < 20)
            #expect(link.answers == ["error e", "error f", "error a"])
        }
    }
}

/// A client that reads when it is told to.
@ServerActor
private final class SlowLink: ResourceLink {
    private(set) var backlog = 0
    private(set) var most = 0
    private(set) var messages = 0
    private(set) var answers: [String] = []

    func deliver(_ stanza: Stanza) {
        if case .iq(let iq) = stanza { answers.append("\(iq.kind.rawValue) \(iq.id ?? "")") } else { messages += 1 }
        backlog += stanza.element.xmlBytes.count
        most = max(most, backlog)
    }
    func read() { backlog = 0 }
    func forget() { (backlog, messages, answers) = (0, 0, []) }
    func close(_ error: StreamError?) {}
}
