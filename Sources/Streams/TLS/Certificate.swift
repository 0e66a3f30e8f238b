import COpenSSL
import Glibc

/// An X.509 certificate.
final class Certificate: @unchecked Sendable {
    // Sendable by proof: an X509 is only read here, and OpenSSL guards its lazily built caches with a lock of its own.

    let x509: OpaquePointer

    /// Takes over one reference.
    init(owning x509: OpaquePointer) { self.x509 = x509 }

    deinit { X509_free(x509) }

    /// Reads a certificate in DER, which must be all there is.
    convenience init?(der: [UInt8]) {
        let x509: OpaquePointer? = der.withUnsafeBufferPointer { bytes in
            var next = bytes.baseAddress
            guard let x509 = d2i_X509(nil, &next, bytes.count) else { return nil }
            guard next == bytes.baseAddress.map({ $0 + bytes.count }) else {
                X509_free(x509)
                return nil
            }
            return x509
        }
        ERR_clear_error()
        guard let x509 else { return nil }
        self.init(owning: x509)
    }

    /// Shares a certificate that something else owns.
    convenience init?(sharing x509: OpaquePointer?) {
        guard let x509, X509_up_ref(x509) == 1 else { return nil }
        self.init(owning: x509)
    }

    /// The certificate in DER.
    var der: [UInt8] {
        let length = i2d_X509(x509, nil)
        guard length > 0 else { return [] }
        return [UInt8](unsafeUninitializedCapacity: Int(length)) { bytes, count in
            var next = bytes.baseAddress
            count = max(0, Int(i2d_X509(x509, &next)))
        }
    }

    /// The dNSNames of the subject alternative name, in lower case. The common name is not one: RFC 6125 §6.4.4 allows
    /// it only as a last resort, and no authority relies on it any more.
    var dnsNames: [String] {
        final class Names { var list: [String] = [] }
        let names = Names()
        copenssl_each_dns_name(x509, Unmanaged.passUnretained(names).toOpaque()) { names, bytes, count in
            guard let names, let bytes, count > 0 else { return }
            let name = String(decoding: UnsafeBufferPointer(start: bytes, count: Int(count)), as: UTF8.self)
            Unmanaged<Names>.fromOpaque(names).takeUnretainedValue().list.append(name.lowercased())
        }
        return names.list
    }

    /// When the certificate begins and ceases to be valid, in seconds since 1970.
    var notBefore: Int { seconds(X509_get0_notBefore(x509)) }
    var notAfter: Int { seconds(X509_get0_notAfter(x509)) }

    private func seconds(_ time: UnsafePointer<ASN1_TIME>?) -> Int {
        var broken = tm()
        guard ASN1_TIME_to_tm(time, &broken) == 1 else { return 0 }
        return timegm(&broken)
    }

    /// The issuer's name on one line.
    var issuer: String { oneLine(X509_get_issuer_name(x509)) }

    /// The name of whom it is for, on one line.
    var subject: String { oneLine(X509_get_subject_name(x509)) }

    /// The public key in DER with its algorithm: the SubjectPublicKeyInfo. RFC 5280 §4.1.2.7.
    var publicKey: [UInt8] {
        let key = X509_get_X509_PUBKEY(x509)
        let length = i2d_X509_PUBKEY(key, nil)
        guard length > 0 else { return [] }
        return [UInt8](unsafeUninitializedCapacity: Int(length)) { bytes, count in
            var next = bytes.baseAddress
            count = max(0, Int(i2d_X509_PUBKEY(key, &next)))
        }
    }

    private func oneLine(_ name: OpaquePointer?) -> String {
        guard let bio = BIO_new(BIO_s_mem()) else { return "" }
        defer { BIO_free(bio) }
        X509_NAME_print_ex(bio, name, 0, COPENSSL_NAME_RFC2253)
        var bytes: UnsafeMutablePointer<CChar>?
        let count = copenssl_memory_bio_contents(bio, &bytes)
        guard let bytes, count > 0 else { return "" }
        return String(decoding: UnsafeRawBufferPointer(start: bytes, count: count), as: UTF8.self)
    }

    /// Whether subject and issuer are the same.
    var isSelfIssued: Bool {
        X509_NAME_cmp(X509_get_subject_name(x509), X509_get_issuer_name(x509)) == 0
    }

    /// Whether the certificate is for this host: by dNSName only, with a wildcard only as the complete left-most
    /// label. RFC 6125 §6.4.
    func covers(_ host: String) -> Bool {
        let flags = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS
        // A name with a zero byte inside would be cut short by C, and a length of 0 asks for no check at all.
        guard !host.isEmpty, !host.utf8.contains(0) else { return false }
        return X509_check_host(x509, host, host.utf8.count, UInt32(flags), nil) == 1
    }

