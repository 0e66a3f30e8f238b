import ServerKit

/// A room while it is loaded: its settings, who is affiliated with it, who is in it. XEP-0045 §4.
///
/// What can be done with it is in extensions and features, a file each.
@ServerActor
final class Room {
    /// `room@service`
    let jid: JID
    let service: Rooms
    private(set) var record: RoomRecord
    private(set) var affiliates: [JID: Affiliate]
    private(set) var versions: AffiliationLog
    /// The change of which presence tells that is being sent now.
    var stepInProgress: AffiliationStep?
    /// Whom nicks are reserved for, by the form in which they are compared. XEP-0045 §7.10.
    private var holders: [String: JID] = [:]
    /// In the order in which they came.
    private(set) var occupants: [Occupant] = []
    private var occupantsByKey: [String: Occupant] = [:]
    /// All clients of all occupants.
    private(set) var sessions: [Occupant.Session] = []
    private var sessionsByJID: [JID: Occupant.Session] = [:]
    let outbox: Outbox
    var history = History()
    /// When it last had something to do, by the server's clock.
    var lastUse: Duration
    /// Whether it is being made by somebody who enters.
    var isNew = false
    /// How many still work on something for which it must stay loaded.
    var pins = 0
    private(set) var isDestroyed = false
    /// Numbers stored clients in the order in which they last changed, so that the one that shows its presence is the
    /// same after a restart.
    var lastOrder = 0
    private var slots = Slots()

    init(
        _ jid: JID, _ service: Rooms, _ record: RoomRecord, affiliates: [JID: Affiliate] = [:],
        versions: AffiliationLog = AffiliationLog()
    ) {
        self.jid = jid
        self.service = service
        self.record = record
        self.affiliates = affiliates
        self.versions = versions
        outbox = Outbox(service.server.storage, service.host.clock)
        lastUse = service.now
        for (jid, affiliate) in affiliates {
            if let nick = affiliate.nick { holders[Room.key(of: nick)] = jid }
        }
    }

    /// The localpart.
    var name: String { jid.localpart ?? "" }
    var settings: RoomSettings { record.settings }
    /// Whether only its owner may enter, who has still to say how it should be. XEP-0045 §10.1.
    var isLocked: Bool { record.isLocked == true }
    var router: Router { service.host.router }
    var isEmpty: Bool { occupants.isEmpty }

    subscript<Key: RoomKey>(key: Key.Type) -> Key.Value {
        get { slots.value(key, default: Key.defaultValue) }
        set { slots.set(key, newValue) }
    }

    // MARK: What is stored

    /// Changes settings or subject, and stores them, together with what else belongs to the change.
    func change(also writes: [StorageWrite] = [], _ body: (inout RoomRecord) -> Void) {
        body(&record)
        save(also: writes)
    }

    func save(also writes: [StorageWrite] = []) {
        guard !isDestroyed else { return }
        service.stores.write(
            writes + [
                service.stores.rooms.setting(record, for: name),
                settings.isPublic && !isLocked
                    ? service.stores.listed.setting(ListedRoom(settings), for: name)
                    : .delete(service.stores.listed.address, owner: name),
            ])
    }

    /// How somebody stands to the room: as itself, or else as its domain does (XEP-0045 §9.2 bans whole domains).
    /// Administrators of the service own its rooms, whatever the room's owners say of them.
    func affiliation(of jid: JID) -> Affiliation {
        if service.ownsAllRooms(jid) { return .owner }
        let domain = affiliates[jid.domainOnly]?.affiliation ?? .none
        guard let own = affiliates[jid.bare], own.affiliation != .none else { return domain }
        // Whom an admin knows is let in although its domain is banned; that one has registered by itself says nothing.
        return domain == .outcast && own.isOwnDoing == true ? .outcast : own.affiliation
    }

    /// Changes what the room keeps about a bare JID or a domain, and stores it. Nobody is told: see
    /// ``setAffiliation(_:of:nick:actor:reason:)``.
    func setAffiliate(_ affiliate: Affiliate, of jid: JID) { setAffiliates([(jid, affiliate)]) }

    /// The same for some, all of which are stored or none.
    ///
    /// - Returns: what that means for those who know versions of the lists.
    @discardableResult
    func setAffiliates(_ changes: [(jid: JID, affiliate: Affiliate)]) -> [JID: AffiliationStep] {
        let store = service.stores.affiliates
        var writes: [StorageWrite] = []
        var steps: [JID: AffiliationStep] = [:]
        for (jid, affiliate) in changes where affiliate != affiliates[jid] ?? Affiliate(affiliation: .none) {
            let old = affiliates[jid]?.affiliation ?? .none
            if old != affiliate.affiliation {
                let limit = service.options.affiliationVersions
                steps[jid] = versions.append(jid, from: old, to: affiliate.affiliation, limit: limit)
            }
            if let key = affiliates[jid]?.nick.map(Room.key(of:)), holders[key] == jid { holders[key] = nil }
            if let nick = affiliate.nick { holders[Room.key(of: nick)] = jid }
            affiliates[jid] = affiliate.isNothing ? nil : affiliate
            let key = jid.description
            writes.append(
                affiliate.isNothing
                    ? .deleteEntry(store.address, owner: name, key: key) : store.setting(affiliate, key, of: name))
        }
        if !steps.isEmpty { writes.append(service.stores.versions.setting(versions, for: name)) }
        if !isDestroyed { service.stores.write(writes) }
        return steps
    }

