// What administrators' tools ask about other servers; the module that connects to them answers.

/// A connection with another server, as tools show it.
public struct PeerConnection: Codable, Sendable {
    public var local: String
    public var remote: String
    /// Whether this server opened it.
    public var isOutgoing: Bool
    public var address: String
    public var tls: String
    /// How the two proved who they are.
    public var authentication: String
    /// Whether stanzas go both ways. XEP-0288.
    public var isBidirectional: Bool
    /// Whether it has stream management. XEP-0198.
    public var isManaged: Bool
    /// In seconds.
    public var age: Int

    public init(
        local: String, remote: String, isOutgoing: Bool, address: String, tls: String, authentication: String,
        isBidirectional: Bool, isManaged: Bool, age: Int
    ) {
        self.local = local
        self.remote = remote
        self.isOutgoing = isOutgoing
        self.address = address
        self.tls = tls
        self.authentication = authentication
        self.isBidirectional = isBidirectional
        self.isManaged = isManaged
        self.age = age
    }
}

/// A domain to which something waits, or that did not work lately.
public struct PeerTrouble: Codable, Sendable {
    public var remote: String
    /// How many stanzas wait for it.
    public var waiting: Int
    /// What went wrong the last time.
    public var reason: String
    /// When, in seconds since 1970.
    public var time: Int

    public init(remote: String, waiting: Int, reason: String, time: Int) {
        self.remote = remote
        self.waiting = waiting
        self.reason = reason
        self.time = time
    }
}

/// All connections with other servers, and what does not work.
public struct PeerOverview: Codable, Sendable {
    public var connections: [PeerConnection]
    public var troubles: [PeerTrouble]

    public init(connections: [PeerConnection], troubles: [PeerTrouble]) {
        self.connections = connections
        self.troubles = troubles
    }
}

/// Which domain is to be tried.
public struct PeerTestArguments: Codable, Sendable {
    /// The domain elsewhere.
    public var domain: String
    /// The domain here that asks; nil for the first.
    public var local: String?

    public init(domain: String, local: String? = nil) {
        self.domain = domain
        self.local = local
    }
}

/// What came of it.
public struct PeerTestReport: Codable, Sendable {
    /// Whether stanzas could be sent.
    public var isReachable: Bool
    /// What was done and found, in order.
    public var lines: [String]

    public init(isReachable: Bool, lines: [String]) {
        self.isReachable = isReachable
        self.lines = lines
    }
}

extension ControlCommand where Arguments == ControlNothing, Reply == PeerOverview {
    /// The connections with other servers.
    public static var listPeers: Self { Self("s2s.list") }
}

extension ControlCommand where Arguments == PeerTestArguments, Reply == PeerTestReport {
    /// Opens a stream to another server and tells what happens.
    public static var testPeer: Self { Self("s2s.test") }
}
