import ServerKit

/// A client's session with stream management: stands between its resource and its stream, remembers what the client has
/// not acknowledged, and waits for it when the stream is lost. XEP-0198 §4, §5.
@ServerActor
final class ManagedSession: ResourceLink {
    enum Key: ResourceKey {
        static var defaultValue: ManagedSession? { nil }
    }

    /// How the session stands to its client.
    enum Link {
        case attached(ClientStream)
        /// The stream is there, but must not carry stanzas before the client knows that it resumes.
        case resuming(ClientStream)
        /// The client is gone, and may come back until the action ends the session.
        case detached(ScheduledAction?)
        case ended
    }

    /// The name by which the client resumes it; nil when it may not.
    let id: String?
    unowned let resource: Resource
    /// How long the client may be away.
    let timeout: Duration
    private(set) var link: Link
    private(set) var queue: UnacknowledgedQueue
    /// What the resource had received when stream management began.
    private let base: UInt32
    /// When the client was asked for an acknowledgement that it owes; nil when it owes none.
    private(set) var askedAt: Duration?
    /// How many items of the queue others know to be delayed.
    private var announced = 0
    private unowned let owner: StreamManagement
    private var lastDetails: [String: String] = [:]

    init(
        _ resource: Resource, id: String?, timeout: Duration, link: Link, received: UInt32 = 0,
        queue: UnacknowledgedQueue = UnacknowledgedQueue(), owner: StreamManagement
    ) {
        self.resource = resource
        self.id = id
        self.timeout = timeout
        self.link = link
        self.queue = queue
        self.owner = owner
        base = resource.receivedCount &- received
    }

    /// Stanzas received from the client, modulo 2³².
    var received: UInt32 { resource.receivedCount &- base }

    private var clock: any ServerClock { resource.account.host.server.clock }

    var stream: ClientStream? {
        switch link {
        case .attached(let stream), .resuming(let stream): stream
        case .detached, .ended: nil
        }
    }

    var isDetached: Bool {
        if case .detached = link { true } else { false }
    }

    // MARK: To the client

    func deliver(_ stanza: Stanza) {
        switch link {
        case .attached(let stream):
            queue.append(stanza, at: clock.now)
            stream.deliver(stanza)
            askForAcknowledgement()
            guard owner.isOver(queue) else { return }
            stream.log.info("Too many stanzas without acknowledgement")
            stream.close(StreamError(.policyViolation, "Too many stanzas wait for an acknowledgement."))
        case .resuming: queue.append(stanza, at: clock.now)
        case .detached:
            queue.append(stanza, at: clock.now)
            announceDelays()
            if owner.isOver(queue) { owner.expire(self) }
        case .ended: break
        }
    }

    /// Asks the client what it got, unless it owes an answer already. XEP-0198 §4.
    private func askForAcknowledgement() {
        guard askedAt == nil, case .attached(let stream) = link, !stream.isClosing else { return }
        askedAt = clock.now
        owner.awaitAcknowledgement(self)
        stream.send(StreamManagement.request)
    }

    func acknowledge(_ h: UInt32) throws(UnacknowledgedQueue.HandledCountTooHigh) {
        let count = try queue.acknowledge(h)
        announced = max(0, announced - count)
        askedAt = nil
        // What was sent after the request.
        if !queue.items.isEmpty { askForAcknowledgement() }
    }

    /// Tells what the client got of its stanzas, once that is on disk. XEP-0198 §4.
    func answer() {
        let h = received
        resource.fence.whenDurable { lost in
            guard let stream = self.stream else { return }
            guard lost == nil else {
                // The client sends it again, on a stream that knows nothing of this.
                stream.close(StreamError(.internalServerError, "What was sent could not be stored."))
                return
            }
            stream.send(Element("a", .sm, ["h": "\(h)"]))
        }
    }

    // MARK: Coming and going

    /// The stream is lost. Returns whether the session waits for its client.
    func detach() -> Bool {
        guard let id, let stream else { return false }
        lastDetails = stream.details
        askedAt = nil
        startTimer()
        stream.log.debug("Detached", metadata: ["session": "\(id.prefix(8))", "queue": "\(queue.items.count)"])
        announceDelays()
        return true
    }

    /// From now on the client has so much time to come back.
    func startTimer() {
        if case .detached(let timer) = link { timer?.cancel() }
        let timer = clock.after(timeout) { [weak self] in
            guard let self else { return }
            self.owner.expire(self)
        }
        link = .detached(timer)
    }

    /// Another stream takes the place of the one there is. Nothing leaves before ``goOn()``.
    func attach(_ stream: ClientStream) {
        if case .detached(let timer) = link { timer?.cancel() }
        lastDetails = [:]
        link = .resuming(stream)
    }

    /// The stream there is goes away, because another one takes the session over.
    func takeFromOldStream() {
        guard let old = stream else { return }
        askedAt = nil
        startTimer()
        old.yieldResource()
    }

    /// The client knows that it resumes: it gets what it missed. XEP-0198 §5.
    func goOn() {
        guard case .resuming(let stream) = link, !stream.isClosing else { return }
        link = .attached(stream)
        announced = 0
        let now = clock.now
        for item in queue.items { stream.deliver(stamped(item, now)) }
        if !queue.items.isEmpty { askForAcknowledgement() }
    }

    /// Ends the session.
    ///
    /// - Returns: what the client never acknowledged, stamped with the time at which it was sent.
    func end() -> [Stanza] {
        if case .detached(let timer) = link { timer?.cancel() }
        link = .ended
        let now = clock.now
        return queue.removeAll().map { stamped($0, now) }
    }

    /// Messages say when they were sent, if that is some time ago. XEP-0203 §3.
    private func stamped(_ item: UnacknowledgedQueue.Item, _ now: Duration) -> Stanza {
        guard case .message(var message) = item.stanza, now - item.time > .seconds(1) else { return item.stanza }
        let host = resource.account.host
        let isStamped = message.payload.children("delay", .delay).contains { $0.jid("from") == host.jid }
        guard !isStamped, !message.isError else { return item.stanza }
        message.payload.append(Delay(stamp: date(of: item), from: host.jid).element)
        return .message(message)
    }

    func date(of item: UnacknowledgedQueue.Item) -> Timestamp {
        clock.date.advanced(by: item.time - clock.now)
    }

    // MARK: Silence

    /// Tells the others about stanzas that wait, each once.
    func announceDelays() {
        guard announced < queue.items.count else { return }
        let delayed = queue.items[announced...]
        announced = queue.items.count
        let hooks = resource.account.host.hooks
        for item in delayed { hooks.stanzaDelayed.notify(StanzaDelayEvent(resource: resource, stanza: item.stanza)) }
    }

    // MARK: ResourceLink

    func close(_ error: StreamError?) {
        if let stream { return stream.close(error) }
        // A server that stops keeps those who are away.
        if error?.condition == .systemShutdown { return }
        resource.account.remove(resource)
    }

    var backlog: Int { stream?.backlog ?? 0 }
    var lastHeard: Duration? { stream?.lastHeard }
    var details: [String: String] {
        guard let stream else { return lastDetails.merging(["state": "detached"]) { $1 } }
        return stream.details
    }
}
