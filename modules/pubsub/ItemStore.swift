import ServerKit

/// The items of a node as they are stored. What changes them is done in turns, see ``Node/turn(_:)``.
extension Service {
    /// The name of an item among all that the owner has.
    private func key(_ id: String, _ node: Node) -> String { "\(node.number)/\(id)" }

    /// All items of a node that have not expired.
    private func query(_ node: Node) -> ArchiveQuery {
        var query = ArchiveQuery(with: String(node.number))
        if let seconds = node.configuration.itemExpire {
            query.start = now.advanced(by: .seconds(-seconds)).microseconds
        }
        return query
    }

    private func write(deleting ids: [String], of node: Node) -> [StorageWrite] {
        ids.map { .deleteItem(stores.items.address, owner: owner, id: key($0, node)) }
    }

    // MARK: Reading

    func item(_ id: String, of node: Node) async throws -> Item? {
        guard let stored = try await stores.items.item(key(id, node), of: owner),
            stored.time >= query(node).start ?? .min
        else { return nil }
        return Item(stored: stored)
    }

    /// The item that was published last.
    func newestItem(of node: Node) async throws -> Item? {
        if case .none = node.newest { return nil }
        var query = query(node)
        query.limit = 1
        query.order = .newestFirst
        return try await stores.items.items(of: owner, query).first.flatMap { Item(stored: $0) }
    }

    func count(of node: Node) async throws -> Int { try await stores.items.count(of: owner, query(node)) }

    /// A run of items.
    struct Page {
        /// In the order of publication.
        var items: [Item] = []
        /// Where the first one stands, for counting what comes before.
        var start: Int64?
        /// Whether the page ends because nothing follows in its direction.
        var isComplete = false
    }

    /// Reads items in small portions, until there are enough or they are too large together.
    ///
    /// - Throws: `.itemNotFound` when the page borders on an item that does not exist (XEP-0059 §2.4).
    func page(
        of node: Node, _ position: ResultSetRequest.Position, limit: Int, bytes limitInBytes: Int
    ) async throws -> Page {
        var query = query(node)
        switch position {
        case .first: break
        case .after(let id): query.after = .id(key(id, node))
        case .before(let id): query.before = .id(key(id, node))
        case .last: break
        // XEP-0059 §2.6.
        case .index: throw StanzaError.featureNotImplemented
        }
        switch position {
        case .before, .last: query.order = .newestFirst
        case .first, .after, .index: query.order = .oldestFirst
        }
        var page = Page()
        var bytes = 0
        var isFull = false
        while !isFull, page.items.count < limit {
            query.limit = min(20, limit - page.items.count)
            let portion = try await portion(query)
            for stored in portion where !isFull {
                if query.order == .oldestFirst { query.after = .sequence(stored.sequence) }
                if query.order == .newestFirst { query.before = .sequence(stored.sequence) }
                if page.start == nil || query.order == .newestFirst { page.start = stored.sequence }
                bytes += stored.value.count
                if let item = Item(stored: stored) { page.items.append(item) }
                isFull = bytes >= limitInBytes
            }
            if portion.count < query.limit ?? 0 {
                page.isComplete = !isFull
                break
            }
        }
        if query.order == .newestFirst { page.items.reverse() }
        return page
    }

    private func portion(_ query: ArchiveQuery) async throws -> [ArchiveItem<[UInt8]>] {
        do {
            return try await stores.items.items(of: owner, query)
        } catch {
            guard error.reason == .unknownItem else { throw error }
            throw StanzaError.itemNotFound
        }
    }

    /// How many items stand before a place.
    func count(of node: Node, before place: Int64) async throws -> Int {
        var query = query(node)
        query.before = .sequence(place)
        return try await stores.items.count(of: owner, query)
    }

    // MARK: Changing

