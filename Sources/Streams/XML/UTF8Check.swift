import XMPP

/// Checks, piece by piece, that a stream is UTF-8 and holds no character that XML forbids below U+0020.
///
/// libxml2 must not be asked: it takes overlong forms for what they mean, falls back to Latin-1 on bytes it does not
/// understand, and waits for ever behind a NUL.
struct UTF8Check {
    /// Continuation bytes that are still missing of the character begun last.
    private var missing = 0
    /// What the next continuation byte must lie between: narrower than 80–BF behind E0, ED, F0 and F4 (RFC 3629 §4).
    private var lower: UInt8 = 0x80
    private var upper: UInt8 = 0xBF
    /// The byte that broke the rules.
    private var culprit: UInt8 = 0

    /// How many bytes at the start of `bytes` are sound. A character may go on in the next piece; one that is broken in
    /// this piece is not counted.
    mutating func soundCount(of bytes: UnsafeRawBufferPointer) -> Int {
        guard let base = bytes.baseAddress else { return 0 }
        let count = bytes.count
        var index = 0
        var characterStart = 0
        while index < count {
            if missing == 0 {
                while index &+ 8 <= count {
                    let block = base.loadUnaligned(fromByteOffset: index, as: UInt64.self)
                    // Bytes from 80 up have the high bit, those below 20 borrow it.
                    guard (block | (block &- 0x2020_2020_2020_2020)) & 0x8080_8080_8080_8080 == 0 else { break }
                    index &+= 8
                }
                guard index < count else { break }
            }
            let end = min(index &+ 8, count)
            while index < end {
                if missing == 0 { characterStart = index }
                guard accept(bytes[index]) else {
                    culprit = missing > 0 ? 0xFF : bytes[index]
                    return characterStart
                }
                index &+= 1
            }
        }
        return count
    }

    /// The error that stopped ``soundCount(of:)``.
    func error(inHeader: Bool) -> StreamError {
        // A NUL before the stream header is UTF-16 or UTF-32 rather than a character gone astray.
        if culprit >= 0x80 || culprit == 0 && inHeader {
            // RFC 6120 §4.9.3.22: "by violating the rules of the UTF-8 encoding".
            return StreamError(.unsupportedEncoding, "The stream is not UTF-8.")
        }
        // XML 1.0 §2.2, RFC 6120 §11.3.
        return StreamError(.notWellFormed, "XML does not allow that control character.")
    }

    @inline(__always)
    private mutating func accept(_ byte: UInt8) -> Bool {
        if missing > 0 {
            guard byte >= lower, byte <= upper else { return false }
            missing &-= 1
            (lower, upper) = (0x80, 0xBF)
            return true
        }
        switch byte {
        case 0x20...0x7F, 0x09, 0x0A, 0x0D: return true
        case 0xC2...0xDF: missing = 1
        case 0xE0: (missing, lower) = (2, 0xA0)
        case 0xED: (missing, upper) = (2, 0x9F)
        case 0xE1...0xEF: missing = 2
        case 0xF0: (missing, lower) = (3, 0x90)
        case 0xF1...0xF3: missing = 3
        case 0xF4: (missing, upper) = (3, 0x8F)
        default: return false
        }
        return true
    }
}
