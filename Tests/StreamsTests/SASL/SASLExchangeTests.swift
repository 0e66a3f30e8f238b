import Testing

@testable import Streams

@Suite("The order of a SASL exchange (RFC 6120 §6.4)") struct SASLExchangeTests {
    static let first = bytes("n,,n=romeo,r=client")

    func exchange() throws -> SASLExchange { try SASLExchange(mechanism: "SCRAM-SHA-1", context: .test()) }

    @Test("Nothing may come before the beginning")
    func beforeStart() throws {
        var exchange = try exchange()
        #expect(exchange.respond(Self.first).failure == .malformedRequest)
        exchange = try self.exchange()
        #expect(exchange.provide(.unknown).failure == .malformedRequest)
        exchange = try self.exchange()
        #expect(exchange.verified(true).failure == .malformedRequest)
        exchange = try SASLExchange(mechanism: "PLAIN", context: .test())
        #expect(exchange.verified(true).failure == .malformedRequest)
    }

    @Test("A client that does not wait for its turn is refused")
    func impatient() throws {
        var exchange = try exchange()
        #expect(exchange.start(initialResponse: Self.first).username == "romeo")
        #expect(exchange.respond(bytes("c=biws,r=x,p=AAAA")).failure == .malformedRequest)
        // The lookup that was under way arrives.
        #expect(exchange.provide(.found(.romeo)).failure == .malformedRequest)

        exchange = try self.exchange()
        #expect(exchange.start(initialResponse: Self.first).username == "romeo")
        #expect(exchange.start(initialResponse: Self.first).failure == .malformedRequest)

        exchange = try self.exchange()
        _ = exchange.start(initialResponse: Self.first)
        #expect(exchange.provide(.unknown).challenge != nil)
        #expect(exchange.provide(.found(.romeo)).failure == .malformedRequest)

        exchange = try SASLExchange(mechanism: "PLAIN", context: .test())
        _ = exchange.start(initialResponse: bytes("\0romeo\0r0m30"))
        #expect(exchange.verified(true).failure == .malformedRequest)
    }

    @Test("After the end there is nothing")
    func afterEnd() throws {
        var exchange = try exchange()
        _ = exchange.start(initialResponse: bytes("rubbish"))
        #expect(exchange.respond(Self.first).failure == .malformedRequest)
        #expect(exchange.start(initialResponse: Self.first).failure == .malformedRequest)

        exchange = try SASLExchange(mechanism: "ANONYMOUS", context: .test(anonymous: true))
        #expect(exchange.start(initialResponse: nil).identity == .anonymous)
        #expect(exchange.start(initialResponse: nil).failure == .malformedRequest)
        #expect(exchange.respond([]).failure == .malformedRequest)
    }

    @Test("An abort ends it at any point (RFC 6120 §6.4.4)")
    func abort() throws {
        var exchange = try exchange()
        #expect(exchange.abort().failure == .aborted)
        #expect(exchange.start(initialResponse: Self.first).failure == .malformedRequest)
        exchange = try self.exchange()
        _ = exchange.start(initialResponse: Self.first)
        #expect(exchange.abort().failure == .aborted)
        #expect(exchange.provide(.found(.romeo)).failure == .malformedRequest)
    }

    @Test("Any message of any length to any mechanism ends in a step")
    func noise() throws {
        var generator = SystemRandomNumberGenerator()
        let alphabet = bytes("n,=ramcpiy\0é2C3D/+A") + [0xFF, 0x80]
        for name in ["SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "PLAIN", "EXTERNAL"] {
            let context = SASLContext.test(bindings: [SASLContext.exporter], identities: ["a@montague.example"])
            for length in 0..<200 {
                let message = (0..<length % 40).map { _ in alphabet.randomElement(using: &generator) ?? 0 }
                var exchange = try SASLExchange(mechanism: name, context: context)
                let prefix = name == "SCRAM-SHA-1" ? bytes("n,,n=a,r=") : []
                var step = exchange.start(initialResponse: prefix + message)
                if step.username != nil { step = exchange.provide(.unknown) }
                if step.challenge != nil { step = exchange.respond(message) }
                #expect(step.failure != nil || step.verification != nil || name == "EXTERNAL")
            }
        }
    }
}

@Suite("SASL failures (RFC 6120 §6.5)") struct SASLFailureTests {
    @Test("Every condition has its element's name, and unknown names count as not-authorized")
    func names() {
        let names = [
            "aborted", "account-disabled", "credentials-expired", "encryption-required", "incorrect-encoding",
            "invalid-authzid", "invalid-mechanism", "malformed-request", "mechanism-too-weak", "not-authorized",
            "temporary-auth-failure",
        ]
        #expect(SASLFailure.Condition.allCases.map(\.rawValue) == names)
        for name in names { #expect(SASLFailure.Condition(element: name).rawValue == name) }
        #expect(SASLFailure.Condition(element: "bad-protocol") == .notAuthorized)
    }
}
