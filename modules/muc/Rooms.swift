import ServerKit

/// The rooms of a service: loads them when they are needed, makes and removes them, and lets go of them when they are
/// empty.
@ServerActor
final class Rooms {
    typealias Handler = @ServerActor (Room, IQRequest) throws -> Element?
    typealias SlowHandler = @ServerActor (Room, IQRequest) async throws -> Element?

    let host: ModuleHost
    let stores: RoomStores
    let hooks: RoomHooks
    /// What features tell of rooms through disco.
    let info = RoomInfo()
    /// The public ones.
    private(set) lazy var directory = RoomDirectory(self)
    var options: MUC.Options
    private(set) var loaded: [String: Room] = [:] { didSet { if !loaded.isEmpty { scheduleUpkeep() } } }
    private var mailboxes: [String: Mailbox] = [:]
    private var waitingStanzas = 0
    private var handlers: [HandlerKey: Body] = [:]
    private var ids = StanzaIDMaker()

    /// Stanzas that may wait for one room, and for all together.
    private static let mailboxLimit = 2_000
    private static let waitingLimit = 20_000
    /// How long an empty room stays loaded.
    private static let idleTime = Duration.seconds(60)

    private struct HandlerKey: Hashable {
        let kind: IQ.Kind
        let name: String
        let namespace: Namespace
    }

    private enum Body {
        case now(Handler)
        case later(SlowHandler)
    }

    init(_ host: ModuleHost, _ options: MUC.Options) {
        self.host = host
        self.options = options
        stores = RoomStores(host)
        hooks = RoomHooks(host.host.hooks)
        host.claim(.addressArrived) {
            self.receive($0.stanza)
            return true
        }
        host.onUnload { self.isOver = true }
    }

    var server: Server { host.server }
    var now: Duration { host.clock.now }

    /// A new id for a message. XEP-0359 §3.
    func makeID() -> String { ids.make(at: host.clock.date) }

    /// Whether somebody is as good as an owner in all rooms. XEP-0045 §5: a service-wide administrator.
    func ownsAllRooms(_ jid: JID) -> Bool { host.host.isAdmin(jid) }

    // MARK: Requests

    /// Answers requests to rooms with this payload.
    func answer(_ kind: IQ.Kind, _ name: String, _ namespace: Namespace, _ body: @escaping Handler) {
        handlers[HandlerKey(kind: kind, name: name, namespace: namespace)] = .now(body)
    }

    /// Answers them after waiting for something. The world may have moved meanwhile.
    func answer(_ kind: IQ.Kind, _ name: String, _ namespace: Namespace, later body: @escaping SlowHandler) {
        handlers[HandlerKey(kind: kind, name: name, namespace: namespace)] = .later(body)
    }

    // MARK: What features keep

    /// Loads what a feature keeps with each room, before any stanza reaches it. Stored in a map or store of the module
    /// under the room's name, it goes away with the room.
    func loadWithRooms<Key: RoomKey>(
        _ key: Key.Type, _ body: @escaping @ServerActor (_ name: String) async throws -> Key.Value
    ) {
        loaders.append { name in
            let value = try await body(name)
            return { room in room[key] = value }
        }
    }

    /// Asks before a room is made by somebody who enters, given as a bare JID. What is returned refuses it.
    func refuseMaking(_ body: @escaping Refusal) { refusals.append(body) }

    typealias Refusal = @ServerActor (_ name: String, _ creator: JID) async throws -> StanzaError?
    private var refusals: [Refusal] = []

    private typealias Loader = @ServerActor (String) async throws -> @ServerActor (Room) -> Void
    private var loaders: [Loader] = []

    /// The kinds of a payload that rooms answer.
    private func answers(_ query: Element) -> Bool {
        [IQ.Kind.get, .set].contains {
            handlers[HandlerKey(kind: $0, name: query.name, namespace: query.namespace)] != nil
        }
    }

