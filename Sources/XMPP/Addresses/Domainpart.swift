import CIDN2
import Glibc

/// The domainpart of an address: a domain name under IDNA2008 or an IP address. RFC 7622 §3.2.
enum Domainpart {
    /// RFC 1034 §3.1: 255 octets in a message, which are 253 characters in text.
    private static let maximumLength = 253
    private static let maximumLabelLength = 63

    /// The domainpart in its one form: U-labels in lower case, IP addresses canonical, no trailing dot.
    static func normalized(_ bytes: UnsafeBufferPointer<UInt8>) throws(JIDError) -> String {
        if bytes.first == UInt8(ascii: "["), bytes.last == UInt8(ascii: "]") {
            return try ipv6(String(decoding: bytes.dropFirst().dropLast(), as: UTF8.self))
        }
        // RFC 7622 §3.2: before anything else.
        let name = withoutTrailingDot(bytes)
        switch classify(name) {
        case .name(let hasUppercase, let isNumeric):
            let domain = String(ascii: name, lowercasing: hasUppercase)
            // The last label of a host name is never all digits, so that a resolver cannot take it for an address.
            // RFC 1123 §2.1.
            guard !isNumeric || isIPv4(domain) else { throw .disallowed(.domainpart) }
            return domain
        case .international:
            guard let string = String(validating: name, as: UTF8.self) else { throw .notUTF8 }
            return try international(string)
        case .tooLong:
            throw .tooLong(.domainpart)
        case .disallowed:
            throw .disallowed(.domainpart)
        }
    }

    /// A normalised domainpart with its U-labels as A-labels, or nil if it is none.
    static func ascii(_ domainpart: String) -> String? {
        isASCII(domainpart) ? domainpart : toASCII(domainpart)
    }

    private static func isASCII(_ string: String) -> Bool { string.utf8.allSatisfy { $0 < 0x80 } }

    private static func withoutTrailingDot(_ bytes: UnsafeBufferPointer<UInt8>) -> UnsafeBufferPointer<UInt8> {
        bytes.last == UInt8(ascii: ".") ? UnsafeBufferPointer(rebasing: bytes.dropLast()) : bytes
    }

    private enum Shape {
        /// Dot-separated NR-LDH labels; `isNumeric` if the last consists of digits.
        case name(hasUppercase: Bool, isNumeric: Bool)
        /// There are U-labels or A-labels.
        case international
        case tooLong
        case disallowed
    }

