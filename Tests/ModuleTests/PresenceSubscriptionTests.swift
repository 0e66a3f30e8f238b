import ServerKit
import Testing

@testable import Modules

/// The nine states by the names of RFC 6121 §A.1.
private enum State: String, CaseIterable, Sendable {
    case none = "None"
    case noneOut = "None + Pending Out"
    case noneIn = "None + Pending In"
    case noneOutIn = "None + Pending Out+In"
    case to = "To"
    case toIn = "To + Pending In"
    case from = "From"
    case fromOut = "From + Pending Out"
    case both = "Both"

    var subscription: PresenceSubscription {
        switch self {
        case .none: PresenceSubscription()
        case .noneOut: PresenceSubscription(to: .pending)
        case .noneIn: PresenceSubscription(from: .pending)
        case .noneOutIn: PresenceSubscription(to: .pending, from: .pending)
        case .to: PresenceSubscription(to: .granted)
        case .toIn: PresenceSubscription(to: .granted, from: .pending)
        case .from: PresenceSubscription(from: .granted)
        case .fromOut: PresenceSubscription(to: .pending, from: .granted)
        case .both: PresenceSubscription(to: .granted, from: .granted)
        }
    }
}

/// One row of a table: the state, whether the stanza goes on, the new state if it changes, the automatic reply.
private struct Row: Sendable, CustomStringConvertible {
    let old: State
    let passesOn: Bool
    let new: State
    let reply: Presence.Kind?
    let isApproved: Bool

    init(
        _ old: State, _ passesOn: Bool, _ new: State? = nil, reply: Presence.Kind? = nil, approved: Bool = false
    ) {
        self.old = old
        self.passesOn = passesOn
        self.new = new ?? old
        self.reply = reply
        isApproved = approved
    }

    var description: String { old.rawValue }

    func check(_ transition: SubscriptionTransition) {
        var expected = new.subscription
        expected.isApproved = isApproved
        #expect(transition.old == old.subscription)
        #expect(transition.new == expected)
        #expect(transition.passesOn == passesOn)
        #expect(transition.reply == reply)
        let (seen, sees) = (old.subscription.from == .granted, new.subscription.from == .granted)
        #expect(transition.startsShowing == (!seen && sees))
        #expect(transition.stopsShowing == (seen && !sees))
    }
}

