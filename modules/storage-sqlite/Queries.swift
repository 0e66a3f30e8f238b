import ServerKit

/// What readers ask. Each query runs on a reader's thread, in a transaction of its own.
struct Queries {
    let database: Database

    /// The id of an existing store.
    private func id(of store: StoreAddress) throws(StorageError) -> Int64? {
        try database.first(
            "SELECT id FROM store WHERE host = ? AND name = ? AND kind = ?",
            .text(store.host), .text(store.name), .integer(store.kind.rawValue)
        ) { $0.integer(0) }
    }

    func value(_ store: StoreAddress, _ owner: String) throws(StorageError) -> [UInt8]? {
        guard let store = try id(of: store) else { return nil }
        return try database.first(
            "SELECT value FROM value WHERE key = ? << 40 | (SELECT id FROM owner WHERE name = ?)",
            .integer(store), .text(owner)
        ) { $0.blob(0) }
    }

    func entries(_ store: StoreAddress, _ owner: String) throws(StorageError) -> [MapEntry<[UInt8]>] {
        guard let store = try id(of: store) else { return [] }
        return try database.all(
            """
            SELECT key, value FROM entry WHERE store = ? AND owner = (SELECT id FROM owner WHERE name = ?)
            ORDER BY key
            """, [.integer(store), .text(owner)]
        ) { MapEntry(key: $0.text(0), value: $0.blob(1)) }
    }

    func entry(_ key: String, _ store: StoreAddress, _ owner: String) throws(StorageError) -> [UInt8]? {
        guard let store = try id(of: store) else { return nil }
        return try database.first(
            """
            SELECT value FROM entry
            WHERE store = ? AND owner = (SELECT id FROM owner WHERE name = ?) AND key = ?
            """, .integer(store), .text(owner), .text(key)
        ) { $0.blob(0) }
    }

    func owners(
        having key: String, _ store: StoreAddress, after: String?, limit: Int
    ) throws(StorageError) -> [String] {
        guard let store = try id(of: store) else { return [] }
        return try database.all(
            """
            SELECT o.name FROM entry e JOIN owner o ON o.id = e.owner
            WHERE e.store = ? AND e.key = ? AND o.name \(after == nil ? ">= ''" : "> ?4") ORDER BY o.name LIMIT ?3
            """, [.integer(store), .text(key), .integer(Int64(max(0, limit)))] + (after.map { [.text($0)] } ?? [])
        ) { $0.text(0) }
    }

    func owners(_ store: StoreAddress, after: String?, limit: Int) throws(StorageError) -> [String] {
        guard let id = try id(of: store) else { return [] }
        // Walking the owners by name gives pages of constant cost.
        return try database.all(
            """
            SELECT o.name FROM owner o
            WHERE o.name \(after == nil ? ">= ''" : "> ?3") AND \(Self.hasData(store.kind, store: "?1", owner: "o.id"))
            ORDER BY o.name LIMIT ?2
            """, [.integer(id), .integer(Int64(max(0, limit)))] + (after.map { [.text($0)] } ?? [])
        ) { $0.text(0) }
    }

    func ownerCount(_ store: StoreAddress) throws(StorageError) -> Int {
        guard let id = try id(of: store) else { return 0 }
        switch store.kind {
        case .values:
            let keys = PackedKey.values(of: id)
            return try count(
                "SELECT count(*) FROM value WHERE key BETWEEN ? AND ?",
                [.integer(keys.lowerBound), .integer(keys.upperBound)])
        case .map:
            return try count("SELECT count(DISTINCT owner) FROM entry WHERE store = ?", [.integer(id)])
        case .archive:
            return try count(
                """
                SELECT count(*) FROM archive WHERE store = ? AND EXISTS (
                    SELECT 1 FROM item WHERE key BETWEEN archive.id << 36 AND archive.id << 36 | 0xFFFFFFFFF)
                """, [.integer(id)])
        }
    }

    func stores(of owner: String, on host: String) throws(StorageError) -> [StoreAddress] {
        var found: [StoreAddress] = []
        for kind in [StoreAddress.Kind.values, .map, .archive] {
            let names = try database.all(
                """
                SELECT s.name FROM store s JOIN owner o ON o.name = ?2
                WHERE s.host = ?1 AND s.kind = ?3 AND \(Self.hasData(kind, store: "s.id", owner: "o.id"))
                """, [.text(host), .text(owner), .integer(kind.rawValue)]
            ) { $0.text(0) }
            found += names.map { StoreAddress(host: host, name: $0, kind: kind) }
        }
        return found.sorted { ($0.name, $0.kind.rawValue) < ($1.name, $1.kind.rawValue) }
    }

