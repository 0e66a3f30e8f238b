import NIOCore
import NIOHTTP1
import NIOPosix
import ServerKit

/// A small document by HTTPS: no redirects, no more than it may have, and no longer than it may take.
struct HTTPSRequest {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    let host: String
    let port: Int
    let path: String

    /// What a document may have, in bytes.
    static let sizeLimit = 65_536

    init(host: String, port: Int = 443, path: String) {
        self.host = host
        self.port = port
        self.path = path
    }

    /// Reads `https://host/path` or `https://host:port/path`; nil for anything else.
    init?(url: String) {
        guard url.hasPrefix("https://"), url.utf8.count <= 2_048, url.utf8.allSatisfy({ 0x21...0x7E ~= $0 }) else {
            return nil
        }
        let rest = url.dropFirst(8)
        let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        guard !authority.isEmpty, !authority.contains("@") else { return nil }
        let parts = authority.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= 2, let domain = JID(domain: String(parts[0])) else { return nil }
        guard let port = parts.count == 2 ? Int(parts[1]) : 443, (1...65_535).contains(port) else { return nil }
        let path = rest.dropFirst(authority.count).prefix { $0 != "#" }
        self.init(host: domain.asciiDomain, port: port, path: path.hasPrefix("/") ? String(path) : "/" + path)
    }

    /// Gets the document. The server's certificate has to be valid for the host (RFC 2818 §3.1).
    @ServerActor
    func get(dns: any DNSLookup, trust: TLSTrust) async throws -> [UInt8] {
        let context = try TLSContext(trust: trust)
        let result = ServerActor.loop.makePromise(of: [UInt8].self)
        let host = self.host
        let channel: any Channel
        do {
            channel = try await ClientBootstrap(group: ServerActor.group)
                .resolver(AddressFinder(dns, on: ServerActor.loop))
                .connectTimeout(.seconds(5))
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let pipeline = channel.pipeline.syncOperations
                        try pipeline.addHandler(
                            TLSHandler(client: context, serverName: host, applicationProtocols: ["http/1.1"]))
                        try pipeline.addHTTPClientHandlers(leftOverBytesStrategy: .dropBytes)
                        try pipeline.addHandler(DocumentReader(result, limit: Self.sizeLimit))
                    }
                }
                .connect(host: host, port: port).get()
        } catch {
            result.fail(error)
            throw error
        }
        let deadline = ServerActor.loop.scheduleTask(in: .seconds(10)) {
            result.fail(Failure(description: "\(host) did not answer in time."))
        }
        defer {
            deadline.cancel()
            channel.close(promise: nil)
        }
        var head = HTTPRequestHead(version: .http1_1, method: .GET, uri: path)
        head.headers = [
            "Host": port == 443 ? host : "\(host):\(port)", "Accept": "application/json", "Connection": "close",
        ]
        channel.write(HTTPClientRequestPart.head(head), promise: nil)
        channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
        return try await result.futureResult.get()
    }
}

private final class DocumentReader: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart

    private let result: EventLoopPromise<[UInt8]>
    private let limit: Int
    private var body: [UInt8] = []

    init(_ result: EventLoopPromise<[UInt8]>, limit: Int) {
        self.result = result
        self.limit = limit
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            guard head.status == .ok else { return fail("The answer is \(head.status.code).") }
        case .body(let buffer):
            guard body.count + buffer.readableBytes <= limit else { return fail("The document is too large.") }
            body += Array(buffer.readableBytesView)
        case .end:
            result.succeed(body)
        }
    }

    func channelInactive(context: ChannelHandlerContext) { fail("The connection was lost.") }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        result.fail(error)
        context.close(promise: nil)
    }

    private func fail(_ text: String) { result.fail(HTTPSRequest.Failure(description: text)) }
}
