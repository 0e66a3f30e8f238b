import ServerKit

/// Delivers messages to the resources of local accounts (RFC 6121 §8.5, RFC 6120 §10.5).
final class Messages: Module {
    static let info = ModuleInfo(
        "messages", "Delivers messages to the clients of local accounts",
        implements: [.rfc(6121)],
        group: .core)

    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        host.claim(.messageArrived) { self.deliver($0) }
    }

    /// Acts on a message as the table in RFC 6121 §8.5.4 says. Always takes it.
    private func deliver(_ event: MessageEvent) -> Bool {
        let message = event.message
        if let resourcepart = message.to?.resourcepart {
            if let resource = event.account.resource(resourcepart) {
                // RFC 6121 §8.5.3.1: whatever its type, and whether or not the resource is available.
                give(event, to: [resource])
            } else {
                deliverWithoutMatch(event)
            }
            return true
        }
        switch message.kind {
        case .chat, .normal:
            deliverToAll(event)
        case .headline:
            // RFC 6121 §8.5.2.1.1 and §8.5.2.2.1: to all, or to nobody and not a word.
            let resources = event.account.resourcesForMessages
            if !resources.isEmpty { give(event, to: resources) }
        case .groupchat:
            // RFC 6121 §8.5.2.1.1: rooms write to full JIDs.
            event.bounce(.serviceUnavailable)
        case .error:
            break  // RFC 6121 §8.5.2.1.1.
        }
        return true
    }

    /// A message to a resource that is not there. RFC 6121 §8.5.3.2.1.
    private func deliverWithoutMatch(_ event: MessageEvent) {
        switch event.message.kind {
        case .chat: deliverToAll(event)
        // RFC 6120 §10.5.4 would treat "normal" like "chat"; for instant messaging RFC 6121 is stricter. The sender is
        // told rather than left in the dark.
        case .normal, .groupchat: event.bounce(.serviceUnavailable)
        case .headline, .error: break
        }
    }

    /// A message to whatever client the user is at.
    ///
    /// RFC 6121 §8.5.2.1.1 lets us choose the most available resources or all. It is all of them: priorities rarely
    /// say where somebody is, and a copy too many costs less than a message unseen. The opt-in that it asks for in the
    /// case of "chat" is the non-negative priority, as in all servers in wide use.
    private func deliverToAll(_ event: MessageEvent) {
        let resources = event.account.resourcesForMessages
        if !resources.isEmpty { return give(event, to: resources) }
        // RFC 6121 §8.5.2.2.1: kept for later, or returned.
        let hooks = event.account.host.hooks
        if hooks.messageUndelivered.isClaimed(event) {
            hooks.messageDelivered.notify(event)
        } else {
            event.bounce(.serviceUnavailable)
        }
    }

    /// Nothing is rewritten, least of all the address (RFC 6121 §8.5.2.1.1).
    private func give(_ event: MessageEvent, to resources: [Resource]) {
        for resource in resources { resource.send(event.message) }
        var event = event
        event.reached = resources
        event.account.host.hooks.messageDelivered.notify(event)
    }
}

extension Account {
    /// The resources that get what is sent to the bare JID: available, and with a priority that is not negative
    /// (RFC 6121 §8.5.2.1.1).
    fileprivate var resourcesForMessages: [Resource] {
        resources.filter(\.takesMessages)
    }
}
