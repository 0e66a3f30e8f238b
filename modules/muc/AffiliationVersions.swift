import ServerKit

/// MUC Affiliations Versioning (XEP-0463): a client that enters is told what has changed since it was last here, and from
/// then on which change leads from which version to which.
struct AffiliationVersions: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        rooms.describe(.affiliationVersions)
        host.transform(.occupantWelcoming) { event in
            let wants = event.request.child("mav", .affiliationVersions)
            event.session.knowsVersions = wants != nil
            if let wants { event.room.tellAffiliations(to: &event, since: wants["since"]) }
        }
    }
}

extension Room {
    /// How many affiliations one message tells. XEP-0463 §5.2.1 has long ones split.
    private static let pageSize = 500

    /// What somebody who enters has to learn.
    private enum News {
        case nothing
        case changes([Element])
        /// All there are.
        case all([Element])
        /// It must not know.
        case forbidden
    }

    /// What goes before everything else that somebody who enters is sent. XEP-0463 §5.2.1.
    fileprivate func tellAffiliations(to event: inout WelcomeEvent, since text: String?) {
        let session = event.session
        let lists = session.occupant.standing.readableLists(settings)
        let version = versions.version(of: lists)
        switch news(since: text, lists, for: session.occupant) {
        case .forbidden:
            session.knowsVersions = false
            return refuseAffiliations(to: session)
        case .nothing: break
        case .changes(let items): sendAffiliations(items, to: session, since: text, until: version, lists)
        case .all(let items): sendAffiliations(items, to: session, since: nil, until: version, lists)
        }
        event.elements.append(mav(since: nil, until: token(version, lists)))
    }

    private func news(since text: String?, _ lists: AffiliationLists, for occupant: Occupant) -> News {
        if lists.isEmpty { return .forbidden }
        guard let text, let number = number(of: text, lists),
            let changes = versions.changes(after: number, in: lists)
        else {
            // XEP-0463 §5.2.1: everything for those who know nothing, or nothing that is known here.
            let listed = affiliates.filter { lists.contains($0.value.affiliation) }
            return .all(listed.map { item(jid: $0.key, $0.value.affiliation) })
        }
        // XEP-0463 §6: nothing of times when it would not have been told.
        if let then = versions.affiliation(of: occupant.bareJID, at: number) {
            let isOutside = settings.isMembersOnly && then < .member
            let role = isOutside ? Role.none : then.initialRole(isModerated: settings.isModerated)
            let standing = Standing(affiliation: then, role: role)
            guard standing.readableLists(settings).isSuperset(of: lists) else { return .forbidden }
        }
        guard !changes.isEmpty else { return .nothing }
        // XEP-0463 §5.2.1: no diff is empty, so what came and went is told as well.
        var seen: Set<JID> = []
        let jids = changes.map(\.jid).filter { seen.insert($0).inserted }
        return .changes(jids.map { item(jid: $0, lists.shown(affiliates[$0]?.affiliation ?? .none)) })
    }

    private func item(jid: JID, _ affiliation: Affiliation) -> Element {
        Element("item", .mucUser, ["affiliation": affiliation.rawValue, "jid": jid.description])
    }

    /// Messages whose versions join each other. XEP-0463 §5.2.1.
    private func sendAffiliations(
        _ items: [Element], to session: Occupant.Session, since: String?, until version: Int, _ lists: AffiliationLists
    ) {
        var messages: [Message] = []
        var (position, reached) = (0, since)
        repeat {
            let end = min(position + Self.pageSize, items.count)
            let isLast = end == items.count
            // What an interrupted client remembers of the pages between leads back to the whole.
            let until = isLast ? token(version, lists) : token(version, lists, page: end)
            messages.append(
                Message(to: session.jid, from: jid, id: service.makeID()) {
                    Element("x", .mucUser) {
                        mav(since: reached, until: until)
                        Array(items[position..<end])
                    }
                })
            (position, reached) = (end, until)
        } while position < items.count
        outbox.send { for message in messages { self.router.route(message) } }
    }

