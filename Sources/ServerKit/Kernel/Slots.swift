/// Names a value that a module keeps with a resource; forgotten when the resource goes away.
public protocol ResourceKey {
    associatedtype Value
    static var defaultValue: Value { get }
}

/// Names a value that a module keeps with a loaded account; it is loaded anew after the account was evicted.
public protocol AccountKey {
    associatedtype Value
    static var defaultValue: Value { get }
}

/// Values by the type that names them: what modules keep with something that is not theirs.
public struct Slots {
    private var values: [(key: ObjectIdentifier, value: Any)] = []

    public init() {}

    public func value<Value>(_ key: Any.Type, default defaultValue: @autoclosure () -> Value) -> Value {
        let id = ObjectIdentifier(key)
        // By index: to iterate would copy the value of each entry that is passed.
        for index in values.indices where values[index].key == id {
            if let value = values[index].value as? Value { return value }
        }
        return defaultValue()
    }

    public mutating func set(_ key: Any.Type, _ value: Any) {
        let id = ObjectIdentifier(key)
        if let index = values.firstIndex(where: { $0.key == id }) {
            values[index].value = value
        } else {
            values.append((id, value))
        }
    }

    public func contains(_ key: Any.Type) -> Bool {
        let id = ObjectIdentifier(key)
        return values.contains { $0.key == id }
    }

    public mutating func remove(_ key: Any.Type) {
        values.removeAll { $0.key == ObjectIdentifier(key) }
    }
}
