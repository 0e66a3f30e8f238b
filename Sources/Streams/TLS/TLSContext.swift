import COpenSSL

/// What connections of one kind share: for a server one certificate with its key, for a client whom it trusts.
///
/// Only TLS 1.2 and 1.3, forward secrecy and authenticated encryption; no compression, no renegotiation (RFC 7590 §3,
/// RFC 9325 §§3-4). Immutable: a renewed certificate is a new context, and connections keep the one they began with.
public final class TLSContext: @unchecked Sendable {
    // Sendable by proof: the SSL_CTX is not changed after init, and OpenSSL counts its references atomically.

    let pointer: OpaquePointer

    /// The dNSNames of a server's certificate, in lower case; empty for a client.
    public let names: [String]

    /// When a server's certificate ceases to be valid, in seconds since 1970; nil for a client.
    public let notAfter: Int?

    /// A server's context, from PEM files as every authority hands them out.
    ///
    /// - Throws: `TLSError.configuration` with a sentence that names the file and what is wrong with it.
    public convenience init(certificateChain: String, privateKey: String) throws(TLSError) {
        let chainText = try readSmallFile(certificateChain)
        let keyText = certificateChain == privateKey ? chainText : try readSmallFile(privateKey)
        let chain: [Certificate]
        let key: PrivateKey
        do { chain = try Certificate.chain(pem: chainText) } catch {
            throw .configuration("\(certificateChain) \(error).")
        }
        do { key = try PrivateKey(pem: keyText) } catch { throw .configuration("\(privateKey) \(error).") }
        guard let leaf = chain.first, key.belongs(to: leaf) else {
            throw .configuration("The key in \(privateKey) does not belong to the certificate in \(certificateChain).")
        }
        try self.init(chain: chain, key: key)
    }

    /// A server's context; without a certificate it serves only to find, by server name, one that has.
    init(chain: [Certificate], key: PrivateKey?) throws(TLSError) {
        pointer = try Self.make(TLS_server_method(), options: COPENSSL_SERVER_OPTIONS)
        names = chain.first?.dnsNames ?? []
        notAfter = chain.first?.notAfter
        // Tickets carry the state; a cache on top of that would only cost memory.
        copenssl_ctx_disable_session_cache(pointer)
        SSL_CTX_set_num_tickets(pointer, 1)
        SSL_CTX_set_timeout(pointer, TLSTicketKeys.lifetime)
        copenssl_ctx_set_ticket_callback(pointer) { _, name, iv, cipher, mac, encrypting in
            guard let name, let iv, let cipher, let mac else { return -1 }
            return TLSTicketKeys.apply(name: name, iv: iv, cipher: cipher, mac: mac, encrypting: encrypting == 1)
        }
        copenssl_ctx_set_servername_callback(pointer) { ssl, alert, _ in
            TLSSession.owner(of: ssl)?.chooseIdentity(alert: alert) ?? SSL_TLSEXT_ERR_ALERT_FATAL
        }
        SSL_CTX_set_alpn_select_cb(pointer, { ssl, chosen, chosenCount, offered, offeredCount, _ in
            guard let session = TLSSession.owner(of: ssl), let chosen, let chosenCount else {
                return SSL_TLSEXT_ERR_ALERT_FATAL
            }
            let offers = UnsafeBufferPointer(start: offered, count: Int(offeredCount))
            return session.chooseApplicationProtocol(offers, &chosen.pointee, &chosenCount.pointee)
        }, nil)
        Self.deferVerification(pointer)

        guard let leaf = chain.first, let key else { return }
        var succeeded = SSL_CTX_use_certificate(pointer, leaf.x509) == 1
            && SSL_CTX_use_PrivateKey(pointer, key.key) == 1
        for intermediate in chain.dropFirst() where succeeded && !intermediate.isSelfIssued {
            // A root in the chain is left out: peers either have it or must not believe it. RFC 8446 §4.4.2.
            succeeded = copenssl_ctx_add_chain_certificate(pointer, intermediate.x509) == 1
        }
        guard succeeded else { throw .configuration(drainOpenSSLErrors()) }
    }