    private static func hasData(_ kind: StoreAddress.Kind, store: String, owner: String) -> String {
        switch kind {
        case .values: "EXISTS (SELECT 1 FROM value WHERE key = \(store) << 40 | \(owner))"
        case .map: "EXISTS (SELECT 1 FROM entry WHERE store = \(store) AND owner = \(owner))"
        case .archive:
            """
            EXISTS (SELECT 1 FROM archive a JOIN item i ON i.key BETWEEN a.id << 36 AND a.id << 36 | 0xFFFFFFFFF
                WHERE a.store = \(store) AND a.owner = \(owner))
            """
        }
    }

    private func count(_ sql: String, _ values: [Binding]) throws(StorageError) -> Int {
        Int(try database.all(sql, values) { $0.integer(0) }.first ?? 0)
    }
}

// MARK: - Archives

extension Queries {
    private struct Archive {
        let id: Int64
        let removed: Int64
        let floor: Int64
        let disorder: Int64
    }

    func items(
        _ store: StoreAddress, _ owner: String, _ query: ArchiveQuery
    ) throws(StorageError) -> [ArchiveItem<[UInt8]>] {
        guard let archive = try archive(store, owner) else {
            try refuseUnknownPlaces(query)
            return []
        }
        guard let selection = try select("item.key, item.id, item.time, item.peer, item.value", query, archive) else {
            return []
        }
        var items: [ArchiveItem<[UInt8]>] = []
        var bytes = 0
        try database.each(selection.sql, selection.values) { row in
            let item = row.item()
            items.append(item)
            bytes += item.value.count
            return bytes < query.byteLimit ?? .max
        }
        return items
    }

    func item(
        _ id: String, _ store: StoreAddress, _ owner: String
    ) throws(StorageError) -> ArchiveItem<[UInt8]>? {
        guard let archive = try archive(store, owner) else { return nil }
        return try database.first(
            "SELECT key, id, time, peer, value FROM item WHERE archive = ? AND id = ?",
            .integer(archive.id), .text(id)
        ) { $0.item() }
    }

    func count(_ store: StoreAddress, _ owner: String, _ query: ArchiveQuery) throws(StorageError) -> Int {
        guard let archive = try archive(store, owner) else {
            try refuseUnknownPlaces(query)
            return 0
        }
        if query.isEverything {
            let keys = PackedKey.items(of: archive.id)
            let last = try database.first(
                "SELECT key FROM item WHERE key BETWEEN ? AND ? ORDER BY key DESC LIMIT 1",
                .integer(keys.lowerBound), .integer(keys.upperBound)
            ) { PackedKey.sequence(of: $0.integer(0)) }
            return Int(max(archive.floor, last ?? 0) - archive.removed)
        }
        guard let selection = try select("item.key, item.value", query, archive) else { return 0 }
        return try count("SELECT count(*) FROM (\(selection.sql))", selection.values)
    }

    func oldestTime(_ store: StoreAddress) throws(StorageError) -> Int64? {
        guard let id = try id(of: store) else { return nil }
        let oldest = try database.first(
            "SELECT oldest FROM archive WHERE store = ? AND oldest IS NOT NULL ORDER BY oldest LIMIT 1", .integer(id)
        ) { $0.integer(0) }
        return oldest
    }

    private func archive(_ store: StoreAddress, _ owner: String) throws(StorageError) -> Archive? {
        guard let store = try id(of: store) else { return nil }
        return try database.first(
            """
            SELECT id, removed, floor, disorder FROM archive
            WHERE store = ? AND owner = (SELECT id FROM owner WHERE name = ?)
            """, .integer(store), .text(owner)
        ) { Archive(id: $0.integer(0), removed: $0.integer(1), floor: $0.integer(2), disorder: $0.integer(3)) }
    }

