import ServerKit
import Synchronization

/// Stores that live in memory: for tests, and for hosts that keep nothing. Every write is decided at once, unless a
/// test holds the commits back or lets them fail.
public final class MemoryStorageDriver: StorageDriver {
    fileprivate struct State {
        var stores = MemoryStores()
        var last = CommitNumber.none
        var isHolding = false
        var isClosed = false
        var failure: StorageError?
    }

    private let state = Mutex(State())
    private let ledger = CommitLedger()

    public init() {}

    public var lastEnqueued: CommitNumber { state.withLock { $0.last } }
    public var committed: CommitNumber { ledger.settled }
    public var searchesText: Bool { true }

    public func enqueue(_ writes: [StorageWrite]) -> CommitNumber {
        let (number, tell): (CommitNumber, (() -> Void)?) = state.withLock { state in
            guard !writes.isEmpty else { return (state.last, nil) }
            state.last = state.last.next
            let error = state.apply(writes)
            if state.isHolding, error == nil { return (state.last, nil) }
            return (state.last, ledger.decide(through: state.last, error))
        }
        tell?()
        return number
    }

    public func onCommit(_ number: CommitNumber, _ body: @escaping @Sendable (StorageError?) -> Void) {
        ledger.onCommit(number, body)
    }

    public func onFailure(_ body: @escaping @Sendable (StorageError) -> Void) {
        ledger.onFailure(body)
    }

    nonisolated(nonsending) public func flush() async {
        await withCheckedContinuation { continuation in
            ledger.onCommit(lastEnqueued) { _ in continuation.resume() }
        }
    }

    public func close() {
        release()
        state.withLock { $0.isClosed = true }
    }
}

// MARK: - For tests

extension MemoryStorageDriver {
    /// Keeps writes from being decided, as a slow disk would. They are visible to reads all the same.
    public func hold() {
        state.withLock { $0.isHolding = true }
    }

    /// Decides what was held back, and everything after it at once again.
    public func release() {
        let last = state.withLock { state in
            state.isHolding = false
            return state.last
        }
        ledger.settle(through: last)
    }

    /// Lets every later write fail with this error, as a full disk would; nil makes them work again. A failing write
    /// takes the writes that are held back with it.
    public func fail(with error: StorageError?) {
        state.withLock { $0.failure = error }
    }
}

extension MemoryStorageDriver.State {
    fileprivate mutating func apply(_ writes: [StorageWrite]) -> StorageError? {
        if isClosed { return StorageError(.closed, "The storage is closed.") }
        if let failure { return failure }
        for write in writes {
            if let error = write.refusal { return error }
        }
        for write in writes { stores.apply(write) }
        return nil
    }
}

// MARK: - Reading

extension MemoryStorageDriver {
    private func read<Value>(_ body: (MemoryStores) throws(StorageError) -> Value) throws(StorageError) -> Value {
        let stores: Result<MemoryStores, StorageError> = state.withLock { state in
            state.isClosed ? .failure(StorageError(.closed, "The storage is closed.")) : .success(state.stores)
        }
        return try body(try stores.get())
    }

    nonisolated(nonsending) public func value(
        in store: StoreAddress, of owner: String
    ) async throws(StorageError) -> [UInt8]? {
        try read { $0.values[store]?[ExactString(owner)] }
    }

    nonisolated(nonsending) public func entries(
        in store: StoreAddress, of owner: String
    ) async throws(StorageError) -> [MapEntry<[UInt8]>] {
        try read { stores in
            (stores.maps[store]?[ExactString(owner)] ?? [:]).sorted { $0.key < $1.key }
                .map { MapEntry(key: $0.key.text, value: $0.value) }
        }
    }

    nonisolated(nonsending) public func entry(
        _ key: String, in store: StoreAddress, of owner: String
    ) async throws(StorageError) -> [UInt8]? {
        try read { $0.maps[store]?[ExactString(owner)]?[ExactString(key)] }
    }

    nonisolated(nonsending) public func owners(
        having key: String, in store: StoreAddress, after: String?, limit: Int
    ) async throws(StorageError) -> [String] {
        try read { stores in
            let owners = (stores.maps[store] ?? [:]).filter { $0.value[ExactString(key)] != nil }.keys
            return page(Array(owners), after: after, limit: limit)
        }
    }

    nonisolated(nonsending) public func items(
        in store: StoreAddress, of owner: String, matching query: ArchiveQuery
    ) async throws(StorageError) -> [ArchiveItem<[UInt8]>] {
        try read { stores throws(StorageError) in
            guard let archive = stores.archives[store]?[ExactString(owner)] else {
                return try MemoryArchive().items(matching: query)
            }
            return try archive.items(matching: query)
        }
    }

    nonisolated(nonsending) public func item(
        _ id: String, in store: StoreAddress, of owner: String
    ) async throws(StorageError) -> ArchiveItem<[UInt8]>? {
        try read { stores in
            guard let archive = stores.archives[store]?[ExactString(owner)],
                let sequence = archive.sequences[ExactString(id)]
            else { return nil }
            return archive.items[archive.index(notBefore: sequence)]
        }
    }

    nonisolated(nonsending) public func count(
        in store: StoreAddress, of owner: String, matching query: ArchiveQuery
    ) async throws(StorageError) -> Int {
        try await items(in: store, of: owner, matching: query).count
    }

    nonisolated(nonsending) public func oldestTime(in store: StoreAddress) async throws(StorageError) -> Int64? {
        try read { $0.archives[store]?.values.compactMap { $0.items.map(\.time).min() }.min() }
    }

    nonisolated(nonsending) public func owners(
        in store: StoreAddress, after: String?, limit: Int
    ) async throws(StorageError) -> [String] {
        try read { page($0.owners(in: store), after: after, limit: limit) }
    }

    nonisolated(nonsending) public func ownerCount(in store: StoreAddress) async throws(StorageError) -> Int {
        try read { $0.owners(in: store).count }
    }

    nonisolated(nonsending) public func stores(
        of owner: String, on host: String
    ) async throws(StorageError) -> [StoreAddress] {
        try read { stores in
            let all = Array(stores.values.keys) + Array(stores.maps.keys) + Array(stores.archives.keys)
            return all.filter { $0.host == host && stores.owners(in: $0).contains(ExactString(owner)) }
                .sorted { ($0.name, $0.kind.rawValue) < ($1.name, $1.kind.rawValue) }
        }
    }
}

private func page(_ owners: [ExactString], after: String?, limit: Int) -> [String] {
    owners.sorted().filter { owner in after.map { owner > ExactString($0) } ?? true }
        .prefix(max(0, limit)).map(\.text)
}
