import ServerKit

/// The public rooms of a service, by name. It is read in parts from the storage: a service may have very many, hardly any
/// of them loaded.
@ServerActor
final class RoomDirectory {
    /// A public room, and how many are in it.
    struct Entry {
        let name: String
        let room: ListedRoom
        let occupantCount: Int
    }

    private unowned let rooms: Rooms
    /// What was read of rooms that are not loaded. They cannot change while they are not.
    private var known: [String: ListedRoom] = [:]
    private static let knownLimit = 5_000
    private var runningCount = 0
    private static let runningLimit = 4

    init(_ rooms: Rooms) {
        self.rooms = rooms
    }

    /// What is known of a room that is loaded is what it says itself.
    func forget(_ name: String) { known[name] = nil }

    /// How many there are.
    func count() async throws -> Int { try await rooms.stores.listed.count() }

    /// Their names, in the order of their bytes.
    func names(after: String?, limit: Int) async throws -> [String] {
        limit > 0 ? try await rooms.stores.listed.owners(after: after, limit: limit) : []
    }

    /// nil when it is no public room any more.
    func entry(_ name: String) async throws -> Entry? {
        if rooms.loaded[name] == nil, known[name] == nil {
            let read = try await rooms.stores.listed.value(for: name)
            if known.count >= Self.knownLimit { known = [:] }
            if rooms.loaded[name] == nil { known[name] = read }
        }
        if let room = rooms.loaded[name] { return entry(room) }
        return known[name].map { Entry(name: name, room: $0, occupantCount: 0) }
    }

    private func entry(_ room: Room) -> Entry? {
        guard room.settings.isPublic, !room.isLocked else { return nil }
        return Entry(name: room.name, room: ListedRoom(room.settings), occupantCount: room.occupants.count)
    }

    /// Those in which somebody is, the fullest first, as they are or were a moment ago.
    func busy() -> [Entry] {
        if let busyRooms, rooms.now - busyRooms.time < Self.busyTime { return busyRooms.entries }
        let entries = rooms.loaded.values.filter { !$0.isEmpty }.compactMap(entry).sorted {
            ($1.occupantCount, $0.name) < ($0.occupantCount, $1.name)
        }
        busyRooms = (entries, rooms.now)
        return entries
    }

    private var busyRooms: (entries: [Entry], time: Duration)?
    /// For how long a list is good enough: it costs a look at all loaded rooms.
    private static let busyTime = Duration.seconds(2)

    /// Runs something that reads much, unless too much runs already.
    ///
    /// - Returns: nil if it was not run.
    func takingTurns<Value>(_ body: @ServerActor () async throws -> Value) async rethrows -> Value? {
        guard runningCount < Self.runningLimit else { return nil }
        runningCount += 1
        defer { runningCount -= 1 }
        return try await body()
    }
}
