import ServerKit
import TestKit
import Testing

@testable import Modules

/// An external component in a play. What it says and expects is XML.
@ServerActor
final class Gateway {
    let socket: RawSocket
    private(set) var streamID = ""
    private(set) var header: StreamHeader?
    private let stage: Stage
    private let reader = StreamReader(pool: ParserPool(), limits: XMLLimits(elementBytes: 10_000_000))
    private var inbox: [Element] = []

    nonisolated static let domain = "irc.montague.example"

    init(_ socket: RawSocket, _ stage: Stage) {
        self.socket = socket
        self.stage = stage
    }

    /// Opens a connection and a stream, and no more.
    static func open(
        _ stage: Stage, to domain: String = domain, namespace: String = "jabber:component:accept"
    ) async throws -> Gateway {
        let address = try #require(stage.server.listening["component"]?.first)
        let gateway = Gateway(try await RawSocket.connect(to: address), stage)
        gateway.says(
            "<stream:stream xmlns='\(namespace)' xmlns:stream='http://etherx.jabber.org/streams' to='\(domain)'>")
        _ = await gateway.socket.until {
            gateway.hear()
            return gateway.header != nil
        }
        return gateway
    }

    /// Opens a stream and proves to know the secret.
    static func connect(_ stage: Stage, to domain: String = domain, secret: String = "verona") async throws -> Gateway {
        let gateway = try await open(stage, to: domain)
        gateway.shakesHands(secret)
        try await gateway.receives("<handshake/>")
        return gateway
    }

    func shakesHands(_ secret: String) {
        says("<handshake>\(Hex.encode(Digest.sha1(Array((streamID + secret).utf8))))</handshake>")
    }

    func says(_ xml: String) { socket.says(xml) }

    private func hear() {
        let bytes = socket.take()
        bytes.withUnsafeBytes { raw in
            do throws(StreamError) {
                try reader.read(raw) { event throws(StreamError) in
                    switch event {
                    case .opened(let header):
                        self.header = header
                        streamID = header.id ?? ""
                    case .element(let element): inbox.append(element)
                    case .closed: break
                    }
                    return true
                }
            } catch {
                Issue.record("The server wrote nonsense: \(error)")
            }
        }
    }

    /// The next element must match.
    @discardableResult
    func receives(_ pattern: String, line: Int = #line) async throws -> Element {
        let expected = try Element.parse(pattern)
        _ = await socket.until {
            hear()
            return !inbox.isEmpty
        }
        guard !inbox.isEmpty else {
            throw StageError("The component expected \(pattern), line \(line)", file: #fileID, line: line)
        }
        let found = inbox.removeFirst()
        guard found.matches(expected) else {
            throw StageError("The component expected \(expected)\n  got \(found)", file: #fileID, line: line)
        }
        return found
    }

    /// All that has come once things have settled.
    func everything() async -> [Element] {
        for _ in 0..<3 {
            await stage.settle()
            await SocketTurn.pass(2)
        }
        hear()
        defer { inbox = [] }
        return inbox
    }

    func staysSilent(line: Int = #line) async {
        let all = await everything()
        #expect(all.isEmpty, "line \(line): \(all)")
    }

    /// The stream ends with this error, and the connection with it.
    func isClosed(with condition: StreamError.Condition, line: Int = #line) async throws {
        #expect(await socket.isCutOff(), "line \(line)")
        hear()
        let error = inbox.first { $0.is("error", .streams) }.map { StreamError($0) }
        #expect(error?.condition == condition, "line \(line): \(inbox)")
        inbox = []
    }
}

/// Performs a play with the domain of a component, `irc.montague.example`, whose secret is `verona`.
func playWithComponent(
    _ options: String = "", port: String = "on", modules names: Set<String> = [], config: String = "",
    _ body: @escaping @ServerActor @Sendable (Stage) async throws -> Void
) async throws {
    let all = names.union([
        "component", "component_rights", "external", "roster", "presence", "messages", "disco", "ping",
    ])
    let modules = bundledModules.filter { all.contains($0.info.name) }
    try await play(modules: modules, config: componentConfig(options, port: port, modules: modules, config)) { stage in
        try await stage.server.finishStartUp()
        try await body(stage)
    }
}

func componentConfig(
    _ options: String = "", secret: String = "verona", port: String = "on", modules: [any Module.Type] = bundledModules,
    _ config: String = ""
) -> String {
    let used = ["roster", "presence", "messages", "disco", "ping", "component_rights", "carbons", "pubsub", "offline"]
    let on = modules.map { $0.info.name }.filter { used.contains($0) }.map { "  \($0): on\n" }.joined()
    return """
        hosts: { montague.example: {} }
        components: { \(Gateway.domain): { module: external, secret: \(secret)\(options.isEmpty ? "" : ", " + options) } }
        listen: { component: "127.0.0.1:0" }
        \(config)
        modules:
          component: \(port)
        \(on)
        """
}
