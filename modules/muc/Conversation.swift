import ServerKit

/// What occupants say to everybody. XEP-0045 §7.4.
extension Room {
    func say(_ message: Message, _ session: Occupant.Session) {
        let occupant = session.occupant
        var event = RoomMessageEvent(
            room: self, occupant: occupant, session: session, message: message, id: service.makeID(),
            isKept: message.isWorthKeeping)
        let hooks = service.hooks.roomMessage
        switch hooks.verdict(on: event) {
        case .pass: break
        case .drop: return
        case .bounce(let error): return router.bounce(.message(message), error)
        }
        event.message = prepare(message, from: occupant, id: event.id)
        hooks.transform(&event)
        if !hooks.isClaimed(event) { publish(event) }
    }

    /// A message as everybody is to get it.
    private func prepare(_ message: Message, from occupant: Occupant, id: String) -> Message {
        var message = attributed(message, to: occupant)
        message.payload.append(Element("stanza-id", .stanzaIDs, ["by": jid.description, "id": id]))
        return message
    }

    /// A message from an occupant's JID: with what the room says of its sender, and without what others might pretend
    /// that it says. XEP-0421 §4, XEP-0359 §3, XEP-0045 §7.2.13, XEP-0424 §4, XEP-0425 §4.
    func attributed(_ message: Message, to occupant: Occupant) -> Message {
        var message = message
        message.from = occupant.jid
        message.payload.removeChildren { child in
            switch child.namespace {
            case .occupantID, .mucUser, .hats, .olderHats, .moderation, .legacyModeration: true
            // A tombstone is what only the room puts up.
            case .retraction, .legacyRetraction: child.name == "retracted"
            case .stanzaIDs: child.name == "stanza-id" && child.jid("by") == jid
            case .delay: child.jid("from")?.bare == jid
            case .addresses: child.children.contains { $0["type"] == "ofrom" }
            default: false
            }
        }
        message.payload.append(Element("occupant-id", .occupantID, ["id": occupant.id]))
        return message
    }

    /// Keeps a message, if it is to be kept, and gives it to everybody once that is on disk.
    func publish(_ event: RoomMessageEvent) {
        let message = event.message
        var commit: CommitNumber?
        if event.isKept {
            commit = keep(message, event.id, from: .init(event.session), isForHistory: message.isForHistory)
        }
        if let commit { distribute(event, after: commit) } else { distribute(message) }
        service.hooks.roomMessage.notify(event)
    }

    /// The room itself says something, which is kept like what occupants say.
    func publish(_ message: Message) {
        let id = service.makeID()
        var message = message
        message.from = jid
        message.payload.append(Element("stanza-id", .stanzaIDs, ["by": jid.description, "id": id]))
        guard let commit = keep(message, id, from: nil, isForHistory: true) else { return distribute(message) }
        let viewers = sessions
        outbox.send(after: commit, size: viewers.count) { [message] lost in
            guard lost != nil else { return self.deliver(message, to: viewers) }
            self.history.remove(id)
        }
    }

    /// Gives everybody a message from an occupant or, without a `from`, from the room itself.
    func distribute(_ message: Message) {
        let viewers = reachableSessions
        outbox.send(size: viewers.count) { self.deliver(message, to: viewers) }
    }

    /// Gives everybody a message once a write is on disk. If that was lost nobody gets it: its sender is told, and may try
    /// again.
    func distribute(_ event: RoomMessageEvent, after commit: CommitNumber) {
        let viewers = reachableSessions
        outbox.send(after: commit, size: viewers.count) { lost in
            guard lost != nil else { return self.deliver(event.message, to: viewers) }
            self.history.remove(event.id)
            var refused = event.message
            refused.from = event.session.jid
            refused.to = self.jid
            self.router.bounce(.message(refused), StanzaError(.internalServerError, .wait))
        }
    }

    private func deliver(_ message: Message, to viewers: [Occupant.Session]) {
        var copy = message
        if copy.from == nil { copy.from = jid }
        for viewer in viewers {
            copy.header.to = viewer.jid
            router.route(copy)
        }
    }
}
