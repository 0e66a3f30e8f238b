import ServerKit

/// Invitations that go through the room, and what becomes of them. XEP-0045 §7.8.2, §7.9.
///
/// Direct ones (XEP-0249) go past it. In a room for members only, who is invited becomes a member.
struct Invitations: RoomFeature {
    /// How many people one message may invite.
    private static let limit = 20
    /// Ids of clients are sent back to them; longer ones are not worth keeping.
    private static let idLimit = 256

    func load(into host: ModuleHost, _ rooms: Rooms) {
        let book = InvitationBook(host)
        rooms.loadWithRooms(InvitationBook.Open.self) { try await book.load($0) }
        host.claim(.messageToRoom) { event in
            guard let x = event.stanza.child("x", .mucUser) else { return false }
            do throws(StanzaError) {
                if x.has("invite") {
                    try invite(event, x, book)
                } else if let decline = x.child("decline") {
                    try self.decline(event, decline, book)
                } else {
                    return false
                }
            } catch {
                event.room.router.bounce(.message(event.stanza), error)
            }
            return true
        }
        host.claim(.errorToRoom) { self.returned($0, book) }
        host.observe(.affiliationChanged) { event in
            // XEP-0045 §9.5: whom an admin has put on the member list has been invited by this, and may decline once.
            guard !event.wasHere, event.room.inviter(of: event) != nil, let actor = event.actor else { return }
            let room = event.room
            let note = InvitationBook.Note(
                id: room.service.makeID(), inviter: actor, stanzaID: nil, time: room.service.host.clock.date)
            book.add(note, event.jid, to: room, limit: room.service.options.invitations)
        }
        host.observe(.occupantEntered) { event in
            book.forget(event.occupant.bareJID, in: event.room)
        }
    }

    // MARK: Inviting

    private func invite(
        _ event: RoomStanzaEvent<Message>, _ x: Element, _ book: InvitationBook
    ) throws(StanzaError) {
        let (room, message) = (event.room, event.stanza)
        guard message.kind == .normal else { throw .badRequest("An invitation is a message of type normal.") }
        // XEP-0045 §5.1.1: who is not here invites nobody.
        guard let session = event.session else { throw .notAcceptable("Only occupants of the room may invite to it.") }
        guard room.mayInvite(session.occupant) else { throw .forbidden("You may not invite others to this room.") }
        let invitations = x.children("invite")
        guard invitations.count <= Self.limit else {
            throw .policyViolation("At most \(Self.limit) people are invited at once.")
        }
        // All are looked at before the first is sent.
        var invitees: [JID] = []
        for invitation in invitations { invitees.append(try room.invitee(invitation, of: session.occupant)) }
        let welcome = invitees.filter { room.affiliation(of: $0) != .outcast }
        try admit(welcome, to: room, by: session)
        var outgoing: [Message] = []
        for (invitation, invitee) in zip(invitations, invitees) where room.affiliation(of: invitee) != .outcast {
            let id = room.service.makeID()
            let stanzaID = message.id.flatMap { $0.utf8.count <= Self.idLimit ? $0 : nil }
            let note = InvitationBook.Note(
                id: id, inviter: session.jid, stanzaID: stanzaID, time: room.service.host.clock.date)
            book.add(note, invitee.bare, to: room, limit: room.service.options.invitations)
            var copy = room.invitation(invitation, from: session.jid.bare, to: invitee, id: id)
            copy.language = message.language
            outgoing.append(copy)
        }
        // Who gets it may rely on the membership that goes with it.
        room.outbox.send(after: room.service.server.storage.lastEnqueued) { lost in
            if lost != nil {
                return room.router.bounce(.message(message), StanzaError(.internalServerError, .wait))
            }
            for message in outgoing { room.router.route(message) }
        }
    }

    /// In a room for members only, those who are invited become members. XEP-0045 §7.8.2.
    private func admit(
        _ invitees: [JID], to room: Room, by session: Occupant.Session
    ) throws(StanzaError) {
        guard room.settings.isMembersOnly else { return }
        let newcomers = Set(invitees.map(\.bare)).filter { room.affiliation(of: $0) == .none }
        guard !newcomers.isEmpty else { return }
        try room.checkHasPlace(for: newcomers)
        try room.checkPace(ofChangeBy: session.jid)
        for newcomer in newcomers.sorted(by: { $0.description < $1.description }) {
            room.setAffiliation(.member, of: newcomer)
        }
    }

    // MARK: What becomes of them

