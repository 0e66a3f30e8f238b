import ServerKit

/// Visitors ask for voice, moderators give it. XEP-0045 §7.13, §8.6.
struct VoiceRequests: RoomFeature {
    static let formType = "http://jabber.org/protocol/muc#request"

    /// Somebody asked for voice, and may not ask again for a while.
    private struct Asked {
        let bareJID: JID
        /// The client that asked.
        let jid: JID
        let time: Duration
        /// Whether no moderator has answered yet.
        var isOpen = true
    }

    /// The oldest first.
    private enum Requests: RoomKey { static let defaultValue: [Asked] = [] }

    func load(into host: ModuleHost, _ rooms: Rooms) {
        host.claim(.messageToRoom) { event in
            guard event.stanza.has("x", .dataForms) else { return false }
            do throws(StanzaError) {
                let payload = event.stanza.payload
                if let form = try DataForm.find(in: payload, formType: Self.formType) {
                    try take(form, event)
                    return true
                }
                // XEP-0045 §8.6: a form that was cancelled is a request skipped. It need not say which.
                return try DataForm.find(in: payload)?.kind == .cancel && event.session != nil
            } catch {
                event.room.router.bounce(.message(event.stanza), error)
                return true
            }
        }
        rooms.describe { room, _ in
            guard room.settings.allowsVoiceRequests else { return nil }
            return RoomDescription(features: [Namespace(Self.formType)])
        }
        host.observe(.occupantEntered) { event in
            guard event.occupant.role == .moderator else { return }
            for request in event.room[Requests.self] where request.isOpen {
                show(request, to: [event.session], event.room)
            }
        }
    }

    private func take(_ form: DataForm, _ event: RoomStanzaEvent<Message>) throws(StanzaError) {
        guard let session = event.session else { throw .notAcceptable("Only occupants of the room have voice.") }
        switch form.kind {
        case .submit: break
        case .cancel: return
        case .form, .result: throw .badRequest("A submitted form was expected.")
        }
        if form["muc#request_allow"] != nil {
            try answer(form, session, event.room)
        } else {
            try ask(form, session, event.room)
        }
    }

    // MARK: Asking

    /// XEP-0045 §7.13.
    private func ask(_ form: DataForm, _ session: Occupant.Session, _ room: Room) throws(StanzaError) {
        let (occupant, options) = (session.occupant, room.service.options)
        guard form.text("muc#role") == Role.participant.rawValue else {
            throw .badRequest("Only the role of a participant can be asked for.")
        }
        guard occupant.role == .visitor else { throw .notAcceptable("You have voice already.") }
        guard room.settings.allowsVoiceRequests else { throw .forbidden("Nobody may ask for voice in this room.") }
        let now = room.service.now
        room[Requests.self].removeAll { now - $0.time >= options.voiceRequestInterval }
        guard !room[Requests.self].contains(where: { $0.bareJID == occupant.bareJID }) else {
            throw StanzaError(.policyViolation, .wait, "You have asked a short while ago.")
        }
        guard room[Requests.self].count < options.voiceRequests else {
            throw .resourceConstraint("Too many have asked for voice.")
        }
        let request = Asked(bareJID: occupant.bareJID, jid: session.jid, time: now)
        room[Requests.self].append(request)
        show(request, to: room.sessions.filter { $0.occupant.role == .moderator }, room)
    }

    /// XEP-0045 §8.6.
    private func show(_ request: Asked, to moderators: [Occupant.Session], _ room: Room) {
        guard let occupant = room.session(request.jid)?.occupant, occupant.role == .visitor else { return }
        let form = DataForm(
            .form, formType: Self.formType, title: "Voice request",
            instructions: ["To let this person speak, say yes. To skip this request, cancel it."],
            fields: [
                DataFormField(
                    "muc#role", .listSingle, label: "Requested role", values: [Role.participant.rawValue],
                    options: [.init(Role.participant.rawValue, label: "Participant")]),
                DataFormField("muc#jid", .jidSingle, label: "User ID", values: [request.jid.description]),
                .text("muc#roomnick", occupant.nick, label: "Room nick"),
                .boolean("muc#request_allow", false, label: "Grant voice to this person?"),
            ])
        var message = Message(from: room.jid, id: room.service.makeID()) { form.element }
        room.outbox.send {
            for moderator in moderators {
                message.to = moderator.jid
                room.router.route(message)
            }
        }
    }

    // MARK: Answering

    private func answer(_ form: DataForm, _ session: Occupant.Session, _ room: Room) throws(StanzaError) {
        guard session.occupant.role == .moderator else { throw .forbidden("Only moderators give voice.") }
        let isGranted = try form.bool("muc#request_allow") ?? false
        let (jid, role) = (try form.jid("muc#jid"), form.text("muc#role"))
        guard role == nil || role == Role.participant.rawValue else {
            throw .badRequest("Only the role of a participant can be given.")
        }
        let index = room[Requests.self].firstIndex { request in
            guard request.isOpen else { return false }
            if let jid { return request.jid == jid }
            return room.session(request.jid)?.occupant.nick == form.text("muc#roomnick")
        }
        guard let index else { throw StanzaError(.itemNotFound, nil, "Nobody asks for this any more.") }
        let request = room[Requests.self][index]
        guard isGranted else {
            // For a while it is remembered that it has asked.
            room[Requests.self][index].isOpen = false
            return
        }
        room[Requests.self].remove(at: index)
        guard let occupant = room.session(request.jid)?.occupant else {
            throw StanzaError(.itemNotFound, nil, "Who asked for it has left.")
        }
        if occupant.role == .visitor { room.setRole(.participant, of: occupant, actor: session.jid) }
    }
}
