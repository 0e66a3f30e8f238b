import ServerKit

/// What the two ends of a stream tell each other to have received. XEP-0198 §4.
///
/// A stream between servers is not resumed: what is not acknowledged when it ends goes over the next one, from the
/// queue of its route. Where the peer has no stream management it is asked with a ping instead (``AcknowledgingPings``):
/// servers handle what one stream brings in order, so that the answer speaks for all that came before.
@ServerActor
final class StreamAcknowledgements {
    private enum Means {
        case streamManagement
        case pings(DomainPair)
        /// What is written counts as received.
        case none
    }

    private unowned let stream: ServerStream
    private var means = Means.none
    /// Whose stanzas were sent and not acknowledged, in order.
    private var waiting: ArraySlice<Route> = []
    /// How many of those that wait were sent before stream management began.
    private var preceding = 0
    /// Stanzas acknowledged, modulo 2³².
    private var acknowledged: UInt32 = 0
    /// Stanzas of the peer since stream management began, modulo 2³²; nil before.
    private var received: UInt32?
    /// How many were waiting when the peer was asked; nil while it owes no answer.
    private var askedFor: Int?
    private var isAskedLater = false
    private var lastAskedAt: Duration?
    private var dueAnswers = 0
    private var timeout: ScheduledAction?

    init(_ stream: ServerStream) {
        self.stream = stream
    }

    private var clock: any ServerClock { stream.federation.server.clock }

    /// Whether the peer tells what it received.
    var isReliable: Bool {
        if case .none = means { false } else { true }
    }

    var usesStreamManagement: Bool {
        if case .streamManagement = means { true } else { false }
    }

    /// How many stanzas the peer has not acknowledged.
    var pending: Int { waiting.count }

    // MARK: Beginning

    /// Asks for stream management, where the peer offers it; both count from here. XEP-0198 §3.
    func request() {
        stream.send(Element("enable", .sm))
        means = .streamManagement
    }

    /// Uses pings from `pair`.
    func usePings(_ pair: DomainPair) {
        if case .none = means { means = .pings(pair) }
    }

    // MARK: From the peer

    func countReceived() {
        if let received { self.received = received &+ 1 }
    }

    func handle(_ element: Element) throws(StreamError) {
        switch element.name {
        case "enable":
            // XEP-0198 §3: after authentication, and once.
            guard !stream.isInitiator, !stream.trusted.isEmpty, received == nil else {
                return stream.send(
                    Element("failed", .sm) { StanzaError(.unexpectedRequest, .cancel).element.children.first })
            }
            received = 0
            stream.send(Element("enabled", .sm))
            means = .streamManagement
            acknowledged = 0
            // What was sent before is not counted, and was received when the first that is counted has been.
            preceding = waiting.count
            askedFor = nil
            timeout?.cancel()
            // The peer has said how it counts: stanzas may go back. XEP-0288 §2.2.
            for pair in stream.proven { stream.federation.usable(stream, pair) }
            if !waiting.isEmpty { ask() }
        case "enabled":
            guard stream.isInitiator, case .streamManagement = means, received == nil else { return }
            received = 0
        case "failed":
            guard stream.isInitiator, case .streamManagement = means, received == nil else { return }
            means = .none
            timeout?.cancel()
            askedFor = nil
            if let pair = stream.pair { usePings(pair) }
            if waiting.isEmpty { break }
            ask()
        case "r":
            guard received != nil else { return }
            answer()
        case "a":
            guard case .streamManagement = means, let text = element["h"], let h = UInt32(text) else { return }
            let count = Int(h &- acknowledged)
            guard count <= waiting.count - preceding else {
                // XEP-0198 §6: more than was sent. A number that was passed is an answer that came late.
                if acknowledged &- h >= UInt32.max / 2 { refuse(h) }
                return
            }
            acknowledged = h
            let before = preceding
            preceding = 0
            settle(before + count)
        default: return
        }
    }

    /// XEP-0198 §6.
    private func refuse(_ h: UInt32) {
        let sent = acknowledged &+ UInt32(waiting.count - preceding)
        stream.close(
            StreamError(.undefinedCondition, "You acknowledged \(h) stanzas, but I only sent you \(sent) so far."),
            with: Element("handled-count-too-high", .sm, ["h": "\(h)", "send-count": "\(sent)"]))
    }

    /// Tells the peer what was received, once it is on disk.
    private func answer() {
        dueAnswers += 1
        // One at a time: a flood of requests occupies a number.
        guard dueAnswers == 1, let h = received else { return }
        stream.whenDurable { [weak stream] lost in
            guard let stream else { return }
            let count = self.dueAnswers
            self.dueAnswers = 0
            guard lost == nil else {
                // The peer sends it again, on a stream that knows nothing of this.
                return stream.close(StreamError(.internalServerError, "What was sent could not be stored."))
            }
            stream.send(Element("a", .sm, ["h": "\(h)"]))
            if count > 1 { self.answer() }
        }
    }

