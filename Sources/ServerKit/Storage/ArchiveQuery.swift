/// An item to be appended to an archive.
public struct NewArchiveItem<Value: Sendable>: Sendable {
    /// The item's name, unique for its owner: a stanza id or a node's item id.
    public let id: String
    /// Microseconds since 1970-01-01T00:00:00Z.
    public let time: Int64
    /// The peer, for queries by correspondent; empty if there is none.
    public let with: String
    public let value: Value
    /// What a search finds it by, where the driver searches text; nil for nothing.
    public let text: String?

    public init(id: String, time: Int64, with: String = "", value: Value, text: String? = nil) {
        self.id = id
        self.time = time
        self.with = with
        self.value = value
        self.text = text
    }
}

/// An item of an archive.
public struct ArchiveItem<Value: Sendable>: Sendable {
    /// The place in the owner's archive, from 1. Given at the commit in the order of the writes, never twice.
    public let sequence: Int64
    public let id: String
    /// Microseconds since 1970-01-01T00:00:00Z.
    public let time: Int64
    public let with: String
    public let value: Value

    public init(sequence: Int64, id: String, time: Int64, with: String, value: Value) {
        self.sequence = sequence
        self.id = id
        self.time = time
        self.with = with
        self.value = value
    }
}

extension NewArchiveItem: Equatable where Value: Equatable {}
extension ArchiveItem: Equatable where Value: Equatable {}

/// Which items of one owner's archive are wanted. All conditions must hold.
public struct ArchiveQuery: Hashable, Sendable {
    /// A place in the archive.
    public enum Place: Hashable, Sendable {
        case sequence(Int64)
        /// The place of the item with this id; if there is none the query fails with `.unknownItem`.
        case id(String)
    }

    public enum Order: Hashable, Sendable {
        case oldestFirst
        case newestFirst
    }

    /// Bytes at a place of the value, by which its owner tells items apart.
    public struct Mark: Hashable, Sendable {
        public let offset: Int
        public let bytes: [UInt8]

        public init(_ bytes: [UInt8], at offset: Int) {
            self.offset = offset
            self.bytes = bytes
        }

        /// Whether a value has the mark.
        public func isBorne(by value: [UInt8]) -> Bool {
            offset >= 0 && offset <= value.count && value[offset...].starts(with: bytes)
        }
    }

    /// Only what stands behind this place.
    public var after: Place?
    /// Only what stands before this place.
    public var before: Place?
    /// Only this time and later, in microseconds since 1970.
    public var start: Int64?
    /// Only this time and earlier, in microseconds since 1970.
    public var end: Int64?
    /// Only items with this peer.
    public var with: String?
    /// Only items with these ids; if one does not exist the query fails with `.unknownItem`.
    public var ids: [String]?
    /// Only items whose text has all of these words. Without a driver that searches text nothing is found.
    public var words: [String]?
    /// Only items whose values have this mark. Every item that the other conditions leave is read for it.
    public var mark: Mark?
    /// How many items are read for the mark, from where the query begins; nil for all.
    public var depth: Int?
    /// The most items to return; nil for all.
    public var limit: Int?
    /// The result ends with the item whose value makes this many bytes full.
    public var byteLimit: Int?
    public var order: Order

    public init(
        after: Place? = nil, before: Place? = nil, start: Int64? = nil, end: Int64? = nil, with: String? = nil,
        limit: Int? = nil, order: Order = .oldestFirst
    ) {
        self.after = after
        self.before = before
        self.start = start
        self.end = end
        self.with = with
        self.limit = limit
        self.order = order
    }

    /// Whether every item of the owner is meant.
    public var isEverything: Bool {
        after == nil && before == nil && start == nil && end == nil && with == nil && ids == nil && words == nil
            && mark == nil && limit == nil
    }
}
