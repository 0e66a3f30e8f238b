/// What was found in an archive, as far as it goes into one answer. XEP-0313 §4.3. See ``ArchiveRequest``.
public struct ArchivePage: Sendable {
    /// How much goes into a page.
    public struct Limits: Sendable {
        /// The items of a page where the asker does not say.
        public let usual: Int
        /// The most items.
        public let most: Int
        /// The page ends with the item that makes this many bytes full.
        public let bytes: Int

        public init(usual: Int, most: Int, bytes: Int) {
            self.usual = min(usual, most)
            self.most = most
            self.bytes = bytes
        }
    }

    public typealias Item = ArchiveItem<[UInt8]>

    /// In the order of the archive.
    public var items: [Item]
    /// Whether nothing that matches lies beyond the page, in the direction of paging. XEP-0313 §4.3.2.
    public var isComplete: Bool
    /// Whether the answer may still change, as while an index is being made. XEP-0313 §4.3.2.
    public var isStable = true
    /// How many items match, where that is known; may be approximate (XEP-0059 §2.7).
    public var count: Int?

    public init(items: [Item], isComplete: Bool, count: Int? = nil) {
        self.items = items
        self.isComplete = isComplete
        self.count = count
    }

    /// What ends the answer. XEP-0313 §4.
    public var fin: Element {
        // Flipping a page changes the order in which it is sent, not what is first in it (XEP-0313 §4.3.4).
        let set = ResultSetResponse(first: items.first?.id, last: items.last?.id, count: count)
        return Element(
            "fin", .mam, ["complete": isComplete ? "true" : nil, "stable": isStable ? nil : "false"]
        ) { set.element }
    }

    /// A message that carries an item. XEP-0313 §4.2.
    ///
    /// - Parameter content: the archived message, as the asker may see it.
    public static func result(
        _ item: Item, queryID: String?, from archive: JID, to asker: JID, content: Element
    ) -> Message {
        Message(to: asker, from: archive) {
            Element("result", .mam, ["queryid": queryID, "id": item.id]) {
                Element("forwarded", .forward) {
                    Delay(stamp: Timestamp(microseconds: item.time)).element
                    content
                }
            }
        }
    }
}

extension ArchiveStore where Value == [UInt8] {
    /// Runs a request.
    ///
    /// - Parameter condition: adds what `with` means in this archive.
    /// - Throws: `.itemNotFound` when an id that is named does not exist (XEP-0313 §4.1.3, §4.3.2), or a storage error.
    nonisolated(nonsending) public func page(
        _ request: ArchiveRequest, of owner: String, limits: ArchivePage.Limits,
        condition: @Sendable (JID, inout ArchiveQuery) -> Void
    ) async throws -> ArchivePage {
        do throws(StorageError) {
            var query = ArchiveQuery(
                start: request.start?.microseconds, end: request.end?.microseconds)
            query.ids = request.ids
            query.words = request.words
            if let with = request.with { condition(with, &query) }
            let isBackwards = try await place(request, of: owner, &query)
            let size = min(request.page.max ?? limits.usual, limits.most)
            guard size > 0 else { return try await count(query, of: owner) }
            // One more than is wanted tells whether there is more.
            query.limit = size + 1
            query.byteLimit = limits.bytes
            query.order = isBackwards ? .newestFirst : .oldestFirst
            var items = try await (query.mark == nil ? self.items(of: owner, query) : marked(query, of: owner))
            let isFull = items.reduce(0) { $0 + $1.value.count } >= limits.bytes
            let isComplete = items.count <= size && !isFull
            items = Array(items.prefix(size))
            return ArchivePage(items: isBackwards ? items.reversed() : items, isComplete: isComplete)
        } catch {
            throw error.reason == .unknownItem ? StanzaError.itemNotFound : error
        }
    }

    /// Looks for marked items batch by batch, so that a search which finds nothing in a long archive lets other readers
    /// have their turns.
    nonisolated(nonsending) private func marked(
        _ query: ArchiveQuery, of owner: String
    ) async throws(StorageError) -> [ArchivePage.Item] {
        let (size, bytes) = (500, 1_048_576)
        var rest = query
        (rest.mark, rest.limit, rest.byteLimit) = (nil, size, bytes)
        var found: [ArchivePage.Item] = []
        var foundBytes = 0
        while true {
            let batch = try await items(of: owner, rest)
            for item in batch where query.mark?.isBorne(by: item.value) ?? true {
                found.append(item)
                foundBytes += item.value.count
                if found.count == query.limit || foundBytes >= query.byteLimit ?? .max { return found }
            }
            let isLast = batch.count < size && batch.reduce(0) { $0 + $1.value.count } < bytes
            guard let last = batch.last, !isLast else { return found }
            switch query.order {
            case .oldestFirst: rest.after = .sequence(last.sequence)
            case .newestFirst: rest.before = .sequence(last.sequence)
            }
        }
    }

    /// Writes the places between which the page lies into the query: those of the form, which belong to the result set,
    /// and those of the page. Where both are given the narrower ones count.
    ///
    /// - Returns: whether the page is the last before its place, rather than the first behind it.
    nonisolated(nonsending) private func place(
        _ request: ArchiveRequest, of owner: String, _ query: inout ArchiveQuery
    ) async throws(StorageError) -> Bool {
        query.after = request.afterID.map { .id($0) }
        query.before = request.beforeID.map { .id($0) }
        switch request.page.position {
        case .first, .index: return false
        case .last: return true
        case .after(let id):
            if let other = request.afterID {
                query.after = .sequence(max(try await sequence(of: id, owner), try await sequence(of: other, owner)))
            } else {
                query.after = .id(id)
            }
            return false
        case .before(let id):
            if let other = request.beforeID {
                query.before = .sequence(min(try await sequence(of: id, owner), try await sequence(of: other, owner)))
            } else {
                query.before = .id(id)
            }
            return true
        }
    }

    nonisolated(nonsending) private func sequence(
        of id: String, _ owner: String
    ) async throws(StorageError) -> Int64 {
        guard let item = try await item(id, of: owner) else { throw .unknownItem(id) }
        return item.sequence
    }

    /// XEP-0059 §2.7: the count alone. Counting stops where it takes long; the number is then approximate.
    nonisolated(nonsending) private func count(
        _ query: ArchiveQuery, of owner: String
    ) async throws(StorageError) -> ArchivePage {
        var query = query
        if !query.isEverything { (query.limit, query.depth) = (10_000, 10_000) }
        let count = try await self.count(of: owner, query)
        return ArchivePage(items: [], isComplete: count == 0, count: count)
    }
}
