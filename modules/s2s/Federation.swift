import ServerKit

/// The way to all domains that are not served here: an entity like any other, behind which other servers are.
///
/// It has a ``Route`` for each pair of domains that has something to say, and the streams in both directions.
@ServerActor
final class Federation: Entity {
    let server: Server
    let log: Logger
    var options: FederationOptions
    let dns: any DNSLookup
    let pings = AcknowledgingPings()
    private(set) lazy var dialback = Dialback(self, secret: server.secret)
    private(set) lazy var store = QueueStore(self)
    private(set) lazy var judge = PeerJudge(self)
    private(set) lazy var dialer = Dialer(self)
    private(set) lazy var loads = PeerLoads(self)
    private(set) var isStopping = false
    var routes: [DomainPair: Route] = [:]
    private(set) var streams: [ObjectIdentifier: ServerStream] = [:]
    /// Those of the streams that were opened here, by the domain they lead to.
    private var initiators: [String: [Initiator]] = [:]
    /// Streams of others on which stanzas may go back. XEP-0288.
    private var backways: [DomainPair: ServerStream] = [:]
    /// Streams that will be such in a moment: nothing is opened meanwhile.
    private var expectedBackways: [DomainPair: ServerStream] = [:]
    private var counts = ConnectionCounts()
    private var acquaintances = Acquaintances()
    private(set) lazy var security = PeerSecurity(server.identities)
    /// What waits in all queues, in bytes.
    var queued = 0
    private(set) var refusals = Refusals()
    private var lookedAnewAt: Duration?

    init(server: Server, options: FederationOptions, dns: any DNSLookup, log: Logger) {
        self.server = server
        self.options = options
        self.dns = dns
        self.log = log
    }

    var policies: PeerPolicies { options.policies }
    var limits: Limits { options.limits }

    // MARK: What is served here

    /// Whether this domain is one of ours that speaks to others.
    func serves(_ domain: String) -> Bool {
        if let host = server.host(domain) { return !host.isAnonymous || guestBook(of: host) != nil }
        return server.component(domain) != nil
    }

    /// The same with respect to one domain elsewhere: guests have to do with those whom their invitations name.
    func serves(_ domain: String, for remote: String) -> Bool {
        // Asked for every stanza that leaves.
        guard let host = server.host(domain) else { return server.component(domain) != nil }
        return !host.isAnonymous || guestBook(of: host)?.mayFederate(with: remote) == true
    }

    private func guestBook(of host: Host) -> (any GuestBook)? {
        options.isForGuests ? host.service((any GuestBook).self) : nil
    }

    /// The administrator wants guests to write to other servers, and nobody says to whom they may.
    func warnAboutGuests() {
        guard options.isForGuests else { return }
        for host in server.allHosts where host.isAnonymous && guestBook(of: host) == nil {
            log.warning(
                "Guests cannot write to other servers without invitations: switch the module guests on",
                metadata: ["host": "\(host.domain)"])
        }
    }

    func host(_ domain: String) -> Host? { server.host(domain) ?? server.component(domain) }

    /// Whether a domain is one of ours, whether or not it speaks to others.
    func isHere(_ domain: String) -> Bool { host(domain) != nil }

    // MARK: Stanzas

    /// Takes a stanza for a domain elsewhere.
    func receive(_ stanza: Stanza) {
        guard let from = stanza.header.from, let to = stanza.to else { return }
        guard serves(from.domainpart, for: to.domainpart) else {
            let isHere = server.host(from.domainpart) != nil
            return isHere ? bounce(stanza, .notAllowed("Guests cannot write to other servers.")) : ()
        }
        if let reason = policies.refusal(of: to.domainpart) { return bounce(stanza, .notAllowed(reason)) }
        let pair = DomainPair(local: from.domainpart, remote: to.domainpart)
        guard hasRoom(for: pair) else { return bounce(stanza, .resourceConstraint("Too many servers are written to.")) }
        route(pair).send(stanza)
    }

    /// Routes to as many pairs are kept; users can make up as many names as they like.
    static let routeLimit = 20_000

