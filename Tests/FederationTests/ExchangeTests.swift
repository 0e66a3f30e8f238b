import ServerKit
import StorageMemory
import TestKit
import Testing

@testable import Federation

@Suite("Two servers", .serialized) struct ExchangeTests {
    private let sweetLady = """
        <message from='romeo@montague.example/orchard' to='juliet@capulet.example' type='chat' id='1'>\
        <body>Sweet lady</body></message>
        """

    @Test("Messages go both ways, with certificates (RFC 6120 §13.7)", arguments: [false, true])
    func messages(_ isDirect: Bool) async throws {
        let listen = isDirect ? "s2s: off, s2s_tls: \"127.0.0.1:0\"" : "s2s: \"127.0.0.1:0\", s2s_tls: off"
        try await playBetweenServers(listen: listen) { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            let juliet = try await servers.capulet.enter("juliet@capulet.example/balcony")
            try await romeo.sends(sweetLady)
            await servers.settle()
            try await juliet.receives(sweetLady)
            try await juliet.sends(
                "<message to='romeo@montague.example/orchard' type='chat' id='2'><body>Good night</body></message>")
            await servers.settle()
            try await romeo.receives(
                """
                <message from='juliet@capulet.example/balcony' to='romeo@montague.example/orchard' type='chat' id='2'>\
                <body>Good night</body></message>
                """)
            let streams = servers.montague.federation.streams.values
            #expect(streams.count == 1)
            // XEP-0288: the answer came on the same stream.
            #expect(streams.allSatisfy { $0.isBidirectional && $0.authentication == "EXTERNAL" })
            #expect(streams.allSatisfy { $0.acknowledgements.usesStreamManagement })
            #expect(servers.montague.federation.routes.values.allSatisfy { $0.queue.isEmpty })
        }
    }

    @Test("What one sends arrives in order, once")
    func order() async throws {
        try await playBetweenServers { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            let juliet = try await servers.capulet.enter("juliet@capulet.example/balcony")
            for n in 0..<300 {
                try await romeo.sends(
                    "<message to='juliet@capulet.example/balcony' type='chat' id='\(n)'><body>\(n)</body></message>")
            }
            await servers.settle()
            let heard = await juliet.takeInbox().compactMap { $0["id"] }
            #expect(heard == (0..<300).map(String.init))
        }
    }

    @Test("A subscription and presence cross servers (RFC 6121 §3.1, §4.2)")
    func presence() async throws {
        try await playBetweenServers { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            let juliet = try await servers.capulet.enter("juliet@capulet.example/balcony")
            try await befriend(servers, romeo, juliet)
            try await romeo.sends("<presence><show>away</show></presence>")
            await servers.settle()
            let heard = await juliet.takeInbox()
            #expect(heard.contains { $0.name == "presence" && $0.text(of: "show") == "away" })
            try await romeo.sends("<presence type='unavailable'/>")
            await servers.settle()
            #expect(await juliet.takeInbox().contains { $0["type"] == "unavailable" })
        }
    }

    @Test("After a crash of one side the other's presence is told again, without the clients doing anything")
    func repair() async throws {
        try await playBetweenServers { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            var juliet = try await servers.capulet.enter("juliet@capulet.example/balcony")
            try await befriend(servers, romeo, juliet)
            await servers.capulet.loseFederation()
            try await servers.capulet.crash()
            try await servers.capulet.server.finishStartUp()
            servers.announce()
            juliet = try await servers.capulet.enter("juliet@capulet.example/balcony", presence: false)
            await servers.settle()
            _ = await romeo.takeInbox()
            try await juliet.sends("<presence/>")
            await servers.advance(by: .seconds(10))
            await servers.settle()
            #expect(await juliet.takeInbox().contains { $0["from"] == "romeo@montague.example/orchard" })
            #expect(await romeo.takeInbox().contains { $0["from"] == "juliet@capulet.example/balcony" })
        }
    }

