import ServerKit

/// What was sent to a client and not acknowledged yet, and the counter of what was sent. XEP-0198 §4.
struct UnacknowledgedQueue {
    struct Item {
        var stanza: Stanza
        /// When it was sent first, by the server's clock.
        let time: Duration
        let size: Int
    }

    /// The client says that it got more than it was sent. XEP-0198 §6.
    struct HandledCountTooHigh: Error, Equatable {
        let h: UInt32
        let sent: UInt32
    }

    private(set) var items: [Item] = []
    /// What the stanzas take, in bytes.
    private(set) var size = 0
    /// Stanzas sent so far, modulo 2³².
    private(set) var sent: UInt32

    init(sent: UInt32 = 0) {
        self.sent = sent
    }

    /// Stanzas acknowledged so far, modulo 2³².
    var acknowledged: UInt32 { sent &- UInt32(truncatingIfNeeded: items.count) }

    mutating func append(_ stanza: Stanza, at time: Duration) {
        let item = Item(stanza: stanza, time: time, size: stanza.estimatedSize)
        items.append(item)
        size += item.size
        sent &+= 1
    }

    /// How a number that the client gives stands to what it was sent.
    enum Position {
        case inside
        /// It acknowledged more before.
        case passed
        /// It was not sent so much.
        case ahead
    }

    func position(of h: UInt32) -> Position {
        if h &- acknowledged <= UInt32(truncatingIfNeeded: items.count) { return .inside }
        // Half of the circle lies behind.
        return acknowledged &- h < UInt32.max / 2 ? .passed : .ahead
    }

    /// Takes an acknowledgement, which may be an old one.
    ///
    /// - Returns: how many stanzas it was for.
    @discardableResult
    mutating func acknowledge(_ h: UInt32) throws(HandledCountTooHigh) -> Int {
        switch position(of: h) {
        case .inside: break
        case .passed: return 0
        case .ahead: throw HandledCountTooHigh(h: h, sent: sent)
        }
        let count = h &- acknowledged
        for item in items.prefix(Int(count)) { size -= item.size }
        // A queue keeps no memory for more than is in it: it is empty most of the time, and large after a flood.
        items = Array(items.dropFirst(Int(count)))
        return Int(count)
    }

    /// Takes everything out.
    mutating func removeAll() -> [Item] {
        defer { (items, size) = ([], 0) }
        return items
    }
}
