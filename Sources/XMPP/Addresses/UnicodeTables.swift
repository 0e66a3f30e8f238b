/// What Swift's library does not say about characters: the derived properties of PRECIS, Bidi class, script, joining
/// type and decompositions.
///
/// The tables are text in `UnicodeTables*.swift` and are decoded at first use, so that a server whose users write ASCII
/// never pays for them. A code point is a `UInt32` here; strings become scalars at the edge of `PRECIS`.
enum UnicodeTables {
    /// The properties of a code point.
    static func properties(of point: UInt32) -> Properties { ranges.properties(of: point) }

    /// The derived property of a code point. RFC 8264 §8.
    enum DerivedProperty: UInt32 {
        case protocolValid, freeformOnly, contextJ, contextO, disallowed, unassigned
    }

    /// The Bidi classes that the Bidi Rule names; every other one is `other`. RFC 5893 §2.
    enum BidiClass: UInt32 {
        case l, r, al, an, en, es, cs, et, on, bn, nsm, other
    }

    /// The scripts that contextual rules name. RFC 5892 Appendix A.
    enum Script: UInt32 {
        case other, greek, hebrew, kanaOrHan
    }

    /// The joining types that contextual rules name. RFC 5892 Appendix A.1.
    enum JoiningType: UInt32 {
        case none, left, right, dual, transparent
    }

    /// The properties of a code point, in the bits that the generator gave them.
    struct Properties {
        private let bits: UInt32

        fileprivate init(bits: UInt32) { self.bits = bits }

        var derived: DerivedProperty { DerivedProperty(rawValue: bits & 7) ?? .disallowed }
        var bidiClass: BidiClass { BidiClass(rawValue: bits >> 3 & 15) ?? .other }
        var script: Script { Script(rawValue: bits >> 7 & 3) ?? .other }
        var joiningType: JoiningType { JoiningType(rawValue: bits >> 9 & 7) ?? .none }
        var combiningClass: UInt8 { UInt8(truncatingIfNeeded: bits >> 12) }
        /// General category Zs.
        var isSpace: Bool { bits >> 20 & 1 == 1 }
    }

    private static let ranges = Ranges()

    private struct Ranges {
        /// Each range's first code point, then 11 bits of index into `values`; in ascending order.
        private var starts: [UInt32] = []
        private var values: [Properties] = []

        init() {
            var reader = NumberReader(UnicodeTables.propertyValues)
            while let bits = reader.next() { values.append(Properties(bits: bits)) }
            reader = NumberReader(UnicodeTables.propertyRanges)
            var start: UInt32 = 0
            while let distance = reader.next(), let index = reader.next() {
                start += distance
                starts.append(start << 11 | index)
            }
        }

        func properties(of point: UInt32) -> Properties {
            let limit = point << 11 | 0x7FF
            var low = 0
            var high = starts.count
            while low < high {
                let middle = (low + high) / 2
                if starts[middle] <= limit { low = middle + 1 } else { high = middle }
            }
            // The first range starts at zero, so there is always one before `low`.
            return values[Int(starts[low - 1] & 0x7FF)]
        }
    }
}

/// Reads the numbers that the generator wrote as text: base 32, lowest digit first, 32 more for all but the last.
struct NumberReader {
    private let bytes: UnsafeBufferPointer<UInt8>
    private var position = 0

    init(_ text: StaticString) {
        bytes = UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
    }

    mutating func next() -> UInt32? {
        var number: UInt32 = 0
        var shift: UInt32 = 0
        while position < bytes.count {
            let byte = UInt32(bytes[position])
            position += 1
            // The alphabet starts at "0" and leaves out the backslash.
            let digit = byte - 0x30 - (byte > 0x5C ? 1 : 0)
            number |= (digit & 31) << shift
            if digit < 32 { return number }
            shift += 5
        }
        return nil
    }
}
