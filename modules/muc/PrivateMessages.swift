import ServerKit

/// Messages from one occupant to another. XEP-0045 §7.5.
struct PrivateMessages: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        host.filter(.occupantAddressed) { event in
            guard case .message = event.stanza else { return .pass }
            return event.room.verdict(onPrivateMessageOf: event.session.occupant, to: event.nick)
        }
        host.claim(.occupantAddressed) { event in
            guard case .message(let message) = event.stanza else { return false }
            return message.isError
                ? event.room.returnPrivately(message, event) : event.room.sendPrivately(message, event)
        }
    }
}

extension Room {
    /// XEP-0045 §16.5.3, `muc#roomconfig_allowpm`: who may send them. Among one's own clients there is nothing to forbid.
    fileprivate func verdict(onPrivateMessageOf sender: Occupant, to nick: String) -> Verdict {
        if occupant(nick: nick) === sender { return .pass }
        switch settings.privateMessages {
        case .anyone: return .pass
        case .participants: return sender.role >= .participant ? .pass : .bounce(.forbidden)
        case .moderators: return sender.role >= .moderator ? .pass : .bounce(.forbidden)
        case .none: return .bounce(.notAllowed("There are no private messages in this room."))
        }
    }

    /// Gives a message to all clients of an occupant.
    ///
    /// - Returns: whether there is one with this nick.
    fileprivate func sendPrivately(_ message: Message, _ event: OccupantStanzaEvent) -> Bool {
        guard let recipient = occupant(nick: event.nick) else { return false }
        let sender = event.session.occupant
        var copy = attributed(message, to: sender)
        // Clients tell private messages from others by it, and so do their servers (XEP-0280 §6.1).
        copy.payload.append(Element("x", .mucUser))
        let recipients = recipient.sessions.map(\.jid)
        sender[SentPrivately.self].append(
            .init(id: message.id, from: event.session.jid, to: message.to ?? recipient.jid, open: recipients))
        outbox.send {
            for jid in recipients {
                copy.header.to = jid
                self.router.route(copy)
            }
        }
        return true
    }

    /// Tells the sender of a private message that it reached nobody. One of several clients that could not take it is no
    /// news: others could.
    ///
    /// - Returns: whether the error is about a private message that is remembered.
    fileprivate func returnPrivately(_ error: Message, _ event: OccupantStanzaEvent) -> Bool {
        let client = event.session
        let sender = occupant(nick: event.nick)
        guard let sender, let failed = sender[SentPrivately.self].fail(error.id, at: client.jid) else { return false }
        var marked = error
        marked.payload.removeChildren { $0.is("stanza-id", .stanzaIDs) }
        if !marked.has("x", .mucUser) { marked.payload.append(Element("x", .mucUser)) }
        if failed.open.isEmpty, let asker = session(failed.from) {
            var answer = attributed(error.anonymized, to: client.occupant)
            answer.payload.append(Element("x", .mucUser))
            answer.from = failed.to
            answer.to = asker.jid
            outbox.send { self.router.route(answer) }
        }
        // What becomes of the client depends on what it is that came back.
        if let reason = error.error { receive(reason, about: client, marked) }
        return true
    }
}

/// The last private messages of an occupant: only who got one may say that it failed.
private enum SentPrivately: OccupantKey {
    static let defaultValue = Log()

    struct Entry {
        let id: String?
        /// The client that sent it, and the JID it sent it to.
        let from: JID
        let to: JID
        /// The clients from which no error has come.
        var open: [JID]
    }

    struct Log {
        private static let limit = 32
        private var entries: [Entry] = []

        mutating func append(_ entry: Entry) {
            if entries.count >= Self.limit { entries.removeFirst() }
            entries.append(entry)
        }

        /// Notes that a client did not take the message with this id.
        ///
        /// - Returns: the message; nil if the client never got one with this id, or has said so before.
        mutating func fail(_ id: String?, at client: JID) -> Entry? {
            guard let index = entries.lastIndex(where: { $0.id == id && $0.open.contains(client) }) else { return nil }
            entries[index].open.removeAll { $0 == client }
            let entry = entries[index]
            if entry.open.isEmpty { entries.remove(at: index) }
            return entry
        }
    }
}

extension StanzaProtocol {
    /// An error without what could tell who it comes from: its condition and type alone. XEP-0045 §17.4.
    var anonymized: Self {
        guard let reason = error else { return self }
        var answer = self
        answer.payload.removeChildren { $0.is("error", .client) }
        answer.payload.append(StanzaError(reason.condition, reason.kind).element)
        return answer
    }
}
