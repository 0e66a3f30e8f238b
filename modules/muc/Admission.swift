import ServerKit

/// Who may enter, and be one more in the room. XEP-0045 §7.2.5 to §7.2.10.
///
/// Errors say in words what is wrong: clients that enter by themselves when they start show them to their users.
struct Admission: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        host.filter(.occupantEntering) { event in
            let (room, affiliation) = (event.room, event.affiliation)
            // XEP-0045 §7.2.7.
            if affiliation == .outcast { return .bounce(.forbidden("You are banned from this room.")) }
            // XEP-0045 §7.2.10: as if there were no such room.
            if room.isLocked, affiliation != .owner { return .bounce(.itemNotFound) }
            if event.isInside {
                // Each client costs the room as much as another occupant.
                let most = rooms.options.maxClients
                guard room.session(event.jid) == nil, room.clientCount(of: event.jid.bare) >= most else { return .pass }
                if room.makePlace(for: event.jid.bare) { return .pass }
                return .bounce(.resourceConstraint("You are in this room with \(most) clients already."))
            }
            // XEP-0045 §7.2.6.
            if room.settings.isMembersOnly, affiliation < .member {
                return .bounce(StanzaError(.registrationRequired, nil, "Only members may enter this room."))
            }
            // XEP-0045 §7.2.5. Owners, who can look it up, need none.
            if let password = room.settings.password, affiliation != .owner {
                let given = event.request.text(of: "password", .muc)
                // A secret is as good as few guesses.
                if given != nil, let error = room.refusalOfGuess(by: event.jid.bare) { return .bounce(error) }
                if given == password { return .pass }
                return .bounce(StanzaError(.notAuthorized, nil, "A password is needed to enter this room."))
            }
            return .pass
        }
        host.filter(.nickWanted) { event in
            let room = event.room
            // Whoever shares a nick, or is the only one to leave its own, takes no place more.
            if room.occupant(nick: event.nick) != nil || event.occupant?.sessions.count == 1 { return .pass }
            // XEP-0045 §7.2.9: there is always room for those who look after the room.
            let limit = min(room.settings.maxOccupants ?? .max, rooms.options.maxOccupants)
            guard room.occupants.count >= limit, room.affiliation(of: event.jid) < .admin else { return .pass }
            return .bounce(StanzaError(.serviceUnavailable, .wait, "The room is full."))
        }
        host.filter(.roomMessage) { event in
            // XEP-0045 §7.4: visitors have no voice.
            event.occupant.role >= .participant ? .pass : .bounce(.forbidden)
        }
    }
}

extension Room {
    /// Lets go of a client of an account that may be gone in favour of another one: who connects anew again and again
    /// leaves some behind.
    ///
    /// - Returns: whether there was one. If not, clients elsewhere are asked whether they are there.
    fileprivate func makePlace(for account: JID) -> Bool {
        let own = sessions.filter { $0.jid.bare == account }
        if let doubtful = own.first(where: \.isUnverified) {
            loseConnection(of: doubtful)
            return true
        }
        for session in own {
            if case .elsewhere = service.whereabouts(of: session.jid, in: self) { probe(session) }
        }
        return false
    }
}
