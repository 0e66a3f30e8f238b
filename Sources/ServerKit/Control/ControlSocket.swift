import Glibc
import NIOCore
import NIOPosix

/// The Unix socket in the data directory through which a running server is administered. Only the server's own user
/// and root may open it: the file's mode says so, and each peer's user is asked of the kernel.
@ServerActor
public final class ControlSocket {
    /// The socket's name in the data directory.
    public nonisolated static let fileName = "control.sock"

    private let path: String
    private let channel: any Channel

    private init(path: String, channel: any Channel) {
        self.path = path
        self.channel = channel
    }

    /// Opens the socket. A file that an earlier server left behind is replaced: call this when the storage is open,
    /// which no second server can be then.
    ///
    /// - Throws: ``ControlFailure``.
    public static func open(at path: String, _ registry: ControlRegistry) async throws -> ControlSocket {
        let descriptor = try bind(path)
        let bootstrap = ServerBootstrap(group: ServerActor.group)
            .childChannelInitializer { channel in admit(channel, registry) }
        let channel = try await bootstrap.withBoundSocket(descriptor).get()
        return ControlSocket(path: path, channel: channel)
    }

    /// Takes no further commands; answers that are under way still arrive.
    public func close() {
        unlink(path)
        channel.close(promise: nil)
    }

    private nonisolated static func bind(_ path: String) throws(ControlFailure) -> Int32 {
        guard path.utf8.count <= UnixSocket.pathLimit else {
            throw ControlFailure(
                "The path \(path) is too long for a socket, which may have \(UnixSocket.pathLimit) bytes. "
                    + "Choose a shorter data_directory.")
        }
        unlink(path)
        let descriptor = UnixSocket.bind(path, mode: 0o600)
        guard descriptor >= 0 else {
            throw ControlFailure("\(path) cannot be made: \(String(cString: strerror(errno))).")
        }
        return descriptor
    }

    private nonisolated static func admit(
        _ channel: any Channel, _ registry: ControlRegistry
    ) -> EventLoopFuture<Void> {
        guard let options = channel as? any SocketOptionProvider else {
            return channel.eventLoop.makeFailedFuture(ControlFailure("Peers cannot be identified here."))
        }
        let peer: EventLoopFuture<PeerCredentials> = options.unsafeGetSocketOption(
            level: .socket, name: NIOBSDSocket.Option(rawValue: SO_PEERCRED))
        return peer.flatMapThrowing { peer in
            guard peer.uid == 0 || peer.uid == geteuid() else { throw ControlFailure("A stranger.") }
            try channel.pipeline.syncOperations.addHandler(ControlHandler(registry))
        }
    }
}

/// What SO_PEERCRED yields, three numbers of 32 bits: `struct ucred` of socket(7), which Swift does not import.
private struct PeerCredentials: Sendable {
    var pid: Int32 = 0
    var uid: UInt32 = 0
    var gid: UInt32 = 0
}

/// One tool's connection: a line is answered before the next one is looked at.
private final class ControlHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let registry: ControlRegistry
    private var received = ByteBuffer()
    private var isAnswering = false

    init(_ registry: ControlRegistry) {
        self.registry = registry
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        received.writeBuffer(&bytes)
        received.discardReadBytes()
        guard received.readableBytes <= ControlCoding.lineLimit else { return context.close(promise: nil) }
        answerNext(context.channel)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    private func answerNext(_ channel: any Channel) {
        guard !isAnswering, let end = received.readableBytesView.firstIndex(of: UInt8(ascii: "\n")) else { return }
        let count = end - received.readerIndex
        guard let line = received.readBytes(length: count) else { return }
        received.moveReaderIndex(forwardBy: 1)
        isAnswering = true
        let this = NIOLoopBound(self, eventLoop: channel.eventLoop)
        let registry = registry
        Task { @ServerActor in
            let answer = await registry.reply(to: line)
            channel.writeAndFlush(ByteBuffer(bytes: answer), promise: nil)
            this.value.isAnswering = false
            this.value.answerNext(channel)
        }
    }
}
