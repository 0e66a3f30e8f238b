import ServerKit

/// A clock that stands still until a test advances it.
public final class StageClock: ServerClock {
    public private(set) var now = Duration.zero
    private let start = Timestamp(seconds: 1_750_000_000)
    private var pending: [(due: Duration, order: Int, action: ScheduledAction)] = []
    private var nextOrder = 0

    public nonisolated init() {}

    public var date: Timestamp { start.advanced(by: now) }

    public func after(_ delay: Duration, _ action: @escaping @ServerActor () -> Void) -> ScheduledAction {
        let scheduled = ScheduledAction(action)
        nextOrder += 1
        pending.append((now + delay, nextOrder, scheduled))
        return scheduled
    }

    /// Takes back everything that was put off.
    func forgetAll() { pending = [] }

    /// Moves on, although nothing happens.
    func pass(_ time: Duration) { now += time }

    /// Moves on to the next action that is due by `limit` and runs it; false when there is none.
    func runNext(until limit: Duration) -> Bool {
        pending.removeAll { !$0.action.isPending }
        let next = pending.indices.min { (pending[$0].due, pending[$0].order) < (pending[$1].due, pending[$1].order) }
        guard let next, pending[next].due <= limit else {
            now = max(now, limit)
            return false
        }
        let entry = pending.remove(at: next)
        now = max(now, entry.due)
        entry.action.run()
        return true
    }
}
