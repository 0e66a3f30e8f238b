import ServerKit

/// Turns writes into statements, on the writer's thread and inside its transaction.
///
/// It remembers ids and the ends of archives. After a rollback that memory is wrong: `forgetEverything()`.
struct WriteApplier {
    private struct Place: Hashable {
        let store: Int64
        let owner: Int64
    }

    /// What an append must know of an archive.
    private struct Archive {
        let id: Int64
        /// The last sequence number given.
        var last: Int64
        var oldest: Int64?
        /// The latest time of any item so far.
        var newest: Int64
        var disorder: Int64
    }

    /// Memory is bounded by starting afresh, which costs one look-up each.
    private static let rememberedOwners = 4096
    private static let rememberedArchives = 2048
    /// Archives up to this many items are deleted at once, larger ones in the background.
    private static let deletedAtOnce: Int64 = 1000

    private let database: Database
    private var stores: [StoreAddress: Int64] = [:]
    private var owners: [ExactString: Int64] = [:]
    private var archives: [Place: Archive] = [:]
    /// Whether texts are indexed; nil while that is not known.
    private var hasTextIndex: Bool?

    init(_ database: Database) {
        self.database = database
    }

    mutating func forgetEverything() {
        stores.removeAll()
        owners.removeAll()
        archives.removeAll()
        hasTextIndex = nil
    }

    mutating func apply(_ write: StorageWrite) throws(StorageError) {
        if let refusal = write.refusal { throw refusal }
        switch write {
        case .set(let store, let owner, let value):
            try database.run(
                "INSERT OR REPLACE INTO value (key, value) VALUES (?, ?)",
                .integer(PackedKey.value(store: try id(of: store), owner: try id(of: owner))), .blob(value))
        case .setEntry(let store, let owner, let key, let value):
            try setEntry(try id(of: store), try id(of: owner), key, value)
        case .deleteEntry(let store, let owner, let key):
            guard let place = try place(store, owner) else { return }
            try database.run(
                "DELETE FROM entry WHERE store = ? AND owner = ? AND key = ?",
                .integer(place.store), .integer(place.owner), .text(key))
        case .replaceEntries(let store, let owner, let entries):
            let place = Place(store: try id(of: store), owner: try id(of: owner))
            try deleteEntries(place)
            for entry in entries { try setEntry(place.store, place.owner, entry.key, entry.value) }
        case .append(let store, let owner, let item):
            try append(item, Place(store: try id(of: store), owner: try id(of: owner)))
        case .changeItem(let store, let owner, let id, let value, let text):
            try changeItem(id, value, text, try place(store, owner))
        case .deleteItem(let store, let owner, let id):
            try deleteItem(id, try place(store, owner))
        case .deleteItems(let store, let owner, let sequence):
            try deleteItems(through: sequence, try place(store, owner))
        case .deleteOlder(let store, let time, let limit):
            try deleteOlder(try id(of: store), than: time, limit: limit)
        case .delete(let store, let owner):
            guard let place = try place(store, owner) else { return }
            switch store.kind {
            case .values: try deleteValue(place)
            case .map: try deleteEntries(place)
            case .archive: try deleteArchive(place, keepingFloor: true)
            }
        case .removeOwner(let host, let owner):
            try removeOwner(owner, from: host)
        case .fail(let error):
            throw error
        }
    }
}

// MARK: - Values and maps

extension WriteApplier {
    private func setEntry(_ store: Int64, _ owner: Int64, _ key: String, _ value: [UInt8]) throws(StorageError) {
        try database.run(
            """
            INSERT INTO entry (store, owner, key, value) VALUES (?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET value = excluded.value
            """,
            .integer(store), .integer(owner), .text(key), .blob(value))
    }

    private func deleteValue(_ place: Place) throws(StorageError) {
        try database.run(
            "DELETE FROM value WHERE key = ?", .integer(PackedKey.value(store: place.store, owner: place.owner)))
    }

    private func deleteEntries(_ place: Place) throws(StorageError) {
        try database.run(
            "DELETE FROM entry WHERE store = ? AND owner = ?", .integer(place.store), .integer(place.owner))
    }