    /// The statement for these columns, among them the key and the value, and its values; nil if nothing can match.
    private func select(
        _ columns: String, _ query: ArchiveQuery, _ archive: Archive
    ) throws(StorageError) -> Selection? {
        var low = PackedKey.items(of: archive.id).lowerBound
        var high = PackedKey.items(of: archive.id).upperBound
        if let after = query.after { low = max(low, try key(after, archive) + 1) }
        if let before = query.before { high = min(high, try key(before, archive) - 1) }
        var keys: [Int64]?
        if let ids = query.ids {
            keys = []
            for id in ids { keys?.append(try key(.id(id), archive)) }
        }
        guard low <= high else { return nil }
        (low, high) = try ArchiveSearch(database, archive.id, disorder: archive.disorder)
            .narrow(low...high, start: query.start, end: query.end)
        guard low <= high else { return nil }

        var selection = Selection(columns: columns, order: query.order)
        if let words = query.words {
            guard try database.first(Schema.hasTextIndex, row: { _ in true }) ?? false,
                let expression = Self.expression(for: words)
            else { return nil }
            selection.search(expression)
        }
        selection.add("\(selection.key) BETWEEN ? AND ?", .integer(low), .integer(high))
        if let keys {
            // As JSON, so that the statement is the same however many there are.
            let list = "[" + keys.map(String.init).joined(separator: ",") + "]"
            selection.add("\(selection.key) IN (SELECT value FROM json_each(?))", .text(list))
        }
        if let with = query.with, with.isEmpty {
            selection.add("item.peer = ''")
        } else if let with = query.with {
            if query.words == nil, keys == nil {
                // The condition that the index has must be repeated word for word.
                selection.usePeerIndex()
                selection.add("item.archive = ? AND item.peer = ? AND item.peer <> ''", .integer(archive.id), .text(with))
            } else {
                selection.add("item.peer = ?", .text(with))
            }
        }
        if archive.disorder != 0, query.start != nil || query.end != nil {
            selection.add("item.time BETWEEN ? AND ?", .integer(query.start ?? .min), .integer(query.end ?? .max))
        }
        selection.limit(query)
        return selection
    }

    /// A search for all words, in the language of FTS5. Quoted, words are words, whatever else they would mean there.
    private static func expression(for words: [String]) -> String? {
        let words = words.flatMap { $0.split { !$0.isLetter && !$0.isNumber } }
        return words.isEmpty ? nil : words.map { "\"\($0)\"" }.joined(separator: " ")
    }

    private func key(_ place: ArchiveQuery.Place, _ archive: Archive) throws(StorageError) -> Int64 {
        switch place {
        case .sequence(let sequence):
            return PackedKey.item(archive: archive.id, clamping: sequence)
        case .id(let id):
            let key = try database.first(
                "SELECT key FROM item WHERE archive = ? AND id = ?", .integer(archive.id), .text(id)
            ) { $0.integer(0) }
            guard let key else { throw .unknownItem(id) }
            return key
        }
    }

    private func refuseUnknownPlaces(_ query: ArchiveQuery) throws(StorageError) {
        if case .id(let id) = query.after { throw .unknownItem(id) }
        if case .id(let id) = query.before { throw .unknownItem(id) }
        if let id = query.ids?.first { throw .unknownItem(id) }
    }
}

/// A statement over the items of one archive, put together from its conditions.
private struct Selection {
    private(set) var sql: String
    private(set) var values: [Binding] = []
    /// What the items are found and ordered by.
    private(set) var key = "item.key"
    private let columns: String
    private let direction: String
    private var source = "item"
    private var conditions: [String] = []

    init(columns: String, order: ArchiveQuery.Order) {
        self.columns = columns
        direction = order == .oldestFirst ? "ASC" : "DESC"
        sql = ""
    }

    /// Begins with what the text index finds, in the order of its row numbers.
    mutating func search(_ expression: String) {
        source = "item_text CROSS JOIN item ON item.key = item_text.rowid"
        key = "item_text.rowid"
        add("item_text MATCH ?", .text(expression))
    }

    mutating func usePeerIndex() {
        source = "item INDEXED BY item_peer"
    }

    mutating func add(_ condition: String, _ values: Binding...) {
        conditions.append(condition)
        self.values += values
    }

    /// Ends the statement.
    mutating func limit(_ query: ArchiveQuery) {
        let limit = query.limit.map { Int64(max(0, $0)) } ?? -1
        sql = "SELECT \(columns) FROM \(source) WHERE \(conditions.joined(separator: " AND "))"
            + " ORDER BY \(key) \(direction) LIMIT ?"
        guard let mark = query.mark else { return values.append(.integer(limit)) }
        // Around the ordered rows, so that no more of them are read than the depth allows.
        sql = "SELECT * FROM (\(sql)) WHERE substr(value, ?, ?) = ? ORDER BY key \(direction) LIMIT ?"
        values += [
            .integer(query.depth.map { Int64(max(0, $0)) } ?? -1), .integer(Int64(mark.offset + 1)),
            .integer(Int64(mark.bytes.count)), .blob(mark.bytes), .integer(limit),
        ]
    }
}

extension Row {
    fileprivate func item() -> ArchiveItem<[UInt8]> {
        ArchiveItem(
            sequence: PackedKey.sequence(of: integer(0)), id: text(1), time: integer(2), with: text(3), value: blob(4))
    }
}
