import ServerKit

/// What occupants say to everybody. XEP-0045 §7.4.
extension Room {
    func say(_ message: Message, _ session: Occupant.Session) {
        session.isUnverified = false
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

    /// A message as everybody is to get it: with what the room says of its sender, and without what others might pretend
    /// that it says.
    private func prepare(_ message: Message, from occupant: Occupant, id: String) -> Message {
        var message = message
        message.from = occupant.jid
        message.payload.removeChildren { child in
            switch child.namespace {
            case .occupantID, .mucUser: true
            case .stanzaIDs: child.name == "stanza-id" && child.jid("by") == jid
            case .delay: child.jid("from")?.bare == jid
            default: false
            }
        }
        message.payload.append(Element("occupant-id", .occupantID, ["id": occupant.id]))
        message.payload.append(Element("stanza-id", .stanzaIDs, ["by": jid.description, "id": id]))
        return message
    }

    /// Keeps a message, if it is to be kept, and gives it to everybody once that is on disk.
    func publish(_ event: RoomMessageEvent) {
        let message = event.message
        var commit: CommitNumber?
        if event.isKept {
            let time = service.host.clock.date
            if isArchived {
                let item = ArchivedRoomMessage.item(event, at: time)
                commit = service.stores.archive.append(item, to: name)
            }
            history.append(message, id: event.id, at: time, limit: historyLength)
        }
        if let commit { distribute(event, after: commit) } else { distribute(message) }
        service.hooks.roomMessage.notify(event)
    }

    /// Gives everybody a message from an occupant or, without a `from`, from the room itself.
    func distribute(_ message: Message) {
        let viewers = sessions
        outbox.send { self.deliver(message, to: viewers) }
    }

    /// Gives everybody a message once a write is on disk. If that was lost nobody gets it: its sender is told, and may try
    /// again.
    func distribute(_ event: RoomMessageEvent, after commit: CommitNumber) {
        let viewers = sessions
        outbox.send(after: commit) { lost in
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

    /// Whether messages are kept for later. XEP-0313.
    var isArchived: Bool {
        switch service.options.archive {
        case .off: false
        case .on: settings.isArchived ?? true
        case .onRequest: settings.isArchived ?? false
        }
    }

    /// How many messages somebody who enters is shown at most.
    var historyLength: Int {
        min(settings.historyLength ?? service.options.historyLength, service.options.historyLimit)
    }
}

extension Message {
    /// Whether somebody who comes later would want it: what has a text, or is about an earlier one that has. XEP-0334
    /// lets the sender say otherwise.
    var isWorthKeeping: Bool {
        if has(.noStore) || has(.noPermanentStore) { return false }
        if has(.store) { return true }
        return payload.children.contains { child in
            switch child.namespace {
            case .client: child.name == "body"
            case .chatStates, .hints, .stanzaIDs, .occupantID, .receipts, .chatMarkers, .delay: false
            default: true
            }
        }
    }
}
