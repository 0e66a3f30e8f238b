/// The number of a queued write. Numbers grow by one with every `StorageDriver.enqueue`, so that number n is durable
/// when everything up to n is.
public struct CommitNumber: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let rawValue: UInt64

    public init(_ rawValue: UInt64) {
        self.rawValue = rawValue
    }

    /// Before the first write: always durable.
    public static let none = CommitNumber(0)

    /// The number that follows this one.
    public var next: CommitNumber { CommitNumber(rawValue &+ 1) }

    public var description: String { String(rawValue) }

    public static func < (left: CommitNumber, right: CommitNumber) -> Bool {
        left.rawValue < right.rawValue
    }
}
