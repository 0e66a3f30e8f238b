/// Where a service is offered: one SRV record. RFC 2782.
public struct ServiceRecord: Sendable, Hashable {
    /// Those with the lowest are tried first.
    public let priority: UInt16
    /// Among those of one priority, how often this one is to come first.
    public let weight: UInt16
    public let port: UInt16
    /// The host in ASCII form and lower case, `.` for "decidedly not available".
    public let target: String

    public init(priority: UInt16, weight: UInt16, port: UInt16, target: String) {
        self.priority = priority
        self.weight = weight
        self.port = port
        self.target = target
    }

    /// Reads a record's data.
    ///
    /// - Returns: nil when it is damaged, or has a target that is no host name.
    public init?(data: [UInt8]) {
        guard data.count > 6, let target = DNSName.parse(data[6...]) else { return nil }
        func number(_ index: Int) -> UInt16 { UInt16(data[index]) << 8 | UInt16(data[index + 1]) }
        self.init(priority: number(0), weight: number(2), port: number(4), target: target)
    }

    /// The order in which records are to be tried: by priority, and by chance within one, where the weight is the
    /// chance to be next. RFC 2782, "Usage rules".
    ///
    /// - Parameters:
    ///   - limit: how many are chosen.
    ///   - random: a number from 0 up to and including the one it is given.
    /// - Returns: indices of `records`.
    public static func order(
        _ records: [ServiceRecord], limit: Int = .max, random: (Int) -> Int = { Int.random(in: 0...$0) }
    ) -> [Int] {
        // Those without weight stand in front, so that chance leads to them only by the number 0.
        var left = records.indices.sorted { one, other in
            let (first, second) = (records[one], records[other])
            if first.priority != second.priority { return first.priority < second.priority }
            if (first.weight == 0) != (second.weight == 0) { return first.weight == 0 }
            return one < other
        }[...]
        var order: [Int] = []
        while let first = left.first, order.count < limit {
            let end = left.firstIndex { records[$0].priority != records[first].priority } ?? left.endIndex
            var group = Array(left[..<end])
            left = left[end...]
            var total = group.reduce(0) { $0 + Int(records[$1].weight) }
            while !group.isEmpty, order.count < limit {
                let number = random(total)
                var sum = 0
                let chosen = group.firstIndex { index in
                    sum += Int(records[index].weight)
                    return sum >= number
                }
                let index = group.remove(at: chosen ?? group.count - 1)
                total -= Int(records[index].weight)
                order.append(index)
            }
        }
        return order
    }
}
