/// Lets what must not overlap, although it awaits, be done one after the other, in the order of the calls.
@ServerActor
public final class Turns {
    private var isBusy = false
    private var waiting: [CheckedContinuation<Void, Never>] = []

    public init() {}

    /// How many wait for their turn.
    public var waitingCount: Int { waiting.count }

    /// Returns when those before are done; ``end()`` must follow.
    public func begin() async {
        if isBusy { await withCheckedContinuation { waiting.append($0) } }
        isBusy = true
    }

    /// Lets the next one go on.
    ///
    /// - Returns: whether there was one.
    @discardableResult
    public func end() -> Bool {
        // The next one's turn begins at once: nobody can come in between.
        isBusy = !waiting.isEmpty
        if isBusy { waiting.removeFirst().resume() }
        return isBusy
    }
}

/// The same for each of many names, such as those of accounts.
@ServerActor
public final class NamedTurns {
    private var turns: [String: Turns] = [:]

    public init() {}

    public func begin(_ name: String) async {
        let turns = self.turns[name] ?? Turns()
        self.turns[name] = turns
        await turns.begin()
    }

    public func end(_ name: String) {
        if turns[name]?.end() == false { turns[name] = nil }
    }
}
