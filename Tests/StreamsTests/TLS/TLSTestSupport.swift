import Glibc
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import Streams

/// A directory of its own for one test.
final class Scratch: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/martlet-tls-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { bytes in
            bytes.baseAddress.flatMap(mkdtemp).map { String(cString: $0) }
        }
        path = try #require(made)
    }

    deinit { _ = try? openssl(binary: "/bin/rm", ["-rf", path]) }

    /// A self-signed certificate for these hosts, as a server presents it.
    func identity(_ hosts: String...) throws -> TLSContext {
        let files = try SelfSignedCertificate.generate(hosts: hosts, directory: path, replacing: true)
        return try TLSContext(certificateChain: files.certificate, privateKey: files.key)
    }

    func write(_ name: String, _ text: String, mode: mode_t = 0o600) throws {
        let file = open(path + "/" + name, O_WRONLY | O_CREAT | O_TRUNC, mode)
        try #require(file >= 0)
        defer { close(file) }
        try #require(text.withCString { Glibc.write(file, $0, strlen($0)) } == text.utf8.count)
    }

    func text(_ name: String) throws -> String {
        String(decoding: try readSmallFile(path + "/" + name), as: UTF8.self)
    }
}

/// Runs a program to its end; its input stays open until then.
///
/// - Returns: everything it said, on both of its outputs.
@discardableResult
func openssl(binary: String = "/usr/bin/openssl", _ arguments: [String], input: String = "") throws -> String {
    var (inputEnds, outputEnds) = ([CInt](repeating: 0, count: 2), [CInt](repeating: 0, count: 2))
    try #require(pipe(&inputEnds) == 0 && pipe(&outputEnds) == 0)
    for end in inputEnds + outputEnds { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, inputEnds[0], 0)
    posix_spawn_file_actions_adddup2(&actions, outputEnds[1], 1)
    posix_spawn_file_actions_adddup2(&actions, outputEnds[1], 2)
    var words: [UnsafeMutablePointer<CChar>?] = ([binary] + arguments).map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var process: pid_t = 0
    try #require(posix_spawn(&process, binary, &actions, nil, &words, environ) == 0)
    close(inputEnds[0])
    close(outputEnds[1])
    _ = input.withCString { Glibc.write(inputEnds[1], $0, strlen($0)) }
    var output: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while case let count = read(outputEnds[0], &chunk, chunk.count), count > 0 { output += chunk[..<count] }
    close(inputEnds[1])
    close(outputEnds[0])
    var status: CInt = 0
    waitpid(process, &status, 0)
    return String(decoding: output, as: UTF8.self)
}

/// What a connection said about itself, to be held after its end.
struct Facts: Sendable {
    let version, cipher: String
    let sni, alpn: String?
    let reused: Bool
    let exporter, endPoint: [UInt8]?
    let chain: [[UInt8]]

    init(_ info: TLSInfo) {
        version = info.version
        cipher = info.cipher
        sni = info.sniHostName
        alpn = info.alpn
        reused = info.sessionReused
        exporter = info.exporter()
        endPoint = info.tlsServerEndPoint
        chain = info.peerCertificates
    }
}

/// The owner of a connection: notes what happens, echoes if it shall, and says goodbye when it reads "bye".
final class Owner: ChannelInboundHandler, Sendable {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    let handshake: EventLoopPromise<Facts>
    let ended: EventLoopPromise<Void>
    private let echoes: Bool
    private let notes = Mutex((text: "", errors: [TLSError](), waiters: [(Int, EventLoopPromise<String>)]()))

    init(_ loop: any EventLoop, echoes: Bool = false) {
        handshake = loop.makePromise()
        ended = loop.makePromise()
        self.echoes = echoes
    }

    var text: String { notes.withLock { $0.text } }
    var errors: [TLSError] { notes.withLock { $0.errors } }

    /// The text, once there are that many bytes of it.
    func text(of count: Int, on loop: any EventLoop) async throws -> String {
        let promise = loop.makePromise(of: String.self)
        notes.withLock { notes in
            if notes.text.utf8.count >= count { return promise.succeed(notes.text) }
            notes.waiters.append((count, promise))
        }
        return try await promise.futureResult.get()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = unwrapInboundIn(data)
        let text = String(buffer: buffer)
        notes.withLock { notes in
            notes.text += text
            for (count, promise) in notes.waiters where notes.text.utf8.count >= count { promise.succeed(notes.text) }
            notes.waiters.removeAll { notes.text.utf8.count >= $0.0 }
        }
        if echoes { context.writeAndFlush(data, promise: nil) }
        if text == "bye\n" { context.close(promise: nil) }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted(let info) = event as? TLSEvent { handshake.succeed(Facts(info)) }
        if event as? ChannelEvent == .inputClosed, echoes {
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: "after the end")), promise: nil)
            context.close(promise: nil)
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let error = error as? TLSError { notes.withLock { $0.errors.append(error) } }
        handshake.fail(error)
    }

    func channelInactive(context: ChannelHandlerContext) { finish(context) }

    func handlerRemoved(context: ChannelHandlerContext) { finish(context) }

    private func finish(_ context: ChannelHandlerContext) {
        handshake.fail(TLSError.closed)
        ended.succeed()
        notes.withLock { notes in
            for (_, promise) in notes.waiters { promise.fail(TLSError.closed) }
            notes.waiters = []
        }
    }
}

/// A listener whose connections are secured and echo.
final class Listener: Sendable {
    let channel: any Channel
    private let owners = Mutex<[Owner]>([])

    static let loop = MultiThreadedEventLoopGroup.singleton.next()

    init(_ server: TLSServer, echoes: Bool = true, halfCloses: Bool = false) async throws {
        final class Box: Sendable { let add = Mutex<(@Sendable (Owner) -> Void)?>(nil) }
        let box = Box()
        channel = try await ServerBootstrap(group: Self.loop)
            .childChannelOption(.allowRemoteHalfClosure, value: halfCloses)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let owner = Owner(channel.eventLoop, echoes: echoes)
                    box.add.withLock { $0 }?(owner)
                    try channel.pipeline.syncOperations.addHandlers(TLSHandler(server: server), owner)
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        box.add.withLock { $0 = { [weak self] owner in self?.owners.withLock { $0.append(owner) } } }
    }

    var port: Int { channel.localAddress?.port ?? 0 }

    /// The side of the server of the newest connection.
    func latest() throws -> Owner { try #require(owners.withLock { $0.last }) }

    /// Connects as a client.
    func connect(
        _ context: TLSContext? = nil, to name: String = "example.org", alpn: [String] = [], halfCloses: Bool = false
    ) async throws -> (channel: any Channel, owner: Owner) {
        let context = try context ?? TLSContext(trust: nil)
        let owner = Owner(Self.loop)
        let channel = try await ClientBootstrap(group: Self.loop)
            .channelOption(.allowRemoteHalfClosure, value: halfCloses)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handler = try TLSHandler(client: context, serverName: name, applicationProtocols: alpn)
                    try channel.pipeline.syncOperations.addHandlers(handler, owner)
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
        return (channel, owner)
    }

    /// What `openssl s_client` says about a connection here that says "bye".
    func sClient(_ arguments: String...) throws -> String {
        try openssl(["s_client", "-connect", "127.0.0.1:\(port)"] + arguments, input: "bye\n")
    }
}
