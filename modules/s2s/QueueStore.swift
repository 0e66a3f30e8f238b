import ServerKit

/// The messages that wait to be acknowledged by other servers, on disk: a client that was told that its message was
/// taken can rely on that, whatever becomes of this server.
@ServerActor
final class QueueStore {
    private unowned let federation: Federation
    /// By the domain here.
    private var shelves: [String: Shelf] = [:]
    private var ids = StanzaIDMaker()
    /// What came in this turn, or in the last few.
    private var unwritten: [DomainPair: StoredBatch] = [:]
    private var isWriteDue = false
    /// What was written in this run while the rest is being read; nil when nothing is.
    private var fresh: Set<String>? = []
    /// How many read; the start of the server is the first.
    private var readers = 1

    /// Everything from one domain is one archive: what is left there is found without looking at all who have anything.
    private struct Shelf {
        /// No account can have this name. RFC 7622 §3.3.1
        static let owner = "@queue"
        let store: ArchiveStore<[UInt8]>
        /// What was acknowledged.
        let done: GatheredDeletion
    }

    init(_ federation: Federation) {
        self.federation = federation
    }

    private func shelf(_ host: String) -> Shelf {
        if let shelf = shelves[host] { return shelf }
        let server = federation.server
        let store = server.storage.rawArchive("outgoing", on: host)
        let shelf = Shelf(store: store, done: GatheredDeletion(from: store, of: Shelf.owner, clock: server.clock))
        shelves[host] = shelf
        return shelf
    }

    /// The domains here that have a shelf: those that are not served any more are found by it.
    private var index: KeyValueStore<[UInt8]> { federation.server.storage.rawValues("outgoing-domains", on: "") }
    private var indexed: Set<String> = []

    private func list(_ host: String) {
        if indexed.insert(host).inserted { index.set([1], for: host) }
    }

    /// The domains that have a shelf, served or not.
    func domains() async throws -> [String] {
        var all: [String] = []
        while true {
            let page = try await index.owners(after: all.last, limit: 100)
            all += page
            if page.count < 100 { return all }
        }
    }

    /// The domains whose shelves were used in this run.
    var opened: [String] { Array(shelves.keys) }

    /// Puts on disk what a domain has that is not served any more.
    func close(_ host: String) {
        for pair in Array(unwritten.keys) where pair.local == host { write(pair) }
        shelves[host]?.done.flush()
        shelves[host] = nil
    }

    /// Throws away what a domain left that is not served any more, once all of it is so old: nobody is there to whom it
    /// could be returned.
    func clear(_ host: String, after age: Duration) async throws {
        let shelf = shelf(host)
        defer { shelves[host] = nil }
        let end = federation.server.clock.date.advanced(by: .zero - age).microseconds
        guard try await shelf.store.items(of: Shelf.owner).allSatisfy({ $0.time < end }) else { return }
        federation.log.notice(
            "What a domain left that is not served here any more is deleted", metadata: ["host": "\(host)"])
        shelf.store.deleteAll(of: Shelf.owner)
        index.delete(host)
        indexed.remove(host)
    }

    /// Whether losing a stanza would lose something that its sender believes to be sent.
    private func isPrecious(_ stanza: Stanza) -> Bool {
        guard case .message(let message) = stanza, !message.isError else { return false }
        // What a room says to its occupants is in its archive.
        if message.kind == .groupchat, message.to?.resourcepart != nil { return false }
        return !message.has("no-permanent-store", .hints) && !message.has("no-store", .hints)
            && (message.has("body") || !message.isOnlyState)
    }

    /// How long what is on its way may take to be acknowledged before it is written.
    private static let patience = Duration.milliseconds(20)

    /// Keeps a stanza that is worth it, together with what else comes for the pair in this turn, or in the next few if it
    /// is on its way: what the peer acknowledges at once needs no disk. Its sender learns that it was taken when the peer
    /// or the disk has it, whichever comes first.
    ///
    /// - Returns: what it is written with.
    func keep(_ stanza: Stanza, for pair: DomainPair, isOnItsWay: Bool) -> StoredBatch? {
        guard federation.options.keepsQueues, isPrecious(stanza) else { return nil }
        let batch: StoredBatch
        if let begun = unwritten[pair] {
            batch = begun
        } else {
            let now = federation.server.clock.date
            batch = StoredBatch(id: ids.make(at: now), time: now, to: pair.remote)
            fresh?.insert(batch.id)
            unwritten[pair] = batch
            if isOnItsWay {
                writeAllSoon()
            } else {
                ServerActor.enqueue { self.write(batch, for: pair) }
            }
        }
        batch.add(stanza, federation.server.router.fence)
        return batch
    }

