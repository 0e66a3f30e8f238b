import ServerKit

/// Who was invited to a room by whom, until they enter, decline, or others have been invited since.
@ServerActor
struct InvitationBook {
    /// One invitation.
    struct Note: Codable, Sendable {
        /// The id of the message that the invitee got.
        let id: String
        /// The full JID.
        let inviter: JID
        /// The id of the message that asked for it.
        let stanzaID: String?
        let time: Timestamp
    }

    /// The invitations of a room, by invitee and inviter.
    enum Open: RoomKey { static let defaultValue: [String: Note] = [:] }

    private let store: MapStore<Note>

    init(_ host: ModuleHost) {
        store = host.map("room-invitations")
    }

    func load(_ room: String) async throws -> [String: Note] {
        let entries = try await store.entries(of: room)
        return Dictionary(entries.map { ($0.key, $0.value) }) { $1 }
    }

    /// Bare JIDs have no spaces.
    private func key(_ invitee: JID, _ inviter: JID) -> String { "\(invitee) \(inviter.bare)" }

    /// Notes an invitation; the oldest make room.
    func add(_ note: Note, _ invitee: JID, to room: Room, limit: Int) {
        let key = key(invitee, note.inviter)
        while room[Open.self].count >= limit, room[Open.self][key] == nil {
            guard let oldest = room[Open.self].min(by: { $0.value.time < $1.value.time })?.key else { break }
            take(oldest, room)
        }
        room[Open.self][key] = note
        store.set(note, key, of: room.name)
    }

    /// The invitation of this inviter, which is forgotten.
    func remove(_ invitee: JID, from inviter: JID, in room: Room) -> Note? {
        take(key(invitee, inviter), room)
    }

    /// The invitation that this message was, which is forgotten.
    func remove(_ invitee: JID, id: String, in room: Room) -> Note? {
        let entry = room[Open.self].first { $0.value.id == id && $0.key.hasPrefix("\(invitee) ") }
        return entry.flatMap { take($0.key, room) }
    }

    /// Forgets all invitations of somebody who has entered.
    func forget(_ invitee: JID, in room: Room) {
        for key in room[Open.self].keys where key.hasPrefix("\(invitee) ") { take(key, room) }
    }

    @discardableResult
    private func take(_ key: String, _ room: Room) -> Note? {
        guard let note = room[Open.self].removeValue(forKey: key) else { return nil }
        if !room.isDestroyed { store.delete(key, of: room.name) }
        return note
    }
}
