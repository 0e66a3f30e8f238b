import ServerKit

/// How somebody stands to a room at one moment: for good, and during this visit. What it may do to whom follows from
/// it, and from nothing else. XEP-0045 §5.
struct Standing: Sendable, Equatable {
    var affiliation: Affiliation
    /// `none` for who is not here.
    var role: Role
}

extension Standing {
    /// Whether somebody may give an occupant a role, `none` for kicking it. XEP-0045 §5.1.1, §5.1.3.
    ///
    /// - Throws: `.forbidden` for who may do nothing of the kind, `.notAllowed` for who may not do it to this one.
    func checkMay(give new: Role, to target: Standing, isSelf: Bool = false) throws(StanzaError) {
        let isAdmin = affiliation >= .admin
        // XEP-0045 §8.
        guard role == .moderator || isAdmin else { throw .forbidden }
        // XEP-0045 §9.6, §9.7.
        if new == .moderator || new == .participant && target.role == .moderator, !isAdmin { throw .forbidden }
        guard new < target.role else { return }
        switch new {
        case .none:
            // XEP-0045 §8.2: whoever kicks itself apologises.
            if isSelf { return }
            guard target.affiliation <= affiliation else { throw .notAllowed }
            // XEP-0045 §5.1.3: moderators are kicked by admins and owners.
            if target.role == .moderator, !isAdmin { throw .notAllowed }
        case .visitor:
            // XEP-0045 §8.4: nobody silences admins and owners.
            guard target.affiliation < .admin else { throw .notAllowed }
            // Nor anybody at the own level. Those without affiliation have none: otherwise a moderator without one could
            // revoke voice from nobody, against §5.1.1.
            guard target.affiliation == .none || target.affiliation < affiliation else { throw .notAllowed }
            if target.role == .moderator, !isAdmin { throw .notAllowed }
        case .participant:
            // XEP-0045 §9.7, §9.8: admins and owners are moderators.
            guard target.affiliation < .admin else { throw .notAllowed }
        case .moderator: break
        }
    }

    /// Whether somebody may change how another one stands to the room. XEP-0045 §5.2.1, §5.2.2.
    ///
    /// - Throws: `.forbidden` for who may not change this list, `.notAllowed` for a ban of somebody who stands too high,
    ///   `.conflict` for one of oneself.
    func checkMay(make new: Affiliation, from old: Affiliation, isSelf: Bool = false) throws(StanzaError) {
        // XEP-0045 §9.
        guard affiliation >= .admin else { throw .forbidden }
        if new == .outcast {
            // XEP-0045 §9.1.
            if isSelf { throw .conflict }
            guard affiliation == .owner || old < .admin else { throw .notAllowed }
        } else if affiliation != .owner {
            // XEP-0045 §10.3 to §10.8.
            guard new < .admin, old < .admin else { throw .forbidden }
        }
    }

    /// The lists of affiliations that somebody may read. XEP-0045 §9.2, §9.5, §10.5, §10.8.
    func readableLists(_ settings: RoomSettings) -> AffiliationLists {
        if affiliation == .owner { return .all }
        if settings.whois == .anyone {
            // §10.5, §10.8: the service may show admins and owners where everybody sees JIDs.
            if affiliation == .admin { return .all }
            return maySeeMembers(settings) ? [.owners, .admins, .members] : []
        }
        if affiliation == .admin { return [.members, .outcasts] }
        // §5.2.1: where JIDs are hidden, the list would show them to those who do not see them otherwise.
        return role == .moderator && settings.memberListRoles.contains(.moderator) ? .members : []
    }

    /// §9.5: occupants as the room's owner says, and members even when they are not here.
    private func maySeeMembers(_ settings: RoomSettings) -> Bool {
        settings.memberListRoles.contains(role)
            || affiliation == .member && settings.memberListRoles.contains(.participant)
    }

    /// Whether somebody may read the list of those who have a role.
    ///
    /// - Throws: `.forbidden` if not.
    func checkMayRead(_ list: Role) throws(StanzaError) {
        if affiliation >= .admin { return }
        // XEP-0045 §8.5 for voice; §9.8: who is a moderator is for admins.
        guard role == .moderator, list < .moderator else { throw .forbidden }
    }
}

/// Lists of affiliations.
struct AffiliationLists: OptionSet, Sendable, Hashable {
    let rawValue: UInt8

    static let owners = AffiliationLists(rawValue: 1)
    static let admins = AffiliationLists(rawValue: 2)
    static let members = AffiliationLists(rawValue: 4)
    static let outcasts = AffiliationLists(rawValue: 8)
    static let all: AffiliationLists = [.owners, .admins, .members, .outcasts]

    func contains(_ affiliation: Affiliation) -> Bool {
        switch affiliation {
        case .owner: contains(.owners)
        case .admin: contains(.admins)
        case .member: contains(.members)
        case .outcast: contains(.outcasts)
        case .none: false
        }
    }

    /// What somebody who may read these lists and no others knows of an affiliation.
    func shown(_ affiliation: Affiliation) -> Affiliation { contains(affiliation) ? affiliation : .none }
}

extension Room {
    /// How a JID stands to the room; with all its clients that are here.
    func standing(of jid: JID) -> Standing {
        Standing(
            affiliation: affiliation(of: jid),
            role: session(jid)?.occupant.role ?? occupants(of: jid.bare).map(\.role).max() ?? .none)
    }
}

extension Occupant {
    var standing: Standing { Standing(affiliation: affiliation, role: role) }
}
