import ServerKit
import TestKit
import Testing

@testable import Modules

private let sasl2 = "xmlns='urn:xmpp:sasl:2'"

@Suite("SASL Upgrade Tasks (XEP-0480)") struct UpgradeTaskTests {
    private static let modules: [any Module.Type] = [SASL.self, SASL2.self, Bind.self, FAST.self]
    private static let task = "<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-256</upgrade>"

    /// Makes an account whose keys came from another server, which knew SHA-1 only.
    @ServerActor
    private static func importAccount(_ stage: Stage, lacking hash: SCRAMHash = .sha256) async throws -> AccountStore {
        try await stage.account("romeo@montague.example")
        let store = try #require(stage.server.host("montague.example")?.accounts.store)
        var record = try #require(try await store.record(of: "romeo"))
        record.password.credentials.removeAll { $0.hash == hash }
        try await store.remove("romeo")
        _ = try await store.insert([("romeo", record)])
        return store
    }

    /// What a client that knows the password derives.
    private static func answer(to salt: Element, hash: SCRAMHash) throws -> String {
        let salted = Digest.pbkdf2(
            hash.algorithm, password: Array("secret".utf8), salt: try #require(Base64.decode(salt.text)),
            iterations: try #require(salt["iterations"].flatMap { Int($0) }))
        return "<task-data \(sasl2)><hash xmlns='urn:xmpp:scram-upgrade:0'>\(Base64.encode(salted))</hash></task-data>"
    }

    @Test("Keys that are missing are added before the client is let in")
    func upgrade() async throws {
        try await play(modules: Self.modules) { stage in
            let store = try await Self.importAccount(stage)
            let romeo = try await stage.connect(to: "montague.example")
            var client = SCRAMClient(hash: .sha1, username: "romeo", password: "secret")
            let bind = "<bind xmlns='urn:xmpp:bind:0'/>"
            try await romeo.opens(
                from: "romeo@montague.example",
                and: Actor.authenticate("SCRAM-SHA-1", client.start(), with: Self.task + bind))
            let challenge = try await romeo.receives("<challenge \(sasl2)/>")
            let proof = try client.respond(#require(Base64.decode(challenge.text)))
            try await romeo.sends("<response \(sasl2)>\(Base64.encode(proof))</response>")
            let next = try await romeo.receives(
                "<continue \(sasl2)><additional-data/><tasks><task>UPGR-SCRAM-SHA-256</task></tasks></continue>")
            try client.finish(#require(Base64.decode(next.text(of: "additional-data") ?? "")))
            #expect(romeo.stream?.authenticated == nil)
            try await romeo.sends("<next \(sasl2) task='UPGR-SCRAM-SHA-256'/>")
            let data = try await romeo.receives(
                "<task-data \(sasl2)><salt xmlns='urn:xmpp:scram-upgrade:0' iterations='10000'/></task-data>")
            try await romeo.sends(Self.answer(to: #require(data.firstChild), hash: .sha256))
            let success = try await romeo.receives(
                "<success \(sasl2)><bound xmlns='urn:xmpp:bind:0'/></success>")
            #expect(!success.has("additional-data"))
            #expect(romeo.jid != nil)

            let record = try #require(try await store.record(of: "romeo"))
            #expect(Set(record.password.credentials.map(\.hash)) == [.sha1, .sha256])
            let other = try await stage.connect(to: "montague.example")
            try await other.opens()
            _ = try await other.authenticatesScram("romeo", "secret", with: "SCRAM-SHA-256")
            try await other.receives("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
        }
    }

    @Test("Nothing is asked of a client whose account has all keys, that does not offer it, or that has a token")
    func nothingToDo() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("juliet@montague.example")
            try await stage.connect(to: "montague.example").logsInAgain("juliet", with: Self.task)
            _ = try await Self.importAccount(stage)
            try await stage.connect(to: "montague.example").logsInAgain(with: "")
            try await stage.connect(to: "montague.example").logsInAgain(
                with: "<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-512</upgrade>")
            let token = try await stage.connect(to: "montague.example").getsToken()
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.shows(token, with: Actor.agent + Self.task)
            try await romeo.receives("<success \(sasl2)/>")
        }
    }

    @Test(
        "A task that is done otherwise than asked fails, and nothing is kept",
        arguments: [
            ("<next \(sasl2) task='UPGR-SCRAM-SHA-1'/>", "malformed-request"),
            ("<next \(sasl2)/>", "malformed-request"),
            ("<task-data \(sasl2)><hash xmlns='urn:xmpp:scram-upgrade:0'>AAAA</hash></task-data>", "malformed-request"),
            ("<abort \(sasl2)/>", "aborted"),
            (
                "<next \(sasl2) task='UPGR-SCRAM-SHA-256'/><next \(sasl2) task='UPGR-SCRAM-SHA-256'/>",
                "malformed-request"
            ),
            ("<next \(sasl2) task='UPGR-SCRAM-SHA-256'/><task-data \(sasl2)/>", "malformed-request"),
            (
                """
                <next \(sasl2) task='UPGR-SCRAM-SHA-256'/><task-data \(sasl2)><hash xmlns='urn:xmpp:scram-upgrade:0'>?</hash>\
                </task-data>
                """, "incorrect-encoding"
            ),
            (
                """
                <next \(sasl2) task='UPGR-SCRAM-SHA-256'/><task-data \(sasl2)><hash xmlns='urn:xmpp:scram-upgrade:0'>AAAA</hash>\
                </task-data>
                """, "malformed-request"
            ),
        ])
    func wrongTask(elements: String, condition: String) async throws {
        try await play(modules: Self.modules) { stage in
            let store = try await Self.importAccount(stage)
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens(and: Actor.plain(with: Self.task + "<bind xmlns='urn:xmpp:bind:0'/>"))
            try await romeo.receives("<continue \(sasl2)/>")
            try await romeo.sends(elements)
            _ = try await romeo.receivesAnywhere(
                "<failure \(sasl2)><\(condition) xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></failure>")
            #expect(romeo.stream?.authenticated == nil && romeo.resource == nil)
            #expect(try await store.record(of: "romeo")?.password.credentials.map(\.hash) == [.sha1])
            _ = await romeo.everything()
            // XEP-0388 §4.8: there was a <continue/>.
            try await romeo.sends(Actor.plain())
            try await romeo.isClosed(with: .policyViolation)
        }
    }

    @Test(
        "Stanzas and other attempts do not get in between",
        arguments: [Actor.plain(), "<presence/>", "<response \(sasl2)/>"])
    func interruption(element: String) async throws {
        try await play(modules: Self.modules) { stage in
            _ = try await Self.importAccount(stage)
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens(and: Actor.plain(with: Self.task))
            try await romeo.receives("<continue \(sasl2)/>")
            try await romeo.sends(element)
            try await romeo.isClosed(with: .policyViolation)
        }
    }

    @Test("Keys of a password that was changed meanwhile are not kept")
    func changedPassword() async throws {
        try await play(modules: Self.modules) { stage in
            let store = try await Self.importAccount(stage)
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens(and: Actor.plain(with: Self.task))
            try await romeo.receives("<continue \(sasl2)/>")
            try await romeo.sends("<next \(sasl2) task='UPGR-SCRAM-SHA-256'/>")
            let data = try await romeo.receives("<task-data \(sasl2)/>")
            try await store.setPassword("another", of: "romeo", iterations: 4_096)
            let before = try await store.record(of: "romeo")
            try await romeo.sends(Self.answer(to: #require(data.firstChild), hash: .sha256))
            try await romeo.failsAgain("credentials-expired")
            #expect(try await store.record(of: "romeo") == before)
        }
    }
}
