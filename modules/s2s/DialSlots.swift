import ServerKit

/// How many connections are opened at the same time; more wait for their turn.
///
/// Domains that never answer take a minute and more each, and whoever owns a zone has as many of them as they like. So
/// those that were never reached have places of their own, no zone has more than a few, and zones take turns.
@ServerActor
struct DialSlots {
    private struct Line {
        var total = 0
        /// How many of each zone.
        var dialing: [String: Int] = [:]
        var waiting: [String: ArraySlice<Route>] = [:]
        /// The zones of which some wait, in the order of their turns.
        var turns: ArraySlice<String> = []
    }

    private var acquaintances = Line()
    private var strangers = Line()

    /// Of those that were reached before, and of those that were not.
    static let limit = 100
    /// Of one zone.
    static let limitOfZone = 20

    nonisolated init() {}

    /// Whether a route may dial now; otherwise ``leave(_:isKnown:isWanted:)`` names it when its turn comes.
    ///
    /// - Parameter isKnown: whether the domain was reached before.
    mutating func enter(_ route: Route, isKnown: Bool) -> Bool {
        isKnown ? Self.enter(&acquaintances, route) : Self.enter(&strangers, route)
    }

    /// One is done.
    ///
    /// - Returns: whose turn it is. It enters anew, in the same line.
    mutating func leave(_ route: Route, isKnown: Bool, isWanted: (Route) -> Bool) -> Route? {
        isKnown ? Self.leave(&acquaintances, route, isWanted) : Self.leave(&strangers, route, isWanted)
    }

    private static func enter(_ line: inout Line, _ route: Route) -> Bool {
        let zone = route.pair.zone
        guard line.total < limit, line.dialing[zone, default: 0] < limitOfZone else {
            if line.waiting[zone] == nil { line.turns.append(zone) }
            line.waiting[zone, default: []].append(route)
            return false
        }
        line.total += 1
        line.dialing[zone, default: 0] += 1
        return true
    }

    private static func leave(_ line: inout Line, _ route: Route, _ isWanted: (Route) -> Bool) -> Route? {
        let own = route.pair.zone
        let left = line.dialing[own, default: 1] - 1
        line.dialing[own] = left > 0 ? left : nil
        line.total -= 1
        for _ in 0..<line.turns.count {
            guard let zone = line.turns.popFirst() else { break }
            guard line.dialing[zone, default: 0] < limitOfZone else {
                line.turns.append(zone)
                continue
            }
            while let next = line.waiting[zone]?.popFirst() {
                guard isWanted(next) else { continue }
                if line.waiting[zone]?.isEmpty == true { line.waiting[zone] = nil } else { line.turns.append(zone) }
                return next
            }
            line.waiting[zone] = nil
        }
        return nil
    }
}
