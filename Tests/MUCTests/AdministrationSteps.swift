import ServerKit
import TestKit
import Testing

@testable import MUC

extension Stage {
    /// The room of a play, as it is in memory, for a look behind the scenes.
    func room(_ name: String = "coven") throws -> Room {
        let rooms = try #require(server.component(conference)?.service(Rooms.self))
        return try #require(rooms.loaded[name])
    }

    /// Changes settings without a form.
    func settings(_ body: @escaping (inout RoomSettings) -> Void) throws {
        try room().change { body(&$0.settings) }
    }
}

extension Actor {
    /// Changes roles and affiliations. XEP-0045 §8, §9, §10.
    func administers(_ items: String..., file: String = #fileID, line: Int = #line) async throws {
        try await asks(.set, Self.admin(items.joined()), to: coven, file: file, line: line)
    }

    /// May not change them.
    func isDenied(_ items: String..., file: String = #fileID, line: Int = #line) async throws -> StanzaError {
        try await isRefused(.set, Self.admin(items.joined()), to: coven, file: file, line: line)
    }

    /// Reads a list; its items.
    func reads(_ list: String, file: String = #fileID, line: Int = #line) async throws -> [Element] {
        try #require(try await asks(.get, Self.admin("<item \(list)/>"), to: coven, file: file, line: line)).children
    }

    func mayNotRead(_ list: String, file: String = #fileID, line: Int = #line) async throws -> StanzaError {
        try await isRefused(.get, Self.admin("<item \(list)/>"), to: coven, file: file, line: line)
    }

    private static func admin(_ content: String) -> String {
        "<query xmlns='http://jabber.org/protocol/muc#admin'>\(content)</query>"
    }

    /// The next presence of a nick, and what it says.
    func sees(
        _ nick: String, _ item: String, statuses: [Int] = [], type: String? = nil, file: String = #fileID,
        line: Int = #line
    ) async throws {
        let kind = type.map { " type='\($0)'" } ?? ""
        let presence = try await receives(
            """
            <presence from='\(coven)/\(nick)'\(kind)><x xmlns='http://jabber.org/protocol/muc#user'>\(item)
            \(statuses.map { "<status code='\($0)'/>" }.joined())</x></presence>
            """, file: file, line: line)
        guard presence["type"] == type, presence.statuses == statuses else {
            throw StageError("Not as expected: \(presence)", file: file, line: line)
        }
    }
}

extension Element {
    /// The status codes of a presence or message, in order.
    var statuses: [Int] {
        child("x", .mucUser)?.children("status").compactMap { $0["code"].flatMap { Int($0) } }.sorted() ?? []
    }
}
