import XMPP

/// SCRAM, the server's side (RFC 5802, RFC 7677).
///
/// A client that names an account that does not exist gets the same messages after the same work as one with a wrong
/// password, and the same failure at the same place.
struct SCRAMServer: SASLMechanismEngine {
    private enum State {
        case first
        case lookup(SCRAMClientFirst, username: String)
        case final(Pending)
    }

    private struct Pending {
        let first: SCRAMClientFirst
        let username: String
        let nonce: [UInt8]
        let serverFirst: [UInt8]
        let credentials: SCRAMCredentials
        /// What a right proof still leads to.
        let failure: SASLFailure?
    }

    private let hash: SCRAMHash
    private let isPlus: Bool
    private let context: SASLContext
    private let serverNonce: String
    private var state = State.first

    init(hash: SCRAMHash, isPlus: Bool, context: SASLContext, nonce: String = SCRAMAttribute.makeNonce()) {
        self.hash = hash
        self.isPlus = isPlus
        self.context = context
        serverNonce = nonce
    }

    mutating func respond(_ response: [UInt8]) throws(SASLFailure) -> SASLStep {
        switch state {
        case .first: return try takeFirst(SCRAMClientFirst(response))
        case .final(let pending): return try takeFinal(SCRAMClientFinal(response), pending)
        case .lookup: throw SASLFailure.malformedRequest
        }
    }

    private mutating func takeFirst(_ message: SCRAMClientFirst) throws(SASLFailure) -> SASLStep {
        try checkFlag(message.flag)
        // A name that no account can have says nothing about accounts.
        guard let username = context.preparation.localpart(message.username), !username.isEmpty else {
            throw SASLFailure.notAuthorized
        }
        state = .lookup(message, username: username)
        return .needCredentials(username: username)
    }

    /// RFC 5802 §6.
    private func checkFlag(_ flag: SCRAMClientFirst.Flag) throws(SASLFailure) {
        switch (flag, isPlus) {
        case (.unsupported, false): return
        case (.notOffered, false):
            // The client did not see what we offered: somebody took it out of the list.
            guard !context.offered.offersChannelBinding else {
                throw SASLFailure.notAuthorized("The server does support channel binding.")
            }
        case (.used(let type), true):
            guard binding(type) != nil else {
                throw SASLFailure.notAuthorized("The channel binding type is not supported.")
            }
        case (.unsupported, true), (.notOffered, true), (.used, false):
            throw SASLFailure.malformedRequest("The channel binding flag does not fit the mechanism.")
        }
    }

    /// The binding of this type, if it was offered.
    private func binding(_ type: String) -> ChannelBinding? {
        context.channelBindings.first {
            $0.type.rawValue == type && context.offered.channelBindingTypes.contains($0.type)
        }
    }

    mutating func provide(_ lookup: CredentialLookup) throws(SASLFailure) -> SASLStep {
        guard case .lookup(let first, let username) = state else { throw SASLFailure.malformedRequest }
        let hash = hash
        let (credentials, failure) = try context.candidate(lookup, username: username, hash: hash) { $0[hash] }
        let nonce = first.nonce + Array(serverNonce.utf8)
        var attributes = [
            "r=\(String(decoding: nonce, as: UTF8.self))", "s=\(Base64.encode(credentials.salt))",
            "i=\(credentials.iterations)",
        ]
        if context.signsOffer { attributes.append("h=\(context.offered.downgradeProtection(hash))") }
        let serverFirst = Array(attributes.joined(separator: ",").utf8)
        state = .final(
            Pending(
                first: first, username: username, nonce: nonce, serverFirst: serverFirst, credentials: credentials,
                failure: failure))
        return .challenge(serverFirst)
    }

    private func takeFinal(_ message: SCRAMClientFinal, _ pending: Pending) throws(SASLFailure) -> SASLStep {
        // RFC 5802 §5.1: the nonce is the whole of ours.
        guard message.nonce == pending.nonce else { throw SASLFailure.notAuthorized("The nonce does not match.") }
        // RFC 5802 §6: in every case, bound or not.
        guard message.channelBinding == expectedChannelBinding(pending.first) else {
            throw SASLFailure.notAuthorized("The channel bindings do not match.")
        }
        let comma = [UInt8(ascii: ",")]
        let authMessage = pending.first.bare + comma + pending.serverFirst + comma + message.withoutProof
        let (isValid, signature) = pending.credentials.check(proof: message.proof, authMessage: authMessage)
        guard isValid else { throw SASLFailure.notAuthorized }
        if let failure = pending.failure { throw failure }
        let identity = try context.authorize(username: pending.username, authzid: pending.first.authzid)
        return .success(authenticated: identity, additionalData: Array("v=\(Base64.encode(signature))".utf8))
    }

    private func expectedChannelBinding(_ first: SCRAMClientFirst) -> [UInt8] {
        switch first.flag {
        case .unsupported, .notOffered: first.gs2Header
        case .used(let type): first.gs2Header + (binding(type)?.data ?? [])
        }
    }
}
