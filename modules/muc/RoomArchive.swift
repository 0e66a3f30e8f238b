import ServerKit

/// Rooms answer what was said in them. XEP-0313 §3.3.2, §4, §6.1.2.
struct RoomArchive: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        let queries = RoomArchiveQueries(host, rooms)
        rooms.describe { room, _ in
            room.isArchived
                ? RoomDescription(features: [.mam, .mamExtended, .retraction, .tombstones]) : nil
        }
        // XEP-0359 §5: the room sees to it that nobody pretends to be it.
        rooms.describe(.stanzaIDs)
        rooms.answer(.get, "query", .mam) { room, request in
            try room.admitReader(request.from)
            return Element("query", .mam) { ArchiveRequest.form().element }
        }
        rooms.answer(.set, "query", .mam, later: queries.search)
        rooms.answer(.get, "metadata", .mam, later: queries.metadata)
    }
}

extension Room {
    /// Lets pass who may read the archive: whoever could enter right now. XEP-0313 §6.1.2.
    ///
    /// - Throws: `.forbidden` for others (XEP-0313 §8.1), `.serviceUnavailable` when there is no archive.
    func admitReader(_ jid: JID) throws(StanzaError) {
        let affiliation = affiliation(of: jid)
        // As for those who want to enter, there is no such room.
        guard !isDestroyed, !isLocked || affiliation == .owner else { throw .itemNotFound }
        guard isArchived else { throw .serviceUnavailable }
        guard affiliation != .outcast else { throw .forbidden }
        if affiliation >= .admin || !occupants(of: jid.bare).isEmpty { return }
        guard !settings.isMembersOnly || affiliation >= .member else { throw .forbidden("Only members may read.") }
        // A query has no place for a password. Members were given it.
        guard settings.password == nil || affiliation >= .member else {
            throw .forbidden("The room has a password: enter it first.")
        }
    }

    /// Whether somebody may know who sent any message: moderators, and those who would be as soon as they enter.
    fileprivate func seesAllSenders(_ jid: JID) -> Bool {
        affiliation(of: jid) >= .admin || session(jid)?.occupant.role == .moderator
    }

    /// Whether somebody may know who sent this message. What was said under a nick alone stays so when the room is opened
    /// later; what was said in the open is hidden when it is closed.
    fileprivate func shows(_ head: ArchivedRoomMessage.Head, seesAll: Bool) -> Bool {
        seesAll || settings.whois == .anyone && head.isOpen
    }
}

/// Answers queries to the archives of rooms.
@ServerActor
private final class RoomArchiveQueries {
    /// Bytes that may wait for a client while there are more results for it.
    private static let backlogLimit = 524_288
    /// How long a client may leave them unread.
    private static let patience = Duration.seconds(20)
    /// Queries of all clients that may be under way or wait.
    private static let totalLimit = 2_000

    private let host: ModuleHost
    private let rooms: Rooms
    /// Those who have asked something that is not answered yet.
    private var askers: [JID: (queue: ArchiveQueue, count: Int)] = [:]
    private var total = 0

    init(_ host: ModuleHost, _ rooms: Rooms) {
        self.host = host
        self.rooms = rooms
    }

    /// XEP-0313 §5.
    func metadata(of room: Room, _ request: IQRequest) async throws -> Element? {
        try room.admitReader(request.from)
        let archive = rooms.stores.archive
        return try await inLine(request.from) {
            guard let first = try await archive.first(of: room.name), let last = try await archive.last(of: room.name)
            else { return Element("metadata", .mam) }
            return Element("metadata", .mam) {
                Element("start", nil, ["id": first.id, "timestamp": Timestamp(microseconds: first.time).description])
                Element("end", nil, ["id": last.id, "timestamp": Timestamp(microseconds: last.time).description])
            }
        }
    }

