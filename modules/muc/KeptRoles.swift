import ServerKit

/// Who was given voice in a moderated room, or was silenced, finds it so when it comes again. XEP-0045 §5.1: there the
/// difference matters too much for it to end with every lost connection.
///
/// It is forgotten when the room is no longer moderated or leaves memory, and for one whose affiliation changes.
struct KeptRoles: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        // What was stored with those who are here.
        host.observe(.roomLoaded) { event in
            for occupant in event.room.occupants { event.room.keepRole(of: occupant) }
        }
        host.observe(.affiliationChanged) { event in
            let (room, jid) = (event.room, event.jid)
            if room[Kept.self].roles[jid] != nil { room[Kept.self].roles[jid] = nil }
            guard jid.isDomain, !room[Kept.self].roles.isEmpty else { return }
            room[Kept.self].roles = room[Kept.self].roles.filter { !$0.key.isCovered(by: jid) }
        }
        host.observe(.roomConfigured) { event in
            if !event.room.settings.isModerated { event.room[Kept.self] = KeptRoleList() }
        }
    }
}

private enum Kept: RoomKey { static var defaultValue: KeptRoleList { KeptRoleList() } }

/// The roles that are not those with which people enter.
struct KeptRoleList {
    /// Beyond it those that were given first are forgotten.
    static let limit = 2_000

    var roles: [JID: (role: Role, number: Int)] = [:]
    private var next = 0

    mutating func set(_ role: Role, of jid: JID) {
        if roles[jid] == nil, roles.count >= Self.limit,
            let first = roles.min(by: { $0.value.number < $1.value.number })
        {
            roles[first.key] = nil
        }
        roles[jid] = (role, next)
        next += 1
    }
}

extension Room {
    /// The role with which somebody enters. XEP-0045 §5.1.
    func roleOnEntry(of jid: JID, _ affiliation: Affiliation) -> Role {
        let usual = affiliation.initialRole(isModerated: settings.isModerated)
        guard settings.isModerated, usual < .moderator else { return usual }
        return self[Kept.self].roles[jid.bare]?.role ?? usual
    }

    /// Notes the role that an occupant has by now for its next visit. Who was made a moderator has voice then.
    func keepRole(of occupant: Occupant) {
        guard settings.isModerated, occupant.affiliation < .admin else { return }
        let role = min(occupant.role, .participant)
        if role == occupant.affiliation.initialRole(isModerated: true) {
            if !self[Kept.self].roles.isEmpty { self[Kept.self].roles[occupant.bareJID] = nil }
        } else {
            self[Kept.self].set(role, of: occupant.bareJID)
        }
    }
}

extension JID {
    /// Whether what is said of a bare JID or a domain is about this one, too.
    fileprivate func isCovered(by jid: JID) -> Bool { self == jid || jid.isDomain && domainpart == jid.domainpart }
}
