import ServerKit

@testable import MUC

/// A room as one client sees it, from nothing but the stanzas that it got.
struct RoomView {
    private(set) var isInside = false
    private(set) var nick: String?
    private(set) var sights: [String: RoomModel.Sight] = [:]
    /// What it heard since it entered.
    private(set) var heard: [String] = []
    /// The conditions of the errors that it got.
    private(set) var errors: [String] = []
    /// The status codes of its last farewell.
    private(set) var farewell: Set<Int> = []
    /// How often it was told that it is not inside.
    private(set) var refusals = 0
    /// What was wrong with what it got.
    private(set) var faults: [String] = []

    /// Whether it was away for a while, and may hear of things that it knows nothing about.
    var isBehind = false
    private var isEntering = false
    /// Whom it saw after itself while it entered.
    private(set) var latecomers: Set<String> = []
    private(set) var history: [String] = []
    private(set) var hasSubject = false
    /// JIDs of others that came with presence since ``forget()``.
    private(set) var shownJIDs: [String] = []

    /// It asks to enter, and knows nothing from now on.
    mutating func enters() {
        let (errors, refusals, faults) = (errors, refusals, faults)
        self = RoomView()
        (self.errors, self.refusals, self.faults) = (errors, refusals, faults)
        isEntering = true
    }

    /// What counts from one look at it to the next.
    mutating func forget() {
        (errors, faults, shownJIDs, refusals) = ([], [], [], 0)
    }

    mutating func take(_ stanza: Element) {
        // Of its account's other clients it hears, too.
        if stanza.name == "presence", stanza.jid("from")?.domainpart != conference { return }
        switch (stanza.name, stanza["type"]) {
        case ("message", "groupchat"): hear(stanza)
        case ("message", "error"), ("presence", "error"):
            errors.append(stanza.child("error")?.firstChild?.name ?? "?")
        case ("presence", "unavailable"): lose(stanza)
        case ("presence", nil): see(stanza)
        // XEP-0045 §9: those who are outside learn how they stand to the room now.
        case ("message", _) where stanza.child("x", .mucUser) != nil: break
        default: faults.append("It got \(stanza)")
        }
    }

    private mutating func see(_ presence: Element) {
        guard let from = presence.nick, let item = presence.item else { return faults.append("Strange: \(presence)") }
        let isOwn = presence.hasStatus(110)
        if isEntering { latecomers = isOwn ? [] : latecomers.union([from]) }
        if !isInside, !isEntering, !isOwn { faults.append("It sees \(from) from outside") }
        if isOwn {
            if isInside, !isEntering, nick != from { faults.append("It is \(from) and not \(nick ?? "")") }
            (isInside, nick) = (true, from)
        } else if let jid = item["jid"] {
            shownJIDs.append(jid)
        }
        if let occupantID = presence.child("occupant-id", .occupantID)?["id"], occupantID.isEmpty {
            faults.append("No occupant id: \(presence)")
        }
        sights[from] = RoomModel.Sight(
            affiliation: item["affiliation"] ?? "", role: item["role"] ?? "", jid: item["jid"],
            status: presence.text(of: "status"))
    }

    private mutating func lose(_ presence: Element) {
        guard let from = presence.nick else { return faults.append("Strange: \(presence)") }
        let codes = Set(
            presence.child("x", .mucUser)?.children("status").compactMap { $0["code"].flatMap { Int($0) } } ?? [])
        if codes.contains(303) {
            let wasSeen = sights.removeValue(forKey: from) != nil
            if !wasSeen, !isEntering { faults.append("\(from), whom it never saw, changes its nick") }
            if codes.contains(110) { nick = presence.item?["nick"] }
            return
        }
        guard codes.contains(110) else {
            if sights.removeValue(forKey: from) == nil, !isBehind {
                faults.append("\(from), whom it never saw, leaves")
            }
            return
        }
        guard isInside else {
            refusals += 1
            return
        }
        (isInside, isEntering, nick, sights, farewell) = (false, false, nil, [:], codes)
    }

    private mutating func hear(_ message: Element) {
        if !isInside { faults.append("It hears \(message) from outside") }
        guard let text = message.text(of: "body") else {
            if message.has("subject", .client) { (hasSubject, isEntering) = (true, false) }
            return
        }
        if isEntering { return history.append(text) }
        heard.append(text)
    }

    // MARK: Comparing

    /// How the view differs from what it must be.
    func differences(from model: RoomModel, for client: String) -> [String] {
        var found = faults
        guard let occupant = model.occupant(of: client) else {
            if isInside { found.append("It is inside, as \(nick ?? "?")") }
            return found
        }
        guard isInside else { return found + ["It is outside, and not \(occupant.nick)"] }
        if nick != occupant.nick { found.append("It is \(nick ?? "?") and not \(occupant.nick)") }
        let expected = model.sights(of: client)
        for name in Set(expected.keys).union(sights.keys).sorted() {
            switch (sights[name], expected[name]) {
            case (let seen?, let sight?):
                let jid = sight.jid == nil ? nil : seen.jid
                let comparable = RoomModel.Sight(
                    affiliation: seen.affiliation, role: seen.role, jid: jid, status: seen.status)
                if comparable != sight { found.append("\(name) is \(sight), seen as \(seen)") }
            case (nil, _): found.append("\(name) is not seen")
            case (_, nil): found.append("\(name) is seen and not there")
            }
        }
        let wanted = model.heard[client] ?? []
        if heard != wanted { found.append("It heard \(heard), not \(wanted)") }
        return found
    }
}
