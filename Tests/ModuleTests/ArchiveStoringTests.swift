import ServerKit
import StorageMemory
import TestKit
import Testing

@testable import Modules

@Suite("Message archive: what is kept (XEP-0313 §6, 0334, 0359, 0424, 0441)") struct ArchiveStoringTests {
    private typealias Names = ArchiveStage

    @Test(
        "What people will want to see again is kept on both sides",
        arguments: [
            ("<message type='chat'><body>a</body></message>", true),
            ("<message><body>a</body></message>", true),
            ("<message type='invented'><body>a</body></message>", true),
            ("<message><subject>a</subject></message>", true),
            ("<message><subject/></message>", false),
            ("<message><thread>a</thread></message>", false),
            ("<message type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>", false),
            (
                """
                <message type='chat'><active xmlns='http://jabber.org/protocol/chatstates'/><body>a</body></message>
                """, true
            ),
            ("<message type='headline'><body>a</body></message>", false),
            ("<message type='headline'><event xmlns='http://jabber.org/protocol/pubsub#event'/></message>", false),
            ("<message type='headline'><body>a</body><store xmlns='urn:xmpp:hints'/></message>", true),
            ("<message type='groupchat'><body>a</body><store xmlns='urn:xmpp:hints'/></message>", false),
            ("<message type='error'><body>a</body><store xmlns='urn:xmpp:hints'/></message>", false),
            ("<message type='chat'><encrypted xmlns='eu.siacs.conversations.axolotl'/></message>", true),
            ("<message type='chat'><encrypted xmlns='urn:xmpp:omemo:2'/></message>", true),
            ("<message type='chat'><openpgp xmlns='urn:xmpp:openpgp:0'/></message>", true),
            ("<message type='chat'><displayed xmlns='urn:xmpp:chat-markers:0' id='1'/></message>", true),
            ("<message type='chat'><markable xmlns='urn:xmpp:chat-markers:0'/></message>", false),
            ("<message type='chat'><received xmlns='urn:xmpp:receipts' id='1'/></message>", true),
            ("<message type='chat'><request xmlns='urn:xmpp:receipts'/></message>", false),
            ("<message type='chat'><reactions xmlns='urn:xmpp:reactions:0' id='1'/></message>", true),
            ("<message type='chat'><retract xmlns='urn:xmpp:message-retract:1' id='1'/></message>", true),
            ("<message type='chat'><replace xmlns='urn:xmpp:message-correct:0' id='1'/></message>", true),
            ("<message type='chat'><propose xmlns='urn:xmpp:jingle-message:0' id='1'/></message>", true),
            ("<message><x xmlns='jabber:x:conference' jid='a@b'/></message>", true),
            ("<message><x xmlns='http://jabber.org/protocol/muc#user'><invite to='a@b'/></x></message>", true),
            ("<message><x xmlns='http://jabber.org/protocol/muc#user'><status code='104'/></x></message>", false),
            ("<message><x xmlns='urn:example'/></message>", false),
            ("<message><x xmlns='urn:example'/><store xmlns='urn:xmpp:hints'/></message>", true),
            ("<message type='chat'><body>a</body><no-store xmlns='urn:xmpp:hints'/></message>", false),
            ("<message type='chat'><body>a</body><no-permanent-store xmlns='urn:xmpp:hints'/></message>", false),
            ("<message type='chat'><body>a</body><no-copy xmlns='urn:xmpp:hints'/></message>", true),
        ])
    func kinds(message: String, isKept: Bool) async throws {
        try await Names.play { stage, romeo, juliet in
            try await romeo.sends(
                message.replacing("<message", with: "<message to='\(Names.juliet)/balcony'", maxReplacements: 1))
            let got = await juliet.everything()
            #expect(got.count == 1)
            let id = got.first?.child("stanza-id", .stanzaIDs)?["id"]
            let hers = try await juliet.queries().results
            let his = try await romeo.queries().results
            #expect(hers.count == (isKept ? 1 : 0) && his.count == (isKept ? 1 : 0))
            #expect(hers.first?["id"] == id)
        }
    }

    @Test("What is not delivered is not in the archive; what waits offline is")
    func undelivered() async throws {
        try await Names.play { stage, romeo, juliet in
            try await romeo.sends("<message to='\(Names.juliet)/ghost'><body>nobody there</body></message>")
            let error = try await romeo.receives("<message type='error'><body>nobody there</body></message>")
            // XEP-0313 §3.5: ids are for those who may read the archive.
            #expect(!error.has("stanza-id", .stanzaIDs))
            #expect(try await juliet.bodies() == [])
            await juliet.leaves()
            try await romeo.sends("<message to='\(Names.juliet)' type='chat'><body>later</body></message>")
            await stage.settle()
            let again = try await stage.enter(Names.juliet + "/balcony", presence: false)
            #expect(try await again.bodies() == ["later"])
        }
    }

    @Test("A message to several devices, or to oneself, is kept once")
    func once() async throws {
        try await Names.play { stage, romeo, juliet in
            let chamber = try await stage.enter(Names.juliet + "/chamber")
            try await romeo.sends("<message to='\(Names.juliet)' type='chat'><body>both</body></message>")
            let first = try await juliet.receives("<message><body>both</body></message>")
            let second = try await chamber.receives("<message><body>both</body></message>")
            let id = first.child("stanza-id", .stanzaIDs)?["id"]
            #expect(id != nil && second.child("stanza-id", .stanzaIDs)?["id"] == id)
            for to in ["", " to='\(Names.juliet)'", " to='\(Names.juliet)/chamber'", " to='\(Names.juliet)/balcony'"] {
                try await juliet.sends("<message type='chat'\(to)><body>self</body></message>")
            }
            _ = await chamber.everything()
            _ = await juliet.everything()
            #expect(try await juliet.bodies() == ["both", "self", "self", "self", "self"])
        }
    }

    @Test("A copy for the sender's other device has the id in the sender's archive (XEP-0313 §3.5)")
    func carbons() async throws {
        let modules = Names.modules + [Carbons.self]
        try await TestKit.play(modules: modules) { stage in
            let phone = try await stage.enter(Names.romeo + "/phone")
            let laptop = try await stage.enter(Names.romeo + "/laptop")
            let juliet = try await stage.enter(Names.juliet + "/balcony")
            try await laptop.asks(.set, "<enable xmlns='urn:xmpp:carbons:2'/>")
            try await phone.sends("<message to='\(Names.juliet)' type='chat'><body>Hark</body></message>")
            let got = try await juliet.receives("<message><body>Hark</body></message>")
            #expect(got.children("stanza-id", .stanzaIDs).compactMap { $0["by"] } == [Names.juliet])
            let copy = try await laptop.receives("<message><sent xmlns='urn:xmpp:carbons:2'/></message>")
            let inner = copy.child("sent", .carbons)?.child("forwarded", .forward)?.child("message", .client)
            let id = inner?.children("stanza-id", .stanzaIDs).first { $0["by"] == Names.romeo }?["id"]
            let archived = try await phone.queries().results.first?["id"]
            #expect(id != nil && id == archived)
            #expect(try await laptop.bodies() == ["Hark"])
        }
    }

    @Test("What a blocked contact writes is not kept (XEP-0313 §6.1)")
    func blocked() async throws {
        let modules = Names.modules + [Blocking.self]
        try await TestKit.play(modules: modules) { stage in
            let romeo = try await stage.enter(Names.romeo + "/orchard")
            let juliet = try await stage.enter(Names.juliet + "/balcony")
            try await juliet.asks(.set, "<block xmlns='urn:xmpp:blocking'><item jid='\(Names.romeo)'/></block>")
            try await romeo.sends("<message to='\(Names.juliet)' type='chat'><body>no</body></message>")
            await stage.settle()
            #expect(try await juliet.bodies() == [])
        }
    }

    @Test("Stanza ids that claim to be ours are removed, those of others stay (XEP-0359 §3)")
    func forged() async throws {
        try await Names.play { stage, romeo, juliet in
            func id(_ by: String) -> String { "<stanza-id xmlns='urn:xmpp:sid:0' by='\(by)' id='forged'/>" }
            let ours = [Names.juliet, "JULIET@capulet.example", "capulet.example", "montague.example", Names.romeo]
            let others = ["room@conference.example", "example.org", "nurse@capulet.example"]
            for kind in ["chat", "normal", "headline", "groupchat", "error"] {
                try await romeo.sends("""
                    <message to='\(Names.juliet)/balcony' type='\(kind)'><body>x</body>
                    \((ours + others).map(id).joined())<origin-id xmlns='urn:xmpp:sid:0' id='o'/>
                    <stanza-id xmlns='urn:xmpp:sid:0' id='nobody'/>
                    </message>
                    """)
                let got = try await juliet.receives(
                    "<message type='\(kind)'><origin-id xmlns='urn:xmpp:sid:0' id='o'/></message>".replacing(
                        " type='normal'", with: ""))
                let ids = got.children("stanza-id", .stanzaIDs)
                let kept = ids.filter { $0["id"] == "forged" }.compactMap { $0["by"] }
                #expect(kept == others)
                let real = ids.filter { $0["by"] == Names.juliet }.compactMap { $0["id"] }
                let archived = try await juliet.queries(ArchiveStage.set("<max>1</max><before/>")).results
                let isKept = kind == "chat" || kind == "normal"
                #expect(isKept ? real == archived.compactMap { $0["id"] } : real.isEmpty)
            }
            let stored = try await romeo.queries().results.compactMap(\.archived)
            #expect(stored.count == 2)
            for message in stored {
                let by = message.children("stanza-id", .stanzaIDs).compactMap { $0["by"] }
                #expect(!by.contains(Names.romeo) && !by.contains("montague.example"))
            }
        }
    }

    @Test("A claim to be a room's occupant does not get into the archive (XEP-0313 §8.4)")
    func occupants() async throws {
        try await Names.play { stage, romeo, juliet in
            try await romeo.sends("""
                <message to='\(Names.juliet)'><body>a</body><x xmlns='http://jabber.org/protocol/muc#user'>
                <item jid='nurse@capulet.example' affiliation='owner'/></x></message>
                """)
            try await romeo.sends("""
                <message to='\(Names.juliet)'><x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@b'/></x>
                </message>
                """)
            _ = await juliet.everything()
            let stored = try await juliet.queries().results.compactMap(\.archived)
            #expect(stored.map { $0.has("x", .mucUser) } == [false, true])
        }
    }

    @Test("Ids are UUIDs of version 7, in the order of time and never the same")
    func identifiers() {
        var maker = StanzaIDMaker()
        var ids: [String] = []
        for index in 0..<1000 { ids.append(maker.make(at: Timestamp(microseconds: 1_645_557_742_000_000 + Int64(index)))) }
        #expect(Set(ids).count == 1000)
        // RFC 9562, appendix A.6.
        #expect(ids[0].hasPrefix("017f22e2-79b0-7000-"))
        #expect(ids[999].hasPrefix("017f22e2-79b0-7ffb-"))
        #expect(ids.map { $0.prefix(18) } == ids.map { $0.prefix(18) }.sorted())
        #expect(ids.allSatisfy { $0.utf8.count == 36 && "89ab".contains($0.dropFirst(19).first ?? " ") })
    }

    // MARK: Preferences

    @Test("Users choose whose messages are kept (XEP-0441)")
    func preferences() async throws {
        try await Names.play { stage, romeo, juliet in
            let empty = try #require(try await juliet.asks(.get, "<prefs xmlns='urn:xmpp:mam:2'/>"))
            #expect(empty["default"] == "always" && empty.child("always")?.children.isEmpty == true)
            #expect(empty.child("never")?.children.isEmpty == true)
            try await juliet.asks(
                .set, "<query xmlns='jabber:iq:roster'><item jid='nurse@capulet.example'/></query>")
            let nurse = try await stage.enter("nurse@capulet.example/hall")
            func writes(_ actor: Actor, _ body: String) async throws {
                try await actor.sends("<message to='\(Names.juliet)' type='chat'><body>\(body)</body></message>")
            }
            func prefers(_ standard: String, always: [String] = [], never: [String] = []) async throws {
                let lists = [("always", always), ("never", never)].map { name, jids in
                    "<\(name)>" + jids.map { "<jid>\($0)</jid>" }.joined() + "</\(name)>"
                }
                let set = "<prefs xmlns='urn:xmpp:mam:2' default='\(standard)'>\(lists.joined())</prefs>"
                guard let answer = try await juliet.asks(.set, set) else { return }
                #expect(answer["default"] == standard)
                #expect(answer.child("always")?.children.map(\.text) == always)
                #expect(answer.child("never")?.children.map(\.text) == never)
                #expect(try await juliet.asks(.get, "<prefs xmlns='urn:xmpp:mam:2'/>")?.xml == answer.xml)
            }
            try await prefers("never", always: [Names.romeo])
            try await writes(romeo, "1")
            try await writes(nurse, "no")
            try await juliet.sends("<message to='nurse@capulet.example'><body>no</body></message>")
            try await prefers("roster")
            try await writes(romeo, "no")
            try await writes(nurse, "2")
            try await juliet.sends("<message><body>3</body></message>")
            try await prefers("always", never: [Names.romeo + "/orchard"])
            try await writes(romeo, "no")
            try await writes(nurse, "4")
            try await prefers("roster", always: [Names.romeo + "/orchard"], never: [Names.romeo])
            try await writes(romeo, "no")
            let got = await juliet.everything()
            // What is not kept has no id either.
            #expect(got.filter { $0.has("stanza-id", .stanzaIDs) }.compactMap { $0.text(of: "body") } == ["1", "2", "3", "4"])
            #expect(try await juliet.bodies() == ["1", "2", "3", "4"])
            #expect(try await romeo.bodies() == ["1", "no", "no", "no"])
        }
    }

    @Test("Preferences that make no sense change nothing, and are nobody else's business")
    func badPreferences() async throws {
        try await Names.play("listed_contacts: 3, default: roster") { stage, romeo, juliet in
            let jids = (0..<4).map { "<jid>a\($0)@b</jid>" }.joined()
            let table: [(String, StanzaError.Condition)] = [
                ("<prefs xmlns='urn:xmpp:mam:2'/>", .badRequest),
                ("<prefs xmlns='urn:xmpp:mam:2' default='sometimes'/>", .badRequest),
                ("<prefs xmlns='urn:xmpp:mam:2' default='never'><never><jid>@</jid></never></prefs>", .jidMalformed),
                ("<prefs xmlns='urn:xmpp:mam:2' default='never'><never>\(jids)</never></prefs>", .policyViolation),
            ]
            for (prefs, condition) in table {
                #expect(try await juliet.isRefused(.set, prefs).condition == condition)
            }
            for kind in [IQ.Kind.get, .set] {
                let error = try await romeo.isRefused(
                    kind, "<prefs xmlns='urn:xmpp:mam:2' default='never'/>", to: Names.juliet)
                #expect(error.condition == .forbidden)
            }
            let prefs = try #require(try await juliet.asks(.get, "<prefs xmlns='urn:xmpp:mam:2'/>"))
            #expect(prefs["default"] == "roster" && prefs.child("never")?.children.isEmpty == true)
        }
    }

    // MARK: Retraction

    @Test("A retracted message becomes a tombstone on both sides (XEP-0424 §4)")
    func retraction() async throws {
        try await Names.play("search: on") { stage, romeo, juliet in
            try await romeo.sends("""
                <message type='chat' to='\(Names.juliet)' id='wrong-recipient-1'><body>Have not saints lips</body>
                <x xmlns='jabber:x:oob'><url>http://leak.example</url></x></message>
                """)
            await stage.advance(by: .seconds(60))
            let first = try await juliet.queries().results.first?["id"]
            try await romeo.sends("""
                <message type='chat' to='\(Names.juliet)' id='retract-message-1'>
                <retract id='wrong-recipient-1' xmlns='urn:xmpp:message-retract:1'/>
                <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:message-retract:1'/>
                <body>/me retracted a previous message</body><store xmlns='urn:xmpp:hints'/></message>
                """)
            let stamp = stage.clock.date
            _ = await juliet.everything()
            for reader in [romeo, juliet] {
                let results = try await reader.queries().results
                let tombstone = try #require(results.first?.archived)
                #expect(tombstone["id"] == "wrong-recipient-1" && tombstone["from"] == Names.romeo + "/orchard")
                #expect(tombstone["to"] == Names.juliet && tombstone["type"] == "chat")
                #expect(tombstone.children.count == 1)
                let retracted = tombstone.child("retracted", .retraction)
                #expect(retracted?["id"] == "retract-message-1" && retracted?["stamp"] == "\(stamp)")
                #expect(results.count == 2 && results.last?.archived?.has("retract", .retraction) == true)
                if reader === juliet { #expect(results.first?["id"] == first) }
                // What is gone cannot be found either.
                let search = ArchiveStage.form(ArchiveStage.field("{urn:xmpp:fulltext:0}fulltext", "saints"))
                #expect(try await reader.bodies(search) == [])
                // It can be found by its peer as before, and a second retraction changes nothing.
                let with = ArchiveStage.form(
                    ArchiveStage.field("with", reader === romeo ? Names.juliet : Names.romeo + "/orchard"))
                #expect(try await reader.queries(with).results.count == 2)
            }
            try await romeo.sends("""
                <message type='chat' to='\(Names.juliet)' id='again'>
                <retract id='wrong-recipient-1' xmlns='urn:xmpp:message-retract:1'/></message>
                """)
            try await romeo.sends("""
                <message type='chat' to='\(Names.juliet)' id='back'>
                <retract id='retract-message-1' xmlns='urn:xmpp:message-retract:1'/></message>
                """)
            _ = await juliet.everything()
            let results = try await juliet.queries().results.compactMap(\.archived)
            #expect(results.map { $0.has("retracted", .retraction) } == [true, false, false, false])
            #expect(results[0].child("retracted", .retraction)?["id"] == "retract-message-1")
        }
    }

    @Test("Nobody retracts what others wrote (XEP-0424 §5)")
    func foreignRetraction() async throws {
        try await Names.play { stage, romeo, juliet in
            let nurse = try await stage.enter("nurse@capulet.example/hall")
            let phone = try await stage.enter(Names.romeo + "/phone")
            let muc = "<x xmlns='http://jabber.org/protocol/muc#user'/>"
            try await romeo.sends("<message to='\(Names.juliet)' id='m1'><body>his</body></message>")
            try await romeo.sends("<message to='\(Names.juliet)' id='m2'><body>occupant's</body>\(muc)</message>")
            try await juliet.sends("<message to='\(Names.romeo)' id='m3'><body>hers</body></message>")
            func retract(_ id: String, _ more: String = "", id own: String? = "r") -> String {
                let own = own.map { " id='\($0)'" } ?? ""
                return "<message to='\(Names.juliet)'\(own)>\(more)"
                    + "<retract id='\(id)' xmlns='urn:xmpp:message-retract:1'/></message>"
            }
            try await nurse.sends(retract("m1"))
            try await romeo.sends(retract("m3"))
            try await romeo.sends(retract("m9"))
            try await romeo.sends(retract("m1", id: nil))
            // Two occupants of one room have one bare JID.
            try await phone.sends(retract("m2", muc))
            _ = await juliet.everything()
            #expect(try await juliet.bodies().prefix(3) == ["his", "occupant's", "hers"])
            // Another device of the author may.
            try await phone.sends(retract("m1"))
            _ = await juliet.everything()
            #expect(try await juliet.bodies().prefix(3) == ["", "occupant's", "hers"])
        }
    }
}