    /// The certificate hashed with the hash of its own signature, or SHA-256 in place of MD5 and SHA-1. Nil where the
    /// signature has no single hash (Ed25519), for which the binding is undefined. RFC 5929 §4.1.
    var serverEndPoint: [UInt8]? {
        var digest: CInt = NID_undef
        guard X509_get_signature_info(x509, &digest, nil, nil, nil) == 1, digest != NID_undef else {
            ERR_clear_error()
            return nil
        }
        if digest == NID_md5 || digest == NID_sha1 { digest = NID_sha256 }
        guard let method = EVP_get_digestbyname(OBJ_nid2sn(digest)) else { return nil }
        var hash = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        var count: UInt32 = 0
        guard X509_digest(x509, method, &hash, &count) == 1 else { return nil }
        return Array(hash.prefix(Int(count)))
    }

    /// Every certificate of a PEM text, in order.
    ///
    /// - Throws: `TLSError.configuration` when there is none, or one is damaged.
    static func chain(pem: [UInt8]) throws(TLSError) -> [Certificate] {
        guard let bio = BIO_new_mem_buf(pem, CInt(clamping: pem.count)) else {
            throw .configuration(drainOpenSSLErrors())
        }
        defer { BIO_free(bio) }
        ERR_clear_error()
        var chain: [Certificate] = []
        while let x509 = PEM_read_bio_X509(bio, nil, nil, nil) { chain.append(Certificate(owning: x509)) }
        let code = ERR_peek_last_error()
        let isEnd = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE
        let reason = drainOpenSSLErrors()
        guard isEnd else { throw .configuration("contains a damaged certificate (\(reason))") }
        guard !chain.isEmpty else { throw .configuration("contains no certificate in PEM form") }
        return chain
    }
}

/// The private half of a certificate's key.
final class PrivateKey {
    let key: OpaquePointer

    init(owning key: OpaquePointer) { self.key = key }

    deinit { EVP_PKEY_free(key) }

    /// The first private key of a PEM text.
    ///
    /// - Throws: `TLSError.configuration` when there is none, or it is damaged or needs a passphrase.
    convenience init(pem: [UInt8]) throws(TLSError) {
        guard let bio = BIO_new_mem_buf(pem, CInt(clamping: pem.count)) else {
            throw .configuration(drainOpenSSLErrors())
        }
        defer { BIO_free(bio) }
        ERR_clear_error()
        // Without this callback OpenSSL would ask for the passphrase on the terminal.
        var wasAsked = false
        let key = withUnsafeMutablePointer(to: &wasAsked) { wasAsked in
            PEM_read_bio_PrivateKey(bio, nil, { _, _, _, wasAsked in
                wasAsked?.assumingMemoryBound(to: Bool.self).pointee = true
                return -1
            }, wasAsked)
        }
        guard let key else {
            let reason = drainOpenSSLErrors()
            if wasAsked { throw .configuration("contains a key that needs a passphrase; store it without one") }
            if !String(decoding: pem, as: UTF8.self).contains("PRIVATE KEY-----") {
                throw .configuration("contains no private key in PEM form")
            }
            throw .configuration("contains a damaged private key (\(reason))")
        }
        self.init(owning: key)
    }

    /// Whether this is the private half of the certificate's public key.
    func belongs(to certificate: Certificate) -> Bool {
        defer { ERR_clear_error() }
        return X509_check_private_key(certificate.x509, key) == 1
    }
}

/// A day as `2026-11-25`, in UTC.
///
/// - Parameter seconds: since 1970.
func calendarDay(_ seconds: Int) -> String {
    var seconds = seconds
    var broken = tm()
    gmtime_r(&seconds, &broken)
    func two(_ number: CInt) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return "\(1900 + Int(broken.tm_year))-\(two(broken.tm_mon + 1))-\(two(broken.tm_mday))"
}

/// Reads a small file whole.
///
/// - Returns: the bytes, or a sentence about what stands in the way, with the path and, where it helps, the mode.
func readSmallFile(_ path: String, limit: Int = 1 << 20) throws(TLSError) -> [UInt8] {
    let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard file >= 0 else {
        let reason = String(cString: strerror(errno))
        var status = stat()
        guard stat(path, &status) == 0 else { throw .configuration("\(path) cannot be read: \(reason).") }
        let mode = String(status.st_mode & 0o7777, radix: 8)
        throw .configuration(
            "\(path) cannot be read: \(reason) (mode 0\(mode), owner \(status.st_uid):\(status.st_gid), "
                + "this process runs as \(geteuid()):\(getegid())).")
    }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
        throw .configuration("\(path) is not a regular file.")
    }
    guard status.st_size <= limit else { throw .configuration("\(path) is larger than \(limit) bytes.") }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16_384)
    while true {
        let count = read(file, &chunk, chunk.count)
        if count < 0 && errno == EINTR { continue }
        guard count >= 0 else {
            throw .configuration("\(path) cannot be read: \(String(cString: strerror(errno))).")
        }
        guard count > 0 else { return bytes }
        bytes.append(contentsOf: chunk[..<count])
        guard bytes.count <= limit else { throw .configuration("\(path) is larger than \(limit) bytes.") }
    }
}
