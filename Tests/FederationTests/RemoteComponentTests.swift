import NIOCore
import NIOPosix
import ServerKit
import TestKit
import Testing

@testable import Federation
@testable import Modules

/// External components and other servers. What the component itself says and hears is in ModuleTests.
@Suite("Components across servers", .serialized) struct RemoteComponentTests {
    @Test("An external component is reached from elsewhere, and reaches users there")
    func bothWays() async throws {
        let modules: [any Module.Type] = [ComponentPort.self, ExternalComponent.self]
        try await playBetweenServers(
            modules: modules, listen: "s2s: \"127.0.0.1:0\", s2s_tls: off, component: \"127.0.0.1:0\"",
            components: true, ofModule: "external, secret: verona"
        ) { servers in
            let address = try #require(servers.montague.server.listening["component"]?.first)
            let gateway = try await Plug.connect(to: address)
            gateway.says(
                "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='rooms.montague.example'>"
            )
            #expect(await servers.until { gateway.heard.contains(" id='") })
            let id = gateway.heard.split(separator: " id='").last?.prefix { $0 != "'" } ?? ""
            gateway.says("<handshake>\(Hex.encode(Digest.sha1(Array("\(id)verona".utf8))))</handshake>")
            #expect(await servers.until { gateway.heard.contains("<handshake/>") }, "\(gateway.heard)")
            let juliet = try await servers.capulet.enter("juliet@capulet.example/balcony")
            try await juliet.sends("<message to='#a%b@rooms.montague.example/x' id='1'><body>Ay me</body></message>")
            #expect(await servers.until { gateway.heard.contains("Ay me") })
            #expect(gateway.heard.contains("from='juliet@capulet.example/balcony'"))
            gateway.says(
                "<message from='#a%b@rooms.montague.example/x' to='juliet@capulet.example' id='2'><body>She speaks</body></message>"
            )
            await servers.settle()
            try await juliet.receives(
                "<message from='#a%b@rooms.montague.example/x' to='juliet@capulet.example' id='2'><body>She speaks</body></message>"
            )
        }
    }
}

/// A socket that says and hears text.
@ServerActor
private final class Plug {
    private(set) var heard = ""
    private let channel: any Channel

    private init(_ channel: any Channel) { self.channel = channel }

    static func connect(to address: ListenAddress) async throws -> Plug {
        let ears = Ears()
        let channel = try await ClientBootstrap(group: ServerActor.group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(ears) }
            }
            .connect(host: address.host ?? "127.0.0.1", port: Int(address.port)).get()
        let plug = Plug(channel)
        ears.plug = plug
        return plug
    }

    func says(_ text: String) { channel.writeAndFlush(ByteBuffer(string: text), promise: nil) }

    fileprivate func hear(_ text: String) { heard += text }
}

private final class Ears: ChannelInboundHandler, @unchecked Sendable {
    // Used on the one event loop only.
    typealias InboundIn = ByteBuffer
    weak var plug: Plug?

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let text = String(buffer: unwrapInboundIn(data))
        let plug = self.plug
        ServerActor.assumeIsolated { plug?.hear(text) }
    }
}
