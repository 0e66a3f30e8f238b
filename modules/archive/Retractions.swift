import ServerKit

/// Replaces messages that their authors retract by tombstones. XEP-0424 §4.
@ServerActor
final class Retractions {
    /// How many of the latest messages with a peer are looked through for the one that is retracted.
    private static let depth = 5000
    /// How many of them are read at a time, and how many bytes: others read in between.
    private static let batch = 200
    private static let batchSize = 1_048_576
    /// How many bytes are looked through.
    private static let size = 33_554_432
    /// How many retractions of an account may wait for the one before them; more leave their messages in the archive,
    /// for clients to hide.
    private static let waitingLimit = 50

    private let store: ArchiveStore<[UInt8]>
    private let host: ModuleHost

    init(_ host: ModuleHost, _ store: ArchiveStore<[UInt8]>) {
        self.host = host
        self.store = store
    }

    /// Looks for the message that `retraction`, kept under the id `archiveID`, wants gone.
    func process(
        _ id: String, by retraction: Message, _ archiveID: String, _ direction: ArchivedMessage.Direction,
        _ peer: JID, _ account: Account
    ) {
        // XEP-0424 §4: a tombstone names the retraction by its id.
        guard let retractionID = retraction.id else { return }
        let queue = account[Queue.self] ?? ArchiveQueue()
        account[Queue.self] = queue
        let owner = account.name
        let stamp = host.clock.date
        let mark = ArchivedMessage.mark(of: id, direction)
        Task {
            do {
                try await queue.run(limit: Self.waitingLimit) {
                    let found = try await self.find(mark, of: owner, before: archiveID, with: peer) { original in
                        original.id == id && original.mayBeRetracted(by: retraction, direction)
                    }
                    guard let (itemID, original) = found else { return }
                    let tombstone = original.tombstone(for: retractionID, at: stamp)
                    let originalPeer = (direction == .sent ? original.to : original.from) ?? peer
                    self.store.change(
                        itemID, of: owner, to: ArchivedMessage.encode(tombstone, direction, originalPeer))
                }
            } catch is StanzaError {
                // There are too many of them.
            } catch {
                self.host.log.error("A message cannot be retracted", metadata: ["reason": "\(error)"])
            }
        }
    }

    /// The newest message that bears the mark and is wanted, with its id in the archive.
    private func find(
        _ mark: ArchiveQuery.Mark, of owner: String, before archiveID: String, with peer: JID,
        where isWanted: (Message) -> Bool
    ) async throws -> (id: String, message: Message)? {
        var query = ArchiveQuery(
            before: .id(archiveID), with: peer.bare.description, limit: Self.batch, order: .newestFirst)
        query.byteLimit = Self.batchSize
        var (count, size) = (0, 0)
        while count < Self.depth, size < Self.size {
            let items = try await store.items(of: owner, query)
            guard let last = items.last else { return nil }
            for item in items where mark.isBorne(by: item.value) {
                if let message = ArchivedMessage.message(item.value), isWanted(message) { return (item.id, message) }
            }
            count += items.count
            size += items.reduce(0) { $0 + $1.value.count }
            query.before = .sequence(last.sequence)
        }
        return nil
    }

    private enum Queue: AccountKey { static let defaultValue: ArchiveQueue? = nil }
}

extension Message {
    /// Whether it has the same author as the retraction, and is neither gone already nor a retraction, which must stay
    /// (XEP-0424 §5). The search saw to the bare JID; occupants of a room share that, and are told apart.
    fileprivate func mayBeRetracted(by retraction: Message, _ direction: ArchivedMessage.Direction) -> Bool {
        guard !has("retract", .retraction), !has("retracted", .retraction) else { return false }
        guard has("x", .mucUser) || retraction.has("x", .mucUser) else { return true }
        return direction == .sent ? to == retraction.to : from == retraction.from
    }

    /// XEP-0424 §4: the address and the id stay, everything that was said goes.
    fileprivate func tombstone(for retractionID: String, at stamp: Timestamp) -> Message {
        var tombstone = self
        tombstone.payload = Element("message", .client) {
            Element("retracted", .retraction, ["id": retractionID, "stamp": stamp.description])
        }
        return tombstone
    }
}
