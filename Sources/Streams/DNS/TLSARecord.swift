/// What certificate a server has, as its DNS says: one TLSA record. RFC 6698 §2.1, names by RFC 7218 §2.
public struct TLSARecord: Sendable, Hashable {
    /// How the certificate is used.
    public enum Usage: UInt8, Sendable {
        /// An authority that the chain must lead to, besides being valid.
        case pkixTA = 0
        /// The server's own, which must be valid besides.
        case pkixEE = 1
        /// An authority that is to be believed.
        case daneTA = 2
        /// The server's own, which is to be believed.
        case daneEE = 3
    }

    /// What part of the certificate is compared.
    public enum Selector: UInt8, Sendable {
        case certificate = 0
        case publicKey = 1
    }

    /// How it is compared.
    public enum Matching: UInt8, Sendable {
        case full = 0
        case sha256 = 1
        case sha512 = 2
    }

    public let usage: Usage
    public let selector: Selector
    public let matching: Matching
    /// The certificate, the key or the hash of it.
    public let data: [UInt8]

    public init(_ usage: Usage, _ selector: Selector, _ matching: Matching, _ data: [UInt8]) {
        self.usage = usage
        self.selector = selector
        self.matching = matching
        self.data = data
    }

    /// Reads a record's data.
    ///
    /// - Returns: nil when it is damaged or not usable: of a kind that is not defined, or with a hash of the wrong
    ///   length. RFC 6698 §4.1.
    public init?(data: [UInt8]) {
        guard data.count > 3, let usage = Usage(rawValue: data[0]), let selector = Selector(rawValue: data[1]),
            let matching = Matching(rawValue: data[2])
        else { return nil }
        switch matching {
        case .full: break
        case .sha256: guard data.count == 3 + 32 else { return nil }
        case .sha512: guard data.count == 3 + 64 else { return nil }
        }
        self.init(usage, selector, matching, Array(data.dropFirst(3)))
    }

    /// Whether this is what the record tells of.
    func matches(_ certificate: Certificate) -> Bool {
        let selected = selector == .certificate ? certificate.der : certificate.publicKey
        guard !selected.isEmpty else { return false }
        return switch matching {
        case .full: selected == data
        case .sha256: Digest.sha256(selected) == data
        case .sha512: Digest.sha512(selected) == data
        }
    }
}

extension TLSARecord: CustomStringConvertible {
    /// As in a zone file, with long data cut short.
    public var description: String {
        let hex = hexadecimal(data.prefix(64)) + (data.count > 64 ? "…" : "")
        return "\(usage.rawValue) \(selector.rawValue) \(matching.rawValue) \(hex)"
    }
}

/// Two digits for each byte, in lower case.
func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}
