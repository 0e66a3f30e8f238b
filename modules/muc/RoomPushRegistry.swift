import ServerKit

/// Where the members of rooms want to be told, and how that goes.
@ServerActor
final class RoomPushRegistry {
    struct Registration: Codable, Sendable {
        /// A bare JID.
        let member: JID
        let target: PushTarget
        /// When it was enabled: a number that grows.
        let rank: Int
    }

    /// The registrations of a room, by member and target.
    enum Registrations: RoomKey { static let defaultValue: [String: Registration] = [:] }

    /// What is going on with a registration; not kept when the room is let go of.
    private struct State {
        /// What was said since the member was here.
        var unread = 0
        /// Nothing is told before.
        var notBefore = Duration.zero
        var isScheduled = false
        /// Attempts that failed, in a row.
        var failures = 0
    }

    private enum States: RoomKey { static let defaultValue: [String: State] = [:] }

    /// Bytes of one registration.
    static let sizeLimit = 4_096
    /// For how long after a notification others are joined into one.
    private static let interval = Duration.seconds(10)
    /// How long a service may take to answer.
    private static let patience = Duration.seconds(60)
    /// How often in a row a service may be out of order.
    private static let failureLimit = 16

    private let host: ModuleHost
    private let store: MapStore<Registration>

    init(_ host: ModuleHost) {
        self.host = host
        store = host.map("room-push")
    }

    func load(_ room: String) async throws -> [String: Registration] {
        let entries = try await store.entries(of: room)
        return Dictionary(entries.map { ($0.key, $0.value) }) { $1 }
    }

    // MARK: Registrations

    /// Adds a registration, or puts it in the place of the one for the same target. The member's oldest makes room.
    func add(_ target: PushTarget, of member: JID, to room: Room) {
        let key = "\(member)\n\(target.key)"
        let own = room[Registrations.self].filter { $0.value.member == member && $0.key != key }
        if own.count >= room.service.options.pushRegistrations,
            let oldest = own.min(by: { $0.value.rank < $1.value.rank })
        {
            remove(oldest.key, from: room)
        }
        let rank = (own.values.map(\.rank).max() ?? 0) + 1
        let registration = Registration(member: member, target: target, rank: rank)
        room[Registrations.self][key] = registration
        room[States.self][key] = nil
        store.set(registration, key, of: room.name)
    }

    /// XEP-0357 §6.
    func disable(_ disable: Element, _ member: JID, in room: Room) throws(StanzaError) {
        let meant = try PushTarget.meant(by: disable)
        for (key, registration) in room[Registrations.self]
        where registration.member == member && meant(registration.target) {
            remove(key, from: room)
        }
    }

    /// Forgets those whom the room does not know any more.
    func removeStrangers(from room: Room) {
        for (key, registration) in room[Registrations.self] where !room.mayBeWoken(registration.member) {
            remove(key, from: room)
        }
    }

    private func remove(_ key: String, from room: Room) {
        room[Registrations.self][key] = nil
        room[States.self][key] = nil
        if !room.isDestroyed { store.delete(key, of: room.name) }
    }

    // MARK: Telling

    /// The member sees for itself what was said.
    func forgetUnread(_ member: JID, in room: Room) {
        guard !room[Registrations.self].isEmpty else { return }
        for (key, registration) in room[Registrations.self] where registration.member == member {
            room[States.self][key]?.unread = 0
        }
    }

    /// Something was said: the service learns it now, or when the interval is over.
    func tell(_ key: String, in room: Room) {
        var state = room[States.self][key] ?? State()
        state.unread += 1
        let wait = state.notBefore - host.clock.now
        let isDue = wait <= .zero
        if !isDue, !state.isScheduled {
            state.isScheduled = true
            host.clock.after(wait) { self.tellLater(key, room) }
        }
        room[States.self][key] = state
        if isDue { send(key, room) }
    }

    private func tellLater(_ key: String, _ room: Room) {
        room[States.self][key]?.isScheduled = false
        guard let state = room[States.self][key], state.unread > 0, !room.isDestroyed else { return }
        send(key, room)
    }

    private func send(_ key: String, _ room: Room) {
        guard let registration = room[Registrations.self][key], let unread = room[States.self][key]?.unread else {
            return
        }
        room[States.self][key]?.notBefore = host.clock.now + Self.interval
        // COMPAT Services for phones tell by the presence of a text whether to wake the user, or the client only.
        let fields: [DataFormField] = [.text("message-count", "\(unread)"), .text("last-message-body", "New message")]
        let notification = Element("notification", .push) {
            DataForm(.submit, formType: "urn:xmpp:push:summary", fields: fields).element
        }
        host.host.ask(registration.target.publish(notification), limit: Self.patience) { reply in
            self.settle(reply.error, key, registration, room)
        }
    }

    /// XEP-0357 §7.1.
    private func settle(_ error: StanzaError?, _ key: String, _ registration: Registration, _ room: Room) {
        guard room[Registrations.self][key]?.rank == registration.rank else { return }
        guard let error else {
            room[States.self][key]?.failures = 0
            return
        }
        room[States.self][key, default: State()].failures += 1
        let isOver = error.endsPushRegistration || room[States.self][key]?.failures ?? 0 >= Self.failureLimit
        host.log.debug(
            isOver ? "A push registration ends" : "A push failed",
            metadata: ["peer": "\(registration.target.service)", "reason": "\(error.condition.rawValue)"])
        if isOver { remove(key, from: room) }
    }
}
