import ServerKit

/// The messages that wait for a component, on disk: a client that was told that its message was taken can rely on that.
@ServerActor
final class ComponentStore {
    private let store: ArchiveStore<[UInt8]>
    private let clock: any ServerClock
    private var ids = StanzaIDMaker()
    /// What has gone.
    private let done: GatheredDeletion

    private static let owner = "queue"

    init(_ host: ModuleHost) {
        store = host.rawArchive("component-queue")
        clock = host.clock
        done = GatheredDeletion(from: store, of: Self.owner, clock: host.clock)
    }

    /// Writes a stanza.
    ///
    /// - Returns: its name on disk; nil for what its sender would not want there.
    func keep(_ stanza: Stanza, sentAt stamp: Timestamp) -> String? {
        switch stanza {
        case .message(let message):
            if message.isError || message.has("no-store", .hints) || message.has("no-permanent-store", .hints) {
                return nil
            }
        case .presence(let presence): if !presence.kind.isSubscription { return nil }
        case .iq: return nil
        }
        let id = ids.make(at: clock.date)
        var writer = XMLWriter()
        writer.write(stanza, in: nil)
        store.append(NewArchiveItem(id: id, time: stamp.microseconds, value: writer.bytes), to: Self.owner)
        return id
    }

    /// Deletes it, together with others.
    func forget(_ id: String) { done.delete(id) }

    /// Deletes all that has gone.
    func flush() { done.flush() }

    /// What an earlier run of the server left. Its time begins anew: the component could not connect meanwhile.
    func load() async throws -> [ComponentQueue.Item] {
        try await store.items(of: Self.owner).compactMap { item in
            guard let element = try? Element.parse(item.value), let stanza = try? Stanza.parse(element) else {
                store.delete(item.id, of: Self.owner)
                return nil
            }
            return ComponentQueue.Item(
                stanza: stanza, since: clock.now, stamp: Timestamp(microseconds: item.time), stored: item.id)
        }
    }
}
