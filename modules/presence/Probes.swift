import ServerKit

/// Answers to those who ask for an account's presence. RFC 6121 §4.3.2, §4.6.6.
extension PresenceExchange {
    func answerProbe(_ probe: Presence, for account: Account) {
        guard let from = probe.from, let to = probe.to else { return }
        let router = account.host.router
        let resource = to.resourcepart.flatMap { account.resource($0) }
        if account.isVisible(to: from) {
            for answer in answers(to: probe, resource, of: account) { router.route(answer.addressed(to: from)) }
        } else if let resource, hasDirectedPresence(from: resource, to: from) {
            // RFC 6121 §4.6.6: the mere fact.
            router.route(Presence(to: from, from: resource.jid))
        } else {
            // Rule 1, with the id as §4.3.2.1 says. Whether there is such an account it does not tell.
            router.route(Presence(to: from.bare, from: account.jid, id: probe.id, kind: .unsubscribed))
        }
    }

    private func answers(to probe: Presence, _ resource: Resource?, of account: Account) -> [Presence] {
        if let to = probe.to, to.isFull {
            // Only about this resource, and without details.
            guard let resource, let presence = resource.presence else {
                return [Presence(from: to, id: probe.id, kind: .unavailable)]
            }
            return [Presence(from: resource.jid, id: presence.id)]
        }
        let available = account.resources.compactMap(\.presence)
        // Rule 4; their own ids are kept.
        guard available.isEmpty else { return available }
        // Rule 3.
        let delay = account[LastSeen.self].map { Delay(stamp: $0, from: account.jid).element }
        return [Presence(from: account.jid, id: probe.id, kind: .unavailable) { delay }]
    }
}
