/// Why a string does not conform to a PRECIS profile.
public enum PRECISError: Error, Hashable, Sendable {
    /// Nothing is left once the rules are applied.
    case empty
    /// The profile's string class does not allow this code point. RFC 8264 §4.
    case disallowed(Unicode.Scalar)
    /// This code point is allowed only beside others that are missing. RFC 5892 Appendix A.
    case outOfContext(Unicode.Scalar)
    /// The string mixes directions against the Bidi Rule. RFC 5893 §2.
    case bidirectional
    /// The rules keep changing the string. RFC 8266 §2.1.
    case unstable
}

/// The profiles of the PRECIS framework (RFC 8264): how user names, opaque strings and nicknames are checked and
/// brought into the one form that is stored and compared.
///
/// Each function enforces its profile and returns the result; two strings are equivalent if their results are equal.
/// Code points are judged after mapping and normalisation, in the order of RFC 8264 §7. The profiles' own sections
/// would also judge them before, and so refuse what Form C makes valid: Hindi "क़" (U+0958), decomposed Hangul, "L·L".
/// That is against the advice to map where possible (RFC 7622 §4), and libraries in the field do not do it.
public enum PRECIS {
    /// Enforces the UsernameCaseMapped profile, which is that of localparts. RFC 8265 §3.3.
    public static func usernameCaseMapped(_ string: String) throws(PRECISError) -> String {
        try username(string, caseMapped: true)
    }

    /// Enforces the UsernameCasePreserved profile. RFC 8265 §3.4.
    public static func usernameCasePreserved(_ string: String) throws(PRECISError) -> String {
        try username(string, caseMapped: false)
    }

    /// Enforces the OpaqueString profile, which is that of resourceparts and passwords. RFC 8265 §4.2.
    public static func opaqueString(_ string: String) throws(PRECISError) -> String {
        guard !string.isEmpty else { throw .empty }
        if string.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) { return string }
        var points = string.unicodeScalars.map(\.value)
        for index in points.indices where isSpace(points[index]) { points[index] = 0x20 }
        points = Normalization.canonical(points)
        try StringClass.freeform.check(points)
        return String(decoding: points, as: UTF32.self)
    }

    /// Enforces the Nickname profile: the form to show. RFC 8266 §2.3.
    public static func nickname(_ string: String) throws(PRECISError) -> String {
        try nickname(string, caseMapped: false)
    }

    /// The form of a nickname to compare with others': equal forms are the same nickname. RFC 8266 §2.4.
    public static func nicknameForComparison(_ string: String) throws(PRECISError) -> String {
        try nickname(string, caseMapped: true)
    }

    private static func username(_ string: String, caseMapped: Bool) throws(PRECISError) -> String {
        guard !string.isEmpty else { throw .empty }
        if string.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) { return caseMapped ? string.lowercased() : string }
        var points = Normalization.widthMapped(string.unicodeScalars.map(\.value))
        if caseMapped { points = lowercased(points) }
        points = Normalization.canonical(points)
        try StringClass.identifier.check(points)
        guard BidiRule.isSatisfied(by: points) else { throw .bidirectional }
        return String(decoding: points, as: UTF32.self)
    }

    private static func nickname(_ string: String, caseMapped: Bool) throws(PRECISError) -> String {
        var points = string.unicodeScalars.map(\.value)
        // What goes in has to conform to the FreeformClass (RFC 8266 §2.2), not what comes out: Form KC makes the
        // letters of "ㅋㅋ" into conjoining jamo, which the class does not allow.
        try StringClass.freeform.check(Normalization.canonical(points))
        // Once, then at most three more times until nothing changes. RFC 8266 §2.1.
        for _ in 0...3 {
            let before = points
            points = singleSpaced(points)
            if caseMapped { points = lowercased(points) }
            points = Normalization.compatibility(points)
            guard !points.isEmpty else { throw .empty }
            if points == before { return String(decoding: points, as: UTF32.self) }
        }
        throw .unstable
    }

    /// Every run of spaces as one SPACE (U+0020), none at either end. RFC 8266 §2.1.
    private static func singleSpaced(_ points: [UInt32]) -> [UInt32] {
        var result: [UInt32] = []
        result.reserveCapacity(points.count)
        for point in points {
            if !isSpace(point) {
                result.append(point)
            } else if let last = result.last, last != 0x20 {
                result.append(0x20)
            }
        }
        if result.last == 0x20 { result.removeLast() }
        return result
    }

    private static func isSpace(_ point: UInt32) -> Bool {
        point == 0x20 || point >= 0xA0 && UnicodeTables.properties(of: point).isSpace
    }

    /// Unicode's toLowerCase() without the context of a final sigma: PRECIS does not "account for the special status"
    /// of that letter (RFC 8265 §3.6), and servers that still use Nodeprep do not either. Code points in `kept` stay.
    static func lowercased(_ points: [UInt32], keeping kept: ClosedRange<UInt32>? = nil) -> [UInt32] {
        var result: [UInt32] = []
        result.reserveCapacity(points.count)
        for point in points {
            if point < 0x80 {
                result.append((0x41...0x5A).contains(point) ? point | 0x20 : point)
            } else if kept?.contains(point) != true, let scalar = Unicode.Scalar(point),
                scalar.properties.changesWhenLowercased
            {
                for mapped in scalar.properties.lowercaseMapping.unicodeScalars { result.append(mapped.value) }
            } else {
                result.append(point)
            }
        }
        return result
    }
}
