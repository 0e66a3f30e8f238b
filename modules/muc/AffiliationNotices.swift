import ServerKit

/// Tells of changes of affiliations that no presence tells of, since the one concerned is not in the room.
struct AffiliationNotices: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        host.observe(.affiliationChanged) { event in
            event.room.tellOccupants(of: event)
            if !event.wasHere { event.room.tellConcerned(event) }
        }
    }
}

extension Room {
    /// XEP-0045 §10.3, §10.6: a message from the room to its occupants. It shows a JID: those get it who may read the
    /// lists that have changed.
    fileprivate func tellOccupants(of event: AffiliationEvent) {
        if event.witnesses == .everybody { return }
        let actor = event.actor.flatMap(nick(of:))
        var audiences: [Audience: Int] = [:]
        var (messages, deliveries): ([Message], [(to: JID, index: Int)]) = ([], [])
        for viewer in reachableSessions {
            // XEP-0463 §5.2.2: no change is kept from those who count them.
            if event.wasHere, !viewer.knowsVersions { continue }
            if event.witnesses == .moderators, viewer.occupant.role == .moderator { continue }
            let lists = viewer.occupant.standing.readableLists(settings)
            guard lists.shown(event.old) != lists.shown(event.new) else { continue }
            let audience = Audience(lists: lists, knowsVersions: viewer.knowsVersions)
            let index = audiences[audience] ?? messages.count
            if index == messages.count {
                messages.append(notice(of: event, for: audience, actor: actor))
                audiences[audience] = index
            }
            deliveries.append((viewer.jid, index))
        }
        guard !deliveries.isEmpty else { return }
        outbox.send(size: deliveries.count) { [messages, deliveries] in
            for (to, index) in deliveries {
                var message = messages[index]
                message.header.to = to
                self.router.route(message)
            }
        }
    }

    /// Those who get the same message.
    private struct Audience: Hashable {
        let lists: AffiliationLists
        let knowsVersions: Bool
    }

    private func notice(of event: AffiliationEvent, for audience: Audience, actor: String?) -> Message {
        let shown = audience.lists.shown(event.new)
        return Message(from: jid, id: service.makeID()) {
            Element("x", .mucUser) {
                if audience.knowsVersions, let step = event.step { mav(step, for: audience.lists) }
                Element(
                    "item", nil, ["affiliation": shown.rawValue, "jid": event.jid.description, "role": "none"]
                ) {
                    if let actor { Element("actor", nil, ["nick": actor]) }
                    if let reason = event.reason { Element("reason", text: reason) }
                }
            }
        }
    }

    /// XEP-0045 §18.1: a message to the one concerned, out of courtesy. It has no body: clients that care know what it
    /// means, and nobody is disturbed by the others. Strangers are not told that a room they never knew has banned them, or does
    /// so no longer.
    fileprivate func tellConcerned(_ event: AffiliationEvent) {
        guard !event.jid.isDomain, event.jid != event.actor?.bare, event.old > .none || event.new > .none else {
            return
        }
        let message = Message(to: event.jid, from: jid, id: service.makeID()) {
            Element("x", .mucUser) {
                if let inviter = inviter(of: event) {
                    Element("invite", nil, ["from": inviter.description])
                    if let password = settings.password { Element("password", text: password) }
                }
                Element(
                    "item", nil,
                    ["affiliation": event.new.rawValue, "jid": event.jid.description, "role": "none"])
                Status.affiliationChanged.element
            }
        }
        // It may rely on what it is told.
        outbox.send(after: service.server.storage.lastEnqueued) { lost in
            if lost == nil { self.router.route(message) }
        }
    }

    /// XEP-0045 §9.5: who is put on the list of a members-only room is invited by whoever did it.
    func inviter(of event: AffiliationEvent) -> JID? {
        guard settings.isMembersOnly, event.new == .member, event.old == .none else { return nil }
        return event.actor?.bare
    }
}
