import ServerKit

/// Somebody in a room, under one nick, with one or more clients. XEP-0045 §4.1, §7.2.8.
@ServerActor
final class Occupant {
    /// The nick as it is shown.
    private(set) var nick: String
    /// The nick as it is compared. RFC 8266 §2.4.
    private(set) var key: String
    /// `room@service/nick`
    private(set) var jid: JID
    /// The account, or whatever has the clients.
    let bareJID: JID
    /// What tells the occupant from others, whatever their nicks. XEP-0421 §3.
    let id: String
    let affiliationOnEntry: Affiliation
    var role: Role { didSet { forgetPresence() } }
    var affiliation: Affiliation { didSet { forgetPresence() } }
    /// Its clients; the one that shows its presence is last.
    private(set) var sessions: [Session] = []
    /// Whether everybody sees that it is here. XEP-0045 §15.5.2, `muc#roomconfig_presencebroadcast`.
    var isShown = true
    /// What features keep with the occupant until it leaves.
    private var slots = Slots()
    /// Its presence as others get it, with its real JID and without, made when it is needed.
    private var openPresence: Element?
    private var hiddenPresence: Element?

    init(nick: String, key: String, room: JID, bareJID: JID, id: String, affiliation: Affiliation, role: Role) {
        self.nick = nick
        self.key = key
        jid = JID(unchecked: room.localpart, domainpart: room.domainpart, resourcepart: nick)
        self.bareJID = bareJID
        self.id = id
        self.affiliation = affiliation
        affiliationOnEntry = affiliation
        self.role = role
    }

    /// One client of an occupant.
    @ServerActor
    final class Session {
        /// The full JID.
        let jid: JID
        /// Whose it is. The two hold each other until it leaves.
        let occupant: Occupant
        /// What the client last sent, without what the room says itself.
        fileprivate(set) var presence: Presence
        /// When something last came from it, by the server's clock.
        var lastHeard: Duration
        /// Whether it is told which version of the lists of affiliations a change leads to. XEP-0463.
        var knowsVersions = false
        /// Why it may be gone; nil while there is no reason to think so.
        var doubt: Doubt?
        /// What it was asked to see whether it is there, and has not answered yet.
        var probe: Probe?

        /// Whether it was here before a restart, and has not been heard of since, or cannot be reached.
        var isUnverified: Bool { doubt != nil }
        /// Whether it is known that nothing reaches it now. It is sent nothing, and what it misses when it is back.
        var isAway: Bool { doubt?.absence != nil }

        init(_ jid: JID, _ occupant: Occupant, _ presence: Presence, now: Duration) {
            self.jid = jid
            self.occupant = occupant
            self.presence = presence
            lastHeard = now
        }
    }

    subscript<Key: OccupantKey>(key: Key.Type) -> Key.Value {
        get { slots.value(key, default: Key.defaultValue) }
        set { slots.set(key, newValue) }
    }

    /// The client whose presence is shown.
    var primary: Session? { sessions.last }

    func session(_ jid: JID) -> Session? { sessions.first { $0.jid == jid } }

    /// Adds a client, whose presence is the one that is shown from now on.
    func add(_ session: Session) {
        sessions.append(session)
        forgetPresence()
    }

    func remove(_ session: Session) {
        sessions.removeAll { $0 === session }
        forgetPresence()
    }

    /// Takes the presence that a client sent; it is the one that is shown.
    func update(_ session: Session, _ presence: Presence) {
        session.presence = presence
        sessions.removeAll { $0 === session }
        sessions.append(session)
        forgetPresence()
    }

    func rename(to nick: String, key: String) {
        self.nick = nick
        self.key = key
        jid = JID(unchecked: jid.localpart, domainpart: jid.domainpart, resourcepart: nick)
        forgetPresence()
    }

    /// Presence is made anew when something has changed that it tells.
    func forgetPresence() {
        openPresence = nil
        hiddenPresence = nil
    }

    /// The presence that others are sent, encoded once for all of them.
    func presence(showingJID: Bool, _ make: () -> Element) -> Element {
        if let made = showingJID ? openPresence : hiddenPresence { return made }
        let made = make()
        if showingJID { openPresence = made } else { hiddenPresence = made }
        return made
    }
}

/// Names a value that a feature keeps with an occupant; forgotten when it leaves.
protocol OccupantKey {
    associatedtype Value
    static var defaultValue: Value { get }
}

/// Names a value that a feature keeps with a room while it is loaded.
protocol RoomKey {
    associatedtype Value
    static var defaultValue: Value { get }
}
