import Synchronization

/// Remembers what must be on disk before a peer may be told that its stanzas were taken. One for each resource, and
/// one for each stream from another server.
///
/// "Acknowledged means durable": a stanza may cause a write at once, or later, when the account it went to has been
/// loaded. The fence follows it through both.
@ServerActor
public final class DurabilityFence {
    private typealias Body = @ServerActor () -> Void

    private let storage: Storage
    /// Stanzas that wait for an account to be loaded.
    private var deliveries = 0
    /// Requests whose answer may still write.
    private var requests = 0
    /// The last write that any stanza of the peer caused.
    private var commit = CommitNumber.none
    /// What was found to be decided: everything up to here.
    private var decided = CommitNumber.none
    /// The storage's count of lost commits before the first write that is not decided.
    private var lossesBefore = 0
    /// The first write that was lost: nothing after it can be acknowledged.
    private var lost: StorageError?
    /// A loss that no answer has told the peer of.
    private var untold: StorageError?
    private var waitingForDeliveries: [Body] = []

    public init(storage: Storage) {
        self.storage = storage
    }

    /// Runs `body`, and counts the writes it causes as the peer's.
    func track<T>(_ body: () throws -> T) rethrows -> T {
        let before = storage.lastEnqueued
        let losses = storage.lostCommits
        defer {
            let after = storage.lastEnqueued
            if after != before { require(after, losses) }
        }
        return try body()
    }

    /// Counts everything up to `commit` as the peer's.
    ///
    /// - Parameter losses: how many commits had been lost before the first of them.
    func require(_ commit: CommitNumber, _ losses: Int) {
        if self.commit <= decided { lossesBefore = losses }
        self.commit = max(self.commit, commit)
    }

    /// A stanza of the peer waits for an account; `leaveDelivery` must follow.
    public func enterDelivery() {
        deliveries += 1
    }

    public func leaveDelivery() {
        deliveries -= 1
        release()
    }

    /// A request of the peer is being answered; `leaveRequest` must follow.
    func enterRequest() {
        requests += 1
    }

    func leaveRequest() {
        requests -= 1
    }

    private func release() {
        guard deliveries == 0 else { return }
        let ready = waitingForDeliveries
        waitingForDeliveries = []
        for body in ready { body() }
    }

    /// Whether everything the peer sent so far was handled to its end, whatever became of it.
    public var isSettled: Bool { deliveries == 0 && requests == 0 }

    /// Whether everything the peer sent so far is on disk.
    public var isOpen: Bool {
        deliveries == 0 && requests == 0 && commit <= storage.committed && lost == nil
    }

    /// Calls `body` when everything the peer sent so far is on disk: at once, if nothing is outstanding. If any of it
    /// was lost, now or ever before, `body` gets the error: the peer must not be told that it was taken. Requests that
    /// others still work on are taken care of by their answers, which wait for the disk themselves.
    public func whenDurable(_ body: @escaping @ServerActor (StorageError?) -> Void) {
        if deliveries > 0 { return waitingForDeliveries.append { self.whenDurable(body) } }
        whenDecided { body(self.lost) }
    }

    /// Calls `body` when what the peer sent before is on disk, requests aside that others still work on. A loss is told
    /// once, to the first that asks after it.
    func whenAnswerable(_ body: @escaping @ServerActor (StorageError?) -> Void) {
        if deliveries > 0 { return waitingForDeliveries.append { self.whenAnswerable(body) } }
        whenDecided {
            let error = self.untold
            self.untold = nil
            body(error)
        }
    }

    private func whenDecided(_ body: @escaping Body) {
        let commit = self.commit
        guard commit > decided else { return body() }
        let losses = lossesBefore
        guard commit <= storage.committed else {
            storage.onCommit(commit) { error in
                ServerActor.enqueue {
                    self.conclude(commit, error, losses)
                    body()
                }
            }
            return
        }
        // It is decided already, so that the answer comes at once and on this thread.
        let outcome = Outcome()
        storage.onCommit(commit) { error in outcome.error.withLock { $0 = error } }
        conclude(commit, outcome.error.withLock { $0 }, losses)
        body()
    }

    private func conclude(_ commit: CommitNumber, _ error: StorageError?, _ losses: Int) {
        var error = error
        if error == nil, commit > decided, storage.lostCommits != losses {
            // One was lost meanwhile. It may have been another peer's; to take ours for lost errs on the safe side.
            error = StorageError(.refused, "An earlier write was lost.")
        }
        decided = max(decided, commit)
        guard let error else { return }
        lost = lost ?? error
        untold = error
    }

    private final class Outcome: Sendable {
        let error = Mutex<StorageError?>(nil)
    }
}
