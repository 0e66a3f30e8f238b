import ServerKit

/// Stanzas that wait for a component, or for one of its connections. Bounded by the component's options.
@ServerActor
final class ComponentQueue {
    struct Item {
        let stanza: Stanza
        /// Since when it waits, by the server's clock.
        let since: Duration
        /// When it was sent.
        let stamp: Timestamp
        /// Its name on disk, if it is there.
        var stored: String?

        var size: Int { stanza.estimatedSize }
    }

    /// What all queues of a component hold together.
    struct Backlog {
        var count = 0
        var size = 0
    }

    private var items: ArraySlice<Item> = []
    private unowned let component: ExternalComponent

    init(_ component: ExternalComponent) {
        self.component = component
    }

    var isEmpty: Bool { items.isEmpty }

    /// Messages and subscriptions wait for a component that comes back soon; a request or a status has no use later.
    func mayWait(_ stanza: Stanza) -> Bool {
        guard component.options.queueTime > .zero else { return false }
        switch stanza {
        case .message(let message): return !message.isError
        case .iq: return false
        case .presence(let presence): return presence.kind.isSubscription
        }
    }

    /// Puts an item last, or answers it when there is no room.
    func add(_ item: Item) {
        let options = component.options
        let backlog = component.backlog
        guard backlog.count < options.queueLength, backlog.size + item.size <= options.queueSize else {
            forget(item)
            return component.bounce(item.stanza, .resourceConstraint("Too much waits for the component."))
        }
        var item = item
        if item.stored == nil { item.stored = component.store?.keep(item.stanza, sentAt: item.stamp) }
        items.append(item)
        component.backlog.count += 1
        component.backlog.size += item.size
    }

    /// The first one, if it may go. It is still to be forgotten when it has gone.
    func popFirst() -> Item? {
        guard let item = items.popFirst() else { return nil }
        component.backlog.count -= 1
        component.backlog.size -= item.size
        if items.isEmpty { items = [] }
        return item
    }

    func takeAll() -> ArraySlice<Item> {
        defer { items = [] }
        component.backlog.count -= items.count
        component.backlog.size -= items.reduce(0) { $0 + $1.size }
        return items
    }

    /// Removes an item from the disk.
    func forget(_ item: Item) {
        if let stored = item.stored { component.store?.forget(stored) }
    }

    /// Answers those that have waited too long.
    func expire() {
        guard let now = component.clock?.now else { return }
        while let first = items.first, now - first.since >= component.options.queueTime, let item = popFirst() {
            forget(item)
            component.bounce(
                item.stanza,
                StanzaError(.remoteServerTimeout, .wait, "The component has not been connected for some time."))
        }
    }

    /// Answers all of them.
    func giveUp(_ error: StanzaError) {
        for item in takeAll() {
            forget(item)
            component.bounce(item.stanza, error)
        }
    }
}

/// One connection of a component, and what waits until it has taken what was written before.
@ServerActor
final class ComponentLane {
    let link: any ComponentLink
    let number: UInt64
    private let waiting: ComponentQueue
    private unowned let component: ExternalComponent
    private var isPolling = false
    private var isStopped = false
    /// Since when nothing could be written although something waits.
    private var stalledSince: Duration?

    /// Bytes that may wait for a connection that is read slowly, beside its queue.
    private static let backlogLimit = 524_288

    init(_ link: any ComponentLink, number: UInt64, _ component: ExternalComponent) {
        self.link = link
        self.number = number
        self.component = component
        waiting = ComponentQueue(component)
    }

    /// Whether it has taken nothing for too long.
    var isStalled: Bool {
        guard let stalledSince, let now = component.clock?.now else { return false }
        return now - stalledSince >= component.options.stallTime
    }

    func send(_ item: ComponentQueue.Item) {
        guard waiting.isEmpty, link.backlog < Self.backlogLimit else {
            waiting.add(item)
            return poll()
        }
        write(item)
    }

    private func write(_ item: ComponentQueue.Item) {
        link.send(stamped(item))
        forget(item)
    }

    func forget(_ item: ComponentQueue.Item) { waiting.forget(item) }

    /// Messages say when they were sent, if that is some time ago. XEP-0203 §3.
    private func stamped(_ item: ComponentQueue.Item) -> Stanza {
        guard case .message(var message) = item.stanza, let now = component.clock?.now, now - item.since > .seconds(5),
            message.delay(by: component.jid) == nil
        else { return item.stanza }
        message.payload.append(Delay(stamp: item.stamp, from: component.jid).element)
        return .message(message)
    }

    private func poll() {
        guard !isPolling, let clock = component.clock else { return }
        isPolling = true
        stalledSince = stalledSince ?? clock.now
        clock.after(.milliseconds(50)) { [weak self] in
            guard let self, !self.isStopped else { return }
            self.isPolling = false
            while !self.isStopped, self.link.backlog < Self.backlogLimit, let item = self.waiting.popFirst() {
                self.stalledSince = nil
                self.write(item)
            }
            if !self.isStopped, !self.waiting.isEmpty { self.poll() }
        }
    }

    /// Ends it, and returns what was not written.
    func stop() -> ArraySlice<ComponentQueue.Item> {
        isStopped = true
        return waiting.takeAll()
    }

    /// How much this connection is the one for a sender: the highest counts.
    func preference(of sender: String) -> UInt64 {
        // FNV-1a, begun differently for each connection, and stirred so that near numbers are not near each other.
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325 ^ (number &* 0x9E37_79B9_7F4A_7C15)
        for byte in sender.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        hash = (hash ^ (hash >> 30)) &* 0xBF58_476D_1CE4_E5B9
        hash = (hash ^ (hash >> 27)) &* 0x94D0_49BB_1331_11EB
        return hash ^ (hash >> 31)
    }
}

/// Which connection of a component asked what, so that answers go back there.
struct AskerTable {
    private var numbers: [String: UInt64] = [:]
    private var keys: ArraySlice<String> = []
    /// The oldest is forgotten for one more.
    private static let limit = 10_000

    /// Remembers a request of the component.
    mutating func note(request: Stanza, by number: UInt64) {
        guard case .iq(let iq) = request, iq.isRequest, let from = iq.from, let to = iq.to else { return }
        let key = Self.key(iq.id, asked: to, by: from)
        if numbers.updateValue(number, forKey: key) == nil { keys.append(key) }
        while keys.count > Self.limit, let oldest = keys.popFirst() { numbers[oldest] = nil }
    }

    /// Who asked what this answers.
    func asker(of answer: Stanza) -> UInt64? {
        guard case .iq(let iq) = answer, !iq.isRequest, let from = iq.from, let to = iq.to else { return nil }
        return numbers[Self.key(iq.id, asked: from, by: to)]
    }

    private static func key(_ id: String?, asked: JID, by asker: JID) -> String { "\(id ?? "")\n\(asked)\n\(asker)" }
}
