import ServerKit

extension Feature {
    /// Where somebody stands with the nodes. XEP-0060 §5.6, §5.7.
    static let lists = Feature(
        ["retrieve-subscriptions", "retrieve-affiliations"],
        [
            Operation(.get, "subscriptions") { try $0.ownSubscriptions($1) },
            Operation(.get, "affiliations") { try $0.ownAffiliations($1) },
        ])
}

extension Service {
    /// One node if it is named, or all.
    private func scope(_ request: Request) throws(StanzaError) -> [Node] {
        request.nodeName == nil ? openNodes : [try find(request)]
    }

    fileprivate func ownSubscriptions(_ request: Request) throws -> Element {
        let nodes = try scope(request)
        return Element("subscriptions", nil, ["node": request.nodeName]) {
            for node in nodes {
                for (jid, subscription) in node.subscriptions(ofBare: request.from.bare) {
                    node.element(jid, subscription.state.rawValue)
                }
            }
        }
    }

    fileprivate func ownAffiliations(_ request: Request) throws -> Element {
        let nodes = try scope(request)
        return Element("affiliations", nil, ["node": request.nodeName]) {
            for node in nodes {
                let affiliation = affiliation(of: request.from, at: node)
                if affiliation != .none {
                    Element("affiliation", nil, ["node": node.name, "affiliation": affiliation.rawValue])
                }
            }
        }
    }
}
