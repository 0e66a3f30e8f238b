import ServerKit

/// The last changes of a room's affiliations, so that clients need not read all lists again. XEP-0463.
///
/// What somebody knows depends on the lists it may read. So each set of lists has versions of its own: those changes that
/// can be seen in them.
struct AffiliationLog: Codable, Sendable {
    struct Change: Codable, Sendable {
        /// Counts from 1, without gaps.
        let number: Int
        let jid: JID
        let old: Affiliation
        let new: Affiliation

        func isShown(in lists: AffiliationLists) -> Bool { lists.shown(old) != lists.shown(new) }
    }

    /// The changes that are kept, oldest first.
    private(set) var changes: [Change] = []
    /// The number of the last change.
    private(set) var last = 0
    /// The last change that can be seen in each set of lists; none for a set in which nothing was ever seen.
    private var lastShown: [UInt8: Int] = [:]

    /// The number up to which changes are forgotten.
    var forgotten: Int { last - changes.count }

    /// The number of the present version of these lists.
    func version(of lists: AffiliationLists) -> Int { lastShown[lists.rawValue] ?? 0 }

    /// Notes a change.
    ///
    /// - Parameter limit: how many are kept.
    /// - Returns: from which to which version it leads.
    mutating func append(_ jid: JID, from old: Affiliation, to new: Affiliation, limit: Int) -> AffiliationStep {
        last += 1
        let change = Change(number: last, jid: jid, old: old, new: new)
        let step = AffiliationStep(change: change, before: lastShown)
        for lists in AffiliationLists.readable where change.isShown(in: lists) { lastShown[lists.rawValue] = last }
        changes.append(change)
        if changes.count > limit { changes.removeFirst(changes.count - limit) }
        return step
    }

    /// Those changes after a version that can be seen in these lists; nil when they are not kept any more.
    func changes(after number: Int, in lists: AffiliationLists) -> [Change]? {
        guard number >= forgotten else { return nil }
        return changes.drop { $0.number <= number }.filter { $0.isShown(in: lists) }
    }

    /// How a JID stood to the room at a version, if that has changed since.
    func affiliation(of jid: JID, at number: Int) -> Affiliation? {
        changes.first { $0.number > number && $0.jid == jid }?.old
    }
}

/// One change, and the versions before it.
struct AffiliationStep: Sendable {
    let change: AffiliationLog.Change
    fileprivate let before: [UInt8: Int]

    /// The versions of these lists before and after; nil when nothing is seen in them.
    func versions(of lists: AffiliationLists) -> (since: Int, until: Int)? {
        change.isShown(in: lists) ? (before[lists.rawValue] ?? 0, change.number) : nil
    }
}

extension AffiliationLists {
    /// All that ``Standing/readableLists(_:)`` comes to, except for none.
    static let readable: [AffiliationLists] = [
        .all, [.owners, .admins, .members], [.members, .outcasts], .members,
    ]
}
