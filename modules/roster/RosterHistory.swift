import ServerKit

/// The latest changes of a roster, for clients that remember an older version. RFC 6121 §2.6.
struct RosterHistory: Codable, Sendable {
    struct Change: Codable, Hashable, Sendable {
        let number: Int
        /// Random, so that a version a client saw before a crash took the change back, or in an earlier account of the
        /// same name, is never taken for another change with its number.
        let token: String
        let jid: JID

        var version: String { "\(number)-\(token)" }
    }

    /// In order; the older ones are forgotten.
    private(set) var changes: [Change] = []

    /// How many changes are remembered. Clients that missed more get the whole roster.
    static let capacity = 64
    /// The version of a roster that never changed.
    private static let pristine = "0"

    var version: String { changes.last?.version ?? Self.pristine }

    mutating func record(_ jid: JID) -> Change {
        let change = Change(number: (changes.last?.number ?? 0) &+ 1, token: RandomToken.make(bytes: 4), jid: jid)
        changes.append(change)
        if changes.count > Self.capacity { changes.removeFirst(changes.count - Self.capacity) }
        return change
    }

    /// What changed after a version, each item once and in the order of its last change (RFC 6121 §2.6.3); nil when
    /// the version is unknown, or too old.
    func changes(since version: String) -> [Change]? {
        let later: ArraySlice<Change>
        if let index = changes.lastIndex(where: { $0.version == version }) {
            later = changes[(index + 1)...]
        } else if version == Self.pristine, changes.first?.number ?? 1 == 1 {
            later = changes[...]
        } else {
            return nil
        }
        var seen: Set<JID> = []
        return later.reversed().filter { seen.insert($0.jid).inserted }.reversed()
    }
}
