/// One value per owner. Get it from `Storage.values` or `Storage.rawValues`.
public struct KeyValueStore<Value: Sendable>: Sendable {
    public let address: StoreAddress
    private let storage: Storage
    private let coding: ValueCoding<Value>

    init(_ storage: Storage, _ address: StoreAddress, _ coding: ValueCoding<Value>) {
        self.storage = storage
        self.address = address
        self.coding = coding
    }

    /// The value of an owner. Throws `.undecodable` if there is one that is no `Value`.
    nonisolated(nonsending) public func value(for owner: String) async throws(StorageError) -> Value? {
        guard let bytes = try await storage.driver.value(in: address, of: owner) else { return nil }
        return try storage.decode(bytes, coding, store: address, owner: owner)
    }

    /// Sets the value of an owner.
    @discardableResult
    public func set(_ value: Value, for owner: String) -> CommitNumber {
        storage.driver.enqueue([setting(value, for: owner)])
    }

    /// The write that `set` queues, for callers that join several into one.
    public func setting(_ value: Value, for owner: String) -> StorageWrite {
        storage.write(value, coding, store: address, owner: owner) { .set(address, owner: owner, value: $0) }
    }

    /// Removes the value of an owner.
    @discardableResult
    public func delete(_ owner: String) -> CommitNumber {
        storage.forget { $0.store == address && $0.owner == ExactString(owner) }
        return storage.driver.enqueue([.delete(address, owner: owner)])
    }

    /// A page of the owners that have a value, in the order of their bytes.
    nonisolated(nonsending) public func owners(
        after: String? = nil, limit: Int = 100
    ) async throws(StorageError) -> [String] {
        try await storage.driver.owners(in: address, after: after, limit: limit)
    }

    /// How many owners have a value.
    nonisolated(nonsending) public func count() async throws(StorageError) -> Int {
        try await storage.driver.ownerCount(in: address)
    }
}
