import ServerKit

/// How owners say how their room should be. XEP-0045 §10.1, §10.2.
struct Configuration: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        rooms.answer(.get, "query", .mucOwner) { room, request in
            try room.checkOwner(request.from)
            return Element("query", .mucOwner) { room.configurationForm.element }
        }
        rooms.answer(.set, "query", .mucOwner) { room, request in
            try room.checkOwner(request.from)
            if let destroy = request.query.child("destroy") {
                try room.destroy(destroy)
            } else {
                try room.configure(request)
            }
            return nil
        }
    }
}

extension Room {
    static let configurationFormType = "http://jabber.org/protocol/muc#roomconfig"

    /// XEP-0045 §10.2, §10.9.
    fileprivate func checkOwner(_ jid: JID) throws(StanzaError) {
        guard affiliation(of: jid) != .owner else { return }
        // XEP-0045 §7.2.10: as if there were no such room.
        throw isLocked ? .itemNotFound : .forbidden
    }

    /// The form with everything as it is now.
    fileprivate var configurationForm: DataForm {
        var fields: [DataFormField] = []
        for section in RoomField.sections {
            let shown = section.fields.compactMap { $0.show(self) }
            if !shown.isEmpty { fields += [.fixed(section.title)] + shown }
        }
        return DataForm(
            .form, formType: Self.configurationFormType, title: "Configuration of \(settings.title ?? name)",
            instructions: isLocked
                ? [
                    "Nobody else can enter the new room until you submit this form, whether you change it or not."
                ] : [],
            fields: fields)
    }

    fileprivate func configure(_ request: IQRequest) throws(StanzaError) {
        guard let form = try DataForm.find(in: request.query) else {
            throw .badRequest("A form is missing.")
        }
        switch form.kind {
        case .submit:
            let change = try read(form)
            try checkPace(ofChangeBy: request.from)
            apply(change, by: request.from)
        case .cancel:
            // XEP-0045 §10.1.3: a room that was never configured is not wanted. Otherwise all is left as it is (§10.2).
            if isLocked { destroy() }
        case .form, .result: throw .badRequest("A submitted form was expected.")
        }
    }

    /// Reads what was submitted. Fields that are left out stay as they are, as XEP-0004 §3.5 says; such as other servers
    /// have are ignored (§3.1), so that clients need not know what kind of server this is.
    ///
    /// - Throws: `.notAcceptable` for fields that are wrong, or that contradict each other (XEP-0045 §10.1.3), `.conflict`
    ///   for a room without an owner (§10.2).
    private func read(_ submission: DataForm) throws(StanzaError) -> RoomChange {
        var submission = submission
        let offered = RoomField.all.compactMap { field in field.show(self).map { (field: field, now: $0) } }
        for (field, _) in offered where submission[field.name] == nil {
            guard let index = submission.fields.firstIndex(where: { $0.name.map(field.aliases.contains) ?? false })
            else { continue }
            submission.fields[index].name = field.name
        }
        let template = DataForm(.form, formType: Self.configurationFormType, fields: offered.map(\.now))
        let form = try template.read(submission)
        var change = RoomChange(settings: settings)
        for (field, now) in offered {
            // What comes back as it was shown is no change, even where less is allowed by now.
            guard let submitted = form[field.name] else { continue }
            guard field.isAlwaysRead || submitted.values != now.values else { continue }
            try field.read(form, self, &change)
        }
        change.settings.password = try change.password(settings.password)
        try check(change)
        return change
    }

    private func check(_ change: RoomChange) throws(StanzaError) {
        if let owners = change.owners, owners.isEmpty {
            // XEP-0045 §10.2.
            throw .conflict("A room has an owner.")
        }
        guard change.owners != nil || change.admins != nil else { return }
        let owners = Set(change.owners ?? affiliates(with: .owner).map(\.jid))
        let admins = change.admins ?? affiliates(with: .admin).map(\.jid)
        if let both = admins.first(where: owners.contains) {
            throw .notAcceptable("\(both) cannot be in both lists, of owners and of admins.")
        }
        try checkHasPlace(for: owners.union(admins))
    }
}

extension RoomChange {
    /// The password that the room is to have.
    fileprivate func password(_ current: String?) throws(StanzaError) -> String? {
        switch (isProtected, secret) {
        case (nil, nil): return current
        case (nil, let secret?), (true, let secret?):
            guard secret.isEmpty else { return secret }
            if isProtected == true { throw .notAcceptable("A password is missing.") }
            return nil
        case (true, nil):
            guard let current else { throw .notAcceptable("A password is missing.") }
            return current
        case (false, nil): return nil
        case (false, let secret?):
            // The form that was shown comes back with the password that was in it.
            guard secret.isEmpty || secret == current else {
                throw .notAcceptable("There is a password, but none is to be asked for.")
            }
            return nil
        }
    }
}
