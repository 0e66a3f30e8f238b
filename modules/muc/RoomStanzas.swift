import ServerKit

/// What arrives at a room, and who takes care of it.
extension Room {
    func receive(_ stanza: Stanza) {
        lastUse = service.now
        guard let from = stanza.from, let to = stanza.to else { return }
        let session = session(from)
        if stanza.isError { return receiveError(stanza, session) }
        outbox.beginTurn()
        if let session { heard(stanza, from: session) }
        switch stanza {
        case .presence(let presence): receive(presence, from, nick: to.resourcepart, session)
        case .message(let message):
            if let nick = to.resourcepart {
                receive(message, for: nick, session)
            } else {
                receive(message, session)
            }
        case .iq(let iq):
            if !iq.isRequest {
                receive(answer: iq, session)
            } else if let nick = to.resourcepart {
                receive(iq, for: nick, session)
            } else {
                service.answer(iq, in: self)
            }
        }
    }

    // MARK: Presence

    private func receive(_ presence: Presence, _ from: JID, nick: String?, _ session: Occupant.Session?) {
        switch presence.kind {
        case .available:
            guard let nick else {
                // XEP-0045 §7.2.1: without a nick nobody enters.
                return router.bounce(.presence(presence), .jidMalformed)
            }
            if let request = presence.child("x", .muc) { return enter(presence, from, nick, request) }
            guard let session else { return router.route(Room.notInside(presence)) }
            update(session, presence, nick: nick)
        case .unavailable:
            // XEP-0045 §17.3: from those who are not here it means nothing.
            if let session, !outlivesRestart(session) { leave(session, presence) }
        case .error: break
        case .probe, .subscribe, .subscribed, .unsubscribe, .unsubscribed:
            let event = RoomStanzaEvent(room: self, occupant: session?.occupant, session: session, stanza: presence)
            _ = service.hooks.presenceToRoom.isClaimed(event)
        }
    }

    /// What a client is told that thinks it is in a room and is not. XEP-0045 §7.2.18.
    static func notInside(_ presence: Presence) -> Presence {
        Presence(to: presence.from, from: presence.to, kind: .unavailable) {
            Element("x", .mucUser) {
                Element("item", nil, ["affiliation": "none", "role": "none"]) {
                    Element("reason", text: "You are not in the room.")
                }
                for status in [Status.selfPresence, .kicked, .removedForError] { status.element }
            }
        }
    }

    // MARK: Messages and IQs

    private func receive(_ message: Message, _ session: Occupant.Session?) {
        // XEP-0045 §17.2: as if there were no such room.
        if isLocked { return router.bounce(.message(message), .itemNotFound) }
        guard message.kind == .groupchat else {
            let event = RoomStanzaEvent(room: self, occupant: session?.occupant, session: session, stanza: message)
            switch service.hooks.messageToRoom.verdict(on: event) {
            case .pass: break
            case .drop: return
            case .bounce(let error): return router.bounce(.message(message), error)
            }
            if service.hooks.messageToRoom.isClaimed(event) { return }
            // XEP-0045 §17.2: what is for everybody is of type "groupchat".
            return router.bounce(.message(message), session == nil ? .notAcceptable : .badRequest)
        }
        // XEP-0045 §7.4: only occupants talk.
        guard let session else { return router.bounce(.message(message), .notAcceptable) }
        say(message, session)
    }

    private func receive(_ message: Message, for nick: String, _ session: Occupant.Session?) {
        // XEP-0045 §7.5: not of type groupchat, and from occupants only.
        guard message.kind != .groupchat else { return router.bounce(.message(message), .badRequest) }
        if isLocked { return router.bounce(.message(message), .itemNotFound) }
        guard let session else { return router.bounce(.message(message), .notAcceptable) }
        pass(.message(message), to: nick, session)
    }

    private func receive(_ iq: IQ, for nick: String, _ session: Occupant.Session?) {
        guard let session else { return router.bounce(.iq(iq), Room.refusal(of: iq)) }
        pass(.iq(iq), to: nick, session)
    }

    /// Bytes of the id of a stanza from one occupant to another.
    private static let idLimit = 1_024

    /// Offers a stanza from one occupant to another to the features. XEP-0045 §7.5: without them, or if there is nobody
    /// with this nick, it is not found.
    private func pass(_ stanza: Stanza, to nick: String, _ session: Occupant.Session) {
        // The room remembers it until there is an answer, or might be one.
        guard stanza.id?.utf8.count ?? 0 <= Self.idLimit else {
            let text = "An id may have \(Self.idLimit) bytes."
            return router.bounce(stanza, StanzaError.policyViolation(text).withoutRequest())
        }
        let event = OccupantStanzaEvent(room: self, session: session, nick: nick, stanza: stanza)
        switch service.hooks.occupantAddressed.verdict(on: event) {
        case .pass: break
        case .drop: return
        case .bounce(let error): return router.bounce(stanza, error)
        }
        if !service.hooks.occupantAddressed.isClaimed(event) { router.bounce(stanza, .itemNotFound) }
    }

    /// What somebody gets who asks an occupant and is none: nothing that tells who is here, or whether there is such a
    /// room. XEP-0045 §6.6 for disco, XEP-0410 §3.3 for the rest.
    static func refusal(of iq: IQ) -> StanzaError {
        switch iq.query?.namespace {
        case .discoInfo, .discoItems: .badRequest
        default: .notAcceptable
        }
    }

    // MARK: Errors

    /// A request of the room, or one that went through it, was answered. XEP-0045 §17.4.
    private func receive(answer iq: IQ, _ session: Occupant.Session?) {
        let event = RoomStanzaEvent(room: self, occupant: session?.occupant, session: session, stanza: iq)
        if service.hooks.answerToRoom.isClaimed(event) { return }
        if let session, iq.to?.resourcepart == nil { receiveAnswer(iq, session) }
    }

    /// Something that the room sent could not be delivered, or a request was answered by an error.
    private func receiveError(_ stanza: Stanza, _ session: Occupant.Session?) {
        switch stanza {
        case .message(let message):
            if let nick = message.to?.resourcepart {
                guard let session else { return }
                let event = OccupantStanzaEvent(room: self, session: session, nick: nick, stanza: stanza)
                if service.hooks.occupantAddressed.isClaimed(event) { return }
            } else {
                let event = RoomStanzaEvent(
                    room: self, occupant: session?.occupant, session: session, stanza: message)
                if service.hooks.errorToRoom.isClaimed(event) { return }
            }
            if let session, let error = message.error { receive(error, about: session, message) }
        case .presence(let presence):
            if let session, let error = presence.error { receive(error, about: session) }
        case .iq(let iq): receive(answer: iq, session)
        }
    }
}
