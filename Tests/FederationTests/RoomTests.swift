import MUC
import ServerKit
import TestKit
import Testing

@testable import Federation

@Suite("Rooms across servers", .serialized) struct RoomTests {
    private func perform(_ body: @escaping @ServerActor @Sendable (TwoServers) async throws -> Void) async throws {
        try await playBetweenServers(modules: [MUC.self], components: true, body)
    }

    /// Both are there, and Romeo makes a room.
    @ServerActor
    private func gather(_ servers: TwoServers) async throws -> (romeo: TestKit.Actor, juliet: TestKit.Actor) {
        let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
        let juliet = try await servers.capulet.enter("juliet@capulet.example/balcony")
        try await enters(romeo, "romeo")
        await servers.settle()
        try await romeo.sends(
            "<iq type='set' id='c' to='garden@rooms.montague.example'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>"
        )
        return (romeo, juliet)
    }

    @ServerActor
    private func enters(_ actor: TestKit.Actor, _ nick: String) async throws {
        try await actor.sends(
            "<presence to='garden@rooms.montague.example/\(nick)'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
        )
    }

    @Test("A user of another server enters, talks, is seen and leaves")
    func room() async throws {
        try await perform { servers in
            let (romeo, juliet) = try await gather(servers)
            // The account itself has written before, so that there is a connection already.
            try await romeo.sends("<message to='juliet@capulet.example' type='chat' id='1'><body>Come</body></message>")
            await servers.settle()
            _ = await juliet.takeInbox()
            _ = await romeo.takeInbox()
            try await enters(juliet, "juliet")
            await servers.settle()
            let entered = await juliet.takeInbox()
            #expect(entered.contains { $0["from"] == "garden@rooms.montague.example/romeo" && $0.name == "presence" })
            #expect(
                entered.contains { element in
                    element.child("x", "http://jabber.org/protocol/muc#user")?.children.contains { $0["code"] == "110" }
                        == true
                })
            try await juliet.sends(
                "<message to='garden@rooms.montague.example' type='groupchat' id='2'><body>O Romeo</body></message>")
            await servers.settle()
            #expect(await romeo.takeInbox().contains { $0.text(of: "body") == "O Romeo" })
            #expect(await juliet.takeInbox().contains { $0.text(of: "body") == "O Romeo" && $0["id"] == "2" })
            try await juliet.sends("<presence type='unavailable' to='garden@rooms.montague.example/juliet'/>")
            await servers.settle()
            #expect(
                await romeo.takeInbox().contains {
                    $0["type"] == "unavailable" && $0["from"] == "garden@rooms.montague.example/juliet"
                })
        }
    }

    @Test("What two of our domains have to say goes over one connection (XEP-0220 §2.6)")
    func multiplexing() async throws {
        try await perform { servers in
            let (romeo, juliet) = try await gather(servers)
            try await romeo.sends("<message to='juliet@capulet.example' type='chat' id='1'><body>Come</body></message>")
            await servers.settle()
            try await romeo.sends(
                "<message to='garden@rooms.montague.example'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='juliet@capulet.example'/></x></message>"
            )
            await servers.settle()
            #expect(await juliet.takeInbox().contains { $0["from"] == "garden@rooms.montague.example" })
            let streams = servers.montague.federation.streams.values
            #expect(streams.count == 1)
            #expect(
                Set(streams.flatMap { $0.routes.keys.map(\.local) }) == ["montague.example", "rooms.montague.example"])
        }
    }

    @Test("An occupant whose server died without a word is asked after, and gone when its server is back without it")
    func ghost() async throws {
        try await perform { servers in
            let (romeo, juliet) = try await gather(servers)
            await servers.settle()
            try await enters(juliet, "juliet")
            await servers.settle()
            _ = await romeo.takeInbox()
            await servers.capulet.loseFederation()
            try await servers.capulet.crash()
            try await servers.capulet.server.finishStartUp()
            servers.announce()
            for _ in 0..<30 {
                await servers.advance(by: .seconds(10))
                await servers.settle()
            }
            #expect(
                await romeo.takeInbox().contains {
                    $0["type"] == "unavailable" && $0["from"] == "garden@rooms.montague.example/juliet"
                })
        }
    }
}
