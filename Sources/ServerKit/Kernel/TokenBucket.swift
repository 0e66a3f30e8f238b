/// A bucket that several streams fill together.
@ServerActor
public final class SharedBucket {
    public var bucket = TokenBucket()

    public init() {}
}

/// Measures a flow against a rate: one interval's worth may come at once, what comes beyond it is paid for in time.
public struct TokenBucket: Sendable {
    /// What came and has not drained yet.
    private var level = 0.0
    private var drainedAt = Duration.zero

    public init() {}

    /// Adds what came.
    ///
    /// - Returns: how long nothing more should be taken; nil when the flow is within `limit`.
    public mutating func add(_ amount: Int, limit: Rate, now: Duration) -> Duration? {
        let perSecond = limit.perSecond
        guard perSecond > 0, perSecond.isFinite else { return nil }
        level = level(at: now, perSecond) + Double(amount)
        drainedAt = now
        let excess = level - Double(limit.count)
        return excess > 0 ? .seconds(min(excess / perSecond, 60)) : nil
    }

    /// Adds what comes if it is within `limit`, and nothing otherwise: for what can be refused.
    ///
    /// - Returns: how long it must wait; nil when it was added.
    public mutating func take(_ amount: Int, limit: Rate, now: Duration) -> Duration? {
        let perSecond = limit.perSecond
        guard perSecond > 0, perSecond.isFinite else { return limit.count > 0 ? nil : limit.interval }
        let new = level(at: now, perSecond) + Double(amount)
        // What has drained to the last bit of precision has drained.
        let excess = new - Double(limit.count)
        guard excess <= 1e-6 else { return .seconds(excess / perSecond) }
        level = new
        drainedAt = now
        return nil
    }

    /// Whether everything has drained, so that the bucket is as good as a new one.
    public func isDrained(limit: Rate, now: Duration) -> Bool {
        let perSecond = limit.perSecond
        return perSecond <= 0 || !perSecond.isFinite || level(at: now, perSecond) <= 1e-6
    }

    private func level(at now: Duration, _ perSecond: Double) -> Double {
        max(0, level - (now - drainedAt) / .seconds(1) * perSecond)
    }
}
