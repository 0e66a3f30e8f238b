import ServerKit

/// Requests from one occupant to another. XEP-0045 §17.4: neither learns the real JID of the other.
struct Relay: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        let requests = RelayedRequests(rooms)
        host.filter(.occupantAddressed) { event in
            guard case .iq = event.stanza, event.room.occupant(nick: event.nick) !== event.session.occupant,
                !event.room.settings.allowsQueries, event.session.occupant.role < .moderator
            else { return .pass }
            return .bounce(.notAllowed("Occupants of this room cannot be asked."))
        }
        host.claim(.occupantAddressed) { event in
            guard case .iq(let iq) = event.stanza else { return false }
            return requests.relay(iq, event)
        }
        host.claim(.answerToRoom) { requests.answer($0.stanza) }
        host.onUnload { requests.stop() }
    }
}

/// The requests that were passed on and not answered yet.
///
/// They go out under ids that cannot be guessed, since two occupants may use the same one; an answer counts if it comes
/// from where the request went, to the JID it came from.
@ServerActor
private final class RelayedRequests {
    /// How long an answer may take.
    private static let patience = Duration.seconds(120)
    /// How many may wait in all rooms together, and in one.
    private static let limit = 50_000
    private static let roomLimit = 2_000

    private struct Request {
        let id: String
        /// The client that asks, and the JID that it asked.
        let asker: JID
        let asked: JID
        /// The occupant's JID in whose name the request went out, and where it went.
        let from: JID
        let to: JID
    }

    private let rooms: Rooms
    private var requests: [String: Request] = [:]
    /// In the order in which they end, which is that in which they came; those that were answered are in it, too.
    private var deadlines: ArraySlice<(id: String, time: Duration)> = []
    /// How many wait of each account, by its bare JID, and in each room.
    private var counts: [JID: Int] = [:]
    /// Runs while some wait.
    private var timer: ScheduledAction?

    init(_ rooms: Rooms) {
        self.rooms = rooms
    }

    /// Passes a request on.
    ///
    /// - Returns: whether there is an occupant with this nick.
    func relay(_ iq: IQ, _ event: OccupantStanzaEvent) -> Bool {
        let asker = event.session
        guard let query = iq.query, let occupant = event.room.occupant(nick: event.nick),
            let client = occupant.session(answering: asker)
        else { return false }
        let router = event.room.router
        guard requests.count < Self.limit, counts[event.room.jid] ?? 0 < Self.roomLimit,
            counts[asker.jid.bare] ?? 0 < rooms.options.openRequests
        else {
            router.bounce(.iq(iq), .resourceConstraint("Too many requests wait for an answer."))
            return true
        }
        var copy = iq
        let id = RandomToken.make(bytes: 16)
        copy.id = id
        copy.from = asker.occupant.jid
        copy.to = iq.kind == .get && query.isForAccount ? occupant.bareJID : client.jid
        requests[id] = Request(
            id: iq.id ?? "", asker: asker.jid, asked: iq.to ?? occupant.jid, from: asker.occupant.jid,
            to: copy.to ?? client.jid)
        // Most are answered soon: what is left of them must not pile up.
        if deadlines.count > 2 * requests.count + 64 { deadlines.removeAll { requests[$0.id] == nil } }
        deadlines.append((id, rooms.now + Self.patience))
        for counted in [asker.jid.bare, event.room.jid] { counts[counted, default: 0] += 1 }
        schedule()
        event.room.outbox.send { router.route(copy) }
        return true
    }

    /// Gives an answer to the one who asked.
    ///
    /// - Returns: whether it answers one of the requests.
    func answer(_ iq: IQ) -> Bool {
        guard let id = iq.id, let request = requests[id], iq.from == request.to, iq.to == request.from else {
            return false
        }
        finish(id)
        var answer = iq.anonymized
        answer.id = request.id
        answer.from = request.asked
        answer.to = request.asker
        rooms.host.router.route(answer)
        return true
    }

    func stop() { timer?.cancel() }

    private func schedule() {
        guard timer == nil, !requests.isEmpty else { return }
        timer = rooms.host.clock.after(Self.patience / 8) {
            self.timer = nil
            self.expire()
            self.schedule()
        }
    }

    /// Tells those who have waited long enough. RFC 6120 §8.2.3: each request has an answer.
    private func expire() {
        while let first = deadlines.first, requests[first.id] == nil || first.time <= rooms.now {
            _ = deadlines.popFirst()
            guard let request = requests[first.id] else { continue }
            finish(first.id)
            rooms.host.router.route(
                IQ(.error, to: request.asker, from: request.asked, id: request.id) {
                    StanzaError.remoteServerTimeout.element
                })
        }
    }

    private func finish(_ id: String) {
        guard let request = requests.removeValue(forKey: id) else { return }
        for counted in [request.asker.bare, request.from.bare] {
            let count = (counts[counted] ?? 1) - 1
            counts[counted] = count > 0 ? count : nil
        }
    }
}

extension Occupant {
    /// The client that answers what the occupant is asked: the one whose presence is shown, but another one if it asks
    /// itself.
    fileprivate func session(answering asker: Session) -> Session? {
        sessions.last { $0 !== asker } ?? sessions.last
    }
}

extension Element {
    /// Whether the account answers this, and not a client: cards (XEP-0054 §3.3, XEP-0292 §4.1.1) and what belongs to them in
    /// personal eventing (XEP-0084 §3.4).
    fileprivate var isForAccount: Bool {
        switch namespace {
        case .vCard: name == "vCard"
        case .vCard4: name == "vcard"
        case .pubsub:
            child("items", .pubsub)?["node"].map { $0.hasPrefix("urn:xmpp:avatar:") || $0 == Namespace.vCard4Node.uri }
                ?? false
        default: false
        }
    }
}

extension Namespace {
    /// XEP-0060 §16.1.
    fileprivate static let pubsub: Namespace = "http://jabber.org/protocol/pubsub"
    /// XEP-0292 §4.1.1.
    fileprivate static let vCard4: Namespace = "urn:ietf:params:xml:ns:vcard-4.0"
    /// XEP-0292 §4.1.1.
    fileprivate static let vCard4Node: Namespace = "urn:xmpp:vcard4"
}
