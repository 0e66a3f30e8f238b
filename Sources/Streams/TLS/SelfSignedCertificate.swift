import COpenSSL
import Glibc

/// A certificate that vouches for itself: enough to try a server out, and trusted by nobody.
public enum SelfSignedCertificate {
    /// Where a certificate and its key were put.
    public struct Files: Sendable, Equatable {
        public let certificate: String
        public let key: String
    }

    /// Writes `<first host>.crt` and, readable by its owner only, `<first host>.key`, where `CertificateStore` looks.
    ///
    /// - Parameters:
    ///   - hosts: in ASCII form, at least one; a wildcard only as the complete left-most label (RFC 6125 §6.4.3).
    ///   - addresses: IP addresses to be valid for as well.
    ///   - days: how long to be valid, from an hour ago.
    ///   - replacing: whether files that exist are overwritten. Otherwise they are an error.
    /// - Throws: `TLSError.configuration`.
    @discardableResult
    public static func generate(
        hosts: [String], directory: String, addresses: [String] = [], days: Int = 365, replacing: Bool = false
    ) throws(TLSError) -> Files {
        guard let first = hosts.first else { throw .configuration("A certificate needs at least one host.") }
        for host in hosts where !isHostName(host) {
            throw .configuration("\"\(host)\" is not a host name in ASCII form.")
        }
        for address in addresses where !isAddress(address) {
            throw .configuration("\"\(address)\" is not an IP address.")
        }
        let base = directory + "/" + (first.hasPrefix("*.") ? "_" + first.dropFirst() : first)
        let files = Files(certificate: base + ".crt", key: base + ".key")
        let names = hosts.map { "DNS:" + $0 } + addresses.map { "IP:" + $0 }

        ERR_clear_error()
        guard let key = copenssl_generate_p256_key().map({ PrivateKey(owning: $0) }),
            let certificate = sign(key, subject: first, names: names.joined(separator: ","), days: days)
        else { throw .configuration("The certificate cannot be made: \(drainOpenSSLErrors()).") }
        let keyText = try pem { PEM_write_bio_PrivateKey($0, key.key, nil, nil, 0, nil, nil) }
        let certificateText = try pem { PEM_write_bio_X509($0, certificate.x509) }
        try write(keyText, to: files.key, mode: 0o600, replacing: replacing)
        try write(certificateText, to: files.certificate, mode: 0o644, replacing: replacing)
        return files
    }

    private static func sign(_ key: PrivateKey, subject: String, names: String, days: Int) -> Certificate? {
        guard let x509 = X509_new() else { return nil }
        let certificate = Certificate(owning: x509)
        var serial: UInt64 = 0
        guard RAND_bytes(&serial, 8) == 1,
            // The serial number is positive. RFC 5280 §4.1.2.2.
            ASN1_INTEGER_set_uint64(X509_get_serialNumber(x509), serial >> 1 | 1) == 1,
            X509_set_version(x509, 2) == 1,
            X509_gmtime_adj(X509_getm_notBefore(x509), -3600) != nil,
            X509_time_adj_ex(X509_getm_notAfter(x509), CInt(clamping: days), -3600, nil) != nil,
            X509_set_pubkey(x509, key.key) == 1,
            let name = X509_get_subject_name(x509),
            // The common name has at most 64 characters, and only people read it. RFC 5280 appendix A.1.
            X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, String(subject.prefix(64)), -1, -1, 0) == 1,
            X509_set_issuer_name(x509, name) == 1
        else { return nil }
        let extensions: [(CInt, String)] = [
            (NID_basic_constraints, "critical,CA:FALSE"),
            (NID_key_usage, "critical,digitalSignature"),
            (NID_ext_key_usage, "serverAuth,clientAuth"),
            (NID_subject_alt_name, names),
            (NID_subject_key_identifier, "hash"),
        ]
        for (identifier, value) in extensions {
            guard let added = copenssl_extension(x509, identifier, value) else { return nil }
            defer { X509_EXTENSION_free(added) }
            guard X509_add_ext(x509, added, -1) == 1 else { return nil }
        }
        return X509_sign(x509, key.key, EVP_sha256()) > 0 ? certificate : nil
    }

    private static func pem(_ body: (OpaquePointer) -> CInt) throws(TLSError) -> [UInt8] {
        guard let bio = BIO_new(BIO_s_mem()) else { throw .configuration(drainOpenSSLErrors()) }
        defer { BIO_free(bio) }
        var bytes: UnsafeMutablePointer<CChar>?
        guard body(bio) == 1, case let count = copenssl_memory_bio_contents(bio, &bytes), count > 0, let bytes else {
            throw .configuration(drainOpenSSLErrors())
        }
        return Array(UnsafeRawBufferPointer(start: bytes, count: count))
    }

    /// Writes beside the path and renames, so that nobody ever finds half a file.
    private static func write(
        _ bytes: [UInt8], to path: String, mode: mode_t, replacing: Bool
    ) throws(TLSError) {
        if !replacing, access(path, F_OK) == 0 { throw .configuration("\(path) exists already.") }
        let temporary = path + ".new"
        unlink(temporary)
        let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard file >= 0 else {
            throw .configuration("\(path) cannot be written: \(String(cString: strerror(errno))).")
        }
        let isWritten = bytes.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) } == bytes.count
            && fsync(file) == 0
        let reason = String(cString: strerror(errno))
        guard close(file) == 0, isWritten, rename(temporary, path) == 0 else {
            unlink(temporary)
            throw .configuration("\(path) cannot be written: \(reason).")
        }
    }

    /// Letters, digits and hyphens in labels; nothing that means something to a path or to OpenSSL's configuration.
    static func isHostName(_ host: String) -> Bool {
        let name = host.hasPrefix("*.") ? host.dropFirst(2) : Substring(host)
        guard !name.isEmpty, name.utf8.count <= 253 else { return false }
        return name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy { label in
            (1...63).contains(label.count) && label.first != UInt8(ascii: "-") && label.last != UInt8(ascii: "-")
                && label.allSatisfy { byte in
                    switch byte {
                    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"):
                        true
                    default: false
                    }
                }
        }
    }

    private static func isAddress(_ text: String) -> Bool {
        var address = in6_addr()
        return inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1
    }
}
