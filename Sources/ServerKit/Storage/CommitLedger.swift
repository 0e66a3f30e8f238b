import Synchronization

/// Keeps who waits for which commit, for drivers. One thread settles, any thread asks.
public final class CommitLedger: Sendable {
    public typealias Callback = @Sendable (StorageError?) -> Void

    fileprivate struct Failure {
        let first: CommitNumber
        var last: CommitNumber
        var error: StorageError
    }

    fileprivate struct State {
        var settled = CommitNumber.none
        var waiting: [(number: CommitNumber, body: Callback)] = []
        var failures: [Failure] = []
        var failureHandler: (@Sendable (StorageError) -> Void)?
    }

    /// Failed ranges that are remembered one by one; beyond that the two oldest become one.
    private static let rememberedFailures = 64

    private let settledNumber = Atomic<UInt64>(0)
    private let state = Mutex(State())

    public init() {}

    /// Everything up to here has been decided.
    public var settled: CommitNumber { CommitNumber(settledNumber.load(ordering: .acquiring)) }

    /// See `StorageDriver.onCommit`.
    public func onCommit(_ number: CommitNumber, _ body: @escaping Callback) {
        let outcome: Result<Void, StorageError>? = state.withLock { state in
            guard number <= state.settled else {
                state.waiting.append((number, body))
                return nil
            }
            return state.failures.last { $0.first <= number && number <= $0.last }.map { .failure($0.error) }
                ?? .success(())
        }
        switch outcome {
        case nil: return
        case .success: body(nil)
        case .failure(let error): body(error)
        }
    }

    /// See `StorageDriver.onFailure`.
    public func onFailure(_ body: @escaping @Sendable (StorageError) -> Void) {
        state.withLock { $0.failureHandler = body }
    }

    /// Decides every write after `settled` up to and including `number`, and tells those who wait.
    public func settle(through number: CommitNumber, _ error: StorageError? = nil) {
        decide(through: number, error)()
    }

    /// The first half of `settle`: returns what tells those who wait, to be called once the caller's lock is free.
    public func decide(through number: CommitNumber, _ error: StorageError? = nil) -> () -> Void {
        let (ready, handler) = state.withLock { state in
            if let error, number > state.settled {
                state.remember(error, through: number, keeping: Self.rememberedFailures)
            }
            state.settled = max(state.settled, number)
            settledNumber.store(state.settled.rawValue, ordering: .releasing)
            // A caller may wait for a number that is not the newest, so the list is only nearly in order.
            var ready = state.waiting.filter { $0.number <= number }
            state.waiting.removeAll { $0.number <= number }
            ready.sort { $0.number < $1.number }
            return (ready, error == nil ? nil : state.failureHandler)
        }
        return {
            // The log speaks first: those who wait may end the process.
            if let error, let handler { handler(error) }
            for waiter in ready { waiter.body(error) }
        }
    }
}

extension CommitLedger.State {
    /// A lost write is remembered as lost for ever. When the list is full neighbours are merged, which may take a good
    /// commit between them for lost: never the other way round.
    fileprivate mutating func remember(_ error: StorageError, through number: CommitNumber, keeping limit: Int) {
        if let last = failures.last, last.last == settled, last.error == error {
            failures[failures.count - 1].last = number
        } else {
            failures.append(CommitLedger.Failure(first: settled.next, last: number, error: error))
        }
        guard failures.count > limit else { return }
        failures[1] = CommitLedger.Failure(
            first: failures[0].first, last: failures[1].last, error: failures[1].error)
        failures.removeFirst()
    }
}