    @Test("Requests are answered from the other side")
    func requests() async throws {
        try await playBetweenServers { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            try await servers.capulet.account("juliet@capulet.example")
            try await romeo.sends("<iq type='get' id='1' to='capulet.example'><ping xmlns='urn:xmpp:ping'/></iq>")
            await servers.settle()
            try await romeo.receives("<iq type='result' id='1' from='capulet.example'/>")
            try await romeo.sends("<message to='nobody@capulet.example' type='chat' id='2'><body>x</body></message>")
            await servers.settle()
            let error = await romeo.takeInbox().first
            #expect(
                error?["type"] == "error" && error?.child("error")?.has("service-unavailable", .stanzaErrors) == true)
        }
    }

    @Test("A domain that is not there is said not to be there (RFC 6120 §8.3.3.16)")
    func unknownDomain() async throws {
        try await playBetweenServers { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            try await romeo.sends("<message to='x@nowhere.example' type='chat' id='1'><body>x</body></message>")
            await servers.settle()
            let error = await romeo.takeInbox().first?.child("error")
            #expect(error?.has("remote-server-not-found", .stanzaErrors) == true)
            #expect(error?.text(of: "text", .stanzaErrors)?.contains("no nowhere.example in the DNS") == true)
        }
    }

    @Test("A message waits for a server that is down, over a crash of this one, and arrives once")
    func durable() async throws {
        try await playBetweenServers { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            let juliet = try await servers.capulet.enter("juliet@capulet.example/balcony")
            // Nobody listens there.
            servers.names.serve("capulet.example", port: 1)
            try await romeo.sends(sweetLady)
            await servers.settle()
            #expect(servers.montague.federation.routes.values.contains { $0.queue.count == 1 })
            #expect(await juliet.takeInbox().isEmpty)
            try await servers.montague.crash(after: .seconds(60))
            servers.announce()
            try await servers.montague.server.finishStartUp()
            servers.announce()
            await servers.advance(by: .seconds(20))
            await servers.settle()
            let heard = await juliet.takeInbox()
            #expect(heard.count == 1)
            #expect(heard.first?.text(of: "body") == "Sweet lady")
            #expect(heard.first?.has("delay", "urn:xmpp:delay") == true)
            await servers.advance(by: .seconds(5))
            await servers.montague.loseFederation()
            try await servers.montague.crash()
            try await servers.montague.server.finishStartUp()
            await servers.advance(by: .seconds(20))
            await servers.settle()
            #expect(await juliet.takeInbox().isEmpty)
        }
    }

    @Test("Whoever wrote to a server that stays away is told, and not before long")
    func patience() async throws {
        try await playBetweenServers(s2s: "patience: 2 min") { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            servers.names.serve("capulet.example", port: 1)
            try await romeo.sends(sweetLady)
            try await romeo.sends("<iq type='get' id='2' to='capulet.example'><ping xmlns='urn:xmpp:ping'/></iq>")
            await servers.settle()
            // A request has no use later.
            let first = await romeo.takeInbox()
            #expect(first.map { $0["id"] } == ["2"])
            #expect(first.first?.child("error")?.has("remote-server-timeout", .stanzaErrors) == true)
            for _ in 0..<30 {
                await servers.advance(by: .seconds(10))
                await servers.settle()
            }
            let second = await romeo.takeInbox()
            #expect(second.map { $0["id"] } == ["1"])
            #expect(
                second.first?.child("error")?.text(of: "text", .stanzaErrors)?.contains("Connection refused") == true)
        }
    }
}

extension Stage {
    /// The module's inside.
    var federation: Federation { server.router.elsewhere as! Federation }

    /// Has all connections with other servers break, as when the machine is gone.
    func loseFederation() async {
        for stream in Array(federation.streams.values) { stream.breaks() }
        await settle()
    }
}

/// The two see each other's presence from now on.
@ServerActor
func befriend(_ servers: TwoServers, _ romeo: Actor, _ juliet: Actor) async throws {
    try await romeo.sends("<presence type='subscribe' to='juliet@capulet.example'/>")
    await servers.settle()
    try await juliet.sends("<presence type='subscribed' to='romeo@montague.example'/>")
    try await juliet.sends("<presence type='subscribe' to='romeo@montague.example'/>")
    await servers.settle()
    try await romeo.sends("<presence type='subscribed' to='juliet@capulet.example'/>")
    await servers.settle()
    let heard = await romeo.takeInbox()
    #expect(
        heard.contains { $0.name == "presence" && $0["from"] == "juliet@capulet.example/balcony" && $0["type"] == nil })
    #expect(await juliet.takeInbox().contains { $0["from"] == "romeo@montague.example/orchard" && $0["type"] == nil })
}