    /// - Parameter limit: what peers cause leaves room for what users want.
    private func hasRoom(for pair: DomainPair, of limit: Int = routeLimit) -> Bool {
        guard routes.count >= limit, routes[pair] == nil else { return true }
        let now = server.clock.now
        if tidiedAt.map({ now - $0 > .seconds(1) }) ?? true {
            tidiedAt = now
            for (pair, route) in routes where route.isUnused { routes[pair] = nil }
        }
        return routes.count < limit
    }

    private func hasRoomToSeek(_ pair: DomainPair) -> Bool { hasRoom(for: pair, of: Self.routeLimit / 2) }

    private var tidiedAt: Duration?

    /// Answers a stanza that cannot be delivered. RFC 6120 §10.4.
    func bounce(_ stanza: Stanza, _ error: StanzaError) {
        if case .presence(let presence) = stanza {
            switch presence.kind {
            // Nobody asked.
            case .unavailable, .probe, .unsubscribed, .error: return
            case .available, .subscribe, .subscribed, .unsubscribe: break
            }
        }
        server.router.bounce(stanza, error)
    }

    func route(_ pair: DomainPair) -> Route {
        if let route = routes[pair] { return route }
        let route = Route(pair, self)
        routes[pair] = route
        if let stream = backways[pair] { route.open(stream) }
        return route
    }

    /// Sends what an earlier run of the server left in its queues.
    func restore() async throws {
        do {
            defer { store.endLoading() }
            for host in server.allHosts + server.allComponents { try await restore(host.domain) }
        }
        for domain in try await store.domains() where !isHere(domain) {
            absent.insert(domain)
            try await store.clear(domain, after: Self.memory)
        }
    }

    /// The same for one domain.
    func restore(_ domain: String) async throws {
        let found = try await store.load(domain)
        // It may have gone again meanwhile.
        guard isHere(domain) else {
            _ = absent.insert(domain)
            return
        }
        for (pair, items) in found {
            if isHere(pair.remote) { deliverHere(items, pair) } else { route(pair).restore(items) }
        }
    }

    /// Domains that have something on disk and are not served now.
    var absent: Set<String> = []
    /// How long what such a domain left is kept.
    private static let memory = Duration.days(7)

    // MARK: Streams

    /// Opens a stream for a route.
    func connect(_ route: Route) {
        let pair = route.pair
        if let stream = expectedBackways[pair], !stream.isClosing { return }
        guard serves(pair.local) else {
            return route.failed(
                DialFailure(.notAllowed, "\(pair.local) is not served here any more.", isTemporary: false))
        }
        if let stream = sharedStream(for: pair) {
            return dialback.authenticate(pair, on: stream) { answer in
                guard case .valid = answer, !stream.isClosing else { return self.dial(route, isKnown: true) }
                self.log.info(
                    "Another domain on a connection to a server",
                    metadata: ["host": "\(pair.local)", "remote": "\(pair.remote)", "stream": "\(stream.id.prefix(8))"])
                guard self.isWanted(route) else { return }
                if stream.isBidirectional { stream.trust(pair.remote) }
                stream.acknowledgements.usePings(pair)
                route.open(stream)
            }
        }
        dial(route, isKnown: acquaintances.wasReached(pair))
    }

    private var dialSlots = DialSlots()

    /// - Parameter isKnown: whether there was a stream to the peer before; it need not wait for those that may never answer.
    private func dial(_ route: Route, isKnown: Bool) {
        guard dialSlots.enter(route, isKnown: isKnown) else { return }
        if route.failingSince != nil { lookAnew(route.pair.remote) }
        Task { @ServerActor in
            let result = await self.dialer.dial(route.pair, authenticates: true)
            // Its turn may come when nobody needs it any more.
            let next = self.dialSlots.leave(route, isKnown: isKnown) { next in
                if case .connecting = next.state { self.isWanted(next) } else { false }
            }
            if let next { self.dial(next, isKnown: isKnown) }
            guard !self.isStopping, self.isWanted(route) else {
                if case .success(let stream) = result { stream.close() }
                return
            }
            switch result {
            case .success(let stream):
                // It may have ended with the words that made it ready.
                if !stream.isClosing { return route.open(stream) }
                route.failed(
                    DialFailure(
                        .remoteServerTimeout, "The stream to \(route.pair.remote) ended at once.", isTemporary: true))
            case .failure(let failure):
                self.log.notice(
                    "Server cannot be reached",
                    metadata: [
                        "host": "\(route.pair.local)", "remote": "\(route.pair.remote)", "reason": "\(failure.text)",
                    ].showing(failure.certificates))
                self.refusals.note(route.pair, failure.text, isOurs: true, at: self.server.clock.date)
                route.failed(failure)
            }
        }
    }

