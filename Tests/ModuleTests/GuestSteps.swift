import ServerKit
import StorageMemory
import TestKit
import Testing

@testable import Modules

/// A server with guests: `guests.example` is theirs.
func playWithGuests(
    _ options: String = "", over medium: Medium = .memory, driver: MemoryStorageDriver = MemoryStorageDriver(),
    more: [any Module.Type] = [],
    _ body: @escaping @ServerActor @Sendable (Stage) async throws -> Void
) async throws {
    let modules: [any Module.Type] = [
        SASL.self, Bind.self, Roster.self, PresenceExchange.self, Messages.self, Disco.self, Ping.self, Commands.self,
        Guests.self,
    ]
    let config = guestConfig(options) + more.map { "\n  \($0.info.name): on" }.joined()
    try await play(modules: modules + more, config: config, over: medium, driver: driver, body)
}

func guestConfig(_ options: String = "", isOn: Bool = true) -> String {
    """
    admins: [friar@montague.example]
    hosts: { montague.example: {}, guests.example: { authentication: anonymous } }
    modules:
      sasl: on
      bind: on
      roster: on
      presence: on
      messages: on
      disco: on
      ping: on
      commands: on
      guests: \(isOn ? options.isEmpty ? "on" : "{ \(options) }" : "off")
    """
}

extension Stage {
    var book: any GuestBook {
        get throws { try #require(server.host("guests.example")?.service((any GuestBook).self)) }
    }

    func invites(
        _ peers: String..., name: String? = nil, lifetime: Int? = nil, places: Int? = nil
    ) async throws -> GuestPass {
        try await book.invite(
            GuestRequest(peers: peers.compactMap { JID($0) }, name: name, lifetime: lifetime, places: places), by: nil)
    }

    /// Somebody tries to log in.
    func tries(_ mechanism: String, _ data: [UInt8]) async throws -> TestKit.Actor {
        let actor = try await connect(to: "guests.example")
        try await actor.opens()
        try await actor.authenticates(mechanism, data)
        return actor
    }

    /// Somebody tries to log in with an invitation, or with something like one.
    func tries(_ pass: GuestPass, password: String? = nil) async throws -> TestKit.Actor {
        try await tries(pass.username, password ?? pass.password)
    }

    func tries(_ username: String, _ password: String) async throws -> TestKit.Actor {
        try await tries("PLAIN", Array("\0\(username)\0\(password)".utf8))
    }
}

extension GuestPass {
    var username: String { address.localpart ?? "" }
}

extension TestKit.Actor {
    /// Sends a message and sees it refused.
    @ServerActor func cannotWrite(
        to jid: String, _ condition: String = "not-allowed", file: String = #fileID, line: Int = #line
    ) async throws {
        try await sends("<message to='\(jid)' type='chat' id='m'><body>Psst</body></message>")
        try await receives(
            """
            <message from='\(jid)' type='error' id='m'><error>\
            <\(condition) xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
            """, file: file, line: line)
    }

    @ServerActor func writes(
        to other: TestKit.Actor, file: String = #fileID, line: Int = #line
    ) async throws {
        let to = try #require(other.jid)
        try await sends("<message to='\(to)' type='chat' id='w'><body>Hark</body></message>")
        let from = try #require(jid)
        try await other.receives(
            "<message from='\(from)' id='w'><body>Hark</body></message>", file: file, line: line)
    }
}

/// Whom most guests are invited to.
let juliets = "juliet@montague.example"
let guestPing = "<ping xmlns='urn:xmpp:ping'/>"