    func search(_ room: Room, _ request: IQRequest) async throws -> Element? {
        try room.admitReader(request.from)
        let wanted = try ArchiveRequest(request.query, idLimit: rooms.options.pageLimit)
        return try await inLine(request.from) {
            // The world may have moved while it waited.
            try room.admitReader(request.from)
            let seesAll = room.seesAllSenders(request.from)
            let publisher = try wanted.with.map { with throws(StanzaError) in
                try Publisher(with, in: room, seesAll: seesAll, asker: request.from)
            }
            let page = try await self.rooms.stores.archive.page(
                wanted, of: room.name, limits: self.rooms.options.pageLimits
            ) { _, query in publisher?.narrow(&query) }
            try await self.send(page, wanted, of: room, to: request, seesAll: seesAll)
            return page.fin
        }
    }

    private func send(
        _ page: ArchivePage, _ wanted: ArchiveRequest, of room: Room, to request: IQRequest, seesAll: Bool
    ) async throws {
        let resource = request.resource
        for item in wanted.isFlipped ? page.items.reversed() : page.items {
            guard let content = content(item, room, seesAll: seesAll) else {
                host.log.error("An archived message cannot be read", metadata: ["id": "\(item.id)"])
                continue
            }
            // What is for a client that has gone must not go to others of its account.
            if let resource, host.server.localResource(request.from) !== resource { return }
            host.router.route(
                ArchivePage.result(
                    item, queryID: wanted.queryID, from: room.jid, to: request.from, content: content))
            // What goes to other servers is no more than a page, one after the other.
            guard let resource, resource.backlog > Self.backlogLimit else { continue }
            guard await resource.waitForReader(below: Self.backlogLimit, patience: Self.patience) else {
                throw StanzaError.resourceConstraint("The results are not being read.")
            }
        }
    }

    /// A message as the asker may see it.
    private func content(_ item: ArchivePage.Item, _ room: Room, seesAll: Bool) -> Element? {
        guard let head = ArchivedRoomMessage.head(item.value) else { return nil }
        guard let sender = head.sender, room.shows(head, seesAll: seesAll) else {
            return ArchivedRoomMessage.sealed(item.value)
        }
        guard var message = ArchivedRoomMessage.message(item.value) else { return nil }
        message.payload.append(sender.element)
        return message.element
    }

    /// One query of a client after the other.
    private func inLine(
        _ asker: JID, _ body: @ServerActor () async throws -> Element?
    ) async throws -> Element? {
        guard total < Self.totalLimit else {
            throw StanzaError.resourceConstraint("Too many queries at the same time.")
        }
        let queue = askers[asker]?.queue ?? ArchiveQueue()
        askers[asker, default: (queue, 0)].count += 1
        total += 1
        defer {
            total -= 1
            askers[asker]?.count -= 1
            if askers[asker]?.count == 0 { askers[asker] = nil }
        }
        return try await queue.run(limit: rooms.options.waitingQueries, body)
    }
}

/// Whose messages are wanted. XEP-0313 §4.1.1.
private enum Publisher: Sendable {
    /// The room itself has published all.
    case anybody
    case nick(String)
    case sender(ArchiveQuery.Mark)

    /// - Throws: `.forbidden` where the asker must not learn who is behind a nick.
    @ServerActor
    init(_ jid: JID, in room: Room, seesAll: Bool, asker: JID) throws(StanzaError) {
        if jid.bare == room.jid {
            self = jid.resourcepart.map { .nick($0) } ?? .anybody
            return
        }
        let isOwn = jid.bare == asker.bare
        guard seesAll || isOwn || room.settings.whois == .anyone else {
            throw .forbidden("Only moderators may know who is behind a nick.")
        }
        self = .sender(ArchivedRoomMessage.mark(of: jid, isOpen: !seesAll && !isOwn))
    }

    func narrow(_ query: inout ArchiveQuery) {
        switch self {
        case .anybody: break
        case .nick(let nick): query.with = nick
        case .sender(let mark): query.mark = mark
        }
    }
}
