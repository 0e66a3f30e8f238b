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

    /// The registrations of a room, and what is going on with them. It is changed in place: a room may have many.
    @ServerActor
    final class Book: RoomKey {
        nonisolated static var defaultValue: Book? { nil }

        /// By member, and by the keys under which they are stored.
        fileprivate(set) var members: [JID: [String: Entry]] = [:]
        fileprivate(set) var count = 0

        fileprivate subscript(key: String, member: JID) -> Entry? {
            get { members[member]?[key] }
            set { members[member]?[key] = newValue }
        }
    }

    /// A registration, and what is going on with it, which is not kept when the room is let go of.
    struct Entry {
        let registration: Registration
        /// What was said since the member was here.
        fileprivate var unread = 0
        /// Nothing is told before.
        fileprivate var notBefore = Duration.zero
        fileprivate var isScheduled = false
        /// Attempts that failed, in a row.
        fileprivate var failures = 0

        fileprivate init(_ registration: Registration) {
            self.registration = registration
        }
    }

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

    func load(_ room: String) async throws -> Book? {
        let entries = try await store.entries(of: room)
        guard !entries.isEmpty else { return nil }
        let book = Book()
        for entry in entries { book.put(entry.value, entry.key) }
        return book
    }

    // MARK: Registrations

    /// Adds a registration, or puts it in the place of the one for the same target. The member's oldest makes room.
    ///
    /// - Throws: `.resourceConstraint` when the room has too many of others.
    func add(_ target: PushTarget, of member: JID, to room: Room) throws(StanzaError) {
        let book = room[Book.self] ?? Book()
        room[Book.self] = book
        let key = "\(member)\n\(target.key)"
        let own = book.members[member]?.filter { $0.key != key } ?? [:]
        if own.count >= room.service.options.pushRegistrations,
            let oldest = own.min(by: { $0.value.registration.rank < $1.value.registration.rank })
        {
            remove(oldest.key, of: member, from: room)
        }
        guard book.count < room.service.options.pushRegistrationLimit || book[key, member] != nil else {
            throw .resourceConstraint("The room wakes too many phones already.")
        }
        let rank = (own.values.map(\.registration.rank).max() ?? 0) + 1
        let registration = Registration(member: member, target: target, rank: rank)
        book.put(registration, key)
        store.set(registration, key, of: room.name)
    }

    /// XEP-0357 §6.
    func disable(_ disable: Element, _ member: JID, in room: Room) throws(StanzaError) {
        let meant = try PushTarget.meant(by: disable)
        for (key, entry) in room[Book.self]?.members[member] ?? [:] where meant(entry.registration.target) {
            remove(key, of: member, from: room)
        }
    }

    /// Forgets those whom the room does not know any more.
    ///
    /// - Parameter jid: whose affiliation has changed, a bare JID or a domain.
    func removeStrangers(_ jid: JID, from room: Room) {
        guard let book = room[Book.self] else { return }
        let concerned = jid.isDomain ? Array(book.members.keys) : [jid]
        for member in concerned where !room.mayBeWoken(member) {
            for key in book.members[member]?.keys.map({ $0 }) ?? [] { remove(key, of: member, from: room) }
        }
    }

    private func remove(_ key: String, of member: JID, from room: Room) {
        room[Book.self]?.remove(key, of: member)
        if !room.isDestroyed { store.delete(key, of: room.name) }
    }

    // MARK: Telling

    /// The member sees for itself what was said.
    func forgetUnread(_ member: JID, in room: Room) {
        guard let book = room[Book.self], let keys = book.members[member]?.keys else { return }
        for key in keys { book[key, member]?.unread = 0 }
    }

    /// Something was said: the services of a member learn it now, or when the interval is over.
    func tell(_ member: JID, in room: Room) {
        guard let book = room[Book.self], let entries = book.members[member] else { return }
        for (key, entry) in entries {
            book[key, member]?.unread += 1
            let wait = entry.notBefore - host.clock.now
            if wait <= .zero {
                send(key, member, room)
            } else if !entry.isScheduled {
                book[key, member]?.isScheduled = true
                host.clock.after(wait) { self.tellLater(key, member, room) }
            }
        }
    }

    private func tellLater(_ key: String, _ member: JID, _ room: Room) {
        guard let book = room[Book.self], let entry = book[key, member] else { return }
        book[key, member]?.isScheduled = false
        if entry.unread > 0, !room.isDestroyed { send(key, member, room) }
    }

    private func send(_ key: String, _ member: JID, _ room: Room) {
        guard let book = room[Book.self], let entry = book[key, member] else { return }
        book[key, member]?.notBefore = host.clock.now + Self.interval
        // COMPAT Services for phones tell by the presence of a text whether to wake the user, or the client only.
        let fields: [DataFormField] = [
            .text("message-count", "\(entry.unread)"), .text("last-message-body", "New message"),
        ]
        let notification = Element("notification", .push) {
            DataForm(.submit, formType: "urn:xmpp:push:summary", fields: fields).element
        }
        host.host.ask(entry.registration.target.publish(notification), limit: Self.patience) { reply in
            self.settle(reply.error, key, entry.registration, room)
        }
    }

    /// XEP-0357 §7.1.
    private func settle(_ error: StanzaError?, _ key: String, _ registration: Registration, _ room: Room) {
        let member = registration.member
        guard let book = room[Book.self], book[key, member]?.registration.rank == registration.rank else { return }
        guard let error else {
            book[key, member]?.failures = 0
            return
        }
        book[key, member]?.failures += 1
        let isOver = error.endsPushRegistration || book[key, member]?.failures ?? 0 >= Self.failureLimit
        host.log.debug(
            isOver ? "A push registration ends" : "A push failed",
            metadata: ["peer": "\(registration.target.service)", "reason": "\(error.condition.rawValue)"])
        if isOver { remove(key, of: member, from: room) }
    }
}

extension RoomPushRegistry.Book {
    fileprivate func put(_ registration: RoomPushRegistry.Registration, _ key: String) {
        if members[registration.member]?[key] == nil { count += 1 }
        members[registration.member, default: [:]][key] = RoomPushRegistry.Entry(registration)
    }

    fileprivate func remove(_ key: String, of member: JID) {
        guard members[member]?.removeValue(forKey: key) != nil else { return }
        count -= 1
        if members[member]?.isEmpty == true { members[member] = nil }
    }
}
