import ServerKit

/// What a room sends, in order. A message that is to be kept leaves only when it is on disk, and with it everything that
/// comes after it: who gets it may rely on it, and all see the same order (XEP-0045 §7.4).
///
/// What one stanza causes may be more than belongs into one turn of the server: as many stanzas as there are occupants,
/// for each of them. Then the rest leaves in later turns, between which others have theirs, and what comes after it waits.
@ServerActor
final class Outbox {
    /// Something that waits for its turn.
    private struct Item {
        /// Whether what it needs is on disk; nil while that is not decided.
        var outcome: Outcome?
        /// How many stanzas it comes to.
        let size: Int
        let body: @ServerActor (StorageError?) -> Void
    }

    private enum Outcome {
        case stored
        case lost(StorageError)
    }

    /// Stanzas after which the rest waits for another turn. A room of 50 never comes to so many.
    static let turnSize = 5_000
    /// Sockets are read before the next turn only if it does not follow at once.
    private static let pause = Duration.milliseconds(1)

    private let storage: Storage
    private let clock: any ServerClock
    private var waiting: ArraySlice<Item> = []
    /// Stanzas that wait.
    private var waitingSize = 0
    /// How many items have had their turn.
    private var taken = 0
    /// Stanzas that have left in this turn.
    private var sentSize = 0
    private var isPaused = false

    init(_ storage: Storage, _ clock: any ServerClock) {
        self.storage = storage
        self.clock = clock
    }

    /// Whether nothing waits.
    var isEmpty: Bool { waiting.isEmpty }

    /// Whether so much is being sent that nothing should be done that causes as much again.
    var isBusy: Bool { isPaused && waitingSize > 20 * Self.turnSize }

    /// Something has arrived from somebody: what it causes may have a turn of its own.
    func beginTurn() {
        if !isPaused { sentSize = 0 }
    }

    /// Sends something when everything before it has been sent.
    ///
    /// - Parameter size: how many stanzas that is.
    func send(size: Int = 1, _ body: @escaping @ServerActor () -> Void) {
        if waiting.isEmpty, sentSize < Self.turnSize {
            sentSize += size
            return body()
        }
        append(Item(outcome: .stored, size: size) { _ in body() })
        if sentSize >= Self.turnSize { pause() }
    }

    /// The same, when a write is on disk as well. If it was lost, `body` is told.
    func send(after commit: CommitNumber, size: Int = 1, _ body: @escaping @ServerActor (StorageError?) -> Void) {
        let number = taken + waiting.count
        append(Item(outcome: nil, size: size, body: body))
        // All ask at once: what is stored in one piece leaves in one turn, and with few writes to the sockets.
        storage.onCommit(commit) { error in
            ServerActor.enqueue { self.decide(number, error.map(Outcome.lost) ?? .stored) }
        }
    }

    private func append(_ item: Item) {
        waiting.append(item)
        waitingSize += item.size
    }

    private func decide(_ number: Int, _ outcome: Outcome) {
        waiting[waiting.startIndex + number - taken].outcome = outcome
        guard !isPaused else { return }
        sentSize = 0
        sendWaiting()
    }

    private func sendWaiting() {
        while let first = waiting.first, let outcome = first.outcome {
            guard sentSize < Self.turnSize else { return pause() }
            sentSize += first.size
            // While one runs it stays in line, so that what it causes comes after it.
            switch outcome {
            case .stored: first.body(nil)
            case .lost(let error): first.body(error)
            }
            waiting = waiting.dropFirst()
            waitingSize -= first.size
            taken += 1
        }
        if waiting.isEmpty { waiting = [] }
    }

    private func pause() {
        guard !isPaused else { return }
        isPaused = true
        clock.after(Self.pause) {
            self.isPaused = false
            self.sentSize = 0
            self.sendWaiting()
        }
    }
}
