import ServerKit

/// Those who want to become members, and wait for an admin to decide. XEP-0045 §9.9.
///
/// Admins who are in the room are asked at once, others when they enter; if none is there, all of them get a message.
@ServerActor
struct RegistrationRequests {
    struct Request: Codable, Sendable {
        let nick: String
        /// The other fields, as they were filled out.
        let details: [String: [String]]
        let time: Timestamp
    }

    /// The requests that wait in a room, by the bare JIDs of those who want to become members.
    enum Open: RoomKey { static let defaultValue: [String: Request] = [:] }

    /// What may be said beside the nick. XEP-0045 §16.5.1.
    static let details: [DataFormField] = [
        DataFormField("muc#register_first", .textSingle, label: "Given name"),
        DataFormField("muc#register_last", .textSingle, label: "Family name"),
        DataFormField("muc#register_url", .textSingle, label: "Your web page"),
        DataFormField("muc#register_email", .textSingle, label: "E-mail address"),
        DataFormField("muc#register_faqentry", .textMulti, label: "What you want to say"),
    ]

    /// Bytes that may be said in all.
    private static let sizeLimit = 4_096
    private static let whoField = "muc#jid"
    private static let allowField = "muc#register_allow"

    private let store: MapStore<Request>

    init(_ host: ModuleHost) {
        store = host.map("room-registrations")
    }

    func load(_ room: String) async throws -> [String: Request] {
        let entries = try await store.entries(of: room)
        return Dictionary(entries.map { ($0.key, $0.value) }) { $1 }
    }

    // MARK: Waiting

    func add(_ form: DataForm, _ nick: String, _ jid: JID, to room: Room) throws(StanzaError) {
        let key = jid.description
        guard room[Open.self][key] == nil else {
            throw StanzaError(.unexpectedRequest, .wait, "The admins have not decided yet.")
        }
        guard room[Open.self].count < room.service.options.registrationRequests else {
            throw .resourceConstraint("Too many want to become members.")
        }
        var details: [String: [String]] = [:]
        var size = 0
        for field in Self.details {
            guard let name = field.name, let values = form[name]?.values, !values.isEmpty else { continue }
            details[name] = values
            size += values.reduce(0) { $0 + $1.utf8.count }
        }
        guard size <= Self.sizeLimit else { throw .policyViolation("That is more than anybody reads.") }
        try room.checkPace(ofRegistrationOf: jid, isForAdmins: true)
        let request = Request(nick: nick, details: details, time: room.service.host.clock.date)
        room[Open.self][key] = request
        store.set(request, key, of: room.name)
        // Who looks after the room is asked where it is; if nobody is here, by a message that waits.
        let here = room.sessions.filter { $0.occupant.affiliation >= .admin }.map(\.jid)
        let all = room.affiliates.filter { $0.value.affiliation >= .admin && !$0.key.isDomain }.keys
        send(request, from: jid, to: here.isEmpty ? Array(all) : here, room)
    }

    /// Whether there was one.
    @discardableResult
    func remove(_ jid: JID, in room: Room) -> Bool {
        guard room[Open.self].removeValue(forKey: jid.description) != nil else { return false }
        store.delete(jid.description, of: room.name)
        return true
    }

    // MARK: Asking

    func show(to session: Occupant.Session, in room: Room) {
        guard session.occupant.affiliation >= .admin else { return }
        for (key, request) in room[Open.self].sorted(by: { $0.value.time < $1.value.time }) {
            if let jid = JID(key) { send(request, from: jid, to: [session.jid], room) }
        }
    }

    /// XEP-0045 §9.9. Its form does not say who asks; ours does, by the name that the field has in requests for voice.
    private func send(_ request: Request, from jid: JID, to admins: [JID], _ room: Room) {
        var fields: [DataFormField] = [
            DataFormField(Self.whoField, .jidSingle, label: "User ID", values: [jid.description]),
            .text("muc#register_roomnick", request.nick, label: "Nick"),
        ]
        for var field in Self.details {
            guard let name = field.name, let values = request.details[name] else { continue }
            field.values = values
            fields.append(field)
        }
        fields.append(.boolean(Self.allowField, false, label: "Allow this person to register with the room?"))
        let form = DataForm(
            .form, formType: Registration.formType, title: "Registration request",
            instructions: ["To make this person a member, say yes. To skip this request, cancel it."], fields: fields)
        var message = Message(from: room.jid, id: room.service.makeID()) {
            // For clients that show no forms.
            Element("body", text: "\(jid) asks to become a member of \(room.jid), under the nick \(request.nick).")
            form.element
        }
        room.outbox.send {
            for admin in admins {
                message.to = admin
                room.router.route(message)
            }
        }
    }

    // MARK: Deciding

    /// Takes what an admin has decided.
    func take(_ event: RoomStanzaEvent<Message>) -> Bool {
        do throws(StanzaError) {
            guard let form = try DataForm.find(in: event.stanza.payload, formType: Registration.formType),
                let from = event.stanza.from
            else { return false }
            // Another form may be cancelled later.
            if form.kind != .cancel { try decide(form, from, event.room) }
        } catch {
            event.room.router.bounce(.message(event.stanza), error)
        }
        return true
    }

    private func decide(_ form: DataForm, _ admin: JID, _ room: Room) throws(StanzaError) {
        guard room.affiliation(of: admin) >= .admin else {
            throw .forbidden("Only admins decide who becomes a member.")
        }
        guard form.kind == .submit, let isAllowed = try form.bool(Self.allowField) else {
            throw .badRequest("The form does not say what you decide.")
        }
        let (jid, nick) = (try form.jid(Self.whoField), form.text("muc#register_roomnick"))
        let entry = room[Open.self].first { key, request in
            if let jid { return key == jid.bare.description }
            return request.nick == nick
        }
        guard let entry, let jid = JID(entry.key) else {
            throw StanzaError(.itemNotFound, nil, "Nobody asks for this any more.")
        }
        if isAllowed {
            // Admins may choose another nick for it.
            let nick = try room.reservableNick(nick ?? entry.value.nick, for: jid)
            guard room.affiliation(of: jid) != .outcast else { throw .conflict("\(jid) is banned from the room.") }
            try room.register(jid, nick: nick, actor: admin)
        }
        remove(jid, in: room)
    }
}
