/// PLAIN, the server's side: `[authzid] NUL authcid NUL password` (RFC 4616 §2).
struct PlainServer: SASLMechanismEngine {
    private struct Claim {
        let username: String
        let authzid: String?
        let preparedPassword: String
        /// What a right password still leads to, known after the lookup.
        var failure: SASLFailure?
    }

    private let context: SASLContext
    private var claim: Claim?

    init(context: SASLContext) {
        self.context = context
    }

    mutating func respond(_ response: [UInt8]) throws(SASLFailure) -> SASLStep {
        let parts = response.split(separator: 0, omittingEmptySubsequences: false)
        guard parts.count == 3, !parts[1].isEmpty, !parts[2].isEmpty,
            let authzid = String(validating: parts[0], as: UTF8.self),
            let authcid = String(validating: parts[1], as: UTF8.self),
            let password = String(validating: parts[2], as: UTF8.self)
        else { throw SASLFailure.malformedRequest }
        // RFC 4616 §2: where preparation fails or leaves nothing, verification fails. It says nothing about accounts.
        guard let username = context.preparation.localpart(authcid), !username.isEmpty,
            let prepared = context.preparation.password(password), !prepared.isEmpty
        else { throw SASLFailure.notAuthorized }
        // An empty authorization identity is none. RFC 6120 §6.6.
        claim = Claim(
            username: username, authzid: authzid.isEmpty ? nil : authzid, preparedPassword: prepared, failure: nil)
        return .needCredentials(username: username)
    }

    mutating func provide(_ lookup: CredentialLookup) throws(SASLFailure) -> SASLStep {
        guard let claim else { throw SASLFailure.malformedRequest }
        let strongest = SCRAMHash.byPreference.first ?? .sha256
        let (credentials, failure) = try context.candidate(lookup, username: claim.username, hash: strongest) {
            $0.strongest
        }
        self.claim?.failure = failure
        return .needVerification(
            PasswordVerification(credentials: credentials, preparedPassword: claim.preparedPassword))
    }

    mutating func verified(_ isCorrect: Bool) throws(SASLFailure) -> SASLStep {
        guard let claim else { throw SASLFailure.malformedRequest }
        guard isCorrect else { throw SASLFailure.notAuthorized }
        if let failure = claim.failure { throw failure }
        let identity = try context.authorize(username: claim.username, authzid: claim.authzid)
        return .success(authenticated: identity, additionalData: nil)
    }
}

/// ANONYMOUS, the server's side (RFC 4505, XEP-0175).
struct AnonymousServer: SASLMechanismEngine {
    /// Clients send no data at all rather than empty data, and expect to be let in. XEP-0175 §4.
    mutating func start(initialResponse: [UInt8]?) throws(SASLFailure) -> SASLStep {
        try respond(initialResponse ?? [])
    }

    /// The trace information is checked and dropped: nothing here may use it. XEP-0175 §3.
    mutating func respond(_ response: [UInt8]) throws(SASLFailure) -> SASLStep {
        guard let trace = String(validating: response, as: UTF8.self), trace.unicodeScalars.count <= 255,
            !response.contains(0)
        else { throw SASLFailure.malformedRequest }
        return .success(authenticated: .anonymous, additionalData: nil)
    }
}

/// EXTERNAL with certificates, the server's side (RFC 4422 appendix A, XEP-0178).
struct ExternalServer: SASLMechanismEngine {
    private let context: SASLContext

    init(context: SASLContext) {
        self.context = context
    }

    /// XEP-0178 §2 and §3.
    mutating func respond(_ response: [UInt8]) throws(SASLFailure) -> SASLStep {
        guard let authzid = String(validating: response, as: UTF8.self), !response.contains(0) else {
            throw SASLFailure.malformedRequest
        }
        let identities = context.certificateIdentities
        guard let first = identities.first else { throw SASLFailure.notAuthorized }
        if authzid.isEmpty {
            // With several addresses the peer has to say which.
            guard identities.count == 1 else { throw SASLFailure.invalidAuthzid }
            return .success(authenticated: .certificate(authzid: first), additionalData: nil)
        }
        guard let prepared = context.preparation.authzid(authzid), identities.contains(prepared) else {
            throw SASLFailure.invalidAuthzid
        }
        return .success(authenticated: .certificate(authzid: prepared), additionalData: nil)
    }
}
