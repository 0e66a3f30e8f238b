import TestKit
import Testing

@testable import Modules
@testable import ServerKit

@Suite("The proxy for bytestreams (XEP-0065)", .serialized) struct Proxy65Tests {
    private func perform(
        _ options: String = "", _ body: @escaping @ServerActor @Sendable (Stage) async throws -> Void
    ) async throws {
        let modules = bundledModules.filter { ["proxy65", "disco", "presence", "roster"].contains($0.info.name) }
        let config = """
            hosts: { montague.example: {} }
            components: { proxy.montague.example: { module: proxy65\(options.isEmpty ? "" : ", " + options) } }
            listen: { proxy65: "127.0.0.1:0" }

            """
        try await play(modules: modules, config: config) { stage in
            try await stage.server.finishStartUp()
            try await body(stage)
        }
    }

    private let requester = "romeo@montague.example/orchard"
    private let target = "juliet@capulet.example/balcony"

    private func hash(_ id: String, _ requester: String, _ target: String) -> [UInt8] {
        Array(Hex.encode(Digest.sha1(Array((id + requester + target).utf8))).utf8)
    }

    @ServerActor
    private func connect(_ stage: Stage) async throws -> RawSocket {
        try await RawSocket.connect(to: try #require(stage.server.listening["proxy65"]?.first))
    }

    /// Connects and names a hash, as both ends do.
    @ServerActor
    private func end(_ stage: Stage, _ hash: [UInt8]) async throws -> RawSocket {
        let socket = try await connect(stage)
        socket.says([5, 1, 0])
        #expect(await socket.hears(2))
        #expect(socket.take() == [5, 0])
        socket.says([5, 1, 0, 3, 40] + hash + [0, 0])
        #expect(await socket.hears(47))
        #expect(socket.take() == [5, 0, 0, 3, 40] + hash + [0, 0])
        return socket
    }

    private func activation(_ id: String, _ target: String) -> String {
        "<query xmlns='http://jabber.org/protocol/bytestreams' sid='\(id)'><activate>\(target)</activate></query>"
    }

    @ServerActor
    private func transfer(_ stage: Stage, _ romeo: Actor, _ id: String = "s1") async throws -> (RawSocket, RawSocket) {
        let name = hash(id, requester, target)
        let juliets = try await end(stage, name)
        let romeos = try await end(stage, name)
        try await romeo.asks(.set, activation(id, target), to: "proxy.montague.example")
        return (romeos, juliets)
    }

    @Test("It is found by disco, and says where it is")
    func discovery() async throws {
        try await perform("host: files.montague.example") { stage in
            let romeo = try await stage.enter(requester)
            let info = try await romeo.asks(
                .get, "<query xmlns='http://jabber.org/protocol/disco#info'/>", to: "proxy.montague.example")
            #expect(
                info?.child("identity")?["category"] == "proxy" && info?.child("identity")?["type"] == "bytestreams")
            #expect(info?.children.contains { $0["var"] == "http://jabber.org/protocol/bytestreams" } == true)
            let answer = try await romeo.asks(
                .get, "<query xmlns='http://jabber.org/protocol/bytestreams'/>", to: "proxy.montague.example")
            let host = answer?.child("streamhost")
            #expect(host?["jid"] == "proxy.montague.example" && host?["host"] == "files.montague.example")
            #expect(host?["port"] == "\(try #require(stage.server.listening["proxy65"]?.first).port)")
        }
        try await perform { stage in
            let romeo = try await stage.enter(requester)
            let answer = try await romeo.asks(
                .get, "<query xmlns='http://jabber.org/protocol/bytestreams'/>", to: "proxy.montague.example")
            #expect(answer?.child("streamhost")?["host"] == "127.0.0.1")
        }
    }

    @Test("Bytes go both ways once the requester has activated the stream, and what came before is ignored")
    func exchange() async throws {
        try await perform { stage in
            let romeo = try await stage.enter(requester)
            let name = hash("s1", requester, target)
            let juliets = try await end(stage, name)
            juliets.says("too early")
            let romeos = try await end(stage, name)
            await stage.settle()
            await SocketTurn.pass(2)
            try await romeo.asks(.set, activation("s1", target), to: "proxy.montague.example")
            romeos.says("Sweet lady")
            #expect(await juliets.until { juliets.heard == Array("Sweet lady".utf8) })
            juliets.says("Good night")
            #expect(await romeos.until { romeos.heard == Array("Good night".utf8) })
            romeos.leaves()
            #expect(await juliets.isCutOff())
        }
    }

    @Test("Large transfers arrive intact, although the receiver is slow and the sender goes first")
    func large() async throws {
        try await perform("rate: unlimited, user_rate: unlimited") { stage in
            let romeo = try await stage.enter(requester)
            let (romeos, juliets) = try await transfer(stage, romeo)
            juliets.setReading(false)
            var bytes = [UInt8](repeating: 0, count: 12_000_000)
            for index in bytes.indices { bytes[index] = UInt8(truncatingIfNeeded: index &* 2_654_435_761 >> 13) }
            romeos.says(bytes)
            await stage.advance(by: .seconds(1))
            // Nothing more is taken than fits.
            juliets.setReading(true)
            for _ in 0..<2_000 where juliets.heard.count < bytes.count {
                await stage.advance(by: .milliseconds(50))
                await SocketTurn.pass()
            }
            #expect(juliets.heard.count == bytes.count && juliets.heard == bytes)
        }
    }

    @Test("An end that closes is followed by the other one when that has everything")
    func farewell() async throws {
        try await perform("rate: unlimited, user_rate: unlimited") { stage in
            let romeo = try await stage.enter(requester)
            let (romeos, juliets) = try await transfer(stage, romeo)
            juliets.setReading(false)
            romeos.says([UInt8](repeating: 7, count: 8_000_000))
            await stage.advance(by: .seconds(1))
            juliets.setReading(true)
            for _ in 0..<2_000 where juliets.heard.count < 8_000_000 {
                await stage.advance(by: .milliseconds(50))
                await SocketTurn.pass()
            }
            romeos.says([UInt8](repeating: 8, count: 100_000))
            romeos.leaves()
            #expect(await juliets.hears(8_100_000), "\(juliets.heard.count)")
            for _ in 0..<10 { await stage.advance(by: .milliseconds(50)) }
            #expect(await juliets.isCutOff())
        }
    }

    @Test("A transfer is no faster than allowed, nor are a user's together")
    func rates() async throws {
        for options in ["rate: 100 KB per second", "user_rate: 100 KB per second"] {
            try await perform(options) { stage in
                let romeo = try await stage.enter(requester)
                let (romeos, juliets) = try await transfer(stage, romeo)
                romeos.says([UInt8](repeating: 7, count: 2_000_000))
                await stage.settle()
                _ = await juliets.until { juliets.heard.count > 90_000 }
                await SocketTurn.pass(100)
                let first = juliets.heard.count
                #expect(first < 200_000, "\(first)")
                for _ in 0..<3_000 where juliets.heard.count < 2_000_000 {
                    await stage.advance(by: .milliseconds(200))
                    await SocketTurn.pass()
                }
                #expect(juliets.heard.count == 2_000_000)
            }
        }
    }

    // MARK: Those who may not

    @Test("Strangers may neither ask nor activate, unless anyone may")
    func access() async throws {
        try await perform { stage in
            let romeo = try await stage.enter(requester)
            let (host, jid) = (
                try #require(stage.server.component("proxy.montague.example")), try #require(JID(target))
            )
            #expect(!host.allows(.local, from: jid))
            #expect(host.allows(.local, from: try #require(romeo.jid)))
            let errors = ErrorCatcher()
            stage.server.router.attach(errors, to: "capulet.example")
            for kind in [IQ.Kind.get, .set] {
                stage.server.router.route(
                    IQ(kind, to: host.jid, from: jid, id: kind.rawValue) {
                        Element("query", .bytestreams, ["sid": "a"])
                    })
            }
            await stage.settle()
            #expect(errors.conditions == [.forbidden, .forbidden])
        }
    }

    @Test("Activations that do not fit are refused (XEP-0065 §6.3.5)")
    func refusals() async throws {
        try await perform { stage in
            let romeo = try await stage.enter(requester)
            let mercutio = try await stage.enter("mercutio@montague.example/street")
            let proxy = "proxy.montague.example"
            #expect(try await romeo.isRefused(.set, activation("s1", target), to: proxy).condition == .notAuthorized)
            let name = hash("s1", requester, target)
            let one = try await end(stage, name)
            #expect(try await romeo.isRefused(.set, activation("s1", target), to: proxy).condition == .notAllowed)
            let other = try await end(stage, name)
            // Somebody else's, another stream's, another target's.
            #expect(try await mercutio.isRefused(.set, activation("s1", target), to: proxy).condition == .notAuthorized)
            #expect(try await romeo.isRefused(.set, activation("s2", target), to: proxy).condition == .notAuthorized)
            #expect(try await romeo.isRefused(.set, activation("s1", "a@b"), to: proxy).condition == .notAuthorized)
            #expect(try await romeo.isRefused(.set, activation("s1", "a@@b"), to: proxy).condition == .jidMalformed)
            #expect(
                try await romeo.isRefused(
                    .set, "<query xmlns='http://jabber.org/protocol/bytestreams'><activate>a@b</activate></query>",
                    to: proxy
                ).condition == .badRequest)
            #expect(
                try await romeo.isRefused(
                    .set, "<query xmlns='http://jabber.org/protocol/bytestreams' sid='s1'/>", to: proxy
                ).condition == .badRequest)
            one.says("Hark")
            await stage.settle()
            #expect(other.heard.isEmpty)
            try await romeo.asks(.set, activation("s1", target), to: proxy)
            #expect(try await romeo.isRefused(.set, activation("s1", target), to: proxy).condition == .notAuthorized)
        }
    }

    @Test("A stream has two ends: a third connection is refused")
    func third() async throws {
        try await perform { stage in
            let name = hash("s1", requester, target)
            _ = try await end(stage, name)
            let second = try await end(stage, name)
            let third = try await connect(stage)
            third.says([5, 1, 0, 5, 1, 0, 3, 40] + name + [0, 0])
            #expect(await third.until { third.heard.count == 12 })
            #expect(third.heard[3] == 2)
            #expect(await third.isCutOff())
            second.leaves()
            #expect(await second.isCutOff())
            await stage.settle()
            await SocketTurn.pass(20)
            _ = try await end(stage, name)
        }
    }

    @Test("Other things than SOCKS5 for a hash are refused")
    func socks() async throws {
        try await perform { stage in
            let name = hash("s1", requester, target)
            let cases: [(bytes: [UInt8], answer: [UInt8])] = [
                ([4, 1, 0], []), (Array("GET / HTTP/1.1\r\n\r\n".utf8), []), ([5, 1, 2], [5, 0xFF]),
                ([5, 0], [5, 0xFF]),
                ([5, 1, 0, 5, 2, 0, 3, 40] + name + [0, 0], [5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0]),
                ([5, 1, 0, 5, 3, 0, 3, 40] + name + [0, 0], [5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0]),
                ([5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 0, 25], [5, 0, 5, 8, 0, 1, 0, 0, 0, 0, 0, 0]),
                ([5, 1, 0, 5, 1, 0, 3, 40] + name + [0, 25], [5, 0, 5, 2, 0, 1, 0, 0, 0, 0, 0, 0]),
                ([5, 1, 0, 5, 1, 0, 3, 9] + Array("localhost".utf8) + [0, 0], [5, 0, 5, 2, 0, 1, 0, 0, 0, 0, 0, 0]),
                ([5, 1, 0, 4, 1, 0, 3, 40] + name + [0, 0], [5, 0]),
            ]
            for (bytes, answer) in cases {
                let socket = try await connect(stage)
                socket.says(bytes)
                #expect(await socket.isCutOff(), "\(bytes)")
                #expect(socket.heard == answer, "\(bytes)")
            }
            // Byte by byte is fine.
            let slow = try await connect(stage)
            for byte in [5, 2, 1, 0, 5, 1, 0, 3, 40] + name + [0, 0] {
                slow.says([byte])
                await stage.settle()
            }
            #expect(await slow.hears(49))
        }
    }

    // MARK: Limits

    @Test("Nobody waits for ever: before the greeting, the activation, or in silence")
    func times() async throws {
        try await perform { stage in
            let romeo = try await stage.enter(requester)
            let silent = try await connect(stage)
            let waiting = try await end(stage, hash("s2", requester, target))
            let (romeos, juliets) = try await transfer(stage, romeo)
            await stage.advance(by: .seconds(30))
            #expect(await silent.isCutOff())
            #expect(!waiting.isClosed)
            await stage.advance(by: .seconds(100))
            #expect(await waiting.isCutOff())
            #expect(!romeos.isClosed)
            await stage.advance(by: .minutes(11))
            #expect(await romeos.isCutOff())
            #expect(await juliets.isCutOff())
        }
    }

    @Test("Numbers are bounded: transfers of one user, of all, connections")
    func numbers() async throws {
        try await perform("max_transfers_per_user: 1, connections_per_address: 6") { stage in
            let romeo = try await stage.enter(requester)
            let (romeos, juliets) = try await transfer(stage, romeo)
            let name = hash("s2", requester, target)
            _ = try await end(stage, name)
            _ = try await end(stage, name)
            #expect(
                try await romeo.isRefused(.set, activation("s2", target), to: "proxy.montague.example").condition
                    == .resourceConstraint)
            let more = try await connect(stage)
            _ = try await connect(stage)
            let tooMany = try await connect(stage)
            #expect(await tooMany.isCutOff())
            #expect(!more.isClosed)
            romeos.leaves()
            #expect(await juliets.isCutOff())
            try await romeo.asks(.set, activation("s2", target), to: "proxy.montague.example")
        }
    }

    @Test("Unloaded, it ends what it carries and closes the port")
    func unload() async throws {
        try await perform { stage in
            let romeo = try await stage.enter(requester)
            let (romeos, _) = try await transfer(stage, romeo)
            try stage.reload("hosts: { montague.example: {} }\n")
            try await stage.server.finishStartUp()
            #expect(await romeos.isCutOff())
            #expect(stage.server.listening["proxy65"] == nil)
        }
    }

    @Test("There is one port, and one component for it")
    func twice() async throws {
        let modules = bundledModules.filter { ["proxy65", "disco"].contains($0.info.name) }
        let config = """
            hosts: { montague.example: {} }
            components: { a.montague.example: { module: proxy65 }, b.montague.example: { module: proxy65 } }
            listen: { proxy65: "127.0.0.1:0" }

            """
        await #expect(throws: ModuleError.self) { try await play(modules: modules, config: config) { _ in } }
    }
}

/// Stands for a domain elsewhere, and notes what it is refused.
@ServerActor
private final class ErrorCatcher: Entity {
    private(set) var conditions: [StanzaError.Condition] = []
    func receive(_ stanza: Stanza) {
        if case .iq(let iq) = stanza, let error = iq.error { conditions.append(error.condition) }
    }
}