    /// Writes a batch, unless that was done before. Whoever sent it is told that it was taken when that is on disk.
    private func write(_ batch: StoredBatch, for pair: DomainPair) {
        guard unwritten[pair] === batch else { return }
        unwritten[pair] = nil
        // What was acknowledged meanwhile needs no disk.
        if batch.remaining > 0 {
            list(pair.local)
            let item = NewArchiveItem(id: batch.id, time: batch.time.microseconds, value: batch.bytes)
            track(batch.fences[...]) { self.shelf(pair.local).store.append(item, to: Shelf.owner) }
            batch.isWritten = true
        }
        batch.close()
    }

    /// All at the same moment: whoever writes to many domains without a pause has its acknowledgement then.
    private func writeAllSoon() {
        guard !isWriteDue else { return }
        isWriteDue = true
        federation.server.clock.after(Self.patience) { [weak self] in
            guard let self else { return }
            self.isWriteDue = false
            for pair in Array(self.unwritten.keys) { self.write(pair) }
        }
    }

    /// Writes all that waits for a pair: its stream is lost.
    func write(_ pair: DomainPair) {
        if let batch = unwritten[pair] { write(batch, for: pair) }
    }

    /// Counts what `body` writes as caused by all of them.
    private func track(_ fences: ArraySlice<DurabilityFence>, _ body: () -> Void) {
        guard let first = fences.first else { return body() }
        federation.server.router.track(first) { track(fences.dropFirst(), body) }
    }

    /// One stanza of a batch is done with.
    func forget(_ batch: StoredBatch, for pair: DomainPair) {
        batch.remaining -= 1
        guard batch.remaining == 0 else { return }
        guard batch.isWritten else { return write(batch, for: pair) }
        shelf(pair.local).done.delete(batch.id)
    }

    /// Writes what waits, and deletes all that is done with.
    func flush() {
        for pair in Array(unwritten.keys) { write(pair) }
        for shelf in shelves.values { shelf.done.flush() }
    }

    /// What is written from now on is not what is read.
    func beginLoading() {
        readers += 1
        fresh = fresh ?? []
    }

    /// All has been read that was to be read.
    func endLoading() {
        readers -= 1
        if readers == 0 { fresh = nil }
    }

    /// What earlier runs of the server left for other domains, by pair.
    func load(_ host: String) async throws -> [DomainPair: [Route.Item]] {
        let store = shelf(host).store
        let clock = federation.server.clock
        list(host)
        var found: [DomainPair: [Route.Item]] = [:]
        for item in try await store.items(of: Shelf.owner) where fresh?.contains(item.id) != true {
            guard let (remote, stanzas) = StoredBatch.read(item.value) else {
                store.delete(item.id, of: Shelf.owner)
                continue
            }
            let batch = StoredBatch(stored: item.id, count: stanzas.count)
            let age = clock.date.microseconds - item.time
            for stanza in stanzas {
                found[DomainPair(local: host, remote: remote), default: []].append(
                    Route.Item(
                        stanza: stanza, time: clock.now - .microseconds(max(0, age)), stored: batch,
                        size: stanza.estimatedSize))
            }
        }
        return found
    }
}

/// Messages that lie on disk together. The row goes when the last of them is done with.
@ServerActor
final class StoredBatch {
    let id: String
    let time: Timestamp
    /// How many are not done with.
    var remaining = 0
    var isWritten = false
    /// Those who sent them; their acknowledgements wait.
    private(set) var fences: [DurabilityFence] = []
    private var writer = XMLWriter()

    init(id: String, time: Timestamp, to remote: String) {
        self.id = id
        self.time = time
        writer.raw("<queue xmlns='jabber:client'")
        writer.attribute("to", remote)
        writer.raw(">")
    }

    /// One that was read.
    init(stored id: String, count: Int) {
        self.id = id
        time = Timestamp(microseconds: 0)
        remaining = count
        isWritten = true
    }

    func add(_ stanza: Stanza, _ fence: DurabilityFence?) {
        writer.write(stanza)
        remaining += 1
        guard let fence, !fences.contains(where: { $0 === fence }) else { return }
        fence.enterDelivery()
        fences.append(fence)
    }

    /// What is written.
    var bytes: [UInt8] { writer.bytes + Array("</queue>".utf8) }

    /// It has been written, or need not be.
    func close() {
        for fence in fences { fence.leaveDelivery() }
        fences = []
        writer = XMLWriter()
    }

    /// The domain and the stanzas of a row; nil when it cannot be read.
    nonisolated static func read(_ bytes: [UInt8]) -> (remote: String, stanzas: [Stanza])? {
        guard let element = try? Element.parse(bytes), let remote = element["to"] else { return nil }
        let stanzas = element.children.compactMap { try? Stanza.parse($0) }
        return stanzas.isEmpty ? nil : (remote, stanzas)
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
