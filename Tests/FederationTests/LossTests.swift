import MUC
import ServerKit
import TestKit
import Testing

@testable import Federation

@Suite("Servers that are lost", .serialized) struct LossTests {
    @ServerActor
    /// A user of each, who see each other.
    private func friends(_ servers: TwoServers) async throws -> (romeo: Actor, juliet: Actor) {
        let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
        let juliet = try await servers.capulet.enter("juliet@capulet.example/balcony")
        try await befriend(servers, romeo, juliet)
        await pass(servers, seconds: 10)
        return (romeo, juliet)
    }

    @ServerActor
    private func pass(_ servers: TwoServers, seconds: Int) async {
        let step = seconds > 100 ? 30 : 10
        for _ in 0..<(seconds / step) {
            await servers.advance(by: .seconds(step))
            await servers.settle()
        }
    }

    @Test("Contacts of a server that stays away are gone, and there again when it is back")
    func contacts() async throws {
        try await playBetweenServers(s2s: "patience: 2 min") { servers in
            let (romeo, juliet) = try await friends(servers)
            servers.vanish()
            await servers.montague.loseFederation()
            await servers.capulet.loseFederation()
            await pass(servers, seconds: 60)
            #expect(await romeo.takeInbox().isEmpty)
            await pass(servers, seconds: 180)
            let heard = await romeo.takeInbox()
            #expect(heard.map { $0["from"] } == ["juliet@capulet.example/balcony"])
            #expect(heard.first?["type"] == "unavailable")
            // Once is enough.
            try await romeo.sends("<message to='juliet@capulet.example' type='chat' id='1'><body>x</body></message>")
            await pass(servers, seconds: 330)
            #expect(await romeo.takeInbox().map { $0["type"] } == ["error"])
            servers.announce()
            _ = await juliet.takeInbox()
            try await juliet.sends("<message to='romeo@montague.example' type='chat' id='2'><body>y</body></message>")
            await pass(servers, seconds: 400)
            #expect(
                await romeo.takeInbox().contains {
                    $0.name == "presence" && $0["from"] == "juliet@capulet.example/balcony" && $0["type"] == nil
                })
            #expect(await juliet.takeInbox().contains { $0.name == "presence" && $0["type"] == nil })
        }
    }

    @Test("A short break is none")
    func shortBreak() async throws {
        try await playBetweenServers(s2s: "patience: 2 min") { servers in
            let (romeo, juliet) = try await friends(servers)
            servers.vanish()
            await servers.montague.loseFederation()
            await servers.capulet.loseFederation()
            await pass(servers, seconds: 30)
            servers.announce()
            await pass(servers, seconds: 300)
            #expect(await !romeo.takeInbox().contains { $0["type"] == "unavailable" })
            #expect(await !juliet.takeInbox().contains { $0["type"] == "unavailable" })
        }
    }

    @Test("A peer that only ever came to us is looked for when its connection breaks")
    func incomingOnly() async throws {
        try await playBetweenServers(s2s: "patience: 1 min") { servers in
            let (romeo, _) = try await friends(servers)
            // Whatever there was is closed in order; then the peer comes, says where Juliet is, and dies.
            for stream in Array(servers.montague.federation.streams.values) { stream.close() }
            await pass(servers, seconds: 10)
            #expect(servers.montague.federation.streams.isEmpty)
            servers.vanish()
            let peer = try await servers.rawPeer()
            #expect(try await peer.authenticates(as: "capulet.example"))
            peer.says("<presence from='juliet@capulet.example/tomb' to='romeo@montague.example'/>")
            await servers.settle()
            _ = await romeo.takeInbox()
            peer.leaves()
            await pass(servers, seconds: 20)
            #expect(await romeo.takeInbox().isEmpty)
            await pass(servers, seconds: 120)
            let left = await romeo.takeInbox().filter { $0["type"] == "unavailable" }.compactMap { $0["from"] }
            #expect(Set(left) == ["juliet@capulet.example/tomb", "juliet@capulet.example/balcony"])
        }
    }

    @Test("What contacts are up to is asked again when their server was away only for a moment")
    func probes() async throws {
        try await playBetweenServers { servers in
            _ = try await friends(servers)
            for stream in Array(servers.montague.federation.streams.values) { stream.close() }
            await pass(servers, seconds: 10)
            #expect(servers.montague.federation.streams.isEmpty)
            servers.vanish()
            let other = try await servers.montague.enter("romeo@montague.example/street")
            await pass(servers, seconds: 10)
            servers.announce()
            await pass(servers, seconds: 120)
            #expect(
                await other.takeInbox().contains { $0["from"] == "juliet@capulet.example/balcony" && $0["type"] == nil }
            )
        }
    }

    @Test("Occupants of a silent room whose server is lost leave it")
    func occupants() async throws {
        try await playBetweenServers(s2s: "patience: 1 min", modules: [MUC.self], components: true) { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            let juliet = try await servers.capulet.enter("juliet@capulet.example/balcony")
            let join = "<x xmlns='http://jabber.org/protocol/muc'/>"
            try await romeo.sends("<presence to='garden@rooms.montague.example/romeo'>\(join)</presence>")
            await servers.settle()
            try await romeo.sends(
                "<iq type='set' id='c' to='garden@rooms.montague.example'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>"
            )
            try await juliet.sends("<presence to='garden@rooms.montague.example/juliet'>\(join)</presence>")
            await servers.settle()
            _ = await romeo.takeInbox()
            servers.names.serve("capulet.example", port: 1)
            for domain in ["montague.example", "rooms.montague.example"] { servers.names.serve(domain, port: 1) }
            await servers.montague.loseFederation()
            await servers.capulet.loseFederation()
            await pass(servers, seconds: 60)
            #expect(await romeo.takeInbox().isEmpty)
            await pass(servers, seconds: 600)
            let left = await romeo.takeInbox().filter { $0["from"] == "garden@rooms.montague.example/juliet" }
            #expect(left.map { $0["type"] } == ["unavailable"])
        }
    }
}