    private func decline(
        _ event: RoomStanzaEvent<Message>, _ decline: Element, _ book: InvitationBook
    ) throws(StanzaError) {
        let (room, message) = (event.room, event.stanza)
        guard message.kind == .normal else { throw .badRequest("A refusal is a message of type normal.") }
        guard let invitee = message.from?.bare, let address = decline["to"] else {
            throw .badRequest("The address of the inviter is missing.")
        }
        guard var inviter = JID(address) else { throw .jidMalformed }
        // XEP-0045 §7.8.2: it may know the inviter by its nick only.
        if inviter.bare == room.jid, let nick = inviter.resourcepart, let occupant = room.occupant(nick: nick) {
            inviter = occupant.bareJID
        }
        // Otherwise the room would carry anything to anybody, and tell who is who in it.
        guard book.remove(invitee, from: inviter.bare, in: room) != nil else {
            throw StanzaError(.itemNotFound, nil, "There is no such invitation.")
        }
        // To the bare JID: the inviter may have gone meanwhile, or be here with another client.
        var copy = Message(to: inviter.bare, from: room.jid, id: message.id) {
            Element("x", .mucUser) {
                Element("decline", nil, ["from": invitee.description]) {
                    if let reason = decline.text(of: "reason") { Element("reason", text: reason) }
                }
            }
        }
        copy.language = message.language
        room.outbox.send { room.router.route(copy) }
    }

    /// An invitation came back: its sender is told.
    private func returned(_ event: RoomStanzaEvent<Message>, _ book: InvitationBook) -> Bool {
        let (room, message) = (event.room, event.stanza)
        guard let id = message.id, let invitee = message.from, let error = message.error,
            let note = book.remove(invitee.bare, id: id, in: room)
        else { return false }
        let refused = Message(to: note.inviter, from: room.jid, id: note.stanzaID, kind: .error) {
            Element("x", .mucUser) { Element("invite", nil, ["to": invitee.description]) }
            error.asAnswerToInvitation.element
        }
        room.outbox.send { room.router.route(refused) }
        return true
    }
}

extension Room {
    /// XEP-0045 §5.1.1: everybody may, visitors included, since invitations to an open room give no more than its
    /// address, and the password that the inviter has, too. Into a room for members only they let somebody in: that is
    /// for admins (§7.8.2), and for members if the owners say so.
    fileprivate func mayInvite(_ occupant: Occupant) -> Bool {
        guard settings.isMembersOnly else { return true }
        return occupant.affiliation >= (settings.occupantsInvite ? .member : .admin)
    }

    /// Whom an `<invite/>` is for. Only who may read the list of the banned learns that somebody is on it: others'
    /// invitations go nowhere.
    fileprivate func invitee(_ invitation: Element, of inviter: Occupant) throws(StanzaError) -> JID {
        guard let address = invitation["to"] else { throw .badRequest("An invitation says whom it is for.") }
        guard let invitee = JID(address) else { throw .jidMalformed }
        // Domains and rooms do not enter rooms, and would be members with all who are in them.
        guard invitee.localpart != nil, invitee.domainpart != jid.domainpart else {
            throw .notAcceptable("Only people can be invited.")
        }
        if affiliation(of: invitee) == .outcast, inviter.standing.readableLists(settings).contains(.outcast) {
            throw .forbidden("\(invitee.bare) may not enter the room.")
        }
        return invitee
    }

    /// What the invitee gets. Only what belongs to an invitation is passed on: that it comes from the room makes people
    /// trust it.
    fileprivate func invitation(_ invitation: Element, from inviter: JID, to invitee: JID, id: String) -> Message {
        Message(to: invitee, from: jid, id: id) {
            Element("x", .mucUser) {
                Element("invite", nil, ["from": inviter.description]) {
                    if let reason = invitation.text(of: "reason") { Element("reason", text: reason) }
                    // XEP-0045 §7.9.
                    if let chat = invitation.child("continue") {
                        Element("continue", nil, ["thread": chat["thread"]])
                    }
                }
                if let password = settings.password { Element("password", text: password) }
            }
        }
    }
}

extension StanzaError {
    /// XEP-0045 §7.8.2: `item-not-found` for a JID that nobody has, which servers do not tell from one that nobody hears.
    fileprivate var asAnswerToInvitation: StanzaError {
        switch condition {
        case .itemNotFound, .jidMalformed, .recipientUnavailable, .serviceUnavailable:
            StanzaError(.itemNotFound, nil, "The invitation could not be delivered.")
        default: StanzaError(condition, kind, text)
        }
    }
}
