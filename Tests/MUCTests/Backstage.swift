import TestKit

@testable import MUC
@testable import ServerKit

/// Sees the room that was made or loaded last, for a look behind the scenes.
@ServerActor
final class Backstage {
    private(set) var room: Room?

    init(_ stage: Stage) throws {
        guard let host = stage.server.component(conference) else {
            throw StageError("There is no service", file: #fileID, line: #line)
        }
        _ = host.hooks.list(.roomCreated).observe(rank: .max) { self.room = $0.room }
        _ = host.hooks.list(.roomLoaded).observe(rank: .max) { self.room = $0.room }
    }

    /// Changes settings of the room, as its form would.
    func configure(_ change: (inout RoomSettings) -> Void) {
        guard let room else { return }
        let old = room.settings
        room.change { change(&$0.settings) }
        room.service.hooks.roomConfigured.notify(RoomEvent(room: room, old: old))
    }

    func setAffiliation(_ affiliation: Affiliation, of jid: String) {
        if let jid = JID(jid) { room?.setAffiliation(affiliation, of: jid) }
    }
}

/// What may be given to ``Actor/asks(_:_:to:file:line:)`` in order to register a nick with a room. XEP-0045 §7.10.
func registration(_ nick: String, _ fields: String = "") -> String {
    """
    <query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='submit'>
    <field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#register</value></field>
    <field var='muc#register_roomnick'><value>\(nick)</value></field>\(fields)</x></query>
    """
}

extension Actor {
    /// Asks the room to invite somebody. XEP-0045 §7.8.2.
    func invites(_ invitee: String, _ content: String = "", to room: String = coven, id: String = "i") async throws {
        try await sends(
            """
            <message to='\(room)' id='\(id)'><x xmlns='http://jabber.org/protocol/muc#user'>
            <invite to='\(invitee)'>\(content)</invite></x></message>
            """)
    }

    /// A message must come back with this error.
    func isBounced(
        _ condition: StanzaError.Condition, id: String, file: String = #fileID, line: Int = #line
    ) async throws {
        try await receivesAnywhere(
            """
            <message type='error' id='\(id)'><error><\(condition.rawValue) xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>
            </error></message>
            """, file: file, line: line)
    }

    /// Entering must fail with this error.
    @discardableResult
    func isKeptOut(
        of room: String = coven, as nick: String, _ condition: StanzaError.Condition, _ request: String = "",
        file: String = #fileID, line: Int = #line
    ) async throws -> Element {
        try await sends(
            "<presence to='\(room)/\(nick)'><x xmlns='http://jabber.org/protocol/muc'>\(request)</x></presence>")
        return try await receives(
            """
            <presence type='error' from='\(room)/\(nick)'><error>
            <\(condition.rawValue) xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>
            """, file: file, line: line)
    }
}