    /// XEP-0463 §5.2.3.
    private func refuseAffiliations(to session: Occupant.Session) {
        let message = Message(to: session.jid, from: jid, id: service.makeID(), kind: .error) {
            Element("error", .client, ["type": "auth", "by": jid.description]) {
                Element("forbidden", .stanzaErrors)
            }
        }
        outbox.send { self.router.route(message) }
    }

    // MARK: Changes

    /// What goes with the news of a change, for somebody who knows versions. XEP-0463 §5.2.2.
    func mav(_ step: AffiliationStep, for lists: AffiliationLists) -> Element? {
        guard let (since, until) = step.versions(of: lists) else { return nil }
        return mav(since: token(since, lists), until: token(until, lists))
    }

    private func mav(since: String?, until: String) -> Element {
        Element("mav", .affiliationVersions, ["since": since, "until": until])
    }

    // MARK: Tokens

    /// A version as clients know it. It cannot be guessed: who knows it was told, or somebody told it.
    private func token(_ number: Int, _ lists: AffiliationLists, page: Int? = nil) -> String {
        let name = page.map { "\(number)+\($0)" } ?? "\(number)"
        let text = "affiliations\u{0}\(lists.rawValue)\u{0}\(name)"
        let seal = Digest.hmac(.sha256, key: Array(record.salt.utf8), Array(text.utf8))
        return "\(name)-\(Hex.encode(seal.prefix(6)))"
    }

    /// The number of a version of these lists; nil for what is none.
    private func number(of text: String, _ lists: AffiliationLists) -> Int? {
        guard text.utf8.count <= 64, let number = text.split(separator: "-").first.flatMap({ Int($0) }), number >= 0,
            token(number, lists) == text
        else { return nil }
        return number <= versions.last ? number : nil
    }
}

/// What a presence says to those who get it: made once for its occupant, for those who see real JIDs and for the others.
/// One that tells of a change says more to those who know versions, which is made once for each set of lists.
@ServerActor
struct PresencePayloads {
    enum Variant: Int {
        case own, open, hidden
    }

    private struct Key: Hashable {
        let lists: AffiliationLists
        let variant: Variant
    }

    /// The choice of those who get nothing.
    nonisolated static let nothing = UInt8.max

    private let room: Room
    private let step: AffiliationStep?
    /// At most as many as there are variants, without lists and with each set of them.
    private(set) var made: [Element] = []
    private var plain: (own: UInt8, open: UInt8, hidden: UInt8) = (nothing, nothing, nothing)
    private var versioned: [Key: UInt8] = [:]

    init(room: Room, step: AffiliationStep?) {
        self.room = room
        self.step = step
    }

    /// What a viewer gets, as its place in ``made``.
    mutating func choice(_ variant: Variant, for viewer: Occupant.Session, _ make: () -> Element) -> UInt8 {
        let plain = plainChoice(variant, make)
        guard let step, viewer.knowsVersions else { return plain }
        let lists = viewer.occupant.standing.readableLists(room.settings)
        let key = Key(lists: lists, variant: variant)
        if let known = versioned[key] { return known }
        guard let mav = room.mav(step, for: lists) else { return plain }
        let choice = add(made[Int(plain)].addingToRoomElement(mav))
        versioned[key] = choice
        return choice
    }

    private mutating func plainChoice(_ variant: Variant, _ make: () -> Element) -> UInt8 {
        switch variant {
        case .own:
            if plain.own == Self.nothing { plain.own = add(make()) }
            return plain.own
        case .open:
            if plain.open == Self.nothing { plain.open = add(make()) }
            return plain.open
        case .hidden:
            if plain.hidden == Self.nothing { plain.hidden = add(make()) }
            return plain.hidden
        }
    }

    private mutating func add(_ payload: Element) -> UInt8 {
        made.append(payload)
        return UInt8(made.count - 1)
    }
}

extension Element {
    /// A presence with something more in what the room says.
    fileprivate func addingToRoomElement(_ element: Element) -> Element {
        Element("presence", .client) {
            children.map { child in
                guard child.is("x", .mucUser) else { return child }
                var child = child
                child.append(element)
                return child
            }
        }.encoded
    }
}

extension Namespace {
    static let affiliationVersions: Namespace = "urn:xmpp:muc:affiliations:1"
}
