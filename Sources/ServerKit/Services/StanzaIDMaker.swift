/// Makes stanza ids: UUIDs of version 7 (RFC 9562 §5.7), as XEP-0359 §2.1 recommends UUIDs.
///
/// They begin with the time, so that an index over them grows at its end, where a page is in memory already; what that
/// tells, the delay stamp tells those who see the id anyway. The 62 random bits make them unpredictable (XEP-0313 §3).
public struct StanzaIDMaker {
    /// Random bytes for the next ids: asking the system for each would cost more than all the rest.
    private var random: ArraySlice<UInt8> = []

    public init() {}

    /// An id for something that happens now.
    public mutating func make(at time: Timestamp) -> String {
        if random.count < 8 { random = Digest.randomBytes(512)[...] }
        let (milliseconds, rest) = UInt64(max(0, time.microseconds)).quotientAndRemainder(dividingBy: 1000)
        // RFC 9562 §6.2, method 3: the fraction of the millisecond in the bits behind the version.
        let high = milliseconds << 16 | 0x7000 | rest * 4096 / 1000
        var low: UInt64 = 0
        for byte in random.prefix(8) { low = low << 8 | UInt64(byte) }
        random = random.dropFirst(8)
        low = low & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
        return String(unsafeUninitializedCapacity: 36) { text in
            var position = 0
            for digit in 0..<32 {
                if digit == 8 || digit == 12 || digit == 16 || digit == 20 {
                    text[position] = UInt8(ascii: "-")
                    position += 1
                }
                let half = digit < 16 ? high : low
                let value = UInt8(truncatingIfNeeded: half >> UInt64(60 - digit % 16 * 4)) & 15
                text[position] = value < 10 ? 0x30 + value : 0x57 + value
                position += 1
            }
            return position
        }
    }
}
