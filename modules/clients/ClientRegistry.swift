import ServerKit

/// A client that is connected, or that could be.
struct AccessingClient {
    /// By which its user refers to it.
    let id: String
    /// What stands for it in what is kept; nil for one that does not identify itself.
    var client: String?
    var userAgent: UserAgent
    var firstSeen: Timestamp
    var lastSeen: Timestamp
    /// Whether it has shown that it knows the present password.
    var knowsPassword = false
    var hasToken = false
    /// Its sessions, those included that it may resume.
    var resources: [Resource] = []

    var hasAccess: Bool { knowsPassword || hasToken || !resources.isEmpty }
}

/// What is remembered about a client that identifies itself.
private struct ClientRecord: Codable, Sendable, Hashable {
    var userAgent: UserAgent
    var firstSeen: Timestamp
    var lastSeen: Timestamp
    /// The version of the last password it was seen to know.
    var passwordVersion: Int?
}

/// The clients of a host's accounts.
@ServerActor
final class ClientRegistry {
    private let host: ModuleHost
    private let options: Clients.Options
    private let store: MapStore<ClientRecord>

    /// How exactly it is kept when a client was last seen.
    private static let precision = Duration.minutes(10)

    init(host: ModuleHost, options: Clients.Options) {
        self.host = host
        self.options = options
        store = host.map("clients")
    }

    // MARK: Remembering

    /// What is stored about the client of a resource, from when that has been read.
    private enum Known: ResourceKey { static var defaultValue: ClientRecord? { nil } }
    /// By what the user refers to the session of a client that does not identify itself.
    private enum SessionID: ResourceKey { static var defaultValue: String? { nil } }

    /// Remembers a client that has begun a session.
    func note(_ resource: Resource) {
        guard let login = resource[ClientLogin.Key.self], let client = login.client else { return }
        Task { @ServerActor in
            do { try await self.note(resource, login, client) } catch {
                self.host.log.error("A client cannot be remembered", metadata: ["reason": "\(error)"])
            }
        }
    }

    private func note(_ resource: Resource, _ login: ClientLogin, _ client: String) async throws {
        let account = resource.account
        let old = try await store.value(client, of: account.name)
        if old == nil { try await makeRoom(for: account) }
        // It may be gone by now, and all that was stored with it.
        guard host.accounts.loadedAccount(account.name) === account else { return }
        let date = host.clock.date
        var record = old ?? ClientRecord(userAgent: UserAgent(), firstSeen: date, lastSeen: date)
        record.userAgent = options.names ? login.userAgent ?? record.userAgent : UserAgent()
        record.passwordVersion = login.passwordVersion ?? record.passwordVersion
        var same = record
        same.lastSeen = old?.lastSeen ?? date
        record.lastSeen = date
        if same != old || date >= same.lastSeen.advanced(by: Self.precision) {
            store.set(record, client, of: account.name)
        }
        if account.resources.contains(where: { $0 === resource }) { resource[Known.self] = record }
    }

    /// Notes until when it was here.
    func noteEnd(of resource: Resource) {
        guard var record = resource[Known.self], let client = resource[ClientLogin.Key.self]?.client else { return }
        let date = host.clock.date
        guard date >= record.lastSeen.advanced(by: Self.precision) else { return }
        record.lastSeen = date
        store.set(record, client, of: resource.account.name)
    }

    /// Forgets clients that were away for long, and beyond the limit those that were away longest.
    private func makeRoom(for account: Account) async throws {
        let oldest = host.clock.date.advanced(by: .zero - options.remember)
        var entries = try await store.entries(of: account.name).sorted { $0.value.lastSeen < $1.value.lastSeen }
        let connected = Set(account.resources.compactMap { $0[ClientLogin.Key.self]?.client })
        entries.removeAll { connected.contains($0.key) }
        let excess = entries.count + connected.count - options.limit
        for (index, entry) in entries.enumerated() where index < excess || entry.value.lastSeen < oldest {
            store.delete(entry.key, of: account.name)
        }
    }

    // MARK: Listing

    /// Everything that has access to an account: what is connected, what has a token and what knows the password.
    func clients(of account: Account) async throws -> [AccessingClient] {
        let version = try await host.accounts.store.record(of: account.name)?.passwordVersion ?? 0
        let oldest = host.clock.date.advanced(by: .zero - options.remember)
        var clients: [String: AccessingClient] = [:]
        for entry in try await store.entries(of: account.name) {
            let record = entry.value
            var client = AccessingClient(entry.key, record.userAgent, record.firstSeen, record.lastSeen)
            client.knowsPassword = record.passwordVersion == version && record.lastSeen >= oldest
            clients[entry.key] = client
        }
        for token in try await host.service((any TokenAuthority).self)?.clients(of: account.name) ?? [] {
            let agent = options.names ? token.userAgent : UserAgent()
            var client = clients[token.client] ?? AccessingClient(token.client, agent, token.since, token.lastUse)
            client.firstSeen = min(client.firstSeen, token.since)
            client.lastSeen = max(client.lastSeen, token.lastUse)
            client.hasToken = true
            clients[token.client] = client
        }
        var others: [AccessingClient] = []
        for resource in account.resources {
            let login = resource[ClientLogin.Key.self]
            guard let key = login?.client else {
                others.append(session(resource, login, version))
                continue
            }
            // What is stored about it may still be on its way.
            var client =
                clients[key]
                ?? AccessingClient(key, login?.userAgent ?? UserAgent(), start(of: resource), host.clock.date)
            client.lastSeen = host.clock.date
            if login?.passwordVersion == version { client.knowsPassword = true }
            client.resources.append(resource)
            clients[key] = client
        }
        return (clients.values.filter(\.hasAccess) + others).sorted { ($1.lastSeen, $0.id) < ($0.lastSeen, $1.id) }
    }

    /// A client that does not identify itself: there is nothing of it but its session.
    private func session(_ resource: Resource, _ login: ClientLogin?, _ version: Int) -> AccessingClient {
        let id = resource[SessionID.self] ?? RandomToken.make(bytes: 8)
        resource[SessionID.self] = id
        var client = AccessingClient(
            id, login?.userAgent ?? UserAgent(), start(of: resource), host.clock.date, isIdentified: false)
        client.knowsPassword = login.map { $0.passwordVersion == version } ?? true
        client.resources = [resource]
        return client
    }

    private func start(of resource: Resource) -> Timestamp {
        host.clock.date.advanced(by: resource.boundAt - host.clock.now)
    }

    // MARK: Revoking

    /// Takes from a client what can be taken from it; its sessions are left to the caller.
    func revoke(_ client: AccessingClient, of account: Account) async throws {
        guard let key = client.client else { return }
        try await host.service((any TokenAuthority).self)?.revoke(client: key, of: account.name)
        // One that knows the password could come back, and stays on the list.
        guard !client.knowsPassword else { return }
        for resource in client.resources { resource[Known.self] = nil }
        store.delete(key, of: account.name)
    }
}

extension AccessingClient {
    fileprivate init(
        _ id: String, _ userAgent: UserAgent, _ firstSeen: Timestamp, _ lastSeen: Timestamp, isIdentified: Bool = true
    ) {
        self.init(
            id: id, client: isIdentified ? id : nil, userAgent: userAgent, firstSeen: firstSeen, lastSeen: lastSeen)
    }
}