    /// Whether the peer, which ends the stream, should be told what was received before it goes. XEP-0198 §4.
    var owesLastWord: Bool { (received ?? 0) > 0 }

    /// Tells it.
    func sayLastWord() {
        if let received { stream.send(Element("a", .sm, ["h": "\(received)"])) }
    }

    // MARK: To the peer

    /// Notes a stanza that was sent for a route.
    func sent(for route: Route) {
        if case .none = means { return route.acknowledged() }
        waiting.append(route)
        ask()
    }

    /// Asks, unless the peer owes an answer: at once after a quiet moment, otherwise once in a while or after so many:
    /// what it has not told of comes twice when the connection is lost.
    private func ask() {
        guard askedFor == nil else { return }
        let limit = usesStreamManagement ? Self.unaskedLimit : Self.unpingedLimit
        let pause = usesStreamManagement ? Self.pause : Self.pauseOfPings
        if let lastAskedAt, clock.now - lastAskedAt < pause, waiting.count < limit {
            guard !isAskedLater else { return }
            isAskedLater = true
            clock.after(pause) { [weak self] in
                guard let self else { return }
                self.isAskedLater = false
                if !self.waiting.isEmpty, self.askedFor == nil { self.askNow() }
            }
        } else {
            askNow()
        }
    }

    /// Asks without waiting for more to ask about, for a server that is about to stop.
    func hurry() {
        if isReliable, !waiting.isEmpty, askedFor == nil { askNow() }
    }

    /// Stanzas after which the peer is asked in any case.
    private static let unaskedLimit = 100
    /// Between two questions, where much is going on: a question costs less than to write what was not answered for.
    private static let pause = Duration.milliseconds(10)
    private static let pauseOfPings = Duration.milliseconds(250)
    private static let unpingedLimit = 500
    /// How long a peer may take to answer.
    private static let patience = Duration.seconds(60)

    private func askNow() {
        guard !stream.isClosing else { return }
        askedFor = waiting.count
        lastAskedAt = clock.now
        switch means {
        case .none: return
        case .streamManagement: stream.send(Element("r", .sm))
        case .pings(let pair):
            let count = waiting.count
            stream.federation.pings.send(on: stream, pair) { [weak self] in
                guard let self, case .pings = self.means, self.askedFor != nil else { return }
                self.settle(count)
            }
        }
        timeout?.cancel()
        timeout = clock.after(Self.patience) { [weak self] in self?.giveUp() }
    }

    /// The peer does not answer. With stream management it has to: the connection is dead. A ping may have got lost on
    /// the way back, or not be answered by anybody: then what was written has to count as received.
    private func giveUp() {
        guard askedFor != nil, !stream.isClosing else { return }
        if usesStreamManagement {
            stream.close(StreamError(.connectionTimeout, "Nothing was acknowledged for too long."))
        } else {
            means = .none
            acknowledgeAll()
        }
    }

    /// The first so many are acknowledged.
    private func settle(_ count: Int) {
        askedFor = nil
        timeout?.cancel()
        timeout = nil
        // What they cause may end the stream, or send on it.
        let settled = Array(waiting.prefix(count))
        waiting = waiting.dropFirst(count)
        for route in settled { route.acknowledged() }
        if waiting.isEmpty { waiting = [] } else { ask() }
    }

    private func acknowledgeAll() {
        askedFor = nil
        let all = waiting
        waiting = []
        for route in all { route.acknowledged() }
    }

    /// The stream has ended: what waits stays in the queues of the routes.
    func stop() {
        timeout?.cancel()
        waiting = []
        askedFor = nil
        means = .none
    }
}

/// Pings whose answers tell that what was sent before them was handled. XEP-0199 §4.3.
///
/// The answer may come on any stream of the peer.
@ServerActor
final class AcknowledgingPings {
    private var waiting: [String: (pair: DomainPair, reply: @ServerActor () -> Void)] = [:]
    private var next = 0
    private let prefix = "s2s-\(RandomToken.make(bytes: 6))-"

    func send(on stream: ServerStream, _ pair: DomainPair, reply: @escaping @ServerActor () -> Void) {
        next += 1
        let id = prefix + "\(next)"
        waiting[id] = (pair, reply)
        stream.federation.server.clock.after(.seconds(120)) { [weak self] in self?.waiting[id] = nil }
        let ping = IQ(.get, to: pair.remoteJID, from: pair.localJID, id: id) { Element("ping", .ping) }
        stream.send(.iq(ping))
    }

    /// Whether a stanza is the answer to a ping. An error is one, too.
    func take(_ stanza: Stanza) -> Bool {
        guard case .iq(let iq) = stanza, !iq.isRequest, let id = iq.id, id.hasPrefix(prefix) else { return false }
        guard let (pair, reply) = waiting[id], iq.from?.domainpart == pair.remote, iq.to?.domainpart == pair.local
        else { return true }
        waiting[id] = nil
        reply()
        return true
    }
}
