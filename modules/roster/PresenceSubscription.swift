import ServerKit

/// Where a user and a contact stand, from the user's point of view: one of the nine states of RFC 6121 §A.1, and
/// whether the user approved of a request in advance (RFC 6121 §3.4).
///
/// The nine are three by three: what the user has of the contact's presence, and what the contact has of the user's.
/// None of the tables of §A.2 and §A.3 looks at both.
struct PresenceSubscription: Hashable, Sendable {
    enum Half: Hashable, Sendable, CaseIterable {
        case none
        /// Asked for and neither approved nor denied: "Pending Out" or "Pending In".
        case pending
        case granted
    }

    /// The user's subscription to the contact's presence.
    var to = Half.none
    /// The contact's subscription to the user's presence.
    var from = Half.none
    /// The user approved of a request that has not come yet. RFC 6121 §3.4.2.
    var isApproved = false

    /// What the roster shows as "subscription". RFC 6121 §2.1.2.5.
    var visible: Contact.Subscription {
        switch (to == .granted, from == .granted) {
        case (true, true): .both
        case (true, false): .to
        case (false, true): .from
        case (false, false): .none
        }
    }

    /// Whether this state needs a roster item. A contact's request alone must not make one (RFC 6121 §3.1.3).
    var needsItem: Bool { to != .none || from == .granted || isApproved }
}

/// A presence stanza that manages a subscription. RFC 6121 §3.
enum SubscriptionKind: Sendable, CaseIterable {
    case subscribe, subscribed, unsubscribe, unsubscribed

    init?(_ kind: Presence.Kind) {
        switch kind {
        case .subscribe: self = .subscribe
        case .subscribed: self = .subscribed
        case .unsubscribe: self = .unsubscribe
        case .unsubscribed: self = .unsubscribed
        case .available, .error, .probe, .unavailable: return nil
        }
    }
}

/// What a subscription stanza does to a ``PresenceSubscription``.
struct SubscriptionTransition: Hashable, Sendable {
    let old: PresenceSubscription
    var new: PresenceSubscription
    /// Whether the stanza goes on: to the contact if it is the user's own, to the user if it is the contact's.
    var passesOn = false
    /// What the server answers in the user's name.
    var reply: Presence.Kind?

    /// From now on the contact sees the user's presence.
    var startsShowing: Bool { old.from != .granted && new.from == .granted }
    /// From now on the contact does not see the user's presence any more.
    var stopsShowing: Bool { old.from == .granted && new.from != .granted }
}

extension PresenceSubscription {
    /// The user sends a subscription stanza. RFC 6121 §A.2.
    func sending(_ kind: SubscriptionKind) -> SubscriptionTransition {
        var result = SubscriptionTransition(old: self, new: self)
        switch kind {
        case .subscribe:  // Table 2.
            result.passesOn = true
            if to == .none { result.new.to = .pending }
        case .unsubscribe:  // Table 3.
            result.passesOn = true
            result.new.to = .none
        case .subscribed:  // Table 4.
            switch from {
            case .none: result.new.isApproved = true
            case .pending:
                result.passesOn = true
                result.new.from = .granted
            case .granted: break
            }
        case .unsubscribed:  // Table 5; §3.2.2 takes a pre-approval back.
            result.passesOn = from != .none
            result.new.from = .none
            result.new.isApproved = false
        }
        return result
    }

    /// The contact's subscription stanza arrives. RFC 6121 §A.3.
    func receiving(_ kind: SubscriptionKind) -> SubscriptionTransition {
        var result = SubscriptionTransition(old: self, new: self)
        switch kind {
        case .subscribe:  // Table 6.
            switch from {
            case .none where isApproved:
                // §3.4.2. The approval has served its purpose; no record of it is kept.
                result.new.isApproved = false
                result.new.from = .granted
                result.reply = .subscribed
            case .none:
                result.passesOn = true
                result.new.from = .pending
            case .pending: break
            case .granted: result.reply = .subscribed
            }
        case .unsubscribe:  // Table 7.
            guard from != .none else { break }
            result.passesOn = true
            result.new.from = .none
            result.reply = .unsubscribed
        case .subscribed:  // Table 8.
            guard to == .pending else { break }
            result.passesOn = true
            result.new.to = .granted
        case .unsubscribed:  // Table 9.
            guard to != .none else { break }
            result.passesOn = true
            result.new.to = .none
        }
        return result
    }
}
