/// Base 64 with the standard alphabet and padding (RFC 4648 §4), as SASL, vCards, avatars and hashes use it.
public enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    private static let padding = UInt8(ascii: "=")
    /// What ``values`` holds for a byte outside the alphabet. The six-bit values leave its upper bits clear.
    private static let invalid: UInt8 = 0xFF
    /// The value of every byte.
    private static let values: [UInt8] = {
        var values = [UInt8](repeating: invalid, count: 256)
        for (value, byte) in alphabet.enumerated() { values[Int(byte)] = UInt8(value) }
        return values
    }()

    /// The encoded form, padded, without line breaks.
    public static func encode(_ bytes: some Collection<UInt8>) -> String {
        bytes.withContiguousStorageIfAvailable(encode) ?? Array(bytes).withUnsafeBufferPointer(encode)
    }

    /// The bytes encoded, or nil for anything but the one encoding ``encode(_:)`` would give: whitespace, foreign
    /// characters, missing padding and padding bits other than zero are refused, as RFC 6120 §6.3.5 demands and
    /// RFC 4648 §3 allows.
    public static func decode(_ string: some StringProtocol) -> [UInt8]? {
        let utf8 = string.utf8
        let decoded = utf8.withContiguousStorageIfAvailable(decode) ?? Array(utf8).withUnsafeBufferPointer(decode)
        return decoded
    }

    private static func encode(_ input: UnsafeBufferPointer<UInt8>) -> String {
        let whole = input.count / 3 * 3
        return alphabet.withUnsafeBufferPointer { alphabet in
            String(unsafeUninitializedCapacity: (input.count + 2) / 3 * 4) { output in
                var written = 0
                var index = 0
                while index < whole {
                    let group = UInt32(input[index]) << 16 | UInt32(input[index + 1]) << 8 | UInt32(input[index + 2])
                    output[written] = alphabet[Int(group >> 18)]
                    output[written + 1] = alphabet[Int(group >> 12 & 63)]
                    output[written + 2] = alphabet[Int(group >> 6 & 63)]
                    output[written + 3] = alphabet[Int(group & 63)]
                    index += 3
                    written += 4
                }
                guard index < input.count else { return written }
                let second = index + 1 < input.count ? input[index + 1] : 0
                let group = UInt32(input[index]) << 16 | UInt32(second) << 8
                output[written] = alphabet[Int(group >> 18)]
                output[written + 1] = alphabet[Int(group >> 12 & 63)]
                output[written + 2] = index + 1 < input.count ? alphabet[Int(group >> 6 & 63)] : padding
                output[written + 3] = padding
                return written + 4
            }
        }
    }

    private static func decode(_ input: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
        guard input.count % 4 == 0, let last = input.last else { return input.isEmpty ? [] : nil }
        let pad = last != padding ? 0 : input[input.count - 2] != padding ? 1 : 2
        let whole = pad == 0 ? input.count : input.count - 4

        var isValid = true
        let decoded = values.withUnsafeBufferPointer { values in
            [UInt8](unsafeUninitializedCapacity: input.count / 4 * 3) { output, written in
                var index = 0
                /// Every value seen, so that one test at the end finds a foreign byte.
                var seen: UInt8 = 0
                while index < whole {
                    let (a, b) = (values[Int(input[index])], values[Int(input[index + 1])])
                    let (c, d) = (values[Int(input[index + 2])], values[Int(input[index + 3])])
                    seen |= a | b | c | d
                    output[written] = a << 2 | b >> 4
                    output[written + 1] = b << 4 | c >> 2
                    output[written + 2] = c << 6 | d
                    index += 4
                    written += 3
                }
                if pad > 0 {
                    let (a, b) = (values[Int(input[index])], values[Int(input[index + 1])])
                    let c = pad == 1 ? values[Int(input[index + 2])] : 0
                    seen |= a | b | c
                    // The bits that padding leaves over are zero. RFC 4648 §3.5.
                    if pad == 1 ? c & 0b11 != 0 : b & 0b1111 != 0 { isValid = false }
                    output[written] = a << 2 | b >> 4
                    written += 1
                    if pad == 1 {
                        output[written] = b << 4 | c >> 2
                        written += 1
                    }
                }
                if seen & 0b1100_0000 != 0 { isValid = false }
            }
        }
        return isValid ? decoded : nil
    }
}
