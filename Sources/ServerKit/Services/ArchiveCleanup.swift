/// Removes what is too old from an archive: once a day, in batches so small that nobody waits.
@ServerActor
public final class ArchiveCleanup {
    public struct Plan: Sendable {
        /// The hour of the day, in UTC.
        public let hour: Int
        /// How long items of any owner are kept; nil for ever.
        public let retention: Duration?

        public init(hour: Int, retention: Duration?) {
            self.hour = hour
            self.retention = retention
        }
    }

    private static let batch = 200
    private static let pause = Duration.milliseconds(50)
    /// When the server was down at the right hour, it is done after this long.
    private static let longest: Int64 = 30 * 3600

    private let host: ModuleHost
    private let store: ArchiveStore<[UInt8]>
    /// When it was done last, in seconds since 1970.
    private let rounds: KeyValueStore<Int64>
    private var isBusy = false
    /// Whether the module is unloaded, so that whatever is being done must end.
    public private(set) var isStopped = false

    /// - Parameter rounds: the name of the store that says when it was done last.
    public init(_ host: ModuleHost, _ store: ArchiveStore<[UInt8]>, rounds: String) {
        self.host = host
        self.store = store
        self.rounds = host.store(rounds)
    }

    /// Begins to look at the time.
    ///
    /// - Parameters:
    ///   - plan: asked anew each time.
    ///   - rest: what else is to be done once a day, such as for owners who want less kept.
    public func register(
        _ plan: @escaping @ServerActor () -> Plan, after rest: @escaping @ServerActor () async throws -> Void
    ) {
        host.onUnload { self.isStopped = true }
        host.every(.hours(1)) { self.cleanUpIfDue(plan(), rest) }
    }

    private func cleanUpIfDue(_ plan: Plan, _ rest: @escaping @ServerActor () async throws -> Void) {
        guard !isBusy else { return }
        isBusy = true
        Task { @ServerActor in
            do {
                try await self.cleanUp(plan, rest)
            } catch {
                self.host.log.error("Old messages cannot be removed", metadata: ["reason": "\(error)"])
            }
            self.isBusy = false
        }
    }

    private func cleanUp(_ plan: Plan, _ rest: @ServerActor () async throws -> Void) async throws {
        let now = host.clock.date.seconds
        let last = try await rounds.value(for: "last")
        let age = last.map { now - $0 } ?? 0
        let hour = Int(now / 3600 % 24)
        // What is never done cannot be late: the time is counted from the first look.
        if last == nil { rounds.set(now, for: "last") }
        guard hour == plan.hour && age >= 3600 || age > Self.longest else { return }
        rounds.set(now, for: "last")
        if let retention = plan.retention { try await remove(olderThan: retention) }
        try await rest()
    }

    /// What was stored before this time, in microseconds since 1970, is older than `age`.
    public func limit(_ age: Duration) -> Int64 { host.clock.date.advanced(by: .zero - age).microseconds }

    private func remove(olderThan age: Duration) async throws {
        let limit = limit(age)
        while !isStopped, let oldest = try await store.oldestTime(), oldest < limit {
            store.deleteOlder(than: limit, limit: Self.batch)
            await pause()
        }
    }

    /// Removes what one owner does not want kept as long as the others. XEP-0313 §3.2: only the oldest may go, there must
    /// be no holes.
    public func remove(olderThan age: Duration, of owner: String) async throws {
        let limit = limit(age)
        while !isStopped {
            let oldest = try await store.items(of: owner, ArchiveQuery(limit: Self.batch))
            let old = oldest.prefix { $0.time < limit }
            guard let last = old.last else { return }
            store.delete(through: last.sequence, of: owner)
            await pause()
        }
    }

    /// Lets others have their turns.
    public func pause() async {
        await withCheckedContinuation { continuation in
            host.clock.after(Self.pause) { continuation.resume() }
        }
    }
}
