import Testing

@testable import Streams

@Suite("PBKDF2 (RFC 8018)") struct KeyDerivationTests {
    @Test(
        "Our loop agrees with OpenSSL's",
        arguments: [Digest.Algorithm.sha1, .sha256], [0, 1, 20, 63, 64, 65, 200])
    func agreement(algorithm: Digest.Algorithm, length: Int) {
        let password = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 1) }
        for (salt, iterations) in [([UInt8](), 1), ([1, 2, 3], 2), ([UInt8](repeating: 9, count: 100), 1_000)] {
            let ours = Digest.pbkdf2(algorithm, password: password, salt: salt, iterations: iterations)
            let theirs = Digest.pbkdf2ByOpenSSL(algorithm, password: password, salt: salt, iterations: iterations)
            #expect(ours == theirs)
        }
    }
}
