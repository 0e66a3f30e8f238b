import ServerKit

/// How somebody becomes an occupant. XEP-0045 §7.2.
extension Room {
    func enter(
        _ presence: Presence, _ jid: JID, _ wanted: String, _ request: Element
    ) {
        let current = session(jid)
        let affiliation = affiliation(of: jid)
        let event = EntryEvent(
            room: self, jid: jid, affiliation: affiliation, presence: presence, request: request,
            isInside: current != nil || !occupants(of: jid.bare).isEmpty)
        switch service.hooks.occupantEntering.verdict(on: event) {
        case .pass: break
        case .drop: return
        case .bounce(let error): return router.bounce(.presence(presence), error)
        }
        let nick: String
        do throws(StanzaError) {
            nick = try self.nick(wanted, for: jid, current?.occupant, isEntering: true)
        } catch {
            return router.bounce(.presence(presence), error)
        }
        var statuses: [Status] = settings.whois == .anyone ? [.nonAnonymous] : []
        if settings.isLogged { statuses.append(.loggingEnabled) }
        // XEP-0045 §10.1.1.
        if isNew { statuses.append(.created) }
        let session = place(jid, nick, affiliation, presence.asOccupant)
        if isNew { keepNewRoom() }
        // Its account may have the nick already, written otherwise.
        if session.occupant.nick != wanted { statuses.append(.nickAssigned) }
        var welcomeEvent = WelcomeEvent(room: self, session: session, request: request)
        service.hooks.occupantWelcoming.transform(&welcomeEvent)
        welcome(session, statuses, welcomeEvent.elements, id: presence.id)
        sendHistory(to: session, request.child("history"))
        sendSubject(to: session)
        store(session)
        service.hooks.occupantEntered.notify(
            OccupantEvent(room: self, occupant: session.occupant, session: session))
    }

    /// Stores a room whose maker has just got its place. It is told of nothing that is not on disk.
    private func keepNewRoom() {
        service.finishCreating(self)
        outbox.send(after: service.server.storage.lastEnqueued) { lost in
            if lost != nil { self.destroy(reason: "The room could not be stored.") }
        }
    }

    /// The nick that somebody gets who asks for `wanted`.
    ///
    /// - Throws: what ``preparedNick(_:)`` does, `.conflict` for one that somebody else has (XEP-0045 §7.2.8), and
    ///   what features refuse it with.
    func nick(
        _ wanted: String, for jid: JID, _ occupant: Occupant?, isEntering: Bool
    ) throws(StanzaError) -> String {
        var event = NickEvent(
            room: self, jid: jid, nick: try preparedNick(wanted), occupant: occupant, isEntering: isEntering)
        service.hooks.nickWanted.transform(&event)
        if case .bounce(let error) = service.hooks.nickWanted.verdict(on: event) { throw error }
        // XEP-0045 §7.2.8: the clients of one account may share a nick.
        if let other = self.occupant(nick: event.nick), other.bareJID != jid.bare { throw .conflict }
        return event.nick
    }

    /// Puts a client where it belongs: where it was, with another one of its account, or at a new place.
    private func place(
        _ jid: JID, _ nick: String, _ affiliation: Affiliation, _ presence: Presence
    ) -> Occupant.Session {
        if var session = session(jid) {
            // XEP-0045 §7.2.1: it has lost track of what it knew, and gets everything again.
            (session.doubt, session.probe) = (nil, nil)
            if session.occupant.nick != nick { session = changeNick(of: session, to: nick, presence, isEntering: true) }
            let isNews = !session.presence.payload.isEqual(to: presence.payload)
            let wasPrimary = session.occupant.primary === session
            session.occupant.update(session, presence)
            // The others see the client whose presence came last.
            if isNews || !wasPrimary { announce(session.occupant, except: session) }
            return session
        }
        let known = occupant(nick: nick)
        let occupant =
            known
            ?? Occupant(
                nick: nick, key: Room.key(of: nick), room: self.jid, bareJID: jid.bare, id: occupantID(of: jid.bare),
                affiliation: affiliation, role: roleOnEntry(of: jid, affiliation))
        let session = Occupant.Session(jid, occupant, presence, now: service.now)
        if known == nil {
            occupant.isShown = settings.shownRoles.contains(occupant.role)
            insert(occupant)
        }
        insert(session)
        announce(occupant, except: session)
        return session
    }

