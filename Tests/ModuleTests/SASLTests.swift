import ServerKit
import TestKit
import Testing

@testable import Modules

private let sasl = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"

@Suite("SASL (RFC 6120 §6)") struct SASLTests {
    // MARK: The offer

    @Test("Mechanisms are offered over TLS and not before")
    func offer() async throws {
        try await play(modules: [SASL.self]) { stage in
            let open = try await stage.connect(to: "montague.example", secure: false)
            #expect(try await open.opens().child("mechanisms", .sasl) == nil)
            let secure = try await stage.connect(to: "montague.example")
            let features = try await secure.opens()
            let names = features.child("mechanisms", .sasl)?.children.map(\.text)
            // The stage's connection is secure, but has no TLS to bind to.
            #expect(names == ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
            #expect(!features.has("sasl-channel-binding", .saslChannelBinding))
        }
    }

    @Test("After authentication nothing is offered, and another attempt ends the stream")
    func second() async throws {
        try await play(modules: [SASL.self, Bind.self]) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            #expect(try await !romeo.logsIn().has("mechanisms", .sasl))
            try await romeo.authenticatesPlain("romeo", "secret")
            try await romeo.isClosed(with: .unsupportedStanzaType)

            let bound = try await stage.connect(to: "montague.example")
            try await bound.logsIn()
            try await bound.bindsResource("phone")
            try await bound.receives("<iq type='result'/>")
            try await bound.authenticatesPlain("romeo", "secret")
            try await bound.isClosed(with: .unsupportedStanzaType)
        }
    }

    // MARK: Success

    @Test("SCRAM proves both sides", arguments: ["SCRAM-SHA-256", "SCRAM-SHA-1"])
    func scram(mechanism: String) async throws {
        try await play(modules: [SASL.self]) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens()
            var client = try await romeo.authenticatesScram("romeo", "secret", with: mechanism)
            let success = try await romeo.receives("<success \(sasl)/>")
            try client.finish(#require(Base64.decode(success.text)))
            #expect(romeo.stream?.authenticated == "romeo")
            #expect(romeo.stream?.mechanism == mechanism)
            try await romeo.opens()
        }
    }

    @Test("SCRAM signs what was offered, so that nobody can take something out of it unseen (XEP-0474)")
    func downgradeProtection() async throws {
        try await play(modules: [SASL.self], config: "modules: { sasl: on }") { stage in
            try await stage.account("romeo@montague.example")
            for (mechanism, hash) in [("SCRAM-SHA-256", Digest.Algorithm.sha256), ("SCRAM-SHA-1", .sha1)] {
                let romeo = try await stage.connect(to: "montague.example")
                try await romeo.opens()
                try await romeo.authenticates(mechanism, Array("n,,n=romeo,r=abc".utf8))
                let challenge = String(decoding: try await romeo.isChallenged(), as: UTF8.self)
                let list = "PLAIN\u{1E}SCRAM-SHA-1\u{1E}SCRAM-SHA-256"
                #expect(challenge.hasSuffix(",h=\(Base64.encode(Digest.hash(hash, Array(list.utf8))))"))
            }
            try stage.reload("modules: { sasl: { downgrade_protection: off } }")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens()
            try await romeo.authenticates("SCRAM-SHA-1", Array("n,,n=romeo,r=abc".utf8))
            #expect(try await !String(decoding: romeo.isChallenged(), as: UTF8.self).contains(",h="))
        }
    }

    @Test("The first message may wait for a challenge")
    func withoutInitialResponse() async throws {
        try await play(modules: [SASL.self]) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens()
            try await romeo.sends("<auth \(sasl) mechanism='PLAIN'/>")
            try await romeo.receives("<challenge \(sasl)>=</challenge>")
            try await romeo.responds(Array("\0romeo\0secret".utf8))
            try await romeo.receives("<success \(sasl)/>", exactly: true)
        }
    }

    @Test(
        "Names and passwords are prepared, and the own address may be asked for",
        arguments: [("Romeo", "secret", ""), ("romeo", "secret", "romeo@montague.example"),
            ("ＲＯＭＥＯ", "secret", "ROMEO@MONTAGUE.example")])
    func preparation(username: String, password: String, authzid: String) async throws {
        try await play(modules: [SASL.self]) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens()
            try await romeo.authenticatesPlain(username, password, authzid: authzid)
            try await romeo.receives("<success \(sasl)/>")
            #expect(romeo.stream?.authenticated == "romeo")
        }
    }

    @Test("Nobody gets another's address, not even with the right password")
    func foreignAuthzid() async throws {
        try await play(modules: [SASL.self]) { stage in
            try await stage.account("romeo@montague.example")
            try await stage.account("juliet@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens()
            try await romeo.authenticatesPlain("romeo", "secret", authzid: "juliet@montague.example")
            try await romeo.fails("invalid-authzid")
            _ = try await romeo.authenticatesScram("romeo", "secret", authzid: "juliet@montague.example")
            try await romeo.fails("invalid-authzid")
            #expect(romeo.stream?.authenticated == nil)
        }
    }

    // MARK: Failure

    @Test("A wrong password and a missing account look the same")
    func wrongPassword() async throws {
        try await play(modules: [SASL.self]) { stage in
            try await stage.account("romeo@montague.example")
            for username in ["romeo", "nobody"] {
                let client = try await stage.connect(to: "montague.example")
                try await client.opens()
                try await client.authenticatesPlain(username, "guess")
                try await client.receives("<failure \(sasl)><not-authorized/></failure>", exactly: true)
                _ = try await client.authenticatesScram(username, "guess")
                try await client.receives("<failure \(sasl)><not-authorized/></failure>", exactly: true)
            }
        }
    }

    @Test("A missing account keeps its salt, as a real one does")
    func decoy() async throws {
        try await play(modules: [SASL.self]) { stage in
            try await stage.account("romeo@montague.example")
            for username in ["romeo", "nobody"] {
                var salts: Set<String> = []
                var iterations: Set<String> = []
                for spelling in [username, username.uppercased()] {
                    let client = try await stage.connect(to: "montague.example")
                    try await client.opens()
                    try await client.authenticates("SCRAM-SHA-1", Array("n,,n=\(spelling),r=abc".utf8))
                    let parts = String(decoding: try await client.isChallenged(), as: UTF8.self).split(separator: ",")
                    #expect(parts.count == 4)
                    salts.insert(String(parts[1]))
                    iterations.insert(String(parts[2]))
                }
                #expect(salts.count == 1)
                #expect(iterations == ["i=\(StoredPassword.defaultIterations)"])
            }
        }
    }

    @Test("Only who knows the password learns that the account is locked")
    func locked() async throws {
        try await play(modules: [SASL.self]) { stage in
            try await stage.account("romeo@montague.example")
            try await stage.server.host("montague.example")?.accounts.setLocked(true, "romeo")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens()
            try await romeo.authenticatesPlain("romeo", "guess")
            try await romeo.fails("not-authorized")
            try await romeo.authenticatesPlain("romeo", "secret")
            try await romeo.fails("account-disabled")
            _ = try await romeo.authenticatesScram("romeo", "guess")
            try await romeo.fails("not-authorized")
            _ = try await romeo.authenticatesScram("romeo", "secret")
            try await romeo.fails("account-disabled")
        }
    }

    @Test(
        "Without TLS there is no way in",
        arguments: [
            "<auth \(sasl) mechanism='PLAIN'>AHJvbWVvAHNlY3JldA==</auth>", "<auth \(sasl) mechanism='SCRAM-SHA-1'/>",
            "<auth \(sasl) mechanism='ANONYMOUS'/>", "<response \(sasl)>%%%</response>", "<abort \(sasl)/>",
        ])
    func withoutTLS(element: String) async throws {
        try await play(modules: [SASL.self]) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example", secure: false)
            try await romeo.opens()
            for _ in 0..<5 {
                try await romeo.sends(element)
                try await romeo.fails("encryption-required")
            }
            try await romeo.isClosed(with: .policyViolation)
        }
    }

    /// What a client sends, and how it fails.
    private static let nonsense: [(String, String)] = [
        ("<auth \(sasl)/>", "invalid-mechanism"),
        ("<auth \(sasl) mechanism=''/>", "invalid-mechanism"),
        ("<auth \(sasl) mechanism='plain'>AHJvbWVvAHNlY3JldA==</auth>", "invalid-mechanism"),
        ("<auth \(sasl) mechanism='DIGEST-MD5'/>", "invalid-mechanism"),
        ("<auth \(sasl) mechanism='SCRAM-SHA-256-PLUS'/>", "invalid-mechanism"),
        ("<auth \(sasl) mechanism='EXTERNAL'>=</auth>", "invalid-mechanism"),
        ("<auth \(sasl) mechanism='ANONYMOUS'/>", "invalid-mechanism"),
        ("<auth \(sasl) mechanism='PLAIN'>AHJvbWVvAHNlY3JldA</auth>", "incorrect-encoding"),
        ("<auth \(sasl) mechanism='PLAIN'>====</auth>", "incorrect-encoding"),
        ("<auth \(sasl) mechanism='PLAIN'> AHJvbWVvAHNlY3JldA== </auth>", "incorrect-encoding"),
        ("<auth \(sasl) mechanism='PLAIN'>💘</auth>", "incorrect-encoding"),
        ("<auth \(sasl) mechanism='PLAIN'>=</auth>", "malformed-request"),
        ("<auth \(sasl) mechanism='PLAIN'>AAAA</auth>", "malformed-request"),
        ("<auth \(sasl) mechanism='PLAIN'>AP/+AP8=</auth>", "malformed-request"),
        ("<auth \(sasl) mechanism='SCRAM-SHA-1'>AAAA</auth>", "malformed-request"),
        ("<response \(sasl)/>", "malformed-request"),
        ("<response \(sasl)>AAAA</response>", "malformed-request"),
        ("<response \(sasl)>?</response>", "incorrect-encoding"),
        ("<abort \(sasl)/>", "aborted"),
    ]

    @Test("Nonsense fails, and the next attempt may succeed", arguments: nonsense)
    func hostile(element: String, condition: String) async throws {
        try await play(modules: [SASL.self]) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens()
            try await romeo.sends(element)
            try await romeo.fails(condition)
            try await romeo.authenticatesPlain("romeo", "secret")
            try await romeo.receives("<success \(sasl)/>")
        }
    }

    /// What a client sends after a challenge, and how it fails.
    private static let interruptions: [(String, String)] = [
        ("<abort \(sasl)/>", "aborted"),
        ("<auth \(sasl) mechanism='PLAIN'>AHJvbWVvAHNlY3JldA==</auth>", "malformed-request"),
        ("<response \(sasl)/>", "malformed-request"),
        ("<response \(sasl)>=</response>", "malformed-request"),
        ("<response \(sasl)>?</response>", "incorrect-encoding"),
        ("<response \(sasl)>biwscj1hYmM=</response>", "malformed-request"),
    ]

    @Test("An exchange that goes wrong in the middle is over", arguments: interruptions)
    func interrupted(element: String, condition: String) async throws {
        try await play(modules: [SASL.self]) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens()
            var client = SCRAMClient(hash: .sha256, username: "romeo", password: "secret")
            try await romeo.authenticates("SCRAM-SHA-256", client.start())
            let proof = try client.respond(try await romeo.isChallenged())
            try await romeo.sends(element)
            try await romeo.fails(condition)
            // The right proof comes too late.
            try await romeo.responds(proof)
            try await romeo.fails("malformed-request")
            _ = try await romeo.authenticatesScram("romeo", "secret")
            try await romeo.receives("<success \(sasl)/>")
        }
    }

    @Test("Messages too large end the attempt, or the stream")
    func huge() async throws {
        try await play(modules: [SASL.self]) { stage in
            let client = try await stage.connect(to: "montague.example")
            try await client.opens()
            try await client.authenticatesPlain(String(repeating: "a", count: 10_000), "secret")
            try await client.fails("not-authorized")
            try await client.authenticatesPlain(String(repeating: "a", count: 20_000), "secret")
            try await client.isClosed(with: .policyViolation)
        }
    }

    @Test("A stanza before authentication ends the stream")
    func earlyStanza() async throws {
        try await play(modules: [SASL.self, Bind.self]) { stage in
            for stanza in ["<message to='juliet@montague.example'/>", "<presence/>",
                "<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>"]
            {
                let client = try await stage.connect(to: "montague.example")
                try await client.opens()
                try await client.sends(stanza)
                try await client.isClosed(with: .notAuthorized)
            }
        }
    }

    @Test("What comes along with the last message is not taken for the next stream's")
    func pipelined() async throws {
        try await play(modules: [SASL.self, Bind.self]) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens()
            try await romeo.sends(
                """
                <auth \(sasl) mechanism='PLAIN'>AHJvbWVvAHNlY3JldA==</auth><iq type='set' id='1'>\
                <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq><presence/>
                """)
            try await romeo.receives("<success \(sasl)/>")
            #expect(try await romeo.opens().has("bind", .bind))
            try await romeo.staysSilent()
            #expect(romeo.resource == nil)
        }
    }

    @Test("A client that leaves while its password is compared leaves nothing behind")
    func vanishing() async throws {
        try await play(modules: [SASL.self]) { stage in
            try await stage.account("romeo@montague.example")
            for _ in 0..<5 {
                let romeo = try await stage.connect(to: "montague.example")
                try await romeo.opens()
                try await romeo.authenticatesPlain("romeo", "secret")
                await romeo.vanishes()
            }
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.logsIn()
        }
    }

    // MARK: Guessing

    @Test("Too many failures end the stream")
    func attempts() async throws {
        try await play(modules: [SASL.self], config: "modules: { sasl: { attempts: 3 } }") { stage in
            let client = try await stage.connect(to: "montague.example")
            try await client.opens()
            for _ in 0..<3 {
                try await client.authenticatesPlain("romeo", "guess")
                try await client.fails("not-authorized")
            }
            try await client.isClosed(with: .policyViolation)
        }
    }

    @Test("Guessing at one account has to wait, whether the account exists or not", arguments: ["romeo", "nobody"])
    func throttledAccount(username: String) async throws {
        try await play(modules: [SASL.self]) { stage in
            try await stage.account("romeo@montague.example")
            for round in 0..<6 {
                let client = try await stage.connect(to: "montague.example")
                try await client.opens()
                if round.isMultiple(of: 2) {
                    try await client.authenticatesPlain(username, "guess")
                } else {
                    _ = try await client.authenticatesScram(username, "guess")
                }
                try await client.fails("not-authorized")
            }
            let client = try await stage.connect(to: "montague.example")
            try await client.opens()
            // Even the right password has to wait.
            try await client.authenticatesPlain(username, "secret")
            let failure = try await client.receives("<failure \(sasl)><temporary-auth-failure/></failure>")
            #expect(failure.text(of: "text")?.contains("1 s") == true)
            try await client.authenticates("SCRAM-SHA-256", Array("n,,n=\(username),r=abc".utf8))
            try await client.fails("temporary-auth-failure")
            await stage.advance(by: .seconds(2))
            _ = try await client.authenticatesScram(username, "secret")
            if username == "romeo" {
                try await client.receives("<success \(sasl)/>")
            } else {
                try await client.fails("not-authorized")
            }
        }
    }

    @Test("Guessing from one address has to wait, whatever the account")
    func throttledAddress() async throws {
        try await play(modules: [SASL.self]) { stage in
            try await stage.account("romeo@montague.example")
            for number in 0..<21 {
                let client = try await stage.connect(to: "montague.example")
                try await client.opens()
                _ = try await client.authenticatesScram("user\(number)", "guess", with: "SCRAM-SHA-1")
                try await client.fails("not-authorized")
            }
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens()
            try await romeo.authenticatesPlain("romeo", "secret")
            try await romeo.fails("temporary-auth-failure")
            await stage.advance(by: .seconds(3))
            try await romeo.authenticatesPlain("romeo", "secret")
            try await romeo.receives("<success \(sasl)/>")
        }
    }

    @Test("Exchanges that were begun in time gain no guesses")
    func parallelGuesses() async throws {
        try await play(modules: [SASL.self]) { stage in
            try await stage.account("romeo@montague.example")
            var guessers: [(Actor, [UInt8])] = []
            for number in 0..<10 {
                let guesser = try await stage.connect(to: "montague.example")
                try await guesser.opens()
                var client = SCRAMClient(hash: .sha1, username: "romeo", password: number < 8 ? "guess" : "secret")
                try await guesser.authenticates("SCRAM-SHA-1", client.start())
                guessers.append((guesser, try client.respond(try await guesser.isChallenged())))
            }
            for (number, (guesser, proof)) in guessers.enumerated() {
                try await guesser.responds(proof)
                try await guesser.fails(number < 6 ? "not-authorized" : "temporary-auth-failure")
            }
        }
    }

    @Test("Plain guesses side by side gain nothing either")
    func parallelPlainGuesses() async throws {
        try await play(modules: [SASL.self]) { stage in
            try await stage.account("romeo@montague.example")
            var guessers: [Actor] = []
            for _ in 0..<10 {
                let guesser = try await stage.connect(to: "montague.example")
                try await guesser.opens()
                guessers.append(guesser)
            }
            for guesser in guessers { try await guesser.authenticatesPlain("romeo", "guess") }
            var wrong = 0
            for guesser in guessers {
                let failure = try await guesser.receives("<failure \(sasl)/>")
                if failure.has("not-authorized") { wrong += 1 }
            }
            #expect(wrong == 6)
        }
    }

    @Test("New options are taken up without forgetting failures")
    func reload() async throws {
        try await play(modules: [SASL.self], config: "modules: { sasl: on }") { stage in
            try await stage.account("romeo@montague.example")
            for _ in 0..<6 {
                let client = try await stage.connect(to: "montague.example")
                try await client.opens()
                try await client.authenticatesPlain("romeo", "guess")
                try await client.fails("not-authorized")
            }
            try stage.reload("modules: { sasl: { mechanisms: [scram-sha-1, PLAIN], password_iterations: 5000 } }")
            let romeo = try await stage.connect(to: "montague.example")
            let names = try await romeo.opens().child("mechanisms", .sasl)?.children.map(\.text)
            #expect(names == ["SCRAM-SHA-1", "PLAIN"])
            #expect(stage.server.passwordIterations == 5_000)
            try await romeo.authenticatesPlain("romeo", "secret")
            try await romeo.fails("temporary-auth-failure")
        }
    }

    @Test(
        "Options that would let nobody in, or anybody, are refused",
        arguments: ["mechanisms: []", "mechanisms: [ANONYMOUS]", "mechanisms: [EXTERNAL]", "mechanisms: CRAM-MD5",
            "password_iterations: 100", "attempts: 1", "attempts: 1000", "allow_unencrypted: on"])
    func badOptions(option: String) async throws {
        await #expect(throws: ConfigProblems.self) {
            try await play(modules: [SASL.self], config: "modules: { sasl: { \(option) } }") { _ in }
        }
    }

    @Test("Switched off, nothing of it is left")
    func unloading() async throws {
        let modules: [any Module.Type] = [SASL.self, Bind.self, Register.self]
        try await play(modules: modules) { stage in
            try stage.reload("modules: { sasl: off, bind: off, register: off }")
            let client = try await stage.connect(to: "montague.example")
            #expect(try await !client.opens().hasChildren)
            try await client.authenticatesPlain("romeo", "secret")
            try await client.isClosed(with: .unsupportedStanzaType)
            #expect(stage.server.host("montague.example")?.service((any AuthenticationService).self) == nil)
            try stage.reload("modules: { sasl: on, bind: on, register: on }")
            try await stage.account("romeo@montague.example")
            try await stage.connect(to: "montague.example").logsIn()
        }
    }

    // MARK: Channel binding

    @Test("Over TLS both bindings work, and a client that was lied to is not let in")
    func channelBinding() async throws {
        try await play(modules: [SASL.self], over: .tls) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            let features = try await romeo.opens()
            #expect(
                features.child("mechanisms", .sasl)?.children.map(\.text)
                    == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
            #expect(
                features.child("sasl-channel-binding", .saslChannelBinding)?.children.map { $0["type"] }
                    == ["tls-exporter", "tls-server-end-point"])
            let tls = try #require(romeo.stream?.transport.tls)
            let exporter = try #require(tls.exporter())
            let endPoint = try #require(tls.tlsServerEndPoint)

            // Somebody in the middle has another connection with us than with the client.
            _ = try await romeo.authenticatesScram(
                "romeo", "secret", with: "SCRAM-SHA-256-PLUS", binding: .bound(ChannelBinding(.tlsExporter, endPoint)))
            try await romeo.fails("not-authorized")
            // Somebody took the mechanisms out of the list.
            var client = SCRAMClient(hash: .sha256, username: "romeo", password: "secret", binding: .notOffered)
            try await romeo.authenticates("SCRAM-SHA-256", client.start())
            try await romeo.fails("not-authorized")
            // A flag that does not fit.
            client = SCRAMClient(hash: .sha256, username: "romeo", password: "secret")
            try await romeo.authenticates("SCRAM-SHA-256-PLUS", client.start())
            try await romeo.fails("malformed-request")

            let other = try await stage.connect(to: "montague.example")
            try await other.opens()
            // That binding names the server, so that it is the same on every connection; the exporter's is not.
            _ = try await other.authenticatesScram(
                "romeo", "secret", with: "SCRAM-SHA-1-PLUS", binding: .bound(ChannelBinding(.tlsExporter, exporter)))
            try await other.fails("not-authorized")
            _ = try await other.authenticatesScram(
                "romeo", "secret", with: "SCRAM-SHA-1-PLUS",
                binding: .bound(ChannelBinding(.tlsServerEndPoint, endPoint)))
            try await other.receives("<success \(sasl)/>")
            _ = try await romeo.authenticatesScram(
                "romeo", "secret", with: "SCRAM-SHA-256-PLUS", binding: .bound(ChannelBinding(.tlsExporter, exporter)))
            try await romeo.receives("<success \(sasl)/>")
        }
    }
}

