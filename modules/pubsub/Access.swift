import ServerKit

/// Who may do what. XEP-0060 §4.1, §4.5.
extension Service {
    func affiliation(of jid: JID, at node: Node) -> Affiliation {
        home.ownsEverything(jid) ? .owner : node.affiliation(of: jid)
    }

    func isOwner(_ jid: JID, of node: Node) -> Bool { affiliation(of: jid, at: node) == .owner }

    /// Why somebody may not read a node; nil for those who may. XEP-0060 §6.5.1.
    func refusal(of jid: JID, at node: Node) -> StanzaError? {
        switch affiliation(of: jid, at: node) {
        case .owner, .publisher, .member: return nil
        case .outcast, .publishOnly: return .forbidden
        case .none: break
        }
        switch node.configuration.accessModel {
        case .open: return nil
        case .presence: return home.seesPresence(jid) ? nil : .presenceRequired
        case .roster: return isInRosterGroup(jid, node) ? nil : .notInRosterGroup
        case .authorize: return node.isSubscribed(jid) ? nil : .notSubscribedToRead
        case .whitelist: return .closedNode
        }
    }

    func mayRead(_ jid: JID, _ node: Node) -> Bool { refusal(of: jid, at: node) == nil }

    /// XEP-0060 §6.5.1: subscribed to the presence, and in one of the groups.
    private func isInRosterGroup(_ jid: JID, _ node: Node) -> Bool {
        guard home.seesPresence(jid) else { return false }
        let allowed = Set(node.configuration.rosterGroups)
        return home.groups(of: jid).contains { allowed.contains($0) }
    }

    /// Whether somebody follows a node without having subscribed, by being a contact or the owner. XEP-0060 §9.1.
    func isAutoSubscribed(_ jid: JID, to node: Node) -> Bool {
        if home.ownsEverything(jid) { return true }
        switch node.configuration.accessModel {
        case .open, .presence, .roster: return home.seesPresence(jid) && mayRead(jid, node)
        case .authorize, .whitelist: return false
        }
    }

    /// Whether somebody may publish. XEP-0060 §4.1, §16.4.4.
    func mayPublish(_ jid: JID, to node: Node) -> Bool {
        switch affiliation(of: jid, at: node) {
        case .owner, .publisher, .publishOnly: return true
        case .outcast: return false
        case .member, .none: break
        }
        switch node.configuration.publishModel {
        case .publishers: return false
        case .subscribers: return node.isSubscribed(jid)
        case .open: return true
        }
    }

    /// Whether somebody may retract what `publisher` has published. XEP-0060 §4.1, note on deleting.
    func mayRetract(_ jid: JID, itemOf publisher: JID?, at node: Node) -> Bool {
        switch affiliation(of: jid, at: node) {
        case .owner, .publisher: return true
        case .outcast: return false
        case .member, .none, .publishOnly: return mayPublish(jid, to: node) && publisher?.bare == jid.bare
        }
    }

    /// Those who decide about subscriptions and are told of them.
    func owners(of node: Node) -> [JID] {
        let affiliated = node.affiliations.filter { $0.affiliation == .owner }.map(\.jid)
        return home.isPersonal ? [home.address] + affiliated : affiliated
    }
}
