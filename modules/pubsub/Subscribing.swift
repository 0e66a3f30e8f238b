import ServerKit

extension Feature {
    /// Subscribing and unsubscribing. XEP-0060 §6.1, §6.2.
    static let subscribing = Feature(
        ["subscribe"],
        [
            Operation(.set, "subscribe", with: "options") { try $0.subscribe($1) },
            Operation(.set, "unsubscribe") { try $0.unsubscribe($1) },
        ])
}

extension Request {
    /// The JID in the request, which must be one of the sender's.
    ///
    /// - Throws: `other` when it belongs to somebody else.
    func subscriber(otherwise other: StanzaError) throws(StanzaError) -> JID {
        guard action["jid"] != nil else { throw .jidRequired }
        guard let jid = action.jid("jid") else { throw .invalidJID }
        guard jid.bare == from.bare else { throw other }
        return jid
    }
}

extension Service {
    fileprivate func subscribe(_ request: Request) throws -> Element {
        // XEP-0060 §6.1.3.1.
        let jid = try request.subscriber(otherwise: .invalidJID)
        let node = try find(request)
        guard node.configuration.allowsSubscriptions || isOwner(jid, of: node) else {
            throw StanzaError.unsupported("subscribe")
        }
        let old = node.subscription(of: jid)
        // XEP-0060 §6.1.3.7.
        guard old?.state != .pending else { throw StanzaError.pendingSubscription }
        var subscription = Subscription(state: .subscribed)
        if let old { subscription = old }
        if let options = request.companion {
            // XEP-0060 §6.3.7.
            guard options["node"] == nil, options["jid"] == nil else { throw StanzaError.badRequest }
            try subscription.apply(options)
        }
        if let refusal = refusal(of: jid, at: node) {
            // XEP-0060 §6.1.4: the owners decide.
            guard node.configuration.accessModel == .authorize, affiliation(of: jid, at: node) == .none else {
                throw refusal
            }
            subscription.state = .pending
        }
        // One who subscribes each resource must not take the room of all others.
        let isTooMany = old == nil && node.subscriptions(ofBare: jid.bare).count >= Self.subscriptionsPerUser
        guard !isTooMany, hasRoom(for: jid, at: node) else { throw StanzaError.tooManySubscriptions }
        setSubscription(subscription, of: jid, at: node)
        if subscription.state == .pending {
            askOwners(about: jid, at: node)
        } else if old == nil {
            begin(jid, at: node, request)
        }
        return Element("pubsub", .pubsub) {
            node.element(jid, subscription.state.rawValue)
            if request.companion != nil {
                Element("options") { subscription.form(.result).element }
            }
        }
    }

    /// Subscriptions that one bare JID may have at a node.
    private static let subscriptionsPerUser = 20

    /// A subscription has begun: its owner gets the last item after the answer. XEP-0060 §6.1.7.
    private func begin(_ jid: JID, at node: Node, _ request: Request) {
        notifyOwners(of: node, jid, "subscribed")
        guard node.configuration.sendLastItem != .never else { return }
        request.iq.afterAnswer { self.sendLastItem(of: node, toSubscriber: jid) }
    }

    func sendLastItem(of node: Node, toSubscriber jid: JID) {
        Task { @ServerActor in
            guard node.subscription(of: jid)?.isDelivered == true, !self.home.isBlocked(jid) else { return }
            await self.sendLastItem(of: node, to: jid)
        }
    }

    fileprivate func unsubscribe(_ request: Request) throws -> Element? {
        let jid = try request.subscriber(otherwise: .forbidden)
        let node = try find(request)
        // XEP-0060 §6.2.3.2.
        guard node.subscription(of: jid) != nil else { throw StanzaError.notSubscribed }
        setSubscription(nil, of: jid, at: node)
        notifyOwners(of: node, jid, "none")
        return node.element(jid, "none")
    }
}

extension Node {
    /// A subscription as answers have it.
    func element(_ jid: JID, _ state: String) -> Element {
        Element("subscription", nil, ["node": name, "jid": jid.description, "subscription": state])
    }
}
