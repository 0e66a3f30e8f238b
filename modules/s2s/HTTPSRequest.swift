import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix
import ServerKit

/// A small document by HTTPS: no more than it may have, and no longer than it may take.
struct HTTPSRequest: Equatable {
    /// Why there is no answer, or none to make anything of. It may be different soon.
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    enum Answer: Equatable, Sendable {
        case document([UInt8])
        /// It is elsewhere.
        case moved(to: String)
        /// There is no such document, or not even a web server. A sentence for administrators.
        case absent(String)
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

    /// Where a redirect leads to; nil when that is no place for this. RFC 9110 §10.2.2.
    ///
    /// - Parameter request: what was answered with it.
    init?(url: String, from request: HTTPSRequest) {
        if url.hasPrefix("/"), !url.hasPrefix("//") {
            self.init(url: "https://\(request.host):\(request.port)\(url)")
        } else {
            self.init(url: url)
        }
    }

    /// Gets the document. The server's certificate has to be valid for the host (RFC 2818 §3.1).
    ///
    /// - Parameter patience: how long the web server may take.
    /// - Throws: what may be different soon.
    @ServerActor
    func get(
        dns: any DNSLookup, trust: TLSTrust, patience: TimeAmount = .seconds(10)
    ) async throws -> Answer {
        let context = try TLSContext(trust: trust)
        let result = ServerActor.loop.makePromise(of: Answer.self)
        let host = self.host
        let channel: any Channel
        do {
            channel = try await ClientBootstrap(group: ServerActor.group)
                .resolver(AddressFinder(dns, on: ServerActor.loop))
                .connectTimeout(.nanoseconds(patience.nanoseconds / 2))
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
            if let absence = Self.absence(host, error) { return absence }
            throw Failure(description: "\(host) cannot be reached.")
        }
        let deadline = ServerActor.loop.scheduleTask(in: patience) {
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

    /// Whether a connection did not come about because there is no web server.
    private static func absence(_ host: String, _ error: any Error) -> Answer? {
        switch AddressProblem(error) {
        case .noSuchName?, .noAddresses?: return .absent("\(host) has no web server.")
        case .failed?: return nil
        case nil: break
        }
        guard let error = error as? NIOConnectionError, !error.connectionErrors.isEmpty else { return nil }
        let codes = error.connectionErrors.map { ($0.error as? IOError)?.errnoCode }
        let unreachable: Set<CInt?> = [ECONNREFUSED, ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL]
        guard codes.contains(ECONNREFUSED), codes.allSatisfy(unreachable.contains) else { return nil }
        return .absent("\(host) has no web server.")
    }
}

private final class DocumentReader: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart

    private let result: EventLoopPromise<HTTPSRequest.Answer>
    private let limit: Int
    private var body: [UInt8] = []

    init(_ result: EventLoopPromise<HTTPSRequest.Answer>, limit: Int) {
        self.result = result
        self.limit = limit
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            if let answer = Self.answer(head) { finish(context, answer) }
        case .body(let buffer):
            guard body.count + buffer.readableBytes <= limit else {
                fail("The document is too large.")
                return context.close(promise: nil)
            }
            body += Array(buffer.readableBytesView)
        case .end:
            result.succeed(.document(body))
        }
    }

    /// What the status says without a document; nil when that follows. RFC 9110 §15.
    private static func answer(_ head: HTTPResponseHead) -> Result<HTTPSRequest.Answer, HTTPSRequest.Failure>? {
        switch head.status.code {
        case 200: nil
        case 301, 302, 303, 307, 308: .success(.moved(to: head.headers.first(name: "location") ?? ""))
        // Too early, too many or too slow.
        case 408, 425, 429: .failure(.init(description: "The answer is \(head.status.code)."))
        case 400..<500: .success(.absent("The answer is \(head.status.code)."))
        default: .failure(.init(description: "The answer is \(head.status.code)."))
        }
    }

    private func finish(_ context: ChannelHandlerContext, _ answer: Result<HTTPSRequest.Answer, HTTPSRequest.Failure>) {
        result.completeWith(answer.mapError { $0 as any Error })
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) { fail("The connection was lost.") }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        result.fail(error)
        context.close(promise: nil)
    }

    private func fail(_ text: String) { result.fail(HTTPSRequest.Failure(description: text)) }
}
