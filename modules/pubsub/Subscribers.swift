import ServerKit

extension Feature {
    /// Owners manage subscriptions. XEP-0060 §8.8.
    static let subscribers = Feature(
        ["manage-subscriptions"],
        [
            Operation(.get, "subscriptions", .pubsubOwner) { try $0.subscribers($1) },
            Operation(.set, "subscriptions", .pubsubOwner) { try $0.setSubscribers($1) },
        ])
}

extension Service {
    /// XEP-0060 §8.8.1.2: without those who wait.
    fileprivate func subscribers(_ request: Request) throws -> Element {
        let node = try findOwned(request)
        let subscribed = node.subscriptions.filter { $0.subscription.state == .subscribed }
        return Element("subscriptions", nil, ["node": node.name]) {
            for (jid, _) in subscribed.sorted(by: { $0.jid.description < $1.jid.description }) {
                Element("subscription", nil, ["jid": jid.description, "subscription": "subscribed"])
            }
        }
    }

    /// All changes are made, or none.
    fileprivate func setSubscribers(_ request: Request) throws -> Element? {
        let node = try findOwned(request)
        var changes: [(JID, Bool)] = []
        for element in request.action.children("subscription") {
            guard let jid = element.jid("jid") else { throw StanzaError.jidMalformed }
            switch element["subscription"] {
            case "subscribed": changes.append((jid, true))
            case "none": changes.append((jid, false))
            case nil: break
            // XEP-0060 §8.8.2.4: nobody can be made to wait, or to configure.
            case _: throw StanzaError.notAcceptable
            }
        }
        let added = Set(changes.filter { $0.1 && node.relations[$0.0] == nil }.map(\.0)).count
        guard node.relations.count + added <= options.relationLimit else { throw StanzaError.resourceConstraint }
        // A subscription that does not let its owner read would be cancelled at the next event.
        for (jid, isSubscribed) in changes where isSubscribed {
            if node.configuration.accessModel != .authorize, let refusal = refusal(of: jid, at: node) {
                throw StanzaError(.notAcceptable, nil, "\(jid) may not read the node: \(refusal.condition.rawValue).")
            }
        }
        for (jid, isSubscribed) in changes { settle(jid, isAllowed: isSubscribed, at: node) }
        return nil
    }

    /// Decides about a subscription, or ends it, and tells the subscriber if that changed anything. XEP-0060 §8.6,
    /// §8.8.4.
    func settle(_ jid: JID, isAllowed: Bool, at node: Node) {
        let old = node.subscription(of: jid)
        if isAllowed {
            guard old?.state != .subscribed else { return }
            var subscription = old ?? Subscription(state: .subscribed)
            subscription.state = .subscribed
            setSubscription(subscription, of: jid, at: node)
            notifySubscription(of: jid, at: node, "subscribed")
            if node.configuration.sendLastItem != .never { sendLastItem(of: node, toSubscriber: jid) }
        } else if old != nil {
            setSubscription(nil, of: jid, at: node)
            notifySubscription(of: jid, at: node, "none")
        }
    }
}
