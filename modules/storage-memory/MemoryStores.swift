import ServerKit

/// What a memory driver holds.
struct MemoryStores: Sendable {
    var values: [StoreAddress: [ExactString: [UInt8]]] = [:]
    var maps: [StoreAddress: [ExactString: [ExactString: [UInt8]]]] = [:]
    var archives: [StoreAddress: [ExactString: MemoryArchive]] = [:]

    func owners(in store: StoreAddress) -> [ExactString] {
        switch store.kind {
        case .values: Array((values[store] ?? [:]).keys)
        case .map: (maps[store] ?? [:]).filter { !$0.value.isEmpty }.map(\.key)
        case .archive: (archives[store] ?? [:]).filter { !$0.value.items.isEmpty }.map(\.key)
        }
    }

    mutating func apply(_ write: StorageWrite) {
        switch write {
        case .set(let store, let owner, let value):
            values[store, default: [:]][ExactString(owner)] = value
        case .setEntry(let store, let owner, let key, let value):
            maps[store, default: [:]][ExactString(owner), default: [:]][ExactString(key)] = value
        case .deleteEntry(let store, let owner, let key):
            maps[store]?[ExactString(owner)]?[ExactString(key)] = nil
        case .replaceEntries(let store, let owner, let entries):
            maps[store, default: [:]][ExactString(owner)] = Dictionary(
                entries.map { (ExactString($0.key), $0.value) }, uniquingKeysWith: { $1 })
        case .append(let store, let owner, let item):
            archives[store, default: [:]][ExactString(owner), default: MemoryArchive()].append(item)
        case .changeItem(let store, let owner, let id, let value, let text):
            archives[store]?[ExactString(owner)]?.change(ExactString(id), value, text)
        case .deleteItem(let store, let owner, let id):
            archives[store]?[ExactString(owner)]?.remove { ExactString($0.id) == ExactString(id) }
        case .deleteItems(let store, let owner, let sequence):
            archives[store]?[ExactString(owner)]?.remove { $0.sequence <= sequence }
        case .deleteOlder(let store, let time, let limit):
            deleteOlder(store, than: time, limit: limit)
        case .delete(let store, let owner):
            values[store]?[ExactString(owner)] = nil
            maps[store]?[ExactString(owner)] = nil
            archives[store]?[ExactString(owner)]?.remove { _ in true }
        case .removeOwner(let host, let owner):
            for store in values.keys where store.host == host { values[store]?[ExactString(owner)] = nil }
            for store in maps.keys where store.host == host { maps[store]?[ExactString(owner)] = nil }
            for store in archives.keys where store.host == host { archives[store]?[ExactString(owner)] = nil }
        case .fail:
            return
        }
    }

    private mutating func deleteOlder(_ store: StoreAddress, than time: Int64, limit: Int) {
        var left = limit
        for owner in (archives[store] ?? [:]).keys.sorted() where left > 0 {
            archives[store]?[owner]?.remove { item in
                guard left > 0, item.time < time else { return false }
                left -= 1
                return true
            }
        }
    }
}

/// The archive of one owner.
struct MemoryArchive: Sendable {
    /// In the order of their sequence numbers.
    private(set) var items: [ArchiveItem<[UInt8]>] = []
    private(set) var sequences: [ExactString: Int64] = [:]
    /// The words of those items that have a text.
    private var words: [Int64: Set<String>] = [:]
    private var last: Int64 = 0

    mutating func append(_ item: NewArchiveItem<[UInt8]>) {
        let id = ExactString(item.id)
        if let sequence = sequences[id] {
            items.remove(at: index(notBefore: sequence))
            words[sequence] = nil
        }
        last += 1
        sequences[id] = last
        words[last] = item.text.map(Self.words)
        items.append(
            ArchiveItem(sequence: last, id: item.id, time: item.time, with: item.with, value: item.value))
    }

    mutating func remove(where condition: (ArchiveItem<[UInt8]>) -> Bool) {
        items.removeAll { item in
            guard condition(item) else { return false }
            sequences[ExactString(item.id)] = nil
            words[item.sequence] = nil
            return true
        }
    }

    mutating func change(_ id: ExactString, _ value: [UInt8]?, _ text: String?) {
        guard let sequence = sequences[id] else { return }
        words[sequence] = text.map(Self.words)
        guard let value else { return }
        let index = index(notBefore: sequence)
        let old = items[index]
        items[index] = ArchiveItem(sequence: sequence, id: old.id, time: old.time, with: old.with, value: value)
    }

    /// The words of a text, in lower case.
    private static func words(_ text: String) -> Set<String> {
        Set(text.lowercased().split { !$0.isLetter && !$0.isNumber }.map(String.init))
    }

    /// The index of the first item with this sequence number or a later one.
    func index(notBefore sequence: Int64) -> Int {
        var low = 0
        var high = items.count
        while low < high {
            let middle = (low + high) / 2
            if items[middle].sequence < sequence { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func items(matching query: ArchiveQuery) throws(StorageError) -> [ArchiveItem<[UInt8]>] {
        var low = 0
        var high = items.count
        if let after = query.after {
            let sequence = try sequence(of: after)
            low = sequence == .max ? items.count : index(notBefore: sequence + 1)
        }
        if let before = query.before { high = index(notBefore: try sequence(of: before)) }
        var ids: Set<Int64>?
        if let wanted = query.ids {
            ids = []
            for id in wanted { ids?.insert(try sequence(of: .id(id))) }
        }
        guard low < high else { return [] }
        let wanted = query.words.map { $0.map(Self.words).reduce(into: Set()) { $0.formUnion($1) } }
        let range = low..<high
        let ordered = query.order == .oldestFirst ? Array(items[range]) : items[range].reversed()
        let candidates = ordered.lazy.filter { item in
            item.matches(query) && ids?.contains(item.sequence) ?? true
                && wanted.map { !$0.isEmpty && $0.isSubset(of: words[item.sequence] ?? []) } ?? true
        }
        var bytes = 0
        var result: [ArchiveItem<[UInt8]>] = []
        for item in candidates.prefix(max(0, query.depth ?? .max)) where query.mark?.isBorne(by: item.value) ?? true {
            guard result.count < query.limit ?? .max else { break }
            result.append(item)
            bytes += item.value.count
            if bytes >= query.byteLimit ?? .max { break }
        }
        return result
    }

    private func sequence(of place: ArchiveQuery.Place) throws(StorageError) -> Int64 {
        switch place {
        case .sequence(let sequence): return sequence
        case .id(let id):
            guard let sequence = sequences[ExactString(id)] else { throw .unknownItem(id) }
            return sequence
        }
    }
}

extension ArchiveItem {
    fileprivate func matches(_ query: ArchiveQuery) -> Bool {
        if let start = query.start, time < start { return false }
        if let end = query.end, time > end { return false }
        if let with = query.with, ExactString(self.with) != ExactString(with) { return false }
        return true
    }
}
