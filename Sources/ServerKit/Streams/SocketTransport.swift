import NIOCore
import NIOPosix

/// A socket on the server's event loop, with TLS from the start or later.
public final class SocketTransport: ChannelInboundHandler, StreamTransport {
    public typealias InboundIn = ByteBuffer

    private let channel: any Channel
    private let makeStream: @ServerActor (any StreamTransport) -> (any StreamEndpoint)?
    private var stream: (any StreamEndpoint)?
    private var pending: ByteBuffer?
    private var departure = Departure.none
    /// Whether it is among those that leave later.
    private var isLate = false
    private var tlsHandler: TLSHandler?
    private let directTLS: Security?
    public private(set) var peerAddress: String

    private enum Security {
        case server(TLSServer)
        case client(TLSClient)
    }

    /// A connection that was accepted.
    ///
    /// - Parameters:
    ///   - directTLS: how to secure the connection before its first byte (XEP-0368); nil for STARTTLS.
    ///   - makeStream: makes the stream that takes the bytes; nil to refuse the connection.
    public nonisolated convenience init(
        channel: any Channel, directTLS: TLSServer?,
        makeStream: @escaping @ServerActor (any StreamTransport) -> (any StreamEndpoint)?
    ) {
        self.init(channel, directTLS.map { .server($0) }, makeStream)
    }

    /// A connection that was opened, or is about to be.
    ///
    /// - Parameters:
    ///   - directTLS: how to secure the connection before its first byte (XEP-0368); nil for STARTTLS.
    ///   - makeStream: makes the stream that takes the bytes.
    public nonisolated convenience init(
        channel: any Channel, directTLSTo directTLS: TLSClient?,
        makeStream: @escaping @ServerActor (any StreamTransport) -> (any StreamEndpoint)?
    ) {
        self.init(channel, directTLS.map { .client($0) }, makeStream)
    }

    private nonisolated init(
        _ channel: any Channel, _ directTLS: Security?,
        _ makeStream: @escaping @ServerActor (any StreamTransport) -> (any StreamEndpoint)?
    ) {
        self.channel = channel
        self.directTLS = directTLS
        self.makeStream = makeStream
        peerAddress = channel.remoteAddress?.ipAddress ?? "local"
    }

    // MARK: From the channel, on its event loop

    public nonisolated func handlerAdded(context: ChannelHandlerContext) {
        ServerActor.assumeIsolated { start() }
    }

    public nonisolated func channelActive(context: ChannelHandlerContext) {
        // A connection that was opened has an address now.
        ServerActor.assumeIsolated { peerAddress = channel.remoteAddress?.ipAddress ?? peerAddress }
        context.fireChannelActive()
    }

    public nonisolated func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = unwrapInboundIn(data)
        ServerActor.assumeIsolated { buffer.withUnsafeReadableBytes { stream?.receive($0) } }
    }

    public nonisolated func channelInactive(context: ChannelHandlerContext) {
        ServerActor.assumeIsolated { lose("closed by the peer") }
    }

    public nonisolated func errorCaught(context: ChannelHandlerContext, error: any Error) {
        let reason = "\(error)"
        ServerActor.assumeIsolated { lose(reason) }
        context.close(promise: nil)
    }

    public nonisolated func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted = event as? TLSEvent { ServerActor.assumeIsolated { stream?.secured() } }
        context.fireUserInboundEventTriggered(event)
    }

    private func start() {
        stream = makeStream(self)
        guard stream != nil else { return channel.close(promise: nil) }
        do {
            switch directTLS {
            case .server(let server): try startTLS(server)
            case .client(let client): try startTLS(client)
            case nil: break
            }
        } catch {
            channel.close(promise: nil)
        }
    }

    private func lose(_ reason: String) {
        let stream = self.stream
        self.stream = nil
        stream?.connectionLost(reason)
    }

    // MARK: From the stream

    public var tls: TLSInfo? { tlsHandler?.info }
    public var isSecure: Bool { tls != nil }

    public var backlog: Int {
        let buffered = try? channel.syncOptions?.getOption(.bufferedWritableBytes)
        return (pending?.readableBytes ?? 0) + (tlsHandler?.pendingBytes ?? 0) + (buffered ?? 0)
    }

    public func write(_ bytes: [UInt8], isUrgent: Bool) {
        if var buffer = pending {
            pending = nil  // Gives up the second reference, so that the bytes are appended in place.
            buffer.writeBytes(bytes)
            pending = buffer
        } else {
            var buffer = channel.allocator.buffer(capacity: bytes.count)
            buffer.writeBytes(bytes)
            pending = buffer
        }
        if !isUrgent {
            if departure == .none { departLater() }
        } else if departure != .soon {
            departure = .soon
            ServerActor.loop.execute { ServerActor.assumeIsolated { self.flush() } }
        }
    }

    private func flush() {
        departure = .none
        guard let buffer = pending else { return }
        pending = nil
        channel.writeAndFlush(buffer, promise: nil)
    }

    // MARK: What may wait

    /// When what is pending leaves.
    private enum Departure {
        case none, soon, later
    }

    /// How long what is not urgent waits for something to go with.
    private static let patience = TimeAmount.milliseconds(100)
    /// The connections that have only such.
    private static var late: [SocketTransport] = []

    private func departLater() {
        departure = .later
        guard !isLate else { return }
        isLate = true
        Self.late.append(self)
        guard Self.late.count == 1 else { return }
        ServerActor.loop.assumeIsolated().scheduleTask(in: Self.patience) {
            ServerActor.assumeIsolated {
                let late = Self.late
                Self.late = []
                for transport in late {
                    transport.isLate = false
                    if transport.departure == .later { transport.flush() }
                }
            }
        }
    }

    public func startTLS(_ server: TLSServer) throws {
        flush()
        try secure(with: TLSHandler(server: server, gathersWrites: false))
    }

    public func startTLS(_ client: TLSClient) throws {
        flush()
        try secure(
            with: TLSHandler(
                client: client.context, serverName: client.serverName,
                applicationProtocols: client.applicationProtocols, gathersWrites: false))
    }

    private func secure(with handler: TLSHandler) throws {
        tlsHandler = handler
        try channel.pipeline.syncOperations.addHandler(handler, position: .first)
    }

    public func setReading(_ isReading: Bool) {
        try? channel.syncOptions?.setOption(.autoRead, value: isReading)
    }

    /// How long a peer may take to read the last words.
    private static let grace = TimeAmount.seconds(2)

    public func close() {
        flush()
        stream = nil
        // There is nobody to say anything to before the handshake has ended.
        guard tlsHandler == nil || isSecure else { return channel.close(promise: nil) }
        // What still arrives is read and thrown away: a socket that is closed with unread bytes resets the connection,
        // and the peer would lose the stream error that explains it.
        setReading(true)
        let channel = self.channel
        let deadline = ServerActor.loop.scheduleTask(in: Self.grace) { channel.close(promise: nil) }
        channel.closeFuture.whenComplete { _ in deadline.cancel() }
        let left = channel.eventLoop.makePromise(of: Void.self)
        channel.writeAndFlush(channel.allocator.buffer(capacity: 0), promise: left)
        left.futureResult.whenComplete { _ in channel.close(mode: .output, promise: nil) }
    }
}
