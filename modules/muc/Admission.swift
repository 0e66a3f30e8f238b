import ServerKit

/// Who may enter. XEP-0045 §7.2.5 to §7.2.10.
struct Admission: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        host.filter(.occupantEntering) { event in
            let (room, affiliation) = (event.room, event.affiliation)
            // XEP-0045 §7.2.7.
            if affiliation == .outcast { return .bounce(.forbidden) }
            // XEP-0045 §7.2.10: as if there were no such room.
            if room.isLocked, affiliation != .owner { return .bounce(.itemNotFound) }
            if event.isInside { return .pass }
            // XEP-0045 §7.2.6.
            if room.settings.isMembersOnly, affiliation < .member { return .bounce(.registrationRequired) }
            // XEP-0045 §7.2.5. Owners, who can look it up, need none.
            if let password = room.settings.password, affiliation != .owner,
                event.request.text(of: "password", .muc) != password
            {
                return .bounce(.notAuthorized)
            }
            // XEP-0045 §7.2.9: there is always room for those who look after the room.
            let limit = min(room.settings.maxOccupants ?? .max, rooms.options.maxOccupants)
            if room.occupants.count >= limit, affiliation < .admin { return .bounce(.serviceUnavailable) }
            return .pass
        }
        host.filter(.nickWanted) { event in
            guard let holder = event.room.holder(ofNick: event.nick), holder != event.jid.bare else { return .pass }
            // XEP-0045 §7.2.8: nicks that others have reserved.
            return .bounce(.conflict)
        }
        host.filter(.roomMessage) { event in
            // XEP-0045 §7.4: visitors have no voice.
            event.occupant.role >= .participant ? .pass : .bounce(.forbidden)
        }
    }
}

extension Room {
    /// Who has reserved a nick. XEP-0045 §7.10.
    func holder(ofNick nick: String) -> JID? {
        let key = Room.key(of: nick)
        return affiliates.first { $0.value.nick.map(Room.key(of:)) == key }?.key
    }
}
