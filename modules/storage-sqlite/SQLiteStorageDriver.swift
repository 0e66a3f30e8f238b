import Glibc
import ServerKit
import Synchronization

/// Stores in one SQLite database in WAL mode: a thread that writes, threads that read, and a lock against a second
/// server. A committed write survives `kill -9` and, unless `durability` is relaxed, a power failure.
public final class SQLiteStorageDriver: StorageDriver {
    public struct Options: Sendable {
        public enum Durability: Sendable {
            /// A commit is on the disk.
            case full
            /// A power failure may take the last commits; a crash of the server takes none.
            case relaxed
        }

        public var durability = Durability.full
        /// The least time between two commits; what arrives meanwhile shares one.
        public var groupInterval = Duration.milliseconds(2)
        /// Threads for reading, each with a connection and its cache.
        public var readers = 1
        /// Page caches in KiB: of the writer, and of each reader.
        public var writerCache = 4096
        public var readerCache = 512
        /// The most bytes the database may have; nil for what the disk holds.
        public var maximumSize: Int?

        public init() {}
    }

    /// After an unclean end a file up to this size is checked at once. A kill alone cannot damage it (the log is
    /// replayed); the check is for disks and power supplies that lie. It reads all of the file, so that a large one
    /// would keep the server away for minutes on a memory card: there damage is found when it is met.
    private static let checkedSize = 32 * 1024 * 1024

    private let writer: Writer
    private let readers: ReaderPool
    /// Whether the system's SQLite has FTS5.
    public let searchesText: Bool
    private let open: Mutex<(thread: WorkerThread, lock: DatabaseLock)?>

    /// Opens a database, or creates it. Blocks while it does.
    ///
    /// Throws if another process has it open, if it is damaged, of a later version or not ours, or cannot be written.
    public init(path: String, options: Options = Options()) throws(StorageError) {
        let lock = try DatabaseLock(path)
        do throws(StorageError) {
            let database = try Self.openWriter(path, options, isChecked: lock.wasUnclean)
            searchesText = try database.first("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'") { _ in true } ?? false
            let writer = Writer(groupInterval: options.groupInterval.nanoseconds)
            let cache = options.readerCache
            readers = ReaderPool(limit: options.readers) { () throws(StorageError) in
                try Self.openReader(path, cache: cache)
            }
            // The connection changes hands here, once: this thread does not touch it again.
            let handover = Handover(database)
            let thread = try WorkerThread("storage-write") { writer.run(on: handover.database) }
            self.writer = writer
            open = Mutex((thread, lock))
        } catch {
            lock.release()
            throw error
        }
    }

    deinit { close() }

    private static func openWriter(
        _ path: String, _ options: Options, isChecked: Bool
    ) throws(StorageError) -> Database {
        guard access(path, F_OK) != 0 || access(path, R_OK | W_OK) == 0 else {
            throw StorageError(.readOnly, "\(path): cannot be written to. Check owner, mode and mount.")
        }
        let database = try Database(path, .readWrite)
        let synchronous = options.durability == .full ? "FULL" : "NORMAL"
        // A log of 16 MiB is moved into the database by the commit that fills it, and a larger one is cut back after.
        try database.execute(
            """
            PRAGMA busy_timeout = 5000;
            PRAGMA journal_mode = WAL;
            PRAGMA synchronous = \(synchronous);
            PRAGMA foreign_keys = ON;
            PRAGMA wal_autocheckpoint = 4000;
            PRAGMA journal_size_limit = 33554432;
            PRAGMA cache_size = -\(options.writerCache);
            PRAGMA temp_store = MEMORY;
            """)
        if let size = options.maximumSize {
            let pageSize = try database.first("PRAGMA page_size") { $0.integer(0) } ?? 4096
            try database.execute("PRAGMA max_page_count = \(max(1, Int64(size) / max(1, pageSize)))")
        }
        if isChecked { try check(database) }
        try Schema.migrate(database)
        return database
    }

    private static func check(_ database: Database) throws(StorageError) {
        var status = stat()
        guard stat(database.path, &status) == 0, status.st_size <= checkedSize else { return }
        let result = try database.first("PRAGMA quick_check(1)") { $0.text(0) }
        guard result == "ok" else {
            throw StorageError(
                .corrupt, "\(database.path): the database is damaged (\(result ?? "")). Restore it from a backup.")
        }
    }

    private static func openReader(_ path: String, cache: Int) throws(StorageError) -> Database {
        let database = try Database(path, .readOnly)
        try database.execute(
            """
            PRAGMA busy_timeout = 5000;
            PRAGMA cache_size = -\(cache);
            PRAGMA temp_store = MEMORY;
            PRAGMA query_only = ON;
            """)
        return database
    }
}

/// `@unchecked Sendable`: carries a connection from the thread that opened it to the one that uses it from then on.
private final class Handover: @unchecked Sendable {
    let database: Database

    init(_ database: Database) { self.database = database }
}

extension Duration {
    fileprivate var nanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        guard seconds >= 0, seconds < 1_000_000 else { return 0 }
        return UInt64(seconds) * 1_000_000_000 + UInt64(max(0, attoseconds) / 1_000_000_000)
    }
}

