import COpenSSL
import Glibc
import XMPP

/// The names by which servers of XMPP know each other, besides dNSNames. RFC 6120 §13.7.1.2.1.
extension Certificate {
    /// The SRV-IDs of the subject alternative name, `_xmpp-server.example.org` for instance, in lower case.
    /// RFC 4985 §2.
    var serviceNames: [String] { otherNames(NID_SRVName).map { $0.lowercased() } }

    /// The XmppAddrs of the subject alternative name. RFC 6120 §13.7.1.4.
    var xmppAddresses: [String] { otherNames(NID_XmppAddr) }

    private func otherNames(_ kind: CInt) -> [String] {
        final class Names { var list: [(CInt, String)] = [] }
        let names = Names()
        copenssl_each_other_name(x509, Unmanaged.passUnretained(names).toOpaque()) { names, kind, bytes, count in
            guard let names, let bytes, count > 0 else { return }
            let string = UnsafeBufferPointer(start: bytes, count: Int(count))
            guard let name = String(validating: string, as: UTF8.self), !name.utf8.contains(0) else { return }
            Unmanaged<Names>.fromOpaque(names).takeUnretainedValue().list.append((kind, name))
        }
        return names.list.filter { $0.0 == kind }.map(\.1)
    }

    /// Every name it is for, for people to read.
    var allNames: [String] { dnsNames + serviceNames + xmppAddresses }

    /// The last common name of the subject, which counts for nothing.
    var commonName: String? {
        let name = X509_get_subject_name(x509)
        var bytes = [CChar](repeating: 0, count: 256)
        let count = X509_NAME_get_text_by_NID(name, NID_commonName, &bytes, CInt(bytes.count))
        guard count > 0 else { return nil }
        return String(decoding: bytes.prefix(Int(count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Whether an issuer limits what names those below it may be for.
    var constrainsNames: Bool { X509_get_ext_by_NID(x509, NID_name_constraints, -1) >= 0 }

    /// Whether the certificate is for a service at a host: by dNSName, by SRV-ID or by XmppAddr. RFC 6125 §6,
    /// RFC 6120 §13.7.2.1.
    ///
    /// - Parameters:
    ///   - service: `xmpp-server` or `xmpp-client`.
    ///   - host: in ASCII form, or an IP address.
    ///   - onlyByDNSName: leaves out the others.
    func covers(service: String, host: String, onlyByDNSName: Bool = false) -> Bool {
        if let address = IPAddress(host) { return X509_check_ip_asc(x509, address.text, 0) == 1 }
        if covers(host) { return true }
        guard !onlyByDNSName else { return false }
        let host = host.lowercased()
        let prefix = "_\(service.lowercased())."
        for name in serviceNames where name.hasPrefix(prefix) {
            let pattern = name.dropFirst(prefix.count)
            if pattern == host || Self.isWildcard(pattern, for: host) { return true }
        }
        // U-labels inside; all of them are compared as A-labels. RFC 6125 §6.4.2.
        return xmppAddresses.contains { address in
            guard let jid = JID(address), jid.isDomain else { return false }
            return jid.asciiDomain == host
        }
    }

    /// A wildcard is the complete left-most label of at least three. RFC 6125 §6.4.3, RFC 6120 §13.7.1.2.1.
    private static func isWildcard(_ pattern: Substring, for host: String) -> Bool {
        guard pattern.hasPrefix("*."), let dot = host.firstIndex(of: "."), dot != host.startIndex else { return false }
        let domain = pattern.dropFirst(2)
        return domain.contains(".") && !domain.contains("*") && domain == host[host.index(after: dot)...]
    }
}