    private mutating func removeOwner(_ name: String, from host: String) throws(StorageError) {
        guard let owner = try existingID(of: name) else { return }
        let stores = try database.all("SELECT id FROM store WHERE host = ?", [.text(host)]) { $0.integer(0) }
        for store in stores {
            let place = Place(store: store, owner: owner)
            try deleteValue(place)
            try deleteEntries(place)
            try deleteArchive(place, keepingFloor: false)
        }
        // A removed account's address does not stay behind, unless another host's stores still speak of it.
        try database.run(
            """
            DELETE FROM owner WHERE id = ?1 AND NOT EXISTS (
                SELECT 1 FROM store s
                WHERE EXISTS (SELECT 1 FROM value WHERE key = s.id << 40 | ?1)
                   OR EXISTS (SELECT 1 FROM entry WHERE store = s.id AND owner = ?1)
                   OR EXISTS (SELECT 1 FROM archive WHERE store = s.id AND owner = ?1))
            """, .integer(owner))
        owners[ExactString(name)] = nil
    }
}

// MARK: - Archives

extension WriteApplier {
    private mutating func append(_ item: NewArchiveItem<[UInt8]>, _ place: Place) throws(StorageError) {
        var archive: Archive
        if let found = try self.archive(place) { archive = found } else { archive = try createArchive(place, floor: 0) }
        guard archive.last < PackedKey.maximumSequence else {
            throw StorageError(.refused, "\(database.path): an archive has used up its sequence numbers.")
        }
        do {
            try insert(item, archive)
        } catch {
            guard error.reason == .refused, try deleteRow(item.id, archive.id) else { throw error }
            try insert(item, archive)
            try database.run("UPDATE archive SET removed = removed + 1 WHERE id = ?", .integer(archive.id))
        }
        archive.last += 1
        if let text = item.text {
            try index(text, PackedKey.item(archive: archive.id, sequence: archive.last))
        }
        if item.time >= archive.newest {
            archive.newest = item.time
        } else {
            archive.disorder = max(archive.disorder, archive.newest.saturatingSubtracting(item.time))
            try database.run(
                "UPDATE archive SET newest = ?, disorder = ? WHERE id = ?",
                .integer(archive.newest), .integer(archive.disorder), .integer(archive.id))
        }
        if archive.oldest.map({ item.time < $0 }) ?? true {
            archive.oldest = item.time
            try database.run(
                "UPDATE archive SET oldest = ? WHERE id = ?", .integer(item.time), .integer(archive.id))
        }
        remember(archive, place)
    }

    private func insert(_ item: NewArchiveItem<[UInt8]>, _ archive: Archive) throws(StorageError) {
        try database.run(
            "INSERT INTO item (key, archive, id, time, peer, value) VALUES (?, ?, ?, ?, ?, ?)",
            .integer(PackedKey.item(archive: archive.id, sequence: archive.last + 1)), .integer(archive.id),
            .text(item.id), .integer(item.time), .text(item.with), .blob(item.value))
    }

    private mutating func changeItem(
        _ id: String, _ value: [UInt8]?, _ text: String?, _ place: Place?
    ) throws(StorageError) {
        guard let place, let archive = try archive(place) else { return }
        let key = try database.first(
            "SELECT key FROM item WHERE archive = ? AND id = ?", .integer(archive.id), .text(id)
        ) { $0.integer(0) }
        guard let key else { return }
        if let value { try database.run("UPDATE item SET value = ? WHERE key = ?", .blob(value), .integer(key)) }
        if try findTextIndex() { try database.run("DELETE FROM item_text WHERE rowid = ?", .integer(key)) }
        if let text { try index(text, key) }
    }

    private mutating func index(_ text: String, _ key: Int64) throws(StorageError) {
        if !(try findTextIndex()) {
            try database.execute(Schema.textIndex)
            hasTextIndex = true
        }
        try database.run("INSERT INTO item_text (rowid, text) VALUES (?, ?)", .integer(key), .text(text))
    }

    private mutating func findTextIndex() throws(StorageError) -> Bool {
        if let hasTextIndex { return hasTextIndex }
        let found = try database.first(Schema.hasTextIndex) { _ in true } ?? false
        hasTextIndex = found
        return found
    }

    private func deleteRow(_ id: String, _ archive: Int64) throws(StorageError) -> Bool {
        try database.run("DELETE FROM item WHERE archive = ? AND id = ?", .integer(archive), .text(id))
        return database.changes > 0
    }

    private mutating func deleteItem(_ id: String, _ place: Place?) throws(StorageError) {
        guard let place, let archive = try archive(place) else { return }
        if try deleteRow(id, archive.id) { try recordRemoval(of: 1, archive) }
    }

