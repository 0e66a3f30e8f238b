import XMPP

/// Why a SCRAM client gave up.
public enum SCRAMClientError: Error, Hashable, Sendable {
    /// The server's message breaks the syntax or comes out of turn.
    case malformed
    /// The server's nonce does not continue ours.
    case nonceMismatch
    /// The server asks for too little work to be safe or for more than is sane.
    case iterationsOutOfRange(Int)
    /// The server's final message names an error.
    case server(String)
    /// The server does not know the password.
    case wrongServerSignature
}

/// SCRAM, the client's side (RFC 5802, RFC 7677).
///
/// Send ``start()``, answer the challenge with ``respond(_:)``, and trust the server's success only after
/// ``finish(_:)``.
public struct SCRAMClient: Sendable {
    /// What the client says about channel binding. RFC 5802 §6.
    public enum Binding: Sendable, Hashable {
        /// `n`: none is supported.
        case unsupported
        /// `y`: it is, but the server offered none.
        case notOffered
        /// `p`: it is used.
        case bound(ChannelBinding)
    }

    /// Keys derived earlier, which fit as long as the server names the same salt. RFC 5802 §5.1.
    public struct CachedKeys: Sendable, Hashable {
        let hash: SCRAMHash
        let salt: [UInt8]
        let iterations: Int
        let keys: SCRAMKeys
    }

    private enum State {
        case first
        case final
        case verify(serverSignature: [UInt8])
        case finished
    }

    /// What the server may ask for. RFC 5802 §5.1 has at least 4096; the upper end keeps a hostile server from buying
    /// minutes of our time.
    public static let acceptedIterations = 4096...1_000_000

    private let hash: SCRAMHash
    private let preparedPassword: String
    private let gs2Header: [UInt8]
    private let channelBinding: [UInt8]
    private let nonce: String
    private let bare: [UInt8]
    private var state = State.first
    /// The keys of the last ``respond(_:)``, for the next connection.
    public private(set) var cachedKeys: CachedKeys?

    /// - Parameters:
    ///   - password: Prepared, as is the username.
    ///   - cachedKeys: From an earlier exchange with the same password.
    public init(
        hash: SCRAMHash, username: String, password: String, authzid: String? = nil, binding: Binding = .unsupported,
        cachedKeys: CachedKeys? = nil
    ) {
        self.init(
            hash: hash, username: username, password: password, authzid: authzid, binding: binding,
            cachedKeys: cachedKeys, nonce: SCRAMAttribute.makeNonce())
    }

    init(
        hash: SCRAMHash, username: String, password: String, authzid: String? = nil, binding: Binding = .unsupported,
        cachedKeys: CachedKeys? = nil, nonce: String
    ) {
        let (flag, data): (String, [UInt8]) =
            switch binding {
            case .unsupported: ("n", [])
            case .notOffered: ("y", [])
            case .bound(let binding): ("p=\(binding.type.rawValue)", binding.data)
            }
        let authzid = authzid.map { "a=\(SCRAMAttribute.escape($0))" } ?? ""
        gs2Header = Array("\(flag),\(authzid),".utf8)
        channelBinding = gs2Header + data
        bare = Array("n=\(SCRAMAttribute.escape(username)),r=\(nonce)".utf8)
        self.hash = hash
        preparedPassword = password
        self.nonce = nonce
        self.cachedKeys = cachedKeys
    }

    /// The initial response.
    public mutating func start() -> [UInt8] {
        state = .final
        return gs2Header + bare
    }

    /// Answers the server's first message. Slow on purpose, unless the cached keys fit.
    public mutating func respond(_ challenge: [UInt8]) throws(SCRAMClientError) -> [UInt8] {
        guard case .final = state else { throw SCRAMClientError.malformed }
        state = .finished
        guard let attributes = SCRAMAttribute.list(challenge[...]), attributes.count >= 3, attributes[0].is("r"),
            attributes[1].is("s"), attributes[2].is("i"), SCRAMAttribute.areExtensions(attributes[3...]),
            SCRAMAttribute.isNonce(attributes[0].value), let salt = attributes[1].base64,
            let iterations = Int(String(decoding: attributes[2].value, as: UTF8.self))
        else { throw SCRAMClientError.malformed }
        let fullNonce = String(decoding: attributes[0].value, as: UTF8.self)
        guard fullNonce.hasPrefix(nonce), fullNonce != nonce else { throw SCRAMClientError.nonceMismatch }
        guard Self.acceptedIterations.contains(iterations) else {
            throw SCRAMClientError.iterationsOutOfRange(iterations)
        }

        let keys = keys(salt: salt, iterations: iterations)
        let withoutProof = "c=\(Base64.encode(channelBinding)),r=\(fullNonce)"
        let comma = [UInt8(ascii: ",")]
        let authMessage = bare + comma + challenge + comma + Array(withoutProof.utf8)
        let signature = Digest.hmac(hash.algorithm, key: keys.storedKey, authMessage)
        let proof = zip(keys.clientKey, signature).map { $0 ^ $1 }
        state = .verify(serverSignature: Digest.hmac(hash.algorithm, key: keys.serverKey, authMessage))
        return Array("\(withoutProof),p=\(Base64.encode(proof))".utf8)
    }

    /// Checks the data that came with the server's success.
    public mutating func finish(_ additionalData: [UInt8]) throws(SCRAMClientError) {
        guard case .verify(let expected) = state else { throw SCRAMClientError.malformed }
        state = .finished
        guard let attributes = SCRAMAttribute.list(additionalData[...]), let first = attributes.first,
            SCRAMAttribute.areExtensions(attributes.dropFirst())
        else { throw SCRAMClientError.malformed }
        if first.is("e") { throw SCRAMClientError.server(String(decoding: first.value, as: UTF8.self)) }
        guard first.is("v"), let signature = first.base64 else { throw SCRAMClientError.malformed }
        guard Digest.constantTimeEqual(signature, expected) else { throw SCRAMClientError.wrongServerSignature }
    }

    private mutating func keys(salt: [UInt8], iterations: Int) -> SCRAMKeys {
        if let cached = cachedKeys, cached.hash == hash, cached.salt == salt, cached.iterations == iterations {
            return cached.keys
        }
        let keys = SCRAMKeys(hash: hash, preparedPassword: preparedPassword, salt: salt, iterations: iterations)
        cachedKeys = CachedKeys(hash: hash, salt: salt, iterations: iterations, keys: keys)
        return keys
    }
}
