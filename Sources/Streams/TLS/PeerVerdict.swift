import XMPP

/// What a certificate was judged to be worth.
public enum PeerVerdict: Sendable, Equatable {
    /// It proves that the peer is the host.
    case valid(by: Warrant)
    /// It does not, for all of these reasons. Never empty.
    case invalid([PeerProblem])

    /// What vouches for it.
    public enum Warrant: Sendable, Hashable {
        /// An authority. RFC 5280 §6.
        case authority
        /// The domain's records, signed by DNSSEC. RFC 7673 §4.2.
        case dane
        /// The administrator, who has named it.
        case pin
    }

    public var isValid: Bool { if case .valid = self { true } else { false } }

    /// Empty when it is valid.
    public var problems: [PeerProblem] { if case .invalid(let problems) = self { problems } else { [] } }
}

/// One thing that is wrong about what a peer presented. The description is a sentence for administrators that says what
/// would mend it; names in it come from the peer, with anything but plain characters taken out.
public enum PeerProblem: Sendable, Hashable, CustomStringConvertible {
    /// Nothing was presented.
    case noCertificate
    /// Its time has passed; seconds since 1970.
    case expired(since: Int)
    /// Its time has not come; seconds since 1970.
    case notYetValid(from: Int)
    /// It is for other hosts.
    case wrongName(host: String, names: [String])
    /// It names the host, if at all, in a field that is no longer looked at. RFC 6125 §6.4.4.
    case commonNameOnly(host: String, commonName: String)
    /// It vouches for itself.
    case selfSigned
    /// It leads to an authority that is not known here.
    case unknownAuthority(String)
    /// It was presented without the certificates between it and an authority.
    case incompleteChain(issuer: String)
    /// The time of one of its issuers has passed or not come.
    case issuerOutOfDate(String)
    /// There are TLSA records, and it is none that they tell of. RFC 7673 §4.2.
    case notInTLSA
    /// The administrator has named others; its fingerprint.
    case notPinned(String)
    /// Anything else, in OpenSSL's words.
    case other(String)

    public var description: String {
        switch self {
        case .noCertificate:
            "The peer presented no certificate. It must be set up with one for its domain."
        case .expired(let time):
            "The certificate has expired on \(calendarDay(time)). The peer must renew it and reload it."
        case .notYetValid(let time):
            "The certificate is not valid before \(calendarDay(time)). One of the two clocks may be wrong."
        case .wrongName(let host, let names):
            "The certificate is not for \(host) but for \(list(names)). "
                + "The peer needs one with \(host) among its names."
        case .commonNameOnly(let host, let name):
            "The certificate has no subject alternative names, only the common name \(printable(name)), which does not "
                + "count. The peer needs one with \(host) as dNSName."
        case .selfSigned:
            "The certificate is self-signed. "
                + "The peer needs one from an authority, or its fingerprint must be pinned here."
        case .unknownAuthority(let name):
            "The certificate comes from an authority that is not trusted here: \(printable(name)). The peer needs one "
                + "from a public authority, or this one must be added to the trusted ones here."
        case .incompleteChain(let issuer):
            "The peer presented its certificate without that of its issuer, \(printable(issuer)). It must present the "
                + "whole chain (often in a file called fullchain)."
        case .issuerOutOfDate(let name):
            "The certificate of an issuer, \(printable(name)), has expired or is not valid yet. "
                + "The peer must replace it."
        case .notInTLSA:
            "The certificate is none of those that the domain's TLSA records tell of. "
                + "The peer must publish a record for the one it uses."
        case .notPinned(let fingerprint):
            "The certificate is none of those that are pinned here. If the peer has changed it, pin \(fingerprint)."
        case .other(let reason):
            "The certificate is not accepted: \(reason)."
        }
    }

    private func list(_ names: [String]) -> String {
        guard !names.isEmpty else { return "no host at all" }
        let shown = names.prefix(10).map(printable).joined(separator: ", ")
        return names.count > 10 ? "\(shown) and \(names.count - 10) more" : shown
    }
}

/// A certificate, or the key in it, that is to be believed for a peer because somebody says so.
public struct CertificatePin: Sendable, Hashable, CustomStringConvertible {
    private let hash: [UInt8]

    /// Reads `sha256:` and the hash of a certificate or of its public key (SubjectPublicKeyInfo) in DER, as 64
    /// hexadecimal digits, with or without colons, or in base 64.
    ///
    /// - Returns: nil when the text is nothing of the kind.
    public init?(_ text: String) {
        guard text.lowercased().hasPrefix("sha256:") else { return nil }
        let value = text.dropFirst(7)
        let digits = value.filter { $0 != ":" }
        if digits.utf8.count == 64 {
            let nibbles = digits.compactMap(\.hexDigitValue)
            guard nibbles.count == 64 else { return nil }
            hash = stride(from: 0, to: 64, by: 2).map { UInt8(nibbles[$0] << 4 | nibbles[$0 + 1]) }
        } else if let bytes = Base64.decode(value.hasSuffix("=") ? String(value) : value + "="), bytes.count == 32 {
            hash = bytes
        } else {
            return nil
        }
    }

    func matches(_ certificate: Certificate) -> Bool {
        Digest.sha256(certificate.der) == hash || Digest.sha256(certificate.publicKey) == hash
    }

    public var description: String { "sha256:" + hexadecimal(hash) }
}

/// Text from a peer, fit for a log: at most 200 characters, none of them beyond plain ASCII.
func printable(_ text: String) -> String {
    let plain = text.unicodeScalars.prefix(200).map { (0x20...0x7E).contains($0.value) ? Character($0) : "?" }
    return String(plain)
}
