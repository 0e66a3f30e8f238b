import ServerKit
import StorageMemory
import TestKit
import Testing

@testable import Modules

@Suite("Offline messages (XEP-0160, XEP-0203)") struct OfflineTests {
    private static let modules: [any Module.Type] = [Messages.self, Offline.self, StagePresence.self]
    private static let juliet = "juliet@capulet.example"

    /// Romeo is there, Juliet has an account and is away.
    private static func play(
        config: String = "", driver: MemoryStorageDriver = MemoryStorageDriver(),
        _ body: @escaping @ServerActor @Sendable (Stage, Actor) async throws -> Void
    ) async throws {
        try await TestKit.play(modules: modules, config: config, driver: driver) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await stage.account(juliet)
            try await body(stage, romeo)
        }
    }

    private static func config(_ offline: String) -> String {
        "modules:\n  messages: on\n  stage_presence: on\n  offline: { \(offline) }\n"
    }

    @Test("A message to a user who is away arrives with the next presence, stamped, and once")
    func flow() async throws {
        try await Self.play { stage, romeo in
            try await romeo.sends("""
                <message to='juliet@capulet.example' id='x' xml:lang='en'><body>O blessed, blessed night!</body>
                <custom xmlns='urn:example' xmlns:p='urn:p' p:a='1 &amp; 2'><p:inner>\u{1F339}</p:inner></custom>
                </message>
                """)
            try await stage.staysSilent()
            await stage.advance(by: .seconds(90))
            let balcony = try await stage.enter(Self.juliet + "/balcony", presence: false)
            try await stage.staysSilent()
            try await balcony.sends("<presence><priority>1</priority></presence>")
            let got = try await balcony.receives("""
                <message from='romeo@montague.example/orchard' to='juliet@capulet.example' id='x' xml:lang='en'>
                <body>O blessed, blessed night!</body>
                <custom xmlns='urn:example' xmlns:p='urn:p' p:a='1 &amp; 2'><p:inner>\u{1F339}</p:inner></custom>
                <delay xmlns='urn:xmpp:delay' from='capulet.example'>Offline Storage</delay></message>
                """)
            let delay = try Delay(#require(got.child("delay", .delay)))
            #expect(stage.clock.date.seconds - delay.stamp.seconds == 90)
            // Further presence brings nothing, a second client neither, nor does another session.
            try await balcony.sends("<presence><show>away</show></presence>")
            _ = try await stage.enter(Self.juliet + "/chamber")
            try await stage.staysSilent()
            await balcony.leaves()
            _ = try await stage.enter(Self.juliet + "/balcony", presence: false)
                .sends("<presence/>")
            try await stage.staysSilent()
        }
    }

    @Test("Many messages keep their order, and survive a restart")
    func order() async throws {
        try await Self.play { stage, romeo in
            for number in 1...180 {
                try await romeo.sends("<message to='\(Self.juliet)' type='chat'><body>\(number)</body></message>")
            }
            await stage.settle()
            try await stage.restart()
            let balcony = try await stage.enter(Self.juliet + "/balcony", presence: false)
            try await balcony.sends("<presence/>")
            let got = await balcony.everything()
            #expect(got.map { $0.text(of: "body") } == (1...180).map { "\($0)" })
            try await stage.restart()
            let again = try await stage.enter(Self.juliet + "/balcony", presence: false)
            try await again.sends("<presence/>")
            try await stage.staysSilent()
        }
    }

    @Test("What arrives while stored messages are read comes after them", arguments: ["", "/balcony"])
    func race(resource: String) async throws {
        try await Self.play { stage, romeo in
            for number in 1...120 {
                try await romeo.sends("<message to='juliet@capulet.example'><body>\(number)</body></message>")
            }
            let balcony = try await stage.enter(Self.juliet + "/balcony", presence: false)
            // One turn: the presence starts the reading, the message follows on its heels.
            try await balcony.sends("""
                <presence/><message to='juliet@capulet.example\(resource)' type='chat'><body>late</body></message>
                """)
            try await romeo.sends("<message to='juliet@capulet.example' type='chat'><body>later</body></message>")
            let got = await balcony.everything()
            #expect(got.map { $0.text(of: "body") } == (1...120).map { "\($0)" } + ["late", "later"])
            #expect(got.suffix(2).allSatisfy { !$0.has("delay", .delay) })
        }
    }

    @Test("A message that is stored while the disk is slow keeps its place")
    func slowDisk() async throws {
        let driver = MemoryStorageDriver()
        try await Self.play(driver: driver) { stage, romeo in
            let balcony = try await stage.enter(Self.juliet + "/balcony", presence: false)
            driver.hold()
            try await romeo.sends("<message to='juliet@capulet.example'><body>1</body></message>")
            try await balcony.sends("<presence/>")
            try await romeo.sends("<message to='juliet@capulet.example'><body>2</body></message>")
            // Neither waits for the commit.
            try await balcony.receives("<message><body>1</body><delay xmlns='urn:xmpp:delay'/></message>")
            let second = try await balcony.receives("<message><body>2</body></message>")
            #expect(!second.has("delay", .delay))
            driver.release()
            try await stage.staysSilent()
        }
    }

    @Test("A negative priority gets nothing until it is raised")
    func negative() async throws {
        try await Self.play { stage, romeo in
            let bot = try await stage.enter(Self.juliet + "/bot", with: "<priority>-1</priority>")
            try await romeo.sends("<message to='juliet@capulet.example' type='chat'><body>Hark</body></message>")
            try await bot.sends("<presence><priority>-5</priority></presence>")
            try await stage.staysSilent()
            try await bot.sends("<presence><priority>0</priority></presence>")
            try await bot.receives("<message><body>Hark</body><delay xmlns='urn:xmpp:delay'/></message>")
            // Directed presence is none.
            try await bot.sends("<presence><priority>-1</priority></presence>")
            try await romeo.sends("<message to='juliet@capulet.example'><body>2</body></message>")
            try await bot.sends("<presence to='romeo@montague.example'/>")
            #expect(await bot.everything().isEmpty)
        }
    }

    @Test(
        "Only what is worth it is kept (XEP-0160 §3)",
        arguments: [
            ("<message type='chat'><body>a</body></message>", "kept"),
            ("<message><body>a</body></message>", "kept"),
            ("<message type='normal'><subject>a</subject></message>", "kept"),
            ("<message type='chat'><received xmlns='urn:xmpp:receipts' id='1'/></message>", "kept"),
            (
                "<message type='chat'><active xmlns='http://jabber.org/protocol/chatstates'/><body>a</body></message>",
                "kept"
            ),
            ("<message type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>", "forgotten"),
            (
                """
                <message type='chat'><paused xmlns='http://jabber.org/protocol/chatstates'/><thread>t</thread>
                <no-permanent-store xmlns='urn:xmpp:hints'/><origin-id xmlns='urn:xmpp:sid:0' id='1'/></message>
                """, "forgotten"
            ),
            (
                """
                <message type='chat'><gone xmlns='http://jabber.org/protocol/chatstates'/>
                <store xmlns='urn:xmpp:hints'/></message>
                """, "kept"
            ),
            ("<message type='chat'><body>a</body><no-store xmlns='urn:xmpp:hints'/></message>", "returned"),
            ("<message type='chat'><x xmlns='urn:x'/><no-store xmlns='urn:xmpp:hints'/></message>", "forgotten"),
            ("<message type='chat'><body>a</body><no-permanent-store xmlns='urn:xmpp:hints'/></message>", "kept"),
            ("<message type='groupchat'><body>a</body></message>", "returned"),
            ("<message type='headline'><body>a</body></message>", "forgotten"),
            ("<message type='headline'><body>a</body><store xmlns='urn:xmpp:hints'/></message>", "forgotten"),
            ("<message type='error'><body>a</body><store xmlns='urn:xmpp:hints'/></message>", "forgotten"),
        ])
    func kinds(message: String, fate: String) async throws {
        try await Self.play { stage, romeo in
            let start = "<message to='\(Self.juliet)'"
            try await romeo.sends(message.replacing("<message", with: start, maxReplacements: 1))
            let answers = await romeo.everything()
            #expect(answers.count == (fate == "returned" ? 1 : 0))
            if let answer = answers.first {
                #expect(StanzaError(answer.child("error") ?? Element("error")) == .serviceUnavailable)
            }
            let balcony = try await stage.enter(Self.juliet + "/balcony", presence: false)
            try await balcony.sends("<presence/>")
            #expect(await balcony.everything().count == (fate == "kept" ? 1 : 0))
        }
    }

    @Test("A full queue returns messages, and has room again when it was fetched")
    func limit() async throws {
        try await Self.play(config: Self.config("limit: 2")) { stage, romeo in
            for number in 1...3 {
                try await romeo.sends("<message to='juliet@capulet.example'><body>\(number)</body></message>")
            }
            let error = try await romeo.receives("<message type='error'><body>3</body></message>")
            #expect(StanzaError(error.child("error") ?? Element("error")) == .serviceUnavailable)
            try await stage.restart()
            let again = try await stage.enter("romeo@montague.example/orchard")
            try await again.sends("<message to='juliet@capulet.example'><body>4</body></message>")
            try await again.receives("<message type='error'><body>4</body></message>")
            let balcony = try await stage.enter(Self.juliet + "/balcony", presence: false)
            try await balcony.sends("<presence/>")
            #expect(await balcony.everything().count == 2)
            await balcony.leaves()
            try await again.sends("<message to='juliet@capulet.example'><body>5</body></message>")
            try await stage.staysSilent()
        }
    }

    @Test("Old messages expire, and make room")
    func expiry() async throws {
        try await Self.play(config: Self.config("limit: 1, expire: 30 minutes")) { stage, romeo in
            try await romeo.sends("<message to='juliet@capulet.example'><body>old</body></message>")
            await stage.advance(by: .seconds(3_660))
            try await romeo.sends("<message to='juliet@capulet.example'><body>new</body></message>")
            try await stage.staysSilent()
            let balcony = try await stage.enter(Self.juliet + "/balcony", presence: false)
            try await balcony.sends("<presence/>")
            try await balcony.receives("<message><body>new</body></message>")
            try await stage.staysSilent()
        }
    }

    @Test("A client that goes away in the middle leaves the rest for the next")
    func interrupted() async throws {
        try await Self.play { stage, romeo in
            for number in 1...120 {
                try await romeo.sends("<message to='juliet@capulet.example'><body>\(number)</body></message>")
            }
            let balcony = try await stage.enter(Self.juliet + "/balcony", presence: false)
            // It leaves in the very turn in which it comes, with a message of its own in between.
            try await balcony.sends(
                "<presence/><message to='\(Self.juliet)'><body>121</body></message></stream:stream>")
            await stage.settle()
            let chamber = try await stage.enter(Self.juliet + "/chamber", presence: false)
            try await chamber.sends("<presence/>")
            let got = await chamber.everything()
            #expect(got.map { $0.text(of: "body") } == (1...121).map { "\($0)" })
        }
    }

    @Test("A crash before the deletion delivers a message twice rather than never")
    func crash() async throws {
        let driver = MemoryStorageDriver()
        try await Self.play(driver: driver) { stage, romeo in
            try await romeo.sends("<message to='juliet@capulet.example'><body>Hark</body></message>")
            let balcony = try await stage.enter(Self.juliet + "/balcony", presence: false)
            driver.fail(with: StorageError(.full, "The disk is full."))
            try await balcony.sends("<presence/>")
            try await balcony.receives("<message><body>Hark</body></message>")
            await stage.settle()
            driver.fail(with: nil)
            try await stage.restart()
            let again = try await stage.enter(Self.juliet + "/balcony", presence: false)
            try await again.sends("<presence/>")
            try await again.receives("<message><body>Hark</body></message>")
            try await stage.staysSilent()
        }
    }

    @Test("What cannot be read is passed over, and does not come again")
    func unreadable() async throws {
        try await Self.play { stage, romeo in
            let store = stage.server.storage.rawArchive("offline", on: "capulet.example")
            for text in ["<message", "<message to='@'/>", "", "\u{0}"] {
                store.append(NewArchiveItem(id: "bad \(text.count)", time: 0, value: Array(text.utf8)), to: "juliet")
            }
            try await romeo.sends("<message to='juliet@capulet.example'><body>Hark</body></message>")
            let balcony = try await stage.enter(Self.juliet + "/balcony", presence: false)
            try await balcony.sends("<presence/>")
            try await balcony.receives("<message><body>Hark</body></message>")
            try await stage.staysSilent()
            #expect(try await store.count(of: "juliet") == 0)
        }
    }

    @Test("A client that does not read gets the rest another time, and nothing is lost")
    func slowClient() async throws {
        try await Self.play { stage, romeo in
            let text = String(repeating: "x", count: 200_000)
            for number in 1...20 {
                try await romeo.sends("<message to='\(Self.juliet)' id='\(number)'><body>\(text)</body></message>")
            }
            await stage.settle()
            guard let account = await stage.server.host("capulet.example")?.accounts.account("juliet") else { return }
            let stuck = StuckLink()
            let resource = account.bind("stuck", link: stuck)
            resource.setPresence(Presence())
            await stage.settle()
            await stage.advance(by: .seconds(20))
            #expect(stuck.got == ["1", "2", "3"])
            #expect(account[OfflineQueues.Count.self] == 17)
            resource.setPresence(nil)
            let balcony = try await stage.enter(Self.juliet + "/balcony", presence: false)
            try await balcony.sends("<presence/>")
            await stage.settle()
            await stage.advance(by: .seconds(5))
            #expect(await balcony.everything().map { $0["id"] } == (4...20).map { "\($0)" })
        }
    }

    @Test("A stamp that pretends to be the server's is removed (XEP-0203 §5)")
    func forged() async throws {
        try await Self.play { stage, romeo in
            let balcony = try await stage.enter(Self.juliet + "/balcony")
            for host in ["montague.example", "capulet.example"] {
                try await romeo.sends("""
                    <message to='juliet@capulet.example'><body>Hark</body>
                    <delay xmlns='urn:xmpp:delay' from='\(host)' stamp='2002-09-10T23:08:25Z'/>
                    <delay xmlns='urn:xmpp:delay' from='room@muc.example' stamp='2002-09-10T23:08:25Z'/></message>
                    """)
                let got = try await balcony.receives("<message><body>Hark</body></message>")
                #expect(got.children("delay", .delay).map { $0["from"] } == ["room@muc.example"])
            }
        }
    }

    @Test("A removed account's messages go with it")
    func removed() async throws {
        try await Self.play { stage, romeo in
            try await romeo.sends("<message to='juliet@capulet.example'><body>Hark</body></message>")
            await stage.settle()
            try await stage.server.host("capulet.example")?.accounts.remove("juliet")
            let balcony = try await stage.enter(Self.juliet + "/balcony", presence: false)
            try await balcony.sends("<presence/>")
            try await stage.staysSilent()
        }
    }

    @Test("The host says so, and no more when the module is gone; what was kept stays")
    func reload() async throws {
        try await Self.play { stage, romeo in
            let host = try #require(stage.server.host("capulet.example"))
            #expect(host.disco.features(of: .host).contains("msgoffline"))
            try await romeo.sends("<message to='juliet@capulet.example'><body>1</body></message>")
            try stage.reload("modules: { messages: on, stage_presence: on, offline: off }\n")
            #expect(!host.disco.features(of: .host).contains("msgoffline"))
            try await romeo.sends("<message to='juliet@capulet.example'><body>2</body></message>")
            try await romeo.receives("<message type='error'><body>2</body></message>")
            try stage.reload(Self.config("limit: 10"))
            await stage.settle()
            let balcony = try await stage.enter(Self.juliet + "/balcony", presence: false)
            try await balcony.sends("<presence/>")
            try await balcony.receives("<message><body>1</body></message>")
        }
    }
}

/// A client that takes everything and reads nothing.
@ServerActor
private final class StuckLink: ResourceLink {
    private(set) var got: [String] = []
    private(set) var backlog = 0

    func deliver(_ stanza: Stanza) {
        got.append(stanza.id ?? "")
        backlog += 200_000
    }
    func close(_ error: StreamError?) {}
}
