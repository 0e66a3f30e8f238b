/// Measures a flow against a rate: one interval's worth may come at once, what comes beyond it is paid for in time.
struct TokenBucket {
    /// What came and has not drained yet.
    private var level = 0.0
    private var drainedAt = Duration.zero

    /// Adds what came.
    ///
    /// - Returns: how long nothing more should be taken; nil when the flow is within `limit`.
    mutating func add(_ amount: Int, limit: Rate, now: Duration) -> Duration? {
        let perSecond = limit.perSecond
        guard perSecond > 0, perSecond.isFinite else { return nil }
        level = max(0, level - (now - drainedAt) / .seconds(1) * perSecond) + Double(amount)
        drainedAt = now
        let excess = level - Double(limit.count)
        return excess > 0 ? .seconds(min(excess / perSecond, 60)) : nil
    }
}
