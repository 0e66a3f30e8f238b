import ServerKit

/// The pairs of domains between which there were streams, so that whoever has contacts or occupants at the other end is
/// told once that it is gone, and once that it is back.
@ServerActor
struct Acquaintances {
    private enum Standing {
        /// Nothing is known to be wrong.
        case present
        /// Its last stream was lost, and there has been no other since.
        case lost
        /// It was given up.
        case gone
    }

    private struct Acquaintance {
        var standing: Standing
        /// Whether a stream to it could be opened.
        var wasReached = false
    }

    private var all: [DomainPair: Acquaintance] = [:]

    /// How many are remembered.
    private static let limit = 20_000

    nonisolated init() {}

    /// Whether there was a stream before.
    func isKnown(_ pair: DomainPair) -> Bool { all[pair] != nil }

    /// Whether a stream to it could be opened, once.
    func wasReached(_ pair: DomainPair) -> Bool { all[pair]?.wasReached == true }

    /// Whether the last stream was lost, and there has been no other since.
    func isAway(_ pair: DomainPair) -> Bool { all[pair]?.standing == .lost || isGone(pair) }

    /// Whether it was given up.
    func isGone(_ pair: DomainPair) -> Bool { all[pair]?.standing == .gone }

    private mutating func set(_ pair: DomainPair, _ standing: Standing) {
        if all.count >= Self.limit, all[pair] == nil {
            // Rather one that only came to us than one that somebody here writes to.
            let place = all.indices.prefix(64).first { !all[$0].value.wasReached } ?? all.startIndex
            all.remove(at: place)
        }
        all[pair, default: Acquaintance(standing: standing)].standing = standing
    }

    /// The peer came to us.
    mutating func meet(_ pair: DomainPair) {
        if !isAway(pair) { set(pair, .present) }
    }

    /// There is a stream to the peer.
    ///
    /// - Parameter wasReached: whether it was opened here.
    mutating func greet(_ pair: DomainPair, wasReached: Bool) {
        set(pair, .present)
        if wasReached { all[pair]?.wasReached = true }
    }

    /// The stream was lost.
    mutating func lose(_ pair: DomainPair) {
        if !isGone(pair) { set(pair, .lost) }
    }

    /// Nobody waits for the peer any longer.
    ///
    /// - Returns: whether that is news.
    mutating func giveUp(_ pair: DomainPair) -> Bool {
        guard isKnown(pair), !isGone(pair) else { return false }
        all[pair]?.standing = .gone
        return true
    }
}