    private func isWanted(_ route: Route) -> Bool { routes[route.pair] === route }

    /// A stream of another of our domains to the same peer, which says that it takes more than one. XEP-0220 §2.6.
    private func sharedStream(for pair: DomainPair) -> ServerStream? {
        initiators[pair.remote]?
            .first { $0.pair.local != pair.local && $0.canMultiplex && $0.isReady && $0.authenticates }
            .flatMap { self.streams[$0.streamID] }
    }

    func add(_ stream: ServerStream, _ initiator: Initiator? = nil) {
        guard stream.phase != .closed else { return }
        let id = ObjectIdentifier(stream)
        streams[id] = stream
        if let initiator { initiators[initiator.pair.remote, default: []].append(initiator) }
        stream.onEnd { [weak self] _ in
            guard let self else { return }
            self.streams[id] = nil
            if let initiator { self.forget(initiator) }
            for pair in stream.proven {
                if self.backways[pair] === stream { self.backways[pair] = nil }
                if self.expectedBackways[pair] === stream {
                    self.expectedBackways[pair] = nil
                    if let route = self.routes[pair], case .connecting = route.state { self.dial(route, isKnown: true) }
                }
            }
            if !stream.isInitiator, !stream.endedWell, !stream.isCutOff, !self.isStopping { self.lost(stream) }
        }
    }

    private func forget(_ initiator: Initiator) {
        let remote = initiator.pair.remote
        initiators[remote]?.removeAll { $0 === initiator }
        if initiators[remote]?.isEmpty == true { initiators[remote] = nil }
    }

    /// Takes a connection of another server; nil to refuse it.
    func accept(_ transport: any StreamTransport) -> ServerStream? {
        guard !isStopping else { return nil }
        let network = PeerNetwork(transport.peerAddress)
        guard counts.add(network, limit: options.perAddress) else {
            log.info("Too many connections from one address", metadata: ["peer": "\(transport.peerAddress)"])
            return nil
        }
        let stream = ServerStream(self, transport: transport, isInitiator: false)
        stream.begin(Acceptor(stream))
        add(stream)
        stream.onEnd { [weak self] _ in self?.counts.remove(network) }
        return stream
    }

    /// A peer has proved to be a domain.
    func authenticated(_ stream: ServerStream, _ pair: DomainPair, by means: String) {
        stream.authentication = means
        stream.log.info(
            "Server authenticated",
            metadata: ["remote": "\(pair.remote)", "by": "\(means)", "bidi": "\(stream.isBidirectional)"])
        refusals.forget(pair.remote)
        // It may come to us after it was given up, and has much to tell then. A stream both ways is used soon anyhow.
        if acquaintances.isAway(pair), !stream.isBidirectional, hasRoomToSeek(pair) {
            route(pair).seek(isThere: true)
        }
        acquaintances.meet(pair)
    }

    /// Stanzas will go back on a stream as soon as the peer has had time to say how it counts them.
    func expect(_ stream: ServerStream, _ pair: DomainPair) {
        guard stream.isBidirectional else { return }
        expectedBackways[pair] = stream
        server.clock.after(.seconds(20)) { [weak self, weak stream] in
            // Routes do not wait for a peer that authenticates and says no more.
            guard let self, let stream, self.expectedBackways[pair] === stream else { return }
            stream.close(StreamError(.connectionTimeout, "The stream was not opened anew."))
        }
    }

    /// The peer has the last features, and a moment to say how it counts.
    func expectSoon(_ stream: ServerStream, _ pair: DomainPair) {
        server.clock.after(.milliseconds(500)) { [weak self, weak stream] in
            if let self, let stream { self.usable(stream, pair) }
        }
    }

