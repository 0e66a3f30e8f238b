import ServerKit
import TestKit
import Testing

@testable import Modules

/// Writes down with each account what became known around it.
private final class Witness: Module {
    static let info = ModuleInfo("witness", "Writes down what becomes known")
    enum Seen: AccountKey { static var defaultValue: [CapabilitiesEvent] { [] } }

    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        host.observe(.capabilitiesKnown) { $0.account[Seen.self].append($0) }
    }
}

@Suite("Capabilities of clients (XEP-0115)") struct PeerCapsTests {
    private static let modules: [any Module.Type] = [
        Disco.self, Caps.self, Roster.self, PresenceExchange.self, Witness.self,
    ]
    private static let romeo = "romeo@montague.example"
    private static let juliet = "juliet@capulet.example"

    private static func play(
        _ options: String = "", _ body: @escaping @ServerActor @Sendable (Stage) async throws -> Void
    ) async throws {
        var config = ""
        if !options.isEmpty {
            config = "modules: { disco: on, caps: { \(options) }, roster: on, presence: on, witness: on }\n"
        }
        try await TestKit.play(modules: modules, config: config, body)
    }

    @Test("A client is asked what its hash stands for, once, and all who have the hash are known (§6.2)")
    func asked() async throws {
        try await Self.play { stage in
            let caps = try ClientCaps(["urn:a", "urn:xmpp:tune+notify"])
            let orchard = try await stage.enter(Self.romeo + "/orchard", presence: false)
            try await orchard.sends(caps.presence)
            let question = try await orchard.receivesAnywhere(caps.question)
            #expect(question["from"] == "montague.example")
            let service = try stage.capabilities()
            let account = try stage.loadedAccount(Self.romeo)
            let full = try #require(orchard.jid)
            #expect(service.info(of: full, seenBy: account) == nil)
            try await orchard.answers(question, caps.content)
            await stage.settle()
            #expect(service.info(of: full, seenBy: account)?.features == ["urn:a", "urn:xmpp:tune+notify"])
            #expect(service.wants(node: "urn:xmpp:tune", full, seenBy: account))
            #expect(!service.wants(node: "urn:a", full, seenBy: account))
            let second = try await stage.enter(Self.romeo + "/garden", presence: false)
            try await second.sends(caps.presence)
            let other = try await stage.enter("benvolio@montague.example/street", presence: false)
            try await other.sends(caps.presence)
            #expect(await second.questions().isEmpty)
            #expect(await other.questions().isEmpty)
            #expect(Set(service.resources(wantingNode: "urn:xmpp:tune", seenBy: account)) == [full, second.jid])
        }
    }

    @Test("Contacts' clients are known to who sees them, others' are not")
    func contacts() async throws {
        try await Self.play { stage in
            let romeo = try await stage.enter(Self.romeo + "/orchard")
            let juliet = try await stage.enter(Self.juliet + "/balcony")
            let paris = try await stage.enter("paris@capulet.example/tomb")
            try await makeFriends(romeo, juliet)
            let caps = try ClientCaps(["urn:xmpp:avatar:metadata+notify"])
            for actor in [juliet, paris] {
                try await actor.sends(caps.presence)
                try await actor.sends("<presence to='\(Self.romeo)/orchard'>\(caps.element)</presence>")
                for question in await actor.questions() { try await actor.answers(question, caps.content) }
            }
            await stage.settle()
            let account = try stage.loadedAccount(Self.romeo)
            let service = try stage.capabilities()
            #expect(service.resources(wantingNode: "urn:xmpp:avatar:metadata", seenBy: account) == [juliet.jid])
            let seen = account[Witness.Seen.self]
            #expect(seen.count == 1 && seen[0].jid == juliet.jid && seen[0].previous == nil)
            #expect(seen[0].newlyWantedNodes == ["urn:xmpp:avatar:metadata"])
            // Presence that says nothing of it leaves it (§8.4); the last one takes it away.
            try await juliet.sends("<presence><show>away</show></presence>")
            await stage.settle()
            #expect(service.info(of: try #require(juliet.jid), seenBy: account) != nil)
            try await juliet.sends("<presence type='unavailable'/>")
            await stage.settle()
            #expect(service.info(of: try #require(juliet.jid), seenBy: account) == nil)
            #expect(account[PeerCaps.Around.self]?.peers.isEmpty == true)
        }
    }

    @Test("When capabilities change, those who observe learn what is new")
    func changes() async throws {
        try await Self.play { stage in
            let first = try ClientCaps(["a+notify"])
            let second = try ClientCaps(["a+notify", "b+notify"])
            let romeo = try await stage.enter(Self.romeo + "/orchard", able: first)
            try await romeo.sends(second.presence)
            try await romeo.explains(second)
            try await romeo.sends(first.presence)
            await stage.settle()
            let seen = try stage.loadedAccount(Self.romeo)[Witness.Seen.self]
            #expect(seen.map(\.newlyWantedNodes) == [["a"], ["b"], []])
            #expect(seen.map { $0.previous?.features.count } == [nil, 1, 2])
            #expect(await romeo.questions().isEmpty)
        }
    }

    @Test("What was proven is known after a restart")
    func restart() async throws {
        try await Self.play { stage in
            let caps = try ClientCaps(["urn:xmpp:tune+notify"])
            _ = try await stage.enter(Self.romeo + "/orchard", able: caps)
            try await stage.restart()
            let again = try await stage.enter(Self.romeo + "/orchard", presence: false)
            try await again.sends(caps.presence)
            #expect(await again.questions().isEmpty)
            let service = try stage.capabilities()
            let account = try stage.loadedAccount(Self.romeo)
            #expect(service.info(of: try #require(again.jid), seenBy: account)?.features == ["urn:xmpp:tune+notify"])
        }
    }

    @Test("What a client cannot prove holds for it alone, and the next is asked (§5.4)", arguments: ["sha-1", "md5"])
    func poisoning(hash: String) async throws {
        try await Self.play { stage in
            let truth = try ClientCaps(["urn:xmpp:omemo:2:devices+notify"])
            let lie = try ClientCaps(["urn:evil+notify"], hash: hash, ver: truth.ver)
            let paris = try await stage.enter("paris@montague.example/tomb", able: lie)
            let service = try stage.capabilities()
            let his = try stage.loadedAccount("paris@montague.example")
            #expect(service.wants(node: "urn:evil", try #require(paris.jid), seenBy: his))
            let honest = try ClientCaps(["urn:xmpp:omemo:2:devices+notify"], hash: hash)
            let romeo = try await stage.enter(Self.romeo + "/orchard", presence: false)
            try await romeo.sends(honest.presence)
            try await romeo.explains(honest)
            await stage.settle()
            let account = try stage.loadedAccount(Self.romeo)
            let known = service.info(of: try #require(romeo.jid), seenBy: account)
            #expect(known?.features == ["urn:xmpp:omemo:2:devices+notify"])
            #expect(service.wants(node: "urn:evil", try #require(paris.jid), seenBy: his))
        }
    }

    @Test("Who waits for the answer of a liar is asked next")
    func next() async throws {
        try await Self.play { stage in
            let truth = try ClientCaps(["urn:a"])
            let paris = try await stage.enter("paris@montague.example/tomb", presence: false)
            let romeo = try await stage.enter(Self.romeo + "/orchard", presence: false)
            try await paris.sends(truth.presence)
            try await romeo.sends(truth.presence)
            let question = try await paris.receivesAnywhere(truth.question)
            #expect(await romeo.questions().isEmpty)
            try await paris.answers(question, "<feature var='urn:a'/><feature var='urn:a'/>")
            try await romeo.explains(truth)
            await stage.settle()
            let service = try stage.capabilities()
            let account = try stage.loadedAccount(Self.romeo)
            #expect(service.info(of: try #require(romeo.jid), seenBy: account)?.features == ["urn:a"])
            // What he claimed was true, which is known now; he is not asked again for having given no answer.
            let his = try stage.loadedAccount("paris@montague.example")
            try await paris.sends(truth.presence)
            #expect(await paris.questions().isEmpty)
            #expect(service.info(of: try #require(paris.jid), seenBy: his)?.features == ["urn:a"])
        }
    }

    @Test(
        "Errors, silence, and answers that are too large are no capabilities",
        arguments: ["<iq type='error'", "", "large"])
    func noAnswer(kind: String) async throws {
        try await Self.play { stage in
            let caps = kind == "large"
                ? try ClientCaps((0..<2_000).map { "urn:feature:\($0)" }) : try ClientCaps(["urn:a"])
            let romeo = try await stage.enter(Self.romeo + "/orchard", presence: false)
            try await romeo.sends(caps.presence)
            let question = try await romeo.receivesAnywhere(caps.question)
            switch kind {
            case "large": try await romeo.answers(question, caps.content)
            case "": await stage.advance(by: .seconds(150))
            default:
                try await romeo.sends(
                    "\(kind) to='montague.example' id='\(question["id"] ?? "")'><error type='cancel'>"
                        + "<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
            }
            await stage.settle()
            let service = try stage.capabilities()
            let account = try stage.loadedAccount(Self.romeo)
            #expect(service.info(of: try #require(romeo.jid), seenBy: account) == nil)
            // It may do better with its next presence.
            try await romeo.sends(caps.presence)
            #expect(await romeo.questions().count == 1)
        }
    }

    @Test("Who claims something new again and again is not asked without end")
    func flood() async throws {
        try await Self.play("questions_per_hour: 10, cache: 5") { stage in
            let romeo = try await stage.enter(Self.romeo + "/orchard", presence: false)
            var asked = 0
            for number in 0..<60 {
                let caps = try ClientCaps(["urn:\(number)"])
                try await romeo.sends(caps.presence)
                for question in await romeo.questions() {
                    asked += 1
                    try await romeo.answers(question, caps.content)
                }
            }
            #expect(asked == 10)
            let peers = try #require(stage.capabilities() as? PeerCaps)
            #expect(peers.cache.count == 5)
            let stored = stage.server.storage.rawMap("caps", on: "montague.example")
            await stage.settle()
            #expect(try await stored.entries(of: "").count == 5)
            await stage.advance(by: .seconds(3_600))
            try await romeo.sends(try ClientCaps(["urn:later"]).presence)
            #expect(await romeo.questions().count == 1)
        }
    }

    @Test("A contact with any number of clients fills no memory")
    func manyResources() async throws {
        try await Self.play("max_resources: 6, max_resources_per_contact: 4") { stage in
            let caps = try ClientCaps(["urn:a"])
            let romeo = try await stage.enter(Self.romeo + "/orchard", able: caps)
            let account = try stage.loadedAccount(Self.romeo)
            for (index, name) in ["juliet", "nurse"].enumerated() {
                let contact = try await stage.enter("\(name)@capulet.example/0")
                try await makeFriends(romeo, contact)
                for number in 0..<8 {
                    let from = "\(name)@capulet.example/\(number)"
                    var presence = try Presence(
                        try Element.parse("<presence xmlns='jabber:client'>\(caps.element)</presence>"))
                    presence.from = JID(from)
                    presence.to = account.jid
                    account.receive(.presence(presence))
                }
                #expect(account[PeerCaps.Around.self]?.peers.count == (index == 0 ? 5 : 6))
            }
            // An error for the bare JID takes all away.
            var gone = Presence(kind: .unavailable)
            gone.from = JID(Self.juliet)
            gone.to = account.jid
            account.receive(.presence(gone))
            #expect(account[PeerCaps.Around.self]?.peers.count == 2)
        }
    }

    @Test("Capabilities that nobody has any more are forgotten after a while")
    func expiry() async throws {
        try await Self.play("expire: 2 hours") { stage in
            let peers = try #require(stage.capabilities() as? PeerCaps)
            let romeo = try await stage.enter(Self.romeo + "/orchard", able: try ClientCaps(["urn:a"]))
            await romeo.leaves()
            await stage.advance(by: .seconds(5_400))
            _ = try await stage.enter(Self.romeo + "/orchard", able: try ClientCaps(["urn:a"]))
            await stage.advance(by: .seconds(5_400))
            #expect(peers.cache.count == 1)
            await stage.advance(by: .seconds(5_400))
            #expect(peers.cache.count == 0)
        }
    }

    @Test("Presence with capabilities reaches an account that nobody uses")
    func absent() async throws {
        try await Self.play { stage in
            let romeo = try await stage.enter(Self.romeo + "/orchard")
            let caps = try ClientCaps(["urn:xmpp:tune+notify"])
            let juliet = try await stage.enter(Self.juliet + "/balcony")
            try await makeFriends(romeo, juliet)
            try await stage.restart()
            _ = try await stage.enter(Self.juliet + "/balcony", able: caps)
            let account = try stage.loadedAccount(Self.romeo)
            #expect(account[Witness.Seen.self].map(\.jid.description) == [Self.juliet + "/balcony"])
        }
    }

    @Test("What is around an account whose sessions survive a restart is known after it")
    func survivors() async throws {
        try await Self.play { stage in
            let romeo = try await stage.enter(Self.romeo + "/orchard")
            let juliet = try await stage.enter(Self.juliet + "/balcony")
            try await makeFriends(romeo, juliet)
            let caps = try ClientCaps(["urn:xmpp:tune+notify"])
            try await juliet.sends(caps.presence)
            for question in await juliet.questions() { try await juliet.answers(question, caps.content) }
            await stage.settle()
            // As when the server stops and somebody keeps the resources.
            try #require(stage.capabilities() as? PeerCaps).save()
            try await stage.restart()
            _ = try await stage.enter(Self.romeo + "/orchard", presence: false)
            let account = try stage.loadedAccount(Self.romeo)
            let full = try #require(JID(Self.juliet + "/balcony"))
            #expect(try stage.capabilities().wants(node: "urn:xmpp:tune", full, seenBy: account))
            #expect(account[Witness.Seen.self].isEmpty)
        }
    }

    @Test("Unloading and loading it again leaves no trace, and finds what it knew")
    func reload() async throws {
        try await Self.play { stage in
            let caps = try ClientCaps(["urn:a"])
            let romeo = try await stage.enter(Self.romeo + "/orchard", able: caps)
            let account = try stage.loadedAccount(Self.romeo)
            let host = try #require(stage.server.host("montague.example"))
            try stage.reload("modules: { disco: on, caps: off, roster: on, presence: on, witness: on }\n")
            #expect(host.service((any Capabilities).self) == nil)
            #expect(account[PeerCaps.Around.self] == nil)
            try await romeo.sends(caps.presence)
            #expect(await romeo.questions().isEmpty)
            try stage.reload("modules: { disco: on, caps: on, roster: on, presence: on, witness: on }\n")
            await stage.settle()
            #expect(try stage.capabilities().supports("urn:a", try #require(romeo.jid), seenBy: account))
            #expect(await romeo.questions().isEmpty)
        }
    }
}
