import ServerKit
import TestKit
import Testing

@testable import Modules

private let sasl2 = "xmlns='urn:xmpp:sasl:2'"
private let features = "<features xmlns='http://etherx.jabber.org/streams'/>"

@Suite("Extensible SASL Profile (XEP-0388)") struct SASL2Tests {
    private static let modules: [any Module.Type] = [SASL.self, SASL2.self, Bind.self]

    // MARK: The offer

    @Test(
        "It is offered over TLS, whoever the client says it is",
        arguments: [nil, "romeo@montague.example", "nobody@montague.example"])
    func offer(from: String?) async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let open = try await stage.connect(to: "montague.example", secure: false)
            #expect(try await open.opens(from: from, and: "").child("authentication", .sasl2) == nil)
            let secure = try await stage.connect(to: "montague.example")
            let offered = try await secure.opens(from: from, and: "")
            let expected = """
                <authentication \(sasl2)>
                  <mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism>
                  <inline><bind xmlns='urn:xmpp:bind:0'/></inline>
                  <upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-256</upgrade>
                  <upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-1</upgrade>
                </authentication>
                """
            #expect(
                try offered.child("authentication", .sasl2)?.matches(Element.parse(expected), exactly: true) == true)
            #expect(offered.has("mechanisms", .sasl))
        }
    }

    @Test("What is not loaded is not offered")
    func inlineOffer() async throws {
        try await play(modules: [SASL.self, SASL2.self]) { stage in
            let client = try await stage.connect(to: "montague.example")
            let offer = try await client.opens().child("authentication", .sasl2)
            #expect(offer?.has("inline") == false)
        }
    }

    // MARK: Success

    @Test("The stream goes on after success, with new features")
    func plain() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens(from: "romeo@montague.example", and: "")
            try await romeo.sends(Actor.plain(with: Actor.agent))
            try await romeo.receives(
                "<success \(sasl2)><authorization-identifier>romeo@montague.example</authorization-identifier></success>",
                exactly: true)
            let next = try await romeo.receives(features)
            #expect(next.has("bind", .bind) && !next.has("authentication", .sasl2) && !next.has("mechanisms"))
            try await romeo.bindsResource("phone")
            try await romeo.receives("<iq type='result' id='bind'/>")
            #expect(romeo.jid?.description == "romeo@montague.example/phone")
            #expect(romeo.resource?[ClientLogin.Key.self]?.userAgent?.device == "Kiva's Phone")
        }
    }

    @Test("SCRAM proves both sides", arguments: ["SCRAM-SHA-256", "SCRAM-SHA-1"])
    func scram(mechanism: String) async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            var client = SCRAMClient(
                hash: mechanism == "SCRAM-SHA-1" ? .sha1 : .sha256, username: "romeo", password: "secret")
            try await romeo.opens(and: Actor.authenticate(mechanism, client.start(), with: Actor.agent))
            let challenge = try await romeo.receives("<challenge \(sasl2)/>")
            let proof = try client.respond(#require(Base64.decode(challenge.text)))
            // As the examples have it.
            try await romeo.sends("<response \(sasl2)>\n  \(Base64.encode(proof))\n</response>")
            let success = try await romeo.receives(
                "<success \(sasl2)><authorization-identifier>romeo@montague.example</authorization-identifier></success>"
            )
            try client.finish(#require(Base64.decode(success.text(of: "additional-data") ?? "")))
            try await romeo.receives(features)
        }
    }

    @Test("The first message may wait for a challenge")
    func withoutInitialResponse() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens(and: Actor.authenticate("PLAIN", nil))
            try await romeo.receives("<challenge \(sasl2)/>", exactly: true)
            try await romeo.sends("<response \(sasl2)>\(Base64.encode(Array("\0romeo\0secret".utf8)))</response>")
            try await romeo.receives("<success \(sasl2)/>")
        }
    }

    @Test("A client that does not wait for the features is understood, and waits once")
    func pipelined() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            let bind = "<bind xmlns='urn:xmpp:bind:0'><tag>AwesomeXMPP</tag></bind>"
            try await romeo.opens(and: Actor.plain(with: bind))
            try await romeo.receives("<success \(sasl2)><bound xmlns='urn:xmpp:bind:0'/></success>")
            // The answers come as they are ready; the client has spoken once.
            #expect(romeo.roundTrips == 1)
            #expect(romeo.jid != nil)
        }
    }

    @Test("Clients that know nothing of it are not affected")
    func olderClient() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            #expect(try await romeo.logsIn().has("bind", .bind))
            try await romeo.bindsResource("phone")
            try await romeo.receives("<iq type='result'/>")
            try await romeo.sends(Actor.plain())
            try await romeo.isClosed(with: .policyViolation)
        }
    }

    @Test("A guest gets in, too")
    func anonymous() async throws {
        let config =
            "hosts: { guests.example: { authentication: anonymous } }\nmodules: { sasl: on, sasl2: on, bind: on }"
        try await play(modules: Self.modules, config: config) { stage in
            let guest = try await stage.connect(to: "guests.example")
            let offer = try await guest.opens(
                and: Actor.authenticate("ANONYMOUS", nil, with: Actor.agent + "<bind xmlns='urn:xmpp:bind:0'/>"))
            #expect(offer.child("authentication", .sasl2)?.children("mechanism").map(\.text) == ["ANONYMOUS"])
            #expect(offer.child("authentication", .sasl2)?.has("upgrade", .saslUpgrade) == false)
            let success = try await guest.receives("<success \(sasl2)><bound xmlns='urn:xmpp:bind:0'/></success>")
            #expect(success.text(of: "authorization-identifier") == guest.jid?.description)
            await guest.leaves()
            #expect(stage.server.host("guests.example")?.accounts.loadedAccounts.isEmpty == true)
        }
    }

    // MARK: Failure

    @Test(
        "A wrong password and a missing account look the same, and nothing else is done",
        arguments: ["romeo", "nobody"])
    func wrongPassword(username: String) async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let client = try await stage.connect(to: "montague.example")
            try await client.opens()
            try await client.sends(Actor.plain(username, "guess", with: "<bind xmlns='urn:xmpp:bind:0'/>"))
            try await client.receives(
                "<failure \(sasl2)><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></failure>", exactly: true)
            #expect(client.resource == nil)
            try await client.staysSilent()
            // The stream is as it was, for either protocol.
            try await client.authenticatesPlain("romeo", "guess")
            try await client.fails("not-authorized")
            try await client.sends(Actor.plain())
            try await client.receives("<success \(sasl2)/>")
        }
    }

    @Test("Before TLS nothing is looked at")
    func withoutTLS() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example", secure: false)
            try await romeo.opens(and: Actor.plain())
            try await romeo.failsAgain("encryption-required")
            #expect(romeo.stream?.authenticated == nil)
        }
    }

    @Test("Nobody gets another's address")
    func foreignAddress() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            try await stage.account("juliet@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens(from: "juliet@montague.example", and: Actor.plain())
            try await romeo.failsAgain("invalid-authzid")
            try await romeo.sends(Actor.plain(authzid: "juliet@montague.example"))
            try await romeo.failsAgain("invalid-authzid")
            #expect(romeo.stream?.authenticated == nil)
            let other = try await stage.connect(to: "montague.example")
            try await other.opens(from: "romeo@capulet.example", and: Actor.plain())
            try await other.isClosed(with: .invalidFrom)
        }
    }

    @Test(
        "What is malformed fails in the words of RFC 6120",
        arguments: [
            ("<authenticate \(sasl2)/>", "malformed-request"),
            ("<authenticate \(sasl2) mechanism=''/>", "malformed-request"),
            ("<authenticate \(sasl2) mechanism='EXTERNAL'/>", "invalid-mechanism"),
            ("<authenticate \(sasl2) mechanism='HT-SHA-256-NONE'/>", "invalid-mechanism"),
            ("<authenticate \(sasl2) mechanism='scram-sha-1'/>", "invalid-mechanism"),
            (
                "<authenticate \(sasl2) mechanism='PLAIN'><initial-response>=</initial-response></authenticate>",
                "incorrect-encoding"
            ),
            (
                "<authenticate \(sasl2) mechanism='PLAIN'><initial-response>AHI*</initial-response></authenticate>",
                "incorrect-encoding"
            ),
            ("<authenticate \(sasl2) mechanism='PLAIN'><initial-response/></authenticate>", "malformed-request"),
            (Actor.plain(with: "<initial-response>AA==</initial-response>"), "malformed-request"),
            (Actor.plain(with: "<bind xmlns='urn:xmpp:bind:0'/><bind xmlns='urn:xmpp:bind:0'/>"), "malformed-request"),
            (Actor.plain(with: "<user-agent/><user-agent/>"), "malformed-request"),
        ])
    func malformed(request: String, condition: String) async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens(and: request)
            try await romeo.failsAgain(condition)
            try await romeo.sends(Actor.plain())
            try await romeo.receives("<success \(sasl2)/>")
        }
    }

    @Test("A garbled response fails, an abort is confirmed")
    func responses() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens()
            for (answer, condition) in [
                ("<response \(sasl2)>?</response>", "incorrect-encoding"),
                ("<abort \(sasl2)><text>No</text></abort>", "aborted"),
            ] {
                try await romeo.sends(Actor.authenticate("SCRAM-SHA-1", Array("n,,n=romeo,r=abc".utf8)))
                try await romeo.receives("<challenge \(sasl2)/>")
                try await romeo.sends(answer)
                try await romeo.failsAgain(condition)
            }
        }
    }

    @Test(
        "What comes out of turn ends the stream",
        arguments: [
            "<response \(sasl2)>AAAA</response>", "<abort \(sasl2)/>", "<next \(sasl2) task='UPGR-SCRAM-SHA-256'/>",
            "<task-data \(sasl2)/>",
        ])
    func outOfTurn(element: String) async throws {
        try await play(modules: Self.modules) { stage in
            let client = try await stage.connect(to: "montague.example")
            try await client.opens(and: element)
            try await client.isClosed(with: .policyViolation)
        }
    }

    @Test(
        "While it lasts, anything else ends the stream",
        arguments: [
            Actor.plain(), "<next \(sasl2) task='UPGR-SCRAM-SHA-256'/>", "<task-data \(sasl2)/>",
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHJvbWVvAHNlY3JldA==</auth>",
            "<message to='juliet@montague.example'/>", "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
            "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        ])
    func interruption(element: String) async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens(and: Actor.authenticate("SCRAM-SHA-1", Array("n,,n=romeo,r=abc".utf8)))
            try await romeo.receives("<challenge \(sasl2)/>")
            try await romeo.sends(element)
            try await romeo.isClosed(with: .policyViolation)
            #expect(romeo.stream?.authenticated == nil)
        }
    }

    @Test("After success another attempt ends the stream, with either protocol and with or without a resource")
    func twice() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            for (content, element, condition) in [
                ("", Actor.plain(), StreamError.Condition.policyViolation),
                ("<bind xmlns='urn:xmpp:bind:0'/>", Actor.plain(), .policyViolation),
                ("", "<response \(sasl2)>AAAA</response>", .policyViolation),
                ("", "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>", .unsupportedStanzaType),
            ] {
                let romeo = try await stage.connect(to: "montague.example")
                try await romeo.logsInAgain(with: content)
                try await romeo.sends(element)
                try await romeo.isClosed(with: condition)
            }
        }
    }

    @Test("What a client says about itself is cut short, and an id that is none is not one")
    func userAgent() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            let long = String(repeating: "ä", count: 3_000)
            let agent = "<user-agent id='no uuid'><software>\(long)</software><device> </device></user-agent>"
            try await romeo.logsInAgain(with: agent + "<bind xmlns='urn:xmpp:bind:0'/>")
            let login = try #require(romeo.resource?[ClientLogin.Key.self])
            #expect(login.client == nil && login.userAgent?.device == nil)
            #expect(login.userAgent?.software == String(repeating: "ä", count: 50))

            let huge = try await stage.connect(to: "montague.example")
            try await huge.opens()
            try await huge.sends(
                Actor.plain(
                    with: "<user-agent><software>\(String(repeating: "a", count: 20_000))</software></user-agent>"))
            try await huge.isClosed(with: .policyViolation)
        }
    }

    @Test("A client that leaves at any moment leaves nothing behind")
    func vanishing() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            for _ in 0..<5 {
                let romeo = try await stage.connect(to: "montague.example")
                try await romeo.opens()
                try await romeo.sends(Actor.plain(with: Actor.agent + "<bind xmlns='urn:xmpp:bind:0'/>"))
                await romeo.vanishes()
            }
            #expect(stage.server.host("montague.example")?.accounts.resourceCount == 0)
            try await stage.connect(to: "montague.example").logsInAgain()
        }
    }

    // MARK: Guessing

    @Test("Guesses count whatever protocol they come by")
    func throttle() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            for round in 0..<6 {
                let client = try await stage.connect(to: "montague.example")
                try await client.opens()
                if round.isMultiple(of: 2) {
                    try await client.authenticatesPlain("romeo", "guess")
                    try await client.fails("not-authorized")
                } else {
                    try await client.sends(Actor.plain("romeo", "guess"))
                    try await client.failsAgain("not-authorized")
                }
            }
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens()
            try await romeo.sends(Actor.plain())
            try await romeo.failsAgain("temporary-auth-failure")
            try await romeo.authenticatesPlain("romeo", "secret")
            try await romeo.fails("temporary-auth-failure")
            await stage.advance(by: .seconds(2))
            try await romeo.sends(Actor.plain())
            try await romeo.receives("<success \(sasl2)/>")
        }
    }

    @Test("Too many failures end the stream")
    func attempts() async throws {
        let config = "modules: { sasl: { attempts: 3 }, sasl2: on }"
        try await play(modules: [SASL.self, SASL2.self], config: config) { stage in
            let client = try await stage.connect(to: "montague.example")
            try await client.opens()
            for _ in 0..<3 {
                try await client.sends("<authenticate \(sasl2) mechanism='NONE'/>")
                try await client.failsAgain("invalid-mechanism")
            }
            try await client.isClosed(with: .policyViolation)
        }
    }

    @Test("Switched off, nothing of it is left")
    func unloading() async throws {
        try await play(modules: Self.modules, config: "modules: { sasl: on, sasl2: on, bind: on }") { stage in
            try await stage.account("romeo@montague.example")
            try stage.reload("modules: { sasl: on, sasl2: off, bind: on }")
            let romeo = try await stage.connect(to: "montague.example")
            #expect(try await !romeo.opens(and: "").has("authentication", .sasl2))
            try await romeo.sends(Actor.plain())
            try await romeo.isClosed(with: .unsupportedStanzaType)
            try stage.reload("modules: { sasl: on, sasl2: on, bind: on }")
            try await stage.connect(to: "montague.example").logsInAgain()
        }
    }
}
