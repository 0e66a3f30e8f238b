import ServerKit

/// Last Activity (XEP-0012): when a user was here last, and how long the host has been running.
///
/// Clients may tell in their presence how long they have been idle (XEP-0256). The server passes that on as it is.
final class LastActivity: Module {
    static let info = ModuleInfo(
        "last", "Tells contacts when a user was here last",
        implements: [.xep(12, "2.0")],
        group: .recommended, scope: .domain)

    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        let store = host.store("last", of: Logout.self)
        host.advertise(.lastActivity, on: .host)
        host.advertise(.lastActivity, on: .account)
        host.answer(.get, "query", .lastActivity) { try await self.answer($0, store, host) }
        host.answer(.get, "query", .lastActivity, on: .host) { _ in
            // XEP-0012 §5.
            Element(secondsSince: host.server.startedAt, until: host.clock.now)
        }
        host.filter(.iqArrived) { self.verdict(on: $0, host) }
        host.observe(.presenceSent) { self.rememberStatus($0) }
        host.observe(.resourceClosed) { self.record($0.resource, store, host) }
    }

    // MARK: Asking

    /// Answers for the user. XEP-0012 §3.
    private func answer(
        _ request: IQRequest, _ store: KeyValueStore<Logout>, _ host: ModuleHost
    ) async throws -> Element? {
        let account = try request.owner()
        guard mayAsk(request.from, account, host) else { throw StanzaError.forbidden }
        guard account.resources.isEmpty else { return Element(seconds: 0) }
        guard let logout = try await store.value(for: account.name) else { throw StanzaError.itemNotFound }
        let (seconds, _) = host.clock.date.seconds.subtractingReportingOverflow(logout.time.seconds)
        return Element(seconds: seconds, status: logout.status)
    }

    /// A request to one of the user's clients, which answers itself if it may be asked. XEP-0012 §4.
    private func verdict(on event: IQEvent, _ host: ModuleHost) -> Verdict {
        guard let account = event.account, event.iq.to?.resourcepart != nil, event.iq.kind == .get,
            let query = event.iq.query, query.is("query", .lastActivity), let from = event.iq.from
        else { return .pass }
        return mayAsk(from, account, host) ? .pass : .bounce(.forbidden)
    }

    /// Whether somebody may know when the user is here: the user, and who sees the user's presence. XEP-0012 §8.
    private func mayAsk(_ jid: JID, _ account: Account, _ host: ModuleHost) -> Bool {
        jid.bare == account.jid
            || host.service((any ContactList).self)?.hasSubscriber(jid.bare, account: account) ?? false
    }

    // MARK: Remembering

    /// Keeps what the user said on going offline, until the stream ends.
    private func rememberStatus(_ event: PresenceEvent) {
        guard event.presence.to == nil, let resource = event.origin else { return }
        switch event.presence.kind {
        case .available: resource[Farewell.self] = nil
        case .unavailable: resource[Farewell.self] = event.presence.status
        case .error, .probe, .subscribe, .subscribed, .unsubscribe, .unsubscribed: break
        }
    }

    /// The user has logged out when the last resource is gone. XEP-0012 §3.
    private func record(_ resource: Resource, _ store: KeyValueStore<Logout>, _ host: ModuleHost) {
        let account = resource.account
        guard !account.isTemporary, account.resources.allSatisfy({ $0 === resource }) else { return }
        store.set(Logout(time: host.clock.date, status: resource[Farewell.self]), for: account.name)
    }

    private enum Farewell: ResourceKey { static let defaultValue: String? = nil }
}

/// When a user logged out, and with what words.
private struct Logout: Codable, Sendable {
    let time: Timestamp
    let status: String?
}

extension Element {
    /// The answer to a request for the last activity. XEP-0012 §2.
    fileprivate init(seconds: Int64, status: String? = nil) {
        self.init("query", .lastActivity, ["seconds": String(max(0, seconds))], text: status)
    }

    fileprivate init(secondsSince start: Duration, until now: Duration) {
        self.init(seconds: (now - start).components.seconds)
    }
}

extension Namespace {
    /// XEP-0012 §2.
    static let lastActivity: Namespace = "jabber:iq:last"
}
