import XMPP

/// A hash function SCRAM is defined for; the raw value is its part of the mechanism's name.
///
/// Values are stored: a case may be added, none renamed.
public enum SCRAMHash: String, Hashable, Sendable, Codable, CaseIterable {
    /// RFC 5802.
    case sha1 = "SHA-1"
    /// RFC 7677.
    case sha256 = "SHA-256"

    /// Every hash, the strongest first.
    public static let byPreference: [SCRAMHash] = [.sha256, .sha1]

    public var algorithm: Digest.Algorithm {
        switch self {
        case .sha1: .sha1
        case .sha256: .sha256
        }
    }
}

/// What a server keeps to check a password with SCRAM, and from which the password does not follow. RFC 5802 §3.
public struct SCRAMCredentials: Sendable, Hashable {
    public var hash: SCRAMHash
    public var salt: [UInt8]
    public var iterations: Int
    public var storedKey: [UInt8]
    public var serverKey: [UInt8]

    /// Credentials that exist already, as in an import.
    public init(hash: SCRAMHash, salt: [UInt8], iterations: Int, storedKey: [UInt8], serverKey: [UInt8]) {
        self.hash = hash
        self.salt = salt
        self.iterations = iterations
        self.storedKey = storedKey
        self.serverKey = serverKey
    }

    /// Credentials for a password that was prepared. Slow on purpose: milliseconds.
    public init(hash: SCRAMHash, preparedPassword: String, salt: [UInt8], iterations: Int) {
        let keys = SCRAMKeys(hash: hash, preparedPassword: preparedPassword, salt: salt, iterations: iterations)
        self.init(
            hash: hash, salt: salt, iterations: iterations, storedKey: keys.storedKey, serverKey: keys.serverKey)
    }

    /// Credentials for a password of which the peer derived the SaltedPassword. RFC 5802 §3.
    public init(hash: SCRAMHash, saltedPassword: [UInt8], salt: [UInt8], iterations: Int) {
        let keys = SCRAMKeys(hash: hash, saltedPassword: saltedPassword)
        self.init(
            hash: hash, salt: salt, iterations: iterations, storedKey: keys.storedKey, serverKey: keys.serverKey)
    }

    /// Whether this is the password, prepared. Slow on purpose, and as slow for a wrong one.
    public func verify(preparedPassword: String) -> Bool {
        let keys = SCRAMKeys(hash: hash, preparedPassword: preparedPassword, salt: salt, iterations: iterations)
        return Digest.constantTimeEqual(keys.storedKey, storedKey)
    }

    /// Checks a client's proof and signs for the server; always the same work, whatever the outcome. RFC 5802 §3.
    func check(proof: [UInt8], authMessage: [UInt8]) -> (isValid: Bool, serverSignature: [UInt8]) {
        let clientSignature = Digest.hmac(hash.algorithm, key: storedKey, authMessage)
        let serverSignature = Digest.hmac(hash.algorithm, key: serverKey, authMessage)
        let clientKey = zip(proof, clientSignature).map { $0 ^ $1 }
        let isValid = Digest.constantTimeEqual(Digest.hash(hash.algorithm, clientKey), storedKey)
        return (isValid && proof.count == clientSignature.count, serverSignature)
    }
}

/// Byte strings are stored in base 64.
extension SCRAMCredentials: Codable {
    private enum CodingKeys: String, CodingKey {
        case hash, salt, iterations, storedKey, serverKey
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        func bytes(_ key: CodingKeys) throws -> [UInt8] {
            guard let bytes = Base64.decode(try container.decode(String.self, forKey: key)) else {
                throw DecodingError.dataCorruptedError(forKey: key, in: container, debugDescription: "Not base 64.")
            }
            return bytes
        }
        self.init(
            hash: try container.decode(SCRAMHash.self, forKey: .hash), salt: try bytes(.salt),
            iterations: try container.decode(Int.self, forKey: .iterations),
            storedKey: try bytes(.storedKey), serverKey: try bytes(.serverKey))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(hash, forKey: .hash)
        try container.encode(Base64.encode(salt), forKey: .salt)
        try container.encode(iterations, forKey: .iterations)
        try container.encode(Base64.encode(storedKey), forKey: .storedKey)
        try container.encode(Base64.encode(serverKey), forKey: .serverKey)
    }
}

/// The keys that follow from a password, a salt and an iteration count. RFC 5802 §3.
public struct SCRAMKeys: Sendable, Hashable {
    public let clientKey: [UInt8]
    public let storedKey: [UInt8]
    public let serverKey: [UInt8]

    /// Slow on purpose: milliseconds.
    public init(hash: SCRAMHash, preparedPassword: String, salt: [UInt8], iterations: Int) {
        let algorithm = hash.algorithm
        let saltedPassword = Digest.pbkdf2(
            algorithm, password: Array(preparedPassword.utf8), salt: salt, iterations: iterations)
        self.init(hash: hash, saltedPassword: saltedPassword)
    }

    init(hash: SCRAMHash, saltedPassword: [UInt8]) {
        let algorithm = hash.algorithm
        clientKey = Digest.hmac(algorithm, key: saltedPassword, Array("Client Key".utf8))
        storedKey = Digest.hash(algorithm, clientKey)
        serverKey = Digest.hmac(algorithm, key: saltedPassword, Array("Server Key".utf8))
    }
}
