/// A mechanism of the family HT: the client shows, in its only message, that it holds a token
/// (draft-schmaus-kitten-sasl-ht-09 §2). The raw value is the registered name.
public enum HashedTokenMechanism: String, Hashable, Sendable, Codable, CaseIterable {
    /// Bound to this very TLS connection.
    case exporter = "HT-SHA-256-EXPR"
    /// Bound to the server's certificate.
    case endPoint = "HT-SHA-256-ENDP"
    /// Not bound to a channel.
    case unbound = "HT-SHA-256-NONE"

    /// What it is bound to.
    public var bindingType: ChannelBindingType? {
        switch self {
        case .exporter: .tlsExporter
        case .endPoint: .tlsServerEndPoint
        case .unbound: nil
        }
    }

    /// The mechanisms that a connection with these bindings can use, the best first.
    public static func usable(with bindings: [ChannelBinding]) -> [HashedTokenMechanism] {
        allCases.filter { mechanism in
            mechanism.bindingType.map { type in bindings.contains { $0.type == type } } ?? true
        }
    }
}

/// A token that a client may hold.
public struct HashedToken: Sendable {
    /// What its keeper calls it; no secret.
    public let id: String
    /// The token itself.
    public let key: [UInt8]
    /// What awaits even somebody who holds it; nil for success.
    public let failure: SASLFailure?

    public init(id: String, key: [UInt8], failure: SASLFailure? = nil) {
        self.id = id
        self.key = key
        self.failure = failure
    }
}

/// Keeps tokens out of logs.
extension HashedToken: CustomStringConvertible, CustomReflectable {
    public var description: String { "HashedToken(\(id))" }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// HT, the server's side: `authcid NUL HMAC(token, "Initiator" || binding)` is answered with
/// `HMAC(token, "Responder" || binding)`. draft-schmaus-kitten-sasl-ht-09 §3.
///
/// A client that names an account without tokens gets the same failure after the same work as one with a wrong token.
struct HashedTokenServer: SASLMechanismEngine {
    private let context: SASLContext
    private let binding: [UInt8]
    private var claim: (username: String, proof: [UInt8])?

    /// Tokens of one client that may be valid at a time: the old one until the new one was used. XEP-0484 §5.1.
    private static let usualCount = 2

    /// - Throws: invalid-mechanism if the connection has no such channel binding.
    init(_ mechanism: HashedTokenMechanism, bindings: [ChannelBinding], context: SASLContext) throws(SASLFailure) {
        self.context = context
        guard let type = mechanism.bindingType else {
            binding = []
            return
        }
        guard let found = bindings.first(where: { $0.type == type }) else { throw SASLFailure.invalidMechanism }
        binding = found.data
    }

    mutating func respond(_ response: [UInt8]) throws(SASLFailure) -> SASLStep {
        guard let end = response.firstIndex(of: 0), end > 0,
            let authcid = String(validating: response[..<end], as: UTF8.self),
            response.count - end - 1 == Digest.Algorithm.sha256.byteCount
        else { throw SASLFailure.malformedRequest }
        // A name that no account can have says nothing about accounts.
        guard let username = context.preparation.localpart(authcid), !username.isEmpty else {
            throw SASLFailure.notAuthorized
        }
        claim = (username, Array(response[(end + 1)...]))
        return .needCredentials(username: username)
    }

    mutating func provide(_ lookup: CredentialLookup) throws(SASLFailure) -> SASLStep {
        guard let claim else { throw SASLFailure.malformedRequest }
        let (tokens, failure): ([HashedToken], SASLFailure?) =
            switch lookup {
            case .tokens(let tokens, let failure): (tokens, failure)
            case .unavailable: throw SASLFailure.temporaryAuthFailure
            case .found, .disabled, .expired, .unknown: ([], nil)
            }
        let decoy = HashedToken(id: "", key: Array(repeating: 0, count: 32), failure: .notAuthorized)
        let decoys = Array(repeating: decoy, count: max(0, Self.usualCount - tokens.count))
        var match: HashedToken?
        for token in tokens + decoys {
            let expected = Self.mac("Initiator", token, binding)
            if Digest.constantTimeEqual(expected, claim.proof) { match = match ?? token }
        }
        guard let match, !match.id.isEmpty else { throw SASLFailure.notAuthorized }
        if let failure = match.failure ?? failure { throw failure }
        return .success(
            authenticated: .token(authcid: claim.username, id: match.id),
            additionalData: Self.mac("Responder", match, binding))
    }

    private static func mac(_ role: String, _ token: HashedToken, _ binding: [UInt8]) -> [UInt8] {
        Digest.hmac(.sha256, key: token.key, Array(role.utf8) + binding)
    }
}

/// HT, the client's side. Send ``start()`` and trust the server's success only after ``finish(_:)``.
public struct HashedTokenClient: Sendable {
    private let username: String
    private let token: [UInt8]
    private let binding: [UInt8]

    /// - Parameters:
    ///   - username: Prepared.
    ///   - token: As the server gave it.
    ///   - binding: The data of the channel binding that the mechanism's name asks for.
    public init(username: String, token: String, binding: [UInt8] = []) {
        self.username = username
        self.token = Array(token.utf8)
        self.binding = binding
    }

    /// The initial response.
    public func start() -> [UInt8] {
        Array(username.utf8) + [0] + Digest.hmac(.sha256, key: token, Array("Initiator".utf8) + binding)
    }

    /// Whether the data that came with the server's success proves that it knows the token.
    public func finish(_ additionalData: [UInt8]) -> Bool {
        let expected = Digest.hmac(.sha256, key: token, Array("Responder".utf8) + binding)
        return Digest.constantTimeEqual(additionalData, expected)
    }
}
