import Testing
import XMPP

@testable import Streams

@Suite("SCRAM, the server's side (RFC 5802)") struct SCRAMServerTests {
    static let serverNonce = "server"
    static let nonce = "clientserver"

    static func exchange(
        _ hash: SCRAMHash = .sha1, plus: Bool = false, context: SASLContext = .test()
    ) -> SASLExchange {
        SASLExchange(engine: SCRAMServer(hash: hash, isPlus: plus, context: context, nonce: serverNonce))
    }

    /// A whole login; what our own client says, unless told otherwise.
    static func login(
        _ hash: SCRAMHash = .sha1, username: String = "romeo", password: String = "r0m30", authzid: String? = nil,
        binding: SCRAMClient.Binding = .unsupported, context: SASLContext = .test(),
        lookup: CredentialLookup = .found(.romeo)
    ) throws -> (step: SASLStep, client: SCRAMClient) {
        var client = SCRAMClient(
            hash: hash, username: username, password: password, authzid: authzid, binding: binding)
        let isPlus = if case .bound = binding { true } else { false }
        var exchange = try SASLExchange(
            mechanism: SASLMechanism.scram(hash, plus: isPlus).name, context: context)
        let first = exchange.start(initialResponse: client.start())
        guard first.username != nil else { return (first, client) }
        let challenge = exchange.provide(lookup)
        guard let data = challenge.challenge else { return (challenge, client) }
        return (exchange.respond(try client.respond(data)), client)
    }

    @Test("A user gets in, and the server proves itself", arguments: SCRAMHash.allCases)
    func success(hash: SCRAMHash) throws {
        var (step, client) = try Self.login(hash)
        #expect(step.identity == .account(authcid: "romeo", authzid: nil))
        try client.finish(try #require(step.additionalData))
        #expect(try Self.login(hash, username: "ROMEO").step.identity == .account(authcid: "romeo", authzid: nil))
        #expect(try Self.login(hash, password: "wrong").step.failure == .notAuthorized)
    }

    @Test("Without an initial response the server asks for it (RFC 6120 §6.3.10)")
    func withoutInitialResponse() {
        var exchange = Self.exchange()
        #expect(exchange.start(initialResponse: nil).challenge == [])
        #expect(exchange.respond(bytes("n,,n=romeo,r=x")).username == "romeo")
    }

    @Test("Both channel bindings work with both hashes", arguments: SCRAMHash.allCases)
    func channelBinding(hash: SCRAMHash) throws {
        let bindings = [SASLContext.exporter, SASLContext.endPoint]
        for binding in bindings {
            var (step, client) = try Self.login(hash, binding: .bound(binding), context: .test(bindings: bindings))
            #expect(step.identity == .account(authcid: "romeo", authzid: nil))
            try client.finish(try #require(step.additionalData))
            let other = ChannelBinding(binding.type, Array(repeating: 8, count: 32))
            step = try Self.login(hash, binding: .bound(other), context: .test(bindings: bindings)).step
            #expect(step.condition == .notAuthorized)
            let short = ChannelBinding(binding.type, [])
            step = try Self.login(hash, binding: .bound(short), context: .test(bindings: bindings)).step
            #expect(step.condition == .notAuthorized)
        }
    }

    @Test("What the client says about channel binding has to fit (RFC 5802 §6)", arguments: [
        ("n", false, false, nil), ("n", false, true, nil), ("y", false, false, nil),
        // The server offered it: somebody hid that from the client.
        ("y", false, true, .notAuthorized),
        ("y", true, true, .malformedRequest), ("n", true, true, .malformedRequest),
        ("p=tls-exporter", false, true, .malformedRequest), ("p=tls-exporter", true, true, nil),
        ("p=tls-unique", true, true, .notAuthorized), ("p=tls-server-end-point", true, true, .notAuthorized),
        ("p=TLS-EXPORTER", true, true, .notAuthorized), ("p=tls-exporter", true, false, .notAuthorized),
        ("p=", true, true, .malformedRequest), ("p", true, true, .malformedRequest),
        ("p=tls_exporter", true, true, .malformedRequest), ("F", false, false, .malformedRequest),
        ("N", false, false, .malformedRequest), ("", false, false, .malformedRequest),
        ("nn", false, false, .malformedRequest), ("é", false, false, .malformedRequest),
    ] as [(String, Bool, Bool, SASLFailure.Condition?)])
    func flags(flag: String, plus: Bool, offered: Bool, condition: SASLFailure.Condition?) {
        let context = SASLContext.test(bindings: offered ? [SASLContext.exporter] : [])
        var exchange = Self.exchange(plus: plus, context: context)
        #expect(exchange.start(initialResponse: bytes("\(flag),,n=romeo,r=client")).condition == condition)
    }

    @Test("A first message that breaks the syntax is malformed", arguments: [
        "", ",", ",,", "n", "n,", "n,,", "n,,,", "n,,n=romeo", "n,,r=client", "n,,r=client,n=romeo", "n,,n=,r=client",
        "n,,n=romeo,r=", "n,,n=romeo,r=client,", "n,,n=romeo,,r=client", ",,n=romeo,r=client", "n,n=romeo,r=client",
        "n,,romeo,client", "n,,n=romeo,r=client,x", "n,,n=romeo,r=client,x=", "n,,n=romeo,r=client,=x",
        "n,,n=romeo,r=client,1=x", "n,,n=romeo,r=client,n=juliet", "n,,n=romeo,r=client,r=again",
        "n,,N=romeo,r=client", "n,,n=romeo,x=y,r=client", "n,,n=romeo,r=cli ent", "n,,n=romeo,r=cliént",
        "n,,n=romeo,r=cli\u{7F}ent", "n,,n=ro\0meo,r=client", "\0n,,n=romeo,r=client", "n,,n=romeo,r=client\0",
        // Escapes. RFC 5802 §5.1.
        "n,,n=ro=meo,r=client", "n,,n=romeo=,r=client", "n,,n=romeo=2,r=client", "n,,n=romeo=2D,r=client",
        "n,,n=romeo=2c,r=client", "n,,n==,r=client",
        // The authorization identity.
        "n,a=,n=romeo,r=client", "n,a,n=romeo,r=client", "n,b=romeo,n=romeo,r=client", "n,a=x=y,n=romeo,r=client",
        // Mandatory extensions. RFC 5802 §5.1.
        "n,,m=x,n=romeo,r=client", "n,,n=romeo,r=client,m=x", "n,,n=romeo,m=x,r=client",
    ])
    func malformedFirst(message: String) {
        var exchange = Self.exchange()
        #expect(exchange.start(initialResponse: bytes(message)).condition == .malformedRequest)
    }

    @Test("Bytes that are not UTF-8, or too many, are malformed")
    func hostileBytes() {
        let notUTF8: [[UInt8]] = [
            [0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xE2, 0x82], [0xF8, 0x88, 0x80, 0x80, 0x80],
        ]
        for bad in notUTF8 {
            var exchange = Self.exchange()
            let message = bytes("n,,n=rom") + bad + bytes("eo,r=client")
            #expect(exchange.start(initialResponse: message).condition == .malformedRequest)
            exchange = Self.exchange()
            #expect(exchange.start(initialResponse: bad).condition == .malformedRequest)
        }
        for filler in [UInt8(ascii: "a"), UInt8(ascii: ","), UInt8(ascii: "="), 0, 0xFF] {
            var exchange = Self.exchange()
            let flood = bytes("n,,n=") + [UInt8](repeating: filler, count: 1 << 20)
            #expect(exchange.start(initialResponse: flood).condition == .malformedRequest)
            exchange = Self.exchange()
            let full = [UInt8](repeating: filler, count: SASLExchange.maximumMessageLength)
            #expect(exchange.start(initialResponse: full).condition == .malformedRequest)
        }
    }

    @Test("Every truncation of a login fails, and none gets in")
    func truncated() {
        let first = bytes("n,a=romeo@montague.example,n=romeo,r=client")
        for length in 0..<first.count {
            var exchange = Self.exchange()
            let step = exchange.start(initialResponse: Array(first.prefix(length)))
            #expect(step.condition == .malformedRequest || length > first.count - 6)
        }
        let final = bytes(Self.proof(c: "biws", first: "n=romeo,r=client"))
        for length in 0..<final.count {
            let step = Self.final(Array(final.prefix(length)))
            #expect(step.condition == .malformedRequest || step.condition == .notAuthorized)
        }
        #expect(Self.final(final).identity != nil)
    }

    @Test("Optional extensions are ignored and signed (RFC 5802 §5.1)")
    func extensions() {
        let first = "n=romeo,r=client,x=hello,Z=a=b"
        let final = Self.proof(c: "biws", first: first, extensions: ",y=1,q=é")
        #expect(Self.final(bytes(final), first: "n,,\(first)").identity != nil)
        // The same without them in the signature.
        #expect(Self.final(bytes(final), first: "n,,n=romeo,r=client").condition == .notAuthorized)
    }

    @Test("Names with commas and equals signs are decoded")
    func escapes() {
        var exchange = Self.exchange()
        #expect(exchange.start(initialResponse: bytes("n,,n=a=2Cb=3D=3D2C,r=client")).username == "a,b==2c")
    }

    @Test("Names that no account can have are refused like wrong ones", arguments: ["ro meo", "romeo@montague.example"])
    func impossibleNames(name: String) {
        var exchange = Self.exchange()
        #expect(exchange.start(initialResponse: bytes("n,,n=\(name),r=client")).failure == .notAuthorized)
    }

    @Test("A last message that breaks the syntax is malformed", arguments: [
        "", ",", "c=biws", "c=biws,r=clientserver", "c=biws,p=AAAA", "r=clientserver,c=biws,p=AAAA",
        "c=biws,r=clientserver,p=", "c=biws,r=clientserver,p", "c=biws,r=clientserver,p=!!!!",
        "c=biws,r=clientserver,p=AAA", "c=biws,r=clientserver,p=AB==", "c=biw,r=clientserver,p=AAAA",
        "c=,r=clientserver,p=AAAA", "c=biws,r=,p=AAAA", "c=biws,r=clientserver,p=AAAA,x=y",
        "c=biws,r=clientserver,p=AAAA,",
        "c=biws,r=clientserver,p=AAAA,p=AAAA", "c=biws,m=x,r=clientserver,p=AAAA",
        "c=biws,r=clientserver,m=x,p=AAAA", "c=biws,r=clientserver,p=AA\0A", "c=b iws,r=clientserver,p=AAAA",
        "C=biws,r=clientserver,p=AAAA", "c=biws,r=clientserver,n=juliet,p=AAAA", "\0", "n,,n=romeo,r=client",
    ])
    func malformedFinal(message: String) {
        #expect(Self.final(bytes(message)).condition == .malformedRequest)
    }

    @Test("A foreign nonce, a foreign binding or a foreign proof is not authorized")
    func mismatches() {
        func condition(c: String = "biws", nonce: String = Self.nonce) -> SASLFailure.Condition? {
            Self.final(bytes(Self.proof(c: c, first: "n=romeo,r=client", nonce: nonce))).condition
        }
        #expect(condition() == nil)
        for nonce in ["client", "server", "clientserverX", "clientServer", "Xclientserver", "clientserve"] {
            #expect(condition(nonce: nonce) == .notAuthorized)
        }
        // y,, then n,a=x,, then n,, with data, then less than the header.
        for c in ["eSws", "bixhPXgs", "biwsAA==", "biw="] { #expect(condition(c: c) == .notAuthorized) }
        for length in [1, 19, 20, 21, 32, 1000] {
            let proof = Base64.encode([UInt8](repeating: 0, count: length))
            #expect(Self.final(bytes("c=biws,r=\(Self.nonce),p=\(proof)")).failure == .notAuthorized)
        }
        // A right proof with something behind it.
        let right = Self.proof(c: "biws", first: "n=romeo,r=client").split(separator: "p=").last.map(String.init) ?? ""
        let longer = Base64.encode((Base64.decode(right) ?? []) + [0])
        #expect(Self.final(bytes("c=biws,r=\(Self.nonce),p=\(longer)")).failure == .notAuthorized)
    }

    @Test("Only the own bare JID may be asked for (RFC 6120 §6.3.8)", arguments: [
        ("romeo@montague.example", true), ("Romeo@Montague.Example", true), ("juliet@montague.example", false),
        ("romeo@capulet.example", false), ("romeo@montague.example/orchard", false), ("romeo", false),
        ("montague.example", false), ("a,b=c", false),
    ])
    func authzid(authzid: String, isAllowed: Bool) throws {
        let step = try Self.login(authzid: authzid).step
        let identity = SASLIdentity.account(authcid: "romeo", authzid: "romeo@montague.example")
        #expect(step.identity == (isAllowed ? identity : nil))
        #expect(step.failure == (isAllowed ? nil : .invalidAuthzid))
        // Nobody learns about authorization identities without the password.
        #expect(try Self.login(password: "wrong", authzid: authzid).step.failure == .notAuthorized)
    }

    @Test("The state of an account is for its owner alone")
    func accountState() throws {
        #expect(try Self.login(lookup: .disabled(.romeo)).step.failure == .accountDisabled)
        #expect(try Self.login(lookup: .expired(.romeo)).step.failure == .credentialsExpired)
        #expect(try Self.login(password: "wrong", lookup: .disabled(.romeo)).step.failure == .notAuthorized)
        #expect(try Self.login(password: "wrong", lookup: .expired(.romeo)).step.failure == .notAuthorized)
        #expect(try Self.login(lookup: .unavailable).step.failure == .temporaryAuthFailure)
        let imported = StoredPassword(credentials: StoredPassword.romeo.credentials.filter { $0.hash == .sha1 })
        #expect(try Self.login(.sha1, lookup: .found(imported)).step.identity != nil)
        #expect(try Self.login(.sha256, lookup: .found(imported)).step.failure == .notAuthorized)
    }

    @Test("The list of mechanisms is signed where it was announced as it is (XEP-0474 §6.3)")
    func downgradeProtection() throws {
        var context = SASLContext.test(bindings: [SASLContext.exporter, SASLContext.endPoint], signsOffer: true)
        context.offered = SASLMechanismList(
            SASLPolicy(enabled: [.scram(.sha1, plus: true), .scram(.sha1, plus: false)]), hasTLS: true,
            channelBindingTypes: [.tlsExporter, .tlsServerEndPoint])
        var exchange = Self.exchange(context: context)
        _ = exchange.start(initialResponse: bytes("n,,n=romeo,r=client"))
        let challenge = try #require(exchange.provide(.found(.romeo)).challengeText)
        #expect(challenge.hasSuffix(",i=4096,h=G6k/rBLDqgOhRRaCuuatSDFkJ08="))
        #expect(try Self.login(context: context).step.identity != nil)
    }

    /// The answer to this last message after a regular first one.
    static func final(_ message: [UInt8], first: String = "n,,n=romeo,r=client") -> SASLStep {
        var exchange = exchange()
        guard exchange.start(initialResponse: bytes(first)).username == "romeo",
            exchange.provide(.found(.romeo)).challenge != nil
        else { return .failure(.aborted) }
        return exchange.respond(message)
    }

    /// A last message signed with Romeo's password, computed apart from the client engine.
    static func proof(c: String, first: String, nonce: String = nonce, extensions: String = "") -> String {
        let keys = SCRAMKeys(hash: .sha1, preparedPassword: "r0m30", salt: Array(0..<16), iterations: 4096)
        let salt = Base64.encode(Array(0..<16))
        let withoutProof = "c=\(c),r=\(nonce)\(extensions)"
        let message = "\(first),r=\(Self.nonce),s=\(salt),i=4096,\(withoutProof)"
        let signature = Digest.hmac(.sha1, key: keys.storedKey, bytes(message))
        return "\(withoutProof),p=\(Base64.encode(zip(keys.clientKey, signature).map { $0 ^ $1 }))"
    }
}