    private mutating func deleteItems(through sequence: Int64, _ place: Place?) throws(StorageError) {
        guard let place, let archive = try archive(place) else { return }
        try database.run(
            "DELETE FROM item WHERE key BETWEEN ? AND ?", .integer(PackedKey.item(archive: archive.id, sequence: 0)),
            .integer(PackedKey.item(archive: archive.id, clamping: sequence)))
        let count = database.changes
        if count > 0 { try recordRemoval(of: count, archive) }
    }

    /// Without the floor the number of a deleted last item would be given again.
    private func recordRemoval(of count: Int64, _ archive: Archive) throws(StorageError) {
        try database.run(
            "UPDATE archive SET floor = ?, removed = removed + ? WHERE id = ?",
            .integer(archive.last), .integer(count), .integer(archive.id))
    }

    private mutating func deleteOlder(_ store: Int64, than time: Int64, limit: Int) throws(StorageError) {
        var left = Int64(limit)
        // Every archive that is looked at counts as one, so that many without such items cannot hold up the writer.
        while left > 0 {
            let found = try database.first(
                "SELECT id, owner FROM archive WHERE store = ? AND oldest < ? ORDER BY oldest LIMIT 1",
                .integer(store), .integer(time)
            ) { (id: $0.integer(0), owner: $0.integer(1)) }
            guard let found else { return }
            let place = Place(store: store, owner: found.owner)
            guard let archive = try archive(place) else { return }
            let keys = PackedKey.items(of: archive.id)
            let range = try ArchiveSearch(database, archive.id, disorder: archive.disorder)
                .narrow(keys, start: nil, end: time.saturatingSubtracting(1))
            try database.run(
                """
                DELETE FROM item WHERE key IN (
                    SELECT key FROM item WHERE key BETWEEN ? AND ? AND time < ? ORDER BY key LIMIT ?)
                """,
                .integer(range.low), .integer(range.high), .integer(time), .integer(left))
            let count = database.changes
            if count > 0 { try recordRemoval(of: count, archive) }
            if count < left { try raiseOldest(archive, place) }
            left -= max(1, count)
        }
    }

    /// Makes the lower bound of an archive's times exact.
    private mutating func raiseOldest(_ archive: Archive, _ place: Place) throws(StorageError) {
        let keys = PackedKey.items(of: archive.id)
        // Where no item is older than one before it, the first is the oldest; otherwise all must be asked.
        let sql =
            archive.disorder == 0
            ? "SELECT time FROM item WHERE key BETWEEN ? AND ? ORDER BY key LIMIT 1"
            : "SELECT min(time) FROM item WHERE key BETWEEN ? AND ?"
        let found = try database.first(sql, .integer(keys.lowerBound), .integer(keys.upperBound)) {
            $0.optionalInteger(0)
        }
        var archive = archive
        archive.oldest = found ?? nil
        if let oldest = archive.oldest {
            try database.run(
                "UPDATE archive SET oldest = ? WHERE id = ?", .integer(oldest), .integer(archive.id))
        } else {
            try database.run("UPDATE archive SET oldest = NULL WHERE id = ?", .integer(archive.id))
        }
        remember(archive, place)
    }

    private mutating func deleteArchive(_ place: Place, keepingFloor: Bool) throws(StorageError) {
        guard let archive = try archive(place) else { return }
        archives[place] = nil
        let removed = try database.first("SELECT removed FROM archive WHERE id = ?", .integer(archive.id)) {
            $0.integer(0)
        }
        if archive.last - (removed ?? 0) <= Self.deletedAtOnce {
            let keys = PackedKey.items(of: archive.id)
            try database.run(
                "DELETE FROM item WHERE key BETWEEN ? AND ?",
                .integer(keys.lowerBound), .integer(keys.upperBound))
            try database.run("DELETE FROM archive WHERE id = ?", .integer(archive.id))
        } else {
            try database.run("UPDATE archive SET store = NULL, owner = NULL WHERE id = ?", .integer(archive.id))
        }
        if keepingFloor { _ = try createArchive(place, floor: archive.last) }
    }

    /// Removes some items of a deleted archive; false if there is nothing left to do. Runs when the writer is idle.
    func purge(limit: Int64) throws(StorageError) -> Bool {
        let archive = try database.first("SELECT id FROM archive WHERE store IS NULL LIMIT 1") { $0.integer(0) }
        guard let archive else { return false }
        let keys = PackedKey.items(of: archive)
        try database.run(
            "DELETE FROM item WHERE key IN (SELECT key FROM item WHERE key BETWEEN ? AND ? LIMIT ?)",
            .integer(keys.lowerBound), .integer(keys.upperBound), .integer(limit))
        if database.changes < limit {
            try database.run("DELETE FROM archive WHERE id = ?", .integer(archive))
        }
        return true
    }

