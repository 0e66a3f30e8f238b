import ServerKit

/// Replaces messages that their authors retract by tombstones. XEP-0424 §4.
@ServerActor
final class Retractions {
    /// How many of the latest messages with a peer are looked through for the one that is retracted.
    private static let depth = 5000
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
        var query = ArchiveQuery(
            before: .id(archiveID), with: peer.bare.description, limit: 10, order: .newestFirst)
        query.mark = ArchivedMessage.mark(of: id, direction)
        query.depth = Self.depth
        let owner = account.name
        let stamp = host.clock.date
        Task { [query] in
            do {
                try await queue.run(limit: Self.waitingLimit) {
                    for item in try await self.store.items(of: owner, query) {
                        guard let original = ArchivedMessage.message(item.value), original.id == id,
                            original.mayBeRetracted(by: retraction, direction)
                        else { continue }
                        let tombstone = original.tombstone(for: retractionID, at: stamp)
                        let originalPeer = (direction == .sent ? original.to : original.from) ?? peer
                        self.store.change(
                            item.id, of: owner, to: ArchivedMessage.encode(tombstone, direction, originalPeer))
                        break
                    }
                }
            } catch is StanzaError {
                // There are too many of them.
            } catch {
                self.host.log.error("A message cannot be retracted", metadata: ["reason": "\(error)"])
            }
        }
    }

    private enum Queue: AccountKey { static let defaultValue: ArchiveQueue? = nil }
}

extension Message {
    /// The id of the message that this one retracts.
    var retractedID: String? { child("retract", .retraction)?["id"] }

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

extension Namespace {
    /// XEP-0424 §2.
    static let retraction: Namespace = "urn:xmpp:message-retract:1"
    /// XEP-0424 §4.
    static let tombstones: Namespace = "urn:xmpp:message-retract:1#tombstone"
}
