import COpenSSL

/// Hashes and what is built on them, from the system's OpenSSL.
public enum Digest {
    /// A hash function.
    public enum Algorithm: Sendable, Hashable {
        case sha1, sha256, sha512

        /// The length of the hash in bytes.
        public var byteCount: Int {
            switch self {
            case .sha1: 20
            case .sha256: 32
            case .sha512: 64
            }
        }

        fileprivate var evp: OpaquePointer? {
            switch self {
            case .sha1: EVP_sha1()
            case .sha256: EVP_sha256()
            case .sha512: EVP_sha512()
            }
        }
    }

    /// SHA-1 (RFC 3174): for SCRAM-SHA-1, entity capabilities and avatars' ids, never for anything new.
    public static func sha1(_ bytes: [UInt8]) -> [UInt8] { hash(.sha1, bytes) }

    /// SHA-256 (RFC 6234).
    public static func sha256(_ bytes: [UInt8]) -> [UInt8] { hash(.sha256, bytes) }

    /// SHA-512 (RFC 6234).
    public static func sha512(_ bytes: [UInt8]) -> [UInt8] { hash(.sha512, bytes) }

    /// The hash of `bytes`.
    public static func hash(_ algorithm: Algorithm, _ bytes: [UInt8]) -> [UInt8] {
        filled(algorithm.byteCount) { output in
            EVP_Digest(bytes, bytes.count, output, nil, algorithm.evp, nil) == 1
        }
    }

    /// The keyed hash of `message` (RFC 2104).
    public static func hmac(_ algorithm: Algorithm, key: [UInt8], _ message: [UInt8]) -> [UInt8] {
        filled(algorithm.byteCount) { output in
            HMAC(algorithm.evp, key, Int32(key.count), message, message.count, output, nil) != nil
        }
    }

    /// A key of the hash's length derived from a password by PBKDF2 with HMAC (RFC 8018 §5.2), which is the `Hi` of
    /// RFC 5802 §2.2. Slow on purpose: milliseconds, so not for an event loop.
    public static func pbkdf2(
        _ algorithm: Algorithm, password: [UInt8], salt: [UInt8], iterations: Int
    ) -> [UInt8] {
        // RFC 2104 §2: longer keys are hashed; shorter ones are filled up with zeros.
        var key = password.count > 64 ? hash(algorithm, password) : password
        key += [UInt8](repeating: 0, count: max(0, 64 - key.count))
        switch algorithm {
        case .sha1, .sha256:
            // The first iteration hashes the salt with the number of the block; the others are one block each.
            var block = hmac(algorithm, key: password, salt + [0, 0, 0, 1])
            let count = Int32(clamping: max(1, iterations))
            _ = algorithm == .sha1
                ? copenssl_pbkdf2_sha1(key, &block, count) : copenssl_pbkdf2_sha256(key, &block, count)
            return block
        case .sha512:
            return pbkdf2ByOpenSSL(algorithm, password: password, salt: salt, iterations: iterations)
        }
    }

    static func pbkdf2ByOpenSSL(
        _ algorithm: Algorithm, password: [UInt8], salt: [UInt8], iterations: Int
    ) -> [UInt8] {
        let length = algorithm.byteCount
        return password.withUnsafeBytes { password in
            let characters = password.assumingMemoryBound(to: CChar.self)
            return filled(length) { output in
                PKCS5_PBKDF2_HMAC(
                    characters.baseAddress, Int32(characters.count), salt, Int32(salt.count),
                    Int32(clamping: max(1, iterations)), algorithm.evp, Int32(length), output) == 1
            }
        }
    }

    /// Bytes from the system's cryptographic generator.
    public static func randomBytes(_ count: Int) -> [UInt8] {
        filled(count) { RAND_bytes($0, Int32(count)) == 1 }
    }

    /// Whether both are the same, found out in a time that depends on their lengths only.
    public static func constantTimeEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        left.count == right.count && CRYPTO_memcmp(left, right, left.count) == 0
    }

    /// An array that OpenSSL writes. No input makes these functions fail: they do when memory or the system's
    /// randomness is gone, and to go on with a key of zeros would be worse than to stop.
    private static func filled(_ count: Int, _ write: (UnsafeMutablePointer<UInt8>) -> Bool) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let succeeded = bytes.withUnsafeMutableBufferPointer { buffer in
            buffer.baseAddress.map(write) ?? true
        }
        precondition(succeeded, "OpenSSL has no memory or no randomness left.")
        return bytes
    }
}
