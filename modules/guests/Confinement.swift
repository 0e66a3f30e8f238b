import ServerKit

/// Holds guests to their conversation, in both directions.
@ServerActor
final class Confinement {
    private let host: ModuleHost
    private let book: InvitationBook

    init(_ host: ModuleHost, _ book: InvitationBook) {
        self.host = host
        self.book = book
    }

    func confine() {
        host.filter(.messageSent) { self.judge(.message($0.message), of: $0.account, $0.origin) }
        host.filter(.presenceSent) { self.judge(.presence($0.presence), of: $0.account, $0.origin) }
        host.filter(.iqSent) { event in
            guard let account = event.account else { return .pass }
            let origin = event.iq.from?.resourcepart.flatMap { account.resource($0) }
            return self.judge(.iq(event.iq), of: account, origin)
        }
        host.filter(.iqAnswer) { self.passAnswer($0) }
        host.filter(.messageArrived) { self.receive($0) }
        host.filter(.presenceArrived) { self.receive($0) }
        host.filter(.iqArrived) { event in
            guard let account = event.account, account.isTemporary, !self.hears(account, event.iq.from) else {
                return .pass
            }
            return .bounce(.serviceUnavailable)
        }
    }

    // MARK: What guests send

    private func judge(_ stanza: Stanza, of account: Account, _ origin: Resource?) -> Verdict {
        guard account.isTemporary else { return .pass }
        guard let error = objection(to: stanza, of: account) else { return .pass }
        // It goes straight to the client: from the address that it wrote to, the guest would get nothing.
        if Self.isAnswered(stanza), let refusal = stanza.bounced(error) { origin?.send(refusal) }
        return .drop
    }

    /// Presence is answered where the client waits for what comes of it: to enter a room, to subscribe.
    private static func isAnswered(_ stanza: Stanza) -> Bool {
        guard case .presence(let presence) = stanza else { return true }
        return presence.kind == .available || presence.kind == .subscribe
    }

    private func objection(to stanza: Stanza, of account: Account) -> StanzaError? {
        guard let guest = book.guest(account) else { return .notAllowed }
        if let error = count(guest) { return error }
        switch stanza {
        case .message(let message): return objection(to: message, of: guest, account)
        case .presence(let presence): return objection(to: presence, of: guest, account)
        case .iq(let iq): return objection(to: iq, of: guest, account)
        }
    }

    private func count(_ guest: Guest) -> StanzaError? {
        let rate = book.options.rate
        guard let pause = guest.count(rate, now: host.clock.now) else { return nil }
        let seconds = max(1, pause.components.seconds)
        return StanzaError(
            .resourceConstraint, .wait, "Guests may send \(rate) here. Try again in \(seconds) s.")
    }

    private static let elsewhere = StanzaError.notAllowed("Guests can write to those whom they were invited to.")

    private func objection(to message: Message, of guest: Guest, _ account: Account) -> StanzaError? {
        guard let to = message.to, to.bare == account.jid || isPeer(to, of: guest) else { return Self.elsewhere }
        // XEP-0045 §7.8.2: the room would pass it on to anybody.
        let invites = message.payload.children("x", .mucUser).contains { $0.child("invite") != nil }
        return invites ? .notAllowed("Guests cannot invite others.") : nil
    }

    private func objection(to presence: Presence, of guest: Guest, _ account: Account) -> StanzaError? {
        if presence.kind.isSubscription { return .notAllowed("Guests have no contacts.") }
        // To everybody who is subscribed, which is nobody but the guest.
        guard let to = presence.to else { return nil }
        return to.bare == account.jid || isPeer(to, of: guest) ? nil : Self.elsewhere
    }

