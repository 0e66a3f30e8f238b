import ServerKit

/// What the proxy may be made to hold and to carry.
struct ProxyLimits: Sendable {
    var transferRate: Rate?
    var userRate: Rate?
    var transfers: Int
    var perUser: Int
    var connections: Int
    var perAddress: Int
    var greetingTime: Duration
    var activationTime: Duration
    var idleTime: Duration
}

/// All connections of the proxy: those that wait for each other, and the transfers.
@ServerActor
final class ProxyRelay {
    let clock: any ServerClock
    var limits: ProxyLimits
    private let log: Logger
    private var connections: [ObjectIdentifier: ProxyConnection] = [:]
    private var counts = ConnectionCounts()
    /// Connections that have named a hash, by it; two at most.
    private var waiting: [String: [ProxyConnection]] = [:]
    private var transfers: [ObjectIdentifier: ProxyTransfer] = [:]
    private var users: [JID: User] = [:]

    private struct User {
        var transfers = 0
        var flow = TokenBucket()
    }

    init(clock: any ServerClock, limits: ProxyLimits, log: Logger) {
        self.clock = clock
        self.limits = limits
        self.log = log
    }

    // MARK: Connections

    func accept(_ transport: any StreamTransport) -> ProxyConnection? {
        guard connections.count < limits.connections else { return nil }
        let network = PeerNetwork(transport.peerAddress)
        guard counts.add(network, limit: limits.perAddress) else { return nil }
        let connection = ProxyConnection(self, transport, network)
        connections[ObjectIdentifier(connection)] = connection
        return connection
    }

    func forget(_ connection: ProxyConnection) {
        guard connections.removeValue(forKey: ObjectIdentifier(connection)) != nil else { return }
        counts.remove(connection.network)
        if let hash = connection.hash, var pair = waiting[hash] {
            pair.removeAll { $0 === connection }
            waiting[hash] = pair.isEmpty ? nil : pair
        }
    }

    /// A connection says what it is for.
    ///
    /// - Returns: whether it is let in: a stream has two ends and no more (XEP-0065 §10.1).
    func register(_ connection: ProxyConnection, for hash: String) -> Bool {
        guard waiting[hash, default: []].count < 2 else { return false }
        waiting[hash, default: []].append(connection)
        return true
    }

    // MARK: Transfers

    /// Connects the two ends of a stream. Whoever asks has proved by its address to be the one who is in the hash.
    ///
    /// - Throws: the errors of XEP-0065 §6.3.5.
    func activate(_ hash: String, for user: JID) throws(StanzaError) {
        guard let pair = waiting[hash] else {
            throw StanzaError(.notAuthorized, .auth, "Nobody is connected for this stream.")
        }
        guard pair.count == 2 else { throw .notAllowed("Only one of the two is connected.") }
        guard transfers.count < limits.transfers else { throw .resourceConstraint("The proxy is busy.") }
        guard users[user, default: User()].transfers < limits.perUser else {
            throw .resourceConstraint("You have too many transfers.")
        }
        waiting[hash] = nil
        users[user, default: User()].transfers += 1
        let transfer = ProxyTransfer(self, pair[0], pair[1], user: user)
        transfers[ObjectIdentifier(transfer)] = transfer
        log.info("A transfer begins", metadata: ["jid": "\(user)"])
    }

    func ended(_ transfer: ProxyTransfer) {
        guard transfers.removeValue(forKey: ObjectIdentifier(transfer)) != nil else { return }
        log.info("A transfer ends", metadata: ["jid": "\(transfer.user)", "bytes": "\(transfer.bytes)"])
        users[transfer.user]?.transfers -= 1
    }

    /// How long a transfer must pause after so many bytes; nil when it need not.
    func pause(after count: Int, of transfer: ProxyTransfer) -> Duration? {
        let own = limits.transferRate.flatMap { transfer.flow.add(count, limit: $0, now: clock.now) }
        let users = limits.userRate.flatMap { self.users[transfer.user]?.flow.add(count, limit: $0, now: clock.now) }
        return [own, users].compactMap(\.self).max()
    }

