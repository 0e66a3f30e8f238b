import ServerKit
import StorageMemory
import TestKit

@testable import MUC
@testable import Modules

let roomModules: [any Module.Type] = [
    MUC.self, Disco.self, Messages.self, PresenceExchange.self, Roster.self,
]

/// The service of the plays.
let conference = "conference.capulet.example"
/// Their room.
let coven = "coven@\(conference)"

/// A configuration with a service that has these options.
func roomConfig(_ options: String = "", admins: String = "") -> String {
    """
    admins: [\(admins)]
    hosts: { montague.example: {}, capulet.example: {} }
    components: { \(conference): { module: muc\(options.isEmpty ? "" : ", \(options)") } }

    """
}

/// A play with a service for rooms.
func playRooms(
    _ options: String = "", admins: String = "", modules: [any Module.Type] = roomModules,
    driver: any StorageDriver = MemoryStorageDriver(),
    _ body: @escaping @ServerActor @Sendable (Stage) async throws -> Void
) async throws {
    try await play(modules: modules, config: roomConfig(options, admins: admins), driver: driver, body)
}

extension Actor {
    /// Enters a room, and swallows everything that belongs to it.
    @discardableResult
    func enters(
        _ room: String = coven, as nick: String, _ request: String = "", presence: String = "",
        file: String = #fileID, line: Int = #line
    ) async throws -> [Element] {
        try await sends(
            """
            <presence to='\(room)/\(nick)'>\(presence)<x xmlns='http://jabber.org/protocol/muc'>\(request)</x></presence>
            """)
        let received = await everything()
        guard received.contains(where: { $0.hasStatus(110) && $0["type"] == nil }) else {
            throw StageError("\(nick) is not in \(room): \(received)", file: file, line: line)
        }
        return received
    }

    /// Makes a room that is open at once, and enters it. XEP-0045 §10.1.2.
    func makesRoom(_ room: String = coven, as nick: String, _ fields: [String: String] = [:]) async throws {
        try await enters(room, as: nick)
        try await configures(room, fields)
    }

    /// Changes settings of a room.
    func configures(_ room: String = coven, _ fields: [String: String]) async throws {
        let values = fields.map { "<field var='\($0.key)'><value>\($0.value)</value></field>" }.joined()
        let formType = "<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"
        try await asks(
            .set,
            """
            <query xmlns='http://jabber.org/protocol/muc#owner'>
            <x xmlns='jabber:x:data' type='submit'>\(fields.isEmpty ? "" : formType + values)</x></query>
            """, to: room)
        _ = await everything()
    }

    /// Says something to everybody in a room.
    func says(_ text: String, in room: String = coven, id: String = "m") async throws {
        try await sends("<message to='\(room)' type='groupchat' id='\(id)'><body>\(text)</body></message>")
    }

    /// Everything unread, without what others see of it.
    func forgets() async { _ = await everything() }
}

extension Element {
    /// Whether a presence or message has this status code. XEP-0045 §15.6.
    func hasStatus(_ code: Int) -> Bool {
        child("x", .mucUser)?.children("status").contains { $0["code"] == String(code) } ?? false
    }

    /// The item of a presence.
    var item: Element? { child("x", .mucUser)?.child("item") }

    /// Whose presence or message it is.
    var nick: String? { jid("from")?.resourcepart }
}
