import COpenSSL
import NIOCore

/// One TLS connection as a machine of bytes: received bytes go in, plaintext and bytes to send come out.
///
/// It knows no channel. It belongs to one event loop, and so does what refers to it.
final class TLSSession {
    /// What received bytes led to, in the order in which it is to be acted upon.
    struct Received {
        /// The handshake was completed by these bytes.
        var isHandshakeCompleted = false
        /// Decrypted bytes, at most as many as were received and one record more.
        var plaintext: ByteBuffer?
        /// The peer has ended its half of the connection. RFC 8446 §6.1.
        var isEnded = false
        /// What ended the connection.
        var failure: TLSError?
    }

    let ssl: OpaquePointer
    /// The listener's settings; nil for a client.
    let server: TLSServer?
    /// Whether application data may flow.
    private(set) var isOpen = false
    /// After a fatal error OpenSSL must not be asked for anything again.
    private(set) var hasFailed = false
    private let bio: OpaquePointer

    /// The method table of all memory BIOs. An OpenSSL object that is never changed nor freed once it is made.
    private nonisolated(unsafe) static let method = copenssl_io_method()

    /// Begins a connection as a server.
    convenience init(server: TLSServer) throws(TLSError) {
        try self.init(context: server.fallback ?? server.nameless, server: server)
        SSL_set_accept_state(ssl)
        let scope: StaticString = server.requestsClientCertificate ? "martlet+certificate" : "martlet"
        SSL_set_session_id_context(ssl, scope.utf8Start, UInt32(scope.utf8CodeUnitCount))
        guard server.requestsClientCertificate else { return }
        SSL_set_verify(ssl, SSL_VERIFY_PEER, nil)
        SSL_set_options(ssl, COPENSSL_OP_NO_TICKET)
        SSL_set_num_tickets(ssl, 0)
    }

