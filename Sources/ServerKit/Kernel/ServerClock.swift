import NIOCore

/// Time as the server sees it. Tests bring one that they advance by hand.
@ServerActor
public protocol ServerClock: AnyObject {
    /// Time since some fixed moment; never goes back.
    var now: Duration { get }
    /// The time of day, for stamps.
    var date: Timestamp { get }
    /// Calls `action` once, when `delay` has passed.
    @discardableResult
    func after(_ delay: Duration, _ action: @escaping @ServerActor () -> Void) -> ScheduledAction
}

/// An action that was put off and can be taken back.
@ServerActor
public final class ScheduledAction {
    private var action: (@ServerActor () -> Void)?
    private var onCancel: (() -> Void)?

    public init(_ action: @escaping @ServerActor () -> Void) {
        self.action = action
    }

    /// Whether it has neither run nor been cancelled.
    public var isPending: Bool { action != nil }

    /// Runs the action unless it was cancelled. For clocks.
    public func run() {
        let action = self.action
        self.action = nil
        onCancel = nil
        action?()
    }

    /// Takes the action back.
    public func cancel() {
        action = nil
        onCancel?()
        onCancel = nil
    }

    func onCancel(_ body: @escaping () -> Void) {
        onCancel = body
    }
}

/// The clock of a running server: the machine's, with the timers of its event loop.
public final class SystemClock: ServerClock {
    private let start = ContinuousClock.now

    public nonisolated init() {}

    public var now: Duration { ContinuousClock.now - start }

    public var date: Timestamp { .now }

    public func after(_ delay: Duration, _ action: @escaping @ServerActor () -> Void) -> ScheduledAction {
        let scheduled = ScheduledAction(action)
        let (seconds, attoseconds) = delay.components
        let nanoseconds = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        let amount = nanoseconds.overflow ? .max : nanoseconds.partialValue &+ attoseconds / 1_000_000_000
        let task = ServerActor.loop.assumeIsolated().scheduleTask(in: .nanoseconds(amount)) {
            ServerActor.assumeIsolated { scheduled.run() }
        }
        scheduled.onCancel { task.cancel() }
        return scheduled
    }
}
