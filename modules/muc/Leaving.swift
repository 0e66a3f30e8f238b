import ServerKit

/// How occupants leave, by themselves or not. XEP-0045 §7.14, §8.2, §9.1, §10.9.
extension Room {
    /// A client leaves. XEP-0045 §7.14.
    func leave(_ session: Occupant.Session, _ farewell: Presence) {
        var farewell = farewell.farewell
        // Nobody is kept from leaving, but not all need hear it.
        if farewell.payload.estimatedSize > service.options.presenceSize {
            farewell.payload.removeChildren { _ in true }
        }
        remove([session], Details(), farewell: farewell)
    }

    /// Removes all clients of an occupant, against their will.
    ///
    /// - Parameter details: why, such as status 307 for one that is kicked.
    func expel(_ occupant: Occupant, _ details: Details) {
        remove(occupant.sessions, details, farewell: nil)
    }

    /// Removes one client against its will.
    func expel(_ session: Occupant.Session, _ details: Details) {
        remove([session], details, farewell: nil)
    }

    /// Removes many occupants at once, against their will. Only those who stay are told of all of them.
    func expel(_ leaving: [Occupant], _ details: Details) {
        let gone = leaving.map { (occupant: $0, sessions: $0.sessions, jid: $0.primary?.jid) }
        for session in gone.flatMap(\.sessions) {
            take(session)
            forgetStored(session)
        }
        let viewers = sessions
        var own = details
        own.statuses.append(.selfPresence)
        for (occupant, sessions, jid) in gone {
            let ownPayload = makePayload(of: occupant, .unavailable, jid: jid, own)
            let from = occupant.jid
            outbox.send(size: sessions.count) {
                for session in sessions {
                    var presence = Presence(to: session.jid, from: from, kind: .unavailable)
                    presence.payload = ownPayload
                    self.router.route(presence)
                }
            }
            broadcast(
                of: occupant, .unavailable, viewers: viewers,
                { self.makePayload(of: occupant, .unavailable, jid: $0 ? jid : nil, details) }, own: { ownPayload })
        }
        for (occupant, sessions, _) in gone {
            for session in sessions {
                service.hooks.occupantLeft.notify(OccupantEvent(room: self, occupant: occupant, session: session))
            }
        }
        if !gone.isEmpty, isEmpty, !isDestroyed { service.becameEmpty(self) }
    }

    /// Takes clients of one occupant out and tells those who are concerned.
    private func remove(_ leaving: [Occupant.Session], _ details: Details, farewell: Presence?) {
        guard let occupant = leaving.first?.occupant else { return }
        let viewers = sessions
        let oldPrimary = occupant.primary
        let jid = leaving.last?.jid
        for session in leaving {
            take(session)
            forgetStored(session)
        }
        let isGone = occupant.sessions.isEmpty
        var own = details
        own.statuses.append(.selfPresence)
        // XEP-0045 §10.1.3: a room that was never configured goes away with its owner.
        if isEmpty, isLocked, own.element == nil { own.element = Element("destroy", .mucUser) }
        let ownPayload = makePayload(of: occupant, .unavailable, jid: jid, own, farewell: farewell)
        let from = occupant.jid
        outbox.send {
            for session in leaving {
                var presence = Presence(to: session.jid, from: from, kind: .unavailable)
                presence.payload = ownPayload
                self.router.route(presence)
            }
        }
        if isGone {
            broadcast(
                of: occupant, .unavailable, viewers: viewers.filter { $0.occupant !== occupant },
                { self.makePayload(of: occupant, .unavailable, jid: $0 ? jid : nil, details, farewell: farewell) },
                own: { ownPayload })
        } else if oldPrimary !== occupant.primary {
            // The others see it as its other client shows it.
            announce(occupant)
        }
        stepInProgress = nil
        for session in leaving {
            service.hooks.occupantLeft.notify(OccupantEvent(room: self, occupant: occupant, session: session))
        }
        if isEmpty, !isDestroyed { service.becameEmpty(self) }
    }

    /// Removes the room with everybody in it. XEP-0045 §10.9.
    func destroy(alternate: JID? = nil, password: String? = nil, reason: String? = nil) {
        let element = Element("destroy", .mucUser, ["jid": alternate?.description]) {
            if let password { Element("password", text: password) }
            if let reason { Element("reason", text: reason) }
        }
        showOut(statuses: [], element)
        service.remove(self, RoomEvent.Destruction(alternate: alternate, reason: reason))
    }

    /// Takes everybody out at once and tells each only of itself: there is nobody left to hear of the others.
    func showOut(statuses: [Status], _ element: Element? = nil) {
        let everybody = occupants.map { occupant in
            let payload = Element("presence", .client) {
                Element("occupant-id", .occupantID, ["id": occupant.id])
                Element("x", .mucUser) {
                    Element("item", nil, ["affiliation": "none", "role": "none"])
                    element
                    for status in [Status.selfPresence] + statuses { status.element }
                }
            }
            return (from: occupant.jid, clients: occupant.sessions.map(\.jid), payload: payload.encoded)
        }
        let count = sessions.count
        for session in sessions { take(session) }
        outbox.send(size: count) {
            for (from, clients, payload) in everybody {
                for jid in clients {
                    var presence = Presence(to: jid, from: from, kind: .unavailable)
                    presence.payload = payload
                    self.router.route(presence)
                }
            }
        }
    }
}

extension Presence {
    /// What others see of a last presence: the text with which somebody leaves (XEP-0045 §7.14), and nothing else.
    fileprivate var farewell: Presence {
        var presence = self
        presence.payload.removeChildren { !$0.is("status", .client) }
        return presence
    }
}
