import ServerKit

/// What a room sends, in order. A message that is to be kept leaves only when it is on disk, and with it everything that
/// comes after it: who gets it may rely on it, and all see the same order (XEP-0045 §7.4).
@ServerActor
final class Outbox {
    /// Something that waits for its turn.
    private struct Item {
        /// Whether what it needs is on disk; nil while that is not decided.
        var outcome: Outcome?
        let body: @ServerActor (StorageError?) -> Void
    }

    private enum Outcome {
        case stored
        case lost(StorageError)
    }

    private let storage: Storage
    private var waiting: ArraySlice<Item> = []
    /// How many have had their turn.
    private var taken = 0

    init(_ storage: Storage) {
        self.storage = storage
    }

    /// Whether nothing waits.
    var isEmpty: Bool { waiting.isEmpty }

    /// Sends something when everything before it has been sent.
    func send(_ body: @escaping @ServerActor () -> Void) {
        if waiting.isEmpty { return body() }
        waiting.append(Item(outcome: .stored) { _ in body() })
    }

    /// The same, when a write is on disk as well. If it was lost, `body` is told.
    func send(after commit: CommitNumber, _ body: @escaping @ServerActor (StorageError?) -> Void) {
        let number = taken + waiting.count
        waiting.append(Item(outcome: nil, body: body))
        // All ask at once: what is stored in one piece leaves in one turn, and with few writes to the sockets.
        storage.onCommit(commit) { error in
            ServerActor.enqueue { self.decide(number, error.map(Outcome.lost) ?? .stored) }
        }
    }

    private func decide(_ number: Int, _ outcome: Outcome) {
        waiting[waiting.startIndex + number - taken].outcome = outcome
        // While one runs it stays in line, so that what it causes comes after it.
        while let first = waiting.first, let outcome = first.outcome {
            switch outcome {
            case .stored: first.body(nil)
            case .lost(let error): first.body(error)
            }
            waiting = waiting.dropFirst()
            taken += 1
        }
        if waiting.isEmpty { waiting = [] }
    }
}