    /// A request to the room itself.
    func answer(_ iq: IQ, in room: Room) {
        guard let query = iq.query else { return }
        switch handlers[HandlerKey(kind: iq.kind, name: query.name, namespace: query.namespace)] {
        case .now(let body): host.answer(iq) { try body(room, $0) }
        case .later(let body):
            // Meanwhile it must not be let go of: a second one with the same name would know nothing of this.
            room.pins += 1
            host.answer(iq) { request in
                defer { room.pins -= 1 }
                return try await body(room, request)
            }
        case nil:
            let error = answers(query) ? StanzaError.notAllowed : .serviceUnavailable
            host.answer(iq) { _ in throw error }
        }
    }

    // MARK: Stanzas

    private func receive(_ stanza: Stanza) {
        guard let name = stanza.to?.localpart else { return }
        if let room = loaded[name] { return room.receive(stanza) }
        // What tells that somebody is gone, or answers a question, concerns nobody who is not there.
        guard waitingStanzas < Self.waitingLimit, mailboxes[name]?.count ?? 0 < Self.mailboxLimit else {
            return host.router.bounce(stanza, .resourceConstraint)
        }
        waitingStanzas += 1
        if let mailbox = mailboxes[name] { return mailbox.put(stanza) }
        let mailbox = Mailbox(router: host.router)
        mailboxes[name] = mailbox
        mailbox.put(stanza)
        load(name)
    }

    /// The room with this name, loaded if need be; nil when there is none or it cannot be read.
    func room(_ name: String) async -> Room? {
        do { return try await find(name) } catch { return nil }
    }

    /// The room with this name, loaded if need be; nil when there is none.
    ///
    /// - Throws: what keeps it from being read.
    func find(_ name: String) async throws -> Room? {
        if let room = loaded[name] { return room }
        try await withCheckedThrowingContinuation { continuation in
            waiters[name, default: []].append(continuation)
            if mailboxes[name] == nil {
                mailboxes[name] = Mailbox(router: host.router)
                load(name)
            }
        }
        return loaded[name]
    }

    private var waiters: [String: [CheckedContinuation<Void, any Error>]] = [:]

    private func load(_ name: String) {
        Task { @ServerActor in
            var outcome: Result<Void, any Error> = .success(())
            do {
                if let stored = try await self.stores.read(name, self.options) {
                    var kept: [@ServerActor (Room) -> Void] = []
                    for loader in self.loaders { kept.append(try await loader(name)) }
                    let room = Room(self.jid(name), self, stored)
                    for put in kept { put(room) }
                    self.loaded[name] = room
                    self.hooks.roomLoaded.notify(RoomEvent(room: room))
                }
                try await self.emptyMailbox(of: name)
            } catch {
                self.host.log.error("A room cannot be loaded", metadata: ["room": "\(name)", "reason": "\(error)"])
                let failure = StanzaError(.internalServerError, .wait)
                outcome = .failure(error)
                while self.handleFirst(name, { self.host.router.bounce($0, failure) }) {}
            }
            self.mailboxes[name] = nil
            for waiter in self.waiters.removeValue(forKey: name) ?? [] { waiter.resume(with: outcome) }
        }
    }

    private func emptyMailbox(of name: String) async throws {
        while let stanza = mailboxes[name]?.first {
            if loaded[name] == nil, let creator = stanza.creator {
                // Whether it may be made depends on what its creator has made before.
                makers[creator, default: Maker()].pending += 1
                defer { forgetMaker(creator) }
                let made = Set(try await stores.made.entries(of: creator.description).map(\.key))
                var refusal: StanzaError?
                for refuse in refusals where refusal == nil { refusal = try await refuse(name, creator) }
                handleFirst(name) { stanza in
                    if let refusal { return self.host.router.bounce(stanza, refusal) }
                    self.create(name, stanza, made.union(self.makers[creator]?.made ?? []).count)
                }
            } else {
                handleFirst(name) { stanza in
                    if let room = self.loaded[name] { room.receive(stanza) } else { self.refuse(stanza) }
                }
            }
        }
    }

