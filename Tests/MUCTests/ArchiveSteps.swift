import TestKit

@testable import MUC
@testable import ServerKit

/// Lets a play look into the rooms of its service.
@ServerActor
final class RoomWatch {
    private(set) var rooms: [String: Room] = [:]

    init(_ stage: Stage) {
        guard let hooks = stage.server.component(conference)?.hooks else { return }
        _ = hooks.list(.occupantEntered).observe(rank: 1_000) { self.rooms[$0.room.jid.description] = $0.room }
        _ = hooks.list(.roomLoaded).observe(rank: 1_000) { self.rooms[$0.room.jid.description] = $0.room }
    }

    /// Changes settings in the way of the server.
    func set(_ room: String = coven, _ body: (inout RoomSettings) -> Void) throws {
        guard let room = rooms[room] else { throw StageError("There is no \(room)", file: #fileID, line: #line) }
        room.change { body(&$0.settings) }
    }

    subscript(room: String) -> Room? { rooms[room] }
}

/// The parts of a query to an archive.
enum Query {
    static func form(_ fields: (String, String)...) -> String {
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value>"
            + "</field>" + fields.map { "<field var='\($0.0)'><value>\($0.1)</value></field>" }.joined() + "</x>"
    }

    static func page(_ content: String) -> String { "<set xmlns='http://jabber.org/protocol/rsm'>\(content)</set>" }

    static func whole(_ content: String = "") -> String { "<query xmlns='urn:xmpp:mam:2'>\(content)</query>" }
}

extension Actor {
    /// Queries a room's archive, and returns the results and the `<fin/>`.
    func queries(
        _ room: String = coven, _ content: String = "", file: String = #fileID, line: Int = #line
    ) async throws -> (results: [Element], fin: Element) {
        let fin = try await asks(.set, Query.whole(content), to: room, file: file, line: line)
        guard let fin else { throw StageError("The answer is empty", file: file, line: line) }
        return (takeInbox().compactMap { $0.child("result", .mam) }, fin)
    }

    /// The messages in a room's archive, oldest first.
    func archived(
        in room: String = coven, _ content: String = "", file: String = #fileID, line: Int = #line
    ) async throws -> [Element] {
        try await queries(room, content, file: file, line: line).results.compactMap(\.archived)
    }

    /// What they say.
    func bodies(
        in room: String = coven, _ content: String = "", file: String = #fileID, line: Int = #line
    ) async throws -> [String] {
        try await archived(in: room, content, file: file, line: line).map { $0.text(of: "body") ?? "" }
    }

    /// The history that somebody is shown who enters.
    func history(
        of room: String = coven, as nick: String, _ request: String = "", file: String = #fileID, line: Int = #line
    ) async throws -> [Element] {
        try await enters(room, as: nick, request, file: file, line: line)
            .filter { $0.name == "message" && $0.has("delay", .delay) && !$0.has("subject") }
    }
}

extension Element {
    /// The message in a result.
    var archived: Element? { child("forwarded", .forward)?.child("message", .client) }

    /// The id that the room has given a message.
    var roomID: String? {
        children.first { $0.is("stanza-id", .stanzaIDs) && $0["by"] == coven }?["id"]
    }
}
