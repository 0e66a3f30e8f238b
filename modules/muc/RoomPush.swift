import ServerKit

/// Push Notifications (XEP-0357) of rooms: phones of members who are not in the room are told when something is said.
///
/// The client sends `<enable/>` to the room as it would to its account, and advertises nothing else. Who is in the room
/// gets what is said there, and is woken by its own server.
struct RoomPush: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        let registry = RoomPushRegistry(host)
        rooms.loadWithRooms(RoomPushRegistry.Book.self) { try await registry.load($0) }
        rooms.answer(.set, "enable", .push) { room, request in
            try enable(request, room, registry)
            return nil
        }
        rooms.answer(.set, "disable", .push) { room, request in
            try registry.disable(request.query, request.from.bare, in: room)
            return nil
        }
        rooms.describe { room, _ in room.mayPush ? RoomDescription(features: [.push]) : nil }
        host.observe(.roomMessage) { tell($0, registry) }
        host.observe(.occupantEntered) { registry.forgetUnread($0.occupant.bareJID, in: $0.room) }
        host.observe(.affiliationChanged) { event in
            if event.new < event.old { registry.removeStrangers(event.jid, from: event.room) }
        }
    }

    private func enable(
        _ request: IQRequest, _ room: Room, _ registry: RoomPushRegistry
    ) throws(StanzaError) {
        let jid = request.from.bare
        // XEP-0045 §7.2.10: as if there were no such room.
        if room.isLocked, room.affiliation(of: jid) != .owner { throw .itemNotFound }
        guard room.mayPush else { throw .serviceUnavailable }
        guard room.mayBeWoken(jid) else {
            throw StanzaError(.registrationRequired, nil, "Register with the room first.")
        }
        try registry.add(try PushTarget(request.query, sizeLimit: RoomPushRegistry.sizeLimit), of: jid, to: room)
    }

    /// XEP-0357 §7.
    private func tell(_ event: RoomMessageEvent, _ registry: RoomPushRegistry) {
        let (room, message) = (event.room, event.message)
        guard let book = room[RoomPushRegistry.Book.self], book.count > 0, event.isKept, room.mayPush else { return }
        let isEncrypted = message.payload.children.contains { $0.name == "encrypted" || $0.name == "openpgp" }
        guard isEncrypted || message.body?.isEmpty == false else { return }
        let wakesAll = room.wakesForEverything
        let mentions = wakesAll ? nil : Mentions(message)
        let here = Set(room.occupants.map(\.bareJID))
        for member in book.members.keys {
            guard member != event.occupant.bareJID, !here.contains(member), room.mayBeWoken(member) else { continue }
            let nick = room.affiliates[member]?.nick ?? member.localpart ?? ""
            if mentions?.contains(nick, member) ?? true { registry.tell(member, in: room) }
        }
    }
}

extension Room {
    fileprivate var mayPush: Bool { service.options.push != .off }

    /// Whom the room knows.
    func mayBeWoken(_ jid: JID) -> Bool {
        let affiliation = affiliation(of: jid)
        return affiliation >= .member || affiliation == .none && affiliates[jid]?.nick != nil
    }

    /// A room for members only is a conversation between people who know each other.
    fileprivate var wakesForEverything: Bool {
        switch service.options.push {
        case .all: true
        case .auto: settings.isMembersOnly
        case .mentions, .off: false
        }
    }
}

/// Whom a message mentions.
///
/// It is asked for each of very many, who are hardly ever named: most are ruled out by the words that there are.
struct Mentions: Sendable {
    private let text: String
    private let words: Set<Substring>
    private let references: Set<String>

    /// Bytes in which people are looked for, and references.
    private static let (textLimit, referenceLimit) = (4_096, 100)

    init(_ message: Message) {
        text = String(decoding: (message.body ?? "").utf8.prefix(Self.textLimit), as: UTF8.self).lowercased()
        words = Set(text.split { !$0.isWordCharacter })
        // XEP-0372 §3.2.
        references = Set(
            message.payload.children("reference", .references).prefix(Self.referenceLimit)
                .filter { $0["type"] == "mention" }.compactMap { $0["uri"] })
    }

    /// Whether it names somebody: the nick as a word of its own, in capitals or not, or the JID in a reference.
    func contains(_ nick: String, _ jid: JID) -> Bool {
        if !references.isEmpty, references.contains("xmpp:\(jid)") { return true }
        let nick = nick.lowercased()
        guard !nick.isEmpty else { return false }
        if let word = nick.firstWord, !words.contains(word) { return false }
        return text.ranges(of: nick).contains { range in
            let before = range.lowerBound == text.startIndex ? nil : text[text.index(before: range.lowerBound)]
            let after = range.upperBound == text.endIndex ? nil : text[range.upperBound]
            return ![before, after].contains { $0?.isWordCharacter ?? false }
        }
    }
}

extension Character {
    fileprivate var isWordCharacter: Bool { isLetter || isNumber }
}

extension String {
    /// The first of its words; nil when it has none.
    fileprivate var firstWord: Substring? {
        guard let start = firstIndex(where: \.isWordCharacter) else { return nil }
        return self[start...].prefix(while: \.isWordCharacter)
    }
}

extension Namespace {
    /// XEP-0372 §3.
    fileprivate static let references: Namespace = "urn:xmpp:reference:0"
}
