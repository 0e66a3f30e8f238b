import ServerKit

/// How moderators, admins and owners change roles and affiliations, one or many at a time. XEP-0045 §8.2 to §8.5, §9,
/// §10.3 to §10.8. Who may do what is in ``Standing``.
struct Administration: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        rooms.answer(.get, "query", .mucAdmin) { room, request in try room.list(for: request) }
        rooms.answer(.set, "query", .mucAdmin) { room, request in
            let items = request.query.children("item")
            // XEP-0045 §14.6: what a list costs the room and everybody in it is bounded.
            guard items.count <= rooms.options.listChanges else {
                let text = "At most \(rooms.options.listChanges) items at a time."
                throw StanzaError(.policyViolation, .modify, text).withoutRequest()
            }
            guard !items.isEmpty else { throw StanzaError.badRequest("There is no item.") }
            let changes = try room.check(
                try items.map { item throws(StanzaError) in try AdminItem(item) }, request.from)
            try room.checkPace(ofChangeBy: request.from)
            room.carryOut(changes, actor: request.from)
            return nil
        }
    }
}

/// What a set of items comes to, once all of it is found to be allowed.
private struct AdminChanges {
    var affiliations: [AffiliationChange] = []
    /// Those and no others have a new affiliation.
    var affiliationsByJID: [JID: Affiliation] = [:]
    var roles: [(occupant: Occupant, role: Role, reason: String?)] = []
}

// MARK: - Changes

extension Room {
    /// Finds out what items mean. XEP-0045 §9.2: when one is refused nothing is done.
    fileprivate func check(_ items: [AdminItem], _ from: JID) throws(StanzaError) -> AdminChanges {
        let actor = standing(of: from)
        // Who may do nothing learns nothing either, such as which nicks there are.
        guard actor.affiliation >= .admin || actor.role == .moderator else { throw .forbidden }
        var changes = AdminChanges()
        for item in items {
            guard case .affiliation(let affiliation) = item.wish else { continue }
            try check(affiliation, item, from, actor, &changes)
        }
        try checkWhole(changes)
        for item in items {
            guard case .role(let role) = item.wish else { continue }
            try check(role, item, from, actor, &changes)
        }
        return changes
    }

    private func check(
        _ new: Affiliation, _ item: AdminItem, _ from: JID, _ actor: Standing, _ changes: inout AdminChanges
    ) throws(StanzaError) {
        guard actor.affiliation >= .admin else { throw .forbidden }
        let jid: JID
        if let full = item.jid {
            // XEP-0045 §10.3: full JIDs stand for bare ones.
            jid = full.bare
        } else {
            // Affiliations belong to JIDs, which clients need not know in order to mean the one behind a nick.
            guard let occupant = occupant(nick: item.nick ?? "") else { throw .itemNotFound }
            jid = occupant.bareJID
        }
        let old = affiliation(of: jid)
        try actor.checkMay(make: new, from: old, isSelf: jid == from.bare)
        // It would not keep it out.
        if new == .outcast, service.ownsAllRooms(jid) { throw .notAllowed }
        guard changes.affiliationsByJID.updateValue(new, forKey: jid) == nil else {
            throw .badRequest("\(jid) is listed twice.")
        }
        var change = AffiliationChange(jid: jid, affiliation: new, reason: item.reason)
        if item.jid != nil, let nick = item.nick, new != .outcast, new != .none {
            // XEP-0045 §9.5: an empty one takes the nick away.
            do throws(StanzaError) {
                change.nick = nick.isEmpty ? "" : try preparedNick(nick)
            } catch {
                throw .badRequest(error.text ?? "That is no nick.")
            }
        }
        changes.affiliations.append(change)
    }

    /// What can only be said of all changes of affiliations together.
    private func checkWhole(_ changes: AdminChanges) throws(StanzaError) {
        guard !changes.affiliations.isEmpty else { return }
        // XEP-0045 §10.4, §10.5: a room has an owner.
        let losesOwner = changes.affiliations.contains { affiliates[$0.jid]?.affiliation == .owner }
        if losesOwner, !changes.affiliationsByJID.values.contains(.owner) {
            let stays = affiliates.contains {
                $0.value.affiliation == .owner && changes.affiliationsByJID[$0.key] == nil
            }
            guard stays else { throw StanzaError(.conflict, nil, "The room would be left without an owner.") }
        }
        try checkHasPlace(for: changes.affiliations.filter { $0.affiliation > .none }.map(\.jid))
        try checkHasPlace(forOutcasts: changes.affiliations.filter { $0.affiliation == .outcast }.map(\.jid))
        try checkNicks(changes)
    }

    /// Whether the room may keep something about some more, outcasts aside.
    ///
    /// - Parameter isOwnWish: whether they come by themselves. The last tenth of the places is for those whom an admin
    ///   wants.
    /// - Throws: `.resourceConstraint` if not.
    func checkHasPlace(for jids: some Collection<JID>, isOwnWish: Bool = false) throws(StanzaError) {
        let count = jids.count { affiliates[$0].map { $0.affiliation == .outcast } ?? true }
        guard count > 0 else { return }
        let most = service.options.maxAffiliations
        let kept = affiliates.values.count { $0.affiliation != .outcast }
        guard kept + count <= (isOwnWish ? most - most / 10 : most) else {
            throw .resourceConstraint("The room has too many affiliations.")
        }
    }

