import ServerKit

/// The messages that wait to be acknowledged by other servers, on disk: a client that was told that its message was
/// taken can rely on that, whatever becomes of this server.
@ServerActor
final class QueueStore {
    private unowned let federation: Federation
    private var stores: [String: ArchiveStore<[UInt8]>] = [:]
    private var ids = StanzaIDMaker()
    /// What was acknowledged and not deleted yet.
    private var done: [DomainPair: [String]] = [:]
    private var doneCount = 0
    private var isDue = false
    /// What was written in this run before the rest was read; nil once it was.
    private var fresh: Set<String>? = []

    init(_ federation: Federation) {
        self.federation = federation
    }

    private func store(_ host: String) -> ArchiveStore<[UInt8]> {
        if let store = stores[host] { return store }
        let store = federation.server.storage.rawArchive("outgoing", on: host)
        stores[host] = store
        return store
    }

    /// Whether losing a stanza would lose something that its sender believes to be sent.
    private func isPrecious(_ stanza: Stanza) -> Bool {
        guard case .message(let message) = stanza, !message.isError else { return false }
        // What a room says to its occupants is in its archive.
        if message.kind == .groupchat, message.to?.resourcepart != nil { return false }
        return !message.has("no-permanent-store", .hints) && !message.has("no-store", .hints)
            && (message.has("body") || !message.isOnlyState)
    }

    /// Writes a stanza that is worth it.
    ///
    /// - Returns: its name on disk.
    func keep(_ stanza: Stanza, for pair: DomainPair) -> String? {
        guard federation.options.keepsQueues, isPrecious(stanza) else { return nil }
        let now = federation.server.clock.date
        let id = ids.make(at: now)
        fresh?.insert(id)
        var writer = XMLWriter()
        writer.write(stanza, in: nil)
        store(pair.local).append(
            NewArchiveItem(id: id, time: now.microseconds, value: writer.bytes), to: pair.remote)
        return id
    }

    /// Deletes it, together with others.
    func forget(_ id: String, for pair: DomainPair) {
        done[pair, default: []].append(id)
        doneCount += 1
        if doneCount >= 200 { return flush() }
        guard !isDue else { return }
        isDue = true
        federation.server.clock.after(.milliseconds(500)) { [weak self] in self?.flush() }
    }

    /// Deletes all that is done with.
    func flush() {
        isDue = false
        doneCount = 0
        for (pair, ids) in done { store(pair.local).delete(ids, of: pair.remote) }
        done = [:]
    }

    /// All has been read that earlier runs left.
    func endLoading() { fresh = nil }

    /// What earlier runs of the server left for other domains, by pair.
    func load(_ host: String) async throws -> [(pair: DomainPair, items: [Route.Item])] {
        let store = store(host)
        let clock = federation.server.clock
        var found: [(DomainPair, [Route.Item])] = []
        var after: String?
        while true {
            let owners = try await store.owners(after: after, limit: 100)
            guard let last = owners.last else { return found }
            after = last
            for owner in owners {
                var items: [Route.Item] = []
                for item in try await store.items(of: owner) where fresh?.contains(item.id) != true {
                    guard let element = try? Element.parse(item.value), let stanza = try? Stanza.parse(element) else {
                        store.delete(item.id, of: owner)
                        continue
                    }
                    let age = clock.date.microseconds - item.time
                    items.append(
                        Route.Item(
                            stanza: stanza, time: clock.now - .microseconds(max(0, age)), stored: item.id,
                            size: item.value.count))
                }
                if !items.isEmpty { found.append((DomainPair(local: host, remote: owner), items)) }
            }
        }
    }
}

extension Namespace {
    fileprivate static let chatStates: Namespace = "http://jabber.org/protocol/chatstates"
}

extension Message {
    /// Whether there is nothing in it but a chat state. XEP-0085 §5.1.
    fileprivate var isOnlyState: Bool {
        payload.children.allSatisfy { $0.namespace == .chatStates || $0.name == "thread" || $0.namespace == .hints }
    }
}
