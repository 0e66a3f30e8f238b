import ServerKit

/// What remains of a room that its owners have removed: for a while, who comes learns that it is gone, and where it has
/// moved. XEP-0045 §10.9.
///
/// Otherwise the first client that enters its rooms by itself would make it anew, as a room of its own.
struct GoneRooms: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        let memory = GoneRoomMemory(host, rooms)
        host.observe(.roomDestroyed) { event in
            if let destruction = event.destruction { memory.remember(event.room, destruction) }
        }
        host.observe(.roomCreated) { memory.forget($0.room.name) }
        rooms.refuseMaking { try await memory.refusal(of: $1, making: $0) }
    }
}

/// What a service remembers of rooms that are gone.
@ServerActor
private final class GoneRoomMemory {
    private struct Record: Codable, Sendable {
        let alternate: JID?
        let reason: String?
        /// Who may make it anew.
        let owners: [JID]
        let time: Timestamp
    }

    /// All are under one name, which no room can have.
    private static let place = "/gone"
    private static let ownerLimit = 20
    private static let reasonLimit = 500

    private let host: ModuleHost
    private let rooms: Rooms
    private let store: MapStore<Record>
    private var isTrimming = false

    init(_ host: ModuleHost, _ rooms: Rooms) {
        self.host = host
        self.rooms = rooms
        store = host.map("rooms-gone")
    }

    func remember(_ room: Room, _ destruction: RoomEvent.Destruction) {
        guard rooms.options.destroyedRooms > .zero else { return }
        let record = Record(
            alternate: destruction.alternate, reason: destruction.reason.map { String($0.prefix(Self.reasonLimit)) },
            owners: room.affiliates(with: .owner).prefix(Self.ownerLimit).map(\.jid), time: host.clock.date)
        store.set(record, room.name, of: Self.place)
        guard !isTrimming else { return }
        isTrimming = true
        host.clock.after(.seconds(10)) {
            self.isTrimming = false
            Task { @ServerActor in await self.trim() }
        }
    }

    func forget(_ name: String) { store.delete(name, of: Self.place) }

    /// What somebody is told who would make a room anew, and may not.
    func refusal(of creator: JID, making name: String) async throws -> StanzaError? {
        guard let record = try await store.value(name, of: Self.place), isRecent(record) else { return nil }
        guard !record.owners.contains(creator), !rooms.ownsAllRooms(creator) else { return nil }
        var text = record.alternate.map { "This room has moved to \($0)." } ?? "This room is gone."
        if let reason = record.reason { text += " \(reason)" }
        // RFC 6120 §8.3.3.5: with the new address as a URI, if there is one.
        var error = StanzaError(.gone, nil, text)
        error.address = record.alternate.map { "\($0.uri)?join" }
        return error
    }

    private func isRecent(_ record: Record) -> Bool {
        let age = host.clock.date.microseconds - record.time.microseconds
        return Duration.microseconds(age) < rooms.options.destroyedRooms
    }

    /// Removes what is too old, and the oldest of what is too much.
    private func trim() async {
        guard let records = try? await store.entries(of: Self.place) else { return }
        let newest = records.filter { isRecent($0.value) }.sorted { $0.value.time > $1.value.time }
            .prefix(rooms.options.destroyedRoomLimit)
        let kept = Set(newest.map(\.key))
        for record in records where !kept.contains(record.key) { store.delete(record.key, of: Self.place) }
    }
}
