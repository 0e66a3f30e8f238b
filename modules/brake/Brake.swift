import ServerKit

/// Slows down accounts that suddenly write to many strangers, as those do whose password was stolen, and tells the
/// administrators: before other servers put this one on their lists.
///
/// A stranger is an address that is not in the user's roster, has not written to the user in this run of the server,
/// and to which no client of the user shows its presence, as clients do to a room. The user's own devices and this
/// server's services are none. What counts is how many different strangers are written to, or asked for a
/// subscription, not how much.
final class Brake: Module {
    static let info = ModuleInfo(
        "brake", "Slows down accounts that suddenly write to many strangers", group: .recommended)

    struct Options: ModuleOptions {
        let rate: Rate
        let reports: Bool

        init(_ config: inout OptionReader) {
            rate = config.rate(
                "strangers", default: Rate(40, per: .seconds(3_600)),
                "How many strangers an account may write to; so many may be written to at once.")
            reports = config.bool(
                "report", default: true, "Whether administrators get a message, once a day for an account.")
        }
    }

    /// What is known about one account.
    fileprivate struct Watch {
        var bucket = TokenBucket()
        /// Those who were counted, or wrote first; the oldest first.
        var known: [JID] = []
        var reportedAt: Duration?
    }

    private var options: Options
    /// By account. Kept for as long as it has something to say, whether the account is loaded or not.
    private var watches: [String: Watch] = [:]
    private weak var host: Host?

    /// How many addresses are remembered for an account.
    private static let memory = 500

    init(options: Options) {
        self.options = options
    }

    func reconfigure(_ options: Options) -> Bool {
        self.options = options
        return true
    }

    func load(into host: ModuleHost) {
        self.host = host.host
        host.filter(.messageSent) { event in
            guard !event.message.isError, event.message.kind != .groupchat else { return .pass }
            return self.judge(event.message.to, event.account)
        }
        host.filter(.presenceSent) { event in
            event.presence.kind == .subscribe ? self.judge(event.presence.to, event.account) : .pass
        }
        host.observe(.messageArrived) { event in
            if !event.message.isError { self.meet(event.message.from, event.account) }
        }
        host.every(.seconds(600)) { self.forget(now: host.clock.now) }
    }

    private func judge(_ to: JID?, _ account: Account) -> Verdict {
        guard let to = to?.bare, isStranger(to, to: account) else { return .pass }
        let now = account.host.server.clock.now
        var watch = watches[account.name] ?? Watch()
        defer { watches[account.name] = watch }
        guard !watch.known.contains(to) else { return .pass }
        guard let pause = watch.bucket.take(1, limit: options.rate, now: now) else {
            watch.remember(to, limit: Self.memory)
            return .pass
        }
        let minutes = max(1, Int(pause / .seconds(60)))
        if options.reports, watch.reportedAt.map({ now - $0 > .seconds(86_400) }) ?? true {
            watch.reportedAt = now
            report(account)
        }
        return .bounce(
            StanzaError(
                .policyViolation, .wait,
                "You have written to many people you do not know. Try again in \(minutes) minutes."))
    }

    private func isStranger(_ jid: JID, to account: Account) -> Bool {
        let host = account.host
        if jid == account.jid || host.isAdmin(account.jid) { return false }
        if host.router.entity(for: jid.domainpart) != nil,
            jid.localpart == nil || host.server.host(jid.domainpart) == nil
        {
            return false
        }
        if host.service((any ContactList).self)?.contains(jid, account: account) == true { return false }
        guard let broadcast = host.service((any PresenceBroadcast).self) else { return true }
        return !account.resources.contains { broadcast.hasDirectedPresence(from: $0, to: jid) }
    }

    /// Whoever wrote first may be answered. Kept for accounts that are watched anyway, and those that are about to be.
    private func meet(_ from: JID?, _ account: Account) {
        guard let from = from?.bare, from != account.jid, isStranger(from, to: account) else { return }
        watches[account.name, default: Watch()].remember(from, limit: Self.memory)
    }

    private func report(_ account: Account) {
        let host = account.host
        host.server.log.warning(
            "An account writes to many strangers", metadata: ["jid": "\(account.jid)", "limit": "\(options.rate)"])
        let text =
            "\(account.jid) writes to many strangers (more than \(options.rate)), and has been slowed down. "
            + "If its password was stolen, lock the account: martlet user lock \(account.jid)"
        for admin in Set(host.server.configuration.admins + host.configuration.admins) {
            host.router.route(
                Message(to: admin, from: host.jid, kind: .normal) {
                    Element("subject", text: "Many strangers")
                    Element("body", text: text)
                })
        }
    }

    /// Lets go of accounts that have been quiet.
    private func forget(now: Duration) {
        for (name, watch) in watches where watch.bucket.isDrained(limit: options.rate, now: now) {
            let isLoaded = host?.accounts.loadedAccount(name) != nil
            let wasReported = watch.reportedAt.map { now - $0 < .seconds(86_400) } ?? false
            if !isLoaded, !wasReported { watches[name] = nil }
        }
    }
}

extension Brake.Watch {
    fileprivate mutating func remember(_ jid: JID, limit: Int) {
        guard !known.contains(jid) else { return }
        known.append(jid)
        if known.count > limit { known.removeFirst() }
    }
}
