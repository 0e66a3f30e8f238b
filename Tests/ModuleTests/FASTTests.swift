import ServerKit
import TestKit
import Testing

@testable import Modules

private let sasl2 = "xmlns='urn:xmpp:sasl:2'"
private let fast = "xmlns='urn:xmpp:fast:0'"

@Suite("FAST (XEP-0484)") struct FASTTests {
    private static let modules: [any Module.Type] = [SASL.self, SASL2.self, Bind.self, FAST.self, Messages.self]
    /// With times that a test can wait for.
    private static let config = """
        modules: { sasl: on, sasl2: on, bind: on, fast: { lifetime: 2 hours, rotation: 30 minutes, clients: 3 } }
        """
    private static let bind = "<bind xmlns='urn:xmpp:bind:0'><tag>AwesomeXMPP</tag></bind>"

    private static func agent(_ number: Int) -> String {
        "<user-agent id='\(10_000_000 + number)-4d72-4749-b3d3-740edbf87770'/>"
    }

    /// Whether somebody with this token gets in.
    @ServerActor
    private static func opens(
        _ token: String, _ stage: Stage, as mechanism: HashedTokenMechanism = .unbound,
        with content: String = Actor.agent
    ) async throws -> Bool {
        let client = try await stage.connect(to: "montague.example")
        try await client.shows(token, as: mechanism, with: content)
        let answer = await client.everything().first
        await client.leaves()
        return answer?.is("success", .sasl2) == true
    }

    @Test("It is announced with the mechanisms that the connection can use")
    func announcement() async throws {
        try await play(modules: Self.modules) { stage in
            let client = try await stage.connect(to: "montague.example")
            let inline = try await client.opens().child("authentication", .sasl2)?.child("inline")
            let expected = "<fast \(fast)><mechanism>HT-SHA-256-NONE</mechanism></fast>"
            #expect(
                try inline?.child("fast", "urn:xmpp:fast:0")?.matches(Element.parse(expected), exactly: true) == true)
        }
    }

    @Test("A returning client is in its session after one round trip")
    func oneRoundTrip() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let first = try await stage.connect(to: "montague.example")
            let token = try await first.getsToken(with: Actor.agent + Self.bind)
            let jid = try #require(first.jid)
            await first.leaves()

            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.shows(token, with: Actor.agent + Self.bind)
            let success = try await romeo.receives(
                """
                <success \(sasl2)><authorization-identifier>\(jid)</authorization-identifier>
                  <bound xmlns='urn:xmpp:bind:0'/></success>
                """)
            #expect(romeo.roundTrips == 1)
            #expect(romeo.jid == jid)
            let client = HashedTokenClient(username: "romeo", token: token)
            #expect(try client.finish(#require(Base64.decode(success.text(of: "additional-data") ?? ""))))
            #expect(!success.has("token", .fast))
            _ = await romeo.everything()
            // The session works.
            try await romeo.sends("<message to='\(jid)' id='1'/>")
            try await romeo.receives("<message from='\(jid)' id='1'/>")
        }
    }

    @Test("Over TLS tokens are bound to the channel", arguments: [HashedTokenMechanism.exporter, .endPoint])
    func channelBinding(mechanism: HashedTokenMechanism) async throws {
        try await play(modules: Self.modules, over: .tls) { stage in
            try await stage.account("romeo@montague.example")
            let first = try await stage.connect(to: "montague.example")
            let inline = try await first.opens().child("authentication", .sasl2)?.child("inline")
            #expect(
                inline?.child("fast", .fast)?.children.map(\.text) == [
                    "HT-SHA-256-EXPR", "HT-SHA-256-ENDP", "HT-SHA-256-NONE",
                ])
            try await first.sends(
                Actor.plain(with: Actor.agent + "<request-token \(fast) mechanism='\(mechanism.rawValue)'/>"))
            let token = try #require(try await first.receives("<success \(sasl2)/>").child("token", .fast)?["token"])
            @ServerActor func binding(_ actor: Actor) async throws -> [UInt8] {
                await stage.settle()
                let tls = try #require(actor.stream?.transport.tls)
                return try #require(mechanism == .exporter ? tls.exporter() : tls.tlsServerEndPoint)
            }
            let other = try await stage.connect(to: "montague.example")
            let foreign = mechanism == .exporter ? try await binding(first) : [UInt8](repeating: 1, count: 32)
            try await other.shows(token, as: mechanism, binding: foreign)
            try await other.failsAgain("not-authorized")
            // Without the binding, it is no token at all.
            try await stage.connect(to: "montague.example").shows(token)

            let romeo = try await stage.connect(to: "montague.example")
            let right = try await binding(romeo)
            try await romeo.shows(token, as: mechanism, binding: right, with: Actor.agent + Self.bind)
            try await romeo.receives("<success \(sasl2)><bound xmlns='urn:xmpp:bind:0'/></success>")
            #expect(romeo.roundTrips == 1)
            #expect(try await !Self.opens(token, stage))
        }
    }

    @Test("A token survives a restart, and is not stored")
    func restart() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let token = try await stage.connect(to: "montague.example").getsToken()
            #expect(token.hasPrefix("secret-token:") && token.count == 77)
            let secret = String(token.dropFirst(13))
            let stored = try await stage.server.storage.rawMap("fast", on: "montague.example").entries(of: "romeo")
            #expect(stored.count == 1)
            for entry in stored {
                let text = entry.key + String(decoding: entry.value, as: UTF8.self)
                #expect(!text.contains(secret) && !text.contains("740edbf87770"))
            }
            try await stage.restart()
            #expect(try await Self.opens(token, stage))
        }
    }

    @Test("A token expires")
    func expiry() async throws {
        try await play(modules: Self.modules, config: Self.config) { stage in
            try await stage.account("romeo@montague.example")
            let client = try await stage.connect(to: "montague.example")
            let request = "<request-token \(fast) mechanism='HT-SHA-256-NONE'/>"
            let success = try await client.logsInAgain(with: Actor.agent + request)
            let token = try #require(success.child("token", .fast))
            #expect(token["expiry"].flatMap { Timestamp($0) } == stage.clock.date.advanced(by: .hours(2)))
            await stage.advance(by: .minutes(119))
            #expect(try await Self.opens(token["token"] ?? "", stage))
            await stage.advance(by: .minutes(1))
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.shows(token["token"] ?? "")
            try await romeo.failsAgain("credentials-expired")
            // XEP-0484 §4.1: the password still works on the same stream.
            try await romeo.sends(Actor.plain())
            try await romeo.receives("<success \(sasl2)/>")
        }
    }

    @Test("A token is replaced after a while; the old one is good until the new one was used")
    func rotation() async throws {
        try await play(modules: Self.modules, config: Self.config) { stage in
            try await stage.account("romeo@montague.example")
            let old = try await stage.connect(to: "montague.example").getsToken()
            await stage.advance(by: .minutes(30))
            @ServerActor func used(_ token: String) async throws -> String? {
                let client = try await stage.connect(to: "montague.example")
                try await client.shows(token)
                return try await client.receives("<success \(sasl2)/>").child("token", .fast)?["token"]
            }
            let lost = try #require(try await used(old))
            // The client never got it, and comes with the old one: the one it did not use is worth nothing.
            let new = try #require(try await used(old))
            #expect(Set([old, lost, new]).count == 3)
            #expect(try await !Self.opens(lost, stage))
            try await stage.restart()
            #expect(try await used(new) == nil)
            #expect(try await !Self.opens(old, stage))
            #expect(try await used(new) == nil)
        }
    }

    @Test("A token that is asked for leaves the one in use alone until it was used")
    func requested() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let first = try await stage.connect(to: "montague.example").getsToken()
            #expect(try await Self.opens(first, stage))
            let second = try await stage.connect(to: "montague.example").getsToken()
            #expect(try await Self.opens(first, stage))
            #expect(try await Self.opens(second, stage))
            #expect(try await !Self.opens(first, stage))
        }
    }

    @Test("A client can give its token up", arguments: ["1", "true"])
    func invalidation(value: String) async throws {
        try await play(modules: Self.modules, config: Self.config) { stage in
            try await stage.account("romeo@montague.example")
            let token = try await stage.connect(to: "montague.example").getsToken()
            await stage.advance(by: .minutes(40))
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.shows(token, fast: "<fast \(fast) invalidate='\(value)'/>")
            // It would have been due for another.
            #expect(try await !romeo.receives("<success \(sasl2)/>").has("token", .fast))
            #expect(try await !Self.opens(token, stage))
            try await stage.restart()
            #expect(try await !Self.opens(token, stage))

            let other = try await stage.connect(to: "montague.example").getsToken()
            let juliet = try await stage.connect(to: "montague.example")
            try await juliet.shows(
                other, fast: "<fast \(fast) invalidate='\(value)'/>",
                with: Actor.agent + "<request-token \(fast) mechanism='HT-SHA-256-NONE'/>")
            let next = try await juliet.receives("<success \(sasl2)><token \(fast)/></success>").child("token", .fast)?[
                "token"]
            #expect(try await !Self.opens(other, stage))
            #expect(try await Self.opens(next ?? "", stage))
        }
    }

    @Test("A counter that was seen before is a replay")
    func counter() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let token = try await stage.connect(to: "montague.example").getsToken()
            for (count, isAccepted) in [
                ("1", true), ("1", false), ("0", false), ("7", true), ("6", false), ("8", true),
            ] {
                let client = try await stage.connect(to: "montague.example")
                try await client.shows(token, fast: "<fast \(fast) count='\(count)'/>", with: Actor.agent + Self.bind)
                if isAccepted {
                    try await client.receives("<success \(sasl2)/>")
                } else {
                    try await client.failsAgain("not-authorized")
                    #expect(client.resource == nil)
                }
                await client.leaves()
                // Guessing would have to wait.
                await stage.advance(by: .minutes(2))
            }
            try await stage.restart()
            let client = try await stage.connect(to: "montague.example")
            try await client.shows(token, fast: "<fast \(fast) count='8'/>")
            try await client.failsAgain("not-authorized")
        }
    }

    @Test("The same message twice at the same time gets in once")
    func simultaneousReplay() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let token = try await stage.connect(to: "montague.example").getsToken()
            var clients: [Actor] = []
            for _ in 0..<4 {
                let client = try await stage.connect(to: "montague.example")
                try await client.opens()
                clients.append(client)
            }
            let proof = HashedTokenClient(username: "romeo", token: token).start()
            for client in clients {
                try await client.sends(
                    Actor.authenticate("HT-SHA-256-NONE", proof, with: Actor.agent + "<fast \(fast) count='1'/>"))
            }
            var successes = 0
            for client in clients where await client.everything().contains(where: { $0.is("success", .sasl2) }) {
                successes += 1
            }
            #expect(successes == 1)
        }
    }

    @Test("Requests that make no sense fail")
    func malformed() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let token = try await stage.connect(to: "montague.example").getsToken()
            for (element, content) in [
                ("", Actor.agent), ("<fast \(fast)/>", ""), ("<fast \(fast)/>", "<user-agent id='romeo'/>"),
                ("<fast \(fast) count='-1'/>", Actor.agent), ("<fast \(fast) count='x'/>", Actor.agent),
                ("<fast \(fast) count='99999999999999999999'/>", Actor.agent),
                ("<fast \(fast) invalidate='maybe'/>", Actor.agent),
            ] {
                let client = try await stage.connect(to: "montague.example")
                try await client.shows(token, fast: element, with: content)
                try await client.failsAgain("malformed-request")
            }
            #expect(try await Self.opens(token, stage))
        }
    }

    @Test("A token is for one client of one account")
    func foreignTokens() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            try await stage.account("juliet@montague.example")
            let romeos = try await stage.connect(to: "montague.example").getsToken()
            let juliets = try await stage.connect(to: "montague.example").getsToken(username: "juliet")
            #expect(romeos != juliets)
            for (username, token, agent) in [
                ("romeo", juliets, Actor.agent), ("juliet", romeos, Actor.agent), ("nobody", romeos, Actor.agent),
                ("romeo", romeos, Self.agent(1)), ("romeo", "", Actor.agent),
            ] {
                let client = try await stage.connect(to: "montague.example")
                try await client.shows(token, username: username, with: agent + Self.bind)
                try await client.receives(
                    "<failure \(sasl2)><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></failure>",
                    exactly: true)
                #expect(client.stream?.authenticated == nil && client.resource == nil)
            }
            // The password is no token, nor the other way round.
            let client = try await stage.connect(to: "montague.example")
            try await client.shows("secret")
            try await client.failsAgain("not-authorized")
            try await client.sends(Actor.plain("romeo", romeos))
            try await client.failsAgain("not-authorized")
            // Nor is it for SASL as in RFC 6120, which has no room for what comes with it.
            let proof = HashedTokenClient(username: "romeo", token: romeos).start()
            try await client.authenticates("HT-SHA-256-NONE", proof)
            try await client.fails("invalid-mechanism")
        }
    }

    @Test("Guessing at tokens has to wait, as at passwords", arguments: ["romeo", "nobody"])
    func throttle(username: String) async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let token = try await stage.connect(to: "montague.example").getsToken()
            for _ in 0..<6 {
                let client = try await stage.connect(to: "montague.example")
                try await client.shows("guess", username: username)
                try await client.failsAgain("not-authorized")
            }
            let client = try await stage.connect(to: "montague.example")
            try await client.shows(token, username: username)
            try await client.failsAgain("temporary-auth-failure")
            try await client.sends(Actor.plain(username))
            try await client.failsAgain("temporary-auth-failure")
        }
    }

    @Test("Another password, a lock and a removal make tokens worthless")
    func voidTokens() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let accounts = try #require(stage.server.host("montague.example")?.accounts)
            var token = try await stage.connect(to: "montague.example").getsToken()
            try await accounts.setPassword("another", of: "romeo")
            var client = try await stage.connect(to: "montague.example")
            try await client.shows(token)
            try await client.failsAgain("credentials-expired")

            token = try await stage.connect(to: "montague.example").getsToken(password: "another")
            try await accounts.setLocked(true, "romeo")
            #expect(try await !Self.opens(token, stage))
            try await accounts.setLocked(false, "romeo")
            client = try await stage.connect(to: "montague.example")
            try await client.shows(token)
            try await client.failsAgain("credentials-expired")

            token = try await stage.connect(to: "montague.example").getsToken(password: "another")
            #expect(try await Self.opens(token, stage))
            try await accounts.remove("romeo")
            try await stage.account("romeo@montague.example", password: "another")
            client = try await stage.connect(to: "montague.example")
            try await client.shows(token)
            try await client.failsAgain("not-authorized")
        }
    }

    @Test("Whoever knew the password of an account gets no token for the next one of that name")
    func successor() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let accounts = try #require(stage.server.host("montague.example")?.accounts)
            let client = try await stage.connect(to: "montague.example")
            var scram = SCRAMClient(
                hash: .sha256, username: "romeo", password: "secret", authzid: nil, binding: .unsupported)
            let request = "<request-token \(fast) mechanism='HT-SHA-256-NONE'/>"
            try await client.opens(
                and: Actor.authenticate("SCRAM-SHA-256", scram.start(), with: Actor.agent + request))
            let challenge = try await client.receives("<challenge \(sasl2)/>")
            try await accounts.remove("romeo")
            await stage.advance(by: .seconds(1))
            try await stage.account("romeo@montague.example", password: "another")
            let response = try scram.respond(#require(Base64.decode(challenge.text)))
            try await client.sends("<response \(sasl2)>\(Base64.encode(response))</response>")
            let answer = await client.everything().first
            #expect(answer?.is("success", .sasl2) != true)
            #expect(answer?.child("token", .fast) == nil)
        }
    }

    @Test("Only so many clients have a token, and those that have been away longest lose theirs")
    func limit() async throws {
        try await play(modules: Self.modules, config: Self.config) { stage in
            try await stage.account("romeo@montague.example")
            var tokens: [String] = []
            for number in 0..<4 {
                tokens.append(try await stage.connect(to: "montague.example").getsToken(with: Self.agent(number)))
                await stage.advance(by: .seconds(1))
            }
            var opened: [Bool] = []
            for number in 0..<4 {
                opened.append(try await Self.opens(tokens[number], stage, with: Self.agent(number)))
            }
            #expect(opened == [false, true, true, true])
        }
    }

    @Test(
        "No token without a client to give it to, a mechanism that there is, or success",
        arguments: [
            "<request-token \(fast) mechanism='HT-SHA-256-NONE'/>",
            Actor.agent + "<request-token \(fast) mechanism='HT-SHA-256-EXPR'/>",
            Actor.agent + "<request-token \(fast) mechanism='HT-SHA-512-NONE'/>",
            Actor.agent + "<request-token \(fast)/>",
            Actor.agent + "<fast \(fast)/>", Actor.agent,
        ])
    func noToken(content: String) async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let client = try await stage.connect(to: "montague.example")
            #expect(try await !client.logsInAgain(with: content).has("token", .fast))
            let guesser = try await stage.connect(to: "montague.example")
            try await guesser.opens()
            try await guesser.sends(
                Actor.plain(
                    "romeo", "guess", with: Actor.agent + "<request-token \(fast) mechanism='HT-SHA-256-NONE'/>"))
            try await guesser.failsAgain("not-authorized")
            let stored = try await stage.server.storage.rawMap("fast", on: "montague.example").entries(of: "romeo")
            #expect(stored.isEmpty)
        }
    }

    @Test("Guests have no use for tokens")
    func anonymous() async throws {
        let config = """
            hosts: { guests.example: { authentication: anonymous } }
            modules: { sasl: on, sasl2: on, bind: on, fast: on }
            """
        try await play(modules: Self.modules, config: config) { stage in
            let guest = try await stage.connect(to: "guests.example")
            let request = "<request-token \(fast) mechanism='HT-SHA-256-NONE'/>"
            let offer = try await guest.opens(and: Actor.authenticate("ANONYMOUS", nil, with: Actor.agent + request))
            #expect(offer.child("authentication", .sasl2)?.child("inline")?.has("fast", .fast) == false)
            #expect(try await !guest.receives("<success \(sasl2)/>").has("token", .fast))
        }
    }

    @Test("Switched off, tokens are of no use; switched on again, they are")
    func unloading() async throws {
        let on = "modules: { sasl: on, sasl2: on, bind: on, fast: on }"
        try await play(modules: Self.modules, config: on) { stage in
            try await stage.account("romeo@montague.example")
            let token = try await stage.connect(to: "montague.example").getsToken()
            try stage.reload("modules: { sasl: on, sasl2: on, bind: on, fast: off }")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.shows(token)
            try await romeo.failsAgain("invalid-mechanism")
            try stage.reload(on)
            #expect(try await Self.opens(token, stage))
        }
    }

    @Test("Options that make no sense are refused", arguments: ["rotation: 31 days", "lifetime: 1 s", "clients: 0"])
    func badOptions(option: String) async throws {
        await #expect(throws: ConfigProblems.self) {
            try await play(modules: Self.modules, config: "modules: { sasl: on, sasl2: on, fast: { \(option) } }") {
                _ in
            }
        }
    }
}
