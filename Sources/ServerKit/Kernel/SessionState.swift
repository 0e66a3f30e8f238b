/// What modules keep with a resource and want back after a restart of the server, by name.
@ServerActor
public final class SessionState {
    private struct Entry {
        let read: @ServerActor (Resource) -> [UInt8]?
        let write: @ServerActor (Resource, [UInt8]) -> Void
    }

    private var entries: [String: Entry] = [:]

    init() {}

    func add<Key: ResourceKey>(_ name: String, _ key: Key.Type) where Key.Value: Codable & Sendable {
        let coding = ValueCoding<Key.Value>.json
        entries[name] = Entry(
            read: { resource in resource.hasValue(key) ? try? coding.encode(resource[key]) : nil },
            write: { resource, bytes in if let value = try? coding.decode(bytes) { resource[key] = value } })
    }

    func remove(_ name: String) {
        entries[name] = nil
    }

    /// What modules keep with a resource, to be stored.
    public func state(of resource: Resource) -> [String: [UInt8]] {
        entries.compactMapValues { $0.read(resource) }
    }

    /// Gives a resource back what was stored. What no module asks for any more, or cannot be read, is left out.
    public func restore(_ state: [String: [UInt8]], to resource: Resource) {
        for (name, bytes) in state { entries[name]?.write(resource, bytes) }
    }
}
