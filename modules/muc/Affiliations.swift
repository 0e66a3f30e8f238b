import ServerKit

/// A change of how somebody stands to a room.
struct AffiliationChange: Sendable, Equatable {
    /// A bare JID or a domain.
    let jid: JID
    let affiliation: Affiliation
    /// The nick to keep for it; nil leaves what there is, an empty one takes it away (XEP-0045 §9.5).
    var nick: String?
    var reason: String?
    /// Whether it makes itself a member.
    var isOwnDoing = false
}

/// How changes of affiliation and role take effect. Who may make them, and how they are asked for, is decided elsewhere.
extension Room {
    /// Changes how somebody stands to the room, for good, and tells everybody who is here. XEP-0045 §9, §10.
    ///
    /// - Parameters:
    ///   - jid: a bare JID or a domain.
    ///   - nick: the nick to keep for it; nil leaves what there is, an empty one takes it away.
    ///   - actor: who does it; nil when the room does.
    func setAffiliation(
        _ new: Affiliation, of jid: JID, nick: String? = nil, actor: JID? = nil, reason: String? = nil
    ) {
        setAffiliations([AffiliationChange(jid: jid, affiliation: new, nick: nick, reason: reason)], actor: actor)
    }

    /// The same for some that happen together or not at all, each for another JID.
    func setAffiliations(_ changes: [AffiliationChange], actor: JID? = nil) {
        let before = changes.map { affiliates[$0.jid]?.affiliation ?? .none }
        let steps = setAffiliates(changes.map { ($0.jid, affiliate(after: $0)) })
        let nick = actor.flatMap(nick(of:))
        for (change, old) in zip(changes, before) where old != change.affiliation {
            let (jid, new) = (change.jid, change.affiliation)
            let concerned = occupants.filter { $0.isCovered(by: jid) }
            let itself = concerned.first { $0.bareJID == jid }
            let wasShown = itself?.isShown == true
            var witnesses = AffiliationEvent.Witnesses.nobody
            for occupant in concerned {
                // Where somebody goes by two nicks, one of them tells of the change.
                stepInProgress = occupant === itself ? steps[jid] : nil
                let details = Details(reason: change.reason, actor: nick)
                let isSeen = apply(affiliation(of: occupant.bareJID), to: occupant, details)
                guard occupant === itself, isSeen else { continue }
                witnesses = wasShown || occupant.isShown ? .everybody : .moderators
            }
            stepInProgress = nil
            service.hooks.affiliationChanged.notify(
                AffiliationEvent(
                    room: self, jid: jid, old: old, new: new, actor: actor, reason: change.reason,
                    wasHere: itself != nil, witnesses: witnesses, step: steps[jid]))
        }
    }

    /// What the room keeps about somebody once a change is made.
    private func affiliate(after change: AffiliationChange) -> Affiliate {
        var affiliate = affiliates[change.jid] ?? Affiliate(affiliation: .none)
        affiliate.affiliation = change.affiliation
        affiliate.isOwnDoing = change.isOwnDoing ? true : nil
        if let nick = change.nick { affiliate.nick = nick.isEmpty ? nil : nick }
        switch change.affiliation {
        case .outcast:
            // XEP-0045 §9.1: the banned keep no nick.
            affiliate.nick = nil
            affiliate.reason = change.reason
        case .none:
            // Nor do those whom the room does not know any more.
            if change.nick == nil { affiliate.nick = nil }
            affiliate.reason = nil
        case .member, .admin, .owner: affiliate.reason = nil
        }
        return affiliate
    }

