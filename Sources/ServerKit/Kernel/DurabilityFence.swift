/// Remembers what must be on disk before a peer may be told that its stanzas were taken. One for each resource.
///
/// "Acknowledged means durable": a stanza may cause a write at once, or later, when the account it went to has been
/// loaded. The fence follows it through both.
@ServerActor
public final class DurabilityFence {
    private let storage: Storage
    /// Stanzas that wait for an account to be loaded, or for an answer that may still write.
    private var inFlight = 0
    /// The last write that any stanza of the peer caused.
    private var commit = CommitNumber.none
    private var waiting: [@ServerActor (StorageError?) -> Void] = []

    init(storage: Storage) {
        self.storage = storage
    }

    /// Runs `body`, and counts the writes it causes as the peer's.
    func track<T>(_ body: () throws -> T) rethrows -> T {
        let before = storage.lastEnqueued
        defer {
            let after = storage.lastEnqueued
            if after != before { commit = after }
        }
        return try body()
    }

    /// Counts everything up to `commit` as the peer's.
    func require(_ commit: CommitNumber) {
        self.commit = max(self.commit, commit)
    }

    /// A stanza of the peer is put off; `leave` must follow.
    func enter() {
        inFlight += 1
    }

    /// A stanza that was put off has been handled.
    func leave() {
        inFlight -= 1
        guard inFlight == 0, !waiting.isEmpty else { return }
        let waiting = self.waiting
        self.waiting = []
        for body in waiting { whenDurable(body) }
    }

    /// Whether everything the peer sent so far is on disk.
    public var isOpen: Bool { inFlight == 0 && commit <= storage.committed }

    /// Calls `body` when everything the peer sent so far is on disk, or with the error if it was lost: at once, if
    /// nothing is outstanding.
    public func whenDurable(_ body: @escaping @ServerActor (StorageError?) -> Void) {
        if inFlight > 0 { return waiting.append(body) }
        if commit <= storage.committed { return body(nil) }
        storage.onCommit(commit) { error in ServerActor.enqueue { body(error) } }
    }
}
