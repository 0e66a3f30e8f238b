import Glibc
import ServerKit
import StorageMemory
import StorageSQLite
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("Whatever happens in a room, everybody sees the same") struct ChurnTests {
    @Test("Occupants come, go, talk and are shown out at random", arguments: 1...4)
    func churn(seed: Int) async throws {
        try await playRooms(Churn.options) { stage in
            let churn = try await Churn(stage, seed: seed)
            for _ in 0..<150 { try await churn.step() }
        }
    }

    @Test("The server is stopped, or killed, and started again", arguments: 11...14)
    func restarts(seed: Int) async throws {
        try await playRooms(Churn.options) { stage in
            let churn = try await Churn(stage, seed: seed)
            for round in 0..<6 {
                for _ in 0..<15 { try await churn.step() }
                try await churn.restart(isCrash: (round + seed) % 2 == 0)
            }
        }
    }

    @Test("The same with a database", arguments: 21...22)
    func database(seed: Int) async throws {
        let path = "/tmp/martlet-muc-\(RandomToken.make()).sqlite"
        defer { for suffix in ["", "-wal", "-shm", "-lock", ".lock"] { unlink(path + suffix) } }
        let driver = try SQLiteStorageDriver(path: path)
        defer { driver.close() }
        try await playRooms(Churn.options, driver: driver) { stage in
            let churn = try await Churn(stage, seed: seed)
            for round in 0..<3 {
                for _ in 0..<30 { try await churn.step() }
                try await churn.restart(isCrash: (round + seed) % 2 == 0)
            }
        }
    }
}

/// Clients that do things at random, and what must come of it.
@ServerActor
private final class Churn {
    /// Time stands still, so that nothing is slow enough for the usual limits.
    nonisolated static let options = "presence_rate: unlimited, nick_rate: unlimited, message_rate: unlimited"

    private let stage: Stage
    private let seed: Int
    private var random: SeededNumbers
    private var model = RoomModel()
    private var actors: [String: Actor] = [:]
    private var views: [String: RoomView] = [:]
    /// Clients whose views are not up to date yet.
    private var behind: Set<String> = []
    private var expectedErrors: [String: [String]] = [:]
    private var expectedRefusals: [String: Int] = [:]
    /// Who saw no JIDs before the step.
    private var blind: Set<String> = []
    private var log: [String] = []
    private var messageCount = 0

    private static let clients = [
        "crone1@capulet.example/desktop", "crone1@capulet.example/phone", "hag66@capulet.example/pda",
        "hag66@capulet.example/laptop", "wiccarocks@montague.example/laptop", "macbeth@montague.example/castle",
        "banquo@montague.example/horse",
    ]
    private static let accounts = Set(clients.map(RoomModel.account)).sorted()
    /// Two of them are one.
    private static let nicks = ["crone", "hag", "Hag", "witch", "hecate", "macbeth", "banquo"]

    init(_ stage: Stage, seed: Int) async throws {
        self.stage = stage
        self.seed = seed
        random = SeededNumbers(UInt64(seed))
        for client in Self.clients { try await arrive(client) }
        let maker = Self.clients[0]
        try await actors[maker]?.makesRoom(as: "crone")
        model.affiliations[RoomModel.account(maker)] = .owner
        (model.isModerated, model.isMembersOnly, model.isNonAnonymous) = (seed % 3 == 0, seed % 4 == 1, seed % 2 == 0)
        let model = self.model
        try await room().change {
            $0.settings.isPersistent = true
            $0.settings.isModerated = model.isModerated
            $0.settings.isMembersOnly = model.isMembersOnly
            $0.settings.whois = model.isNonAnonymous ? .anyone : .moderators
        }
        try await join(maker, "crone")
        try await check()
    }

    /// A client comes on stage, outside of the room.
    private func arrive(_ client: String) async throws {
        actors[client] = try await stage.enter(client)
        views[client] = RoomView()
        // What it was told before is nobody's any more.
        (expectedErrors[client], expectedRefusals[client]) = (nil, nil)
    }

