import ServerKit

/// What a change of the configuration causes. XEP-0045 §10.2.
extension Room {
    /// The room is open to everybody. XEP-0045 §10.1.2.
    func unlock() {
        guard isLocked else { return }
        change { $0.isLocked = nil }
    }

    /// Takes over what was submitted, and lets everybody know.
    func apply(_ change: RoomChange, by actor: JID) {
        let old = settings
        let wasLocked = isLocked
        if wasLocked || old != change.settings {
            self.change {
                $0.settings = change.settings
                $0.isLocked = nil
            }
        }
        applyLists(change, by: actor)
        takeEffect(instead: old)
        guard !isDestroyed else { return }
        if wasLocked || old != settings { service.hooks.roomConfigured.notify(RoomEvent(room: self, old: old)) }
        // XEP-0045 §10.9: what is not persistent does not outlive its occupants.
        if isEmpty, !settings.isPersistent { service.becameEmpty(self) }
    }

    // MARK: Owners and admins

    /// Both are whole lists. XEP-0045 §10.2, §16.5.3: an owner who is left out becomes an admin, unless those are listed,
    /// too; an admin who is left out stays a member.
    private func applyLists(_ change: RoomChange, by actor: JID) {
        guard change.owners != nil || change.admins != nil else { return }
        let (oldOwners, oldAdmins) = (affiliates(with: .owner).map(\.jid), affiliates(with: .admin).map(\.jid))
        let owners = change.owners ?? oldOwners
        var admins = change.admins ?? oldAdmins
        if change.admins == nil { admins += oldOwners.filter { !owners.contains($0) } }
        let (isOwner, isAdmin) = (Set(owners), Set(admins))
        // The new ones first, so that the room is never without.
        for jid in owners { setAffiliation(.owner, of: jid, actor: actor) }
        for jid in admins where !isOwner.contains(jid) { setAffiliation(.admin, of: jid, actor: actor) }
        for jid in oldOwners + oldAdmins where !isOwner.contains(jid) && !isAdmin.contains(jid) {
            setAffiliation(.member, of: jid, actor: actor)
        }
    }

    // MARK: Settings

    private func takeEffect(instead old: RoomSettings) {
        let new = settings
        guard old != new else { return }
        if new.isMembersOnly, !old.isMembersOnly {
            // XEP-0045 §10.2.
            let strangers = occupants.filter { $0.affiliation < .member }
            expel(strangers, Details(statuses: [.removedForMembersOnly]))
            guard !isDestroyed else { return }
        }
        if new.shownRoles != old.shownRoles { updateShown() }
        if new.isModerated != old.isModerated { updateVoice() }
        notify(of: new, instead: old)
        if new.whois == .anyone, old.whois != .anyone { reveal() }
    }

    /// XEP-0045 §5.1.2: in a moderated room those without affiliation are visitors, in others everybody has voice.
    private func updateVoice() {
        for occupant in occupants {
            if settings.isModerated {
                if occupant.affiliation == .none, occupant.role == .participant { setRole(.visitor, of: occupant) }
            } else if occupant.role == .visitor {
                setRole(.participant, of: occupant)
            }
        }
    }

    /// XEP-0045 §10.2.1.
    private func notify(of new: RoomSettings, instead old: RoomSettings) {
        var statuses: [Status] = []
        if new.isLogged != old.isLogged { statuses.append(new.isLogged ? .loggingEnabled : .loggingDisabled) }
        if new.whois != old.whois {
            statuses.append(new.whois == .anyone ? .becameNonAnonymous : .becameSemiAnonymous)
        }
        // Those have a code of their own, all the others have one together.
        var rest = new
        (rest.isLogged, rest.whois) = (old.isLogged, old.whois)
        if rest != old { statuses.append(.configurationChanged) }
        distribute(
            Message(id: service.makeID(), kind: .groupchat) {
                Element("x", .mucUser) { statuses.sorted().map(\.element) }
            })
    }

    /// Shows those who did not see them the real JIDs of all who are here. XEP-0045 §7.2.3.
    ///
    /// In a bigger room it would be more stanzas than one setting is worth: there they are seen as people come, or change
    /// their presence.
    private func reveal() {
        let limit = 100
        guard occupants.count <= limit else { return }
        let viewers = sessions.filter { $0.occupant.role != .moderator }
        for occupant in occupants {
            show(occupant, to: viewers.filter { $0.occupant !== occupant })
        }
    }
}
