/// Escaping and unescaping of the canonical serialisation.
enum XMLEscaping {
    enum Place { case text, attribute }

    /// Appends `value`, escaped for its place. White space in attributes and carriage returns in text are written as
    /// character references, or a reader would normalise them away (XML 1.0 §2.11, §3.3.3). Characters that XML cannot
    /// express (§2.2) become U+FFFD: they never come from a parser, and would make the peer close its stream.
    static func append(_ value: some Collection<UInt8>, to output: inout [UInt8], escaping place: Place) {
        let isFast: Void? = value.withContiguousStorageIfAvailable { append($0, to: &output, escaping: place) }
        if isFast == nil {
            Array(value).withUnsafeBufferPointer { append($0, to: &output, escaping: place) }
        }
    }

    static func append(_ value: UnsafeBufferPointer<UInt8>, to output: inout [UInt8], escaping place: Place) {
        var clean = 0
        var index = 0
        while true {
            index = nextSuspect(in: value, from: index)
            guard index < value.count else { break }
            let byte = value[index]
            let width = byte == 0xEF ? 3 : 1
            guard
                let replacement = byte == 0xEF
                    ? noncharacter(value, at: index) : replacement(for: byte, in: place)
            else {
                index &+= 1
                continue
            }
            output.append(contentsOf: UnsafeBufferPointer(rebasing: value[clean..<index]))
            replacement.withUTF8Buffer { output.append(contentsOf: $0) }
            index &+= width
            clean = index
        }
        output.append(contentsOf: UnsafeBufferPointer(rebasing: value[clean...]))
    }

    /// The index of the next byte that may need escaping.
    @inline(__always)
    private static func nextSuspect(in value: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        var index = start
        while index < value.count {
            let byte = value[index]
            if byte < 64 ? suspects >> UInt64(byte) & 1 != 0 : byte == 0xEF { break }
            index &+= 1
        }
        return index
    }

    @inline(__always)
    private static func replacement(for byte: UInt8, in place: Place) -> StaticString? {
        switch byte {
        case UInt8(ascii: "&"): return "&amp;"
        case UInt8(ascii: "<"): return "&lt;"
        case UInt8(ascii: ">"): return "&gt;"
        case UInt8(ascii: "'") where place == .attribute: return "&apos;"
        case 0x0D: return "&#13;"
        case 0x0A where place == .attribute: return "&#10;"
        case 0x09 where place == .attribute: return "&#9;"
        case 0x09, 0x0A: return nil
        case 0..<0x20: return "\u{FFFD}"
        default: return nil
        }
    }

    /// U+FFFE and U+FFFF, three bytes each.
    private static func noncharacter(_ value: UnsafeBufferPointer<UInt8>, at index: Int) -> StaticString? {
        guard index + 2 < value.count, value[index + 1] == 0xBF, value[index + 2] >= 0xBE else { return nil }
        return "\u{FFFD}"
    }

    /// A bit for each byte below 64 that may need escaping: the controls and `&'<>`.
    private static var suspects: UInt64 { 0x0000_0000_FFFF_FFFF | 1 << 0x26 | 1 << 0x27 | 1 << 0x3C | 1 << 0x3E }

    /// The text behind canonical bytes. Knows exactly the references that ``append(_:to:escaping:)`` writes.
    static func unescape(_ raw: UnsafeBufferPointer<UInt8>) -> String {
        guard raw.contains(UInt8(ascii: "&")) else { return String(decoding: raw, as: UTF8.self) }
        var plain: [UInt8] = []
        plain.reserveCapacity(raw.count)
        var index = 0
        while index < raw.count {
            guard raw[index] == UInt8(ascii: "&"),
                let end = raw[index...].firstIndex(of: UInt8(ascii: ";"))
            else {
                plain.append(raw[index])
                index += 1
                continue
            }
            let name = String(decoding: raw[(index + 1)..<end], as: UTF8.self)
            plain.append(references[name] ?? UInt8(ascii: "?"))
            index = end + 1
        }
        return String(decoding: plain, as: UTF8.self)
    }

    private static let references: [String: UInt8] = [
        "amp": UInt8(ascii: "&"), "lt": UInt8(ascii: "<"), "gt": UInt8(ascii: ">"), "apos": UInt8(ascii: "'"),
        "#13": 0x0D, "#10": 0x0A, "#9": 0x09,
    ]
}
