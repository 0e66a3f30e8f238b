import ServerKit

/// What subscription stanzas do to the roster. RFC 6121 §3; the decisions are ``PresenceSubscription``'s.
extension Roster {
    /// Marks requests that the server repeats, so that no client is bothered with an error about them.
    private static let repeated = "subscribe-again"

    /// A client sends a subscription stanza. RFC 6121 §3.1.2, §3.1.5, §3.2.2, §3.3.2, §3.4.2.
    func send(_ event: PresenceEvent) -> Bool {
        guard let kind = SubscriptionKind(event.presence.kind) else { return false }
        let account = event.account
        guard let contact = event.presence.to?.bare else {
            refuse(event, .badRequest("A subscription needs an address."))
            return true
        }
        // One's own presence is seen without a subscription (RFC 6121 §4.2.2).
        guard contact != account.jid else { return true }
        guard let roster = roster(of: account) else {
            refuse(event, StanzaError(.internalServerError, .wait))
            return true
        }
        let transition = roster.subscription(to: contact).sending(kind)
        guard !transition.new.needsItem || hasRoom(for: contact, in: roster) else {
            refuse(event, .resourceConstraint("The roster is full."))
            return true
        }
        apply(transition, to: contact, in: roster, of: account)
        guard transition.passesOn else { return true }
        // RFC 6121 §3.2.2: while the contact still sees it.
        if transition.stopsShowing { account.presenceBroadcast?.sendUnavailable(of: account, to: contact) }
        // RFC 6121 §3, §3.1.2: from bare JID to bare JID.
        var presence = event.presence
        (presence.from, presence.to) = (account.jid, contact)
        account.host.router.route(presence)
        if transition.startsShowing { account.presenceBroadcast?.sendPresence(of: account, to: contact) }
        return true
    }

    /// A contact's subscription stanza arrives. RFC 6121 §3.1.3, §3.1.6, §3.2.3, §3.3.3.
    func receive(_ event: PresenceEvent) -> Bool {
        guard let kind = SubscriptionKind(event.presence.kind) else {
            return event.presence.kind == .error && event.presence.id == Self.repeated
        }
        let account = event.account
        var presence = event.presence
        guard let contact = presence.from?.bare, contact != account.jid, let roster = roster(of: account) else {
            return true
        }
        // RFC 6121 §8.5.3.2.2.
        if kind != .subscribe, let resourcepart = presence.to?.resourcepart, account.resource(resourcepart) == nil {
            return true
        }
        (presence.from, presence.to) = (contact, account.jid)
        let transition = roster.subscription(to: contact).receiving(kind)
        if transition.new.from == .pending, transition.old.from == .none {
            // A storm of requests may not fill the disk (RFC 6121 §3.1.3, second security warning).
            guard roster.requests.count < options.requestLimit else { return true }
            roster.hold(keepable(presence), from: contact)
        }
        if transition.passesOn {
            // RFC 6121 §3.1.3 against §3.1.6, §3.2.3 and §3.3.3; always before the push.
            for resource in account.resources
            where kind == .subscribe ? resource.isAvailable : resource.isInterested {
                resource.send(presence)
            }
        }
        apply(transition, to: contact, in: roster, of: account)
        if transition.stopsShowing { account.presenceBroadcast?.sendUnavailable(of: account, to: contact) }
        guard let reply = transition.reply else { return true }
        account.host.router.route(Presence(to: contact, from: account.jid, id: presence.id, kind: reply))
        // RFC 6121 §3.1.5; also for one who was subscribed already, whose server seems to have lost it.
        if reply == .subscribed { account.presenceBroadcast?.sendPresence(of: account, to: contact) }
        return true
    }

    /// Stores what changed and pushes what clients can see of it.
    private func apply(
        _ transition: SubscriptionTransition, to contact: JID, in roster: AccountRoster, of account: Account
    ) {
        if transition.new.from != .pending { roster.dropRequest(from: contact) }
        guard roster.items[contact] != nil || transition.new.needsItem else { return }
        var item = roster.items[contact] ?? RosterItem(jid: contact)
        item.subscription = transition.new
        if item.subscription.from == .pending { item.subscription.from = .none }
        guard item != roster.items[contact] else { return }
        save(item, in: roster, of: account)
    }

    /// Ends what connects an account with a contact that leaves its roster, or that it leaves. RFC 6121 §2.5.2.
    func end(_ subscription: PresenceSubscription, of account: Account, with contact: JID) {
        let router = account.host.router
        if subscription.to != .none { router.route(Presence(to: contact, from: account.jid, kind: .unsubscribe)) }
        if subscription.from == .granted { account.presenceBroadcast?.sendUnavailable(of: account, to: contact) }
        if subscription.from != .none { router.route(Presence(to: contact, from: account.jid, kind: .unsubscribed)) }
    }

    /// An account is removed: nobody is to wait for it, or to show it their presence.
    func endSubscriptions(of account: Account) {
        guard let roster = roster(of: account) else { return }
        let contacts = Set(roster.items.keys).union(roster.requests.keys)
        let subscriptions = contacts.map { ($0, roster.subscription(to: $0)) }
        roster.forgetEverything()
        for (contact, subscription) in subscriptions { end(subscription, of: account, with: contact) }
    }

    /// The request as it is kept: whole, or without its content if that is too much. RFC 6121 §3.1.3.
    private func keepable(_ request: Presence) -> Presence {
        guard request.element.xmlBytes.count > options.requestSize else { return request }
        return Presence(to: request.to, from: request.from, id: nil, kind: .subscribe)
    }

    private func refuse(_ event: PresenceEvent, _ error: StanzaError) {
        event.account.host.router.bounce(.presence(event.presence), error)
    }
}

extension Account {
    fileprivate var presenceBroadcast: (any PresenceBroadcast)? { host.service((any PresenceBroadcast).self) }
}

extension Roster: ContactList {
    func contact(_ jid: JID, of account: Account) -> Contact? {
        roster(of: account)?.items[jid.bare]?.contact
    }

    func contacts(of account: Account) -> [Contact] {
        roster(of: account)?.items.values.map(\.contact) ?? []
    }

    func hasSubscriber(_ contact: JID, account: Account) -> Bool {
        roster(of: account)?.items[contact.bare]?.subscription.from == .granted
    }

    func subscribers(of account: Account) -> [JID] {
        roster(of: account)?.items.values.compactMap { $0.subscription.from == .granted ? $0.jid : nil } ?? []
    }

    func subscriptions(of account: Account) -> [JID] {
        roster(of: account)?.items.values.compactMap { $0.subscription.to == .granted ? $0.jid : nil } ?? []
    }

    func pendingRequests(of account: Account) -> [JID] {
        roster(of: account).map { Array($0.requests.keys) } ?? []
    }

    func deliverPendingRequests(to resource: Resource) {
        let account = resource.account
        guard let roster = roster(of: account) else { return }
        // Those of blocked contacts wait until they are not blocked any more. XEP-0191 §3.3.
        let blockList = account.host.service((any BlockList).self)
        func isBlocked(_ contact: JID) -> Bool { blockList?.isBlocked(contact, by: account) ?? false }
        for (contact, request) in roster.requests where !isBlocked(contact) { resource.send(request) }
        guard account.availableResources.count == 1 else { return }
        // RFC 6121 §3.1.2: the first request may have been lost on its way.
        for item in roster.items.values where item.subscription.to == .pending && !isBlocked(item.jid) {
            account.host.router.route(
                Presence(to: item.jid, from: account.jid, id: Self.repeated, kind: .subscribe))
        }
    }
}
