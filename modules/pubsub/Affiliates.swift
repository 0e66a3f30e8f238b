import ServerKit

extension Feature {
    /// Owners decide who may do what. XEP-0060 §8.9.
    static let affiliations = Feature(
        [
            "modify-affiliations", "member-affiliation", "outcast-affiliation", "publisher-affiliation",
            "publish-only-affiliation",
        ],
        [
            Operation(.get, "affiliations", .pubsubOwner) { try $0.affiliations($1) },
            Operation(.set, "affiliations", .pubsubOwner) { try $0.setAffiliations($1) },
        ])
}

extension Service {
    fileprivate func affiliations(_ request: Request) throws -> Element {
        let node = try findOwned(request)
        let implicit = home.isPersonal ? [(jid: home.address, affiliation: Affiliation.owner)] : []
        let all = implicit + node.affiliations.sorted { $0.jid.description < $1.jid.description }
        return Element("affiliations", nil, ["node": node.name]) {
            for (jid, affiliation) in all {
                Element("affiliation", nil, ["jid": jid.description, "affiliation": affiliation.rawValue])
            }
        }
    }

    /// All changes are made, or none. XEP-0060 §8.9.2.4 has the answer name those that were not: the request, which
    /// is all of them.
    fileprivate func setAffiliations(_ request: Request) throws -> Element? {
        let node = try findOwned(request)
        let changes = try self.changes(request.action, node)
        for (jid, affiliation) in changes where self.affiliation(of: jid, at: node) != affiliation {
            setAffiliation(affiliation, of: jid, at: node)
            reconsider(jid, at: node)
        }
        return nil
    }

    private func changes(_ list: Element, _ node: Node) throws(StanzaError) -> [(JID, Affiliation)] {
        var changes: [(JID, Affiliation)] = []
        var seen: Set<JID> = []
        for element in list.children("affiliation") {
            // XEP-0060 §4.1: affiliations are those of bare JIDs.
            guard let jid = element.jid("jid")?.bare else { throw .jidMalformed }
            guard seen.insert(jid).inserted else { throw .badRequest("A JID has one affiliation.") }
            // XEP-0060 §8.9.2.1, note: without the attribute nothing changes.
            guard let text = element["affiliation"] else { continue }
            guard let affiliation = Affiliation(rawValue: text) else { throw .badRequest("No such affiliation.") }
            guard home.isPersonal, home.ownsEverything(jid) else {
                changes.append((jid, affiliation))
                continue
            }
            // An account stays the owner of its nodes.
            guard affiliation == .owner else { throw .notAcceptable }
        }
        let added = changes.filter { $0.1 != .none && node.relations[$0.0] == nil }.count
        guard node.relations.count + added <= options.relationLimit else { throw .resourceConstraint }
        // XEP-0060 §8.9.2.4: somebody must own the node.
        if !home.isPersonal {
            var owners = Set(node.affiliations.filter { $0.affiliation == .owner }.map(\.jid))
            for (jid, affiliation) in changes {
                if affiliation == .owner { owners.insert(jid) } else { owners.remove(jid) }
            }
            guard !owners.isEmpty else { throw .notAcceptable }
        }
        return changes
    }

    /// An affiliation may decide about the subscriptions of who has it. XEP-0060 §8.7, note at the end.
    private func reconsider(_ bare: JID, at node: Node) {
        for (jid, subscription) in node.subscriptions(ofBare: bare) {
            switch subscription.state {
            case .pending:
                switch affiliation(of: jid, at: node) {
                case .owner, .publisher, .member: settle(jid, isAllowed: true, at: node)
                case .outcast, .publishOnly: settle(jid, isAllowed: false, at: node)
                case .none: break
                }
            case .subscribed:
                guard !mayRead(jid, node) else { continue }
                setSubscription(nil, of: jid, at: node)
                notifySubscription(of: jid, at: node, "none")
            }
        }
    }
}
