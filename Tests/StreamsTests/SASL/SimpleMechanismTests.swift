import Testing

@testable import Streams

@Suite("PLAIN (RFC 4616)") struct PlainTests {
    /// The outcome of a whole exchange.
    func login(_ message: [UInt8], _ lookup: CredentialLookup = .found(.romeo)) throws -> SASLStep {
        var exchange = try SASLExchange(mechanism: "PLAIN", context: .test())
        let first = exchange.start(initialResponse: message)
        guard first.username != nil else { return first }
        let second = exchange.provide(lookup)
        guard let verification = second.verification else { return second }
        return exchange.verified(verification.run())
    }

    @Test("A user gets in, with or without the own bare JID")
    func success() throws {
        #expect(try login(bytes("\0romeo\0r0m30")).identity == .account(authcid: "romeo", authzid: nil))
        #expect(try login(bytes("\0ROMEO\0r0m30")).identity == .account(authcid: "romeo", authzid: nil))
        #expect(
            try login(bytes("Romeo@montague.example\0romeo\0r0m30")).identity
                == .account(authcid: "romeo", authzid: "romeo@montague.example"))
        var exchange = try SASLExchange(mechanism: "PLAIN", context: .test())
        #expect(exchange.start(initialResponse: nil).challenge == [])
        #expect(exchange.respond(bytes("\0romeo\0r0m30")).username == "romeo")
    }

    @Test("Long fields are taken (RFC 4616 §2)")
    func long() throws {
        let name = String(repeating: "é", count: 511)
        var exchange = try SASLExchange(mechanism: "PLAIN", context: .test())
        #expect(exchange.start(initialResponse: bytes("\(name)\0\(name)\0\(name)")).username == name)
    }

    @Test("Everything else is refused", arguments: [
        ("\0romeo\0wrong", .notAuthorized), ("\0romeo\0R0M30", .notAuthorized), ("\0romeo\0r0m30 ", .notAuthorized),
        ("\0ro meo\0r0m30", .notAuthorized), ("\0romeo\0bell\u{7}", .notAuthorized),
        ("juliet@montague.example\0romeo\0r0m30", .invalidAuthzid),
        ("romeo@montague.example/x\0romeo\0r0m30", .invalidAuthzid),
        ("juliet@montague.example\0romeo\0wrong", .notAuthorized),
        ("", .malformedRequest), ("\0", .malformedRequest), ("\0\0", .malformedRequest), ("\0\0\0", .malformedRequest),
        ("romeo\0r0m30", .malformedRequest), ("\0romeo", .malformedRequest), ("\0romeo\0", .malformedRequest),
        ("\0\0r0m30", .malformedRequest), ("\0romeo\0r0m30\0", .malformedRequest),
        ("\0romeo\0r0\0m30", .malformedRequest),
    ] as [(String, SASLFailure.Condition)])
    func refused(message: String, condition: SASLFailure.Condition) throws {
        #expect(try login(bytes(message)).condition == condition)
    }

    @Test("Bytes that are not UTF-8, or too many, are malformed")
    func hostileBytes() throws {
        #expect(try login([0, 0xFF, 0, 0x41]).condition == .malformedRequest)
        #expect(try login([0, 0x41, 0, 0xC0, 0x80]).condition == .malformedRequest)
        #expect(try login([0xED, 0xA0, 0x80, 0, 0x41, 0, 0x41]).condition == .malformedRequest)
        for filler in [0, 0x41, 0xFF] as [UInt8] {
            #expect(try login([UInt8](repeating: filler, count: 1 << 20)).condition == .malformedRequest)
        }
    }

    @Test("The state of an account is for its owner alone, and strangers cost the same derivation")
    func accountState() throws {
        let (right, wrong) = (bytes("\0romeo\0r0m30"), bytes("\0romeo\0wrong"))
        #expect(try login(right, .disabled(.romeo)).failure == .accountDisabled)
        #expect(try login(right, .expired(.romeo)).failure == .credentialsExpired)
        #expect(try login(wrong, .disabled(.romeo)).failure == .notAuthorized)
        #expect(try login(wrong, .expired(.romeo)).failure == .notAuthorized)
        #expect(try login(right, .unknown).failure == .notAuthorized)
        #expect(try login(right, .found(StoredPassword(credentials: []))).failure == .notAuthorized)
        #expect(try login(right, .unavailable).failure == .temporaryAuthFailure)

        func verification(_ lookup: CredentialLookup) throws -> PasswordVerification? {
            var exchange = try SASLExchange(mechanism: "PLAIN", context: .test())
            _ = exchange.start(initialResponse: wrong)
            return exchange.provide(lookup).verification
        }
        let real = try #require(try verification(.found(.romeo)))
        let fake = try #require(try verification(.unknown))
        #expect(real.credentials.iterations == fake.credentials.iterations)
        #expect(real.credentials.hash == fake.credentials.hash)
        #expect(real.credentials.salt.count == fake.credentials.salt.count)
        #expect(!"\(real)".contains("wrong") && !String(reflecting: real).contains("wrong"))
    }

    @Test("A verified outcome for a decoy still lets nobody in")
    func decoy() throws {
        var exchange = try SASLExchange(mechanism: "PLAIN", context: .test())
        _ = exchange.start(initialResponse: bytes("\0nobody\0guess"))
        _ = exchange.provide(.unknown)
        #expect(exchange.verified(true).failure == .notAuthorized)
    }
}

