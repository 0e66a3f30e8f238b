import Glibc
import NIOCore
import NIOPosix

/// One listening socket for streams.
@ServerActor
final class StreamListener {
    let address: ListenAddress
    private let channel: any Channel

    private init(_ address: ListenAddress, _ channel: any Channel) {
        self.address = address
        self.channel = channel
    }

    /// The address with the port that the system chose, where it was asked to.
    var boundAddress: ListenAddress {
        ListenAddress(host: address.host, port: UInt16(clamping: channel.localAddress?.port ?? 0))
    }

    /// Opens the socket.
    ///
    /// - Throws: a ``ModuleError`` that says which port and why.
    static func open(
        _ address: ListenAddress, directTLS: TLSServer?, silence: Int,
        accept: @escaping @ServerActor @Sendable (any StreamTransport) -> (any StreamEndpoint)?
    ) async throws -> StreamListener {
        let bootstrap = ServerBootstrap(group: ServerActor.group)
            .serverChannelOption(.backlog, value: 1_024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            // Without descriptors left, accepting pauses instead of trying again and again.
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(AcceptBackoffHandler())
                }
            }
            .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
            .childChannelOption(.socketOption(.so_keepalive), value: 1)
            // A peer that vanished is noticed when what was sent to it stays unacknowledged for so long.
            .childChannelOption(.tcpOption(.init(rawValue: 18 /* TCP_USER_TIMEOUT */)), value: silence)
            // A channel keeps its last buffer; small ones do for chat, and grow when more comes.
            .childChannelOption(
                .recvAllocator, value: AdaptiveRecvByteBufferAllocator(minimum: 512, initial: 512, maximum: 16_384)
            )
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let transport = SocketTransport(channel: channel, directTLS: directTLS, makeStream: accept)
                    try channel.pipeline.syncOperations.addHandler(transport)
                }
            }
        do {
            return StreamListener(address, try await bind(bootstrap, address))
        } catch {
            let reason = (error as? IOError).map { String(cString: strerror($0.errnoCode)) } ?? "\(error)"
            throw ModuleError("\(address) cannot be listened on: \(reason).")
        }
    }

    private static func bind(_ bootstrap: ServerBootstrap, _ address: ListenAddress) async throws -> any Channel {
        let port = Int(address.port)
        if let host = address.host {
            return try await bootstrap.bind(to: SocketAddress(ipAddress: host, port: port)).get()
        }
        // Every interface: a socket of version 6 takes connections of both, where the machine has it.
        do {
            return try await bootstrap.bind(to: SocketAddress(ipAddress: "::", port: port)).get()
        } catch let error as IOError where error.errnoCode == EAFNOSUPPORT || error.errnoCode == EADDRNOTAVAIL {
            return try await bootstrap.bind(to: SocketAddress(ipAddress: "0.0.0.0", port: port)).get()
        }
    }

    func close() {
        channel.close(promise: nil)
    }
}
