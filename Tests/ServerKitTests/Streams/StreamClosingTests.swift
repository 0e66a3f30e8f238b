import ServerKit
import TestKit
import Testing

@Suite("The end of a stream (RFC 6120 §4.4)") struct StreamClosingTests {
    @Test("A client's end tag is answered, and what follows is ignored")
    func endByClient() async throws {
        try await play(modules: []) { stage in
            let account = try await stage.loadedAccount("romeo")
            let wire = Wire(stage.server)
            _ = wire.enters(account, "phone")
            #expect(wire.says("</stream:stream><message to='romeo@montague.example'/>") == "</stream:stream>")
            #expect(!wire.isOpen)
            #expect(account.resources.isEmpty)
            #expect(wire.says("<presence/>").isEmpty)
        }
    }

    @Test("After its own end tag the server sends nothing and waits for the client's")
    func endByServer() async throws {
        try await play(modules: []) { stage in
            let account = try await stage.loadedAccount("romeo")
            let wire = Wire(stage.server)
            let resource = wire.enters(account, "phone")
            let stream = try #require(wire.stream)
            _ = wire.heard()
            stream.close()
            #expect(wire.heard() == "</stream:stream>")
            resource?.send(IQ(.result, id: "1"))
            stream.send(Element("features", .streams))
            stream.deliver(.iq(IQ(.result, id: "1")))
            stream.sendKeepalive()
            stream.close(StreamError(.conflict))
            #expect(wire.says("<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>").isEmpty)
            #expect(wire.isOpen)
            #expect(wire.says("</stream:stream>").isEmpty)
            #expect(!wire.isOpen)
        }
    }

    @Test("A client that never answers is not waited for longer than five seconds")
    func silentClient() async throws {
        try await play(modules: []) { stage in
            let wire = Wire(stage.server)
            wire.says(Wire.header())
            wire.stream?.close()
            await stage.advance(by: .seconds(4))
            #expect(wire.isOpen)
            await stage.advance(by: .seconds(2))
            #expect(!wire.isOpen)
        }
    }

    @Test("A lost connection ends the resource once")
    func lostConnection() async throws {
        try await play(modules: []) { stage in
            let account = try await stage.loadedAccount("romeo")
            let wire = Wire(stage.server)
            _ = wire.enters(account, "phone")
            let stream = try #require(wire.stream)
            var ends = 0
            stream.onClose { ends += 1 }
            stream.connectionLost("gone")
            stream.connectionLost("gone")
            stream.close()
            #expect(ends == 1)
            #expect(account.resources.isEmpty)
        }
    }

    @Test("Whoever is gone before the login is over leaves nothing behind")
    func goneDuringLogin() async throws {
        try await play(modules: []) { stage in
            let account = try await stage.loadedAccount("romeo")
            let wire = Wire(stage.server)
            wire.says(Wire.header())
            let stream = try #require(wire.stream)
            stream.connectionLost("gone")
            stream.authenticate("romeo")
            #expect(stream.isClosing)
            let resource = account.bind("phone", link: stream)
            stream.bind(resource)
            #expect(stream.isClosing)
            #expect(account.resources.isEmpty)
        }
    }

    @Test("An account is not taken for a temporary one when its host is for guests now")
    func hostBecameAnonymous() async throws {
        try await play(modules: []) { stage in
            _ = try await stage.loadedAccount("romeo")
            let wire = Wire(stage.server)
            wire.says(Wire.header())
            wire.stream?.authenticate("romeo")
            try stage.reload("hosts: { montague.example: { authentication: anonymous } }")
            wire.stream?.connectionLost("gone")
            let host = try #require(stage.server.host("montague.example"))
            #expect(try await host.accounts.store.record(of: "romeo") != nil)
        }
    }

    @Test("A guest who never binds takes the account away again")
    func guestLeaves() async throws {
        try await play(modules: [], config: "hosts: { montague.example: { authentication: anonymous } }") { stage in
            let host = try #require(stage.server.host("montague.example"))
            for isGoneFirst in [false, true] {
                let guest = try await host.accounts.makeTemporary()
                let wire = Wire(stage.server)
                wire.says(Wire.header())
                let stream = try #require(wire.stream)
                if isGoneFirst { stream.connectionLost("gone") }
                stream.authenticate(guest.name)
                stream.connectionLost("gone")
                #expect(host.accounts.loadedAccount(guest.name) == nil)
            }
        }
    }
}
