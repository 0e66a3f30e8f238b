import Streams

/// A stand-in for PRECIS that is enough to see that preparation happens and can fail.
enum Prepared {
    static func localpart(_ text: String) -> String? {
        text.contains { "@/ \"&'".contains($0) } ? nil : text.lowercased()
    }

    static func password(_ text: String) -> String? {
        text.contains("\u{7}") ? nil : String(text.map { $0 == "\u{A0}" ? " " : $0 })
    }

    static func authzid(_ text: String) -> String? {
        text.contains("/") ? nil : text.lowercased()
    }
}

extension SASLPreparation {
    static let test = SASLPreparation(
        localpart: Prepared.localpart, password: Prepared.password, authzid: Prepared.authzid)
}

extension SASLContext {
    static let exporter = ChannelBinding(.tlsExporter, Array(repeating: 7, count: 32))
    static let endPoint = ChannelBinding(.tlsServerEndPoint, Array(repeating: 9, count: 32))

    /// A host with every mechanism enabled.
    static func test(
        bindings: [ChannelBinding] = [], anonymous: Bool = false, identities: [String] = [], signsOffer: Bool = false
    ) -> SASLContext {
        SASLContext(
            domain: "montague.example",
            offered: SASLMechanismList(
                SASLPolicy(isAnonymous: anonymous, enabled: Set(SASLMechanism.byPreference)), hasTLS: true,
                channelBindingTypes: bindings.map(\.type), hasCertificate: !identities.isEmpty),
            preparation: .test, decoy: SCRAMDecoy(secret: Array(0..<32), iterations: 4096),
            channelBindings: bindings, certificateIdentities: identities, signsOffer: signsOffer)
    }
}

extension StoredPassword {
    /// Romeo's, derived once.
    static let romeo = StoredPassword(
        credentials: SCRAMHash.allCases.map {
            SCRAMCredentials(hash: $0, preparedPassword: "r0m30", salt: Array(0..<16), iterations: 4096)
        })
}

extension SASLStep {
    var challenge: [UInt8]? {
        if case .challenge(let data) = self { data } else { nil }
    }

    var challengeText: String? { challenge.map { String(decoding: $0, as: UTF8.self) } }

    var username: String? {
        if case .needCredentials(let username) = self { username } else { nil }
    }

    var verification: PasswordVerification? {
        if case .needVerification(let verification) = self { verification } else { nil }
    }

    var identity: SASLIdentity? {
        if case .success(let identity, _) = self { identity } else { nil }
    }

    var additionalData: [UInt8]? {
        if case .success(_, let data) = self { data } else { nil }
    }

    var failure: SASLFailure? {
        if case .failure(let failure) = self { failure } else { nil }
    }

    var condition: SASLFailure.Condition? { failure?.condition }
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
