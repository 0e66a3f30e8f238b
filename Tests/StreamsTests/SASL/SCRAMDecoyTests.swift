import Testing
import XMPP

@testable import Streams

@Suite("Accounts that do not exist (RFC 6120 §6.5.10)") struct SCRAMDecoyTests {
    /// The challenge and the end of a login.
    func transcript(
        _ username: String, hash: SCRAMHash = .sha256, context: SASLContext = .test(),
        lookup: CredentialLookup = .unknown
    ) throws -> (salt: String, iterations: String, step: SASLStep) {
        var client = SCRAMClient(hash: hash, username: username, password: "guess")
        var exchange = try SASLExchange(mechanism: SASLMechanism.scram(hash, plus: false).name, context: context)
        _ = exchange.start(initialResponse: client.start())
        let challenge = exchange.provide(lookup)
        let fields = try #require(challenge.challengeText).split(separator: ",").map(String.init)
        try #require(fields.count == 3)
        return (fields[1], fields[2], exchange.respond(try client.respond(challenge.challenge ?? [])))
    }

    @Test("They have a salt that stays the same, whatever the spelling", arguments: SCRAMHash.allCases)
    func determinism(hash: SCRAMHash) throws {
        let first = try transcript("nobody", hash: hash)
        #expect(try transcript("nobody", hash: hash).salt == first.salt)
        #expect(try transcript("NoBody", hash: hash).salt == first.salt)
        #expect(try transcript("nobody2", hash: hash).salt != first.salt)
        let other: SCRAMHash = hash == .sha1 ? .sha256 : .sha1
        #expect(try transcript("nobody", hash: other).salt != first.salt)
        var context = SASLContext.test()
        context.domain = "capulet.example"
        #expect(try transcript("nobody", hash: hash, context: context).salt != first.salt)
        context = .test()
        context.decoy = SCRAMDecoy(secret: Array(1..<33), iterations: 4096)
        #expect(try transcript("nobody", hash: hash, context: context).salt != first.salt)
    }

    @Test("They cannot be told from a wrong password", arguments: SCRAMHash.allCases)
    func indistinguishable(hash: SCRAMHash) throws {
        let real = try transcript("romeo", hash: hash, lookup: .found(.romeo))
        let fake = try transcript("nobody", hash: hash)
        #expect(real.salt.count == fake.salt.count)
        #expect(real.iterations == fake.iterations)
        #expect(real.step.failure == .notAuthorized)
        #expect(fake.step.failure == real.step.failure)
    }

    @Test("A proof that fits the decoy's own key gets nobody in")
    func decoyKey() throws {
        let context = SASLContext.test()
        let decoy = context.decoy.credentials(for: "nobody@montague.example", hash: .sha1)
        let lookups: [(CredentialLookup, Bool)] = [
            (.found(StoredPassword(credentials: [decoy])), false), (.found(StoredPassword(credentials: [])), true),
            (.unknown, true),
        ]
        for (lookup, isNotAuthorized) in lookups {
            let candidate = try context.candidate(lookup, username: "nobody", hash: .sha1) { $0[.sha1] }
            #expect(candidate.credentials == decoy)
            #expect((candidate.failure == .notAuthorized) == isNotAuthorized)
        }
    }

    /// The fastest of many runs on either side, taken in turns, so that a busy machine weighs on both alike. A password
    /// derivation on one side alone would make it fifty times slower.
    @Test("They take the server no shorter and no longer")
    func timing() throws {
        let context = SASLContext.test()
        let proof = bytes("c=biws,r=clientserver,p=\(Base64.encode([UInt8](repeating: 1, count: 32)))")
        func time(_ username: String, _ lookup: CredentialLookup) -> Duration {
            ContinuousClock().measure {
                var exchange = SASLExchange(
                    engine: SCRAMServer(hash: .sha256, isPlus: false, context: context, nonce: "server"))
                _ = exchange.start(initialResponse: bytes("n,,n=\(username),r=client"))
                _ = exchange.provide(lookup)
                _ = exchange.respond(proof)
            }
        }
        var (real, fake) = (Duration.seconds(9), Duration.seconds(9))
        for _ in 0..<300 {
            real = min(real, time("romeo", .found(.romeo)))
            fake = min(fake, time("nobdy", .unknown))
        }
        #expect(fake / real > 0.5 && fake / real < 2)
    }
}
