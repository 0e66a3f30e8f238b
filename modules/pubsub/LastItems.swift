import ServerKit

/// Sending the last item to those who come online, or may follow from now on. XEP-0163 §4.3.3, §4.3.4.
extension PubSub {
    /// It became known which nodes a resource wants to hear of.
    func sendLastItems(_ event: CapabilitiesEvent) {
        guard let service = service(of: event.account) else { return }
        service.sendLastItems(of: event.newlyWantedNodes, to: event.jid)
    }

    /// The user lets somebody see the own presence, and with it the nodes. What the contact's clients want has been
    /// known since they sent their presence; it was not for them then.
    func welcome(_ event: PresenceEvent) {
        guard event.presence.kind == .subscribed, let contact = event.presence.to?.bare,
            let service = service(of: event.account)
        else { return }
        for node in service.openNodes where node.configuration.sendLastItem == .onSubscriptionAndPresence {
            for jid in service.home.interestedResources(in: node.name) where jid.bare == contact {
                service.sendLastItems(of: [node.name], to: jid)
            }
        }
    }
}

extension Service {
    /// Sends a resource the last items of some nodes, one after the other.
    fileprivate func sendLastItems(of names: [String], to jid: JID) {
        let nodes = names.compactMap { node($0) }.filter {
            $0.configuration.sendLastItem == .onSubscriptionAndPresence
        }
        guard !nodes.isEmpty, !home.isBlocked(jid) else { return }
        Task { @ServerActor in
            for node in nodes where isAutoSubscribed(jid, to: node) || node.isSubscribed(jid) && mayRead(jid, node) {
                await sendLastItem(of: node, to: jid)
            }
        }
    }
}