    private func objection(to iq: IQ, of guest: Guest, _ account: Account) -> StanzaError? {
        guard let to = iq.to, let query = iq.query else { return .badRequest }
        if to.bare == account.jid {
            let changes = to.isBare && iq.kind == .set && !Self.isHarmless(query)
            return changes ? .notAllowed("Guests keep nothing here.") : nil
        }
        if isPeer(to, of: guest) {
            let lasts = iq.kind == .set && Self.outlastsTheVisit(query)
            return lasts ? .notAllowed("Guests leave nothing behind.") : nil
        }
        if to == host.jid { return iq.kind == .get || query.is("session", .session) ? nil : Self.elsewhere }
        guard iq.kind == .get, to.isDomain, isComponent(to.domainpart) else { return Self.elsewhere }
        return guest.invitation == nil || Self.isQuestion(query) ? nil : Self.elsewhere
    }

    /// What is a set and changes nothing: the session of old clients, and to read one's archive.
    private static func isHarmless(_ query: Element) -> Bool {
        query.is("session", .session) || query.is("query", .mam)
    }

    /// What a room would keep, or act upon, when the guest is gone: a registered nick, a phone to be woken.
    private static func outlastsTheVisit(_ query: Element) -> Bool {
        query.is("query", .register) || query.namespace == .push
    }

    /// What somebody is, and whether they are there.
    private static func isQuestion(_ query: Element) -> Bool {
        query.is("query", .discoInfo) || query.is("ping", .ping)
    }

    /// Results and errors: those of the guest's client, and those that arrive for it.
    private func passAnswer(_ event: IQEvent) -> Verdict {
        guard let account = event.account, account.isTemporary else { return .pass }
        guard let guest = book.guest(account), let from = event.iq.from, let to = event.iq.to else { return .drop }
        // The account answers with its bare address.
        let isSent = from.isFull && from.bare == account.jid
        if isSent, count(guest) != nil { return .drop }
        let other = isSent ? to : from
        let isKnown = hears(account, other) || other.isDomain && isComponent(other.domainpart)
        return isKnown ? .pass : .drop
    }

    // MARK: What arrives for guests

    /// As for an address that nobody has: RFC 6121 §8.5.1, and §8.5.4 for headlines.
    private func receive(_ event: MessageEvent) -> Verdict {
        let message = event.message
        guard event.account.isTemporary, !hears(event.account, message.from) else { return .pass }
        return message.kind == .headline || message.isError ? .drop : .bounce(.serviceUnavailable)
    }

    private func receive(_ event: PresenceEvent) -> Verdict {
        let (account, presence) = (event.account, event.presence)
        guard account.isTemporary else { return .pass }
        let isHeard = hears(account, presence.from)
        switch presence.kind {
        case .available, .unavailable, .error: return isHeard ? .pass : .drop
        case .probe where isHeard: return .pass
        case .probe, .subscribe:
            // RFC 6121 §4.3.2, and the same to those in the conversation who would have a guest for a contact.
            guard isHeard || presence.kind == .probe else { return .drop }
            host.router.route(
                Presence(to: presence.from?.bare, from: account.jid, id: presence.id, kind: .unsubscribed))
            return .drop
        case .subscribed, .unsubscribe, .unsubscribed: return .drop
        }
    }

    // MARK: Who is who

    /// Whether a guest gets what comes from an address: one of its conversation, its own, or the host's.
    private func hears(_ account: Account, _ from: JID?) -> Bool {
        guard let from, let guest = book.guest(account) else { return false }
        return from.bare == account.jid || from.bare == host.jid || isPeer(from, of: guest)
    }

    /// Whether the guest is in a conversation with an address, or without an invitation on the same server.
    private func isPeer(_ jid: JID, of guest: Guest) -> Bool {
        if let invitation = guest.invitation { return invitation.peers.contains(jid.bare) }
        return jid.localpart != nil && host.router.entity(for: jid.domainpart) != nil
    }

    private func isComponent(_ domain: String) -> Bool {
        host.server.component(domain) != nil && host.server.components(of: host.host).contains { $0.domain == domain }
    }
}
