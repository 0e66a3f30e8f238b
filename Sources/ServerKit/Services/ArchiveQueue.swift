/// Lets one asker's questions to an archive be answered one after the other. See ``ArchiveRequest``.
@ServerActor
public final class ArchiveQueue {
    private var isBusy = false
    private var waiting: [CheckedContinuation<Void, Never>] = []

    public init() {}

    /// Runs `body` when those before it are done.
    ///
    /// - Throws: `.resourceConstraint` when more than `limit` wait already.
    public func run<Result: Sendable>(
        limit: Int, _ body: @ServerActor () async throws -> Result
    ) async throws -> Result {
        guard waiting.count < limit else {
            throw StanzaError.resourceConstraint("Too many queries at the same time.")
        }
        if isBusy { await withCheckedContinuation { waiting.append($0) } }
        isBusy = true
        defer {
            // The next one's turn begins at once: nobody can come in between.
            if waiting.isEmpty { isBusy = false } else { waiting.removeFirst().resume() }
        }
        return try await body()
    }
}

extension Resource {
    /// Waits until the client has read what it was sent, so that a long answer does not break its stream.
    ///
    /// - Returns: whether it did within `patience`.
    public func waitForReader(below limit: Int, patience: Duration) async -> Bool {
        let clock = account.host.server.clock
        let deadline = clock.now + patience
        while backlog > limit {
            guard clock.now < deadline else { return false }
            await withCheckedContinuation { continuation in
                clock.after(.milliseconds(50)) { continuation.resume() }
            }
        }
        return true
    }
}
