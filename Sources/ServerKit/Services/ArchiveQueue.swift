/// Lets one asker's questions to an archive be answered one after the other. See ``ArchiveRequest``.
@ServerActor
public final class ArchiveQueue {
    private let turns = Turns()

    public init() {}

    /// Runs `body` when those before it are done.
    ///
    /// - Throws: `.resourceConstraint` when more than `limit` wait already.
    public func run<Result: Sendable>(
        limit: Int, _ body: @ServerActor () async throws -> Result
    ) async throws -> Result {
        guard turns.waitingCount < limit else {
            throw StanzaError.resourceConstraint("Too many queries at the same time.")
        }
        await turns.begin()
        defer { turns.end() }
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
