import ServerKit

/// When accounts last logged in. Written once a minute: a login is not worth waking the disk for.
@ServerActor
final class LoginTimes {
    private let store: KeyValueStore<Timestamp>
    private var unwritten: [String: Timestamp] = [:]

    init(_ host: ModuleHost) {
        store = host.store("logins")
        host.observe(.resourceBound) { event in
            let account = event.resource.account
            if !account.isTemporary { self.unwritten[account.name] = host.clock.date }
        }
        host.observe(.accountRemoved) { self.unwritten[$0.account.name] = nil }
        host.every(.minutes(1)) { self.write() }
        host.onUnload { self.write() }
    }

    func lastLogin(of account: String) async throws -> Timestamp? {
        if let time = unwritten[account] { return time }
        return try await store.value(for: account)
    }

    private func write() {
        for (account, time) in unwritten { store.set(time, for: account) }
        unwritten = [:]
    }
}
