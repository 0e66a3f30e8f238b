import ServerKit

/// A message as a room's archive keeps it: a head, which tells who sent it, and the serialised stanza, which goes into
/// results as it is.
///
/// The head: a format number, two bytes with the length of the sender's real bare JID, and that JID.
enum ArchivedRoomMessage {
    private static let format: UInt8 = 1

    static func item(_ event: RoomMessageEvent, at time: Timestamp) -> NewArchiveItem<[UInt8]> {
        item(event.message, sender: event.occupant.bareJID, id: event.id, at: time)
    }

    static func item(_ message: Message, sender: JID, id: String, at time: Timestamp) -> NewArchiveItem<[UInt8]> {
        NewArchiveItem(
            id: id, time: time.microseconds, with: message.from?.description ?? "", value: encode(message, sender),
            text: nil)
    }

    static func encode(_ message: Message, _ sender: JID) -> [UInt8] {
        let jid = Array(sender.description.utf8)
        var head = [format, UInt8(truncatingIfNeeded: jid.count >> 8), UInt8(truncatingIfNeeded: jid.count)]
        head += jid
        var writer = XMLWriter(after: head)
        var message = message
        message.to = nil
        writer.write(message, in: nil)
        return writer.bytes
    }

    /// Where the stanza begins; nil if the bytes are none of this format.
    private static func start(_ value: [UInt8]) -> Int? {
        guard value.count > 3, value[0] == format else { return nil }
        let start = 3 + Int(value[1]) << 8 + Int(value[2])
        return start < value.count ? start : nil
    }

    /// The real bare JID of the sender.
    static func sender(_ value: [UInt8]) -> JID? {
        start(value).flatMap { JID(String(decoding: value[3..<$0], as: UTF8.self)) }
    }

    /// The stanza for a result, whose content is not looked into.
    static func sealed(_ value: [UInt8]) -> Element? {
        start(value).flatMap { Element(sealed: value, from: $0) }
    }

    /// The stanza; nil if the bytes are none.
    static func message(_ value: [UInt8]) -> Message? {
        guard let start = start(value), let element = try? Element.parse(value[start...]) else { return nil }
        return try? Message(element)
    }
}

extension Room {
    /// A room as it was stored.
    convenience init(_ jid: JID, _ service: Rooms, _ stored: RoomStores.Stored) {
        var affiliates: [JID: Affiliate] = [:]
        affiliates.reserveCapacity(stored.affiliates.count)
        for entry in stored.affiliates {
            if let jid = JID(entry.key) { affiliates[jid] = entry.value }
        }
        self.init(jid, service, stored.record, affiliates: affiliates)
        for item in stored.messages {
            guard let message = ArchivedRoomMessage.message(item.value) else { continue }
            history.append(
                message, id: item.id, at: Timestamp(microseconds: item.time), limit: historyLength)
        }
        for entry in stored.sessions { restore(entry) }
    }

    /// Puts a client back that was here before the server was restarted. Nobody is told: for everybody it was never away.
    private func restore(_ entry: MapEntry<StoredSession>) {
        guard let jid = JID(entry.key), let element = try? Element.parse(entry.value.presence),
            let presence = try? Presence(element)
        else { return }
        let affiliation = affiliation(of: jid)
        guard affiliation != .outcast else { return }
        let known = occupant(nick: entry.value.nick)
        guard known == nil || known?.bareJID == jid.bare else { return }
        let occupant =
            known
            ?? Occupant(
                nick: entry.value.nick, key: Room.key(of: entry.value.nick), room: self.jid, bareJID: jid.bare,
                id: occupantID(of: jid.bare), affiliation: affiliation, role: entry.value.role)
        if known == nil {
            occupant.isShown = settings.shownRoles.contains(occupant.role)
            insert(occupant)
        }
        let session = Occupant.Session(jid, occupant, presence, now: service.now)
        session.isUnverified = true
        insert(session)
    }
}
