import Modules
import ServerKit
import StorageMemory
import TestKit
import Testing

@testable import Federation

@Suite("Domains that come and go", .serialized) struct HostChangeTests {
    private let sweetLady =
        "<message to='juliet@capulet.example' type='chat' id='1'><body>Sweet lady</body></message>"

    @ServerActor
    private func rows(_ driver: MemoryStorageDriver, of host: String) async throws -> Int {
        await driver.flush()
        return try await Storage(driver).rawArchive("outgoing", on: host).items(of: "@queue").count
    }

    @Test("What waits for a domain is delivered when it is served here, and its peers may not speak for it any more")
    func reload() async throws {
        let drivers = (montague: MemoryStorageDriver(), capulet: MemoryStorageDriver())
        try await playBetweenServers(drivers: drivers) { servers in
            let peer = try await servers.rawPeer()
            #expect(try await peer.authenticates(as: "capulet.example"))
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            servers.names.serve("capulet.example", port: 1)
            try await romeo.sends(sweetLady)
            try await romeo.sends("<message to='nobody@capulet.example' type='chat' id='2'><body>x</body></message>")
            await servers.settle()
            await servers.advance(by: .seconds(20))
            #expect(try await rows(drivers.montague, of: "montague.example") > 0)
            try servers.montague.reload(servers.configuration(hosts: "montague.example: {}"))
            #expect(try await rows(drivers.montague, of: "montague.example") > 0)
            try servers.montague.reload(servers.configuration(hosts: "montague.example: {}, capulet.example: {}"))
            #expect(await peer.hears("invalid-from"))
            await servers.settle()
            // Nobody has an account there yet.
            let errors = await romeo.takeInbox()
            #expect(Set(errors.map { $0["id"] }) == ["1", "2"])
            #expect(errors.allSatisfy { $0.child("error")?.has("service-unavailable", .stanzaErrors) == true })
            await servers.advance(by: .seconds(2))
            #expect(try await rows(drivers.montague, of: "montague.example") == 0)
            #expect(servers.montague.federation.routes.isEmpty)
        }
    }

    @Test("The same after a start, for whoever has an account there")
    func start() async throws {
        let drivers = (montague: MemoryStorageDriver(), capulet: MemoryStorageDriver())
        try await playBetweenServers(drivers: drivers) { servers in
            try servers.montague.reload(servers.configuration(hosts: "montague.example: {}, capulet.example: {}"))
            try await servers.montague.account("juliet@capulet.example")
            try servers.montague.reload(servers.configuration(hosts: "montague.example: {}"))
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            servers.names.serve("capulet.example", port: 1)
            try await romeo.sends(sweetLady)
            await servers.settle()
            #expect(try await rows(drivers.montague, of: "montague.example") == 1)
        }
        try await alone(drivers.montague, hosts: "montague.example: {}, capulet.example: {}") { stage in
            await stage.settle()
            let juliet = try await stage.enter("juliet@capulet.example/balcony", presence: false)
            try await juliet.sends("<presence/>")
            await stage.settle()
            let heard = await juliet.takeInbox().filter { $0.name == "message" }
            #expect(heard.map { $0.text(of: "body") } == ["Sweet lady"])
            #expect(heard.first?.has("delay", "urn:xmpp:delay") == true)
            await stage.advance(by: .seconds(2))
            #expect(try await rows(drivers.montague, of: "montague.example") == 0)
        }
    }

    @Test("What a domain left that is not served any more waits for it, but not for ever", arguments: [true, false])
    func removed(_ isReload: Bool) async throws {
        let drivers = (montague: MemoryStorageDriver(), capulet: MemoryStorageDriver())
        try await playBetweenServers(drivers: drivers) { servers in
            try servers.montague.reload(
                servers.configuration(hosts: "montague.example: {}, guests.montague.example: {}"))
            let prince = try await servers.montague.enter("prince@guests.montague.example/hall")
            servers.names.serve("capulet.example", port: 1)
            try await prince.sends(sweetLady)
            await servers.settle()
            #expect(try await rows(drivers.montague, of: "guests.montague.example") == 1)
            guard isReload else { return }
            try servers.montague.reload(servers.configuration(hosts: "montague.example: {}"))
            await servers.settle()
            #expect(try await rows(drivers.montague, of: "guests.montague.example") == 1)
            // It was a slip of the pen.
            let juliet = try await servers.capulet.enter("juliet@capulet.example/balcony")
            servers.announce()
            try servers.montague.reload(
                servers.configuration(hosts: "montague.example: {}, guests.montague.example: {}"))
            await servers.settle()
            try await juliet.receives(
                "<message from='prince@guests.montague.example/hall'><body>Sweet lady</body></message>")
            await servers.advance(by: .seconds(2))
            #expect(try await rows(drivers.montague, of: "guests.montague.example") == 0)
        }
        guard !isReload else { return }
        try await alone(drivers.montague, hosts: "montague.example: {}") { stage in
            for (pause, left) in [(6, 1), (2, 0)] {
                try await stage.restart(after: .days(pause))
                try await stage.server.finishStartUp()
                await stage.settle()
                let count = try await rows(drivers.montague, of: "guests.montague.example")
                #expect(count == left)
            }
        }
    }

    /// A server that knows no others.
    private func alone(
        _ driver: MemoryStorageDriver, hosts: String,
        _ body: @escaping @ServerActor @Sendable (Stage) async throws -> Void
    ) async throws {
        let modules: [any Module.Type] =
            [ServerToServer.self]
            + bundledModules.filter { ["roster", "presence", "messages", "offline", "bind"].contains($0.info.name) }
        let config = """
            hosts: { \(hosts) }
            listen: { s2s: off, s2s_tls: off }
            modules:

            """ + modules.map { "  \($0.info.name): on\n" }.joined()
        try await play(modules: modules, config: config, driver: driver, names: TestNames(), body)
    }
}
