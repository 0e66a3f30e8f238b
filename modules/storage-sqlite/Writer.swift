import ServerKit

/// The one thread that writes to a database. When idle it commits a write at once; what comes within the group
/// interval after a commit waits for its end and shares the next one.
final class Writer: Sendable {
    private struct Group {
        let number: CommitNumber
        let writes: [StorageWrite]
    }

    private struct Queue {
        var groups: [Group] = []
        var writes = 0
        var last = CommitNumber.none
        /// Someone waits for the queued writes: a read, a flush.
        var isUrgent = false
        var isClosing = false
        var hasEnded = false
        var isAsleep = false
    }

    /// A full queue is committed before the interval ends. Larger groups gain nothing (measured from 100 on).
    private static let fullGroup = 512
    private static let purgedAtOnce: Int64 = 200

    private static let closed = StorageError(.closed, "The storage is closed.")

    let ledger = CommitLedger()
    private let queue = Monitor(Queue())
    private let groupInterval: UInt64

    /// - Parameter groupInterval: in nanoseconds.
    init(groupInterval: UInt64) {
        self.groupInterval = groupInterval
    }

    var lastEnqueued: CommitNumber { queue.locked { $0.last } }

    func enqueue(_ writes: [StorageWrite]) -> CommitNumber {
        let (number, isAccepted, mustWake) = queue.locked { queue in
            guard !writes.isEmpty else { return (queue.last, true, false) }
            queue.last = queue.last.next
            if queue.hasEnded { return (queue.last, false, false) }
            let writes = queue.isClosing ? [.fail(Self.closed)] : writes
            queue.groups.append(Group(number: queue.last, writes: writes))
            queue.writes += writes.count
            // During the group interval the writer wakes by itself.
            let mustWake = queue.isAsleep || queue.writes >= Self.fullGroup
            queue.isAsleep = false
            return (queue.last, true, mustWake)
        }
        if mustWake { queue.wakeOne() }
        if !isAccepted { ledger.settle(through: number, Self.closed) }
        return number
    }

    /// Ends the group interval early.
    func hurry() {
        queue.locked { $0.isUrgent = true }
        queue.wakeOne()
    }

    /// Lets `run` return once the queue is empty.
    func close() {
        queue.locked { $0.isClosing = true }
        queue.wakeOne()
    }

    /// The body of the writer's thread.
    func run(on database: Database) {
        var applier = WriteApplier(database)
        var nextCommit: UInt64 = 0
        var hasGarbage = true
        while true {
            let groups: [Group]? = queue.wait { queue in
                if queue.groups.isEmpty {
                    queue.hasEnded = queue.isClosing
                    if queue.isClosing { return .proceed(nil) }
                    if hasGarbage { return .proceed([]) }
                    queue.isAsleep = true
                    return .sleep
                }
                let mustWait = !queue.isUrgent && !queue.isClosing && queue.writes < Self.fullGroup
                if mustWait, monotonicNow() < nextCommit { return .sleepUntil(nextCommit) }
                defer { (queue.groups, queue.writes, queue.isUrgent) = ([], 0, false) }
                return .proceed(queue.groups)
            }
            guard let groups else { return }
            guard let last = groups.last else {
                hasGarbage = purge(database, &applier)
                continue
            }
            do {
                try commit(groups, on: database, &applier)
                ledger.settle(through: last.number)
            } catch {
                settleFailure(of: groups, error, on: database, &applier)
            }
            hasGarbage = true
            nextCommit = monotonicNow() &+ groupInterval
        }
    }

    private func commit(
        _ groups: [Group], on database: Database, _ applier: inout WriteApplier
    ) throws(StorageError) {
        try transaction(on: database, &applier) { applier throws(StorageError) in
            for group in groups {
                for write in group.writes { try applier.apply(write) }
            }
        }
    }

    /// One bad write must not take its neighbours with it, so they are tried one by one. A disk that fails fails all.
    private func settleFailure(
        of groups: [Group], _ error: StorageError, on database: Database, _ applier: inout WriteApplier
    ) {
        guard let last = groups.last else { return }
        switch error.reason {
        case .full, .readOnly, .inputOutput, .corrupt, .notADatabase, .locked:
            return ledger.settle(through: last.number, error)
        case .refused, .undecodable, .unencodable, .unknownItem, .newerSchema, .closed:
            break
        }
        for group in groups {
            do {
                try commit([group], on: database, &applier)
                ledger.settle(through: group.number)
            } catch {
                ledger.settle(through: group.number, error)
            }
        }
    }

    /// Works off deleted archives a little at a time. If that fails it can wait for the next commit.
    private func purge(_ database: Database, _ applier: inout WriteApplier) -> Bool {
        var isUnfinished = false
        do {
            let found = try database.first("SELECT 1 FROM archive WHERE store IS NULL LIMIT 1") { _ in true }
            guard found != nil else { return false }
            try transaction(on: database, &applier) { applier throws(StorageError) in
                isUnfinished = try applier.purge(limit: Self.purgedAtOnce)
            }
        } catch {
            return false
        }
        return isUnfinished
    }

    private func transaction(
        on database: Database, _ applier: inout WriteApplier,
        _ body: (inout WriteApplier) throws(StorageError) -> Void
    ) throws(StorageError) {
        do {
            try database.run("BEGIN IMMEDIATE")
            try body(&applier)
            try database.run("COMMIT")
        } catch {
            applier.forgetEverything()
            // SQLite has rolled back already after some errors. If this fails too, the next BEGIN reports it.
            if database.isInTransaction { try? database.run("ROLLBACK") }
            throw error
        }
    }
}