    /// Shows a newcomer who is here, and itself last. XEP-0045 §7.2.2.
    func welcome(
        _ session: Occupant.Session, _ statuses: [Status], _ elements: [Element] = [], id: String?
    ) {
        let viewer = session.occupant
        let others = occupants.filter { $0 !== viewer && isVisible($0, to: viewer) }
            .map { (from: $0.jid, language: $0.primary?.presence.language, payload: self.payload(of: $0, for: viewer)) }
        var own = Presence(to: session.jid, from: viewer.jid, id: id)
        own.payload = ownPayload(of: viewer, statuses, elements)
        own.language = viewer.primary?.presence.language
        outbox.send(size: others.count + 1) {
            for other in others {
                var presence = Presence(to: session.jid, from: other.from)
                presence.language = other.language
                presence.payload = other.payload
                self.router.route(presence)
            }
            self.router.route(own)
        }
    }

    // MARK: Changes

    /// An occupant's client sends other presence, or asks for another nick. XEP-0045 §7.6, §7.7.
    func update(_ session: Occupant.Session, _ presence: Presence, nick wanted: String) {
        let occupant = session.occupant
        let event = PresenceUpdateEvent(room: self, session: session, presence: presence, nick: wanted)
        switch service.hooks.presenceUpdating.verdict(on: event) {
        case .pass: break
        case .drop: return
        case .bounce(let error): return router.bounce(.presence(presence), error)
        }
        if wanted == occupant.nick {
            occupant.update(session, presence.asOccupant)
            announce(occupant, id: presence.id, of: session)
            return store(session)
        }
        let nick: String
        do throws(StanzaError) {
            nick = try self.nick(wanted, for: session.jid, occupant, isEntering: false)
        } catch {
            return router.bounce(.presence(presence), error)
        }
        if nick == occupant.nick {
            // It keeps the one it has; the client is told under which nick it goes.
            occupant.update(session, presence.asOccupant)
            announce(occupant, selfStatuses: [.nickAssigned])
            store(session)
        } else {
            let session = changeNick(
                of: session, to: nick, presence.asOccupant, selfStatuses: nick == wanted ? [] : [.nickAssigned])
            store(session)
        }
    }

    /// XEP-0045 §7.6. A client that shares its nick with others changes it alone.
    ///
    /// - Parameters:
    ///   - statuses: what everybody is told of the new nick.
    ///   - selfStatuses: what it alone is told.
    ///   - isEntering: whether it is told nothing, since it gets what everybody gets who enters (XEP-0045 §17.3).
    /// - Returns: the client as it is from now on; the one before may be of an occupant that is no more.
    @discardableResult
    func changeNick(
        of session: Occupant.Session, to nick: String, _ presence: Presence, statuses: [Status] = [],
        selfStatuses: [Status] = [], isEntering: Bool = false
    ) -> Occupant.Session {
        let old = session.occupant
        let target = occupant(nick: nick)
        let details = Details(statuses: statuses)
        if target === old || old.sessions.count == 1 && target == nil {
            announceNickChange(of: old, to: nick, except: isEntering ? session : nil)
            rename(old, to: nick)
            old.update(session, presence)
            announce(old, details, selfStatuses: selfStatuses, except: isEntering ? session : nil)
            return session
        }
        // It parts from the others of its account, and joins those that have the new nick.
        let isGone = old.sessions.count == 1
        let viewers = isGone ? sessions : [session]
        announceNickChange(of: old, to: nick, viewers: viewers, except: isEntering ? session : nil)
        take(session)
        let occupant =
            target
            ?? Occupant(
                nick: nick, key: Room.key(of: nick), room: jid, bareJID: old.bareJID, id: old.id,
                affiliation: old.affiliation, role: old.role)
        if target == nil {
            occupant.isShown = old.isShown
            insert(occupant)
        }
        let moved = Occupant.Session(session.jid, occupant, presence, now: service.now)
        moved.knowsVersions = session.knowsVersions
        insert(moved)
        announce(occupant, details, selfStatuses: selfStatuses, except: isEntering ? moved : nil)
        if !isGone { announce(old, except: isEntering ? moved : nil) }
        guard !isEntering else { return moved }
        if occupant.role == .moderator, old.role != .moderator { showAll(to: [occupant], at: [moved]) }
        if occupant.role != .moderator, old.role == .moderator { hideAll(from: [occupant], at: [moved]) }
        return moved
    }
}

extension Presence {
    /// The presence as others are to see it: without what only the room may say. XEP-0045 §17.3.
    var asOccupant: Presence {
        var presence = self
        presence.payload.removeChildren { child in
            switch child.namespace {
            case .muc, .mucUser, .occupantID, .hats, .olderHats: true
            default: false
            }
        }
        return presence
    }
}

extension Element {
    /// Whether both would be written in the same way.
    func isEqual(to other: Element) -> Bool {
        var (own, others) = (XMLWriter(), XMLWriter())
        own.writeContent(of: self, in: .client)
        others.writeContent(of: other, in: .client)
        return own.bytes == others.bytes
    }
}