    /// A client's context.
    ///
    /// - Parameters:
    ///   - trust: whom to believe. The handshake fails unless the server's certificate is valid by that and for the
    ///     name asked for. Nil to accept any certificate, for callers that judge by `TLSInfo` afterwards.
    ///   - certificate: what to present when the server asks, usually the server's own identity towards its peers.
    public init(trust: TLSTrust?, certificate: (chain: String, key: String)? = nil) throws(TLSError) {
        pointer = try Self.make(TLS_client_method(), options: COPENSSL_CLIENT_OPTIONS)
        names = []
        notAfter = nil
        if let trust {
            X509_STORE_up_ref(trust.store)
            SSL_CTX_set_cert_store(pointer, trust.store)
            SSL_CTX_set_verify(pointer, SSL_VERIFY_PEER, nil)
        } else {
            SSL_CTX_set_verify(pointer, SSL_VERIFY_NONE, nil)
            Self.deferVerification(pointer)
        }
        copenssl_ctx_disable_session_cache(pointer)
        guard let certificate else { return }
        ERR_clear_error()
        guard SSL_CTX_use_certificate_chain_file(pointer, certificate.chain) == 1,
            SSL_CTX_use_PrivateKey_file(pointer, certificate.key, SSL_FILETYPE_PEM) == 1
        else { throw .configuration("\(certificate.chain): \(drainOpenSSLErrors()).") }
    }

    /// A client's context that accepts any certificate, to be judged by `TLSInfo.judgePeer`, and presents what a
    /// server's context presents, if the other side asks. Made anew for each connection, it presents a certificate that
    /// was renewed as soon as it is there.
    ///
    /// - Parameter identity: a server's context; nil to present nothing.
    public static func client(presenting identity: TLSContext?) throws(TLSError) -> TLSContext {
        let context = try TLSContext(trust: nil)
        guard let identity, let certificate = SSL_CTX_get0_certificate(identity.pointer),
            let key = SSL_CTX_get0_privatekey(identity.pointer)
        else { return context }
        ERR_clear_error()
        var succeeded = SSL_CTX_use_certificate(context.pointer, certificate) == 1
            && SSL_CTX_use_PrivateKey(context.pointer, key) == 1
        let chain = copenssl_ctx_chain_certificates(identity.pointer)
        for index in 0..<copenssl_certificates_count(chain) where succeeded {
            succeeded = copenssl_ctx_add_chain_certificate(
                context.pointer, copenssl_certificates_at(chain, index)) == 1
        }
        guard succeeded else { throw .configuration(drainOpenSSLErrors()) }
        return context
    }

    deinit { SSL_CTX_free(pointer) }

    private static func make(_ method: OpaquePointer?, options: UInt64) throws(TLSError) -> OpaquePointer {
        ERR_clear_error()
        guard let pointer = SSL_CTX_new(method) else { throw .configuration(drainOpenSSLErrors()) }
        copenssl_ctx_set_lean_modes(pointer)
        SSL_CTX_set_options(pointer, options)
        guard copenssl_ctx_set_versions(pointer, TLS1_2_VERSION, TLS1_3_VERSION) == 1,
            SSL_CTX_set_cipher_list(pointer, cipherSuites12) == 1,
            SSL_CTX_set_ciphersuites(pointer, cipherSuites13) == 1,
            copenssl_ctx_set_groups(pointer, "X25519:P-256:P-384") == 1
        else {
            SSL_CTX_free(pointer)
            throw .configuration(drainOpenSSLErrors())
        }
        return pointer
    }

    /// Accepts whatever the peer presents; `TLSInfo.verifyPeer` judges it later.
    private static func deferVerification(_ pointer: OpaquePointer) {
        SSL_CTX_set_cert_verify_callback(pointer, { _, _ in 1 }, nil)
    }

    private static let cipherSuites13 = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
    private static let cipherSuites12 = """
        ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:\
        ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305
        """
}
