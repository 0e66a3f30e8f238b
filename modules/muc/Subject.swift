import ServerKit

/// The subject of a room. XEP-0045 §7.2.15, §8.1.
struct SubjectFeature: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        host.filter(.roomMessage) { event in
            guard event.message.isSubjectChange else { return .pass }
            // XEP-0045 §8.1: who may not is told that it is forbidden.
            return event.room.mayChangeSubject(event.occupant) ? .pass : .bounce(.forbidden)
        }
        host.claim(.roomMessage) { event in
            guard event.message.isSubjectChange else { return false }
            event.room.setSubject(event)
            return true
        }
    }
}

extension Room {
    fileprivate func mayChangeSubject(_ occupant: Occupant) -> Bool {
        switch occupant.role {
        case .moderator: true
        case .participant: settings.participantsChangeSubject
        case .visitor, .none: false
        }
    }

    fileprivate func setSubject(_ event: RoomMessageEvent) {
        // Those who enter are shown the subject, and nothing that was said along with it.
        var stored = event.message
        stored.payload.removeChildren { child in
            let isPart =
                child.is("subject", .client) || child.is("occupant-id", .occupantID)
                || child.is("stanza-id", .stanzaIDs) && child.jid("by") == jid
            return !isPart
        }
        change { $0.subject = .init(xml: stored.element.xml, time: service.host.clock.date) }
        // It is told to those who enter in its own place, and stays out of the history (XEP-0045 §7.2.13). The archive has
        // it (XEP-0313 §6.1.2).
        _ = keep(event.message, event.id, from: .init(event.session), isForHistory: false)
        var event = event
        event.isKept = false
        distribute(event, after: service.server.storage.lastEnqueued)
        service.hooks.roomMessage.notify(event)
    }

    /// Tells somebody who enters. XEP-0045 §7.2.15: also when there is none.
    func sendSubject(to session: Occupant.Session) {
        var message: Message
        if let stored = record.subject, let element = try? Element.parse(stored.xml),
            let parsed = try? Message(element)
        {
            message = parsed
            message.payload.append(Delay(stamp: stored.time, from: jid).element)
        } else {
            message = Message(from: jid, kind: .groupchat) { Element("subject") }
        }
        message.to = session.jid
        outbox.send { self.router.route(message) }
    }
}

extension Message {
    /// XEP-0045 §7.2.15: a subject and no body. A thread, which belongs to a discussion, makes no subject of it either.
    var isSubjectChange: Bool { has("subject") && !has("body") && !has("thread") }
}
