import ServerKit

/// Why a client may be gone: it was here before a restart, or could not be reached. It stays for a while, so that it
/// need not enter again if it is there after all.
struct Doubt {
    /// Since when, by the server's clock.
    let since: Duration
    /// The number of the first message that it may have missed.
    let firstMissed: Int
    /// How often it was asked whether it is there.
    var attempts = 0
    /// When it is asked the next time.
    var nextProbe: Duration
    /// Set when it is known that nothing reaches it.
    var absence: Absence?

    struct Absence {
        /// The number of the first message that it missed.
        var firstMissed: Int
        /// The number of the first departure of which it does not know.
        let firstDeparture: Int
        let date: Timestamp
        /// When it was there again, by the server's clock; it may be about to enter anew.
        var returnedAt: Duration?
    }
}

/// Clients that may be gone, and what they learn when they are not.
///
/// While nothing speaks against it, such a client is sent everything like the others. Once something came back it is
/// sent nothing, and everything that it missed when it is there again: who is here now, and what was said. One that
/// enters anew gets what everybody gets who enters, and nothing twice.
extension Room {
    /// How long a client that is there again may take to enter anew before it is sent what it missed.
    private static let settlingTime = Duration.seconds(20)
    /// The first wait for an answer, which doubles from time to time up to the last.
    private static let probeTimes = (first: Duration.seconds(5), last: Duration.seconds(60))
    /// Nobody is given up who was not asked so often.
    private static let leastAttempts = 3

    private enum HasDoubts: RoomKey { static let defaultValue = false }

    /// Whether there may be clients in doubt.
    var hasDoubts: Bool { self[HasDoubts.self] }

    /// The clients that are sent what happens.
    var reachableSessions: [Occupant.Session] { hasDoubts ? sessions.filter { !$0.isAway } : sessions }

    /// Something came from a client.
    func heard(_ stanza: Stanza, from session: Occupant.Session) {
        session.lastHeard = service.now
        guard session.isUnverified else { return }
        switch stanza {
        case .presence(let presence):
            // Who enters anew gets everything, who leaves nothing.
            let isEntry = presence.kind == .available && presence.has("x", .muc)
            if !isEntry, presence.kind != .unavailable { trust(session) }
        case .message(let message):
            if message.kind == .groupchat || message.to?.isFull == true { trust(session) } else { isThere(session) }
        // Clients ask about a room before they enter it.
        case .iq(let iq): if iq.isRequest, iq.to?.isFull == true { trust(session) } else { isThere(session) }
        }
    }

    /// A client may be gone.
    func doubt(_ session: Occupant.Session) {
        guard session.doubt == nil else { return }
        session.doubt = Doubt(since: service.now, firstMissed: history.nextNumber, nextProbe: service.now)
        self[HasDoubts.self] = true
        service.doubtsArose()
    }

    /// Nothing reaches a client now.
    ///
    /// - Parameter message: what did not.
    func markAway(_ session: Occupant.Session, _ message: Message? = nil) {
        guard !isDestroyed, let since = session.doubt?.firstMissed else { return }
        let number = message.flatMap { history.number(of: $0, room: jid) }
        if let absence = session.doubt?.absence {
            // What was on its way before it was known comes back later.
            session.doubt?.absence?.firstMissed = min(absence.firstMissed, number ?? absence.firstMissed)
        } else {
            session.doubt?.absence = Doubt.Absence(
                firstMissed: number ?? since, firstDeparture: self[Departures.self].next, date: service.host.clock.date)
        }
        session.doubt?.absence?.returnedAt = nil
    }

    /// A client is there. If it was away, it may be about to enter anew, and is left the time.
    func isThere(_ session: Occupant.Session) {
        guard let absence = session.doubt?.absence else { return trust(session) }
        if absence.returnedAt == nil { session.doubt?.absence?.returnedAt = service.now }
    }

    /// A client is there, and takes itself for an occupant: it learns what it missed.
    func trust(_ session: Occupant.Session) {
        guard let doubt = session.doubt else { return }
        // It is sent as much as one that enters. What comes too often waits for the next look at it.
        if doubt.absence != nil, pace.take(.presence, for: session.jid.bare) != nil {
            session.doubt?.absence?.returnedAt = doubt.absence?.returnedAt ?? service.now
            return
        }
        session.doubt = nil
        session.probe = nil
        if case .bound = service.whereabouts(of: session.jid, in: self) { service.adopt(session) }
        guard let absence = doubt.absence else { return }
        sendDepartures(to: session, from: absence.firstDeparture)
        welcome(session, [], id: nil)
        sendMissed(to: session, from: absence.firstMissed)
        if let time = record.subject?.time, time >= absence.date { sendSubject(to: session) }
    }