    /// Looks at each byte once. RFC 5890 §2.3.1 for the kinds of labels.
    private static func classify(_ name: UnsafeBufferPointer<UInt8>) -> Shape {
        var hasUppercase = false
        var isNumeric = true
        var isInternational = false
        var labelStart = 0
        var previous = UInt8(ascii: ".")
        for (index, byte) in name.enumerated() {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"):
                isNumeric = false
            case UInt8(ascii: "A")...UInt8(ascii: "Z"):
                isNumeric = false
                hasUppercase = true
            case UInt8(ascii: "0")...UInt8(ascii: "9"):
                break
            case UInt8(ascii: "-"):
                isNumeric = false
                if index == labelStart { return .disallowed }
                if index == labelStart + 3, previous == UInt8(ascii: "-") {
                    // Of the labels with "--" there only A-labels mean something; RFC 7622 §3.2.1 admits no others.
                    guard name[labelStart] | 0x20 == UInt8(ascii: "x"), name[labelStart + 1] | 0x20 == UInt8(ascii: "n")
                    else { return .disallowed }
                    isInternational = true
                }
            case UInt8(ascii: "."):
                let length = index - labelStart
                if length == 0 || previous == UInt8(ascii: "-") { return .disallowed }
                if length > maximumLabelLength { return .tooLong }
                labelStart = index + 1
                isNumeric = true
            case 0x80...:
                return .international
            default:
                return .disallowed
            }
            previous = byte
        }
        if labelStart == name.count || previous == UInt8(ascii: "-") { return .disallowed }
        if name.count - labelStart > maximumLabelLength || name.count > maximumLength { return .tooLong }
        return isInternational ? .international : .name(hasUppercase: hasUppercase, isNumeric: isNumeric)
    }

    /// A name with labels outside ASCII, or A-labels, which RFC 7622 §3.2.1 wants as U-labels.
    private static func international(_ string: String) throws(JIDError) -> String {
        var name = mapped(string)
        // Mapping can leave nothing but ASCII, even an IP address.
        if isASCII(name), !isASCII(string) {
            return try name.withBytes { bytes throws(JIDError) in try normalized(bytes) }
        }
        if name.utf8.last == UInt8(ascii: ".") { name.unicodeScalars.removeLast() }
        try checkLabels(name)
        guard let ascii = toASCII(name) else { throw .disallowed(.domainpart) }
        guard ascii.utf8.count <= maximumLength else { throw .tooLong(.domainpart) }
        // An A-label that its U-label does not lead back to is a forgery. RFC 5891 §5.4.
        guard let unicode = toUnicode(ascii), toASCII(unicode) == ascii else { throw .disallowed(.domainpart) }
        try checkLabels(unicode)
        return unicode
    }

    /// The mappings that users expect: lower case, width, Form C, the ideographic full stop. RFC 5895 §2.
    private static func mapped(_ string: String) -> String {
        // The capital letters of Cherokee are the older ones, and those that IDNA2008 permits: folding leads to them.
        let cherokee: ClosedRange<UInt32> = 0x13A0...0x13F5
        let points = Normalization.canonical(
            Normalization.widthMapped(PRECIS.lowercased(string.unicodeScalars.map(\.value), keeping: cherokee)))
        return String(decoding: points.map { $0 == 0x3002 ? 0x2E : $0 }, as: UTF32.self)
    }

    /// What libidn2 leaves to us: it accepts empty labels and any ASCII, and does not apply the rules of CONTEXTO.
    private static func checkLabels(_ name: String) throws(JIDError) {
        let labels = name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        for label in labels {
            guard isWellFormed(label), (try? Context(Substring(label).unicodeScalars.map(\.value)).check()) != nil
            else {
                throw .disallowed(.domainpart)
            }
        }
        // As for names in ASCII. RFC 1123 §2.1.
        let isNumeric = labels.last?.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) } ?? true
        if isNumeric { throw .disallowed(.domainpart) }
    }

    /// Whether the ASCII in a label in lower case is that of an NR-LDH label, an A-label or a U-label. RFC 5890 §2.3.
    private static func isWellFormed(_ label: Substring.UTF8View) -> Bool {
        let isLDH = label.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
                0x80...:
                true
            default:
                false
            }
        }
        let isReserved = label.dropFirst(2).starts(with: "--".utf8) && !label.starts(with: "xn".utf8)
        return isLDH && !label.isEmpty && label.first != UInt8(ascii: "-") && label.last != UInt8(ascii: "-")
            && !(isReserved && label.allSatisfy { $0 < 0x80 })
    }

    private static func toASCII(_ name: String) -> String? {
        var output: UnsafeMutablePointer<UInt8>?
        // The name was mapped above, by the rules of IDNA2008 rather than those of Unicode Technical Standard 46.
        let flags = Int32(bitPattern: IDN2_NFC_INPUT.rawValue | IDN2_NO_TR46.rawValue)
        let status = name.withCString { pointer in
            pointer.withMemoryRebound(to: UInt8.self, capacity: name.utf8.count + 1) {
                idn2_lookup_u8($0, &output, flags)
            }
        }
        defer { idn2_free(output) }
        guard status == IDN2_OK.rawValue, let output else { return nil }
        return String(cString: output)
    }

    private static func toUnicode(_ name: String) -> String? {
        var output: UnsafeMutablePointer<CChar>?
        let status = idn2_to_unicode_8z8z(name, &output, 0)
        defer { idn2_free(output) }
        guard status == IDN2_OK.rawValue, let output else { return nil }
        return String(validatingCString: output)
    }

    private static func isIPv4(_ text: String) -> Bool {
        var address = in_addr()
        return inet_pton(AF_INET, text, &address) == 1
    }

    /// An IPv6 address in the form of RFC 5952, which is that of `inet_ntop`, in brackets. A zone identifier means
    /// nothing to other hosts and is refused.
    private static func ipv6(_ text: String) throws(JIDError) -> String {
        var address = in6_addr()
        guard !text.utf8.contains(0), inet_pton(AF_INET6, text, &address) == 1 else { throw .disallowed(.domainpart) }
        let canonical = withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) { buffer in
            inet_ntop(AF_INET6, &address, buffer.baseAddress, socklen_t(INET6_ADDRSTRLEN)).map { String(cString: $0) }
        }
        guard let canonical else { throw .disallowed(.domainpart) }
        return "[\(canonical)]"
    }
}
