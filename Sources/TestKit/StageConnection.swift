import Glibc
import NIOCore
import NIOPosix
import ServerKit

/// An actor's way to the server.
@ServerActor
protocol StageConnection: AnyObject {
    var serverStream: ClientStream? { get }
    func send(_ bytes: [UInt8])
    /// Ends the connection without a word.
    func cut()
    /// Ends it for the actor alone: the server does not exist any more.
    func abandon()
}

/// Two buffers in memory: bytes arrive in the next turn of the loop, as from a socket.
@ServerActor
final class MemoryTransport: StreamTransport, StageConnection {
    private(set) var serverStream: ClientStream?
    let peerAddress = "192.0.2.1"
    var tls: TLSInfo? { nil }
    private(set) var isSecure: Bool
    private(set) var backlog = 0
    private weak var actor: Actor?
    private var isOpen = true
    private var isReading = true
    private var toServer: [UInt8] = []

    init(server: Server, actor: Actor, isSecure: Bool) {
        self.actor = actor
        self.isSecure = isSecure
        serverStream = ClientStream(server: server, transport: self)
    }

    func send(_ bytes: [UInt8]) {
        toServer += bytes
        ServerActor.enqueue { self.pump() }
    }

    private func pump() {
        guard isOpen, isReading, !toServer.isEmpty else { return }
        let bytes = toServer
        toServer = []
        bytes.withUnsafeBytes { serverStream?.receive($0) }
    }

    func cut() {
        guard isOpen else { return }
        isOpen = false
        serverStream?.connectionLost("cut")
        actor?.closed()
    }

    func abandon() {
        guard isOpen else { return }
        isOpen = false
        actor?.closed()
        actor = nil
    }

    func write(_ bytes: [UInt8], isUrgent: Bool) {
        backlog += bytes.count
        ServerActor.enqueue {
            self.backlog -= bytes.count
            self.actor?.receive(bytes)
        }
    }

    func startTLS(_ server: TLSServer) throws {
        isSecure = true
        toServer = []
    }

    func startTLS(_ client: TLSClient) throws {
        isSecure = true
        toServer = []
    }

    func setReading(_ isReading: Bool) {
        self.isReading = isReading
        if isReading { ServerActor.enqueue { self.pump() } }
    }

    func close() {
        guard isOpen else { return }
        isOpen = false
        ServerActor.enqueue { self.actor?.closed() }
    }
}

/// A listening TLS socket for plays.
@ServerActor
final class StageListener {
    private let channel: any Channel
    private let identities: TLSIdentities
    private let clientContext: TLSContext
    private var accept: (@ServerActor (any StreamTransport) -> ClientStream)?
    private var accepted: ClientStream?

    init() async throws {
        let directory = "/tmp/martlet-stage-\(RandomToken.make(bytes: 8))"
        guard mkdir(directory, 0o700) == 0 else { throw ModuleError("\(directory) cannot be made.") }
        let files = try SelfSignedCertificate.generate(hosts: ["montague.example"], directory: directory)
        defer {
            unlink(files.certificate)
            unlink(files.key)
            rmdir(directory)
        }
        let context = try TLSContext(certificateChain: files.certificate, privateKey: files.key)
        identities = TLSIdentities([:], fallback: context)
        clientContext = try TLSContext(trust: nil)
        let server = try TLSServer(identities)
        let box = ListenerBox()
        channel = try await ServerBootstrap(group: ServerActor.group)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let transport = SocketTransport(channel: channel, directTLS: server) { transport in
                        // Set right below, before anybody knows the port.
                        guard let listener = box.listener else { preconditionFailure("No stage yet") }
                        return listener.makeStream(transport)
                    }
                    try channel.pipeline.syncOperations.addHandler(transport)
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        box.listener = self
    }

    private func makeStream(_ transport: any StreamTransport) -> ClientStream {
        guard let accept else { preconditionFailure("Nobody connects") }
        let stream = accept(transport)
        accepted = stream
        return stream
    }

    func connect(to server: Server, actor: Actor, serverName: String) async throws -> any StageConnection {
        accept = { ClientStream(server: server, transport: $0) }
        let context = clientContext
        let connection = SocketConnection(actor: actor)
        let client = try await ClientBootstrap(group: ServerActor.group).connectTimeout(.seconds(40))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandlers([
                        TLSHandler(client: context, serverName: serverName), SocketReceiver(connection: connection),
                    ])
                }
            }
            .connect(to: channel.localAddress ?? SocketAddress(ipAddress: "127.0.0.1", port: 0)).get()
        while accepted == nil { await SocketTurn.tasks() }
        connection.channel = client
        connection.serverStream = accepted
        accepted = nil
        return connection
    }

    func close() async {
        try? await channel.close().get()
    }
}

@ServerActor
private final class ListenerBox {
    nonisolated init() {}
    var listener: StageListener?
}

/// An actor's TLS socket.
@ServerActor
private final class SocketConnection: StageConnection {
    var serverStream: ClientStream?
    var channel: (any Channel)?
    weak var actor: Actor?

    init(actor: Actor) {
        self.actor = actor
    }

    func send(_ bytes: [UInt8]) {
        channel?.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
    }

    func cut() {
        channel?.close(promise: nil)
    }

    func abandon() { cut() }
}

private final class SocketReceiver: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let connection: SocketConnection

    init(connection: SocketConnection) {
        self.connection = connection
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = Array(unwrapInboundIn(data).readableBytesView)
        let connection = self.connection
        ServerActor.assumeIsolated { connection.actor?.receive(bytes) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        let connection = self.connection
        ServerActor.assumeIsolated { connection.actor?.closed() }
    }
}