@Suite("ANONYMOUS (RFC 4505, XEP-0175)") struct AnonymousTests {
    @Test("Anybody gets in, with or without trace information")
    func success() throws {
        let longest = String(repeating: "𝄞", count: 255)
        for trace in [nil, [], bytes("sirhc"), bytes("sirhc@example.net"), bytes(longest)] {
            var exchange = try SASLExchange(mechanism: "ANONYMOUS", context: .test(anonymous: true))
            #expect(exchange.start(initialResponse: trace).identity == .anonymous)
        }
    }

    @Test("Trace information that is no text or too long is malformed (RFC 6120 §6.5.8)")
    func malformed() throws {
        let long = String(repeating: "a", count: 256)
        for trace in [[0xFF], [0x41, 0], bytes(long), Array(repeating: 0x41, count: 1 << 20)] {
            var exchange = try SASLExchange(mechanism: "ANONYMOUS", context: .test(anonymous: true))
            #expect(exchange.start(initialResponse: trace).condition == .malformedRequest)
        }
    }
}

@Suite("EXTERNAL (XEP-0178)") struct ExternalTests {
    @Test("The certificate decides", arguments: [
        (["romeo@montague.example"], "", "romeo@montague.example", nil),
        (["romeo@montague.example"], "Romeo@montague.example", "romeo@montague.example", nil),
        (["romeo@montague.example"], "juliet@montague.example", nil, .invalidAuthzid),
        (["romeo@montague.example"], "romeo@montague.example/x", nil, .invalidAuthzid),
        (["romeo@montague.example", "r@montague.example"], "", nil, .invalidAuthzid),
        (["romeo@montague.example", "r@montague.example"], "r@montague.example", "r@montague.example", nil),
        (["capulet.example"], "capulet.example", "capulet.example", nil),
        (["capulet.example"], "", "capulet.example", nil),
        (["capulet.example"], "montague.example", nil, .invalidAuthzid),
        (["capulet.example"], "capulet.example\0", nil, .malformedRequest),
    ] as [([String], String, String?, SASLFailure.Condition?)])
    func certificate(
        identities: [String], authzid: String, result: String?, condition: SASLFailure.Condition?
    ) throws {
        var exchange = try SASLExchange(mechanism: "EXTERNAL", context: .test(identities: identities))
        let step = exchange.start(initialResponse: bytes(authzid))
        #expect(step.identity == result.map { .certificate(authzid: $0) })
        #expect(step.condition == condition)
    }

    @Test("Without an initial response the server asks; without an address it refuses")
    func edges() throws {
        var exchange = try SASLExchange(mechanism: "EXTERNAL", context: .test(identities: ["a@montague.example"]))
        #expect(exchange.start(initialResponse: nil).challenge == [])
        #expect(exchange.respond([]).identity == .certificate(authzid: "a@montague.example"))
        exchange = SASLExchange(engine: ExternalServer(context: .test()))
        #expect(exchange.start(initialResponse: []).failure == .notAuthorized)
        exchange = SASLExchange(engine: ExternalServer(context: .test(identities: ["a@montague.example"])))
        #expect(exchange.start(initialResponse: [0xC3]).failure == .malformedRequest)
    }
}