    /// Puts an item at the end, in place of one with the same id, and makes room for it. XEP-0060 §7.1.2.5.
    ///
    /// - Returns: the items that had to go.
    /// - Throws: `.nodeFull` where none may.
    func keep(_ item: Item, at node: Node) async throws -> [String] {
        let configuration = node.configuration
        let limit = configuration.itemLimit(options.maxItems)
        guard limit > 0 else { return [] }
        var writes = try await writeExpiry(of: node)
        let removed = try await room(for: item, at: node, limit, mayRemove: configuration.fullBehaviour != .reject)
        writes += write(deleting: removed, of: node)
        let new = NewArchiveItem(
            id: key(item.id, node), time: item.published.microseconds, with: String(node.number), value: item.stored)
        writes.append(stores.items.appending(new, to: owner))
        stores.write(writes)
        node.newest = .id(item.id)
        return removed
    }

    /// The items that must go before an item fits.
    private func room(for item: Item, at node: Node, _ limit: Int, mayRemove: Bool) async throws -> [String] {
        // Nearly all nodes of nearly all accounts keep one item, which needs no look at the storage.
        if limit == 1, case .id(let old) = node.newest, node.itemBound ?? 2 <= 1 {
            // Bytes are what the storage goes by; strings that look the same are equal.
            guard !old.utf8.elementsEqual(item.id.utf8) else { return [] }
            guard mayRemove else { throw StanzaError.nodeFull }
            return [old]
        }
        if let bound = node.itemBound, bound < limit {
            node.itemBound = bound + 1
            return []
        }
        let everything = ArchiveQuery(with: String(node.number))
        let count = try await stores.items.count(of: owner, everything)
        let isReplaced = try await stores.items.item(key(item.id, node), of: owner) != nil
        let excess = count - (isReplaced ? 1 : 0) + 1 - limit
        guard excess > 0 else {
            node.itemBound = isReplaced ? count : count + 1
            return []
        }
        guard mayRemove else { throw StanzaError.nodeFull }
        node.itemBound = limit
        return try await oldest(excess, of: node, but: item.id)
    }

    /// The ids of the oldest items.
    private func oldest(_ count: Int, of node: Node, but spared: String) async throws -> [String] {
        var ids: [String] = []
        var query = ArchiveQuery(with: String(node.number))
        while ids.count < count {
            query.limit = min(100, count - ids.count + 1)
            let portion = try await stores.items.items(of: owner, query)
            guard let last = portion.last else { break }
            query.after = .sequence(last.sequence)
            ids += portion.compactMap { Item(stored: $0)?.id }.filter { $0 != spared }
        }
        return Array(ids.prefix(count))
    }

    /// Removes what is too old. XEP-0060 §16.4.4, item_expire.
    private func writeExpiry(of node: Node) async throws -> [StorageWrite] {
        guard let start = query(node).start else { return [] }
        let old = ArchiveQuery(end: start - 1, with: String(node.number), limit: 100)
        return try await stores.items.items(of: owner, old).map {
            .deleteItem(stores.items.address, owner: owner, id: $0.id)
        }
    }

    /// Removes an item that is there.
    func delete(_ id: String, of node: Node) {
        stores.write(write(deleting: [id], of: node))
        if let bound = node.itemBound { node.itemBound = max(0, bound - 1) }
        node.newest = .unknown
    }

    /// Removes the oldest items beyond what the configuration allows.
    func trim(_ node: Node) async throws {
        let limit = node.configuration.itemLimit(options.maxItems)
        guard limit > 0 else { return try await deleteAllItems(of: node) }
        let excess = try await stores.items.count(of: owner, ArchiveQuery(with: String(node.number))) - limit
        guard excess > 0 else { return }
        stores.write(write(deleting: try await oldest(excess, of: node, but: ""), of: node))
        node.itemBound = limit
    }

    /// Removes all items, a few at a time.
    func deleteAllItems(of node: Node) async throws {
        let query = ArchiveQuery(with: String(node.number), limit: 100)
        while true {
            let portion = try await stores.items.items(of: owner, query)
            guard !portion.isEmpty else { break }
            stores.write(portion.map { .deleteItem(stores.items.address, owner: owner, id: $0.id) })
        }
        node.itemBound = 0
        node.newest = .none
    }
}
