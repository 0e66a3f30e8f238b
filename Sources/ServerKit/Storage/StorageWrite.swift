/// Where a store is: on which host, under which name, and of which kind. Two stores of one name and different kinds
/// are different stores.
public struct StoreAddress: Hashable, Sendable, CustomStringConvertible {
    public enum Kind: Int64, Hashable, Sendable {
        /// One value per owner.
        case values = 1
        /// Named values per owner.
        case map = 2
        /// Ordered items per owner.
        case archive = 3
    }

    public let host: String
    public let name: String
    public let kind: Kind

    public init(host: String, name: String, kind: Kind) {
        self.host = host
        self.name = name
        self.kind = kind
    }

    public var description: String { "\(name) of \(host)" }
}

/// A named value of a map store.
public struct MapEntry<Value: Sendable>: Sendable {
    public let key: String
    public let value: Value

    public init(key: String, value: Value) {
        self.key = key
        self.value = value
    }
}

extension MapEntry: Equatable where Value: Equatable {}

/// One change to stored data. What is passed to one `StorageDriver.enqueue` happens as a whole or not at all.
///
/// The kind of the address must be the one the case is for; a driver fails the write otherwise.
public enum StorageWrite: Sendable {
    /// Values: sets the value of an owner.
    case set(StoreAddress, owner: String, value: [UInt8])
    /// Map: sets one entry of an owner.
    case setEntry(StoreAddress, owner: String, key: String, value: [UInt8])
    /// Map: removes one entry of an owner, if it is there.
    case deleteEntry(StoreAddress, owner: String, key: String)
    /// Map: makes these the only entries of an owner. Of two with one key the later counts.
    case replaceEntries(StoreAddress, owner: String, entries: [MapEntry<[UInt8]>])
    /// Archive: puts an item at the end. An item with the same id is replaced, and the new one stands at the end.
    case append(StoreAddress, owner: String, item: NewArchiveItem<[UInt8]>)
    /// Archive: gives the item with this id, if it is there, another text, and another value unless that is nil. It
    /// keeps its place and its time.
    case changeItem(StoreAddress, owner: String, id: String, value: [UInt8]?, text: String?)
    /// Archive: removes the item with this id, if it is there.
    case deleteItem(StoreAddress, owner: String, id: String)
    /// Archive: removes the items up to and including a sequence number.
    case deleteItems(StoreAddress, owner: String, through: Int64)
    /// Archive: removes items older than a time (microseconds since 1970), of all owners, but at most `limit` of them.
    case deleteOlder(StoreAddress, than: Int64, limit: Int)
    /// Every kind: removes all that an owner has in this store.
    case delete(StoreAddress, owner: String)
    /// Removes all that an owner has in any store of a host.
    case removeOwner(host: String, owner: String)
    /// A value that could not be encoded. It takes its place in the order and fails there, so that whoever waits for
    /// its commit is told.
    case fail(StorageError)
}

extension StorageWrite {
    /// Why no driver would carry this write out, or nil. Drivers look before they begin.
    public var refusal: StorageError? {
        let (store, kind): (StoreAddress, StoreAddress.Kind)
        switch self {
        case .set(let address, _, _): (store, kind) = (address, .values)
        case .setEntry(let address, _, _, _), .deleteEntry(let address, _, _), .replaceEntries(let address, _, _):
            (store, kind) = (address, .map)
        case .append(let address, _, _), .changeItem(let address, _, _, _, _), .deleteItem(let address, _, _),
            .deleteItems(let address, _, _), .deleteOlder(let address, _, _):
            (store, kind) = (address, .archive)
        case .delete, .removeOwner: return nil
        case .fail(let error): return error
        }
        return store.kind == kind ? nil : StorageError(.refused, "The store \(store) is no store of \(kind).")
    }
}