    private func room() async throws -> Room {
        guard let room = await stage.rooms?.room("coven") else {
            throw StageError("There is no room.\n\(report)", file: #fileID, line: #line)
        }
        return room
    }

    private var report: String { "Seed \(seed):\n" + log.suffix(25).joined(separator: "\n") }

    private func pick<T>(_ choices: [T]) -> T? { choices.randomElement(using: &random) }

    // MARK: Steps

    /// Something happens, or a few things at a time.
    func step() async throws {
        blind = Set(Self.clients.filter { !model.seesJIDs($0) })
        let inside = model.occupants.flatMap(\.clients).filter { !behind.contains($0) }
        if Int.random(in: 0..<10, using: &random) < (inside.count < 4 ? 6 : 2) {
            guard let client = pick(Self.clients.filter { actors[$0] != nil && !behind.contains($0) }) else { return }
            try await join(client, pick(Self.nicks) ?? "")
        } else {
            for _ in 0..<Int.random(in: 1...3, using: &random) { try await act() }
        }
        try await check()
    }

    private func join(_ client: String, _ nick: String) async throws {
        let status = "\(Int.random(in: 0..<100, using: &random))"
        log.append("\(client) joins as \(nick)")
        let history = model.said.suffix(25)
        let outcome = model.join(client, nick, status: status)
        blind = blind.filter { !model.seesJIDs($0) }
        if outcome == .done { views[client]?.enters() }
        expect(outcome, client)
        try await actors[client]?.sends(
            """
            <presence to='\(coven)/\(nick)'><status>\(status)</status><x xmlns='http://jabber.org/protocol/muc'/></presence>
            """)
        await look()
        guard outcome == .done, let view = views[client] else { return }
        // XEP-0045 §7.1: the others, oneself, the history, the subject.
        if !view.latecomers.isEmpty || !view.hasSubject || view.history != Array(history) {
            throw StageError(
                "\(client) saw \(view.latecomers) after itself, the history \(view.history)"
                    + (view.hasSubject ? "" : " and no subject") + "\n\(report)", file: #fileID, line: #line)
        }
    }

    private func expect(_ outcome: RoomModel.Outcome, _ client: String) {
        switch outcome {
        case .done: break
        case .refused(let condition): expectedErrors[client, default: []].append(condition)
        case .notInside: expectedRefusals[client, default: 0] += 1
        }
    }

    private func act() async throws {
        guard let client = pick(Self.clients.filter { actors[$0] != nil && !behind.contains($0) }),
            let actor = actors[client]
        else { return }
        switch Int.random(in: 0..<20, using: &random) {
        case 0..<8:
            messageCount += 1
            log.append("\(client) says \(messageCount)")
            expect(model.say(client, "\(messageCount)"), client)
            try await actor.says("\(messageCount)", id: "\(messageCount)")
        case 8..<11:
            let isChange = Bool.random(using: &random)
            let nick = isChange ? pick(Self.nicks) ?? "" : model.occupant(of: client)?.nick ?? "nobody"
            let status = "\(Int.random(in: 0..<100, using: &random))"
            log.append("\(client) shows itself as \(nick)")
            expect(model.update(client, nick, status: status), client)
            try await actor.sends("<presence to='\(coven)/\(nick)'><status>\(status)</status></presence>")
        case 11..<13:
            guard let nick = model.occupant(of: client)?.nick else { return }
            log.append("\(client) leaves")
            model.leave(client)
            try await actor.sends("<presence type='unavailable' to='\(coven)/\(nick)'/>")
        case 13:
            log.append("\(client) vanishes")
            await look()
            model.leave(client)
            await actor.leaves()
            await look()
            try await arrive(client)
        case 14: try await changeRole()
        case 15: try await changeAffiliation()
        default: try await administer(client, actor)
        }
    }

    /// Somebody asks for a change, which may be refused: then nothing must change.
    private func administer(_ client: String, _ actor: Actor) async throws {
        await look()
        guard let nick = pick(model.occupants)?.nick, let role = pick(Role.allCases), let account = pick(Self.accounts),
            let affiliation = pick(Affiliation.allCases)
        else { return }
        let isRole = Bool.random(using: &random)
        let item = isRole ? "nick='\(nick)' role='\(role)'" : "jid='\(account)' affiliation='\(affiliation)'"
        let before = model
        if isRole { model.setRole(role, nick) } else { model.setAffiliation(affiliation, account) }
        blind = blind.filter { !model.seesJIDs($0) }
        do {
            try await actor.asks(
                .set, "<query xmlns='http://jabber.org/protocol/muc#admin'><item \(item)/></query>", to: coven)
            log.append("\(client) sets \(item)")
        } catch let error as StanzaError {
            log.append("\(client) may not set \(item): \(error.condition.rawValue)")
            model = before
            return
        }
        // XEP-0045 §5.1.3, §5.2.2.
        let own = before.affiliation(RoomModel.account(client))
        let old = before.affiliation(account)
        let isNothing = isRole ? before.occupants == model.occupants : old == affiliation
        let isAllowed =
            // Owners and admins need not be inside.
            isRole
            ? before.occupant(of: client)?.role == .moderator || own >= .admin
            : own == .owner || own == .admin && max(old, affiliation) < .admin
        if !isAllowed, !isNothing {
            throw StageError("\(client) must not do that\n\(report)", file: #fileID, line: #line)
        }
    }

    private func changeRole() async throws {
        await look()
        guard let nick = pick(model.occupants)?.nick, let role = pick(Role.allCases) else { return }
        log.append("\(nick) gets the role \(role)")
        let room = try await room()
        guard let occupant = room.occupant(nick: nick) else {
            throw StageError("\(nick) is not there\n\(report)", file: #fileID, line: #line)
        }
        model.setRole(role, nick)
        blind = blind.filter { !model.seesJIDs($0) }
        room.setRole(role, of: occupant)
    }

    private func changeAffiliation() async throws {
        await look()
        guard let account = pick(Self.accounts), let affiliation = pick(Affiliation.allCases), let jid = JID(account)
        else { return }
        log.append("\(account) gets the affiliation \(affiliation)")
        let room = try await room()
        model.setAffiliation(affiliation, account)
        blind = blind.filter { !model.seesJIDs($0) }
        room.setAffiliation(affiliation, of: jid)
    }

    // MARK: Restarts

    /// The server ends and starts again. Some clients enter again, some go on without, some do not come back.
    func restart(isCrash: Bool) async throws {
        log.append(isCrash ? "crash" : "restart")
        if isCrash { try await stage.crash(after: .seconds(2)) } else { try await stage.restart(after: .seconds(2)) }
        actors = [:]
        var lost: [String] = []
        for client in Self.clients.shuffled(using: &random) {
            let isInside = model.occupant(of: client) != nil
            switch isInside ? Int.random(in: 0..<3, using: &random) : 3 {
            case 0:
                actors[client] = try await stage.enter(client)
                try await join(client, model.occupant(of: client)?.nick ?? "")
            case 1:
                log.append("\(client) is back")
                actors[client] = try await stage.enter(client)
                behind.insert(client)
                views[client]?.isBehind = true
            case 2:
                log.append("\(client) does not come back")
                behind.insert(client)
                lost.append(client)
            default: try await arrive(client)
            }
            if Bool.random(using: &random) { await stage.advance(by: .seconds(2)) }
            if Bool.random(using: &random) { try await step() }
        }
        for _ in 0..<4 { try await step() }
        // Those who are there without having entered are sent what they missed.
        await stage.advance(by: .seconds(60))
        behind = Set(lost)
        try await check()
        for client in Self.clients { views[client]?.isBehind = false }
        for _ in 0..<4 { try await step() }
        log.append("The grace period ends")
        await stage.advance(by: .minutes(6))
        for client in lost { model.leave(client) }
        behind = []
        try await check()
        for client in lost { try await arrive(client) }
    }

    // MARK: Looking

    /// Everybody reads what it got.
    private func look() async {
        await stage.settle()
        for (client, actor) in actors {
            for stanza in actor.takeInbox() where stanza.name != "iq" { views[client]?.take(stanza) }
        }
    }

    /// Everybody must see what the model says, and the room must be like that.
    private func check() async throws {
        await look()
        var found: [String] = []
        for client in Self.clients where !behind.contains(client) && actors[client] != nil {
            guard let view = views[client] else { continue }
            found += view.differences(from: model, for: client).map { "\(client): \($0)" }
            if view.errors != expectedErrors[client] ?? [] {
                found.append("\(client): errors \(view.errors), not \(expectedErrors[client] ?? [])")
            }
            if view.refusals != expectedRefusals[client] ?? 0 {
                found.append("\(client): told \(view.refusals) times that it is outside")
            }
            if model.occupant(of: client) == nil, !view.farewell.isEmpty, view.farewell != model.farewells[client] {
                found.append("\(client): shown out with \(view.farewell), not \(model.farewells[client] ?? [])")
            }
            if blind.contains(client), !model.seesJIDs(client), !view.shownJIDs.isEmpty {
                found.append("\(client): sees the JIDs \(view.shownJIDs)")
            }
            views[client]?.forget()
        }
        (expectedErrors, expectedRefusals) = ([:], [:])
        found += try await differences(of: room())
        if !found.isEmpty {
            throw StageError(found.joined(separator: "\n") + "\n\(report)", file: #fileID, line: #line)
        }
    }

    private func differences(of room: Room) -> [String] {
        var found: [String] = []
        let actual = Dictionary(uniqueKeysWithValues: room.occupants.map { ($0.nick, $0) })
        for occupant in model.occupants {
            guard let other = actual[occupant.nick] else {
                found.append("\(occupant.nick) is not in the room")
                continue
            }
            let clients = other.sessions.map(\.jid.description)
            if other.role != occupant.role || clients != occupant.clients {
                found.append("\(occupant) is \(other.role) with \(clients) in the room")
            }
        }
        if actual.count != model.occupants.count { found.append("The room has \(actual.keys.sorted())") }
        if Set(room.sessions.map(\.jid)).count != model.occupants.flatMap(\.clients).count {
            found.append("The room has the clients \(room.sessions.map(\.jid))")
        }
        return found
    }
}
