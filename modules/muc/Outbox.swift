import ServerKit

/// What a room sends, in order. A message that is to be kept leaves only when it is on disk, and with it everything that
/// comes after it: who gets it may rely on it, and all see the same order (XEP-0045 §7.4).
@ServerActor
final class Outbox {
    private typealias Body = @ServerActor () -> Void

    private let storage: Storage
    private var waiting: ArraySlice<(commit: CommitNumber?, body: @ServerActor (StorageError?) -> Void)> = []
    private var isWaitingForDisk = false

    init(_ storage: Storage) {
        self.storage = storage
    }

    /// Whether nothing waits.
    var isEmpty: Bool { waiting.isEmpty }

    /// Sends something when everything before it has been sent.
    func send(_ body: @escaping @ServerActor () -> Void) {
        if waiting.isEmpty { return body() }
        waiting.append((nil, { _ in body() }))
    }

    /// The same, when a write is on disk as well. If it was lost, `body` is told.
    func send(after commit: CommitNumber, _ body: @escaping @ServerActor (StorageError?) -> Void) {
        waiting.append((commit, body))
        if waiting.count == 1 { goOn() }
    }

    private func goOn() {
        while let first = waiting.first {
            guard let commit = first.commit else {
                first.body(nil)
                waiting.removeFirst()
                continue
            }
            guard !isWaitingForDisk else { return }
            isWaitingForDisk = true
            storage.onCommit(commit) { error in
                ServerActor.enqueue {
                    self.isWaitingForDisk = false
                    // While it runs it stays in line, so that what it causes comes after it.
                    self.waiting.first?.body(error)
                    self.waiting = self.waiting.dropFirst()
                    self.goOn()
                }
            }
            return
        }
        waiting = []
    }
}
