import ServerKit

/// Where a client wants its notifications sent. XEP-0357 §5.
struct PushRegistration: Codable, Sendable {
    /// The push service.
    let service: JID
    /// What the service calls the client.
    let node: String?
    /// The form with publish options, as the client wrote it; mostly it holds a secret.
    let publishOptions: String?
    /// When it was enabled last: a number that grows.
    var rank: Int?
    /// What came since the client was here last, as far as it was pushed.
    var unread: Int?

    /// Reads an `<enable/>`.
    init(_ enable: Element, sizeLimit: Int) throws(StanzaError) {
        let target = try PushTarget(enable, sizeLimit: sizeLimit)
        service = target.service
        node = target.node
        publishOptions = target.publishOptions
    }

    var target: PushTarget { PushTarget(service: service, node: node, publishOptions: publishOptions) }

    /// Service and node together: what is enabled again replaces what was. XEP-0357 §5.
    var key: String { target.key }
}

/// The registrations of a host's accounts.
@ServerActor
final class PushRegistry {
    /// An account's registrations, by key.
    enum Registrations: AccountKey { static let defaultValue: [String: PushRegistration] = [:] }
    /// The keys of those that belong to a session.
    enum Session: ResourceKey { static let defaultValue: Set<String> = [] }

    private let host: ModuleHost
    private let store: MapStore<PushRegistration>

    init(_ host: ModuleHost) {
        self.host = host
        store = host.map("push")
    }

    func load(_ account: Account) async throws -> [String: PushRegistration] {
        let entries = try await store.entries(of: account.name)
        return Dictionary(entries.map { ($0.key, $0.value) }) { $1 }
    }

    func registrations(of account: Account) -> [String: PushRegistration] { account[Registrations.self] }

    func keys(of resource: Resource) -> Set<String> { resource[Session.self] }

    /// Adds a registration, or puts it in the place of the one with its key. It belongs to this resource from now on.
    ///
    /// Clients seldom take back what they do not use any more. So the oldest that belongs to no session makes room.
    ///
    /// - Returns: the keys of those that are replaced or removed.
    func add(
        _ registration: PushRegistration, for resource: Resource, limit: Int
    ) throws(StanzaError) -> [String] {
        let account = resource.account
        let key = registration.key
        var changed = [key]
        if account[Registrations.self][key] == nil, account[Registrations.self].count >= limit {
            let used = account.resources.reduce(into: Set<String>()) { $0.formUnion(keys(of: $1)) }
            let oldest = account[Registrations.self].filter { !used.contains($0.key) }
                .min { ($0.value.rank ?? 0, $0.key) < ($1.value.rank ?? 0, $1.key) }
            guard let oldest else { throw .resourceConstraint("At most \(limit) clients are notified.") }
            remove(oldest.key, of: account.name)
            changed.append(oldest.key)
        }
        for other in account.resources where keys(of: other).contains(key) { other[Session.self].remove(key) }
        resource[Session.self].insert(key)
        var registration = registration
        registration.rank = (account[Registrations.self].values.compactMap(\.rank).max() ?? 0) + 1
        account[Registrations.self][key] = registration
        store.set(registration, key, of: account.name)
        return changed
    }

    func remove(_ key: String, of account: String) {
        store.delete(key, of: account)
        guard let account = host.accounts.loadedAccount(account) else { return }
        account[Registrations.self][key] = nil
        for resource in account.resources where keys(of: resource).contains(key) { resource[Session.self].remove(key) }
    }

    /// Remembers how much a client has not seen.
    func setUnread(_ count: Int, _ key: String, of account: Account) {
        guard var registration = account[Registrations.self][key], (registration.unread ?? 0) != count else { return }
        registration.unread = count == 0 ? nil : count
        account[Registrations.self][key] = registration
        store.set(registration, key, of: account.name)
    }
}
