import NIOCore
import NIOPosix
import ServerKit

/// Another server that says whatever a test wants, on a socket.
@ServerActor
final class RawPeer {
    private(set) var heard = ""
    private(set) var isClosed = false
    private(set) var isSecure = false
    private let channel: any Channel
    private let certificate: (chain: String, key: String)?

    private init(_ channel: any Channel, _ certificate: (chain: String, key: String)?) {
        self.channel = channel
        self.certificate = certificate
    }

    static func connect(to port: UInt16, certificate: (chain: String, key: String)? = nil) async throws -> RawPeer {
        let receiver = Receiver()
        let channel = try await ClientBootstrap(group: ServerActor.group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(receiver) }
            }
            .connect(host: "127.0.0.1", port: Int(port)).get()
        let peer = RawPeer(channel, certificate)
        receiver.peer = peer
        return peer
    }

    func says(_ xml: String) { channel.writeAndFlush(ByteBuffer(string: xml), promise: nil) }

    /// Opens a stream.
    func opens(from: String?, to: String = "montague.example") {
        heard = ""
        let from = from.map { " from='\($0)'" } ?? ""
        says(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback'"
                + " xmlns:stream='http://etherx.jabber.org/streams'\(from) to='\(to)' version='1.0'>")
    }

    /// Opens a stream, changes to TLS and opens another one.
    func secures(from: String?, to: String = "montague.example") async throws -> Bool {
        opens(from: from, to: to)
        guard await hears("<starttls") else { return false }
        heard = ""
        says("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        guard await hears("<proceed") else { return false }
        let context = try TLSContext(trust: nil, certificate: certificate)
        try channel.pipeline.syncOperations.addHandler(
            TLSHandler(client: context, serverName: to), position: .first)
        opens(from: from, to: to)
        return await hears("</stream:features>")
    }

    /// The same, authenticated by its certificate.
    func authenticates(as domain: String) async throws -> Bool {
        guard try await secures(from: domain) else { return false }
        heard = ""
        says("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>")
        guard await hears("<success") else { return false }
        opens(from: domain)
        return await hears("</stream:features>")
    }

    /// The stream's id. RFC 6120 §4.7.3.
    var streamID: String {
        guard let start = heard.firstRange(of: " id='") else { return "" }
        return String(heard[start.upperBound...].prefix { $0 != "'" })
    }

    func leaves() { channel.close(promise: nil) }

    /// Waits until the server has said this, for some seconds at most.
    func hears(_ text: String) async -> Bool { await happens { self.heard.contains(text) } }

    func isCutOff() async -> Bool { await happens { self.isClosed } }

    private func happens(_ condition: @ServerActor () -> Bool) async -> Bool {
        for _ in 0..<800 {
            if condition() { return true }
            try? await ServerActor.loop.scheduleTask(in: .milliseconds(5)) {}.futureResult.get()
        }
        return condition()
    }

    fileprivate func take(_ bytes: [UInt8]) { heard += String(decoding: bytes, as: UTF8.self) }
    fileprivate func end() { isClosed = true }
}

private final class Receiver: ChannelInboundHandler, @unchecked Sendable {
    // Used on the one event loop only.
    typealias InboundIn = ByteBuffer
    weak var peer: RawPeer?

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = Array(unwrapInboundIn(data).readableBytesView)
        let peer = self.peer
        ServerActor.assumeIsolated { peer?.take(bytes) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        let peer = self.peer
        ServerActor.assumeIsolated { peer?.end() }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
