import COpenSSL

/// What a secured connection tells about itself beyond bytes, as a user event of the pipeline.
public enum TLSEvent {
    /// Application data may flow from now on. Precedes the first of it.
    case handshakeCompleted(TLSInfo)
}

/// What was agreed upon in a handshake, and what can be derived from it.
///
/// Refers to the connection: use it on the connection's event loop, and keep the values rather than this.
public struct TLSInfo {
    private let session: TLSSession

    init(_ session: TLSSession) { self.session = session }

    private var ssl: OpaquePointer { session.ssl }

    /// The protocol's version: `TLSv1.2` or `TLSv1.3`.
    public var version: String { String(cString: SSL_get_version(ssl)) }

    /// The cipher suite by its standard name, `TLS_AES_128_GCM_SHA256` for instance.
    public var cipher: String {
        SSL_CIPHER_standard_name(SSL_get_current_cipher(ssl)).map { String(cString: $0) } ?? ""
    }

    /// The host the client asked for. RFC 6066 §3.
    public var sniHostName: String? { session.requestedName }

    /// The application protocol agreed upon. RFC 7301.
    public var alpn: String? {
        var bytes: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        SSL_get0_alpn_selected(ssl, &bytes, &count)
        guard let bytes, count > 0 else { return nil }
        return String(decoding: UnsafeBufferPointer(start: bytes, count: Int(count)), as: UTF8.self)
    }

    /// Whether an earlier session was resumed.
    public var sessionReused: Bool { SSL_session_reused(ssl) == 1 }

    /// Keying material that only the two ends of this connection know. Nil before TLS 1.3 without the extended master
    /// secret, where a man in the middle could make two connections agree. RFC 5705 §4, RFC 9266 §2.
    ///
    /// - Parameter label: `EXPORTER-Channel-Binding` is the one of the binding `tls-exporter`.
    /// - Parameter length: in bytes.
    public func exporter(label: String = "EXPORTER-Channel-Binding", length: Int = 32) -> [UInt8]? {
        guard length > 0,
            SSL_version(ssl) >= TLS1_3_VERSION || copenssl_has_extended_master_secret(ssl) == 1
        else { return nil }
        var material = [UInt8](repeating: 0, count: length)
        // The context is a string of length zero, which before TLS 1.3 is not the same as none. RFC 5705 §4.
        let context: [UInt8] = [0]
        guard SSL_export_keying_material(ssl, &material, length, label, label.utf8.count, context, 0, 1) == 1 else {
            ERR_clear_error()
            return nil
        }
        return material
    }

    /// The binding `tls-server-end-point`: a hash of the server's certificate, ours or the peer's. RFC 5929 §4.
    public var tlsServerEndPoint: [UInt8]? {
        session.server == nil
            ? peerLeaf?.serverEndPoint : Certificate(sharing: SSL_get_certificate(ssl))?.serverEndPoint
    }

    /// The channel bindings that the connection has, the best first. `tls-unique` is left out: TLS 1.3 does not define
    /// it (RFC 9266 §1).
    public var channelBindings: [ChannelBinding] {
        [
            exporter().map { ChannelBinding(.tlsExporter, $0) },
            tlsServerEndPoint.map { ChannelBinding(.tlsServerEndPoint, $0) },
        ].compactMap(\.self)
    }

    /// What the peer presented, in DER, its own certificate first; empty when nothing.
    public var peerCertificates: [[UInt8]] { peerChain.certificates.map(\.der) }

    /// What the peer presented. It can be kept, and judged elsewhere.
    public var peerChain: PeerChain {
        guard let leaf = peerLeaf else { return PeerChain([]) }
        let chain = SSL_get_peer_cert_chain(ssl)
        // OpenSSL's list begins with the peer's own certificate for a client, but lacks it for a server.
        let first: CInt = session.server == nil ? 1 : 0
        var certificates = [leaf]
        for index in first..<max(first, copenssl_certificates_count(chain)) {
            guard let certificate = Certificate(sharing: copenssl_certificates_at(chain, index)) else { continue }
            certificates.append(certificate)
        }
        return PeerChain(certificates)
    }

    /// Judges what the peer presented. `PeerChain.judge` says how, and can do it on another thread.
    public func judgePeer(
        trust: TLSTrust?, host: String, service: String = "xmpp-server", target: String? = nil,
        tlsa: [TLSARecord] = [], pins: [CertificatePin] = []
    ) -> PeerVerdict {
        peerChain.judge(trust: trust, host: host, service: service, target: target, tlsa: tlsa, pins: pins)
    }

    /// Judges the certificate the peer presented. Takes about as long as a handshake; ask once.
    ///
    /// - Parameters:
    ///   - trust: the authorities to believe.
    ///   - host: in ASCII form, the name the certificate must cover by dNSName. RFC 6125 §6.4, RFC 6120 §13.7.2.
    /// - Returns: nil when it is valid for that host, otherwise why not.
    public func verifyPeer(trust: TLSTrust, host: String) -> String? {
        guard let leaf = peerLeaf else { return "the peer presented no certificate" }
        if let problem = trust.verify(leaf, intermediates: SSL_get_peer_cert_chain(ssl)) { return problem.reason }
        return leaf.covers(host) ? nil : "the certificate is not for \(host)"
    }

    private var peerLeaf: Certificate? { Certificate(sharing: SSL_get0_peer_certificate(ssl)) }
}