    private func sendMissed(to session: Occupant.Session, from first: Int) {
        let (to, end) = (session.jid, history.nextNumber)
        guard first < end else { return }
        outbox.send {
            for item in self.history.items(from: first, before: end) {
                var message = item.delayed(by: self.jid)
                message.to = to
                self.router.route(message)
            }
        }
    }

    // MARK: Who left meanwhile

    /// Who left a nick, as it was then.
    private struct Departure {
        let number: Int
        let affiliation: Affiliation
        let occupantID: String
    }

    /// The nicks that became free since some client has been away.
    private struct DepartureList {
        var next = 0
        var nicks: [String: Departure] = [:]
    }

    private enum Departures: RoomKey { static var defaultValue: DepartureList { DepartureList() } }

    /// Nicks that are remembered; beyond that a client that comes back sees some who are not here any more.
    private static let departureLimit = 5_000

    /// An occupant leaves its nick.
    func noteDeparture(of occupant: Occupant) {
        guard hasDoubts, occupant.isShown, self[Departures.self].nicks.count < Self.departureLimit else { return }
        guard sessions.contains(where: \.isAway) else { return }
        let number = self[Departures.self].next
        self[Departures.self].nicks[occupant.nick] = Departure(
            number: number, affiliation: occupant.affiliation, occupantID: occupant.id)
        self[Departures.self].next = number + 1
    }

    private func sendDepartures(to session: Occupant.Session, from first: Int) {
        let gone = self[Departures.self].nicks
            .filter { $0.value.number >= first && occupant(nick: $0.key)?.nick != $0.key }
            .sorted { $0.value.number < $1.value.number }
        guard !gone.isEmpty else { return }
        let (to, room) = (session.jid, jid)
        outbox.send {
            for (nick, departure) in gone {
                let from = JID(unchecked: room.localpart, domainpart: room.domainpart, resourcepart: nick)
                self.router.route(
                    Presence(to: to, from: from, kind: .unavailable) {
                        // XEP-0421 §4.
                        Element("occupant-id", .occupantID, ["id": departure.occupantID])
                        Element("x", .mucUser) {
                            Element("item", nil, ["affiliation": departure.affiliation.rawValue, "role": "none"])
                        }
                    })
            }
        }
    }

    // MARK: Looking after them

    /// Looks whether clients in doubt are there by now, and takes out those that had their time.
    ///
    /// - Parameter probes: how many may be asked.
    func checkDoubts(_ probes: inout Int) {
        var isDone = true
        for session in sessions where session.isUnverified {
            // One may have gone because of another.
            guard self.session(session.jid) === session else { continue }
            check(session, &probes)
            if session.isUnverified { isDone = false }
        }
        guard isDone else { return }
        self[HasDoubts.self] = false
        self[Departures.self] = DepartureList()
    }

    private func check(_ session: Occupant.Session, _ probes: inout Int) {
        guard let doubt = session.doubt else { return }
        let age = service.now - doubt.since
        var isOver = age >= service.options.grace
        switch service.whereabouts(of: session.jid, in: self) {
        case .present: return trust(session)
        case .bound(let availableSince):
            // It has not entered by itself.
            guard let availableSince else { break }
            if service.now - availableSince >= Self.settlingTime { return trust(session) }
            return
        case .absent: markAway(session)
        case .unknown: break
        case .elsewhere:
            if let returnedAt = doubt.absence?.returnedAt {
                if service.now - returnedAt >= Self.settlingTime { trust(session) }
                return
            }
            isOver = isOver && doubt.attempts >= Self.leastAttempts
            if !isOver, service.now >= doubt.nextProbe, probes > 0 {
                probes -= 1
                let wait = min(Self.probeTimes.first * (1 << min(doubt.attempts / 2, 10)), Self.probeTimes.last)
                session.doubt?.attempts += 1
                session.doubt?.nextProbe = service.now + wait
                probe(session)
            }
        }
        if isOver { loseConnection(of: session) }
    }
}
