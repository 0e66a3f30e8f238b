import Streams
import Testing
import XMPP

@Suite("Digests") struct DigestTests {
    @Test("SHA-1, SHA-256 and SHA-512 of \"abc\" (RFC 6234 §8.5)")
    func hashes() {
        #expect(Hex.encode(Digest.sha1(bytes("abc"))) == "a9993e364706816aba3e25717850c26c9cd0d89d")
        #expect(
            Hex.encode(Digest.sha256(bytes("abc")))
                == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(
            Hex.encode(Digest.sha512(bytes("abc")))
                == "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                + "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f")
        #expect(Hex.encode(Digest.sha1([])) == "da39a3ee5e6b4b0d3255bfef95601890afd80709")
    }

    @Test("HMAC (RFC 4231 §4.3), also without key and message")
    func hmac() {
        let message = bytes("what do ya want for nothing?")
        #expect(
            Hex.encode(Digest.hmac(.sha1, key: bytes("Jefe"), message)) == "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79")
        #expect(
            Hex.encode(Digest.hmac(.sha256, key: bytes("Jefe"), message))
                == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        #expect(
            Hex.encode(Digest.hmac(.sha256, key: [], []))
                == "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad")
        #expect(Digest.hmac(.sha512, key: bytes("Jefe"), message).starts(with: [0x16, 0x4B, 0x7A, 0x7B]))
    }

    @Test("PBKDF2 (RFC 6070 §2, and SHA-2 computed with another implementation)")
    func pbkdf2() {
        let (password, salt) = (bytes("password"), bytes("salt"))
        func derive(_ algorithm: Digest.Algorithm, _ iterations: Int) -> String {
            Hex.encode(Digest.pbkdf2(algorithm, password: password, salt: salt, iterations: iterations))
        }
        #expect(derive(.sha1, 2) == "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957")
        #expect(derive(.sha1, 4096) == "4b007901b765489abead49d926f721d065a429c1")
        #expect(derive(.sha256, 4096) == "c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a")
        #expect(derive(.sha512, 1000).hasPrefix("afe6c5530785b6cc6b1c6453384731bd5ee432ee549fd42fb6695779ad8a1c5b"))
        #expect(Digest.pbkdf2(.sha1, password: [], salt: [], iterations: 0).count == 20)
    }

    @Test("Random bytes differ; comparison minds content and length")
    func randomAndEqual() {
        #expect(Digest.randomBytes(16) != Digest.randomBytes(16))
        #expect(Digest.randomBytes(0).isEmpty)
        #expect(Digest.constantTimeEqual([], []))
        #expect(Digest.constantTimeEqual([1, 2], [1, 2]))
        #expect(!Digest.constantTimeEqual([1, 2], [1, 3]))
        #expect(!Digest.constantTimeEqual([1, 2], [1, 2, 3]))
        #expect(!Digest.constantTimeEqual([], [0]))
    }
}
