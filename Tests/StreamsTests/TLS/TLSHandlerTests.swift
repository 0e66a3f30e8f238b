import Glibc
import NIOCore
import NIOPosix
import Testing

@testable import Streams

@Suite("TLS over sockets", .timeLimit(.minutes(1))) struct TLSHandlerTests {
    private let scratch: Scratch
    private let identities: TLSIdentities

    init() throws {
        scratch = try Scratch()
        identities = TLSIdentities(
            [
                "example.org": try scratch.identity("example.org"),
                "*.example.net": try scratch.identity("*.example.net"),
            ],
            fallback: try scratch.identity("fallback.example"))
    }

    @Test("Both sides agree on version, name, protocol and channel bindings")
    func agreement() async throws {
        let listener = try await Listener(TLSServer(identities, applicationProtocols: ["xmpp-client"]))
        let (channel, owner) = try await listener.connect(alpn: ["http/1.1", "xmpp-client"])
        let client = try await owner.handshake.futureResult.get()
        let server = try await listener.latest().handshake.futureResult.get()
        #expect(client.version == "TLSv1.3" && server.version == "TLSv1.3")
        #expect(server.cipher == "TLS_AES_128_GCM_SHA256")
        #expect(server.sni == "example.org" && server.alpn == "xmpp-client" && client.alpn == "xmpp-client")
        #expect(client.exporter?.count == 32 && client.exporter == server.exporter)
        #expect(client.endPoint?.count == 32 && client.endPoint == server.endPoint)
        #expect(client.chain.count == 1 && server.chain.isEmpty && !server.reused)
        try await channel.close()
        try await listener.latest().ended.futureResult.get()
        #expect(try listener.latest().errors.isEmpty && owner.errors.isEmpty)
    }

    @Test("The certificate follows the name", arguments: [
        ("example.org", "example.org"), ("EXAMPLE.org", "example.org"), ("a.example.net", "*.example.net"),
        ("a.b.example.net", "fallback.example"), ("example.net", "fallback.example"), ("x", "fallback.example"),
    ])
    func names(asked: String, presented: String) async throws {
        let listener = try await Listener(TLSServer(identities))
        let (channel, owner) = try await listener.connect(to: asked)
        let client = try await owner.handshake.futureResult.get()
        let expected = try #require(identities.context(for: presented == "*.example.net" ? "a.example.net" : presented)
            ?? identities.fallback)
        #expect(client.endPoint == serverEndPoint(expected))
        try await channel.close()
    }

    private func serverEndPoint(_ context: TLSContext) -> [UInt8]? {
        (try? TLSSession(server: TLSServer(TLSIdentities(fallback: context)))).flatMap { TLSInfo($0).tlsServerEndPoint }
    }

    @Test("Unknown names and protocols are refused with an alert", arguments: [
        ("other.example", ["xmpp-client"], "unrecognized name"), ("example.org", ["h2"], "no application protocol"),
    ])
    func refusals(name: String, alpn: [String], reason: String) async throws {
        let server = try TLSServer(identities, applicationProtocols: ["xmpp-client"], refusesUnknownNames: true)
        let listener = try await Listener(server)
        let (channel, owner) = try await listener.connect(to: name, alpn: alpn)
        try await channel.closeFuture.get()
        guard case .handshakeFailed(let text) = owner.errors.first else { Issue.record("\(owner.errors)"); return }
        #expect(text.contains(reason))
    }

    @Test("A client is served by the trust it has", arguments: [("example.org", true), ("www.example.org", false)])
    func verification(name: String, isAccepted: Bool) async throws {
        let listener = try await Listener(TLSServer(TLSIdentities(fallback: identities.context(for: "example.org"))))
        let trusting = try TLSContext(trust: TLSTrust(file: scratch.path + "/example.org.crt"))
        let (channel, owner) = try await listener.connect(trusting, to: name)
        if isAccepted {
            _ = try await owner.handshake.futureResult.get()
            try await channel.close()
        } else {
            try await channel.closeFuture.get()
            #expect(owner.errors == [.certificateRejected("hostname mismatch")])
        }
        let distrusting = try TLSContext(trust: TLSTrust(file: scratch.path + "/fallback.example.crt"))
        let (other, otherOwner) = try await listener.connect(distrusting, to: name)
        try await other.closeFuture.get()
        guard case .certificateRejected = otherOwner.errors.first else { Issue.record("accepted"); return }
    }

    @Test("A client's certificate is taken as it is and judged later")
    func clientCertificate() async throws {
        let listener = try await Listener(TLSServer(identities, requestsClientCertificate: true))
        let base = scratch.path + "/example.org"
        let presenting = try TLSContext(trust: nil, certificate: (base + ".crt", base + ".key"))
        let (channel, owner) = try await listener.connect(presenting)
        _ = try await owner.handshake.futureResult.get()
        let server = try await listener.latest().handshake.futureResult.get()
        #expect(server.chain == [try Certificate.chain(pem: readSmallFile(base + ".crt"))[0].der])
        try await channel.close()
        let (none, noneOwner) = try await listener.connect()
        _ = try await noneOwner.handshake.futureResult.get()
        #expect(try await listener.latest().handshake.futureResult.get().chain.isEmpty)
        try await none.close()
    }

    @Test("A megabyte comes back whole, and promises are kept")
    func bulk() async throws {
        let listener = try await Listener(TLSServer(identities))
        let (channel, owner) = try await listener.connect()
        let text = String(repeating: "0123456789abcdef", count: 65_536)
        for start in stride(from: 0, to: text.utf8.count, by: 100_000) {
            let part = String(text.dropFirst(start).prefix(100_000))
            async let written: Void = channel.writeAndFlush(ByteBuffer(string: part))
            try await written
        }
        #expect(try await owner.text(of: text.utf8.count, on: Listener.loop) == text)
        try await channel.close()
    }

    @Test("Writes before the end of the handshake wait for it; a failure fails them")
    func earlyWrites() async throws {
        let listener = try await Listener(TLSServer(identities, refusesUnknownNames: true))
        let (channel, owner) = try await listener.connect()
        try await channel.writeAndFlush(ByteBuffer(string: "early"))
        #expect(try await owner.text(of: 5, on: Listener.loop) == "early")
        try await channel.close()
        let (refused, _) = try await listener.connect(to: "other.example")
        await #expect(throws: (any Error).self) { try await refused.writeAndFlush(ByteBuffer(string: "early")) }
    }

    @Test("Half a connection ends, the other half still speaks")
    func halfClose() async throws {
        let listener = try await Listener(TLSServer(identities), halfCloses: true)
        let (channel, owner) = try await listener.connect(halfCloses: true)
        _ = try await owner.handshake.futureResult.get()
        try await channel.close(mode: .output)
        #expect(try await owner.text(of: 13, on: Listener.loop) == "after the end")
        try await listener.latest().ended.futureResult.get()
        #expect(try listener.latest().errors.isEmpty && owner.errors.isEmpty)
        try? await channel.close()
    }

    @Test("A connection cut without close_notify is told from one that ended")
    func truncation() async throws {
        let listener = try await Listener(TLSServer(identities))
        let (channel, owner) = try await listener.connect()
        _ = try await owner.handshake.futureResult.get()
        _ = try await listener.latest().handshake.futureResult.get()
        // From the handler's own place in the pipeline, so that it does not hear of it.
        try await Listener.loop.submit {
            try channel.pipeline.syncOperations.context(handlerType: TLSHandler.self).close(promise: nil)
        }.get()
        try await listener.latest().ended.futureResult.get()
        #expect(try listener.latest().errors == [.truncated])
    }

    @Test("A renewed certificate serves new connections and leaves old ones alone")
    func reload() async throws {
        let listener = try await Listener(TLSServer(identities))
        let (old, oldOwner) = try await listener.connect()
        let before = try await oldOwner.handshake.futureResult.get()
        identities.replace(with: ["example.org": try scratch.identity("example.org")])
        let (new, newOwner) = try await listener.connect()
        let after = try await newOwner.handshake.futureResult.get()
        #expect(before.endPoint != after.endPoint)
        try await old.writeAndFlush(ByteBuffer(string: "still here"))
        #expect(try await oldOwner.text(of: 10, on: Listener.loop) == "still here")
        try await old.close()
        try await new.close()
    }

    @Test("What was sent before STARTTLS does not come through it")
    func injection() async throws {
        let server = try TLSServer(identities)
        let inner = Owner(Listener.loop, echoes: true)
        let listening = try await ServerBootstrap(group: Listener.loop).childChannelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandlers(StartTLS(server), inner)
            }
        }.bind(host: "127.0.0.1", port: 0).get()
        let plain = Owner(Listener.loop)
        let address = try #require(listening.localAddress)
        let channel = try await ClientBootstrap(group: Listener.loop).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(plain) }
        }.connect(to: address).get()
        try await channel.writeAndFlush(ByteBuffer(string: "starttls evil"))
        #expect(try await plain.text(of: 7, on: Listener.loop) == "proceed")
        let context = try TLSContext(trust: nil)
        try await Listener.loop.submit {
            let handler = try TLSHandler(client: context, serverName: "example.org")
            try channel.pipeline.syncOperations.addHandler(handler, position: .first)
        }.get()
        try await channel.writeAndFlush(ByteBuffer(string: "good"))
        #expect(try await plain.text(of: 11, on: Listener.loop) == "proceedgood")
        #expect(inner.text == "good")
        try await channel.close()
        try await listening.close()
    }

    /// Adds TLS when asked, and drops what came along with the request.
    private final class StartTLS: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let server: TLSServer
        private var isSecured = false

        init(_ server: TLSServer) { self.server = server }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            if isSecured { return context.fireChannelRead(data) }
            isSecured = true
            context.writeAndFlush(NIOAny(ByteBuffer(string: "proceed")), promise: nil)
            do {
                try context.pipeline.syncOperations.addHandler(TLSHandler(server: server), position: .first)
            } catch { context.fireErrorCaught(error) }
        }
    }
}
