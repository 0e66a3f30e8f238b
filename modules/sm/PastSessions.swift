import ServerKit

/// What sessions that have ended had received, for clients that come back too late. XEP-0198 §5.
struct PastSessions {
    private struct Entry {
        let owner: JID
        let received: UInt32
        let endedAt: Duration
    }

    private static let limit = 10_000
    private static let lifetime = Duration.seconds(86_400)

    private var entries: [String: Entry] = [:]
    /// Their ids, the oldest first.
    private var order: ArraySlice<String> = []

    mutating func add(_ id: String, _ owner: JID, _ received: UInt32, now: Duration) {
        entries[id] = Entry(owner: owner, received: received, endedAt: now)
        order.append(id)
        while order.count > Self.limit, let oldest = order.popFirst() { entries[oldest] = nil }
    }

    /// How many stanzas arrived; nil when there was no such session of this owner.
    func received(_ id: String, by owner: JID?) -> UInt32? {
        guard let entry = entries[id], entry.owner == owner else { return nil }
        return entry.received
    }

    mutating func removeOld(now: Duration) {
        while let oldest = order.first, let entry = entries[oldest], now - entry.endedAt > Self.lifetime {
            order.removeFirst()
            entries[oldest] = nil
        }
    }
}
