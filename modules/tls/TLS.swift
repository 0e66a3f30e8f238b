import ServerKit

/// STARTTLS (RFC 6120 §5): clients that begin in plain text must change to TLS before anything else.
final class TLS: Module {
    static let info = ModuleInfo(
        "tls", "Encrypts client connections that begin in plain text (STARTTLS)",
        implements: [.rfc(6120), .rfc(7590)], group: .core)

    private var server: TLSServer?

    init(options: NoOptions) {}

    func load(into host: ModuleHost) throws {
        // RFC 6120 §5.4.3.1: the stream header has said which host it is for, whether or not the handshake does.
        server = try TLSServer(host.server.identities, defaultName: host.host.jid.asciiDomain)
        host.streamFeature { self.feature(for: $0) }
        host.streamElement("starttls", .startTLS) { stream, _ throws(StreamError) in try self.begin(stream) }
    }

    /// RFC 6120 §5.3.1: mandatory, and offered where there is a certificate to show.
    private func feature(for stream: ClientStream) -> Element? {
        guard !stream.transport.isSecure, stream.authenticated == nil, canSecure(stream) else { return nil }
        return Element("starttls", .startTLS) { Element("required") }
    }

    private func begin(_ stream: ClientStream) throws(StreamError) {
        guard let server, !stream.transport.isSecure, canSecure(stream) else {
            // RFC 6120 §5.4.2.2: failure, and the stream ends.
            stream.send(Element("failure", .startTLS))
            return stream.close()
        }
        stream.send(Element("proceed", .startTLS))
        do { try stream.startTLS(server) } catch { throw StreamError(.internalServerError) }
    }

    private func canSecure(_ stream: ClientStream) -> Bool {
        guard let host = stream.host else { return false }
        return host.server.identities.context(for: host.jid.asciiDomain) != nil
            || host.server.identities.fallback != nil
    }
}
