import Testing

import XMPP

@Suite("Base 64 (RFC 4648 §4)") struct Base64Tests {
    /// RFC 4648 §10.
    @Test("The RFC's vectors, both ways", arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ])
    func vectors(plain: String, encoded: String) {
        #expect(Base64.encode(plain.utf8) == encoded)
        #expect(Base64.encode(Array(plain.utf8)) == encoded)
        #expect(Base64.decode(encoded) == Array(plain.utf8))
    }

    @Test("Every byte in every position survives")
    func roundTrip() {
        for length in 0..<70 {
            let bytes = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ length &* 11) }
            #expect(Base64.decode(Base64.encode(bytes)) == bytes)
        }
        let all = (0...255).map { UInt8($0) }
        #expect(Base64.decode(Base64.encode(all)) == all)
        #expect(Base64.encode([0xFB, 0xFF, 0xBF]) == "+/+/")
    }

    @Test("Slices and lazy collections encode like arrays")
    func collections() {
        let bytes: [UInt8] = [9, 1, 2, 3, 9]
        #expect(Base64.encode(bytes[1..<4]) == "AQID")
        #expect(Base64.encode(bytes.lazy.map { $0 }) == Base64.encode(bytes))
        #expect(Base64.decode("xAQIDx".dropFirst().dropLast()) == [1, 2, 3])
    }

    @Test("Anything but the canonical form is refused", arguments: [
        "Z", "Zg", "Zg=", "Zg===", "=", "==", "===", "====", "Z===", "=Zg=", "Zg==Zg==", "Zg=v", "Zm9v=", "Zm9v====",
        " Zm9v", "Zm9v ", "Zm9v\n", "Zm 9", "Zm\r\n", "Zm9\0", "Zm9-", "Zm9_", "Zm9é", "日本語日", "ZmZ=g===",
        // Padding bits that are not zero. RFC 4648 §3.5.
        "Zh==", "Zm9=", "AB==", "AAB=", "//==",
    ])
    func strict(text: String) {
        #expect(Base64.decode(text) == nil)
    }
}

@Suite("Hexadecimal (RFC 4648 §8)") struct HexTests {
    @Test("Bytes become lower-case digits and come back")
    func roundTrip() {
        #expect(Hex.encode([UInt8]()) == "")
        #expect(Hex.encode([0x00, 0x0F, 0xA0, 0xFF]) == "000fa0ff")
        let all = (0...255).map { UInt8($0) }
        #expect(Hex.decode(Hex.encode(all)) == all)
        #expect(Hex.decode(Hex.encode(all).uppercased()) == all)
        #expect(Hex.decode("") == [])
    }

    @Test("Half bytes and foreign characters are refused", arguments: [
        "0", "000", "0g", " 00", "0x00", "00 ", "é", "０",
    ])
    func strict(text: String) {
        #expect(Hex.decode(text) == nil)
    }
}
