import ServerKit

/// What is stored of a room, affiliations and occupants aside.
struct RoomRecord: Codable, Sendable {
    var settings: RoomSettings
    /// The message that set the subject, as it was sent to everybody. XEP-0045 §8.1.
    var subject: StoredSubject?
    let creator: JID
    let created: Timestamp
    /// What occupant ids are made with. XEP-0421 §3.
    let salt: String
    /// Whether its owner has still to say how it should be. XEP-0045 §10.1.
    var isLocked: Bool?

    struct StoredSubject: Codable, Sendable {
        let xml: String
        let time: Timestamp
    }
}

/// An occupant's client while the server is down.
struct StoredSession: Codable, Sendable {
    let nick: String
    let role: Role
    let presence: String
}

/// What those learn of a public room who look for one.
struct ListedRoom: Codable, Sendable {
    let title: String?
    let description: String?
    let language: String?
    let isOpen: Bool
}

/// Where the rooms of a service are stored, by their localparts.
@ServerActor
struct RoomStores {
    let rooms: KeyValueStore<RoomRecord>
    let affiliates: MapStore<Affiliate>
    let sessions: MapStore<StoredSession>
    /// The public ones, so that lists need not read all.
    let listed: KeyValueStore<ListedRoom>
    /// The rooms that each bare JID has made.
    let made: MapStore<Timestamp>
    let archive: ArchiveStore<[UInt8]>
    private let storage: Storage
    private let domain: String

    init(_ host: ModuleHost) {
        rooms = host.store("rooms")
        affiliates = host.map("room-affiliations")
        sessions = host.map("room-occupants")
        listed = host.store("room-list")
        made = host.map("rooms-made")
        archive = host.rawArchive("room-archive")
        storage = host.server.storage
        domain = host.domain
    }

    /// Takes changes that happen together or not at all.
    @discardableResult
    func write(_ writes: [StorageWrite]) -> CommitNumber {
        writes.isEmpty ? .none : storage.driver.enqueue(writes)
    }

    /// Removes all that is stored of a room.
    func remove(_ name: String, madeBy creator: JID) {
        storage.removeEverything(of: name, on: domain)
        made.delete(name, of: creator.description)
    }

    /// Everything that a room is made of.
    struct Stored: Sendable {
        let record: RoomRecord
        let affiliates: [MapEntry<Affiliate>]
        let sessions: [MapEntry<StoredSession>]
        let messages: [ArchiveItem<[UInt8]>]
    }

    /// Reads a room; nil when there is none.
    func read(_ name: String, historyLimit: Int) async throws -> Stored? {
        guard let record = try await rooms.value(for: name) else { return nil }
        let length = min(record.settings.historyLength ?? historyLimit, historyLimit)
        var messages: [ArchiveItem<[UInt8]>] = []
        if length > 0 {
            messages = try await archive.items(of: name, ArchiveQuery(limit: length, order: .newestFirst)).reversed()
        }
        return Stored(
            record: record, affiliates: try await affiliates.entries(of: name),
            sessions: try await sessions.entries(of: name), messages: messages)
    }
}
