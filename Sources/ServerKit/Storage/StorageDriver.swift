/// A place where stores are kept. Drivers move bytes; `KeyValueStore`, `MapStore` and `ArchiveStore` give them types.
///
/// Writing never waits: `enqueue` may be called on any thread and returns before the disk is touched. Reading never
/// runs on the caller's thread and sees every write that was queued before it.
///
/// When a commit fails (the disk is full, read-only or broken) its writes are lost, the callbacks that wait for them
/// and the failure handler are told, and the next write is tried afresh: writes fail until a commit works again.
public protocol StorageDriver: AnyObject, Sendable {
    /// Queues writes, which take effect together and in the order of the calls. No writes: the last number is returned.
    func enqueue(_ writes: [StorageWrite]) -> CommitNumber

    /// The number of the newest queued write.
    var lastEnqueued: CommitNumber { get }

    /// Everything up to here has been decided: it is durable, or its failure was reported.
    var committed: CommitNumber { get }

    /// Calls `body` when write `number` has been decided, with the error if it was lost: at once on this thread if that
    /// is the case already, otherwise on the writer's thread, in the order of the numbers. `body` must be short.
    func onCommit(_ number: CommitNumber, _ body: @escaping @Sendable (StorageError?) -> Void)

    /// Sets who is told of failed commits, once per commit, on the writer's thread.
    func onFailure(_ body: @escaping @Sendable (StorageError) -> Void)

    /// Returns when every write queued so far has been decided.
    nonisolated(nonsending) func flush() async

    /// Commits what is queued and lets go of the files. Blocks meanwhile; later writes and reads fail with `.closed`.
    func close()

    /// Values: the value of an owner.
    nonisolated(nonsending) func value(
        in store: StoreAddress, of owner: String
    ) async throws(StorageError) -> [UInt8]?

    /// Map: the entries of an owner, in the order of the keys' bytes.
    nonisolated(nonsending) func entries(
        in store: StoreAddress, of owner: String
    ) async throws(StorageError) -> [MapEntry<[UInt8]>]

    /// Map: one entry of an owner.
    nonisolated(nonsending) func entry(
        _ key: String, in store: StoreAddress, of owner: String
    ) async throws(StorageError) -> [UInt8]?

    /// Map: a page of the owners that have an entry with this key, in the order of their bytes.
    nonisolated(nonsending) func owners(
        having key: String, in store: StoreAddress, after: String?, limit: Int
    ) async throws(StorageError) -> [String]

    /// Archive: whether items are found by their text; where they are not, texts are ignored.
    var searchesText: Bool { get }

    /// Archive: the items that match.
    nonisolated(nonsending) func items(
        in store: StoreAddress, of owner: String, matching query: ArchiveQuery
    ) async throws(StorageError) -> [ArchiveItem<[UInt8]>]

    /// Archive: one item.
    nonisolated(nonsending) func item(
        _ id: String, in store: StoreAddress, of owner: String
    ) async throws(StorageError) -> ArchiveItem<[UInt8]>?

    /// Archive: how many items match; at most the query's limit, if it has one. Constant time for all of an archive.
    nonisolated(nonsending) func count(
        in store: StoreAddress, of owner: String, matching query: ArchiveQuery
    ) async throws(StorageError) -> Int

    /// Archive: no item of any owner is older than this (microseconds since 1970); nil if there are none. Deletions
    /// raise it at the next `deleteOlder` only, which always does, so that a loop over both comes to an end.
    nonisolated(nonsending) func oldestTime(in store: StoreAddress) async throws(StorageError) -> Int64?

    /// Every kind: a page of the owners that have something in this store, in the order of their bytes.
    nonisolated(nonsending) func owners(
        in store: StoreAddress, after: String?, limit: Int
    ) async throws(StorageError) -> [String]

    /// Every kind: how many owners have something in this store.
    nonisolated(nonsending) func ownerCount(in store: StoreAddress) async throws(StorageError) -> Int

    /// The stores of a host in which an owner has something, for exports.
    nonisolated(nonsending) func stores(
        of owner: String, on host: String
    ) async throws(StorageError) -> [StoreAddress]
}

extension StorageDriver {
    public var searchesText: Bool { false }
}
