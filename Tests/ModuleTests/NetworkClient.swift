import NIOCore
import NIOPosix
import ServerKit
import TestKit

/// A client on a real socket.
@ServerActor
final class NetworkClient {
    private(set) var heard = ""
    private(set) var isClosed = false
    private(set) var certificate: TLSInfo?
    private let channel: any Channel

    private init(_ channel: any Channel) {
        self.channel = channel
    }

    /// Connects, with TLS from the start if `tls` names the protocols to offer.
    static func connect(to address: ListenAddress, tls: [String]? = nil) async throws -> NetworkClient {
        let receiver = Receiver()
        let context = try TLSContext(trust: nil)
        let channel = try await ClientBootstrap(group: ServerActor.group).connectTimeout(.seconds(40))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls {
                        try channel.pipeline.syncOperations.addHandler(
                            TLSHandler(client: context, serverName: "montague.example", applicationProtocols: tls))
                    }
                    try channel.pipeline.syncOperations.addHandler(receiver)
                }
            }
            .connect(host: address.host ?? "127.0.0.1", port: Int(address.port)).get()
        let client = NetworkClient(channel)
        receiver.client = client
        client.take(receiver.early)
        if receiver.isClosed { client.isClosed = true }
        return client
    }

    func says(_ xml: String) {
        channel.writeAndFlush(ByteBuffer(string: xml), promise: nil)
    }

    /// Changes to TLS, after `<proceed/>`.
    func startTLS() throws {
        heard = ""
        let handler = try TLSHandler(client: TLSContext(trust: nil), serverName: "montague.example")
        try channel.pipeline.syncOperations.addHandler(handler, position: .first)
    }

    func setReading(_ isReading: Bool) {
        try? channel.syncOptions?.setOption(.autoRead, value: isReading)
    }

    func leaves() {
        channel.close(promise: nil)
    }

    /// Waits until the server has said this, for three seconds at most.
    func hears(_ text: String) async -> Bool {
        await happens { self.heard.contains(text) }
    }

    /// Waits until the connection has ended.
    func isCutOff() async -> Bool {
        await happens { self.isClosed }
    }

    private func happens(_ condition: @ServerActor () -> Bool) async -> Bool {
        for _ in 0..<600 {
            if condition() { return true }
            try? await ServerActor.loop.scheduleTask(in: .milliseconds(5)) {}.futureResult.get()
        }
        return condition()
    }

    fileprivate func take(_ bytes: [UInt8]) { heard += String(decoding: bytes, as: UTF8.self) }
    fileprivate func end() { isClosed = true }
    fileprivate func secured(_ info: TLSInfo) { certificate = info }
}

private final class Receiver: ChannelInboundHandler, @unchecked Sendable {
    // Used on the one event loop only.
    typealias InboundIn = ByteBuffer
    weak var client: NetworkClient?
    var early: [UInt8] = []
    var isClosed = false

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = Array(unwrapInboundIn(data).readableBytesView)
        guard let client else { return early += bytes }
        ServerActor.assumeIsolated { client.take(bytes) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        isClosed = true
        let client = self.client
        ServerActor.assumeIsolated { client?.end() }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
