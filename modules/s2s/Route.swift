import ServerKit

/// The way from a domain served here to one that is not: what waits to be sent, and the stream that carries it.
///
/// A stanza stays in the queue until the peer has acknowledged it; when a stream is lost, the next one begins with
/// what the peer may not have got. Messages that must not be lost lie on disk meanwhile (``QueueStore``).
@ServerActor
final class Route {
    enum State {
        /// There is nothing to send.
        case idle
        /// A stream is being opened.
        case connecting
        /// A stream carries what there is.
        case open(ServerStream)
        /// The last attempt failed, and the next one follows when the action is due.
        case waiting(ScheduledAction)
    }

    struct Item {
        var stanza: Stanza
        /// When it came, by the server's clock.
        let time: Duration
        /// What it lies on disk with.
        let stored: StoredBatch?
        let size: Int
        /// How many streams were lost that carried it and brought no acknowledgement.
        var losses = 0
    }

    let pair: DomainPair
    private(set) var state = State.idle
    private(set) var queue: ArraySlice<Item> = []
    /// How many of the queue the present stream has carried.
    private var sent = 0
    /// What the queue takes, in bytes.
    private(set) var size = 0 {
        didSet { federation.queued += size - oldValue }
    }
    /// Attempts that failed since a stream was open.
    private(set) var failures = 0
    /// Since when the peer cannot be reached.
    private(set) var failingSince: Duration?
    /// What was wrong the last time.
    private(set) var lastFailure: DialFailure?
    private(set) var lastUse: Duration
    private var isPumping = false
    /// Whether a look at a peer that reads slowly is due.
    private var isPumpDue = false
    /// Whether the peer acknowledged something since the stream was opened.
    private var hasProgressed = false
    /// Whether a stream is to be opened even with nothing to say: the last one was lost, and whoever is at the other end
    /// may have forgotten what it was told.
    private var wantsReturn = false
    private unowned let federation: Federation

    init(_ pair: DomainPair, _ federation: Federation) {
        self.pair = pair
        self.federation = federation
        lastUse = federation.server.clock.now
    }

    private var clock: any ServerClock { federation.server.clock }

    var stream: ServerStream? {
        if case .open(let stream) = state { stream } else { nil }
    }

    // MARK: Sending

    /// Sends a stanza now, or when there is a stream.
    func send(_ stanza: Stanza) {
        let now = clock.now
        lastUse = now
        // Nobody is made to wait for a peer that cannot be reached, and no messenger wears out its door.
        if case .waiting = state, let failure = lastFailure, !failure.isTemporary || !Self.mayWait(stanza) {
            return federation.bounce(stanza, failure.error)
        }
        let size = stanza.estimatedSize
        // What a peer has and did not acknowledge yet does not wait; its bytes count all the same.
        guard queue.count - sent < federation.options.queueLength, self.size + size <= sizeLimit else {
            return federation.bounce(
                stanza, .resourceConstraint("Too much waits to be sent to \(pair.remote)."))
        }
        let stored = federation.store.keep(stanza, for: pair, isOnItsWay: stream?.acknowledgements.isReliable == true)
        append(Item(stanza: stanza, time: now, stored: stored, size: size))
    }

    /// What may wait for all domains together, in bytes.
    private static let totalLimit = 536_870_912

    /// What may wait for this one: the fuller it gets, the less each may have, so that some never leave nothing for
    /// all others.
    private var sizeLimit: Int { min(federation.options.queueSize, (Self.totalLimit - federation.queued) / 4) }

    /// Takes up what an earlier run of the server left: it comes before what was sent since.
    func restore(_ items: [Item]) {
        queue.insert(contentsOf: items, at: queue.startIndex + sent)
        size += items.reduce(0) { $0 + $1.size }
        switch state {
        case .open: pump()
        case .idle: connect()
        case .connecting, .waiting: break
        }
    }

    private func append(_ item: Item) {
        queue.append(item)
        size += item.size
        switch state {
        case .open: pump()
        case .idle: connect()
        case .connecting, .waiting: break
        }
    }

