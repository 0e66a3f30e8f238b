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
            let details = Details(reason: change.reason, actor: nick)
            let all = occupants(of: jid)
            let itself = all.first
            let wasShown = itself?.isShown == true
            var witnesses = AffiliationEvent.Witnesses.nobody
            for occupant in all {
                // Where somebody goes by two nicks, one of them tells of the change.
                stepInProgress = occupant === itself ? steps[jid] : nil
                let isSeen = applyAffiliations(to: [occupant], details)
                guard occupant === itself, isSeen else { continue }
                witnesses = wasShown || occupant.isShown ? .everybody : .moderators
            }
            stepInProgress = nil
            if jid.isDomain {
                let users = occupants.filter { $0.bareJID != jid && $0.bareJID.domainpart == jid.domainpart }
                applyAffiliations(to: users, details)
            }
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

    /// Gives occupants the roles that belong to their new affiliations, or shows them out.
    ///
    /// - Returns: false when nothing is new, as for somebody whose domain has the affiliation as well.
    @discardableResult
    private func applyAffiliations(to many: [Occupant], _ details: Details) -> Bool {
        var (banned, strangers, others): ([Occupant], [Occupant], [RoleChange]) = ([], [], [])
        for occupant in many {
            let (old, new) = (occupant.affiliation, affiliation(of: occupant.bareJID))
            guard old != new else { continue }
            occupant.affiliation = new
            if new == .outcast {
                banned.append(occupant)
            } else if new == .none, settings.isMembersOnly {
                strangers.append(occupant)
            } else {
                others.append(RoleChange(occupant: occupant, wasModerator: occupant.role == .moderator))
                updateRole(of: occupant, from: old)
            }
        }
        // XEP-0045 §9.1, §9.4.
        for (leaving, status) in [(banned, Status.banned), (strangers, .removedForAffiliation)] {
            var details = details
            details.statuses = [status]
            if leaving.count == 1 { expel(leaving[0], details) } else { expel(leaving, details) }
        }
        rolesChanged(others, details)
        return !banned.isEmpty || !strangers.isEmpty || !others.isEmpty
    }

    private func updateRole(of occupant: Occupant, from old: Affiliation) {
        let new = occupant.affiliation
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
        keepRole(of: occupant)
        rolesChanged([RoleChange(occupant: occupant, wasModerator: wasModerator)], details)
    }

    /// An occupant has another role, or another affiliation with it.
    private struct RoleChange {
        let occupant: Occupant
        let wasModerator: Bool
    }

    /// Tells everybody, when all of them are what they are now.
    private func rolesChanged(_ changes: [RoleChange], _ details: Details) {
        var hidden: [Occupant] = []
        for occupant in changes.map(\.occupant) {
            let wasShown = occupant.isShown
            let isShown = settings.shownRoles.contains(occupant.role)
            if wasShown, !isShown {
                hide(occupant, from: ordinaryViewers(except: occupant))
                hidden.append(occupant)
            }
            occupant.isShown = isShown
            announce(occupant, details)
            stepInProgress = nil
        }
        // Those who have become moderators see real JIDs from now on, and those who are hidden from others.
        showAll(to: changes.filter { !$0.wasModerator && $0.occupant.role == .moderator }.map(\.occupant))
        hideAll(
            from: changes.filter { $0.wasModerator && $0.occupant.role != .moderator }.map(\.occupant), except: hidden)
        for session in changes.flatMap(\.occupant.sessions) { store(session) }
    }

    /// The clients of those who are no moderators.
    private func ordinaryViewers(except occupant: Occupant? = nil) -> [Occupant.Session] {
        sessions.filter { $0.occupant !== occupant && $0.occupant.role != .moderator }
    }

    /// To all but moderators an occupant whose role is not shown is not there.
    private func hide(_ occupant: Occupant, from viewers: [Occupant.Session]) {
        broadcast(
            of: occupant, .unavailable, viewers: viewers,
            { self.makePayload(of: occupant, .unavailable, jid: $0 ? occupant.primary?.jid : nil, Details()) },
            own: { self.ownPayload(of: occupant, []) })
    }

    /// Shows and hides occupants as the settings say by now. XEP-0045 §16.5.3, `muc#roomconfig_presencebroadcast`.
    func updateShown() {
        let viewers = ordinaryViewers()
        for occupant in occupants {
            let isShown = settings.shownRoles.contains(occupant.role)
            guard isShown != occupant.isShown else { continue }
            // Its own clients see it all the time.
            let others = occupant.role == .moderator ? viewers : viewers.filter { $0.occupant !== occupant }
            if !isShown { hide(occupant, from: others) }
            occupant.isShown = isShown
            if isShown { show(occupant, to: others) }
        }
    }

    /// Tells clients of others of an occupant as it is now.
    func show(_ occupant: Occupant, to viewers: [Occupant.Session]) {
        broadcast(
            of: occupant, .available, viewers: viewers, { self.payload(of: occupant, showingJID: $0) },
            own: { self.ownPayload(of: occupant, []) })
    }

    /// Shows those who have become moderators what they did not see before: real JIDs, and those whose roles are not shown.
    /// Each other they have seen already.
    func showAll(to newcomers: [Occupant], at sessions: [Occupant.Session]? = nil) {
        guard !newcomers.isEmpty, settings.whois != .anyone || occupants.contains(where: { !$0.isShown }) else {
            return
        }
        let viewers = sessions ?? newcomers.flatMap(\.sessions)
        let isNew = Set(newcomers.map(ObjectIdentifier.init))
        for occupant in occupants where !isNew.contains(ObjectIdentifier(occupant)) { show(occupant, to: viewers) }
    }

    /// To those who are no moderators any more, others whose roles are not shown are not there. XEP-0045 §16.5.3,
    /// `muc#roomconfig_presencebroadcast`.
    ///
    /// - Parameter told: occupants of whom they have been told already.
    func hideAll(from former: [Occupant], except told: [Occupant] = [], at sessions: [Occupant.Session]? = nil) {
        guard !former.isEmpty, occupants.contains(where: { !$0.isShown }) else { return }
        let viewers = (sessions ?? former.flatMap(\.sessions)).filter { !$0.isAway }
        let isTold = Set(told.map(ObjectIdentifier.init))
        for occupant in occupants where !occupant.isShown && !isTold.contains(ObjectIdentifier(occupant)) {
            // For the viewers it is none by now, so that it is not broadcast.
            var presence = Presence(from: occupant.jid, kind: .unavailable)
            let jid = settings.whois == .anyone ? occupant.primary?.jid : nil
            presence.payload = makePayload(of: occupant, .unavailable, jid: jid, Details())
            outbox.send(size: viewers.count) {
                for viewer in viewers where viewer.occupant !== occupant {
                    presence.header.to = viewer.jid
                    self.router.route(presence)
                }
            }
        }
    }

    /// The nick of somebody who is here.
    func nick(of jid: JID) -> String? {
        (session(jid)?.occupant ?? occupants(of: jid.bare).first)?.nick
    }
}
