import ServerKit

/// People register with a room: it reserves a nick for them, and they become members. XEP-0045 §7.10.
///
/// Where being a member gives something, that is in rooms for members only, in moderated ones and in those with a password,
/// whose archive members may read without it, an admin decides first (§9.9): see ``RegistrationRequests``.
struct Registration: RoomFeature {
    static let formType = "http://jabber.org/protocol/muc#register"

    func load(into host: ModuleHost, _ rooms: Rooms) {
        let requests = RegistrationRequests(host)
        rooms.loadWithRooms(RegistrationRequests.Open.self) { try await requests.load($0) }
        rooms.answer(.get, "query", .register) { room, request in try describe(room, request.from.bare) }
        rooms.answer(.set, "query", .register) { room, request in
            try change(room, request, requests)
            return nil
        }
        rooms.describe { room, _ in
            guard room.settings.allowsRegistration else { return nil }
            return RoomDescription(features: [.register, Namespace(Self.formType)])
        }
        host.claim(.messageToRoom) { requests.take($0) }
        host.observe(.occupantEntered) { requests.show(to: $0.session, in: $0.room) }
    }

    private func check(_ room: Room, _ jid: JID) throws(StanzaError) {
        // XEP-0045 §7.2.10: as if there were no such room.
        if room.isLocked, room.affiliation(of: jid) != .owner { throw .itemNotFound }
        // Rooms and domains do not enter rooms.
        guard jid.localpart != nil, jid.domainpart != room.jid.domainpart, room.affiliation(of: jid) != .outcast else {
            throw .notAllowed("You may not register with this room.")
        }
    }

    private func describe(_ room: Room, _ jid: JID) throws(StanzaError) -> Element {
        try check(room, jid)
        let nick = room.affiliates[jid]?.nick
        guard nick != nil || room.settings.allowsRegistration else {
            throw .noRegistration
        }
        return Element("query", .register) {
            if let nick {
                Element("registered")
                Element("username", text: nick)
            }
            if room.settings.allowsRegistration { form(for: jid, room, nick: nick).element }
        }
    }

    /// Admins who decide get to know more than the nick, if who registers wants them to. XEP-0045 §16.5.1.
    private func form(for jid: JID, _ room: Room, nick: String?) -> DataForm {
        let isDecided = room.asksAdmins(about: jid)
        var fields = [
            DataFormField(
                "muc#register_roomnick", .textSingle, label: "Nick", isRequired: true, values: nick.map { [$0] } ?? [])
        ]
        if isDecided { fields += RegistrationRequests.details }
        return DataForm(
            .form, formType: Self.formType, title: "Register with \(room.settings.title ?? room.jid.description)",
            instructions: [
                isDecided
                    ? "The admins of the room read what you say here, and decide whether you become a member."
                    : "Choose the nick that the room is to reserve for you."
            ],
            fields: fields)
    }

    private func change(_ room: Room, _ request: IQRequest, _ requests: RegistrationRequests) throws(StanzaError) {
        let jid = request.from.bare
        try check(room, jid)
        if request.query.has("remove") { return try unregister(jid, room, requests) }
        guard let submission = try DataForm.find(in: request.query), submission.formType == Self.formType else {
            throw .badRequest("A registration form was expected.")
        }
        // XEP-0077 §3.1.1: who does not want to after all.
        if submission.kind == .cancel { return }
        guard room.settings.allowsRegistration else { throw .noRegistration }
        let form = try form(for: jid, room, nick: nil).read(submission)
        let nick = try room.reservableNick(form.text("muc#register_roomnick") ?? "", for: jid)
        if room.asksAdmins(about: jid) {
            try requests.add(form, nick, jid, to: room)
        } else {
            try room.checkPace(ofRegistrationOf: jid)
            requests.remove(jid, in: room)
            try room.register(jid, nick: nick, actor: jid)
        }
    }

    /// XEP-0077 §3.2. Members are none any more; who looks after the room does not cease to by this.
    private func unregister(_ jid: JID, _ room: Room, _ requests: RegistrationRequests) throws(StanzaError) {
        // What asked the admins is paid for.
        if requests.remove(jid, in: room) { return }
        guard var affiliate = room.affiliates[jid] else { throw .registrationRequired }
        switch affiliate.affiliation {
        case .member:
            try room.checkPace(ofRegistrationOf: jid)
            room.setAffiliation(.none, of: jid)
        case .none, .admin, .owner:
            guard affiliate.nick != nil else { throw .registrationRequired }
            try room.checkPace(ofRegistrationOf: jid)
            affiliate.nick = nil
            room.setAffiliate(affiliate, of: jid)
        case .outcast: throw .notAllowed
        }
    }
}

extension Room {
    /// Whether to be a member would give somebody more than a nick.
    func asksAdmins(about jid: JID) -> Bool {
        (!settings.isOpen || settings.isModerated) && affiliation(of: jid) == .none
    }

    /// Counts a registration, or the end of one: each changes what everybody sees, and those who wait for an answer are
    /// shown to all admins.
    ///
    /// - Throws: `.policyViolation` when there are too many.
    func checkPace(ofRegistrationOf jid: JID, isForAdmins: Bool = false) throws(StanzaError) {
        guard let wait = pace.take(.registration, for: jid, weight: isForAdmins ? 5 : 1) else { return }
        throw .tooFast("You register too often.", wait)
    }

    /// A nick as it is kept.
    ///
    /// - Throws: `.notAcceptable` for what is no nick, `.conflict` for one that is another's (XEP-0045 §7.10), whether
    ///   for good or since it is here under it.
    func reservableNick(_ wanted: String, for jid: JID) throws(StanzaError) -> String {
        let nick: String
        do throws(StanzaError) {
            nick = try preparedNick(wanted)
        } catch {
            throw .notAcceptable(error.text ?? "This cannot be a nick.")
        }
        if let holder = holder(ofNick: nick), holder != jid { throw .conflict("Somebody else has reserved this nick.") }
        if let other = occupant(nick: nick), other.bareJID != jid { throw .conflict("Somebody else has this nick.") }
        return nick
    }

    /// Reserves a nick for somebody, who becomes a member unless it is as much or more already.
    func register(_ jid: JID, nick: String, actor: JID? = nil) throws(StanzaError) {
        try checkHasPlace(for: [jid], isOwnWish: actor == jid)
        if affiliation(of: jid) == .none {
            let change = AffiliationChange(jid: jid, affiliation: .member, nick: nick, isOwnDoing: actor == jid)
            setAffiliations([change], actor: actor)
        } else {
            var affiliate = affiliates[jid] ?? Affiliate(affiliation: .none)
            affiliate.nick = nick
            setAffiliate(affiliate, of: jid)
        }
        useReservedNick(of: jid)
    }
}

extension StanzaError {
    /// XEP-0045 §7.10, where the room does not support it; `not-allowed` is for those who may not.
    fileprivate static var noRegistration: StanzaError {
        StanzaError(.serviceUnavailable, nil, "Nobody may register with this room.")
    }
}