    /// Stanzas may go back on a stream that a peer opened, if both want that. XEP-0288 §2.2.
    func usable(_ stream: ServerStream, _ pair: DomainPair) {
        // XEP-0288 §2.2: only for what the peer has proved, and not before this side's header.
        guard stream.isBidirectional, !stream.isInitiator, case .open = stream.phase, stream.proven.contains(pair)
        else { return }
        if !stream.acknowledgements.isReliable { stream.acknowledgements.usePings(pair) }
        expectedBackways[pair] = nil
        backways[pair] = stream
        // Who is back is asked what became of its users.
        (acquaintances.isAway(pair) && hasRoomToSeek(pair) ? route(pair) : routes[pair])?.open(stream)
    }

    /// Asks the authoritative server about a key, on another connection than the one it came on. XEP-0220 §2.1.2.
    func verify(
        _ request: DialbackVerification, key: String, besides stream: ServerStream,
        reply: @escaping DialbackRequests.Reply
    ) {
        let pair = request.pair
        if let other = initiators[pair.remote]?.first(where: {
            $0.pair == pair && $0.isReady && $0.streamID != ObjectIdentifier(stream)
        }),
            let stream = streams[other.streamID]
        {
            return dialback.verify(request, key: key, on: stream, reply: reply)
        }
        // Strangers name the domains.
        let zone = pair.zone
        guard verifying.values.reduce(0, +) < DialSlots.limit, verifying[zone, default: 0] < DialSlots.limitOfZone
        else { return reply(.error(.resourceConstraint)) }
        verifying[zone, default: 0] += 1
        Task { @ServerActor in
            let result = await self.dialer.dial(pair, authenticates: false)
            let left = self.verifying[zone, default: 1] - 1
            self.verifying[zone] = left > 0 ? left : nil
            switch result {
            case .success(let stream):
                guard !stream.isClosing, !self.isStopping else {
                    stream.close()
                    return reply(.error(StanzaError(.remoteServerTimeout, .wait, "The stream ended at once.")))
                }
                self.dialback.verify(request, key: key, on: stream, reply: reply)
                // It was opened for this, and may serve a route later.
                self.server.clock.after(.seconds(30)) { [weak stream] in
                    if let stream, stream.routes.isEmpty { stream.close() }
                }
            case .failure(let failure):
                let condition: StanzaError.Condition =
                    failure.isTemporary ? .remoteServerTimeout : .remoteServerNotFound
                reply(.error(StanzaError(condition, .wait, failure.text)))
            }
        }
    }

    /// How many connections are being opened to have keys verified, by zone.
    private var verifying: [String: Int] = [:]

    // MARK: Notes

    /// A peer was not believed: the administrator may want to know why.
    ///
    /// - Parameter stream: one that it opened, whose certificates say more.
    func note(refused pair: DomainPair, _ problem: String, on stream: ServerStream) {
        stream.log.info(
            "Server refused",
            metadata: ["remote": "\(pair.remote)", "reason": "\(problem)"].showing(stream.certificates))
        refusals.note(pair, problem, isOurs: false, at: server.clock.date)
    }

    func trace(_ stream: ServerStream, _ direction: String, _ bytes: UnsafeRawBufferPointer) {
        guard let pair = stream.pair, server.isTraced(pair.remoteJID) else { return }
        let xml = String(decoding: bytes, as: UTF8.self)
        stream.log.notice("Trace", metadata: ["direction": "\(direction)", "xml": "\(xml)"])
    }

    // MARK: Coming and going

    func markLost(_ pair: DomainPair) { acquaintances.lose(pair) }

    func wasLost(_ pair: DomainPair) -> Bool { acquaintances.isAway(pair) }

    /// A stream of a peer was lost, on which stanzas came from it alone: whether the peer is still there, only a stream
    /// to it can tell.
    private func lost(_ stream: ServerStream) {
        // Who never said anything has nobody here who would miss it.
        guard stream.hasHeardStanzas else { return }
        for pair in stream.proven where serves(pair.local) && !isHere(pair.remote) {
            if routes[pair]?.stream != nil { continue }
            acquaintances.lose(pair)
            if hasRoomToSeek(pair) { route(pair).seek(isThere: false) }
        }
    }

