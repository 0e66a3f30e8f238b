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
///
/// They are read on the path of each stanza, so that neither a cast nor a copy is made. A key has one type of value,
/// always: that is what the protocols of keys are for, and what the reading relies on.
public struct Slots {
    private final class Box<Value> {
        let value: Value

        init(_ value: Value) {
            self.value = value
        }
    }

    private var boxes: [(key: ObjectIdentifier, box: AnyObject)] = []

    public init() {}

    public func value<Value>(_ key: Any.Type, default defaultValue: @autoclosure () -> Value) -> Value {
        guard let index = index(of: key) else { return defaultValue() }
        // `set` was called with the same key, whose type of value is this.
        return unsafeDowncast(boxes[index].box, to: Box<Value>.self).value
    }

    public mutating func set<Value>(_ key: Any.Type, _ value: Value) {
        let box = Box(value)
        if let index = index(of: key) {
            boxes[index].box = box
        } else {
            boxes.append((ObjectIdentifier(key), box))
        }
    }

    public func contains(_ key: Any.Type) -> Bool { index(of: key) != nil }

    public mutating func remove(_ key: Any.Type) {
        if let index = index(of: key) { boxes.remove(at: index) }
    }

    /// By index: to iterate would retain each entry that is passed.
    private func index(of key: Any.Type) -> Int? {
        let id = ObjectIdentifier(key)
        for index in boxes.indices where boxes[index].key == id { return index }
        return nil
    }
}
