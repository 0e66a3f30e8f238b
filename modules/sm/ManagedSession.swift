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
        /// The stream is there, but the client does not know yet that it resumes, or has not got all that it missed.
        case resuming(ClientStream)
        /// The client is gone, and may come back until the action ends the session; nil while it is coming back.
        case detached(ScheduledAction?)
        case ended
    }

    /// The name by which the client resumes it; nil when it may not.
    let id: String?
    let resource: Resource
    /// How long the client may be away.
    let timeout: Duration
    private(set) var link: Link
    private(set) var queue: UnacknowledgedQueue
    /// What the resource had received when stream management began.
    private let base: UInt32
    /// When the client was asked for an acknowledgement that it owes; nil when it owes none.
    private(set) var askedAt: Duration?
    /// When it was last asked, whether it has answered or not; nil on a new stream.
    private var lastAskedAt: Duration?
    /// Whether it will be asked in a moment.
    private var isAskedLater = false
    /// What had been sent when it was asked.
    private var askedThrough: UInt32 = 0
    /// When the stream was lost.
    private(set) var detachedAt: Duration?
    /// How many items of the queue others know to be delayed.
    private var announced = 0
    /// How many items of the queue a client that resumes has got again.
    private var resent = 0
    /// Requests of the client that were not answered yet.
    private var dueAnswers = 0
    private weak var owner: StreamManagement?
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
            guard owner?.isOver(queue) == true else { return }
            stream.log.info("Too many stanzas without acknowledgement")
            stream.close(StreamError(.policyViolation, "Too many stanzas wait for an acknowledgement."))
        case .resuming: queue.append(stanza, at: clock.now)
        case .detached:
            queue.append(stanza, at: clock.now)
            announceDelays()
            if owner?.isOver(queue) == true { owner?.expire(self) }
        case .ended: break
        }
    }

    /// Asks the client what it got, unless it owes an answer already. XEP-0198 §4.
    ///
    /// Where much is going on it is asked once in a while: to answer each stanza costs both sides more than the stanza.
    private func askForAcknowledgement() {
        guard askedAt == nil, case .attached = link else { return }
        if let lastAskedAt, clock.now - lastAskedAt < StreamManagement.askInterval,
            queue.sent &- askedThrough < Self.unaskedLimit
        {
            guard !isAskedLater else { return }
            isAskedLater = true
            owner?.askLater(self)
        } else {
            askNow()
        }
    }

    /// Stanzas after which it is asked in any case.
    private static let unaskedLimit: UInt32 = 100

    /// Asks, if there is anything that it was not asked about.
    func askNow() {
        isAskedLater = false
        guard askedAt == nil, askedThrough != queue.sent || lastAskedAt == nil, case .attached(let stream) = link,
            !stream.isClosing
        else { return }
        askedAt = clock.now
        lastAskedAt = askedAt
        askedThrough = queue.sent
        owner?.awaitAcknowledgement(self)
        // It goes with the stanza that is to be acknowledged, whenever that leaves.
        stream.send(StreamManagement.request, isUrgent: false)
    }

    func acknowledge(_ h: UInt32) throws(UnacknowledgedQueue.HandledCountTooHigh) {
        let count = try queue.acknowledge(h)
        announced = max(0, announced - count)
        resent = max(0, resent - count)
        guard askedAt != nil else { return }
        askedAt = nil
        // A client that is behind is not asked again before there is something new.
        if askedThrough != queue.sent { askForAcknowledgement() }
    }

    /// Tells what the client got of its stanzas, once that is on disk. XEP-0198 §4.
    func answer() {
        guard case .attached(let stream) = link else { return }
        dueAnswers += 1
        // One at a time, so that they leave in order, and a flood of requests occupies a number.
        guard dueAnswers == 1 else { return }
        let h = received
        resource.fence.whenDurable { lost in
            let count = self.dueAnswers
            self.dueAnswers = 0
            guard case .attached(let current) = self.link, current === stream else { return }
            guard lost == nil else {
                // The client sends it again, on a stream that knows nothing of this.
                return stream.close(StreamError(.internalServerError, "What was sent could not be stored."))
            }
            stream.send(Element("a", .sm, ["h": "\(h)"]))
            // The others came later, and what was received since then may wait for the disk again.
            if count > 1 { self.answer() }
        }
    }

    // MARK: Coming and going

    /// The stream is lost. Returns whether the session waits for its client.
    func detach() -> Bool {
        guard let id, let stream else { return false }
        lastDetails = stream.details
        wait()
        stream.log.debug("Detached", metadata: ["session": "\(id.prefix(8))", "queue": "\(queue.items.count)"])
        return true
    }

    /// From now on the client has so much time to come back.
    func wait() {
        if case .detached(let timer) = link { timer?.cancel() }
        askedAt = nil
        dueAnswers = 0
        detachedAt = clock.now
        let timer = clock.after(timeout) { [weak self] in
            guard let self else { return }
            self.owner?.expire(self)
        }
        link = .detached(timer)
        announceDelays()
    }

    /// The client is coming back. If it has an old stream, that one ends; nothing more comes from it.
    func prepareToResume() {
        if case .detached(let timer) = link { timer?.cancel() }
        let old = stream
        askedAt = nil
        dueAnswers = 0
        link = .detached(nil)
        old?.yieldResource()
    }

    /// Another stream takes the place of the one there was. Nothing leaves before ``goOn(_:)``.
    func attach(_ stream: ClientStream) {
        lastDetails = [:]
        detachedAt = nil
        lastAskedAt = nil
        resent = 0
        link = .resuming(stream)
    }

    /// The client knows that it resumes: it gets what it missed, no more at a time than it reads. XEP-0198 §5.
    func goOn(_ stream: ClientStream) {
        guard case .resuming(let current) = link, current === stream, !stream.isClosing else { return }
        let now = clock.now
        while resent < queue.items.count {
            guard stream.backlog < Self.backlogLimit else {
                clock.after(.milliseconds(50)) { [weak self] in self?.goOn(stream) }
                return
            }
            resent += 1
            stream.deliver(stamped(queue.items[resent - 1], now))
            if stream.isClosing { return }
        }
        link = .attached(stream)
        if !queue.items.isEmpty { askForAcknowledgement() }
        resource.account.host.hooks.resourceResumed.notify(ResourceEvent(resource: resource))
    }

    /// Bytes that may wait for a client that resumes while there is more for it.
    private static let backlogLimit = 524_288

    /// Ends the session.
    ///
    /// - Returns: what the client never acknowledged, stamped with the time at which it was sent, and that time.
    func end() -> [(stanza: Stanza, time: Duration)] {
        if case .detached(let timer) = link { timer?.cancel() }
        link = .ended
        let now = clock.now
        return queue.removeAll().map { (stamped($0, now), $0.time) }
    }

    /// Leaves the stream to itself, because the module is unloaded.
    func giveBack(_ stream: ClientStream) {
        if case .resuming = link {
            let now = clock.now
            for item in queue.items.dropFirst(resent) { stream.deliver(stamped(item, now)) }
        }
        resource.attach(stream)
        link = .ended
    }

    /// Messages say when they were sent, if that is some time ago. XEP-0203 §3.
    private func stamped(_ item: UnacknowledgedQueue.Item, _ now: Duration) -> Stanza {
        guard case .message(var message) = item.stanza, now - item.time > .seconds(1) else { return item.stanza }
        let host = resource.account.host
        guard message.delay(by: host.jid) == nil, !message.isError else { return item.stanza }
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
