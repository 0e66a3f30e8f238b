import NIOCore
import NIOPosix
import ServerKit

/// Lets the server's event loop look at its sockets.
///
/// A loop that is never out of tasks may look at them late, and when many plays go on at a time it never is: to wait for
/// tasks, or for a while, says nothing about what has been read. A byte that went there and back by a socket of the same
/// loop does: what was to be read before has been read.
@ServerActor
public enum SocketTurn {
    /// Returns when all that was under way at the call, over sockets of this process, has been read; `hops` times, for
    /// what is answered on the way.
    public static func pass(_ hops: Int = 1) async {
        do {
            if echo == nil { echo = Task { try await Echo() } }
            let echo = try await echo?.value
            for _ in 0..<hops { try await echo?.turn() }
        } catch {
            fatalError("No sockets on the loopback interface: \(error)")
        }
    }

    private static var echo: Task<Echo, any Error>?

    /// Returns when what the loop had to do at the call has been done.
    public static func tasks() async {
        // A future's `get()` would leave the loop.
        await withCheckedContinuation { continuation in ServerActor.loop.execute { continuation.resume() } }
    }
}

/// Two ends of a connection of the loop with itself.
@ServerActor
private final class Echo {
    private let near: any Channel
    private let waiting = Waiting()

    init() async throws {
        let listener = try await ServerBootstrap(group: ServerActor.loop).childChannelInitializer { channel in
            channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Return()) }
        }.bind(host: "127.0.0.1", port: 0).get()
        let waiting = self.waiting
        near = try await ClientBootstrap(group: ServerActor.loop).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(waiting) }
        }.connect(to: try listener.localAddress ?? SocketAddress(ipAddress: "127.0.0.1", port: 0)).get()
    }

    func turn() async throws {
        let back = near.eventLoop.makePromise(of: Void.self)
        waiting.promises.append(back)
        near.writeAndFlush(ByteBuffer(bytes: [1]), promise: nil)
        try await back.futureResult.get()
    }

    /// Sends back what it hears.
    private final class Return: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer

        func channelRead(context: ChannelHandlerContext, data: NIOAny) { context.writeAndFlush(data, promise: nil) }
    }

    /// Whoever waits for a byte, in order. Touched on the loop alone.
    private final class Waiting: ChannelInboundHandler, @unchecked Sendable {
        typealias InboundIn = ByteBuffer

        var promises = CircularBuffer<EventLoopPromise<Void>>()

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            for _ in 0..<unwrapInboundIn(data).readableBytes { promises.popFirst()?.succeed() }
        }
    }
}
