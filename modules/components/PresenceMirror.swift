import ServerKit

/// What a host's contacts were last seen as, so that a component is told of each change once, however many users have a
/// contact in their rosters, and hears of all of it when it connects. XEP-0356 §8.
struct PresenceMirror {
    private var shown: [JID: Presence] = [:]

    /// Contacts beyond these are shown as they come.
    private static let limit = 20_000

    /// Whether this tells nothing that was not shown before.
    func isShown(_ presence: Presence) -> Bool {
        guard let from = presence.from else { return true }
        if presence.kind == .unavailable { return shown[from] == nil && shown.count < Self.limit }
        guard presence.kind == .available else { return true }
        return shown[from].map { $0.id == presence.id && $0.payload.hasSameContent(as: presence.payload) } ?? false
    }

    mutating func note(_ presence: Presence) {
        guard let from = presence.from else { return }
        if presence.kind == .unavailable {
            shown[from] = nil
        } else if shown.count < Self.limit || shown[from] != nil {
            shown[from] = presence
        }
    }

    /// All that is available.
    var all: [Presence] { Array(shown.values) }
}

extension Element {
    fileprivate func hasSameContent(as other: Element) -> Bool {
        var (one, two) = (XMLWriter(), XMLWriter())
        one.writeContent(of: self, in: .client)
        two.writeContent(of: other, in: .client)
        return one.bytes == two.bytes
    }
}

/// Privileged Entity (XEP-0356 §7): presence of users and of their contacts.
extension ComponentRights {
    /// Whether some component is shown contacts' presence.
    var mirrorsContacts: Bool { grants.contains { $0.privileges.presence == .contacts } }

    /// A user's client has become available or unavailable; nothing in between is told. XEP-0356 §7.1.
    func show(_ presence: Presence?, of resource: Resource) {
        guard var presence, grants.contains(where: { $0.privileges.presence != .none }) else { return }
        presence.from = resource.jid
        for grant in grants where grant.privileges.presence != .none { show(presence, grant) }
        if mirrorsContacts { mirror.note(presence) }
    }

    /// A contact's presence has come for a user. XEP-0356 §7.4.
    func observe(_ event: PresenceEvent) {
        let presence = event.presence
        guard mirrorsContacts, presence.kind == .available || presence.kind == .unavailable, let from = presence.from,
            from.bare != event.account.jid, !mirror.isShown(presence),
            event.account.host.service((any ContactList).self)?
                .contact(from, of: event.account)?.subscription.seesContact == true
        else { return }
        for grant in grants where grant.privileges.presence == .contacts { show(presence, grant) }
        mirror.note(presence)
    }

    private func show(_ presence: Presence, _ grant: Grant) {
        guard grant.component.isConnected else { return }
        facade?.router.route(presence.directed(to: grant.component.jid))
    }

    /// What a component that has just connected would have been shown by now. XEP-0356 §8.
    func presences(for grant: Grant) -> [Presence] {
        guard let facade, grant.privileges.presence != .none else { return [] }
        let users = facade.accounts.loadedAccounts.flatMap(\.availableResources).compactMap { resource in
            resource.presence.map { presence in
                var presence = presence
                presence.from = resource.jid
                return presence
            }
        }
        let contacts = grant.privileges.presence == .contacts ? mirror.all : []
        let known = Set(users.compactMap(\.from))
        return (users + contacts.filter { $0.from.map { !known.contains($0) } ?? false })
            .map { $0.directed(to: grant.component.jid) }
    }
}

extension Presence {
    /// A copy for one receiver. RFC 6121 §4.6.
    fileprivate func directed(to receiver: JID) -> Presence {
        var copy = self
        copy.to = receiver
        return copy
    }
}
