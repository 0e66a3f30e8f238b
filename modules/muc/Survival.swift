import ServerKit

/// Rooms outlive restarts with everybody in them: nobody has to enter again.
///
/// Who is in a room is stored. Some time after the start, rooms that have occupants are loaded, a few at a time; a room
/// that somebody needs earlier is loaded earlier. Local clients go on with the session that their server kept for them,
/// or under the JID they had; remote ones are asked whether they are there. Who is not there by the end of the grace
/// period has lost the connection.
struct Survival: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        let caretaker = Caretaker(host, rooms)
        host.observe(.roomLoaded) { caretaker.take($0.room) }
        rooms.doubtsArose = { caretaker.scheduleDoubts() }
        rooms.upkeep.append { caretaker.checkForGhosts() }
        host.finishBeforeStop { rooms.isWaiting }
        host.observe(.peerReturned) { event in caretaker.check(event.domains) }
        host.observe(.peerLost) { event in caretaker.doubt(event.domains) }
        host.onUnload { caretaker.leave() }
        caretaker.begin()
    }
}

/// Looks after clients that may be gone.
@ServerActor
private final class Caretaker {
    private let host: ModuleHost
    private let rooms: Rooms
    private var isOver = false
    private var areDoubtsDue = false
    /// The rooms that are still to be looked through for ghosts.
    private var round: ArraySlice<String> = []

    /// When the first rooms are loaded after the start, how many in a row, and the pause after these.
    private static let firstPause = Duration.seconds(5)
    private static let pageSize = 20
    private static let pause = Duration.milliseconds(200)
    /// Clients that are asked at a time.
    private static let probeLimit = 500
    /// Clients that are looked at for ghosts at a time.
    private static let ghostLimit = 2_000

    init(_ host: ModuleHost, _ rooms: Rooms) {
        self.host = host
        self.rooms = rooms
    }

    /// Servers that could not be reached are there again, maybe without their clients.
    func check(_ domains: Set<String>) {
        for room in rooms.loaded.values {
            for session in room.sessions where domains.contains(session.jid.domainpart) { room.probe(session) }
        }
    }

    /// Servers cannot be reached: their clients are where they would be if something sent to them had come back.
    func doubt(_ domains: Set<String>) {
        for room in rooms.loaded.values {
            for session in room.sessions where domains.contains(session.jid.domainpart) {
                room.doubt(session)
                room.markAway(session)
            }
        }
    }

    // MARK: After the start

    func begin() {
        schedule(after: nil, Self.firstPause)
    }

    private func schedule(after name: String?, _ pause: Duration) {
        host.clock.after(pause) {
            guard !self.isOver else { return }
            Task { @ServerActor in await self.loadRooms(after: name) }
        }
    }

    private func loadRooms(after name: String?) async {
        do {
            let names = try await rooms.stores.sessions.owners(after: name, limit: Self.pageSize)
            for name in names {
                guard !isOver, !host.server.isStopping else { return }
                await load(name)
            }
            if let last = names.last { schedule(after: last, Self.pause) }
        } catch {
            host.log.error("Occupants cannot be restored", metadata: ["reason": "\(error)"])
        }
    }

    private func load(_ name: String) async {
        do {
            guard let room = try await rooms.find(name) else {
                // Left over from a room that was never finished.
                return rooms.forget(name)
            }
            // Nobody could be put back.
            if room.isEmpty { rooms.becameEmpty(room) }
        } catch {
            // It was logged, and is tried again when somebody needs the room.
        }
    }

    /// A room was loaded: of local clients it is known at once whether they are there.
    func take(_ room: Room) {
        for session in room.sessions where session.isUnverified {
            switch rooms.whereabouts(of: session.jid, in: room) {
            case .absent: room.markAway(session)
            case .present: room.trust(session)
            case .elsewhere, .unknown, .bound: break
            }
        }
    }

    // MARK: From time to time

    /// Looks after those in doubt every few seconds, as long as there are any.
    func scheduleDoubts() {
        guard !areDoubtsDue else { return }
        areDoubtsDue = true
        host.clock.after(.seconds(5)) {
            self.areDoubtsDue = false
            guard !self.isOver, !self.host.server.isStopping else { return }
            var probes = Self.probeLimit
            for room in self.rooms.loaded.values where room.hasDoubts { room.checkDoubts(&probes) }
            if self.rooms.loaded.values.contains(where: \.hasDoubts) { self.scheduleDoubts() }
        }
    }

    func checkForGhosts() {
        guard !host.server.isStopping else { return }
        var (probes, clients) = (Self.probeLimit, Self.ghostLimit)
        if round.isEmpty { round = ArraySlice(rooms.loaded.keys) }
        while clients > 0, probes > 0, let name = round.popFirst() {
            guard let room = rooms.loaded[name] else { continue }
            clients -= max(1, room.sessions.count)
            room.checkForGhosts(&probes)
        }
    }

    // MARK: The end

    /// XEP-0045 §11.2: the service goes away. When the server stops nobody is told, for everybody is put back.
    func leave() {
        isOver = true
        guard !host.server.isStopping else { return }
        for room in rooms.loaded.values where !room.isEmpty { room.dismissEverybody() }
    }
}

extension Room {
    /// Whether somebody's leave is none: the server stops, and brings its clients back.
    func outlivesRestart(_ session: Occupant.Session) -> Bool {
        service.server.isStopping && service.server.host(session.jid.domainpart) != nil
    }

    fileprivate func dismissEverybody() {
        for session in sessions { forgetStored(session) }
        showOut(statuses: [.removedForShutdown])
        service.becameEmpty(self)
    }
}
