import COpenSSL
import Glibc
import Testing
import XMPP

@testable import Streams

/// A zone's key, and what it signs. ECDSA with P-256: RFC 6605; signatures: RFC 4034.
final class ZoneSigner {
    let zone: String
    private let key: PrivateKey

    init(_ zone: String) throws {
        self.zone = zone
        key = PrivateKey(owning: try #require(copenssl_generate_p256_key()))
    }

    /// The data of the DNSKEY record: zone key and secure entry point, of algorithm 13.
    var dnskey: [UInt8] {
        var der: UnsafeMutablePointer<UInt8>?
        let count = Int(i2d_PUBKEY(key.key, &der))
        defer { copenssl_free_bytes(der) }
        return [1, 1, 3, 13] + Array(UnsafeBufferPointer(start: der, count: count).suffix(64))
    }

    /// The key as a trust anchor's file has it.
    var trustAnchor: String { "\(zone). IN DNSKEY 257 3 13 \(Base64.encode(dnskey.dropFirst(4)))\n" }

    /// RFC 4034 appendix B.
    private var keyTag: UInt16 {
        var sum = 0
        for (index, byte) in dnskey.enumerated() { sum += index.isMultiple(of: 2) ? Int(byte) << 8 : Int(byte) }
        return UInt16(truncatingIfNeeded: sum + sum >> 16)
    }

    /// The records of one type at one name, with their signature.
    func signed(_ name: String, _ type: UInt16, _ records: [[UInt8]]) throws -> NameServer.Reply {
        func two(_ number: UInt16) -> [UInt8] { [UInt8(number >> 8), UInt8(number & 0xFF)] }
        func four(_ number: Int) -> [UInt8] { withUnsafeBytes(of: UInt32(number).bigEndian, Array.init) }
        let labels = name.split(separator: ".").count
        var rrsig = two(type) + [13, UInt8(labels)] + four(300) + four(time(nil) + 86_400) + four(time(nil) - 3600)
        rrsig += two(keyTag) + wire(zone)
        var text = rrsig
        for data in records { text += wire(name) + two(type) + [0, 1] + four(300) + two(UInt16(data.count)) + data }
        return .mixed(records.map { (type, $0) } + [(46, rrsig + (try sign(text)))])
    }

    private func sign(_ text: [UInt8]) throws -> [UInt8] {
        let context = try #require(EVP_MD_CTX_new())
        defer { EVP_MD_CTX_free(context) }
        var der = [UInt8](repeating: 0, count: 128)
        var count = der.count
        try #require(EVP_DigestSignInit(context, nil, EVP_sha256(), nil, key.key) == 1)
        try #require(EVP_DigestSign(context, &der, &count, text, text.count) == 1)
        // SEQUENCE { INTEGER r, INTEGER s }, of which each becomes 32 bytes.
        func integer(at index: Int) -> [UInt8] {
            let bytes = der[(index + 2)..<(index + 2 + Int(der[index + 1]))].suffix(32)
            return [UInt8](repeating: 0, count: 32 - bytes.count) + bytes
        }
        return integer(at: 2) + integer(at: 4 + Int(der[3]))
    }
}

private func copenssl_free_bytes(_ bytes: UnsafeMutablePointer<UInt8>?) { CRYPTO_free(bytes, "", 0) }
