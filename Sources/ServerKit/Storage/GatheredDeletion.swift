/// Deletes items of an owner's archive many at a time: each by itself costs as much as to have written it.
@ServerActor
public final class GatheredDeletion {
    private let store: ArchiveStore<[UInt8]>
    private let owner: String
    private let clock: any ServerClock
    private var ids: [String] = []
    private var isDue = false

    /// So many are deleted at once, whatever the time.
    private static let limit = 200
    private static let patience = Duration.milliseconds(500)

    public init(from store: ArchiveStore<[UInt8]>, of owner: String, clock: any ServerClock) {
        self.store = store
        self.owner = owner
        self.clock = clock
    }

    /// Deletes an item, within half a second.
    public func delete(_ id: String) {
        ids.append(id)
        if ids.count >= Self.limit { return flush() }
        guard !isDue else { return }
        isDue = true
        clock.after(Self.patience) { [weak self] in self?.flush() }
    }

    /// Deletes what is left now.
    public func flush() {
        isDue = false
        guard !ids.isEmpty else { return }
        store.delete(ids, of: owner)
        ids = []
    }
}
