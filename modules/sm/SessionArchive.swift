import ServerKit

/// A session while the server is down.
struct StoredSession: Codable, Sendable {
    struct Item: Codable, Sendable {
        let xml: String
        let time: Timestamp
    }

    let resource: String
    let timeout: Int64
    let received: UInt32
    /// How many stanzas had been sent, those in the queue included.
    let sent: UInt32
    let queue: [Item]
    let presence: String?
    let isInterested: Bool
    let language: String?
    /// What other modules keep with it.
    let state: [String: String]
    let storedAt: Timestamp
}

/// Stores the sessions of a host when the server stops, and brings them back.
@ServerActor
final class SessionArchive {
    typealias Restore = @ServerActor (Account, String, StoredSession) -> Void

    private let host: ModuleHost
    private let store: MapStore<StoredSession>
    /// The accounts whose sessions are still to be brought back; nil until they are known.
    private var pending: Set<String>?
    private var waiters: [CheckedContinuation<Void, Never>] = []
    /// The last deletion of sessions that were brought back.
    private var deletion = CommitNumber.none
    private var body: Restore = { _, _, _ in }
    /// Accounts that are loaded at a time.
    private static let batch = 64

    init(_ host: ModuleHost) {
        self.host = host
        store = host.map("sessions", of: StoredSession.self)
    }

    func store(_ session: ManagedSession) {
        guard let id = session.id else { return }
        store.set(StoredSession(session), id, of: session.resource.account.name)
    }

    /// Brings all sessions back, each with its account. What is sent to one of these loads it as well.
    func load(_ body: @escaping Restore) {
        self.body = body
        host.loadWithAccounts(IsRestored.self) { account in
            try await self.restore(account)
            return true
        }
        host.startUp {
            do {
                try await self.findAccounts()
                try await self.restoreAll()
            } catch {
                self.host.log.error("Sessions cannot be restored", metadata: ["reason": "\(error)"])
                self.begin([])
            }
        }
    }

    private func findAccounts() async throws {
        var names: Set<String> = []
        var page = try await store.owners()
        while let last = page.last {
            names.formUnion(page)
            page = try await store.owners(after: last)
        }
        host.accounts.expectResources(of: names)
        begin(names)
    }

    private func begin(_ names: Set<String>) {
        pending = pending ?? names
        for waiter in waiters { waiter.resume() }
        waiters = []
    }

    private func restoreAll() async throws {
        var names = ArraySlice((pending ?? []).sorted())
        while !names.isEmpty {
            let tasks = names.prefix(Self.batch).map { name in
                Task { @ServerActor in try await self.restore(name) }
            }
            names = names.dropFirst(Self.batch)
            for task in tasks { try await task.value }
        }
    }

    private func restore(_ name: String) async throws {
        guard let account = await host.accounts.account(name) else {
            // It was removed without its server knowing of the sessions.
            if pending?.remove(name) != nil { deletion = store.deleteAll(of: name) }
            return
        }
        try await restore(account)
    }

    /// Brings the sessions of an account back, unless that has been done. They are deleted: after a crash nobody resumes
    /// one that is older than what was acknowledged since.
    private func restore(_ account: Account) async throws {
        guard pending?.contains(account.name) == true else { return }
        let entries = try await store.entries(of: account.name)
        guard pending?.remove(account.name) != nil else { return }
        let now = host.clock.date
        for entry in entries where !account.isLocked && !entry.value.isOver(now) {
            body(account, entry.key, entry.value)
        }
        deletion = store.deleteAll(of: account.name)
    }

    /// Returns when the sessions of the account that authenticated on a stream are back.
    func restore(_ stream: ClientStream) async {
        if pending == nil { await withCheckedContinuation { waiters.append($0) } }
        guard let account = await stream.account() else { return }
        do {
            try await restore(account)
            try await host.host.server.storage.durable(deletion)
        } catch {
            host.log.error("Sessions cannot be restored", metadata: ["reason": "\(error)"])
        }
    }

    private enum IsRestored: AccountKey {
        static let defaultValue = false
    }
}

extension StoredSession {
    @ServerActor
    init(_ session: ManagedSession) {
        let resource = session.resource
        let host = resource.account.host
        self.init(
            resource: resource.jid.resourcepart ?? "", timeout: session.timeout.components.seconds,
            received: session.received, sent: session.queue.sent,
            queue: session.queue.items.map { Item(xml: $0.stanza.xml, time: session.date(of: $0)) },
            presence: resource.presence.map { Stanza.presence($0).xml }, isInterested: resource.isInterested,
            language: resource.language,
            state: host.sessionState.state(of: resource).mapValues { String(decoding: $0, as: UTF8.self) },
            storedAt: host.server.clock.date)
    }

    /// Whether the client had its time, while the server was down.
    fileprivate func isOver(_ now: Timestamp) -> Bool {
        storedAt.advanced(by: .seconds(timeout)) < now
    }

    /// Brings a session back as it was; nil when its resource is taken.
    @ServerActor
    func restore(to account: Account, id: String, owner: StreamManagement, clock: any ServerClock) -> ManagedSession? {
        let (now, date) = (clock.now, clock.date)
        var queue = UnacknowledgedQueue(sent: sent &- UInt32(truncatingIfNeeded: self.queue.count))
        for item in self.queue {
            // What cannot be read any more keeps its place in the count.
            let stanza = (try? Element.parse(item.xml)).flatMap { try? Stanza.parse($0) } ?? .message(Message())
            let age = Duration.microseconds(date.microseconds - item.time.microseconds)
            queue.append(stanza, at: now - age)
        }
        let link = RestoredLink()
        var session: ManagedSession?
        let presence = presence.flatMap { try? Presence(Element.parse($0)) }
        let resource = account.restore(resource, presence: presence, link: link) { resource in
            account.host.sessionState.restore(state.mapValues { Array($0.utf8) }, to: resource)
            resource.isInterested = isInterested
            resource.language = language
            let restored = ManagedSession(
                resource, id: id, timeout: .seconds(timeout), link: .detached(nil), received: received, queue: queue,
                owner: owner)
            resource[ManagedSession.Key.self] = restored
            resource.attach(restored)
            session = restored
        }
        guard resource != nil else { return nil }
        session?.startTimer()
        return session
    }
}

extension Stanza {
    fileprivate var xml: String {
        var writer = XMLWriter()
        writer.write(self, in: nil)
        return String(decoding: writer.bytes, as: UTF8.self)
    }
}

/// Nobody, until the session has taken its place.
private final class RestoredLink: ResourceLink {
    func deliver(_ stanza: Stanza) {}
    func close(_ error: StreamError?) {}
}
