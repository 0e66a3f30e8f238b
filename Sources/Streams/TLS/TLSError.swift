import COpenSSL

/// Why a secured connection, or the material for one, failed. The text is meant for administrators.
public enum TLSError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The handshake did not come about; the peer was told by an alert where TLS has one for it.
    case handshakeFailed(String)
    /// The peer's certificate was required to be valid and is not.
    case certificateRejected(String)
    /// A record after the handshake was invalid, or the peer reported a fatal alert.
    case protocolViolation(String)
    /// The peer ended the connection before the handshake was complete.
    case closedDuringHandshake
    /// The peer ended the connection without close_notify: what came last may be missing. RFC 8446 §6.1.
    case truncated
    /// Something was written after this side had ended its half of the connection.
    case closed
    /// A certificate, key or setting cannot be used.
    case configuration(String)

    public var description: String {
        switch self {
        case .handshakeFailed(let reason): "The TLS handshake failed: \(reason)."
        case .certificateRejected(let reason): "The peer's certificate was rejected: \(reason)."
        case .protocolViolation(let reason): "The TLS connection broke: \(reason)."
        case .closedDuringHandshake: "The peer closed the connection during the TLS handshake."
        case .truncated: "The peer closed the connection without ending TLS first."
        case .closed: "The TLS connection is closed."
        case .configuration(let reason): reason
        }
    }
}

/// Takes everything out of the thread's OpenSSL error queue.
///
/// - Returns: the reasons, oldest first, joined by commas; `fallback` when there is none.
func drainOpenSSLErrors(or fallback: String = "no reason was given") -> String {
    var reasons: [String] = []
    while true {
        let code = ERR_get_error()
        guard code != 0 else { break }
        let reason = openSSLReason(code)
        if !reasons.contains(reason) { reasons.append(reason) }
    }
    return reasons.isEmpty ? fallback : reasons.joined(separator: ", ")
}

private func openSSLReason(_ code: UInt) -> String {
    switch (ERR_GET_LIB(code), ERR_GET_REASON(code)) {
    case (ERR_LIB_SSL, SSL_R_HTTP_REQUEST), (ERR_LIB_SSL, SSL_R_HTTPS_PROXY_REQUEST),
        (ERR_LIB_SSL, SSL_R_WRONG_VERSION_NUMBER):
        return "the peer sent something that is not TLS"
    case (ERR_LIB_SSL, SSL_R_UNSUPPORTED_PROTOCOL):
        return "the peer offers only versions of TLS older than 1.2"
    case (ERR_LIB_SSL, SSL_R_NO_SHARED_CIPHER):
        return "the peer offers none of our cipher suites"
    case (ERR_LIB_SSL, SSL_R_NO_APPLICATION_PROTOCOL):
        return "the peer offers no application protocol that is served here"
    case (ERR_LIB_SSL, SSL_R_CALLBACK_FAILED):
        return "the peer asked for a host that is not served here"
    default:
        return ERR_reason_error_string(code).map { String(cString: $0) } ?? "OpenSSL error \(code)"
    }
}