    @discardableResult
    private func handleFirst(_ name: String, _ body: (Stanza) -> Void) -> Bool {
        guard let mailbox = mailboxes[name], mailbox.handleFirst(body) else { return false }
        waitingStanzas -= 1
        return true
    }

    func jid(_ name: String) -> JID { JID(unchecked: name, domainpart: host.domain, resourcepart: nil) }

    /// A stanza for a room that does not exist.
    private func refuse(_ stanza: Stanza) {
        switch stanza {
        case .presence(let presence):
            guard presence.kind == .available else { return }
            if presence.to?.resourcepart == nil {
                // XEP-0045 §7.2.1: without a nick nobody enters.
                host.router.bounce(stanza, .jidMalformed)
            } else if !presence.has("x", .muc) {
                // XEP-0045 §7.2.18: a client that thinks it is in a room must learn that it is not.
                host.router.route(Room.notInside(presence))
            }
        case .message(let message):
            // XEP-0045 §7.5, §17.2.
            let isMistyped = message.kind == .groupchat && message.to?.resourcepart != nil
            host.router.bounce(stanza, isMistyped ? .badRequest : .itemNotFound)
        case .iq(let iq):
            // XEP-0410 §3.2: of an occupant's JID "item-not-found" would say that its client is still in the room.
            host.router.bounce(stanza, iq.to?.resourcepart == nil ? .itemNotFound : Room.refusal(of: iq))
        }
    }

    // MARK: Making and removing

    /// Whether somebody may make rooms.
    func mayCreate(_ jid: JID) -> Bool {
        switch options.creators {
        case .admins: host.host.isAdmin(jid)
        // Not guests: nobody would own the room when they are gone.
        case .users: jid.localpart != nil && server.host(jid.domainpart).map { !$0.isAnonymous } == true
        case .anyone: true
        }
    }

    /// Somebody enters a room that does not exist. XEP-0045 §10.1.
    private func create(_ name: String, _ stanza: Stanza, _ count: Int) {
        guard case .presence(let presence) = stanza, let creator = presence.from?.bare else { return }
        guard mayCreate(creator) else {
            // XEP-0045 §7.2.17, §10.1.1.
            return host.router.bounce(stanza, .notAllowed("There is no such room, and you may not make one."))
        }
        guard count < options.roomsPerUser || host.host.isAdmin(creator) else {
            return host.router.bounce(stanza, .resourceConstraint("You have made too many rooms already."))
        }
        // Nothing that is left of an earlier one, such as its owners, may come to life again.
        removeEverything(of: name)
        let record = RoomRecord(
            settings: options.newRoom, creator: creator, created: host.clock.date,
            salt: RandomToken.make(bytes: 16), isLocked: options.locksNewRooms ? true : nil)
        // XEP-0045 §10.1.1: whoever makes the room owns it.
        let room = Room(jid(name), self, record, affiliates: [creator: Affiliate(affiliation: .owner)])
        loaded[name] = room
        room.isNew = true
        room.receive(stanza)
        room.isNew = false
        guard !room.isEmpty else {
            // Refused like everybody else, as for a nick that is none.
            room.markDestroyed()
            loaded[name] = nil
            return removeEverything(of: name)
        }
    }

    /// Somebody who makes several rooms at a time.
    private struct Maker {
        /// How many of them are still to be made.
        var pending = 0
        /// Those that were made meanwhile: what was read before does not tell of them.
        var made: Set<String> = []
    }

    private var makers: [JID: Maker] = [:]

    private func forgetMaker(_ jid: JID) {
        makers[jid]?.pending -= 1
        if makers[jid]?.pending == 0 { makers[jid] = nil }
    }