@Suite("Presence subscriptions (RFC 6121 §A)") struct PresenceSubscriptionTests {
    @Test("Table 2: the user sends subscribe", arguments: [
        Row(.none, true, .noneOut), Row(.noneOut, true), Row(.noneIn, true, .noneOutIn), Row(.noneOutIn, true),
        Row(.to, true), Row(.toIn, true), Row(.from, true, .fromOut), Row(.fromOut, true), Row(.both, true),
    ])
    fileprivate func sendingSubscribe(row: Row) { row.check(row.old.subscription.sending(.subscribe)) }

    @Test("Table 3: the user sends unsubscribe", arguments: [
        Row(.none, true), Row(.noneOut, true, State.none), Row(.noneIn, true), Row(.noneOutIn, true, .noneIn),
        Row(.to, true, State.none), Row(.toIn, true, .noneIn), Row(.from, true), Row(.fromOut, true, .from),
        Row(.both, true, .from),
    ])
    fileprivate func sendingUnsubscribe(row: Row) { row.check(row.old.subscription.sending(.unsubscribe)) }

    @Test("Table 4: the user sends subscribed", arguments: [
        Row(.none, false, approved: true), Row(.noneOut, false, approved: true), Row(.noneIn, true, .from),
        Row(.noneOutIn, true, .fromOut), Row(.to, false, approved: true), Row(.toIn, true, .both),
        Row(.from, false), Row(.fromOut, false), Row(.both, false),
    ])
    fileprivate func sendingSubscribed(row: Row) { row.check(row.old.subscription.sending(.subscribed)) }

    @Test("Table 5: the user sends unsubscribed", arguments: [
        Row(.none, false), Row(.noneOut, false), Row(.noneIn, true, State.none), Row(.noneOutIn, true, .noneOut),
        Row(.to, false), Row(.toIn, true, .to), Row(.from, true, State.none), Row(.fromOut, true, .noneOut),
        Row(.both, true, .to),
    ])
    fileprivate func sendingUnsubscribed(row: Row) { row.check(row.old.subscription.sending(.unsubscribed)) }

    @Test("Table 6: subscribe arrives", arguments: [
        Row(.none, true, .noneIn), Row(.noneOut, true, .noneOutIn), Row(.noneIn, false), Row(.noneOutIn, false),
        Row(.to, true, .toIn), Row(.toIn, false), Row(.from, false, reply: .subscribed),
        Row(.fromOut, false, reply: .subscribed), Row(.both, false, reply: .subscribed),
    ])
    fileprivate func receivingSubscribe(row: Row) { row.check(row.old.subscription.receiving(.subscribe)) }

    @Test("Table 7: unsubscribe arrives", arguments: [
        Row(.none, false), Row(.noneOut, false), Row(.noneIn, true, State.none, reply: .unsubscribed),
        Row(.noneOutIn, true, .noneOut, reply: .unsubscribed), Row(.to, false),
        Row(.toIn, true, .to, reply: .unsubscribed), Row(.from, true, State.none, reply: .unsubscribed),
        Row(.fromOut, true, .noneOut, reply: .unsubscribed), Row(.both, true, .to, reply: .unsubscribed),
    ])
    fileprivate func receivingUnsubscribe(row: Row) { row.check(row.old.subscription.receiving(.unsubscribe)) }

    @Test("Table 8: subscribed arrives", arguments: [
        Row(.none, false), Row(.noneOut, true, .to), Row(.noneIn, false), Row(.noneOutIn, true, .toIn),
        Row(.to, false), Row(.toIn, false), Row(.from, false), Row(.fromOut, true, .both), Row(.both, false),
    ])
    fileprivate func receivingSubscribed(row: Row) { row.check(row.old.subscription.receiving(.subscribed)) }

    @Test("Table 9: unsubscribed arrives", arguments: [
        Row(.none, false), Row(.noneOut, true, State.none), Row(.noneIn, false), Row(.noneOutIn, true, .noneIn),
        Row(.to, true, State.none), Row(.toIn, true, .noneIn), Row(.from, false), Row(.fromOut, true, .from),
        Row(.both, true, .from),
    ])
    fileprivate func receivingUnsubscribed(row: Row) { row.check(row.old.subscription.receiving(.unsubscribed)) }

    @Test("A pre-approval answers the request, and can be taken back (§3.4)", arguments: [
        (State.none, State.from), (.noneOut, .fromOut), (.to, .both),
    ])
    fileprivate func preApproval(old: State, new: State) {
        let approved = old.subscription.sending(.subscribed).new
        #expect(approved.needsItem)
        let arrival = approved.receiving(.subscribe)
        #expect(arrival.new == new.subscription)
        #expect(arrival.reply == .subscribed)
        #expect(!arrival.passesOn)
        #expect(arrival.startsShowing)
        let takenBack = approved.sending(.unsubscribed)
        #expect(takenBack.new == old.subscription)
        #expect(!takenBack.passesOn)
        // Neither a probe's answer nor the contact's own stanzas cancel it (§4.3.2).
        #expect(approved.receiving(.unsubscribe).new == approved)
        #expect(approved.receiving(.unsubscribed).new.isApproved)
    }

    @Test("The states show in the roster as §A.1 says", arguments: [
        (State.none, "none", false), (.noneOut, "none", true), (.noneIn, "none", false), (.noneOutIn, "none", true),
        (.to, "to", true), (.toIn, "to", true), (.from, "from", true), (.fromOut, "from", true),
        (.both, "both", true),
    ])
    fileprivate func visible(state: State, subscription: String, needsItem: Bool) {
        #expect(state.subscription.visible.rawValue == subscription)
        #expect(state.subscription.needsItem == needsItem)
    }

    @Test("A stored item comes back as it was", arguments: State.allCases)
    fileprivate func stored(state: State) throws {
        let jid = try #require(JID("juliet@capulet.example"))
        var item = RosterItem(jid: jid)
        item.subscription = state.subscription
        if item.subscription.from == .pending { item.subscription.from = .none }
        #expect(StoredRosterItem(item).item(for: jid) == item)
    }

    @Test("Whatever arrives in whatever order, two rosters agree once each has heard the other")
    func agreement() {
        // A deterministic walk over long sequences of what either side may do.
        var seed: UInt64 = 1
        var romeo = PresenceSubscription()
        var juliet = PresenceSubscription()
        func next(_ bound: UInt64) -> Int {
            seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int((seed >> 33) % bound)
        }
        for _ in 0..<2_000 {
            let kind = SubscriptionKind.allCases[next(4)]
            if next(2) == 0 { exchange(kind, &romeo, &juliet) } else { exchange(kind, &juliet, &romeo) }
            #expect(romeo.to == juliet.from && romeo.from == juliet.to)
        }
    }

    private func exchange(
        _ kind: SubscriptionKind, _ sender: inout PresenceSubscription, _ receiver: inout PresenceSubscription
    ) {
        let sent = sender.sending(kind)
        sender = sent.new
        guard sent.passesOn else { return }
        let received = receiver.receiving(kind)
        receiver = received.new
        guard let reply = received.reply.flatMap({ SubscriptionKind($0) }) else { return }
        sender = sender.receiving(reply).new
    }
}
