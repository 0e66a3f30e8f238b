import ServerKit

/// Sees to it that all messages can be found by their words: those that come are indexed as they are stored, and those
/// that came while searching was off are indexed here, a few at a time.
@ServerActor
final class SearchIndex {
    /// How far that got. Missing while searching was never on.
    private struct State: Codable {
        /// Messages from this time on, in microseconds since 1970, may lack their index; nil when none do.
        var since: Int64?
        /// The accounts up to this one are done.
        var after: String?
        /// When searching was switched off, in microseconds since 1970.
        var offSince: Int64?
    }

    private static let owner = "index"
    private static let batch = 50
    private static let pause = Duration.milliseconds(100)

    /// Whether every message can be found.
    private(set) var isComplete = false
    private let host: ModuleHost
    private let store: ArchiveStore<[UInt8]>
    private let states: KeyValueStore<State>
    private var isStopped = false

    init(_ host: ModuleHost, _ store: ArchiveStore<[UInt8]>, isOn: Bool) {
        self.host = host
        self.store = store
        states = host.store("archive-search")
        host.onUnload { self.isStopped = true }
        let now = host.clock.date.microseconds
        Task { @ServerActor in
            do {
                if isOn { try await self.complete() } else { try await self.switchOff(at: now) }
            } catch {
                host.log.error("The search index cannot be made", metadata: ["reason": "\(error)"])
            }
        }
    }

    private func switchOff(at time: Int64) async throws {
        guard var state = try await states.value(for: Self.owner), state.offSince == nil else { return }
        state.offSince = time
        states.set(state, for: Self.owner)
    }

    private func complete() async throws {
        var state = try await states.value(for: Self.owner) ?? State(since: .min)
        if let offSince = state.offSince { state = State(since: min(state.since ?? .max, offSince)) }
        states.set(state, for: Self.owner)
        while let since = state.since {
            let owners = try await store.owners(after: state.after, limit: 20)
            for owner in owners { try await index(owner, since: since) }
            if isStopped { return }
            state = owners.isEmpty ? State() : State(since: since, after: owners.last)
            states.set(state, for: Self.owner)
        }
        isComplete = true
    }

    private func index(_ owner: String, since: Int64) async throws {
        var position = ArchiveQuery.Place.sequence(0)
        while !isStopped {
            var query = ArchiveQuery(after: position, start: since, limit: Self.batch)
            query.byteLimit = 1_048_576
            let items = try await store.items(of: owner, query)
            guard let last = items.last else { return }
            position = .sequence(last.sequence)
            store.setTexts(items.map { ($0.id, ArchivedMessage.message($0.value)?.searchableText) }, of: owner)
            await withCheckedContinuation { continuation in
                host.clock.after(Self.pause) { continuation.resume() }
            }
        }
    }
}
