/// Ordered items per owner: messages, offline queues. Get it from `Storage.archive` or `Storage.rawArchive`.
public struct ArchiveStore<Value: Sendable>: Sendable {
    public let address: StoreAddress
    private let storage: Storage
    private let coding: ValueCoding<Value>

    init(_ storage: Storage, _ address: StoreAddress, _ coding: ValueCoding<Value>) {
        self.storage = storage
        self.address = address
        self.coding = coding
    }

    /// Puts an item at the end of an owner's archive. An item with the same id is replaced and moves to the end.
    @discardableResult
    public func append(_ item: NewArchiveItem<Value>, to owner: String) -> CommitNumber {
        storage.driver.enqueue([appending(item, to: owner)])
    }

    /// The write that `append` queues, for callers that join several into one.
    public func appending(_ item: NewArchiveItem<Value>, to owner: String) -> StorageWrite {
        storage.write(item.value, coding, store: address, owner: owner, key: item.id) {
            let bytes = NewArchiveItem(id: item.id, time: item.time, with: item.with, value: $0, text: item.text)
            return .append(address, owner: owner, item: bytes)
        }
    }

    /// Whether items are found by their text.
    public var searchesText: Bool { storage.driver.searchesText }

    /// Gives an item, if it is there, another value and another text. It keeps its place and its time.
    @discardableResult
    public func change(_ id: String, of owner: String, to value: Value, text: String? = nil) -> CommitNumber {
        let write = storage.write(value, coding, store: address, owner: owner, key: id) {
            .changeItem(address, owner: owner, id: id, value: $0, text: text)
        }
        return storage.driver.enqueue([write])
    }

    /// Gives items, those that are there, texts to be found by, all at once.
    @discardableResult
    public func setTexts(_ texts: [(id: String, text: String?)], of owner: String) -> CommitNumber {
        storage.driver.enqueue(
            texts.map { .changeItem(address, owner: owner, id: $0.id, value: nil, text: $0.text) })
    }

    /// The items that match, in the query's order. Throws `.unknownItem` if it names an id that does not exist.
    nonisolated(nonsending) public func items(
        of owner: String, _ query: ArchiveQuery = ArchiveQuery()
    ) async throws(StorageError) -> [ArchiveItem<Value>] {
        var items: [ArchiveItem<Value>] = []
        for item in try await storage.driver.items(in: address, of: owner, matching: query) {
            items.append(try decode(item, of: owner))
        }
        return items
    }

    /// One item.
    nonisolated(nonsending) public func item(
        _ id: String, of owner: String
    ) async throws(StorageError) -> ArchiveItem<Value>? {
        guard let item = try await storage.driver.item(id, in: address, of: owner) else { return nil }
        return try decode(item, of: owner)
    }

    /// The oldest item, by place.
    nonisolated(nonsending) public func first(of owner: String) async throws(StorageError) -> ArchiveItem<Value>? {
        try await items(of: owner, ArchiveQuery(limit: 1)).first
    }

    /// The newest item, by place.
    nonisolated(nonsending) public func last(of owner: String) async throws(StorageError) -> ArchiveItem<Value>? {
        try await items(of: owner, ArchiveQuery(limit: 1, order: .newestFirst)).first
    }

    /// How many items match, at most the query's limit. Constant time without conditions, else by counting.
    nonisolated(nonsending) public func count(
        of owner: String, _ query: ArchiveQuery = ArchiveQuery()
    ) async throws(StorageError) -> Int {
        try await storage.driver.count(in: address, of: owner, matching: query)
    }

    /// Removes one item.
    @discardableResult
    public func delete(_ id: String, of owner: String) -> CommitNumber {
        storage.forget {
            $0.store == address && $0.owner == ExactString(owner) && $0.key == ExactString(id)
        }
        return storage.driver.enqueue([.deleteItem(address, owner: owner, id: id)])
    }

    /// Removes items, those that are there, all at once.
    @discardableResult
    public func delete(_ ids: [String], of owner: String) -> CommitNumber {
        let keys = Set(ids.map { ExactString($0) })
        storage.forget { place in
            place.store == address && place.owner == ExactString(owner) && place.key.map(keys.contains) ?? false
        }
        return storage.driver.enqueue(ids.map { .deleteItem(address, owner: owner, id: $0) })
    }

    /// Removes the items up to and including a sequence number.
    @discardableResult
    public func delete(through sequence: Int64, of owner: String) -> CommitNumber {
        storage.driver.enqueue([.deleteItems(address, owner: owner, through: sequence)])
    }

    /// Removes every item of an owner.
    @discardableResult
    public func deleteAll(of owner: String) -> CommitNumber {
        storage.forget { $0.store == address && $0.owner == ExactString(owner) }
        return storage.driver.enqueue([.delete(address, owner: owner)])
    }

    /// Removes items older than `time` (microseconds since 1970) of all owners, at most `limit` of them. Repeat while
    /// `oldestTime` is before `time`.
    @discardableResult
    public func deleteOlder(than time: Int64, limit: Int) -> CommitNumber {
        storage.driver.enqueue([.deleteOlder(address, than: time, limit: limit)])
    }

    /// No item of any owner is older than this; nil if there are none. See `StorageDriver.oldestTime`.
    nonisolated(nonsending) public func oldestTime() async throws(StorageError) -> Int64? {
        try await storage.driver.oldestTime(in: address)
    }

    /// A page of the owners that have items, in the order of their bytes.
    nonisolated(nonsending) public func owners(
        after: String? = nil, limit: Int = 100
    ) async throws(StorageError) -> [String] {
        try await storage.driver.owners(in: address, after: after, limit: limit)
    }

    private func decode(
        _ item: ArchiveItem<[UInt8]>, of owner: String
    ) throws(StorageError) -> ArchiveItem<Value> {
        let value = try storage.decode(item.value, coding, store: address, owner: owner, key: item.id)
        return ArchiveItem(sequence: item.sequence, id: item.id, time: item.time, with: item.with, value: value)
    }
}
