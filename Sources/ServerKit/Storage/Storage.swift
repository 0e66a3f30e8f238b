import Synchronization

/// The storage of a server: one driver and the typed stores over it.
///
/// A caller that wants to acknowledge only what is durable compares `lastEnqueued` before and after its turn: if it
/// moved, the turn wrote, and `onCommit(lastEnqueued)` tells when the acknowledgement may leave.
public final class Storage: Sendable {
    public let driver: any StorageDriver

    private let unreadable = Mutex<Set<Place>>([])
    private let hasUnreadable = Atomic(false)
    private let losses = Losses()
    private let reportFailure: @Sendable (StorageError) -> Void

    /// - Parameter onFailure: is told of failed commits and of stored bytes that cannot be decoded, on any thread.
    public init(_ driver: any StorageDriver, onFailure: @escaping @Sendable (StorageError) -> Void = { _ in }) {
        self.driver = driver
        reportFailure = onFailure
        let losses = self.losses
        driver.onFailure { error in
            losses.count.wrappingAdd(1, ordering: .relaxed)
            onFailure(error)
        }
    }

    /// How many commits were lost so far. Grows before anybody who waits for one of them, or for a later one, is told.
    var lostCommits: Int { losses.count.load(ordering: .relaxed) }

    /// Counts lost commits, for whoever holds it.
    private final class Losses: Sendable {
        let count = Atomic(0)
    }

    /// The number of the newest queued write.
    public var lastEnqueued: CommitNumber { driver.lastEnqueued }

    /// Everything up to here has been decided. See `StorageDriver.committed`.
    public var committed: CommitNumber { driver.committed }

    /// So many queued writes that are not decided are more than a disk that keeps up ever has.
    static let patience: UInt64 = 4_096

    /// Whether more waits for the disk than it can take soon: nobody should be asked for more.
    public var isBehind: Bool { lastEnqueued.rawValue &- committed.rawValue > Self.patience }

    /// See `StorageDriver.onCommit`.
    public func onCommit(_ number: CommitNumber, _ body: @escaping @Sendable (StorageError?) -> Void) {
        driver.onCommit(number, body)
    }

    /// Returns when a write is durable, and throws if it was lost.
    nonisolated(nonsending) public func durable(_ number: CommitNumber) async throws(StorageError) {
        let error = await withCheckedContinuation { continuation in
            driver.onCommit(number) { continuation.resume(returning: $0) }
        }
        if let error { throw error }
    }

    /// One value per owner, as JSON.
    public func values<Value: Codable & Sendable>(
        _ name: String, on host: String, of type: Value.Type = Value.self
    ) -> KeyValueStore<Value> {
        KeyValueStore(self, StoreAddress(host: host, name: name, kind: .values), .json)
    }

    /// One value per owner, as bytes.
    public func rawValues(_ name: String, on host: String) -> KeyValueStore<[UInt8]> {
        KeyValueStore(self, StoreAddress(host: host, name: name, kind: .values), .bytes)
    }

    /// Named values per owner, as JSON.
    public func map<Value: Codable & Sendable>(
        _ name: String, on host: String, of type: Value.Type = Value.self
    ) -> MapStore<Value> {
        MapStore(self, StoreAddress(host: host, name: name, kind: .map), .json)
    }

    /// Named values per owner, as bytes.
    public func rawMap(_ name: String, on host: String) -> MapStore<[UInt8]> {
        MapStore(self, StoreAddress(host: host, name: name, kind: .map), .bytes)
    }

    /// Ordered items per owner, as JSON.
    public func archive<Value: Codable & Sendable>(
        _ name: String, on host: String, of type: Value.Type = Value.self
    ) -> ArchiveStore<Value> {
        ArchiveStore(self, StoreAddress(host: host, name: name, kind: .archive), .json)
    }

    /// Ordered items per owner, as bytes.
    public func rawArchive(_ name: String, on host: String) -> ArchiveStore<[UInt8]> {
        ArchiveStore(self, StoreAddress(host: host, name: name, kind: .archive), .bytes)
    }

    /// Removes all that an owner has in any store of a host.
    @discardableResult
    public func removeEverything(of owner: String, on host: String) -> CommitNumber {
        forget { $0.store.host == host && $0.owner == ExactString(owner) }
        return driver.enqueue([.removeOwner(host: host, owner: owner)])
    }
}

// MARK: - Values that cannot be decoded

extension Storage {
    /// Where a value lies that could not be decoded.
    struct Place: Hashable, Sendable {
        let store: StoreAddress
        let owner: ExactString
        let key: ExactString?
    }

    /// Decodes a value; if that fails the place is remembered and refuses to be overwritten until it is deleted.
    func decode<Value>(
        _ bytes: [UInt8], _ coding: ValueCoding<Value>, store: StoreAddress, owner: String, key: String? = nil
    ) throws(StorageError) -> Value {
        do {
            return try coding.decode(bytes)
        } catch {
            unreadable.withLock {
                _ = $0.insert(Place(store: store, owner: ExactString(owner), key: key.map(ExactString.init)))
            }
            hasUnreadable.store(true, ordering: .releasing)
            let failure = StorageError.undecodable(store, owner: owner, key: key, "\(error)")
            reportFailure(failure)
            throw failure
        }
    }

    /// Encodes a value into the write that `make` builds, or into one that fails in its place.
    func write<Value>(
        _ value: Value, _ coding: ValueCoding<Value>, store: StoreAddress, owner: String, key: String? = nil,
        _ make: ([UInt8]) -> StorageWrite
    ) -> StorageWrite {
        if isUnreadable(store, owner: owner, key: key) {
            return .fail(.undecodable(store, owner: owner, key: key, "it is kept until it is deleted"))
        }
        do {
            return make(try coding.encode(value))
        } catch {
            let place = StorageError.place(store, owner: owner, key: key)
            return .fail(StorageError(.unencodable, "A value for \(place) cannot be encoded: \(error)"))
        }
    }

    /// Whether a place, or with `anyKey` any entry of the owner, holds something that could not be decoded.
    func isUnreadable(_ store: StoreAddress, owner: String, key: String? = nil, anyKey: Bool = false) -> Bool {
        guard hasUnreadable.load(ordering: .acquiring) else { return false }
        return unreadable.withLock { places in
            anyKey
                ? places.contains { $0.store == store && $0.owner == ExactString(owner) }
                : places.contains(Place(store: store, owner: ExactString(owner), key: key.map(ExactString.init)))
        }
    }

    /// Allows writing again where something was deleted on purpose.
    func forget(_ isDeleted: (Place) -> Bool) {
        guard hasUnreadable.load(ordering: .acquiring) else { return }
        unreadable.withLock { $0 = $0.filter { !isDeleted($0) } }
    }
}

extension StorageError {
    static func place(_ store: StoreAddress, owner: String, key: String?) -> String {
        "\(owner) in store \(store)" + (key.map { ", entry \($0)" } ?? "")
    }

    static func undecodable(_ store: StoreAddress, owner: String, key: String?, _ detail: String) -> StorageError {
        StorageError(
            .undecodable, "The value of \(place(store, owner: owner, key: key)) cannot be decoded: \(detail)")
    }
}
