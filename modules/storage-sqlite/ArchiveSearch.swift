import ServerKit

/// Finds where a span of time lies in an archive, by bisection over the keys. Items stand in the order they came, and
/// so nearly in the order of time; an index over time would cost every append a page.
struct ArchiveSearch {
    private let database: Database
    private let archive: Int64
    /// How far an item's time may lie before that of an item in front of it, in microseconds.
    private let disorder: Int64

    init(_ database: Database, _ archive: Int64, disorder: Int64) {
        self.database = database
        self.archive = archive
        self.disorder = disorder
    }

    /// The part of a range of keys outside of which no item lies between the two times. Empty if `high` < `low`.
    func narrow(
        _ keys: ClosedRange<Int64>, start: Int64?, end: Int64?
    ) throws(StorageError) -> (low: Int64, high: Int64) {
        var low = keys.lowerBound
        var high = keys.upperBound
        if let start {
            // All in front of an item that is older than this are older than `start`.
            let bound = start.saturatingSubtracting(disorder)
            low = try boundary(low, high) { $0 < bound }
        }
        if let end {
            // All behind an item that is newer than this are newer than `end`.
            let bound = end.saturatingAdding(disorder)
            high = try boundary(low, high) { $0 <= bound } - 1
        }
        return (low, high)
    }

    /// A key at which the condition, asked of the items' times, turns from true to false.
    private func boundary(
        _ low: Int64, _ high: Int64, _ isInFront: (Int64) -> Bool
    ) throws(StorageError) -> Int64 {
        guard low <= high else { return low }
        let last = try database.first(
            "SELECT key FROM item WHERE key BETWEEN ? AND ? ORDER BY key DESC LIMIT 1", .integer(low), .integer(high)
        ) { $0.integer(0) }
        guard let last else { return low }
        var left = low
        var right = last + 1
        while left < right {
            let middle = left + (right - left) / 2
            let item = try database.first(
                "SELECT key, time FROM item WHERE key BETWEEN ? AND ? ORDER BY key LIMIT 1",
                .integer(middle), .integer(right - 1)
            ) { (key: $0.integer(0), time: $0.integer(1)) }
            if let item, isInFront(item.time) { left = item.key + 1 } else { right = middle }
        }
        return left
    }
}

extension Int64 {
    func saturatingSubtracting(_ other: Int64) -> Int64 {
        let (result, overflow) = subtractingReportingOverflow(other)
        return overflow ? (other < 0 ? .max : .min) : result
    }

    func saturatingAdding(_ other: Int64) -> Int64 {
        let (result, overflow) = addingReportingOverflow(other)
        return overflow ? (other < 0 ? .min : .max) : result
    }
}