    private mutating func archive(_ place: Place) throws(StorageError) -> Archive? {
        if let archive = archives[place] { return archive }
        let found = try database.first(
            "SELECT id, floor, oldest, newest, disorder FROM archive WHERE store = ? AND owner = ?",
            .integer(place.store), .integer(place.owner)
        ) { row in
            (
                id: row.integer(0), floor: row.integer(1), oldest: row.optionalInteger(2),
                newest: row.optionalInteger(3), disorder: row.integer(4)
            )
        }
        guard let found else { return nil }
        let keys = PackedKey.items(of: found.id)
        let last = try database.first(
            "SELECT key, time FROM item WHERE key BETWEEN ? AND ? ORDER BY key DESC LIMIT 1",
            .integer(keys.lowerBound), .integer(keys.upperBound)
        ) { (sequence: PackedKey.sequence(of: $0.integer(0)), time: $0.integer(1)) }
        // Since the last step back, which wrote `newest`, times only rose: the latest is that one or the last one.
        let archive = Archive(
            id: found.id, last: max(found.floor, last?.sequence ?? 0), oldest: found.oldest,
            newest: max(found.newest ?? .min, last?.time ?? .min), disorder: found.disorder)
        remember(archive, place)
        return archive
    }

    private mutating func createArchive(_ place: Place, floor: Int64) throws(StorageError) -> Archive {
        try database.run(
            "INSERT INTO archive (store, owner, floor, removed) VALUES (?, ?, ?3, ?3)",
            .integer(place.store), .integer(place.owner), .integer(floor))
        let archive = Archive(
            id: database.lastInsertedRow, last: floor, oldest: nil, newest: .min, disorder: 0)
        guard archive.id <= PackedKey.maximumArchive else {
            throw StorageError(.refused, "\(database.path): there are too many archives.")
        }
        remember(archive, place)
        return archive
    }

    private mutating func remember(_ archive: Archive, _ place: Place) {
        if archives.count >= Self.rememberedArchives { archives.removeAll(keepingCapacity: true) }
        archives[place] = archive
    }
}

// MARK: - Ids

extension WriteApplier {
    /// The ids of a store and an owner if both exist: what does not exist needs no deletion.
    private mutating func place(_ store: StoreAddress, _ owner: String) throws(StorageError) -> Place? {
        guard let owner = try existingID(of: owner) else { return nil }
        return Place(store: try id(of: store), owner: owner)
    }

    private mutating func id(of store: StoreAddress) throws(StorageError) -> Int64 {
        if let id = stores[store] { return id }
        let found = try database.first(
            "SELECT id FROM store WHERE host = ? AND name = ? AND kind = ?",
            .text(store.host), .text(store.name), .integer(store.kind.rawValue)
        ) { $0.integer(0) }
        let id = if let found { found } else { try insert(store) }
        guard id <= PackedKey.maximumStore else {
            throw StorageError(.refused, "\(database.path): there are too many stores.")
        }
        stores[store] = id
        return id
    }

    private func insert(_ store: StoreAddress) throws(StorageError) -> Int64 {
        try database.run(
            "INSERT INTO store (host, name, kind) VALUES (?, ?, ?)",
            .text(store.host), .text(store.name), .integer(store.kind.rawValue))
        return database.lastInsertedRow
    }

    private mutating func id(of owner: String) throws(StorageError) -> Int64 {
        if let id = try existingID(of: owner) { return id }
        try database.run("INSERT INTO owner (name) VALUES (?)", .text(owner))
        let id = database.lastInsertedRow
        guard id <= PackedKey.maximumOwner else {
            throw StorageError(.refused, "\(database.path): there are too many owners.")
        }
        owners[ExactString(owner)] = id
        return id
    }

    private mutating func existingID(of owner: String) throws(StorageError) -> Int64? {
        let name = ExactString(owner)
        if let id = owners[name] { return id }
        guard let id = try database.first("SELECT id FROM owner WHERE name = ?", .text(owner), row: { $0.integer(0) })
        else { return nil }
        if owners.count >= Self.rememberedOwners { owners.removeAll(keepingCapacity: true) }
        owners[name] = id
        return id
    }
}
