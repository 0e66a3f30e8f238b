import Glibc
import NIOCore
import NIOPosix
import ServerKit

/// What happens to the process as a whole.
enum ProcessEvent: Sendable {
    /// SIGTERM or SIGINT, or the administrator's `stop`.
    case stop
    /// SIGHUP.
    case reload
}

/// Turns signals into events.
///
/// A signal interrupts any instruction, so that its handler may do next to nothing: it writes the number into a pipe,
/// at whose other end the event loop reads.
enum ProcessSignals {
    private static let watched = [SIGTERM, SIGINT, SIGHUP]

    /// From now on signals arrive as events; a second request to stop ends the process at once.
    static func watch(_ events: AsyncStream<ProcessEvent>.Continuation) async throws {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else {
            throw CommandFailure("No pipe for signals: \(String(cString: strerror(errno))).")
        }
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
        signalPipe = ends[1]
        _ = try await NIOPipeBootstrap(group: ServerActor.group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(SignalReader(events))
                }
            }
            .takingOwnershipOfDescriptor(input: ends[0]).get()
        for number in watched {
            var action = sigaction()
            action.__sigaction_handler.sa_handler = { number in
                let saved = errno
                var byte = UInt8(truncatingIfNeeded: number)
                write(signalPipe, &byte, 1)
                errno = saved
            }
            action.sa_flags = SA_RESTART
            sigaction(number, &action, nil)
        }
    }
}

/// The end of the pipe that the signal handler writes to. A plain number with a constant first value: reading it runs
/// no code. Written once, before the handler is installed, which is the proof for `nonisolated(unsafe)`.
nonisolated(unsafe) private var signalPipe: Int32 = -1

private final class SignalReader: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let events: AsyncStream<ProcessEvent>.Continuation
    private var isStopping = false

    init(_ events: AsyncStream<ProcessEvent>.Continuation) {
        self.events = events
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        for number in unwrapInboundIn(data).readableBytesView {
            if Int32(number) == SIGHUP {
                events.yield(.reload)
            } else {
                // Whoever asks twice has no patience for clients that do not go.
                if isStopping { exit(ExitStatus.failure) }
                isStopping = true
                events.yield(.stop)
            }
        }
    }
}
