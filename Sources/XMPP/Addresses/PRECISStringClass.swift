/// The string classes that PRECIS profiles restrict further. RFC 8264 §4.
enum StringClass {
    case identifier, freeform

    /// Checks that the class allows each code point where it stands. RFC 8264 §8, RFC 5892 Appendix A.
    func check(_ points: [UInt32]) throws(PRECISError) {
        for point in points where !allows(UnicodeTables.properties(of: point).derived) {
            throw .disallowed(Unicode.Scalar(point) ?? "\u{FFFD}")
        }
        try Context(points).check()
    }

    private func allows(_ property: UnicodeTables.DerivedProperty) -> Bool {
        switch property {
        case .protocolValid, .contextJ, .contextO: true
        case .freeformOnly: self == .freeform
        case .disallowed, .unassigned: false
        }
    }
}

/// The contextual rules of RFC 5892 Appendix A, applied to one string.
struct Context {
    private let points: [UInt32]
    // What rules ask of the whole string is looked up once: a string may consist of nothing but such code points.
    private var hasKanaOrHan = false
    private var hasArabicIndicDigit = false
    private var hasExtendedArabicIndicDigit = false
    private var positions: [Int] = []

    init(_ points: [UInt32]) {
        self.points = points
        for (index, point) in points.enumerated() where point >= 0x80 {
            let properties = UnicodeTables.properties(of: point)
            if properties.derived == .contextJ || properties.derived == .contextO { positions.append(index) }
            if properties.script == .kanaOrHan { hasKanaOrHan = true }
            if (0x660...0x669).contains(point) { hasArabicIndicDigit = true }
            if (0x6F0...0x6F9).contains(point) { hasExtendedArabicIndicDigit = true }
        }
    }

    func check() throws(PRECISError) {
        for index in positions where !isAllowed(at: index) {
            throw .outOfContext(Unicode.Scalar(points[index]) ?? "\u{FFFD}")
        }
    }

    private func isAllowed(at index: Int) -> Bool {
        switch points[index] {
        case 0x200C:  // ZERO WIDTH NON-JOINER, A.1
            followsVirama(index) || isBetweenJoiningLetters(index)
        case 0x200D:  // ZERO WIDTH JOINER, A.2
            followsVirama(index)
        case 0xB7:  // MIDDLE DOT, A.3
            point(at: index - 1) == 0x6C && point(at: index + 1) == 0x6C
        case 0x375:  // GREEK LOWER NUMERAL SIGN, A.4
            script(at: index + 1) == .greek
        case 0x5F3, 0x5F4:  // HEBREW PUNCTUATION GERESH and GERSHAYIM, A.5, A.6
            script(at: index - 1) == .hebrew
        case 0x30FB:  // KATAKANA MIDDLE DOT, A.7
            hasKanaOrHan
        case 0x660...0x669:  // ARABIC-INDIC DIGITS, A.8
            !hasExtendedArabicIndicDigit
        case 0x6F0...0x6F9:  // EXTENDED ARABIC-INDIC DIGITS, A.9
            !hasArabicIndicDigit
        default:
            // A code point without a rule makes the string invalid. RFC 8264 §8.
            false
        }
    }

    private func point(at index: Int) -> UInt32? { points.indices.contains(index) ? points[index] : nil }

    private func script(at index: Int) -> UnicodeTables.Script? {
        point(at: index).map { UnicodeTables.properties(of: $0).script }
    }

    private func followsVirama(_ index: Int) -> Bool {
        let viramaClass: UInt8 = 9
        return point(at: index - 1).map { UnicodeTables.properties(of: $0).combiningClass } == viramaClass
    }

    private func isBetweenJoiningLetters(_ index: Int) -> Bool {
        let before = joiningType(from: index, by: -1)
        let after = joiningType(from: index, by: 1)
        return (before == .left || before == .dual) && (after == .right || after == .dual)
    }

    /// The joining type of the nearest code point in one direction that is not transparent.
    private func joiningType(from index: Int, by step: Int) -> UnicodeTables.JoiningType? {
        var next = index + step
        while let point = point(at: next) {
            let type = UnicodeTables.properties(of: point).joiningType
            if type != .transparent { return type }
            next += step
        }
        return nil
    }
}

/// The Bidi Rule for strings with right-to-left characters; others are free of it. RFC 5893 §2, RFC 8265 §3.3.1.
enum BidiRule {
    static func isSatisfied(by points: [UInt32]) -> Bool {
        let classes = points.map { UnicodeTables.properties(of: $0).bidiClass }
        guard classes.contains(where: { $0 == .r || $0 == .al || $0 == .an }) else { return true }
        let last = classes.last { $0 != .nsm }
        switch classes.first {
        case .r, .al:  // conditions 1 to 4
            return classes.allSatisfy(isAllowedFromRightToLeft)
                && (last == .r || last == .al || last == .en || last == .an)
                && !(classes.contains(.en) && classes.contains(.an))
        default:
            // Condition 1 asks for L; then condition 5 forbids the class that brought the string here.
            return false
        }
    }

    private static func isAllowedFromRightToLeft(_ bidiClass: UnicodeTables.BidiClass) -> Bool {
        switch bidiClass {
        case .r, .al, .an, .en, .es, .cs, .et, .on, .bn, .nsm: true
        case .l, .other: false
        }
    }
}
