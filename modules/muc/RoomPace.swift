import ServerKit

/// What the accounts that are or were in a room have done lately, which leaving and entering does not undo.
@ServerActor
final class RoomPace {
    enum Key: RoomKey { static let defaultValue: RoomPace? = nil }

    /// What is counted.
    enum Deed: CaseIterable {
        case message, presence, nick, password
        /// A change of the configuration, of roles and affiliations, or of hats.
        case administration
        /// XEP-0045 §7.10.
        case registration
    }

    private struct Visitor {
        var messages = TokenBucket()
        var presence = TokenBucket()
        var nicks = TokenBucket()
        var passwords = TokenBucket()
        var administration = TokenBucket()
        var registration = TokenBucket()
        var said: Duration?
    }

    /// Presence of clients that sent too much of it: only the last one counts.
    var delayed: [JID: Presence] = [:]
    private unowned let room: Room
    private var visitors: [JID: Visitor] = [:]

    init(_ room: Room) {
        self.room = room
    }

    /// Counts something that an account does.
    ///
    /// - Parameter weight: as how many it counts.
    /// - Returns: how long it must wait before it may; nil when it may.
    func take(_ deed: Deed, for jid: JID, weight: Int = 1) -> Duration? {
        prune()
        guard let rate = rate(of: deed) else { return nil }
        let bucket = Self.bucket(of: deed)
        return visitors[jid, default: Visitor()][keyPath: bucket].take(weight, limit: rate, now: room.service.now)
    }

    private func rate(of deed: Deed) -> Rate? {
        let options = room.service.options
        return switch deed {
        case .message: options.messageRate
        case .presence: options.presenceRate
        case .nick: options.nickRate
        case .password: options.passwordRate
        case .administration: options.administrationRate
        case .registration: options.registrationRate
        }
    }

    private static func bucket(of deed: Deed) -> WritableKeyPath<Visitor, TokenBucket> {
        switch deed {
        case .message: \.messages
        case .presence: \.presence
        case .nick: \.nicks
        case .password: \.passwords
        case .administration: \.administration
        case .registration: \.registration
        }
    }

    func lastSaid(by jid: JID) -> Duration? { visitors[jid]?.said }

    func said(by jid: JID) {
        visitors[jid, default: Visitor()].said = room.service.now
    }

    /// Forgets those who have been quiet for so long that it makes no difference.
    private func prune() {
        guard visitors.count > limit else { return }
        let (now, slowness) = (room.service.now, room.slowness ?? .zero)
        let limits = Deed.allCases.compactMap { deed in
            rate(of: deed).map { (bucket: Self.bucket(of: deed), rate: $0) }
        }
        visitors = visitors.filter { _, visitor in
            visitor.said.map { now - $0 < slowness } == true
                || limits.contains { !visitor[keyPath: $0.bucket].isDrained(limit: $0.rate, now: now) }
        }
        limit = max(64, 2 * visitors.count)
    }

    private var limit = 64
}

extension Room {
    /// What its visitors have done lately.
    var pace: RoomPace {
        if let pace = self[RoomPace.Key.self] { return pace }
        let pace = RoomPace(self)
        self[RoomPace.Key.self] = pace
        return pace
    }

    /// How long a participant waits between two messages.
    var slowness: Duration? {
        settings.slowModeSeconds.flatMap { $0 > 0 ? .seconds($0) : nil }
    }

    /// Counts a change that somebody makes to the room, which may tell everybody of everybody. XEP-0045 §14.6.
    ///
    /// - Throws: `.policyViolation` when there are too many, `.resourceConstraint` while the last one is still being told.
    func checkPace(ofChangeBy jid: JID) throws(StanzaError) {
        if outbox.isBusy {
            throw StanzaError(.resourceConstraint, .wait, "The room is still telling everybody of another change.")
        }
        guard let wait = pace.take(.administration, for: jid.bare) else { return }
        throw .tooFast("You change too much.", wait)
    }
}

extension StanzaError {
    /// RFC 6120 §8.3.3.12: against a policy, and welcome later.
    static func tooFast(_ text: String, _ wait: Duration) -> StanzaError {
        let seconds = max(1, Int((wait / .seconds(1)).rounded(.up)))
        return StanzaError(.policyViolation, .wait, "\(text) Wait \(seconds) \(seconds == 1 ? "second" : "seconds").")
    }
}
