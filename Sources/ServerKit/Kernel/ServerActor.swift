import NIOCore
import NIOPosix

/// The one logical thread that owns the state of every server in the process. Its executor is an event loop, and
/// sockets live on the same loop, so that a stanza never changes threads on its way.
@globalActor
public actor ServerActor {
    public static let shared = ServerActor()

    /// The threads of the sockets; its one loop is the actor's executor.
    public static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    /// The actor's executor.
    public static let loop: any EventLoop = group.next()

    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        Self.loop.executor.asUnownedSerialExecutor()
    }

    /// Runs `operation` at once. Only for callbacks that are known to run on the loop, such as a channel's; anywhere
    /// else the process stops.
    public static func assumeIsolated<T>(_ operation: @ServerActor () throws -> T) rethrows -> T {
        loop.preconditionInEventLoop()
        // Isolation is no part of a function's representation; the line above proved that the actor's thread runs it.
        return try withoutActuallyEscaping(operation) { operation in
            try unsafeBitCast(operation, to: (() throws -> T).self)()
        }
    }

    /// Runs `operation` soon, in the order of the calls. From any thread.
    public static func enqueue(_ operation: @escaping @ServerActor @Sendable () -> Void) {
        loop.execute { assumeIsolated(operation) }
    }
}
