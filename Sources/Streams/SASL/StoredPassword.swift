/// An account's password as it is stored: SCRAM credentials for every hash, all of the same password.
public struct StoredPassword: Sendable, Hashable, Codable {
    /// More than twice what RFC 7677 §4 asks for; a SHA-256 derivation takes some milliseconds.
    public static let defaultIterations = 10_000
    /// Bytes of random salt.
    public static let saltLength = 16

    /// At most one for a hash. Imported accounts may lack some.
    public var credentials: [SCRAMCredentials]

    public init(credentials: [SCRAMCredentials]) {
        self.credentials = credentials
    }

    /// The credentials for one hash, if there are any.
    public subscript(hash: SCRAMHash) -> SCRAMCredentials? {
        credentials.first { $0.hash == hash }
    }

    /// The credentials of the strongest hash there is.
    public var strongest: SCRAMCredentials? {
        SCRAMHash.byPreference.lazy.compactMap { self[$0] }.first
    }

    /// Derives what is stored from a password, each hash with a fresh salt. Slow on purpose, once for every hash:
    /// not for an event loop.
    ///
    /// - Parameter prepare: The OpaqueString profile of RFC 8265 §4.2, which took the place of SASLprep; nil where
    ///   a password cannot be.
    /// - Returns: nil for a password that cannot be prepared or is empty. RFC 4616 §2.
    public static func derive(
        password: String, iterations: Int = defaultIterations, prepare: (String) -> String?
    ) -> StoredPassword? {
        guard let prepared = prepare(password), !prepared.isEmpty else { return nil }
        return StoredPassword(
            credentials: SCRAMHash.byPreference.map { hash in
                SCRAMCredentials(
                    hash: hash, preparedPassword: prepared, salt: Digest.randomBytes(saltLength),
                    iterations: iterations)
            })
    }

    /// Whether this is the password. Slow on purpose, compares in constant time, and is not for an event loop.
    public func verify(plain password: String, prepare: (String) -> String?) -> Bool {
        guard let prepared = prepare(password), !prepared.isEmpty else { return false }
        return strongest?.verify(preparedPassword: prepared) ?? false
    }
}

/// Credentials for accounts that do not exist, so that a stranger cannot tell them from those that do: the same account
/// always gets the same salt, and nobody without the secret can compute it. RFC 6120 §6.5.10.
public struct SCRAMDecoy: Sendable {
    private let secret: [UInt8]
    private let iterations: Int

    /// - Parameters:
    ///   - secret: At least 16 random bytes that survive a restart, since real salts do as well.
    ///   - iterations: What real accounts have.
    public init(secret: [UInt8], iterations: Int = StoredPassword.defaultIterations) {
        self.secret = secret
        self.iterations = iterations
    }

    /// The credentials, which no password fits.
    ///
    /// - Parameter account: The bare JID, prepared: two spellings of one account must have one salt.
    func credentials(for account: String, hash: SCRAMHash) -> SCRAMCredentials {
        let subject = Array("\(hash.rawValue)\0\(account)".utf8)
        let key = Digest.hmac(hash.algorithm, key: secret, Array("key\0".utf8) + subject)
        let salt = Digest.hmac(.sha256, key: secret, Array("salt\0".utf8) + subject)
        return SCRAMCredentials(
            hash: hash, salt: Array(salt.prefix(StoredPassword.saltLength)), iterations: iterations, storedKey: key,
            serverKey: key)
    }
}
