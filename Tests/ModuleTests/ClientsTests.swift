import ServerKit
import TestKit
import Testing

@testable import Modules

private let sasl2 = "xmlns='urn:xmpp:sasl:2'"
private let list = "<list xmlns='urn:xmpp:cam:0'/>"

@Suite("Client Access Management (XEP-0494)") struct ClientsTests {
    private static let modules: [any Module.Type] = [SASL.self, SASL2.self, Bind.self, FAST.self, Clients.self]
    private static let bind = "<bind xmlns='urn:xmpp:bind:0'/>"
    private static let tokenRequest = "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>"

    private static func agent(_ number: Int) -> String {
        "<user-agent id='\(10_000_000 + number)-4d72-4749-b3d3-740edbf87770'><device>No. \(number)</device></user-agent>"
    }

    private static func revoke(_ id: String) -> String { "<revoke xmlns='urn:xmpp:cam:0' id='\(id)'/>" }

    /// A client with a session and, if it wants, a token.
    @ServerActor
    private static func enter(
        _ stage: Stage, _ agent: String = Actor.agent, username: String = "romeo", wantsToken: Bool = true
    ) async throws -> (client: Actor, token: String) {
        let client = try await stage.connect(to: "montague.example")
        let success = try await client.logsInAgain(
            username, with: agent + bind + (wantsToken ? tokenRequest : ""))
        return (client, success.child("token", .fast)?["token"] ?? "")
    }

    @Test("Clients are listed with what is known of them")
    func listing() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let start = stage.clock.date
            let (phone, token) = try await Self.enter(stage)
            await phone.leaves()
            await stage.advance(by: .minutes(20))
            let returning = try await stage.connect(to: "montague.example")
            try await returning.shows(token, with: Actor.agent + Self.bind)
            _ = await returning.everything()
            await stage.advance(by: .minutes(20))
            await returning.leaves()
            await stage.advance(by: .minutes(20))
            let old = try await stage.connect(to: "montague.example")
            try await old.logsIn()
            try await old.bindsResource("old")
            try await old.receives("<iq type='result'/>")

            let answer = try #require(try await old.asks(.get, list))
            let expected = """
                <clients xmlns='urn:xmpp:cam:0'>
                  <client connected='true' type='session'>
                    <first-seen>\(stage.clock.date)</first-seen><last-seen>\(stage.clock.date)</last-seen>
                    <auth><password/></auth><permission status='unrestricted'/><user-agent/></client>
                  <client connected='false' type='session'>
                    <first-seen>\(start)</first-seen><last-seen>\(start.advanced(by: .minutes(40)))</last-seen>
                    <auth><password/><fast/></auth><permission status='unrestricted'/>
                    <user-agent><software>AwesomeXMPP</software><device>Kiva's Phone</device></user-agent></client>
                </clients>
                """
            #expect(try answer.matches(Element.parse(expected)))
            #expect(answer.children.count == 2)
            #expect(!answer.description.contains("740edbf87770"))
            #expect(Set(answer.children.compactMap { $0["id"] }).count == 2)
            // An id is good for as long as there is something to revoke.
            #expect(try await old.asks(.get, list)?.children.map { $0["id"] } == answer.children.map { $0["id"] })
        }
    }

    @Test("A client that knows the password loses its session and its token, and the user is told to change it")
    func revokingWithPassword() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let (phone, token) = try await Self.enter(stage)
            let (laptop, _) = try await Self.enter(stage, Self.agent(1))
            let id = try #require(
                try await laptop.asks(.get, list)?.children.first { $0.child("user-agent")?.has("software") == true }?[
                    "id"])
            let error = try await laptop.isRefused(.set, Self.revoke(id))
            #expect(error.condition == .serviceUnavailable && error.kind == .cancel)
            #expect(error.detail?.is("password-reset-required", "urn:xmpp:cam:0") == true)
            try await phone.isClosed(with: .policyViolation)
            let thief = try await stage.connect(to: "montague.example")
            try await thief.shows(token)
            try await thief.failsAgain("not-authorized")
            // It is still on the list, for it still gets in.
            let entry = try #require(try await laptop.asks(.get, list)?.children.first { $0["id"] == id })
            #expect(entry["connected"] == "false" && entry.child("auth")?.children.map(\.name) == ["password"])

            try await stage.server.host("montague.example")?.accounts.setPassword("another", of: "romeo")
            #expect(try await laptop.asks(.get, list)?.children.count == 1)
            #expect(try await laptop.isRefused(.set, Self.revoke(id)) == .itemNotFound)
        }
    }

    @Test("A client that has only a token is turned away for good")
    func revokingToken() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            try await stage.server.host("montague.example")?.accounts.setPassword("secret", of: "romeo")
            _ = try await Self.enter(stage)
            try await stage.server.host("montague.example")?.accounts.setPassword("another", of: "romeo")
            // The session that was there before has neither password nor token any more.
            let laptop = try await stage.connect(to: "montague.example")
            try await laptop.logsInAgain("romeo", "another", with: Self.agent(1) + Self.bind)
            let entry = try #require(
                try await laptop.asks(.get, list)?.children.first { $0.child("user-agent")?.has("software") == true })
            #expect(entry["connected"] == "true" && entry.child("auth")?.hasChildren == false)
            #expect(try await laptop.asks(.set, Self.revoke(entry["id"] ?? "")) == nil)
            #expect(try await laptop.asks(.get, list)?.children.count == 1)
            await stage.settle()
            try await stage.restart()
            let again = try await stage.connect(to: "montague.example")
            try await again.logsInAgain("romeo", "another", with: Self.agent(1) + Self.bind)
            #expect(try await again.asks(.get, list)?.children.count == 1)
        }
    }

    @Test("Who revokes itself is told, and goes", arguments: [true, false])
    func revokingItself(isIdentified: Bool) async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let (phone, _) = try await Self.enter(stage, isIdentified ? Actor.agent : "", wantsToken: false)
            let id = try #require(try await phone.asks(.get, list)?.firstChild?["id"])
            #expect(try await phone.isRefused(.set, Self.revoke(id)).condition == .serviceUnavailable)
            try await phone.isClosed(with: .policyViolation)
        }
    }

    @Test("A session that may be resumed counts as connected, after a restart, too, and ends when it is revoked")
    func detached() async throws {
        try await play(modules: Self.modules + [StreamManagement.self]) { stage in
            try await stage.account("romeo@montague.example")
            let phone = try await stage.connect(to: "montague.example")
            let bind = "<bind xmlns='urn:xmpp:bind:0'><enable xmlns='urn:xmpp:sm:3' resume='true'/></bind>"
            let success = try await phone.logsInAgain(with: Actor.agent + bind)
            let session = try #require(success.child("bound", .bind2)?.child("enabled", .sm)?["id"])
            try await stage.restart()
            let laptop = try await stage.connect(to: "montague.example")
            try await laptop.logsInAgain(with: Self.agent(1) + Self.bind)
            let entry = try #require(
                try await laptop.asks(.get, list)?.children.first { $0.child("user-agent")?.has("software") == true })
            #expect(entry["connected"] == "true")
            let error = try await laptop.isRefused(.set, Self.revoke(entry["id"] ?? ""))
            #expect(error.condition == .serviceUnavailable)
            #expect(laptop.resource?.account.resources.count == 1)
            let again = try await stage.connect(to: "montague.example")
            let resume = "<resume xmlns='urn:xmpp:sm:3' previd='\(session)' h='0'/>"
            #expect(try await again.logsInAgain(with: Actor.agent + resume).has("failed", .sm))
        }
    }

    @Test("Nobody else may look or revoke")
    func strangers() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            try await stage.account("juliet@montague.example")
            let (romeo, _) = try await Self.enter(stage)
            let (juliet, _) = try await Self.enter(stage, username: "juliet")
            let id = try #require(try await romeo.asks(.get, list)?.firstChild?["id"])
            let address = "romeo@montague.example"
            #expect(try await juliet.isRefused(.get, list, to: address) == .serviceUnavailable)
            #expect(try await juliet.isRefused(.set, Self.revoke(id), to: address) == .serviceUnavailable)
            #expect(try await juliet.isRefused(.set, Self.revoke(id)) == .itemNotFound)
            #expect(try await juliet.isRefused(.set, "<revoke xmlns='urn:xmpp:cam:0'/>").condition == .badRequest)
            #expect(try await juliet.isRefused(.set, list) == .notAllowed)
            #expect(!romeo.isClosed)
        }
    }

    @Test("Who connects again and again does not fill the list")
    func limit() async throws {
        let config = "modules: { sasl: on, sasl2: on, bind: on, fast: on, clients: { limit: 3, device_names: off } }"
        try await play(modules: Self.modules, config: config) { stage in
            try await stage.account("romeo@montague.example")
            for number in 0..<6 {
                let (client, _) = try await Self.enter(stage, Self.agent(number), wantsToken: false)
                await client.leaves()
                await stage.advance(by: .minutes(1))
            }
            let (client, _) = try await Self.enter(stage, Self.agent(9), wantsToken: false)
            let answer = try #require(try await client.asks(.get, list))
            #expect(answer.children.count == 3)
            #expect(answer.children.allSatisfy { $0.child("user-agent")?.hasChildren == false })
        }
    }

    @Test("It is advertised, and gone when it is switched off")
    func unloading() async throws {
        let modules = Self.modules + [Disco.self]
        let info = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
        let off = "modules: { sasl: on, sasl2: on, bind: on, fast: on, disco: on, clients: off }"
        let on = "modules: { sasl: on, sasl2: on, bind: on, fast: on, disco: on, clients: on }"
        try await play(modules: modules, config: on) { stage in
            try await stage.account("romeo@montague.example")
            let (romeo, _) = try await Self.enter(stage)
            @ServerActor func isAdvertised() async throws -> Bool? {
                try await romeo.asks(.get, info, to: "romeo@montague.example")?.children("feature")
                    .contains { $0["var"] == "urn:xmpp:cam:0" }
            }
            #expect(try await isAdvertised() == true)
            try stage.reload(off)
            #expect(try await isAdvertised() == false)
            #expect(try await romeo.isRefused(.get, list) == .serviceUnavailable)
            try stage.reload(on)
            #expect(try await romeo.asks(.get, list)?.children.count == 1)
        }
    }
}