// MARK: - Writing

extension SQLiteStorageDriver {
    public var lastEnqueued: CommitNumber { writer.lastEnqueued }
    public var committed: CommitNumber { writer.ledger.settled }

    public func enqueue(_ writes: [StorageWrite]) -> CommitNumber {
        writer.enqueue(writes)
    }

    public func onCommit(_ number: CommitNumber, _ body: @escaping @Sendable (StorageError?) -> Void) {
        writer.ledger.onCommit(number, body)
    }

    public func onFailure(_ body: @escaping @Sendable (StorageError) -> Void) {
        writer.ledger.onFailure(body)
    }

    nonisolated(nonsending) public func flush() async {
        await withCheckedContinuation { continuation in
            writer.ledger.onCommit(writer.lastEnqueued) { _ in continuation.resume() }
            writer.hurry()
        }
    }

    public func close() {
        let parts = open.withLock { parts in
            defer { parts = nil }
            return parts
        }
        guard let parts else { return }
        // Reads that wait for a commit are passed on by the writer, so that it ends first.
        writer.close()
        parts.thread.join()
        readers.close()
        parts.lock.release()
    }
}

// MARK: - Reading

extension SQLiteStorageDriver {
    /// Runs queries on a reader's thread once everything queued before has been decided, and in one snapshot.
    nonisolated(nonsending) private func read<Value: Sendable>(
        _ body: @escaping @Sendable (Queries) throws(StorageError) -> Value
    ) async throws(StorageError) -> Value {
        let result: Result<Value, StorageError> = await withCheckedContinuation { continuation in
            let last = writer.lastEnqueued
            let readers = readers
            writer.ledger.onCommit(last) { _ in
                readers.run { connection in
                    continuation.resume(returning: connection.flatMap { $0.inSnapshot(body) })
                }
            }
            if writer.ledger.settled < last { writer.hurry() }
        }
        return try result.get()
    }

    nonisolated(nonsending) public func value(
        in store: StoreAddress, of owner: String
    ) async throws(StorageError) -> [UInt8]? {
        try await read { queries throws(StorageError) in try queries.value(store, owner) }
    }

    nonisolated(nonsending) public func entries(
        in store: StoreAddress, of owner: String
    ) async throws(StorageError) -> [MapEntry<[UInt8]>] {
        try await read { queries throws(StorageError) in try queries.entries(store, owner) }
    }

    nonisolated(nonsending) public func entry(
        _ key: String, in store: StoreAddress, of owner: String
    ) async throws(StorageError) -> [UInt8]? {
        try await read { queries throws(StorageError) in try queries.entry(key, store, owner) }
    }

    nonisolated(nonsending) public func owners(
        having key: String, in store: StoreAddress, after: String?, limit: Int
    ) async throws(StorageError) -> [String] {
        try await read { queries throws(StorageError) in
            try queries.owners(having: key, store, after: after, limit: limit)
        }
    }

    nonisolated(nonsending) public func items(
        in store: StoreAddress, of owner: String, matching query: ArchiveQuery
    ) async throws(StorageError) -> [ArchiveItem<[UInt8]>] {
        try await read { queries throws(StorageError) in try queries.items(store, owner, query) }
    }

    nonisolated(nonsending) public func item(
        _ id: String, in store: StoreAddress, of owner: String
    ) async throws(StorageError) -> ArchiveItem<[UInt8]>? {
        try await read { queries throws(StorageError) in try queries.item(id, store, owner) }
    }

    nonisolated(nonsending) public func count(
        in store: StoreAddress, of owner: String, matching query: ArchiveQuery
    ) async throws(StorageError) -> Int {
        try await read { queries throws(StorageError) in try queries.count(store, owner, query) }
    }

    nonisolated(nonsending) public func oldestTime(in store: StoreAddress) async throws(StorageError) -> Int64? {
        try await read { queries throws(StorageError) in try queries.oldestTime(store) }
    }

    nonisolated(nonsending) public func owners(
        in store: StoreAddress, after: String?, limit: Int
    ) async throws(StorageError) -> [String] {
        try await read { queries throws(StorageError) in try queries.owners(store, after: after, limit: limit) }
    }

    nonisolated(nonsending) public func ownerCount(in store: StoreAddress) async throws(StorageError) -> Int {
        try await read { queries throws(StorageError) in try queries.ownerCount(store) }
    }

    nonisolated(nonsending) public func stores(
        of owner: String, on host: String
    ) async throws(StorageError) -> [StoreAddress] {
        try await read { queries throws(StorageError) in try queries.stores(of: owner, on: host) }
    }
}

extension Queries {
    fileprivate func inSnapshot<Value>(
        _ body: (Queries) throws(StorageError) -> Value
    ) -> Result<Value, StorageError> {
        do throws(StorageError) {
            try database.run("BEGIN")
            let value = try body(self)
            try database.run("COMMIT")
            return .success(value)
        } catch {
            if database.isInTransaction { try? database.run("ROLLBACK") }
            return .failure(error)
        }
    }
}
