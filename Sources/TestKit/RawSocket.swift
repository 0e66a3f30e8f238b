import NIOCore
import NIOPosix
import ServerKit

/// A socket that says and hears bytes: for tests of what anybody on the network may do.
@ServerActor
public final class RawSocket {
    /// What was heard since the last ``take()``.
    public private(set) var heard: [UInt8] = []
    public private(set) var isClosed = false
    /// How long it waits for what is expected.
    public var patience = Duration.seconds(4)
    private let channel: any Channel

    private init(_ channel: any Channel) {
        self.channel = channel
    }

    /// Connects.
    ///
    /// - Parameter tls: how to secure the connection before its first byte; nil to begin in plain text.
    public static func connect(to address: ListenAddress, tls: TLSClient? = nil) async throws -> RawSocket {
        let ears = SocketEars()
        let channel = try await ClientBootstrap(group: ServerActor.group).connectTimeout(.seconds(40))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls { try channel.pipeline.syncOperations.addHandler(TLSHandler(tls)) }
                    try channel.pipeline.syncOperations.addHandler(ears)
                }
            }
            .connect(host: address.host ?? "127.0.0.1", port: Int(address.port)).get()
        let socket = RawSocket(channel)
        ears.socket = socket
        socket.heard = ears.early
        socket.isClosed = ears.isClosed
        return socket
    }

    /// What was heard, as text.
    public var text: String { String(decoding: heard, as: UTF8.self) }

    public func says(_ bytes: [UInt8]) {
        channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
    }

    public func says(_ text: String) { says(Array(text.utf8)) }

    /// Changes to TLS.
    public func secure(_ tls: TLSClient) throws {
        try channel.pipeline.syncOperations.addHandler(TLSHandler(tls), position: .first)
    }

    /// Stops or resumes taking bytes.
    public func setReading(_ isReading: Bool) {
        try? channel.syncOptions?.setOption(.autoRead, value: isReading)
    }

    /// Closes the connection.
    public func leaves() { channel.close(promise: nil) }

    /// What was heard since the last call.
    @discardableResult
    public func take() -> [UInt8] {
        defer { heard = [] }
        return heard
    }

    /// Waits for a condition, for as long as its ``patience`` lasts.
    public func until(_ condition: @ServerActor () -> Bool) async -> Bool {
        for _ in 0..<Int(patience / .milliseconds(5)) {
            await SocketTurn.pass()
            if condition() { return true }
            try? await ServerActor.loop.scheduleTask(in: .milliseconds(5)) {}.futureResult.get()
        }
        return condition()
    }

    public func hears(_ count: Int) async -> Bool { await until { self.heard.count >= count } }
    public func hears(_ text: String) async -> Bool { await until { self.text.contains(text) } }
    public func isCutOff() async -> Bool { await until { self.isClosed } }

    fileprivate func take(_ bytes: [UInt8]) { heard += bytes }
    fileprivate func end() { isClosed = true }
}

extension TLSHandler {
    fileprivate convenience init(_ client: TLSClient) throws {
        try self.init(
            client: client.context, serverName: client.serverName, applicationProtocols: client.applicationProtocols)
    }
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
