import Streams
import Testing
import XMPP

@Suite("Hashed tokens (draft-schmaus-kitten-sasl-ht-09)") struct HashedTokenTests {
    private static let tokens = [
        HashedToken(id: "new", key: Array("new token".utf8)), HashedToken(id: "old", key: Array("old token".utf8)),
        HashedToken(id: "expired", key: Array("expired token".utf8), failure: .credentialsExpired),
    ]

    /// What becomes of a client that shows this.
    private static func login(
        _ response: [UInt8]?, _ mechanism: HashedTokenMechanism = .unbound, bindings: [ChannelBinding] = [],
        _ lookup: CredentialLookup = .tokens(tokens, nil)
    ) throws -> SASLStep {
        var exchange = try SASLExchange(token: mechanism, bindings: bindings, context: .test(bindings: bindings))
        let step = exchange.start(initialResponse: response)
        guard case .needCredentials(let username) = step else { return step }
        #expect(username == "romeo")
        return exchange.provide(lookup)
    }

    private static func shown(_ token: String, binding: [UInt8] = [], username: String = "romeo") -> [UInt8] {
        HashedTokenClient(username: username, token: token, binding: binding).start()
    }

    private static func failure(_ step: SASLStep) -> SASLFailure.Condition? {
        if case .failure(let failure) = step { failure.condition } else { nil }
    }

    @Test("The messages are those of the draft")
    func messages() throws {
        // HMAC-SHA-256 with the key "token" over "Initiator" and "Responder", by another implementation.
        let initiator = try #require(
            Hex.decode(
                "d24d95482f0d6e035c56e787dac4ed832bdd84ee3ea242aaadd982270c330006"))
        let responder = try #require(
            Hex.decode(
                "3f7cfbe081b3e9ea2aaa3561180a60932290ae9a2b155327d03ba819fffe0ab6"))
        #expect(Self.shown("token") == Array("romeo\0".utf8) + initiator)
        let step = try Self.login(
            Array("romeo\0".utf8) + initiator,
            .unbound, .tokens([HashedToken(id: "1", key: Array("token".utf8))], nil))
        #expect(step.additionalData == responder)
        #expect(HashedTokenClient(username: "romeo", token: "token").finish(responder))
        #expect(!HashedTokenClient(username: "romeo", token: "other").finish(responder))
    }

    @Test("Whichever token it is, the client is known by it", arguments: ["new", "old"])
    func success(id: String) throws {
        let step = try Self.login(Self.shown("\(id) token", username: "ROMEO"))
        #expect(step.identity == .token(authcid: "romeo", id: id))
    }

    @Test("A token is good on the connection it is bound to only")
    func bindings() throws {
        let bindings = [SASLContext.exporter, SASLContext.endPoint]
        for (mechanism, binding) in [
            (HashedTokenMechanism.exporter, SASLContext.exporter.data), (.endPoint, SASLContext.endPoint.data),
            (.unbound, []),
        ] {
            let right = try Self.login(Self.shown("old token", binding: binding), mechanism, bindings: bindings)
            #expect(right.identity != nil)
            for other in [SASLContext.exporter.data, SASLContext.endPoint.data, []] where other != binding {
                let wrong = try Self.login(Self.shown("old token", binding: other), mechanism, bindings: bindings)
                #expect(Self.failure(wrong) == .notAuthorized)
            }
        }
        #expect(throws: SASLFailure.invalidMechanism) {
            try Self.login(Self.shown("old token"), .exporter, bindings: [SASLContext.endPoint])
        }
        #expect(HashedTokenMechanism.usable(with: bindings) == [.exporter, .endPoint, .unbound])
        #expect(HashedTokenMechanism.usable(with: []) == [.unbound])
    }

    @Test("Only who has a token learns what is wrong with it")
    func failures() throws {
        let locked = CredentialLookup.tokens(Self.tokens, .accountDisabled)
        #expect(Self.failure(try Self.login(Self.shown("expired token"))) == .credentialsExpired)
        #expect(Self.failure(try Self.login(Self.shown("old token"), .unbound, locked)) == .accountDisabled)
        #expect(Self.failure(try Self.login(Self.shown("guess"), .unbound, locked)) == .notAuthorized)
        #expect(Self.failure(try Self.login(Self.shown("old token"), .unbound, .tokens([], nil))) == .notAuthorized)
        #expect(Self.failure(try Self.login(Self.shown("old token"), .unbound, .unknown)) == .notAuthorized)
        #expect(Self.failure(try Self.login(Self.shown("old token"), .unbound, .found(.romeo))) == .notAuthorized)
        #expect(
            Self.failure(try Self.login(Self.shown("old token"), .unbound, .unavailable)) == .temporaryAuthFailure)
        // The key that stands in for tokens that are not there opens nothing.
        let zeros = String(decoding: [UInt8](repeating: 0, count: 32), as: UTF8.self)
        #expect(Self.failure(try Self.login(Self.shown(zeros), .unbound, .tokens([], nil))) == .notAuthorized)
    }

    @Test("Malformed messages are refused")
    func malformed() throws {
        let mac = [UInt8](repeating: 1, count: 32)
        for message in [
            [], [0], mac, [0] + mac, Array("romeo".utf8), Array("romeo\0".utf8), Array("romeo\0".utf8) + mac.dropLast(),
            Array("romeo\0".utf8) + mac + [0], [0xFF, 0] + mac,
        ] {
            #expect(Self.failure(try Self.login(message)) == .malformedRequest)
        }
        #expect(Self.failure(try Self.login(Self.shown("old token", username: "ro meo"))) == .notAuthorized)
        #expect(try Self.login(nil).challenge == [])
    }
}