    /// Stores a room that somebody has made by entering it.
    func finishCreating(_ room: Room) {
        room.saveAffiliates()
        room.save()
        stores.made.set(host.clock.date, room.name, of: room.record.creator.description)
        makers[room.record.creator]?.made.insert(room.name)
        hooks.roomCreated.notify(RoomEvent(room: room))
    }

    /// Makes a room without an occupant, such as for a hoster's own tools.
    ///
    /// - Returns: nil when there is one already.
    func create(_ name: String, settings: RoomSettings, owner: JID) async -> Room? {
        do { guard try await find(name) == nil else { return nil } } catch { return nil }
        // The world may have moved meanwhile: whoever was first has it.
        guard loaded[name] == nil, mailboxes[name] == nil else { return nil }
        removeEverything(of: name)
        let record = RoomRecord(
            settings: settings, creator: owner, created: host.clock.date, salt: RandomToken.make(bytes: 16))
        let room = Room(jid(name), self, record)
        loaded[name] = room
        room.setAffiliate(Affiliate(affiliation: .owner), of: owner.bare)
        room.save()
        stores.made.set(host.clock.date, name, of: owner.bare.description)
        hooks.roomCreated.notify(RoomEvent(room: room))
        return room
    }

    /// Removes a room in which nobody is any more.
    ///
    /// - Parameter destruction: how its owner wants it; nil when it ends with its last occupant.
    func remove(_ room: Room, _ destruction: RoomEvent.Destruction? = nil) {
        guard loaded[room.name] === room else { return }
        // One whose owner has never said how it should be was never there.
        hooks.roomDestroyed.notify(RoomEvent(room: room, destruction: room.isLocked ? nil : destruction))
        room.markDestroyed()
        stores.remove(room.name, madeBy: room.record.creator)
        makers[room.record.creator]?.made.remove(room.name)
        loaded[room.name] = nil
    }

    /// The last occupant has left. XEP-0045 §10.9: what is not persistent goes away.
    func becameEmpty(_ room: Room) {
        if !room.settings.isPersistent || room.isLocked { remove(room) }
    }

    /// Removes what is left of a room that does not exist.
    func forget(_ name: String) {
        if loaded[name] == nil, mailboxes[name] == nil { removeEverything(of: name) }
    }

    private func removeEverything(of name: String) {
        server.storage.removeEverything(of: name, on: host.domain)
    }

    // MARK: From time to time

    /// What else is to be done from time to time while rooms are loaded.
    var upkeep: [@ServerActor () -> Void] = []
    /// Called when it becomes uncertain whether somebody is there.
    var doubtsArose: @ServerActor () -> Void = {}
    private var isUpkeepDue = false
    private var isOver = false

    /// A service without visitors wakes nobody up.
    private func scheduleUpkeep() {
        guard !isUpkeepDue else { return }
        isUpkeepDue = true
        host.clock.after(.seconds(30)) {
            self.isUpkeepDue = false
            guard !self.isOver else { return }
            self.evictIdle()
            for body in self.upkeep { body() }
            if !self.loaded.isEmpty { self.scheduleUpkeep() }
        }
    }

    private func evictIdle() {
        for (name, room) in loaded
        where room.isEmpty && room.pins == 0 && room.outbox.isEmpty && now - room.lastUse > Self.idleTime {
            // One that is not persistent was left by its last occupant at the moment of a crash.
            if room.settings.isPersistent { loaded[name] = nil } else { remove(room) }
        }
    }

    /// Whether something is under way to occupants.
    var isWaiting: Bool {
        waitingStanzas > 0 || loaded.values.contains { !$0.outbox.isEmpty || $0.pins > 0 }
    }
}

extension Stanza {
    /// Who would make the room if this is what comes first: somebody who enters. XEP-0045 §10.1.1.
    fileprivate var creator: JID? {
        guard case .presence(let presence) = self, presence.kind == .available, presence.has("x", .muc),
            presence.to?.resourcepart != nil
        else { return nil }
        return presence.from?.bare
    }
}
