import NIOCore
import NIOPosix
import ServerKit
import Testing

@testable import Federation

@Suite("Certificates that a web server vouches for (RFC 7711)") struct POSHTests {
    @Test(
        "What a reference may lead to",
        arguments: [
            ("https://a.example/x.json", "a.example", 443, "/x.json"),
            ("https://A.Example:8443", "a.example", 8_443, "/"),
            ("https://a.example/?q=1#f", "a.example", 443, "/?q=1"),
        ])
    func url(text: String, host: String, port: Int, path: String) throws {
        let request = try #require(HTTPSRequest(url: text))
        #expect(request.host == host && request.port == port && request.path == path)
    }

    @Test(
        "And what not",
        arguments: [
            "http://a.example/", "https://", "https://a.example:0/", "https://a.example:x/", "https://u@a.example/",
            "https://a.example/ HTTP/1.1\r\nX: y", "https://a b/", "file:///etc/passwd", "",
        ])
    func wrongURL(text: String) { #expect(HTTPSRequest(url: text) == nil) }

    @Test(
        "A redirect leads to another HTTPS URI (RFC 7711 §10)",
        arguments: [
            ("/x", "https://a.example:8443/x"), ("https://b.example/y", "https://b.example/y"),
            ("http://b.example/y", nil), ("//b.example/y", nil), ("x", nil), ("", nil),
        ])
    func redirect(place: String, expected: String?) {
        let request = HTTPSRequest(host: "a.example", port: 8_443, path: "/")
        #expect(HTTPSRequest(url: place, from: request) == expected.flatMap { HTTPSRequest(url: $0) })
    }

    @Test("A hash of the certificate that both know, with padding or without")
    func fingerprints() {
        let certificate = Array("certificate".utf8)
        let sha256 = Base64.encode(Digest.sha256(certificate))
        #expect(POSH.matches(["sha-256": sha256], certificate))
        #expect(POSH.matches(["sha-256": String(sha256.dropLast())], certificate))
        #expect(POSH.matches(["sha-512": Base64.encode(Digest.sha512(certificate))], certificate))
        #expect(!POSH.matches(["sha-1": Base64.encode(Digest.sha1(certificate))], certificate))
        #expect(!POSH.matches(["sha-256": ""], certificate))
        #expect(!POSH.matches([:], certificate))
        #expect(!POSH.matches(["sha-256": sha256], Array("another".utf8)))
    }

    @Test(
        "A document is read, within its limits",
        arguments: [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", .document(Array("{}".utf8))),
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", .absent("The answer is 404.")),
            ("HTTP/1.1 410 Gone\r\n\r\n", .absent("The answer is 410.")),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", nil), ("HTTP/1.1 429 Too Many Requests\r\n\r\n", nil),
            (
                "HTTP/1.1 302 Found\r\nLocation: https://b.example/\r\nContent-Length: 0\r\n\r\n",
                .moved(to: "https://b.example/")
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + String(repeating: "x", count: 100_000), nil),
            ("nonsense\r\n\r\n", nil), ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}", nil),
        ] as [(String, HTTPSRequest.Answer?)])
    func document(answer: String, expected: HTTPSRequest.Answer?) async throws {
        let certificates = try TestCertificates()
        defer { certificates.remove() }
        let files = certificates.files(of: "other.example")
        let server = try TLSServer(
            TLSIdentities([:], fallback: try TLSContext(certificateChain: files.chain, privateKey: files.key)))
        let listener = try await ServerBootstrap(group: ServerActor.group)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(TLSHandler(server: server))
                    try channel.pipeline.syncOperations.addHandler(Answering(answer))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let names = TestNames()
        names.set("other.example", .a, DNSAnswer(.records([[127, 0, 0, 1]])))
        names.set("capulet.example", .a, DNSAnswer(.records([[127, 0, 0, 1]])))
        let trust = try TLSTrust(file: files.chain)
        let port = listener.localAddress?.port ?? 0
        let got = try? await HTTPSRequest(host: "other.example", port: port, path: "/x").get(
            dns: names, trust: trust, patience: .minutes(2))
        #expect(got == expected)
        // The web server's certificate has to be for the domain.
        let forged = try? await HTTPSRequest(host: "capulet.example", port: port, path: "/x").get(
            dns: names, trust: trust)
        #expect(forged == nil)
        try? await listener.close()
        // Where nobody listens there is no web server, nor where there is no address.
        let refused = try? await HTTPSRequest(host: "other.example", port: 1, path: "/x").get(
            dns: names, trust: trust, patience: .minutes(2))
        #expect(refused == .absent("other.example has no web server."))
        let nowhere = try? await HTTPSRequest(host: "nowhere.example", path: "/x").get(
            dns: names, trust: trust, patience: .minutes(2))
        #expect(nowhere == .absent("nowhere.example has no web server."))
    }
}

private final class Answering: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer
    private let answer: String

    init(_ answer: String) { self.answer = answer }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let channel = context.channel
        channel.writeAndFlush(ByteBuffer(string: answer)).whenComplete { _ in channel.close(promise: nil) }
    }
}