    /// Messages and subscriptions wait for a peer that comes back soon; a request or a status has no use later.
    private static func mayWait(_ stanza: Stanza) -> Bool {
        switch stanza {
        case .message: true
        case .iq: false
        case .presence(let presence): presence.kind.isSubscription
        }
    }

    /// Bytes that may wait for a peer that reads slowly, beside the queue.
    private static let backlogLimit = 524_288

    /// Gives the stream what it has not carried yet, no more than it takes.
    private func pump() {
        guard case .open(let stream) = state, !isPumping else { return }
        isPumping = true
        defer { isPumping = false }
        let now = clock.now
        while sent < queue.count, !stream.isClosing {
            guard stream.transport.backlog < Self.backlogLimit else {
                guard !isPumpDue else { return }
                isPumpDue = true
                clock.after(.milliseconds(50)) { [weak self] in
                    self?.isPumpDue = false
                    self?.pump()
                }
                return
            }
            let item = queue[queue.startIndex + sent]
            sent += 1
            stream.send(Self.stamped(item, pair, now, clock.date))
            stream.acknowledgements.sent(for: self)
        }
    }

    /// Messages say when they were sent, if that is some time ago. XEP-0203 §3.
    static func stamped(_ item: Item, _ pair: DomainPair, _ now: Duration, _ date: Timestamp) -> Stanza {
        guard case .message(var message) = item.stanza, now - item.time > .seconds(5), !message.isError,
            message.delay(by: pair.localJID) == nil
        else { return item.stanza }
        let stamp = date.advanced(by: item.time - now)
        message.payload.append(Delay(stamp: stamp, from: pair.localJID).element)
        return .message(message)
    }

    /// The peer has the first of what was sent.
    func acknowledged() {
        guard sent > 0, let item = queue.popFirst() else { return }
        sent -= 1
        size -= item.size
        if !hasProgressed {
            hasProgressed = true
            failures = 0
            failingSince = nil
        }
        if queue.isEmpty { queue = [] }
        if let stored = item.stored { federation.store.forget(stored, for: pair) }
    }

    // MARK: The stream

    /// Opens a stream with nothing to say, to see whether the peer is there.
    ///
    /// - Parameter isThere: whether it is, as far as is known: then there is no reason to wait.
    func seek(isThere: Bool) {
        wantsReturn = true
        // Whoever asks the peer something now is not answered with what was wrong before.
        if isThere { lastFailure = nil }
        switch state {
        case .open, .connecting: return
        case .waiting(let action):
            guard isThere else { return }
            action.cancel()
        case .idle: break
        }
        retry(after: .milliseconds(Int64.random(in: 50...500)))
    }

    private func connect() {
        state = .connecting
        federation.connect(self)
    }

    /// Uses a stream that is authenticated for the pair, unless there is one.
    func open(_ stream: ServerStream) {
        guard !stream.isClosing else { return }
        switch state {
        case .open: return
        case .waiting(let action): action.cancel()
        case .idle, .connecting: break
        }
        let wasUnreachable = failingSince != nil || federation.wasLost(pair)
        state = .open(stream)
        hasProgressed = false
        lastFailure = nil
        wantsReturn = false
        sent = 0
        stream.attach(self)
        pump()
        federation.reached(pair, on: stream, wasAway: wasUnreachable)
    }

