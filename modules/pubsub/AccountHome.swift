import ServerKit

/// An account that is a service of its own. XEP-0163.
@ServerActor
final class AccountHome: Home {
    let address: JID
    let host: Host
    /// The account holds its service; a service that outlives it has no contacts left.
    private weak var account: Account?

    init(_ account: Account) {
        self.account = account
        address = account.jid
        host = account.host
    }

    let accessModels = AccessModel.allCases
    let isPersonal = true

    private var contacts: (any ContactList)? { host.service((any ContactList).self) }

    func ownsEverything(_ jid: JID) -> Bool { jid.bare == address }

    func mayCreateNodes(_ jid: JID) -> Bool { jid.bare == address }

    func seesPresence(_ jid: JID) -> Bool {
        guard let account else { return false }
        return contacts?.hasSubscriber(jid.bare, account: account) ?? false
    }

    func groups(of jid: JID) -> [String] {
        guard let account else { return [] }
        return contacts?.contact(jid, of: account)?.groups ?? []
    }

    /// XEP-0163 §4.3.3 rule 3.
    func isBlocked(_ jid: JID) -> Bool {
        guard let account else { return false }
        return host.service((any BlockList).self)?.isBlocked(jid, by: account) ?? false
    }

    func interestedResources(in node: String) -> [JID] {
        guard let account else { return [] }
        return host.service((any Capabilities).self)?.resources(wantingNode: node, seenBy: account) ?? []
    }

    func defaults(for node: String) -> NodeConfiguration { WellKnownNodes.configuration(of: node) }

    func verdict(on item: Item, node: String, publisher: JID) -> Verdict {
        guard let account else { return .pass }
        return host.hooks.list(.nodeItemPublishing).verdict(
            on: NodeItemEvent(
                account: account, node: node, id: item.id, payload: item.payload, publisher: publisher))
    }

    func announce(_ change: NodeChange, node: String, by publisher: JID) {
        guard let account else { return }
        let hooks = host.hooks
        let event = NodeEvent(account: account, node: node, publisher: publisher)
        switch change {
        case .published(let item):
            hooks.list(.nodeItemPublished).notify(
                NodeItemEvent(
                    account: account, node: node, id: item.id, payload: item.payload, publisher: publisher))
        case .retracted(let id):
            hooks.list(.nodeItemRetracted).notify(
                NodeItemEvent(account: account, node: node, id: id, payload: nil, publisher: publisher))
        case .purged: hooks.list(.nodePurged).notify(event)
        case .deleted: hooks.list(.nodeDeleted).notify(event)
        case .configured(let access):
            hooks.list(.nodeConfigured).notify(
                NodeEvent(account: account, node: node, publisher: publisher, previousAccess: access))
        }
    }
}
