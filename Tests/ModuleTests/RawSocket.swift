import NIOCore
import NIOPosix
import ServerKit
import TestKit

/// A socket that says and hears bytes.
@ServerActor
final class RawSocket {
    private(set) var heard: [UInt8] = []
    private(set) var isClosed = false
    private let channel: any Channel

    private init(_ channel: any Channel) {
        self.channel = channel
    }

    static func connect(to address: ListenAddress) async throws -> RawSocket {
        let receiver = SocketEars()
        let channel = try await ClientBootstrap(group: ServerActor.group).connectTimeout(.seconds(40))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(receiver) }
            }
            .connect(host: address.host ?? "127.0.0.1", port: Int(address.port)).get()
        let socket = RawSocket(channel)
        receiver.socket = socket
        socket.heard = receiver.early
        socket.isClosed = receiver.isClosed
        return socket
    }

    func says(_ bytes: [UInt8]) {
        channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
    }

    func says(_ text: String) { says(Array(text.utf8)) }

    func setReading(_ isReading: Bool) {
        try? channel.syncOptions?.setOption(.autoRead, value: isReading)
    }

    func leaves() { channel.close(promise: nil) }

    /// What was heard since the last call.
    func take() -> [UInt8] {
        defer { heard = [] }
        return heard
    }

    /// Waits for a condition, some seconds at most.
    func until(_ condition: @ServerActor () -> Bool) async -> Bool {
        for _ in 0..<800 {
            if condition() { return true }
            try? await ServerActor.loop.scheduleTask(in: .milliseconds(5)) {}.futureResult.get()
        }
        return condition()
    }

    func hears(_ count: Int) async -> Bool { await until { self.heard.count >= count } }
    func isCutOff() async -> Bool { await until { self.isClosed } }

    fileprivate func take(_ bytes: [UInt8]) { heard += bytes }
    fileprivate func end() { isClosed = true }
}

private final class SocketEars: ChannelInboundHandler, @unchecked Sendable {
    // Used on the one event loop only.
    typealias InboundIn = ByteBuffer
    weak var socket: RawSocket?
    var early: [UInt8] = []
    var isClosed = false

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = Array(unwrapInboundIn(data).readableBytesView)
        guard let socket else {
            early += bytes
            return
        }
        ServerActor.assumeIsolated { socket.take(bytes) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        isClosed = true
        let socket = self.socket
        ServerActor.assumeIsolated { socket?.end() }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
