import ServerKit

extension Room {
    /// A room as it was stored.
    convenience init(_ jid: JID, _ service: Rooms, _ stored: RoomStores.Stored) {
        var affiliates: [JID: Affiliate] = [:]
        affiliates.reserveCapacity(stored.affiliates.count)
        for entry in stored.affiliates {
            if let jid = JID(entry.key) { affiliates[jid] = entry.value }
        }
        self.init(
            jid, service, stored.record, affiliates: affiliates, versions: stored.versions ?? AffiliationLog())
        for item in stored.messages {
            guard let message = ArchivedRoomMessage.message(item.value) else { continue }
            history.append(
                message, id: item.id, at: Timestamp(microseconds: item.time), size: item.value.count,
                limit: historyLength)
        }
        for entry in stored.sessions.sorted(by: { $0.value.order ?? 0 < $1.value.order ?? 0 }) where !restore(entry) {
            service.stores.sessions.delete(entry.key, of: name)
        }
        lastOrder = stored.sessions.compactMap(\.value.order).max() ?? 0
    }

    /// Puts a client back that was here before the server was restarted. Nobody is told: for everybody it was never away.
    ///
    /// - Returns: false when there is no place for it any more.
    private func restore(_ entry: MapEntry<StoredSession>) -> Bool {
        guard let jid = JID(entry.key), let element = try? Element.parse(entry.value.presence),
            let presence = try? Presence(element)
        else { return false }
        let affiliation = affiliation(of: jid)
        // What changed right before a crash may not have taken effect: XEP-0045 §9.1, §10.2.
        guard affiliation != .outcast, affiliation >= .member || !settings.isMembersOnly else { return false }
        let known = occupant(nick: entry.value.nick)
        guard known == nil || known?.bareJID == jid.bare else { return false }
        let occupant =
            known
            ?? Occupant(
                nick: entry.value.nick, key: Room.key(of: entry.value.nick), room: self.jid, bareJID: jid.bare,
                id: occupantID(of: jid.bare), affiliation: affiliation,
                role: entry.value.role(of: affiliation, isModerated: settings.isModerated))
        if known == nil {
            occupant.isShown = settings.shownRoles.contains(occupant.role)
            insert(occupant)
        }
        let session = Occupant.Session(jid, occupant, presence, now: service.now)
        session.knowsVersions = entry.value.knowsVersions == true
        insert(session)
        doubt(session)
        return true
    }
}

extension StoredSession {
    /// The role of one who may have got another affiliation meanwhile. XEP-0045 §5.1.2.
    fileprivate func role(of affiliation: Affiliation, isModerated: Bool) -> Role {
        // COMPAT affiliations were not stored at first.
        self.affiliation ?? affiliation == affiliation ? role : affiliation.initialRole(isModerated: isModerated)
    }
}
