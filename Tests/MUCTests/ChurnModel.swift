@testable import MUC

/// What a room must be like, written without a look at how the server does it.
struct RoomModel {
    struct Occupant: Equatable {
        var nick: String
        let account: String
        var role: Role
        /// Full JIDs. The last one's presence is shown.
        var clients: [String]
    }

    /// What somebody sees of an occupant.
    struct Sight: Equatable {
        let affiliation: String
        let role: String
        /// nil when it must not, or need not, be seen.
        let jid: String?
        let status: String?
    }

    /// What becomes of a wish.
    enum Outcome: Equatable {
        case done
        case refused(String)
        /// XEP-0045 §7.2.18.
        case notInside
    }

    var isModerated = false { didSet { if !isModerated { kept = [:] } } }
    var isMembersOnly = false
    var isNonAnonymous = false
    var affiliations: [String: Affiliation] = [:]
    private(set) var occupants: [Occupant] = []
    /// The roles, other than the usual ones, that people had last in the moderated room. XEP-0045 §5.1.
    private var kept: [String: Role] = [:]
    private var statuses: [String: String] = [:]
    /// Everything that was ever said.
    private(set) var said: [String] = []
    /// What each client heard since it entered.
    private(set) var heard: [String: [String]] = [:]
    /// The status codes with which each client was shown out.
    private(set) var farewells: [String: Set<Int>] = [:]

    static func account(_ client: String) -> String { String(client.prefix { $0 != "/" }) }

    func affiliation(_ account: String) -> Affiliation { affiliations[account] ?? .none }

    func occupant(of client: String) -> Occupant? { occupants.first { $0.clients.contains(client) } }

    private func index(nick: String) -> Int? {
        occupants.firstIndex { $0.nick.lowercased() == nick.lowercased() }
    }

    private func isTaken(_ nick: String, for account: String) -> Bool {
        index(nick: nick).map { occupants[$0].account != account } ?? false
    }

    private func initialRole(_ account: String) -> Role {
        switch affiliation(account) {
        case .owner, .admin: .moderator
        case .member: .participant
        case .none: isModerated ? .visitor : .participant
        case .outcast: .none
        }
    }

    private func entryRole(_ account: String) -> Role {
        affiliation(account) < .admin ? kept[account] ?? initialRole(account) : .moderator
    }

    // MARK: What clients do

    /// XEP-0045 §7.2.
    mutating func join(_ client: String, _ nick: String, status: String?) -> Outcome {
        let account = Self.account(client)
        if affiliation(account) == .outcast { return .refused("forbidden") }
        if isMembersOnly, affiliation(account) < .member, !occupants.contains(where: { $0.account == account }) {
            return .refused("registration-required")
        }
        if isTaken(nick, for: account) { return .refused("conflict") }
        if occupant(of: client) != nil {
            move(client, nick)
        } else if let index = index(nick: nick) {
            occupants[index].clients.append(client)
        } else {
            occupants.append(Occupant(nick: nick, account: account, role: entryRole(account), clients: [client]))
        }
        statuses[client] = status
        show(client)
        heard[client] = []
        return .done
    }

    /// The client's presence is the one that is shown.
    private mutating func show(_ client: String) {
        guard let index = occupants.firstIndex(where: { $0.clients.contains(client) }) else { return }
        occupants[index].clients.removeAll { $0 == client }
        occupants[index].clients.append(client)
    }

    /// XEP-0045 §7.6: a client that shares a nick parts from the others.
    private mutating func move(_ client: String, _ nick: String) {
        guard let from = occupants.firstIndex(where: { $0.clients.contains(client) }) else { return }
        let target = index(nick: nick)
        if target == from || target == nil && occupants[from].clients.count == 1 {
            occupants[from].nick = nick
            return
        }
        if let target {
            occupants[target].clients.append(client)
        } else {
            let old = occupants[from]
            occupants.append(Occupant(nick: nick, account: old.account, role: old.role, clients: [client]))
        }
        occupants[from].clients.removeAll { $0 == client }
        occupants.removeAll { $0.clients.isEmpty }
    }

    /// XEP-0045 §7.6, §7.7.
    mutating func update(_ client: String, _ nick: String, status: String?) -> Outcome {
        guard occupant(of: client) != nil else { return .notInside }
        if isTaken(nick, for: Self.account(client)) { return .refused("conflict") }
        if occupant(of: client)?.nick != nick { move(client, nick) }
        statuses[client] = status
        show(client)
        return .done
    }

    /// XEP-0045 §7.14, or the connection is lost.
    mutating func leave(_ client: String, _ codes: Set<Int> = [110]) {
        for index in occupants.indices { occupants[index].clients.removeAll { $0 == client } }
        occupants.removeAll { $0.clients.isEmpty }
        farewells[client] = codes
    }

    /// XEP-0045 §7.4.
    mutating func say(_ client: String, _ text: String) -> Outcome {
        guard let speaker = occupant(of: client) else { return .refused("not-acceptable") }
        guard speaker.role >= .participant else { return .refused("forbidden") }
        said.append(text)
        for listener in occupants.flatMap(\.clients) { heard[listener, default: []].append(text) }
        return .done
    }

    // MARK: What admins do

    mutating func setRole(_ role: Role, _ nick: String) {
        guard let index = index(nick: nick) else { return }
        // XEP-0045 §8.2.
        if role == .none { return expel(occupants[index], 307) }
        occupants[index].role = role
        let account = occupants[index].account
        if isModerated, affiliation(account) < .admin {
            let last = min(role, .participant)
            kept[account] = last == initialRole(account) ? nil : last
        }
    }

    private mutating func expel(_ occupant: Occupant, _ code: Int) {
        for client in occupant.clients { leave(client, [110, code]) }
    }

    mutating func setAffiliation(_ new: Affiliation, _ account: String) {
        let old = affiliation(account)
        affiliations[account] = new
        guard old != new else { return }
        kept[account] = nil
        for index in occupants.indices.reversed() where occupants[index].account == account {
            let role = occupants[index].role
            switch new {
            // XEP-0045 §9.1, §9.4.
            case .outcast: expel(occupants[index], 301)
            case .none where isMembersOnly: expel(occupants[index], 321)
            // XEP-0045 §10.3, §10.6.
            case .owner, .admin: occupants[index].role = .moderator
            case .member, .none:
                let usual = initialRole(account)
                if old >= .admin || role < usual {
                    occupants[index].role = usual
                } else if new == .none, isModerated, role == .participant {
                    occupants[index].role = .visitor
                }
            }
        }
    }

    // MARK: What they see

    func seesJIDs(_ client: String) -> Bool { isNonAnonymous || occupant(of: client)?.role == .moderator }

    /// What a client must see of everybody, by nick.
    func sights(of client: String) -> [String: Sight] {
        var sights: [String: Sight] = [:]
        for occupant in occupants {
            let isOwn = occupant.clients.contains(client)
            let shown = occupant.clients.last
            sights[occupant.nick] = Sight(
                affiliation: affiliation(occupant.account).rawValue, role: occupant.role.rawValue,
                jid: isOwn || seesJIDs(client) ? shown : nil, status: shown.flatMap { statuses[$0] })
        }
        return sights
    }
}

/// The same numbers each time.
struct SeededNumbers: RandomNumberGenerator {
    private var state: UInt64

    /// Another factor than that of the steps, or all seeds would give parts of one and the same sequence.
    init(_ seed: UInt64) { state = (seed &+ 1) &* 0xD134_2543_DE82_EF95 }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        return value ^ value >> 31
    }
}
