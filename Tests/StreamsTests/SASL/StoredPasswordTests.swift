import FoundationEssentials
import Streams
import Testing

@Suite("Stored passwords") struct StoredPasswordTests {
    @Test("One password gives credentials for every hash, with salts of their own")
    func derive() throws {
        let stored = try #require(StoredPassword.derive(password: "r0m30", prepare: Prepared.password))
        #expect(stored.credentials.count == SCRAMHash.allCases.count)
        for hash in SCRAMHash.allCases {
            let credentials = try #require(stored[hash])
            #expect(credentials.salt.count == 16)
            #expect(credentials.iterations == 10_000)
            #expect(credentials.storedKey.count == hash.algorithm.byteCount)
            #expect(credentials.serverKey.count == hash.algorithm.byteCount)
            #expect(credentials.verify(preparedPassword: "r0m30"))
        }
        #expect(Set(stored.credentials.map(\.salt)).count == stored.credentials.count)
        #expect(stored.strongest?.hash == .sha256)
        #expect(stored.verify(plain: "r0m30", prepare: Prepared.password))
        for wrong in ["", "r0m3", "r0m300", "R0M30", "bell\u{7}"] {
            #expect(!stored.verify(plain: wrong, prepare: Prepared.password))
        }
    }

    @Test("Passwords are prepared; what cannot be prepared is not a password")
    func preparation() throws {
        let stored = try #require(
            StoredPassword.derive(password: "a\u{A0}b", iterations: 4096, prepare: Prepared.password))
        #expect(stored.verify(plain: "a b", prepare: Prepared.password))
        #expect(StoredPassword.derive(password: "", prepare: Prepared.password) == nil)
        #expect(StoredPassword.derive(password: "\u{7}", prepare: Prepared.password) == nil)
        #expect(!StoredPassword(credentials: []).verify(plain: "x", prepare: Prepared.password))
    }

    @Test("They are stored in base 64 and come back")
    func codable() throws {
        let text = """
            {"credentials":[{"hash":"SHA-1","iterations":4096,"salt":"QSXCR+Q6sek8bf92",\
            "serverKey":"D+CSWLOshSulAsxiupA+qs2/fTE=","storedKey":"6dlGYMOdZcOPutkcNY8U2g7vK9Y="}]}
            """
        let stored = try JSONDecoder().decode(StoredPassword.self, from: Data(text.utf8))
        #expect(stored.verify(plain: "pencil", prepare: Prepared.password))
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        #expect(String(decoding: try encoder.encode(stored), as: UTF8.self) == text)
        #expect(throws: DecodingError.self) {
            try JSONDecoder().decode(
                StoredPassword.self, from: Data(text.replacing("QSXCR+Q6sek8bf92", with: "QSXCR").utf8))
        }
    }
}
