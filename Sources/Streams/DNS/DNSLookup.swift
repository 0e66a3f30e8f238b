/// The types of records that servers are found and trusted by.
public enum DNSRecordType: UInt16, Sendable, Hashable {
    /// An IPv4 address. RFC 1035 §3.4.1.
    case a = 1
    /// An IPv6 address. RFC 3596 §2.
    case aaaa = 28
    /// Where a service is offered: ``ServiceRecord``. RFC 2782.
    case srv = 33
    /// What certificate a server has: ``TLSARecord``. RFC 6698.
    case tlsa = 52
}

/// What the DNS said to one question.
public struct DNSAnswer: Sendable, Equatable {
    public enum Outcome: Sendable, Equatable {
        /// The data of each record as it comes over the wire, names in it uncompressed. Never empty.
        case records([[UInt8]])
        /// Nothing has this name, of whatever type. NXDOMAIN, RFC 2308 §2.1.
        case noSuchName
        /// The name is there, but without a record of this type. NODATA, RFC 2308 §2.2.
        case noRecords
        /// Nobody answered, or only with an error. A sentence for administrators; it makes sense to ask again later.
        case failed(String)
        /// The answer is not what the zone's owner signed: somebody changed it, or the owner made a mistake. A sentence
        /// for administrators. RFC 4035 §4.3.
        case bogus(String)
    }

    public let outcome: Outcome
    /// Whether the answer, be it that there is nothing, was validated by DNSSEC up to a trust anchor.
    public let isSecure: Bool
    /// For how long it is good.
    public let timeToLive: Duration

    public init(_ outcome: Outcome, isSecure: Bool = false, timeToLive: Duration = .zero) {
        self.outcome = outcome
        self.isSecure = isSecure
        self.timeToLive = timeToLive
    }

    /// The records' data; empty when there are none, for whatever reason.
    public var records: [[UInt8]] {
        if case .records(let records) = outcome { records } else { [] }
    }

    /// Why it is not known whether there are records; nil when it is.
    public var failure: String? {
        switch outcome {
        case .failed(let reason), .bogus(let reason): reason
        case .records, .noSuchName, .noRecords: nil
        }
    }
}

/// Asks the DNS. Tests bring their own.
public protocol DNSLookup: Sendable {
    /// Looks up the records of one type, following CNAMEs.
    ///
    /// - Parameter name: in ASCII form, with or without the dot at the end.
    func lookup(_ name: String, _ type: DNSRecordType) async -> DNSAnswer
}

/// Names as the DNS has them.
enum DNSName {
    /// Whether a name in text can be in the DNS at all: labels of letters, digits, `-` and `_`, none of them longer
    /// than 63, at most 253 characters. RFC 1035 §2.3.4.
    static func isValid(_ name: String) -> Bool {
        var name = Substring(name).utf8
        if name.last == UInt8(ascii: ".") { name.removeLast() }
        guard (1...253).contains(name.count) else { return false }
        return name.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy { label in
            (1...63).contains(label.count) && label.allSatisfy(isPlain)
        }
    }

    /// Reads a name that is not compressed from `data`, all of which it must take.
    ///
    /// - Returns: in lower case without the dot at the end, `.` for the root; nil when it is damaged, compressed
    ///   (RFC 2782: "name compression is not to be used"), or has characters that no host name has.
    static func parse(_ data: ArraySlice<UInt8>) -> String? {
        guard data.count <= 255 else { return nil }
        var text: [UInt8] = []
        var rest = data
        while let length = rest.popFirst() {
            if length == 0 { return rest.isEmpty ? text.isEmpty ? "." : String(decoding: text, as: UTF8.self) : nil }
            guard length <= 63, rest.count >= length else { return nil }
            if !text.isEmpty { text.append(UInt8(ascii: ".")) }
            for byte in rest.prefix(Int(length)) {
                guard isPlain(byte) else { return nil }
                text.append((UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte)
            }
            rest = rest.dropFirst(Int(length))
        }
        return nil
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default: false
        }
    }
}
