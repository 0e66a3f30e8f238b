/// A change of the list of devices that may read an account's encrypted messages. Each entry carries the hash of the
/// one before, so that none can be changed, left out or moved without a trace.
public struct KeyLogEntry: Codable, Sendable, Hashable {
    /// From 1.
    public let number: Int
    /// XEP-0082 §3.2.
    public let time: String
    /// The node of the list, which tells the version of OMEMO.
    public let node: String
    /// The ids of devices that came.
    public let added: [String]
    /// The ids of devices that went.
    public let removed: [String]
    /// Who did it: a full JID where that is known.
    public let publisher: String
    /// The hash of the entry before; empty for the first.
    public let previous: String
    /// SHA-256 over the rest, in hexadecimal digits.
    public let hash: String

    public init(
        number: Int, time: String, node: String, added: [String], removed: [String], publisher: String,
        previous: String
    ) {
        self.number = number
        self.time = time
        self.node = node
        self.added = added
        self.removed = removed
        self.publisher = publisher
        self.previous = previous
        hash = Self.hash(number, time, node, added, removed, publisher, previous)
    }

    /// Whether the hash is that of the rest.
    public var isTrue: Bool { hash == Self.hash(number, time, node, added, removed, publisher, previous) }

    /// No part holds a line's end: ids are numbers, and JIDs have no control characters (RFC 7622 §3.4).
    private static func hash(
        _ number: Int, _ time: String, _ node: String, _ added: [String], _ removed: [String], _ publisher: String,
        _ previous: String
    ) -> String {
        let lines = [
            "martlet key log 1", "\(number)", time, node, added.joined(separator: ","),
            removed.joined(separator: ","), publisher, previous,
        ]
        return Hex.encode(Digest.sha256(Array(lines.joined(separator: "\n").utf8)))
    }
}

/// What is known about the devices of an account, and whether it can be believed.
public struct KeyLogReport: Codable, Sendable, Hashable {
    /// All changes, in order.
    public let entries: [KeyLogEntry]
    /// The hash of the last entry, which stands for all of them; empty when there is none.
    public let head: String
    /// The ids of the devices in the lists now, by node.
    public let devices: [String: [String]]
    /// What is wrong with the log; nil when nothing is.
    public let problem: String?

    public init(entries: [KeyLogEntry], head: String, devices: [String: [String]], problem: String?) {
        self.entries = entries
        self.head = head
        self.devices = devices
        self.problem = problem
    }
}

/// The logs of the devices of a host's accounts; the module `keys` offers it.
@ServerActor
public protocol KeyLogs: AnyObject {
    /// An account's log, checked from its beginning to its end.
    func report(of localpart: String) async throws -> KeyLogReport
}
