/// What a filter decides.
public enum Verdict: Sendable {
    case pass
    /// Forget the stanza in silence.
    case drop
    /// Answer it with an error.
    case bounce(StanzaError)
}

/// A moment at which modules may act, and what is known then. Declared as typed statics, so that a misspelling does not
/// compile: `extension Hook where Event == JoinEvent { static var occupantJoining: Self { Hook("muc.joining") } }`.
public struct Hook<Event>: Sendable {
    let name: String
    let kernelList: (@Sendable @ServerActor (HostHooks) -> HookList<Event>)?

    /// A hook point of a module.
    public init(_ name: String) {
        self.name = name
        kernelList = nil
    }

    /// A hook point of the kernel, found without looking up a name.
    init(_ name: String, _ list: @escaping @Sendable @ServerActor (HostHooks) -> HookList<Event>) {
        self.name = name
        kernelList = list
    }
}

/// The handlers of one hook point on one host, by verb. There are no priorities: within a verb, handlers run in the
/// order in which their modules were loaded.
@ServerActor
public final class HookList<Event> {
    struct Handler<Body> {
        let id: Int
        /// The module's place in the order of loading, which holds after a reload, too.
        let rank: Int
        let body: Body
    }

    private var nextID = 0
    private var filters: [Handler<@ServerActor (Event) -> Verdict>] = []
    private var transforms: [Handler<@ServerActor (inout Event) -> Void>] = []
    private var claims: [Handler<@ServerActor (Event) -> Bool>] = []
    private var observers: [Handler<@ServerActor (Event) -> Void>] = []

    init() {}

    func filter(rank: Int, _ body: @escaping @ServerActor (Event) -> Verdict) -> Int {
        add(&filters, rank, body)
    }
    func transform(rank: Int, _ body: @escaping @ServerActor (inout Event) -> Void) -> Int {
        add(&transforms, rank, body)
    }
    func claim(rank: Int, _ body: @escaping @ServerActor (Event) -> Bool) -> Int {
        add(&claims, rank, body)
    }
    func observe(rank: Int, _ body: @escaping @ServerActor (Event) -> Void) -> Int {
        add(&observers, rank, body)
    }

    func remove(_ id: Int) {
        filters.removeAll { $0.id == id }
        transforms.removeAll { $0.id == id }
        claims.removeAll { $0.id == id }
        observers.removeAll { $0.id == id }
    }

    /// Asks the filters; the first that does not pass decides.
    public func verdict(on event: Event) -> Verdict {
        for filter in filters {
            switch filter.body(event) {
            case .pass: continue
            case let verdict: return verdict
            }
        }
        return .pass
    }

    /// Lets modules change the event.
    public func transform(_ event: inout Event) {
        for transform in transforms { transform.body(&event) }
    }

    /// Offers the event; whether a module took it.
    public func isClaimed(_ event: Event) -> Bool {
        claims.contains { $0.body(event) }
    }

    /// Tells those who only look.
    public func notify(_ event: Event) {
        for observer in observers { observer.body(event) }
    }

    private func add<Body>(_ handlers: inout [Handler<Body>], _ rank: Int, _ body: Body) -> Int {
        nextID += 1
        let index = handlers.firstIndex { $0.rank > rank } ?? handlers.endIndex
        handlers.insert(Handler(id: nextID, rank: rank, body: body), at: index)
        return nextID
    }
}

/// The hook points of one host.
@ServerActor
public final class HostHooks {
    public let messageSent = HookList<MessageEvent>()
    public let messageArrived = HookList<MessageEvent>()
    public let messageUndelivered = HookList<MessageEvent>()
    public let messageDelivered = HookList<MessageEvent>()
    public let presenceSent = HookList<PresenceEvent>()
    public let presenceShown = HookList<PresenceEvent>()
    public let presenceArrived = HookList<PresenceEvent>()
    public let iqSent = HookList<IQEvent>()
    public let iqArrived = HookList<IQEvent>()
    public let iqAnswer = HookList<IQEvent>()
    public let hostMessage = HookList<HostMessageEvent>()
    public let hostPresence = HookList<HostPresenceEvent>()
    public let addressArrived = HookList<AddressEvent>()
    public let resourceBound = HookList<ResourceEvent>()
    public let resourceAvailable = HookList<ResourceEvent>()
    public let resourceUnavailable = HookList<ResourceEvent>()
    public let resourceDetaching = HookList<ResourceEvent>()
    public let resourceResumed = HookList<ResourceEvent>()
    public let resourceRestored = HookList<ResourceEvent>()
    public let resourceClosed = HookList<ResourceEvent>()
    public let stanzaDelayed = HookList<StanzaDelayEvent>()
    public let rosterChanged = HookList<RosterEvent>()
    public let peerReturned = HookList<PeerEvent>()
    public let peerLost = HookList<PeerEvent>()
    public let accountLoaded = HookList<AccountEvent>()
    public let accountRemoved = HookList<AccountEvent>()
    public let accountCreated = HookList<AccountEvent>()
    private var others: [String: AnyObject] = [:]

    init() {}

    /// The list behind a hook point. Modules that fire a hook keep it rather than look it up each time.
    public func list<Event>(_ hook: Hook<Event>) -> HookList<Event> {
        if let list = hook.kernelList?(self) { return list }
        if let list = others[hook.name] as? HookList<Event> { return list }
        let list = HookList<Event>()
        others[hook.name] = list
        return list
    }
}
