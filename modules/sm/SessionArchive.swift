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
    private let store: MapStore<[UInt8]>
    /// The accounts whose sessions are still to be brought back; nil until they are known.
    private var pending: Set<String>?
    private var waiters: [CheckedContinuation<Void, Never>] = []
    /// The last deletion of sessions that were brought back.
    private var deletion = CommitNumber.none
    /// Accounts that are loaded at a time.
    private static let batch = 64

    /// What was read with an account, until it is loaded.
    private enum Read: AccountKey {
        static var defaultValue: [MapEntry<[UInt8]>]? { nil }
    }

    init(_ host: ModuleHost) {
        self.host = host
        store = host.rawMap("sessions")
    }

    func store(_ session: ManagedSession) {
        guard let id = session.id else { return }
        do {
            let bytes = try ValueCoding.json.encode(StoredSession(session))
            store.set(bytes, id, of: session.resource.account.name)
        } catch {
            host.log.error("A session cannot be stored", metadata: ["reason": "\(error)"])
        }
    }

    /// Brings all sessions back, each with its account. What is sent to one of these loads it as well.
    func load(_ restore: @escaping Restore) {
        host.accounts.expectResources(of: nil)
        host.onUnload { self.begin([]) }
        host.loadWithAccounts(Read.self) { account in
            await self.whenKnown()
            guard self.pending?.contains(account.name) == true else { return nil }
            return try await self.store.entries(of: account.name)
        }
        host.observe(.accountLoaded) { self.restore($0.account, restore) }
        host.startUp {
            do { try await self.findAccounts() } catch {
                self.host.log.error("Sessions cannot be restored", metadata: ["reason": "\(error)"])
                self.begin([])
            }
            await self.loadAll()
        }
    }

    private func findAccounts() async throws {
        var names: Set<String> = []
        var page = try await store.owners()
        while let last = page.last {
            names.formUnion(page)
            page = try await store.owners(after: last)
        }
        begin(names)
    }

    private func begin(_ names: Set<String>) {
        pending = pending ?? names
        host.accounts.expectResources(of: pending)
        for waiter in waiters { waiter.resume() }
        waiters = []
    }

    private func whenKnown() async {
        if pending == nil { await withCheckedContinuation { waiters.append($0) } }
    }

    private func loadAll() async {
        var names = ArraySlice((pending ?? []).sorted())
        while !names.isEmpty {
            let tasks = names.prefix(Self.batch).map { name in
                Task { @ServerActor in _ = await self.host.accounts.account(name) }
            }
            names = names.dropFirst(Self.batch)
            for task in tasks { await task.value }
        }
    }

    /// Brings the sessions of an account back, which has just been loaded. They are deleted: after a crash nobody
    /// resumes one that is older than what was acknowledged since.
    private func restore(_ account: Account, _ body: Restore) {
        guard let entries = account[Read.self], pending?.remove(account.name) != nil else { return }
        account[Read.self] = nil
        for entry in entries {
            do {
                body(account, entry.key, try ValueCoding.json.decode(entry.value))
            } catch {
                host.log.error("A session cannot be restored", metadata: ["reason": "\(error)"])
            }
        }
        deletion = store.deleteAll(of: account.name)
    }

    /// Returns when the sessions of the account that authenticated on a stream are back.
    func restore(_ stream: ClientStream) async {
        await whenKnown()
        guard await stream.account() != nil else { return }
        do { try await host.host.server.storage.durable(deletion) } catch {
            host.log.error("Sessions cannot be deleted", metadata: ["reason": "\(error)"])
        }
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
    func isOver(_ now: Timestamp) -> Bool {
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
        session?.wait()
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
