import COpenSSL

/// The authorities whose certificates are believed. Build one and share it: the system's take over a megabyte.
public final class TLSTrust: @unchecked Sendable {
    // Sendable by proof: the X509_STORE is not changed after init, and OpenSSL guards its use by a lock of its own.

    let store: OpaquePointer

    /// The operating system's authorities.
    public static func system() throws(TLSError) -> TLSTrust {
        let trust = try TLSTrust()
        guard X509_STORE_set_default_paths(trust.store) == 1 else { throw .configuration(drainOpenSSLErrors()) }
        return trust
    }

    /// The authorities of a PEM file, and no others.
    public convenience init(file: String) throws(TLSError) {
        try self.init()
        let authorities: [Certificate]
        let pem = try readSmallFile(file)
        do { authorities = try Certificate.chain(pem: pem) } catch { throw .configuration("\(file) \(error).") }
        for authority in authorities { X509_STORE_add_cert(store, authority.x509) }
        ERR_clear_error()
    }

    private init() throws(TLSError) {
        guard let store = X509_STORE_new() else { throw .configuration(drainOpenSSLErrors()) }
        self.store = store
    }

    /// These certificates and no others, whether they are their own issuers or not. RFC 7671 §5.2.
    convenience init(anchors: [Certificate]) throws(TLSError) {
        try self.init()
        for anchor in anchors { X509_STORE_add_cert(store, anchor.x509) }
        X509_STORE_set_flags(store, UInt(X509_V_FLAG_PARTIAL_CHAIN))
        ERR_clear_error()
    }

    deinit { X509_STORE_free(store) }

    /// Checks a chain up to an authority, for use by a server or a client: authorities have ceased to issue for
    /// clients, so that servers present to each other what they serve with.
    ///
    /// - Returns: nil when it is valid now, otherwise OpenSSL's code and the reason.
    func verify(_ certificate: Certificate, intermediates: OpaquePointer?) -> (code: CInt, reason: String)? {
        guard let verification = X509_STORE_CTX_new() else { return (X509_V_ERR_OUT_OF_MEM, "out of memory") }
        defer {
            X509_STORE_CTX_free(verification)
            ERR_clear_error()
        }
        guard X509_STORE_CTX_init(verification, store, certificate.x509, intermediates) == 1 else {
            return (X509_V_ERR_UNSPECIFIED, drainOpenSSLErrors())
        }
        Self.demandStrength(verification)
        guard X509_verify_cert(verification) != 1 else { return nil }
        let code = X509_STORE_CTX_get_error(verification)
        guard code != X509_V_OK else { return (X509_V_ERR_UNSPECIFIED, "no reason was given") }
        return (code, String(cString: X509_verify_cert_error_string(Int(code))))
    }

    /// What is wrong about a chain, and how far it leads.
    struct Examination {
        struct Finding: Equatable {
            /// OpenSSL's code.
            let code: CInt
            /// 0 for the peer's own certificate, and one more for each issuer.
            let depth: Int
        }

        fileprivate(set) var findings: [Finding] = []
        /// From the peer's certificate upwards, as far as issuers were found.
        fileprivate(set) var chain: [Certificate] = []
    }

    /// Like `verify`, but goes on after the first problem.
    ///
    /// - Parameter now: seconds since 1970.
    func examine(_ certificate: Certificate, intermediates: [Certificate], now: Int) -> Examination {
        final class Notes { var findings: [Examination.Finding] = [] }
        var examination = Examination()
        let unspecified = Examination.Finding(code: X509_V_ERR_UNSPECIFIED, depth: 0)
        guard let verification = X509_STORE_CTX_new(), let others = copenssl_certificates_new() else {
            examination.findings = [unspecified]
            return examination
        }
        defer {
            X509_STORE_CTX_free(verification)
            copenssl_certificates_free(others)
            ERR_clear_error()
        }
        for other in intermediates { _ = copenssl_certificates_append(others, other.x509) }
        let notes = Notes()
        guard X509_STORE_CTX_init(verification, store, certificate.x509, others) == 1,
            X509_STORE_CTX_set_ex_data(verification, 0, Unmanaged.passUnretained(notes).toOpaque()) == 1
        else {
            examination.findings = [unspecified]
            return examination
        }
        Self.demandStrength(verification)
        X509_STORE_CTX_set_time(verification, 0, now)
        X509_STORE_CTX_set_verify_cb(verification) { isValid, verification in
            guard isValid != 1, let notes = X509_STORE_CTX_get_ex_data(verification, 0) else { return isValid }
            let finding = Examination.Finding(
                code: X509_STORE_CTX_get_error(verification),
                depth: Int(X509_STORE_CTX_get_error_depth(verification)))
            let list = Unmanaged<Notes>.fromOpaque(notes).takeUnretainedValue()
            if !list.findings.contains(finding), list.findings.count < 64 { list.findings.append(finding) }
            return 1
        }
        let isAccepted = withExtendedLifetime(notes) { X509_verify_cert(verification) == 1 }
        examination.findings = notes.findings
        if !isAccepted, notes.findings.isEmpty { examination.findings = [unspecified] }
        let chain = X509_STORE_CTX_get0_chain(verification)
        for index in 0..<copenssl_certificates_count(chain) {
            guard let link = Certificate(sharing: copenssl_certificates_at(chain, index)) else { break }
            examination.chain.append(link)
        }
        return examination
    }

    /// At least 112 bits: no SHA-1, no RSA under 2048 bits. RFC 9325 §4.5.
    private static func demandStrength(_ verification: OpaquePointer) {
        X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(verification), 2)
    }
}
