import ServerKit

/// Blocking Command (XEP-0191): users who do not want to hear from somebody any more.
///
/// It is polite: subscriptions stay as they are, and to those who are blocked the user seems to be offline (§4).
final class Blocking: Module {
    static let info = ModuleInfo(
        "blocking", "Lets users block addresses",
        implements: [.xep(191, "1.3")],
        group: .recommended)

    struct Options: ModuleOptions {
        let limit: Int

        init(_ config: inout OptionReader) {
            limit = config.int(
                "max_items", default: 2_000, in: 10...100_000, "Addresses that one user may block at a time.")
        }
    }

    private(set) var options: Options
    private(set) var store: MapStore<[UInt8]>?
    private(set) var storage: Storage?
    private(set) var observers: HookList<BlockEvent>?

    init(options: Options) {
        self.options = options
    }

    func reconfigure(_ options: Options) -> Bool {
        self.options = options
        return true
    }

    func load(into host: ModuleHost) {
        let store = host.rawMap("blocklist")
        self.store = store
        storage = host.server.storage
        observers = host.host.hooks.list(.addressBlocked)
        host.loadWithAccounts(Blocked.self) { account in
            Set(try await store.entries(of: account.name).compactMap { JID($0.key) })
        }
        host.keepWithSession(IsInterested.self)
        host.advertise(.blocking, on: .host)
        host.answer(.get, "blocklist", .blocking, from: .owner) { try self.list($0) }
        host.answer(.set, "block", .blocking, from: .owner) { try self.block($0) }
        host.answer(.set, "unblock", .blocking, from: .owner) { try self.unblock($0) }
        host.filter(.messageSent) { self.send($0) }
        host.filter(.messageArrived) { self.receive($0) }
        host.filter(.presenceSent) { self.send($0) }
        host.filter(.presenceShown) { self.show($0) }
        host.filter(.presenceArrived) { self.receive($0) }
        host.filter(.iqSent) { self.send($0) }
        host.filter(.iqArrived) { self.receive($0) }
        host.filter(.iqAnswer) { self.passAnswer($0) }
        host.provide((any BlockList).self, self)
    }

    /// The addresses that an account has blocked; nil until they have been read.
    enum Blocked: AccountKey { static let defaultValue: Set<JID>? = nil }

    /// Whether a resource asked for the list and is told of its changes. XEP-0191 §3.3.
    enum IsInterested: ResourceKey { static let defaultValue = false }

    // MARK: From the user

    private func send(_ event: MessageEvent) -> Verdict {
        guard isBlocked(event.message.to, by: event.account) else { return .pass }
        return refuse(.message(event.message), event.origin)
    }

    private func send(_ event: PresenceEvent) -> Verdict {
        guard isBlocked(event.presence.to, by: event.account) else { return .pass }
        return refuse(.presence(event.presence), event.origin)
    }

    private func send(_ event: IQEvent) -> Verdict {
        guard let account = event.account, isBlocked(event.iq.to, by: account) else { return .pass }
        return refuse(.iq(event.iq), event.iq.from?.resourcepart.flatMap { account.resource($0) })
    }

    /// Tells a client that it writes to somebody who is blocked. The error bears the address of that one and would not
    /// get through to the user, so that it goes to the client at once. XEP-0191 §3.3.
    private func refuse(_ stanza: Stanza, _ origin: Resource?) -> Verdict {
        let error = StanzaError(.notAcceptable, .cancel).with(Element("blocked", .blockingErrors))
        guard let origin, let bounce = stanza.bounced(error) else { return .drop }
        guard case .iq = stanza else {
            origin.send(bounce)
            return .drop
        }
        // The answer to a request tells that what was sent before it was taken, too.
        origin.fence.whenDurable { lost in
            let failure = lost == nil ? bounce : stanza.bounced(StanzaError(.internalServerError, .wait))
            if let failure { origin.send(failure) }
        }
        return .drop
    }

    /// Presence that is sent to all contacts does not reach those who are blocked.
    private func show(_ event: PresenceEvent) -> Verdict {
        isBlocked(event.presence.to, by: event.account) ? .drop : .pass
    }

    // MARK: To the user

    private func receive(_ event: MessageEvent) -> Verdict {
        guard event.account[Blocked.self]?.isEmpty == false else { return .pass }
        guard isBlocked(event.message.from, by: event.account) else {
            // An invitation comes from the room; it is whoever invites that was blocked.
            let inviter = event.message.mediatedInvitation?.jid("from")
            return isBlocked(inviter, by: event.account) ? .drop : .pass
        }
        switch event.message.kind {
        case .chat, .normal: return .bounce(.serviceUnavailable)
        // A room that gets errors throws the user out, though only one of its occupants may be blocked; and to
        // headlines an absent user would not answer either.
        case .groupchat, .headline, .error: return .drop
        }
    }

    /// XEP-0191 §3.3: never a response.
    private func receive(_ event: PresenceEvent) -> Verdict {
        isBlocked(event.presence.from, by: event.account) ? .drop : .pass
    }

    private func receive(_ event: IQEvent) -> Verdict {
        guard let account = event.account else { return .pass }
        return isBlocked(event.iq.from, by: account) ? .bounce(.serviceUnavailable) : .pass
    }

    /// In either direction. XEP-0191 §3.3.
    private func passAnswer(_ event: IQEvent) -> Verdict {
        guard let account = event.account else { return .pass }
        return isBlocked(event.iq.from, by: account) || isBlocked(event.iq.to, by: account) ? .drop : .pass
    }
}

extension Blocking: BlockList {
    func isBlocked(_ jid: JID, by account: Account) -> Bool {
        guard let blocked = account[Blocked.self], !blocked.isEmpty, blocked.covers(jid) else { return false }
        // Not the user's own devices (XEP-0191 §5, note), nor the server they are connected to, whose domain stands for
        // the other users on it.
        return jid.domainpart != account.host.domain || !(jid.isDomain || jid.localpart == account.name)
    }

    private func isBlocked(_ jid: JID?, by account: Account) -> Bool {
        jid.map { isBlocked($0, by: account) } ?? false
    }
}

extension Set<JID> {
    /// Whether an address or one that covers it is here. XEP-0191 §6.
    func covers(_ jid: JID) -> Bool {
        contains(jid) || jid.isFull && contains(jid.bare) || !jid.isDomain && contains(jid.domainOnly)
    }
}

extension Namespace {
    /// XEP-0191 §3.1.
    static let blocking: Namespace = "urn:xmpp:blocking"
    /// XEP-0191 §3.3.
    fileprivate static let blockingErrors: Namespace = "urn:xmpp:blocking:errors"
}
