import ServerKit

extension Feature {
    /// What happens without being asked for. XEP-0060 §5.4, §12.14.
    static let delivery = Feature(["subscription-notifications", "meta-data"])
    /// The same at accounts, where it is known who is there. XEP-0060 §9.
    static let eventing = Feature([
        "auto-subscribe", "filtered-notifications", "last-published", "presence-notifications", "presence-subscribe",
        "pubsub-on-a-jid",
    ])
}

/// Telling those who follow a node. XEP-0060 §7.1.2, XEP-0163 §4.3.
extension Service {
    /// Tells of an item.
    func notify(_ node: Node, of item: Item, by publisher: JID) {
        notify(node, items(item, of: node), by: publisher)
    }

    /// Tells that an item is no more. XEP-0060 §7.2.2.1.
    func notifyRetraction(of id: String, at node: Node, by publisher: JID) {
        let content = Element("items", .pubsubEvent, ["node": node.name]) { Element("retract", nil, ["id": id]) }
        notify(node, content, by: publisher)
    }

    /// The item as an event has it.
    private func items(_ item: Item, of node: Node) -> Element {
        let configuration = node.configuration
        return Element("items", .pubsubEvent, ["node": node.name]) {
            item.element(
                .pubsubEvent, withPayload: configuration.deliversPayloads,
                withPublisher: configuration.itemReply == .publisher)
        }
    }

    /// Sends an event to everybody who follows the node.
    ///
    /// - Parameter audience: to whom, if that had to be found out before.
    func notify(_ node: Node, _ event: Element, by publisher: JID, audience: [JID]? = nil) {
        let audience = audience ?? self.audience(of: node)
        guard !audience.isEmpty else { return }
        let message = message(event, node)
        // XEP-0163 §4.3.1 rule 3: which of the owner's clients it was, for those who may know that it is there.
        var attributed = message
        if publisher.isFull, home.ownsEverything(publisher) {
            attributed.payload.append(
                Element("addresses", .addresses) {
                    Element("address", nil, ["type": "replyto", "jid": publisher.description])
                })
        }
        for receiver in audience {
            let mayKnow = home.ownsEverything(receiver) || home.seesPresence(receiver)
            send(mayKnow ? attributed : message, to: receiver)
        }
    }

    private func message(_ event: Element, _ node: Node) -> Message {
        Message(
            from: home.address, id: RandomToken.make(bytes: 8), kind: node.configuration.notificationType.kind
        ) {
            Element("event", .pubsubEvent) { event }
        }
    }

    private func send(_ message: Message, to receiver: JID) {
        var copy = message
        copy.to = receiver
        home.host.router.route(copy)
    }

    /// Who is told of what happens at a node. XEP-0163 §4.3.2.
    ///
    /// - Parameter isEnd: whether the node is going away, which those must know, too, who wait for their approval.
    func audience(of node: Node, isEnd: Bool = false) -> [JID] {
        let configuration = node.configuration
        guard configuration.deliversNotifications else { return [] }
        let interested = home.interestedResources(in: node.name)
        var result = interested.filter { isAutoSubscribed($0, to: node) && !home.isBlocked($0) }
        var seen = Set(result)
        for (jid, subscription) in node.subscriptions {
            let isPending = subscription.state == .pending
            guard isPending ? isEnd : subscription.isDelivered else { continue }
            if !isPending, !mayRead(jid, node) {
                cancel(jid, at: node)
                continue
            }
            guard !home.isBlocked(jid) else { continue }
            for address in addresses(of: jid, configuration, interested) where seen.insert(address).inserted {
                result.append(address)
            }
        }
        return result
    }

    /// Where a subscriber gets notifications. XEP-0163 §4.3.1 rule 4, §4.3.2.
    private func addresses(of jid: JID, _ configuration: NodeConfiguration, _ interested: [JID]) -> [JID] {
        guard jid.isBare, jid.localpart != nil else { return [jid] }
        let available = interested.filter { $0.bare == jid }
        if !available.isEmpty { return available }
        return configuration.presenceBasedDelivery ? [] : [jid]
    }

    /// Ends the subscription of somebody who has lost access. XEP-0163 §7.1 wants that done at once; whoever is not
    /// told of anything any more cannot tell the difference.
    private func cancel(_ jid: JID, at node: Node) {
        setSubscription(nil, of: jid, at: node)
        notifySubscription(of: jid, at: node, "none")
    }

    // MARK: Subscriptions

    /// Tells a subscriber where it stands. XEP-0060 §12.14.
    func notifySubscription(of jid: JID, at node: Node, _ state: String) {
        guard !home.isBlocked(jid) else { return }
        send(message(subscription(jid, node, state), node), to: jid)
    }

    /// Tells the owners of a subscriber who came or went. XEP-0060 §16.4.4, notify_sub.
    func notifyOwners(of node: Node, _ jid: JID, _ state: String) {
        guard node.configuration.notifiesSubscriptions else { return }
        let message = message(subscription(jid, node, state), node)
        for owner in owners(of: node) { send(message, to: owner) }
    }

    private func subscription(_ jid: JID, _ node: Node, _ state: String) -> Element {
        Element(
            "subscription", .pubsubEvent,
            ["node": node.name, "jid": jid.description, "subscription": state])
    }

    // MARK: The last item

    /// Sends somebody the last item, as a late notification. XEP-0060 §6.1.7, XEP-0163 §4.3.4.
    func sendLastItem(of node: Node, to receiver: JID) async {
        guard node.configuration.deliversNotifications, node.configuration.persistsItems,
            let item = try? await newestItem(of: node), self.node(node.name) === node
        else { return }
        var message = message(items(item, of: node), node)
        message.payload.append(Delay(stamp: item.published, from: home.address).element)
        send(message, to: receiver)
    }
}
