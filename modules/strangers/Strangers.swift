import ServerKit

/// Keeps strangers' messages from users who want that. Off until a user, or the administrator for all, switches it on.
///
/// A stranger is everybody who is not in the user's roster, whom the user has not written to since it was switched on,
/// and to whom no client of the user shows its presence, as clients do to a room that they join. The user's own
/// devices, the server and its services are none. An invitation to a room is judged by who invites, as the room says.
///
/// A message of a stranger is answered as if nobody had the address; a subscription request is forgotten. What is said
/// in rooms and errors pass: the former is the room's business, the latter answer something. So do requests to clients,
/// which the module `presence` can refuse with its option `hide_resources`.
final class Strangers: Module {
    static let info = ModuleInfo(
        "strangers", "Lets users refuse the messages of those they do not know",
        group: .recommended)

    struct Options: ModuleOptions {
        let messages: Policy
        let subscriptions: Policy
        let limit: Int

        init(_ config: inout OptionReader) {
            messages = config.choice(
                "messages", default: .allow,
                "What becomes of strangers' messages to users who have not chosen themselves.")
            subscriptions = config.choice(
                "subscriptions", default: .allow,
                "What becomes of strangers' subscription requests to users who have not chosen themselves.")
            limit = config.int(
                "max_known", default: 500, in: 10...100_000,
                "Addresses outside of the roster that are known because the user wrote to them; the one that was new"
                    + " the longest time ago is forgotten for one more.")
        }
    }

    enum Policy: String, CaseIterable, Sendable, Codable { case allow, refuse }

    private var options: Options

    init(options: Options) {
        self.options = options
    }

    func reconfigure(_ options: Options) -> Bool {
        self.options = options
        return true
    }

    func load(into host: ModuleHost) {
        let stores = AcquaintanceStores(host)
        host.loadWithAccounts(Loaded.self) { try await Acquaintances(of: $0, in: stores) }
        host.filter(.messageArrived) { self.receive($0) }
        host.filter(.presenceArrived) { self.receive($0) }
        host.observe(.messageSent) { event in
            if !event.message.isError { self.meet(event.message.to, event.account) }
        }
        // Whoever subscribes to a node elsewhere expects to hear from it.
        host.filter(.iqSent) { event in
            if event.iq.kind == .set, let account = event.account { self.meet(event.iq.to, account) }
            return .pass
        }
        addCommand(host)
    }

    private enum Loaded: AccountKey { static let defaultValue: Acquaintances? = nil }

    /// Whom an account knows, and what it chose; nil until that has been read.
    func acquaintances(of account: Account) -> Acquaintances? { account[Loaded.self] }

    /// What becomes of messages and of subscription requests, by the user's choice or the administrator's.
    func policy(of acquaintances: Acquaintances) -> StrangerChoice {
        acquaintances.choice ?? StrangerChoice(messages: options.messages, subscriptions: options.subscriptions)
    }

    // MARK: Filtering

    private func receive(_ event: MessageEvent) -> Verdict {
        let message = event.message
        guard let known = event.account[Loaded.self], policy(of: known).messages == .refuse else { return .pass }
        switch message.kind {
        case .error, .groupchat: return .pass
        case .chat, .headline, .normal: break
        }
        guard let from = message.from, !isKnown(from, to: event.account, known) else { return .pass }
        // A room writes from a bare address, which no client can (XEP-0045 §7.8.2). Whom the user knows may have it ask;
        // the user and this server are in no need to.
        if from.isBare, from.localpart != nil, let inviter = message.mediatedInvitation?.jid("from"),
            inviter.bare != event.account.jid, !isOurService(inviter, event.account.host),
            isKnown(inviter, to: event.account, known)
        {
            return .pass
        }
        // RFC 6121 §8.5.1, §8.5.4: as an address that nobody has would answer.
        return message.kind == .headline ? .drop : .bounce(.serviceUnavailable)
    }

    private func receive(_ event: PresenceEvent) -> Verdict {
        guard event.presence.kind == .subscribe, let from = event.presence.from, let known = event.account[Loaded.self],
            policy(of: known).subscriptions == .refuse
        else { return .pass }
        return isKnown(from, to: event.account, known) ? .pass : .drop
    }

    private func isKnown(_ jid: JID, to account: Account, _ known: Acquaintances) -> Bool {
        let host = account.host
        if jid.bare == account.jid || known.contains(jid.bare) || isOurService(jid, host) { return true }
        if host.service((any ContactList).self)?.contains(jid, account: account) == true { return true }
        guard let broadcast = host.service((any PresenceBroadcast).self) else { return false }
        return account.resources.contains { broadcast.hasDirectedPresence(from: $0, to: jid) }
    }

    /// The server itself, or whatever is no user on a domain that is served here.
    private func isOurService(_ jid: JID, _ host: Host) -> Bool {
        guard host.router.entity(for: jid.domainpart) != nil else { return false }
        return jid.localpart == nil || host.server.host(jid.domainpart) == nil
    }

    // MARK: Getting to know

    /// The user writes to somebody, who may write back.
    private func meet(_ jid: JID?, _ account: Account) {
        guard let known = account[Loaded.self], policy(of: known).isInForce, let jid = jid?.bare,
            !known.contains(jid), jid != account.jid, !isOurService(jid, account.host),
            account.host.service((any ContactList).self)?.contains(jid, account: account) != true
        else { return }
        known.insert(jid, at: account.host.server.clock.date, limit: options.limit)
    }
}