    /// Ends what has waited too long.
    func sweep() {
        let now = clock.now
        for connection in Array(connections.values) where connection.transfer == nil {
            let limit = connection.hash == nil ? limits.greetingTime : limits.activationTime
            if now - connection.since > limit { connection.close() }
        }
        for transfer in Array(transfers.values) where now - transfer.lastMoved > limits.idleTime { transfer.end() }
        // Whoever has nothing under way and nothing to pay for is forgotten.
        users = users.filter { _, user in
            user.transfers > 0 || limits.userRate.map { !user.flow.isDrained(limit: $0, now: now) } ?? false
        }
    }

    func endAll() {
        for transfer in Array(transfers.values) { transfer.end() }
        for connection in Array(connections.values) { connection.close() }
    }
}

/// Two connections, each of which gets what the other one sends.
@ServerActor
final class ProxyTransfer {
    let user: JID
    var flow = TokenBucket()
    private(set) var bytes = 0
    private(set) var lastMoved: Duration
    private let relay: ProxyRelay
    private let ends: [ProxyConnection]
    private var isPaused = false
    /// Which of the two is not read from, because the other one is behind.
    private var isBehind = [false, false]
    /// Which of the two has gone, while the other one still gets what it sent.
    private var hasGone = [false, false]
    private var isPolling = false
    private var isOver = false

    /// Bytes that may wait for a slow end, before the other one is not read from.
    private static let high = 1_048_576
    /// So many, and it is read from again.
    private static let low = 262_144

    init(_ relay: ProxyRelay, _ one: ProxyConnection, _ other: ProxyConnection, user: JID) {
        self.relay = relay
        self.user = user
        ends = [one, other]
        lastMoved = relay.clock.now
        one.transfer = self
        other.transfer = self
    }

    func pass(_ bytes: UnsafeRawBufferPointer, from end: ProxyConnection) {
        guard !isOver, let index = ends.firstIndex(where: { $0 === end }), !hasGone[1 - index] else { return }
        let other = ends[1 - index]
        self.bytes += bytes.count
        lastMoved = relay.clock.now
        other.transport.write(Array(bytes), isUrgent: true)
        if other.transport.backlog > Self.high {
            isBehind[index] = true
            updateReading()
            poll()
        }
        guard let pause = relay.pause(after: bytes.count, of: self), !isPaused else { return }
        isPaused = true
        updateReading()
        relay.clock.after(pause) {
            self.isPaused = false
            self.updateReading()
        }
    }

    /// An end has gone. The other one gets what is on its way, and then goes as well.
    func lost(_ end: ProxyConnection) {
        guard !isOver, let index = ends.firstIndex(where: { $0 === end }) else { return }
        hasGone[index] = true
        if hasGone[1 - index] || ends[1 - index].transport.backlog == 0 { return self.end() }
        poll()
    }

    private func updateReading() {
        guard !isOver else { return }
        for (index, end) in ends.enumerated() where !hasGone[index] { end.setReading(!isPaused && !isBehind[index]) }
    }

    /// Looks again and again how a slow end gets on.
    private func poll() {
        guard !isPolling, !isOver else { return }
        isPolling = true
        relay.clock.after(.milliseconds(20)) {
            self.isPolling = false
            if !self.isOver { self.look() }
        }
    }

    private func look() {
        for index in 0...1 {
            let backlog = ends[1 - index].transport.backlog
            if hasGone[index], backlog == 0 { return end() }
            if isBehind[index], backlog < Self.low {
                isBehind[index] = false
                lastMoved = relay.clock.now
            }
        }
        updateReading()
        if isBehind.contains(true) || hasGone.contains(true) { poll() }
    }

    func end() {
        guard !isOver else { return }
        isOver = true
        relay.ended(self)
        for end in ends { end.close() }
    }
}
