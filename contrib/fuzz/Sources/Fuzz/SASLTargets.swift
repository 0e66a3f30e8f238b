import ServerKit

extension FuzzTarget {
    /// The server's side of every mechanism. The first byte chooses one; then come its client's messages, a line each.
    static let sasl = FuzzTarget(name: "sasl") { bytes in
        guard let first = bytes.first else { return }
        let mechanism = SASLMechanism.byPreference[Int(first) % SASLMechanism.byPreference.count]
        let context = context(signsOffer: first & 0x80 != 0)
        guard var exchange = try? SASLExchange(mechanism: mechanism.name, context: context) else { return }
        var messages = bytes.dropFirst().split(separator: 0x0A, omittingEmptySubsequences: false).map { Array($0) }[...]
        var step = exchange.start(initialResponse: first & 0x40 != 0 ? nil : messages.popFirst())
        for _ in 0..<8 {
            switch step {
            case .challenge:
                guard let message = messages.popFirst() else { return }
                step = exchange.respond(message)
            case .needCredentials(let username):
                step = exchange.provide(username == "romeo" ? .found(romeo) : .unknown)
            case .needVerification(let verification):
                step = exchange.verified(verification.run())
            case .success(let identity, _):
                switch identity {
                case .account(let authcid, _): require(authcid == "romeo", "Somebody got in: \(authcid)")
                case .anonymous: require(mechanism == .anonymous, "Anonymous by \(mechanism)")
                case .certificate(let authzid): require(authzid == "capulet.example", "Somebody got in: \(authzid)")
                case .token(let authcid, _): require(false, "Somebody got in without a token: \(authcid)")
                }
                return
            case .failure: return
            }
        }
    }

    /// The one message of a client that says it holds a token, after a byte that chooses the mechanism.
    static let hashedToken = FuzzTarget(name: "hashed_token") { bytes in
        guard let first = bytes.first else { return }
        let mechanism = HashedTokenMechanism.allCases[Int(first) % HashedTokenMechanism.allCases.count]
        let context = context(signsOffer: false)
        let exchange = try? SASLExchange(token: mechanism, bindings: context.channelBindings, context: context)
        guard var exchange else { return }
        var step = exchange.start(initialResponse: Array(bytes.dropFirst()))
        for _ in 0..<4 {
            switch step {
            case .needCredentials: step = exchange.provide(.tokens([HashedToken(id: "1", key: Array(0..<32))], nil))
            case .success(let identity, _): require(false, "Somebody got in: \(identity)")
            case .challenge, .needVerification, .failure: return
            }
        }
    }

    /// The client's side, as used towards other servers: challenge and outcome, a line each.
    static let scramClient = FuzzTarget(name: "scram_client") { bytes in
        let messages = bytes.split(separator: 0x0A, maxSplits: 1, omittingEmptySubsequences: false).map { Array($0) }
        var client = SCRAMClient(hash: .sha256, username: "romeo", password: "r0m30")
        _ = client.start()
        guard let challenge = messages.first, (try? client.respond(challenge)) != nil, messages.count > 1 else { return }
        require((try? client.finish(messages[1])) == nil, "A server without the password was believed.")
    }

    private static let romeo = StoredPassword(
        credentials: SCRAMHash.allCases.map {
            SCRAMCredentials(hash: $0, preparedPassword: "r0m30", salt: Array(0..<16), iterations: 4)
        })

    private static func context(signsOffer: Bool) -> SASLContext {
        let binding = ChannelBinding(.tlsExporter, Array(repeating: 7, count: 32))
        return SASLContext(
            domain: "montague.example",
            offered: SASLMechanismList(
                SASLPolicy(isAnonymous: signsOffer, enabled: Set(SASLMechanism.byPreference)), hasTLS: true,
                channelBindingTypes: [binding.type], hasCertificate: true),
            preparation: SASLPreparation(
                localpart: { try? PRECIS.usernameCaseMapped($0) }, password: { try? PRECIS.opaqueString($0) },
                authzid: { JID($0)?.description }),
            decoy: SCRAMDecoy(secret: Array(0..<32), iterations: 4), channelBindings: [binding],
            certificateIdentities: ["capulet.example"], signsOffer: signsOffer)
    }
}