    /// Whether as many can be banned: they have places of their own, so that nobody who fills the others is safe.
    private func checkHasPlace(forOutcasts jids: [JID]) throws(StanzaError) {
        let count = jids.count { affiliates[$0]?.affiliation != .outcast }
        guard count > 0 else { return }
        guard affiliates.values.count(where: { $0.affiliation == .outcast }) + count <= service.options.maxAffiliations
        else { throw .resourceConstraint("The room has banned too many.") }
    }

    /// XEP-0045 §7.10: a nick is reserved for one. Nor is one reserved that somebody else goes by.
    private func checkNicks(_ changes: AdminChanges) throws(StanzaError) {
        guard changes.affiliations.contains(where: { $0.nick?.isEmpty == false }) else { return }
        var holders: [String: JID] = [:]
        for (jid, affiliate) in affiliates {
            guard let nick = affiliate.nick else { continue }
            // Whose nick is about to go holds none.
            switch changes.affiliationsByJID[jid] {
            case .outcast?, .none?: continue
            default: holders[Room.key(of: nick)] = jid
            }
        }
        for change in changes.affiliations {
            guard let nick = change.nick, !nick.isEmpty else { continue }
            let key = Room.key(of: nick)
            guard holders[key, default: change.jid] == change.jid,
                occupant(nick: nick).map({ $0.bareJID == change.jid }) ?? true
            else { throw .conflict }
            holders[key] = change.jid
        }
    }

    private func check(
        _ new: Role, _ item: AdminItem, _ from: JID, _ actor: Standing, _ changes: inout AdminChanges
    ) throws(StanzaError) {
        // XEP-0045 §5.1: roles belong to nicks, or to full JIDs.
        let targets: [Occupant]
        if let nick = item.nick, !nick.isEmpty {
            targets = occupant(nick: nick).map { [$0] } ?? []
        } else if let jid = item.jid {
            targets = jid.isFull ? session(jid).map { [$0.occupant] } ?? [] : occupants(of: jid)
        } else {
            targets = []
        }
        guard !targets.isEmpty else { throw .itemNotFound }
        for target in targets {
            var standing = target.standing
            if let affiliation = changes.affiliationsByJID[target.bareJID] {
                // The same set changes who it is.
                standing.affiliation = affiliation
                if affiliation >= .admin { standing.role = .moderator }
            }
            try actor.checkMay(give: new, to: standing, isSelf: target.bareJID == from.bare)
            guard !changes.roles.contains(where: { $0.occupant === target }) else {
                throw .badRequest("\(target.nick) is listed twice.")
            }
            changes.roles.append((target, new, item.reason))
        }
    }

    fileprivate func carryOut(_ changes: AdminChanges, actor: JID) {
        if !changes.affiliations.isEmpty { setAffiliations(changes.affiliations, actor: actor) }
        for change in changes.roles where occupant(nick: change.occupant.nick) === change.occupant {
            setRole(change.role, of: change.occupant, actor: actor, reason: change.reason)
        }
    }
}

// MARK: - Lists

extension Room {
    /// A list of those who have an affiliation or a role. XEP-0045 §8.5, §9.2, §9.5, §9.8, §10.5, §10.8.
    fileprivate func list(for request: IQRequest) throws(StanzaError) -> Element {
        let wanted = request.query.children("item")
        guard let first = wanted.first, wanted.count == 1 else { throw .badRequest("One list at a time.") }
        let reader = standing(of: request.from)
        let items: [Element]
        switch try AdminItem.wish(first) {
        case .role(let role):
            guard role != .none else { throw .badRequest("There is no such list.") }
            try reader.checkMayRead(role)
            items = occupants.filter { $0.role == role }.map(\.adminItem)
        case .affiliation(let affiliation):
            // XEP-0045 §5.2: there is no list of those without affiliation.
            guard affiliation != .none else { throw .badRequest("There is no such list.") }
            guard reader.readableLists(settings).contains(affiliation) else { throw .forbidden }
            items = adminItems(affiliation)
        }
        return Element("query", .mucAdmin) { items }
    }

    /// XEP-0045 §17.4: with a nick, except for outcasts, and without a role.
    private func adminItems(_ affiliation: Affiliation) -> [Element] {
        var nicks: [JID: String] = [:]
        if affiliation != .outcast { for occupant in occupants { nicks[occupant.bareJID] = occupant.nick } }
        return affiliates(with: affiliation).map { jid, affiliate in
            Element(
                "item", .mucAdmin,
                [
                    "affiliation": affiliation.rawValue, "jid": jid.description,
                    "nick": affiliate.nick ?? nicks[jid],
                ]
            ) {
                if let reason = affiliate.reason { Element("reason", text: reason) }
            }
        }
    }
}

extension Occupant {
    /// XEP-0045 §17.4: in lists of roles, with the full JID. Only those get one who see it anyway.
    fileprivate var adminItem: Element {
        Element(
            "item", .mucAdmin,
            [
                "affiliation": affiliation.rawValue, "jid": primary?.jid.description, "nick": nick,
                "role": role.rawValue,
            ])
    }
}
