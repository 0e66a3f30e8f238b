import ServerKit

/// How fast and how much occupants may have a room say to all the others: what one of them sends goes out as often as
/// there are clients in the room. XEP-0045 §14.6.
struct Pace: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        let delays = DelayedPresence(rooms)
        rooms.describe { room, _ in
            guard let slowness = room.slowness else { return nil }
            // XEP-0500 §5.2.
            let field = DataFormField.text("muc#roominfo_slow_mode_duration", "\(slowness.components.seconds)")
            return RoomDescription(fields: [field])
        }
        host.filter(.occupantEntering) { event in
            if let error = event.room.objection(to: event.presence) { return .bounce(error) }
            guard let wait = event.room.pace.take(.presence, for: event.jid.bare) else { return .pass }
            return .bounce(.tooFast("You enter too often.", wait))
        }
        host.filter(.nickWanted) { event in
            guard let occupant = event.occupant, occupant.nick != event.nick,
                let wait = event.room.pace.take(.nick, for: event.jid.bare)
            else { return .pass }
            return .bounce(.tooFast("You change your nick too often.", wait))
        }
        host.filter(.presenceUpdating) { event in
            if let error = event.room.objection(to: event.presence) { return .bounce(error) }
            return delays.verdict(on: event)
        }
        host.observe(.occupantEntered) { delays.forget($0.session.jid, in: $0.room) }
        host.observe(.occupantLeft) { delays.forget($0.session.jid, in: $0.room) }
        host.onUnload { delays.stop() }
        host.filter(.roomMessage) { event in
            let (room, message) = (event.room, event.message)
            if let error = room.objection(to: message) { return .bounce(error) }
            if let error = room.slowMode(event) { return .bounce(error) }
            if let wait = room.pace.take(.message, for: event.occupant.bareJID) {
                return .bounce(.tooFast("You write too fast.", wait))
            }
            if room.slowness != nil, room.isSlowed(event) {
                room.pace.said(by: event.occupant.bareJID)
            }
            return .pass
        }
        // What the room writes to others in somebody's name counts like what it passes on.
        host.filter(.messageToRoom) { event in
            guard let from = event.stanza.from else { return .drop }
            if let error = event.room.objection(to: event.stanza) { return .bounce(error) }
            guard let wait = event.room.pace.take(.message, for: from.bare) else { return .pass }
            return .bounce(.tooFast("You write too fast.", wait))
        }
        host.filter(.occupantAddressed) { event in
            guard case .message(let message) = event.stanza else { return .pass }
            if let error = event.room.objection(to: message) { return .bounce(error) }
            guard let wait = event.room.pace.take(.message, for: event.session.occupant.bareJID) else { return .pass }
            return .bounce(.tooFast("You write too fast.", wait))
        }
    }
}

extension Room {
    /// Counts that somebody enters with a password, right or wrong.
    ///
    /// - Returns: why it is not even looked at.
    func refusalOfGuess(by jid: JID) -> StanzaError? {
        pace.take(.password, for: jid).map { .tooFast("You have tried too many passwords.", $0) }
    }

    /// What is wrong with a message whoever sends it.
    fileprivate func objection(to message: Message) -> StanzaError? {
        let options = service.options
        if message.passedSize > options.messageSize {
            return .policyViolation("A message may have \(options.messageSize) bytes.").withoutRequest()
        }
        // In all languages together.
        let subjects = message.payload.children("subject", .client)
        if subjects.reduce(0, { $0 + $1.text.unicodeScalars.count }) > options.subjectLength {
            return .policyViolation("A subject may have \(options.subjectLength) characters.").withoutRequest()
        }
        return nil
    }

    /// What is wrong with presence: everybody gets it, and whoever enters later, too. XEP-0045 §14.6.
    fileprivate func objection(to presence: Presence) -> StanzaError? {
        let limit = service.options.presenceSize
        // What is for the room alone does not count.
        guard presence.passedSize > limit, presence.asOccupant.passedSize > limit else { return nil }
        return .policyViolation("Presence in a room may have \(limit) bytes.").withoutRequest()
    }

    /// Slow mode: those who are no moderators wait between two messages. XEP-0500 §6.
    fileprivate func slowMode(_ event: RoomMessageEvent) -> StanzaError? {
        guard let slowness, isSlowed(event), let last = pace.lastSaid(by: event.occupant.bareJID),
            service.now - last < slowness
        else { return nil }
        let text = "In this room there are \(slowness.components.seconds) seconds between two messages."
        return .tooFast(text, slowness - (service.now - last))
    }

    /// Whether slow mode is about this message: one with a body, of somebody who is no moderator (XEP-0500 §6 has admins and
    /// owners, who usually are). To take back what one has said cannot wait.
    fileprivate func isSlowed(_ event: RoomMessageEvent) -> Bool {
        guard event.message.has("body"), event.occupant.role < .moderator, event.occupant.affiliation < .admin else {
            return false
        }
        guard let id = event.message.retractedID else { return true }
        return !history.items.contains {
            $0.id == id && $0.message.child("occupant-id", .occupantID)?["id"] == event.occupant.id
        }
    }
}

extension StanzaProtocol {
    /// The bytes of it that others get, nearly.
    fileprivate var passedSize: Int {
        payload.estimatedSize + (id?.utf8.count ?? 0) + (language?.utf8.count ?? 0)
    }
}

/// Presence that comes faster than it may go out waits; what comes meanwhile takes its place. XEP-0045 §7.7.
@ServerActor
private final class DelayedPresence {
    private let rooms: Rooms
    /// The rooms in which some waits.
    private var waiting: [ObjectIdentifier: Room] = [:]
    private var timer: ScheduledAction?

    init(_ rooms: Rooms) {
        self.rooms = rooms
    }

    func verdict(on event: PresenceUpdateEvent) -> Verdict {
        let pace = event.room.pace
        let client = event.session.jid
        guard let wait = pace.take(.presence, for: client.bare) else {
            pace.delayed[client] = nil
            return .pass
        }
        // A change of nick is refused, which the client must expect anyhow (XEP-0045 §7.6).
        guard event.nick == event.session.occupant.nick else {
            return .bounce(.tooFast("You change your nick too often.", wait))
        }
        pace.delayed[client] = event.presence
        waiting[ObjectIdentifier(event.room)] = event.room
        schedule()
        return .drop
    }

    func stop() { timer?.cancel() }

    private func schedule() {
        guard timer == nil else { return }
        timer = rooms.host.clock.after(.seconds(1)) {
            self.timer = nil
            self.release()
        }
    }

    func forget(_ client: JID, in room: Room) {
        room[RoomPace.Key.self]?.delayed[client] = nil
    }

    /// Lets presence go that has waited long enough. What has not is held back again.
    private func release() {
        let waiting = self.waiting
        self.waiting = [:]
        for room in waiting.values {
            let delayed = room.pace.delayed
            room.pace.delayed = [:]
            for (jid, presence) in delayed {
                guard let session = room.session(jid) else { continue }
                room.update(session, presence, nick: session.occupant.nick)
            }
        }
    }
}
