import ServerKit

/// Nicks that belong to somebody. XEP-0045 §7.10, §7.12.
struct ReservedNicks: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        host.transform(.nickWanted) { event in
            // XEP-0045 §7.10: who enters under another nick than its own gets its own, which status 210 tells.
            guard event.isEntering, event.room.settings.locksNicks,
                let nick = event.room.affiliates[event.jid.bare]?.nick
            else { return }
            event.nick = nick
        }
        host.filter(.nickWanted) { event in
            let room = event.room
            // XEP-0045 §7.2.8, §7.6: nicks that others have reserved.
            if let holder = room.holder(ofNick: event.nick), holder != event.jid.bare {
                return .bounce(.conflict("Somebody else has reserved this nick."))
            }
            // XEP-0045 §7.6: who is here keeps its own.
            if room.settings.locksNicks, let nick = room.affiliates[event.jid.bare]?.nick,
                Room.key(of: nick) != Room.key(of: event.nick)
            {
                return .bounce(.notAcceptable("In this room you are \(nick)."))
            }
            return .pass
        }
        // XEP-0045 §16.4.
        rooms.discoNode("x-roomuser-item", info: { room, request in room.reservedNickInfo(for: request.from) })
        host.observe(.roomConfigured) { event in
            let room = event.room
            guard room.settings.locksNicks, event.old?.locksNicks != true else { return }
            for jid in Set(room.occupants.map(\.bareJID)) { room.useReservedNick(of: jid) }
        }
    }
}

extension Room {
    /// Gives somebody who is here the nick that is its own, where nobody may use another. XEP-0045 §7.10: all are told
    /// that it did not choose it now.
    func useReservedNick(of jid: JID) {
        guard settings.locksNicks, let nick = affiliates[jid]?.nick else { return }
        if let other = occupant(nick: nick), other.bareJID != jid { return }
        for occupant in occupants(of: jid) where occupant.key != Room.key(of: nick) {
            for session in occupant.sessions {
                changeNick(of: session, to: nick, session.presence, statuses: [.nickAssigned])
                if let session = self.session(session.jid) { store(session) }
            }
        }
    }

    /// The nick that somebody has reserved, for disco; nothing if it has none. XEP-0045 §7.12.
    fileprivate func reservedNickInfo(for jid: JID) -> [Element] {
        guard let nick = affiliates[jid.bare]?.nick else { return [] }
        return [Element("identity", .discoInfo, ["category": "conference", "type": "text", "name": nick])]
    }
}
