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
        guard X509_verify_cert(verification) != 1 else { return nil }
        let code = X509_STORE_CTX_get_error(verification)
        guard code != X509_V_OK else { return (X509_V_ERR_UNSPECIFIED, "no reason was given") }
        return (code, String(cString: X509_verify_cert_error_string(Int(code))))
    }
}
