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
    /// The hashes of the pictures on its card. XEP-0486 §3.3.
    var avatar: [String]?
    /// Whether its owner has still to say how it should be. XEP-0045 §10.1.
    var isLocked: Bool?
    /// How much was said of late. XEP-0502.
    var activity: MessageCounts?
    /// XEP-0317.
    var hats: HatRack?

    struct StoredSubject: Codable, Sendable {
        let xml: String
        let time: Timestamp
    }
}

/// An occupant's client while the server is down.
struct StoredSession: Codable, Sendable {
    let nick: String
    let role: Role
    /// The one that it has the role with.
    var affiliation: Affiliation?
    let presence: String
    /// Whether it is told versions of the lists of affiliations. XEP-0463.
    var knowsVersions: Bool?
    /// Of those that share a nick the last one shows its presence.
    var order: Int?
}

/// What those learn of a public room who look for one.
struct ListedRoom: Codable, Sendable {
    let title: String?
    let description: String?
    let language: String?
    let isOpen: Bool
    /// Whether all occupants see each other's real JIDs.
    var isNonAnonymous: Bool?
}

/// Where the rooms of a service are stored, by their localparts.
@ServerActor
struct RoomStores {
    let rooms: KeyValueStore<RoomRecord>
    let affiliates: MapStore<Affiliate>
    let versions: KeyValueStore<AffiliationLog>
    let sessions: MapStore<StoredSession>
    /// The public ones, so that lists need not read all.
    let listed: KeyValueStore<ListedRoom>
    /// The rooms that each bare JID has made.
    let made: MapStore<Timestamp>
    /// Their cards, which are read when they are needed. XEP-0486.
    let cards: KeyValueStore<[UInt8]>
    let archive: ArchiveStore<[UInt8]>
    private let storage: Storage
    private let domain: String

    init(_ host: ModuleHost) {
        rooms = host.store("rooms")
        affiliates = host.map("room-affiliations")
        versions = host.store("room-affiliation-versions")
        sessions = host.map("room-occupants")
        listed = host.store("room-list")
        made = host.map("rooms-made")
        cards = host.server.storage.rawValues("room-cards", on: host.domain)
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
        let versions: AffiliationLog?
        let sessions: [MapEntry<StoredSession>]
        let messages: [ArchiveItem<[UInt8]>]
    }

    /// Reads a room; nil when there is none.
    func read(_ name: String, _ options: MUC.Options) async throws -> Stored? {
        guard let record = try await rooms.value(for: name) else { return nil }
        let isArchived = record.settings.isArchived(under: options)
        return Stored(
            record: record, affiliates: try await affiliates.entries(of: name),
            versions: try await versions.value(for: name),
            sessions: try await readSessions(of: name),
            messages: isArchived
                ? try await history(of: name, length: record.settings.historyLength(under: options)) : [])
    }

    /// The newest messages that those who enter are shown, oldest first. The archive has others among them, but not so
    /// many that it would be looked through for more.
    private func history(of name: String, length: Int) async throws -> [ArchiveItem<[UInt8]>] {
        guard length > 0 else { return [] }
        var found: [ArchiveItem<[UInt8]>] = []
        var query = ArchiveQuery(limit: length, order: .newestFirst)
        query.byteLimit = 1_048_576
        for _ in 0..<4 {
            let batch = try await archive.items(of: name, query)
            found += batch.filter { ArchivedRoomMessage.isForHistory($0.value) }
            guard found.count < length, let last = batch.last else { break }
            query.before = .sequence(last.sequence)
        }
        return found.prefix(length).reversed()
    }

    /// What cannot be understood any more costs those who were in the room their place, but nobody the room.
    private func readSessions(of name: String) async throws -> [MapEntry<StoredSession>] {
        do {
            return try await sessions.entries(of: name)
        } catch let error where error.reason == .undecodable {
            sessions.deleteAll(of: name)
            return []
        }
    }
}