    /// A peer is not waited for any longer: whoever has contacts or occupants there takes them for gone.
    func gaveUp(_ pair: DomainPair) {
        guard acquaintances.giveUp(pair) else { return }
        log.info("Server was given up", metadata: ["host": "\(pair.local)", "remote": "\(pair.remote)"])
        tellSoon(pair)
    }

    /// There is a stream to a peer.
    ///
    /// - Parameter wasAway: whether it could not be reached before. Whoever has contacts or occupants there looks what
    ///   became of them.
    func reached(_ pair: DomainPair, on stream: ServerStream, wasAway: Bool) {
        acquaintances.greet(pair, wasReached: stream.isInitiator)
        if wasAway { tellSoon(pair) }
    }

    /// Of whom there is something to tell.
    private var news: Set<DomainPair> = []

    private func tellSoon(_ pair: DomainPair) {
        if news.isEmpty { server.clock.after(.seconds(1)) { [weak self] in self?.tell() } }
        news.insert(pair)
    }

    /// Tells what has become of them by now.
    private func tell() {
        let pairs = Dictionary(grouping: news, by: \.local)
        news = []
        for (local, pairs) in pairs {
            guard let hooks = host(local)?.hooks else { continue }
            let gone = pairs.filter { acquaintances.isGone($0) }
            let there = pairs.filter { acquaintances.isKnown($0) && !acquaintances.isAway($0) }
            if !gone.isEmpty { hooks.peerLost.notify(PeerEvent(domains: Set(gone.map(\.remote)))) }
            if !there.isEmpty { hooks.peerReturned.notify(PeerEvent(domains: Set(there.map(\.remote)))) }
        }
    }

    // MARK: Upkeep

    /// Whether peers have yet to acknowledge what they were sent: a server that stops in order waits a moment for them,
    /// so that nothing has to be sent twice.
    var isOwedAnswers: Bool {
        var isOwed = false
        for stream in streams.values where stream.acknowledgements.isReliable && stream.acknowledgements.pending > 0 {
            stream.acknowledgements.hurry()
            isOwed = true
        }
        return isOwed
    }

    /// A peer that could not be reached, or was lost, may have another address now.
    private func lookAnew(_ domain: String) {
        let now = server.clock.now
        guard let resolver = dns as? DNSResolver, lookedAnewAt.map({ now - $0 > .seconds(5) }) ?? true else { return }
        lookedAnewAt = now
        resolver.forget(domain)
    }

    /// Closes what nobody has used for a while, and lets go of routes without anything to say.
    func sweep() {
        let now = server.clock.now
        for stream in Array(streams.values) {
            if stream.trusted.isEmpty, stream.routes.isEmpty, !stream.isInitiator,
                now - stream.startedAt > options.authenticationTime
            {
                stream.close(StreamError(.connectionTimeout, "Authentication took too long."))
            } else if now - max(stream.lastStanza, stream.startedAt) > options.idleTime,
                stream.acknowledgements.pending == 0
            {
                stream.close(reason: "idle")
            }
        }
        for (pair, route) in routes where now - route.lastUse > options.idleTime && route.isUnused {
            routes[pair] = nil
        }
        loads.sweep()
    }

    /// The configuration has changed: streams with those who are not spoken to any more, or who need another proof, end.
    func take(_ new: FederationOptions) {
        let old = options
        options = new
        for stream in Array(streams.values) {
            let domains = stream.trusted.union(stream.pair.map { [$0.remote] } ?? [])
            if let reason = domains.lazy.compactMap({ new.policies.refusal(of: $0) }).first {
                let pairs = stream.proven
                stream.close(StreamError(.policyViolation, reason))
                for pair in pairs { gaveUp(pair) }
            } else if domains.contains(where: { domain in
                old.policies.settings(of: domain) != new.policies.settings(of: domain)
                    || old.policies.policy(for: domain) != new.policies.policy(for: domain)
            }) {
                stream.close(StreamError(.reset, "The policy has changed."))
            }
        }
    }

    /// Ends all streams; what waits stays on disk.
    func stop() {
        isStopping = true
        for stream in Array(streams.values) { stream.close(StreamError(.systemShutdown)) }
        for route in routes.values { route.stop() }
        routes = [:]
        store.flush()
    }
}