    /// Gives an occupant the role that belongs to its new affiliation, or shows it out.
    ///
    /// - Returns: false when nothing is new, as for somebody whose domain has the affiliation as well.
    private func apply(_ new: Affiliation, to occupant: Occupant, _ details: Details) -> Bool {
        let old = occupant.affiliation
        guard old != new else { return false }
        occupant.affiliation = new
        var details = details
        if new == .outcast {
            // XEP-0045 §9.1.
            details.statuses = [.banned]
            expel(occupant, details)
            return true
        }
        if new == .none, settings.isMembersOnly {
            // XEP-0045 §9.4.
            details.statuses = [.removedForAffiliation]
            expel(occupant, details)
            return true
        }
        let wasModerator = occupant.role == .moderator
        let usual = new.initialRole(isModerated: settings.isModerated)
        if new >= .admin {
            occupant.role = .moderator
        } else if old >= .admin {
            // XEP-0045 §10.6, §10.8: one that loses it is no moderator any more.
            occupant.role = usual
        } else if occupant.role < usual {
            // XEP-0045 §9.3: a member has voice.
            occupant.role = usual
        } else if new == .none, settings.isModerated, occupant.role == .participant {
            occupant.role = .visitor
        }
        roleChanged(occupant, details, wasModerator: wasModerator)
        return true
    }

    /// Gives an occupant another role for this visit; `none` shows it out. XEP-0045 §8.2 to §8.4, §9.6, §9.7.
    func setRole(_ role: Role, of occupant: Occupant, actor: JID? = nil, reason: String? = nil) {
        guard occupant.role != role else { return }
        var details = Details(reason: reason, actor: actor.flatMap(nick(of:)))
        if role == .none {
            details.statuses = [.kicked]
            return expel(occupant, details)
        }
        let wasModerator = occupant.role == .moderator
        occupant.role = role
        roleChanged(occupant, details, wasModerator: wasModerator)
    }

    private func roleChanged(_ occupant: Occupant, _ details: Details, wasModerator: Bool) {
        let wasShown = occupant.isShown
        let isShown = settings.shownRoles.contains(occupant.role)
        if wasShown, !isShown { hide(occupant) }
        occupant.isShown = isShown
        announce(occupant, details)
        stepInProgress = nil
        // Those who have become moderators see real JIDs from now on, and those who are hidden from others.
        if occupant.role == .moderator, !wasModerator { showAll(to: occupant) }
        for session in occupant.sessions { store(session) }
    }

    /// To all but moderators an occupant whose role is not shown is not there.
    private func hide(_ occupant: Occupant) {
        let viewers = sessions.filter { $0.occupant !== occupant && $0.occupant.role != .moderator }
        broadcast(
            of: occupant, .unavailable, viewers: viewers,
            { self.makePayload(of: occupant, .unavailable, jid: $0 ? occupant.primary?.jid : nil, Details()) },
            own: { self.ownPayload(of: occupant, []) })
    }

    /// Shows and hides occupants as the settings say by now. XEP-0045 §16.5.3, `muc#roomconfig_presencebroadcast`.
    func updateShown() {
        for occupant in occupants {
            let isShown = settings.shownRoles.contains(occupant.role)
            guard isShown != occupant.isShown else { continue }
            if !isShown { hide(occupant) }
            occupant.isShown = isShown
            if isShown {
                show(occupant, to: sessions.filter { $0.occupant !== occupant && $0.occupant.role != .moderator })
            }
        }
    }

    /// Tells clients of others of an occupant as it is now.
    func show(_ occupant: Occupant, to viewers: [Occupant.Session]) {
        broadcast(
            of: occupant, .available, viewers: viewers, { self.payload(of: occupant, showingJID: $0) },
            own: { self.ownPayload(of: occupant, []) })
    }

    /// Shows somebody who has become a moderator what it did not see before: real JIDs, and those whose roles are not shown.
    func showAll(to viewer: Occupant, at sessions: [Occupant.Session]? = nil) {
        guard settings.whois != .anyone || occupants.contains(where: { !$0.isShown }) else { return }
        for occupant in occupants where occupant !== viewer {
            broadcast(
                of: occupant, .available, viewers: sessions ?? viewer.sessions,
                { _ in self.payload(of: occupant, for: viewer) }, own: { self.ownPayload(of: occupant, []) })
        }
    }

    /// The nick of somebody who is here.
    func nick(of jid: JID) -> String? {
        (session(jid)?.occupant ?? occupants(of: jid.bare).first)?.nick
    }
}

extension Occupant {
    /// Whether what the room says of a bare JID or a domain is about this one, too.
    fileprivate func isCovered(by jid: JID) -> Bool {
        bareJID == jid || jid.isDomain && bareJID.domainpart == jid.domainpart
    }
}