    /// The stream has ended. What the peer may not have got goes over the next one.
    func lost(_ stream: ServerStream, _ reason: String) {
        guard case .open(let current) = state, current === stream else { return }
        state = .idle
        federation.store.write(pair)
        // Of a request that was sent nobody knows whether it was carried out: it is not sent twice. Nor is what costs
        // one stream after the other: a peer may end them because of it.
        var undecided = Array(queue.prefix(sent))
        if !hasProgressed { for index in undecided.indices { undecided[index].losses += 1 } }
        var given: [Item] = []
        if let first = undecided.first, first.losses >= Self.lossLimit { given.append(undecided.removeFirst()) }
        given += undecided.filter { !Self.isWorthRepeating($0.stanza) }
        queue = ArraySlice(undecided.filter { Self.isWorthRepeating($0.stanza) }) + queue.dropFirst(sent)
        size = queue.reduce(0) { $0 + $1.size }
        sent = 0
        let now = clock.now
        failures = hasProgressed ? 0 : failures + 1
        failingSince = hasProgressed ? now : failingSince ?? now
        let text = "The connection to \(pair.remote) was lost: \(reason)"
        lastFailure = DialFailure(.remoteServerTimeout, text, isTemporary: true)
        if !stream.endedWell {
            federation.markLost(pair)
            wantsReturn = true
        }
        if !queue.isEmpty || wantsReturn {
            // A peer that was there a moment ago is likely to come back.
            retry(after: failures <= 1 ? .milliseconds(Int64.random(in: 50...500)) : pause)
        } else {
            failingSince = nil
        }
        giveUp(given, StanzaError(.remoteServerTimeout, .wait, text))
    }

    /// Streams that one stanza may cost.
    private static let lossLimit = 4

    /// Tells the senders that something will not arrive.
    private func giveUp(_ items: [Item], _ error: StanzaError) {
        for item in items {
            if let stored = item.stored { federation.store.forget(stored, for: pair) }
            federation.bounce(item.stanza, error)
        }
    }

    private static func isWorthRepeating(_ stanza: Stanza) -> Bool {
        switch stanza {
        case .iq(let iq): !iq.isRequest
        case .message, .presence: true
        }
    }

    /// No stream could be opened.
    func failed(_ failure: DialFailure) {
        guard case .connecting = state else { return }
        let now = clock.now
        failures += 1
        failingSince = failingSince ?? now
        lastFailure = failure
        let isOver = !failure.isTemporary || now - (failingSince ?? now) >= federation.options.patience
        let refused = queue.filter { isOver || !Self.mayWait($0.stanza) }
        queue = ArraySlice(queue.filter { !isOver && Self.mayWait($0.stanza) })
        size = queue.reduce(0) { $0 + $1.size }
        sent = 0
        if refused.contains(where: { $0.stanza.isProbe }) {
            // What contacts there are up to is asked again when it can be.
            wantsReturn = true
            federation.markLost(pair)
        }
        if isOver { wantsReturn = false }
        // Whoever waits is told when its time is over, and not long after.
        let left = federation.options.patience - (now - (failingSince ?? now))
        retry(after: isOver || queue.isEmpty ? pause : min(pause, max(left, .seconds(1))))
        giveUp(Array(refused), failure.error)
        if isOver { federation.gaveUp(pair) }
    }

    /// Longer after each failure, and never the same: servers that lost one peer do not come back in step.
    private var pause: Duration {
        let seconds = min(Double(1 << min(failures, 10)), 300)
        return .milliseconds(Int64(seconds * Double.random(in: 500...1_000)))
    }

    private func retry(after pause: Duration) {
        state = .waiting(
            clock.after(pause) { [weak self] in
                guard let self, case .waiting = self.state else { return }
                self.state = .idle
                if !self.queue.isEmpty || self.wantsReturn { self.connect() }
            })
    }

    /// Whether it has nothing to say, and nothing to wait for.
    var isUnused: Bool {
        if case .idle = state { queue.isEmpty } else { false }
    }

    /// Hands out what waits, and has no more to do with it.
    func surrender() -> [Item] {
        let items = Array(queue)
        stop()
        return items
    }

    /// Gives up what waits: the senders are told.
    func giveUp(_ error: StanzaError) { giveUp(surrender(), error) }

    /// Lets go of what waits, because the module is unloaded. What lies on disk stays.
    func stop() {
        if case .waiting(let action) = state { action.cancel() }
        state = .idle
        queue = []
        size = 0
        sent = 0
    }
}

extension Stanza {
    fileprivate var isProbe: Bool {
        if case .presence(let presence) = self { presence.kind == .probe } else { false }
    }
}