@Suite("Anonymous users (XEP-0175)") struct AnonymousTests {
    private static let config = """
        hosts: { montague.example: {}, guests.example: { authentication: anonymous } }
        modules: { sasl: on, bind: on, register: on }
        """

    @Test("A guest gets an address of its own, which goes away with the stream")
    func guest() async throws {
        try await play(modules: [SASL.self, Bind.self, Register.self], config: Self.config) { stage in
            let guest = try await stage.connect(to: "guests.example")
            let names = try await guest.opens().child("mechanisms", .sasl)?.children.map(\.text)
            #expect(names == ["ANONYMOUS"])
            try await guest.sends("<auth \(sasl) mechanism='ANONYMOUS'/>")
            try await guest.receives("<success \(sasl)/>", exactly: true)
            try await guest.opens()
            try await guest.bindsResource("phone")
            try await guest.receives("<iq type='result' id='bind'/>")
            let jid = try #require(guest.jid)
            #expect(jid.localpart?.count == 20)
            let accounts = try #require(stage.server.host("guests.example")?.accounts)
            #expect(accounts.loadedAccounts.map(\.jid) == [jid.bare])
            await guest.leaves()
            #expect(accounts.loadedAccounts.isEmpty)
        }
    }

    @Test("A guest that never binds leaves nothing, and passwords are of no use here")
    func unbound() async throws {
        try await play(modules: [SASL.self, Bind.self, Register.self], config: Self.config) { stage in
            let guest = try await stage.connect(to: "guests.example")
            try await guest.opens()
            try await guest.authenticatesPlain("romeo", "secret")
            try await guest.fails("invalid-mechanism")
            try await guest.sends("<auth \(sasl) mechanism='ANONYMOUS'>=</auth>")
            try await guest.receives("<success \(sasl)/>")
            try await guest.opens()
            try await guest.bindsResource("\u{7}")
            _ = await guest.everything()
            await guest.vanishes()
            #expect(stage.server.host("guests.example")?.accounts.loadedAccounts.isEmpty == true)
        }
    }

    @Test("Guests are for hosts that want them")
    func elsewhere() async throws {
        try await play(modules: [SASL.self, Bind.self, Register.self], config: Self.config) { stage in
            let guest = try await stage.connect(to: "montague.example")
            try await guest.opens()
            try await guest.sends("<auth \(sasl) mechanism='ANONYMOUS'/>")
            try await guest.fails("invalid-mechanism")
        }
    }
}