    /// Stores everybody whom a new room knows from the beginning.
    func saveAffiliates() {
        let store = service.stores.affiliates
        service.stores.write(affiliates.map { store.setting($0.value, $0.key.description, of: name) })
    }

    /// Who has reserved a nick. XEP-0045 §7.10.
    func holder(ofNick nick: String) -> JID? { holders[Room.key(of: nick)] }

    /// The bare JIDs and domains with this affiliation, in order.
    func affiliates(with affiliation: Affiliation) -> [(jid: JID, affiliate: Affiliate)] {
        affiliates.filter { $0.value.affiliation == affiliation }.map { ($0.key, $0.value) }
            .sorted { $0.jid.description < $1.jid.description }
    }

    // MARK: Who is here

    /// The client of an occupant with this full JID.
    func session(_ jid: JID) -> Occupant.Session? { sessionsByJID[jid] }

    /// The occupant with this nick.
    func occupant(nick: String) -> Occupant? { occupantsByKey[Room.key(of: nick)] }

    /// The occupant that an account is here.
    func occupants(of bareJID: JID) -> [Occupant] { occupants.filter { $0.bareJID == bareJID } }

    /// With how many clients an account is here, under all its nicks.
    func clientCount(of bareJID: JID) -> Int { occupants(of: bareJID).reduce(0) { $0 + $1.sessions.count } }

    func insert(_ occupant: Occupant) {
        occupants.append(occupant)
        occupantsByKey[occupant.key] = occupant
    }

    func insert(_ session: Occupant.Session) {
        session.occupant.add(session)
        sessions.append(session)
        sessionsByJID[session.jid] = session
    }

    /// Takes a client out, and its occupant with the last one.
    func take(_ session: Occupant.Session) {
        let occupant = session.occupant
        occupant.remove(session)
        sessions.removeAll { $0 === session }
        sessionsByJID[session.jid] = nil
        guard occupant.sessions.isEmpty else { return }
        takeName(of: occupant)
        occupants.removeAll { $0 === occupant }
    }

    func rename(_ occupant: Occupant, to nick: String) {
        takeName(of: occupant)
        occupant.rename(to: nick, key: Room.key(of: nick))
        occupantsByKey[occupant.key] = occupant
    }

    private func takeName(of occupant: Occupant) {
        noteDeparture(of: occupant)
        if occupantsByKey[occupant.key] === occupant { occupantsByKey[occupant.key] = nil }
    }

    /// Stores that a client is here and as whom, so that it need not come again after a restart.
    func store(_ session: Occupant.Session) {
        guard !isDestroyed else { return }
        let occupant = session.occupant
        lastOrder += 1
        let stored = StoredSession(
            nick: occupant.nick, role: occupant.role, affiliation: occupant.affiliation,
            presence: session.presence.element.xml, knowsVersions: session.knowsVersions ? true : nil, order: lastOrder)
        service.stores.sessions.set(stored, session.jid.description, of: name)
    }

    func forgetStored(_ session: Occupant.Session) {
        guard !isDestroyed else { return }
        service.stores.sessions.delete(session.jid.description, of: name)
    }

    /// Nothing is stored from here on.
    func markDestroyed() { isDestroyed = true }

    // MARK: Nicks and ids

    /// A nick as it is shown, whoever chooses it. RFC 8266 §2.3.
    ///
    /// - Throws: `.jidMalformed` for what is none, or too long for a JID (RFC 7622 §3.4); `.policyViolation` for one that
    ///   is longer than the administrator wants (XEP-0045 §17.1 leaves it to the service to restrict nicks further).
    func preparedNick(_ wanted: String) throws(StanzaError) -> String {
        guard let nick = try? PRECIS.nickname(wanted), nick.utf8.count <= 1_023 else { throw .jidMalformed }
        let limit = service.options.nickLength
        guard nick.unicodeScalars.count <= limit else { throw .policyViolation("A nick may have \(limit) characters.") }
        return nick
    }

    /// The form of a nick in which it is compared. RFC 8266 §2.4.
    nonisolated static func key(of nick: String) -> String {
        (try? PRECIS.nicknameForComparison(nick)) ?? nick
    }

    /// What tells occupants apart, the same for all clients and visits of an account. XEP-0421 §3.1.
    func occupantID(of bareJID: JID) -> String {
        Base64.encode(
            Digest.hmac(.sha256, key: Array(record.salt.utf8), Array(bareJID.description.utf8)))
    }
}

extension ListedRoom {
    init(_ settings: RoomSettings) {
        self.init(
            title: settings.title, description: settings.description, language: settings.language,
            isOpen: settings.isOpen, isNonAnonymous: settings.whois == .anyone ? true : nil)
    }
}