    /// Begins a connection as a client.
    ///
    /// - Parameter serverName: the host to ask for, which the certificate must cover if the context verifies it.
    convenience init(
        client context: TLSContext, serverName: String, applicationProtocols: [String]
    ) throws(TLSError) {
        try self.init(context: context, server: nil)
        SSL_set_connect_state(ssl)
        SSL_set_hostflags(
            ssl, UInt32(X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
        guard !serverName.isEmpty, !serverName.utf8.contains(0), SSL_set1_host(ssl, serverName) == 1,
            copenssl_set_server_name(ssl, serverName) == 1
        else { throw .configuration("\(serverName) cannot be asked for in TLS: \(drainOpenSSLErrors()).") }
        guard !applicationProtocols.isEmpty else { return }
        var list: [UInt8] = []
        for name in applicationProtocols where (1...255).contains(name.utf8.count) {
            list.append(UInt8(name.utf8.count))
            list.append(contentsOf: name.utf8)
        }
        guard SSL_set_alpn_protos(ssl, list, UInt32(list.count)) == 0 else {
            throw .configuration("These application protocols cannot be offered: \(applicationProtocols).")
        }
    }

    private init(context: TLSContext, server: TLSServer?) throws(TLSError) {
        ERR_clear_error()
        guard let method = Self.method, let ssl = SSL_new(context.pointer) else {
            throw .configuration(drainOpenSSLErrors())
        }
        guard let bio = BIO_new(method) else {
            SSL_free(ssl)
            throw .configuration(drainOpenSSLErrors())
        }
        self.ssl = ssl
        self.bio = bio
        self.server = server
        SSL_set_bio(ssl, bio, bio)
        copenssl_set_owner(ssl, Unmanaged.passUnretained(self).toOpaque())
    }

    deinit {
        // Says that the connection ended well: OpenSSL spoils the session for resumption otherwise.
        SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)
        SSL_free(ssl)
    }

    /// The session a callback of OpenSSL is about. It is alive, for it is in the middle of a call.
    static func owner(of ssl: OpaquePointer?) -> TLSSession? {
        guard let ssl, let owner = copenssl_owner(ssl) else { return nil }
        return Unmanaged<TLSSession>.fromOpaque(owner).takeUnretainedValue()
    }

    /// A client's first flight.
    func start(_ allocator: ByteBufferAllocator) -> (toSend: ByteBuffer?, received: Received) {
        receive(ByteBuffer(), allocator)
    }

    /// Works through bytes from the peer, all of them: what is not plaintext yet stays with OpenSSL, at most a record.
    func receive(_ ciphertext: ByteBuffer, _ allocator: ByteBufferAllocator) -> (
        toSend: ByteBuffer?, received: Received
    ) {
        var received = Received()
        guard !hasFailed else { return (nil, received) }
        let scratch = TLSScratch.current
        let io = begin(scratch)
        ciphertext.withUnsafeReadableBytes { bytes in
            io.pointee.input = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
            io.pointee.input_left = bytes.count
            if isOpen || handshake(io, &received) { decrypt(scratch, allocator, &received) }
            io.pointee.input = nil
            io.pointee.input_left = 0
        }
        return (end(scratch, allocator), received)
    }

    /// - Returns: whether the handshake is complete.
    private func handshake(
        _ io: UnsafeMutablePointer<copenssl_io>, _ received: inout Received
    ) -> Bool {
        var left: Int
        repeat {
            left = io.pointee.input_left
            let result = SSL_do_handshake(ssl)
            if result == 1 {
                isOpen = true
                received.isHandshakeCompleted = true
                return true
            }
            guard SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ else { break }
            if io.pointee.input_left == 0 { return false }
        } while io.pointee.input_left < left
        hasFailed = true
        let verification = SSL_get_verify_result(ssl)
        if verification != Int(X509_V_OK), server == nil, SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER != 0 {
            received.failure = .certificateRejected(String(cString: X509_verify_cert_error_string(verification)))
            ERR_clear_error()
        } else {
            received.failure = .handshakeFailed(drainOpenSSLErrors(or: "the peer gave it up"))
        }
        return false
    }

    private func decrypt(
        _ scratch: TLSScratch, _ allocator: ByteBufferAllocator, _ received: inout Received
    ) {
        var plaintext: ByteBuffer?
        while true {
            var count = 0
            let left = scratch.io.pointee.input_left
            let result = SSL_read_ex(ssl, scratch.plaintext.baseAddress, scratch.plaintext.count, &count)
            guard result != 1 else {
                let bytes = UnsafeRawBufferPointer(rebasing: scratch.plaintext[..<count])
                if plaintext == nil {
                    plaintext = allocator.buffer(capacity: count + scratch.io.pointee.input_left)
                }
                plaintext?.writeBytes(bytes)
                continue
            }
            switch SSL_get_error(ssl, result) {
            case SSL_ERROR_WANT_READ:
                // Without auto-retry this also follows a record that carried no data, a ticket for instance.
                let rest = scratch.io.pointee.input_left
                if rest > 0, rest < left { continue }
            case SSL_ERROR_ZERO_RETURN:
                received.isEnded = true
            default:
                hasFailed = true
                received.failure = .protocolViolation(drainOpenSSLErrors())
            }
            break
        }
        received.plaintext = plaintext
    }

    /// Seals plaintext in as few records as possible.
    ///
    /// - Returns: nil when the connection is broken.
    func encrypt(_ writes: [ByteBuffer], _ allocator: ByteBufferAllocator) -> ByteBuffer? {
        guard isOpen, !hasFailed else { return nil }
        let scratch = TLSScratch.current
        _ = begin(scratch)
        var gathered = 0
        for write in writes {
            write.withUnsafeReadableBytes { bytes in
                var rest = bytes
                while !rest.isEmpty, !hasFailed {
                    if gathered == 0, rest.count >= TLSScratch.recordSize || writes.count == 1 {
                        seal(UnsafeRawBufferPointer(rebasing: rest.prefix(TLSScratch.recordSize)))
                        rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(TLSScratch.recordSize))
                        continue
                    }
                    let part = UnsafeRawBufferPointer(rebasing: rest.prefix(TLSScratch.recordSize - gathered))
                    UnsafeMutableRawBufferPointer(rebasing: scratch.plaintext[gathered...]).copyMemory(from: part)
                    gathered += part.count
                    rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(part.count))
                    guard gathered == TLSScratch.recordSize else { continue }
                    seal(UnsafeRawBufferPointer(scratch.plaintext))
                    gathered = 0
                }
            }
        }
        if gathered > 0, !hasFailed { seal(UnsafeRawBufferPointer(rebasing: scratch.plaintext[..<gathered])) }
        let ciphertext = end(scratch, allocator)
        return hasFailed ? nil : ciphertext ?? ByteBuffer()
    }

    private func seal(_ plaintext: UnsafeRawBufferPointer) {
        var written = 0
        // The memory BIO takes everything, so that anything but complete success is the end.
        if SSL_write_ex(ssl, plaintext.baseAddress, plaintext.count, &written) != 1 || written != plaintext.count {
            hasFailed = true
            ERR_clear_error()
        }
    }

    /// This side's close_notify; nil where it makes no sense (any more).
    func end(_ allocator: ByteBufferAllocator) -> ByteBuffer? {
        guard isOpen, !hasFailed, SSL_get_shutdown(ssl) & SSL_SENT_SHUTDOWN == 0 else { return nil }
        let scratch = TLSScratch.current
        _ = begin(scratch)
        SSL_shutdown(ssl)
        return end(scratch, allocator)
    }

    private func begin(_ scratch: TLSScratch) -> UnsafeMutablePointer<copenssl_io> {
        ERR_clear_error()
        BIO_set_data(bio, scratch.io)
        return scratch.io
    }

    private func end(_ scratch: TLSScratch, _ allocator: ByteBufferAllocator) -> ByteBuffer? {
        BIO_set_data(bio, nil)
        let count = scratch.io.pointee.output_used
        guard count > 0 else { return nil }
        scratch.io.pointee.output_used = 0
        var buffer = allocator.buffer(capacity: count)
        buffer.writeBytes(UnsafeRawBufferPointer(start: scratch.io.pointee.output, count: count))
        scratch.trim()
        return buffer
    }

    /// Presents the certificate for the name the client asks for. RFC 6066 §3.
    func chooseIdentity(alert: UnsafeMutablePointer<CInt>?) -> CInt {
        guard let server else { return SSL_TLSEXT_ERR_NOACK }
        if let name = requestedName {
            if let context = server.identities.context(for: name) {
                guard SSL_set_SSL_CTX(ssl, context.pointer) != nil else { return SSL_TLSEXT_ERR_ALERT_FATAL }
                return SSL_TLSEXT_ERR_OK
            }
            if server.refusesUnknownNames {
                alert?.pointee = SSL_AD_UNRECOGNIZED_NAME
                return SSL_TLSEXT_ERR_ALERT_FATAL
            }
        }
        // A reload may have come between the beginning of the connection and this.
        guard let fallback = server.fallback else {
            alert?.pointee = SSL_AD_UNRECOGNIZED_NAME
            return SSL_TLSEXT_ERR_ALERT_FATAL
        }
        guard SSL_set_SSL_CTX(ssl, fallback.pointer) != nil else { return SSL_TLSEXT_ERR_ALERT_FATAL }
        return SSL_TLSEXT_ERR_NOACK
    }

    /// The host the client asks for, or asked for.
    var requestedName: String? {
        SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name).map { String(cString: $0) }
    }

    /// The first of our protocols that the client offers, as length-prefixed names; none is an alert. RFC 7301 §3.2.
    func chooseApplicationProtocol(
        _ offers: UnsafeBufferPointer<UInt8>, _ chosen: inout UnsafePointer<UInt8>?, _ count: inout UInt8
    ) -> CInt {
        guard let server, !server.applicationProtocols.isEmpty else { return SSL_TLSEXT_ERR_NOACK }
        for name in server.applicationProtocols {
            var index = 0
            while index < offers.count {
                let start = index + 1
                let end = start + Int(offers[index])
                guard end <= offers.count else { break }
                if offers[start..<end].elementsEqual(name.utf8), let base = offers.baseAddress {
                    chosen = base + start
                    count = offers[index]
                    return SSL_TLSEXT_ERR_OK
                }
                index = end
            }
        }
        return SSL_TLSEXT_ERR_ALERT_FATAL
    }
}
