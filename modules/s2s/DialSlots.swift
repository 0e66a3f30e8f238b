import ServerKit

/// How many connections are opened at the same time; more wait for their turn.
///
/// Domains that were never spoken with have fewer places, so that those that are far away and never answer, by the
/// hundred, do not keep the others waiting.
@ServerActor
struct DialSlots {
    private struct Line {
        let limit: Int
        var dialing = 0
        var waiting: ArraySlice<Route> = []
    }

    private var acquaintances = Line(limit: 100)
    private var strangers = Line(limit: 100)

    nonisolated init() {}

    /// Whether a route may dial now; otherwise it is among those that ``leave(isKnown:isWanted:)`` names in the end.
    mutating func enter(_ route: Route, isKnown: Bool) -> Bool {
        isKnown ? Self.enter(&acquaintances, route) : Self.enter(&strangers, route)
    }

    /// One is done.
    ///
    /// - Returns: whose turn it is. It enters anew, in the same line.
    mutating func leave(isKnown: Bool, isWanted: (Route) -> Bool) -> Route? {
        isKnown ? Self.leave(&acquaintances, isWanted) : Self.leave(&strangers, isWanted)
    }

    private static func enter(_ line: inout Line, _ route: Route) -> Bool {
        guard line.dialing < line.limit else {
            line.waiting.append(route)
            return false
        }
        line.dialing += 1
        return true
    }

    private static func leave(_ line: inout Line, _ isWanted: (Route) -> Bool) -> Route? {
        line.dialing -= 1
        while let next = line.waiting.popFirst() {
            if isWanted(next) { return next }
        }
        line.waiting = []
        return nil
    }
}
