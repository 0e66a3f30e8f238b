/// Named values per owner: a roster, a node's items. Get it from `Storage.map` or `Storage.rawMap`.
public struct MapStore<Value: Sendable>: Sendable {
    public let address: StoreAddress
    private let storage: Storage
    private let coding: ValueCoding<Value>

    init(_ storage: Storage, _ address: StoreAddress, _ coding: ValueCoding<Value>) {
        self.storage = storage
        self.address = address
        self.coding = coding
    }

    /// The entries of an owner, in the order of the keys' bytes. Throws `.undecodable` if one is no `Value`.
    nonisolated(nonsending) public func entries(of owner: String) async throws(StorageError) -> [MapEntry<Value>] {
        var entries: [MapEntry<Value>] = []
        for entry in try await storage.driver.entries(in: address, of: owner) {
            let value = try storage.decode(entry.value, coding, store: address, owner: owner, key: entry.key)
            entries.append(MapEntry(key: entry.key, value: value))
        }
        return entries
    }

    /// One entry of an owner.
    nonisolated(nonsending) public func value(
        _ key: String, of owner: String
    ) async throws(StorageError) -> Value? {
        guard let bytes = try await storage.driver.entry(key, in: address, of: owner) else { return nil }
        return try storage.decode(bytes, coding, store: address, owner: owner, key: key)
    }

    /// Sets one entry of an owner.
    @discardableResult
    public func set(_ value: Value, _ key: String, of owner: String) -> CommitNumber {
        storage.driver.enqueue([setting(value, key, of: owner)])
    }

    /// The write that `set` queues, for callers that join several into one.
    public func setting(_ value: Value, _ key: String, of owner: String) -> StorageWrite {
        storage.write(value, coding, store: address, owner: owner, key: key) {
            .setEntry(address, owner: owner, key: key, value: $0)
        }
    }

    /// Removes one entry of an owner.
    @discardableResult
    public func delete(_ key: String, of owner: String) -> CommitNumber {
        storage.forget {
            $0.store == address && $0.owner == ExactString(owner) && $0.key == ExactString(key)
        }
        return storage.driver.enqueue([.deleteEntry(address, owner: owner, key: key)])
    }

    /// Removes every entry of an owner.
    @discardableResult
    public func deleteAll(of owner: String) -> CommitNumber {
        storage.forget { $0.store == address && $0.owner == ExactString(owner) }
        return storage.driver.enqueue([.delete(address, owner: owner)])
    }

    /// Makes these the only entries of an owner.
    @discardableResult
    public func replaceAll(_ entries: [MapEntry<Value>], of owner: String) -> CommitNumber {
        if storage.isUnreadable(address, owner: owner, anyKey: true) {
            let error = StorageError.undecodable(address, owner: owner, key: nil, "entries are kept until deleted")
            return storage.driver.enqueue([.fail(error)])
        }
        var encoded: [MapEntry<[UInt8]>] = []
        for entry in entries {
            let write = setting(entry.value, entry.key, of: owner)
            guard case .setEntry(_, _, let key, let bytes) = write else { return storage.driver.enqueue([write]) }
            encoded.append(MapEntry(key: key, value: bytes))
        }
        return storage.driver.enqueue([.replaceEntries(address, owner: owner, entries: encoded)])
    }

    /// A page of the owners that have an entry with this key, in the order of their bytes.
    nonisolated(nonsending) public func owners(
        having key: String, after: String? = nil, limit: Int = 100
    ) async throws(StorageError) -> [String] {
        try await storage.driver.owners(having: key, in: address, after: after, limit: limit)
    }

    /// A page of the owners that have entries, in the order of their bytes.
    nonisolated(nonsending) public func owners(
        after: String? = nil, limit: Int = 100
    ) async throws(StorageError) -> [String] {
        try await storage.driver.owners(in: address, after: after, limit: limit)
    }

    /// How many owners have entries.
    nonisolated(nonsending) public func ownerCount() async throws(StorageError) -> Int {
        try await storage.driver.ownerCount(in: address)
    }
}
