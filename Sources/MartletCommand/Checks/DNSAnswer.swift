/// What a name server answered, as far as service records are concerned.
struct DNSAnswer: Equatable {
    /// A service record. RFC 2782.
    struct Service: Equatable {
        let priority: UInt16
        let weight: UInt16
        let port: UInt16
        /// The machine, without the dot at the end; "." where the service is said not to exist.
        let target: String
    }

    private static let serviceType: UInt16 = 33

    private(set) var services: [Service] = []

    /// Reads a message; nil for one that is damaged. It comes from the network and is trusted in nothing.
    /// RFC 1035 §4.1.
    init?(_ message: [UInt8]) {
        var reader = Reader(message: message)
        guard reader.skip(4), let questions = reader.number(), let answers = reader.number(), reader.skip(4) else {
            return nil
        }
        for _ in 0..<questions {
            guard reader.name() != nil, reader.skip(4) else { return nil }
        }
        for _ in 0..<answers {
            guard reader.name() != nil, let type = reader.number(), reader.skip(6), let length = reader.number(),
                case let start = reader.position, reader.skip(Int(length))
            else { return nil }
            guard type == Self.serviceType else { continue }
            var data = Reader(message: message, position: start)
            guard let priority = data.number(), let weight = data.number(), let port = data.number(),
                let target = data.name(), data.position <= start + Int(length)
            else { return nil }
            services.append(Service(priority: priority, weight: weight, port: port, target: target))
        }
        services.sort { ($0.priority, $1.weight) < ($1.priority, $0.weight) }
    }

    private struct Reader {
        let message: [UInt8]
        var position = 0

        mutating func skip(_ count: Int) -> Bool {
            guard count <= message.count - position else { return false }
            position += count
            return true
        }

        mutating func byte() -> UInt8? {
            guard position < message.count else { return nil }
            defer { position += 1 }
            return message[position]
        }

        mutating func number() -> UInt16? {
            guard let high = byte(), let low = byte() else { return nil }
            return UInt16(high) << 8 | UInt16(low)
        }

        /// A domain name. A pointer leads to an earlier place, and only to one, so that no chain of them is endless.
        /// RFC 1035 §4.1.4.
        mutating func name() -> String? {
            var labels: [String] = []
            var end: Int?
            var limit = position
            var length = 0
            while true {
                guard let first = byte() else { return nil }
                switch first {
                case 0:
                    if let end { position = end }
                    return labels.isEmpty ? "." : labels.joined(separator: ".")
                case 1...63:
                    guard Int(first) <= message.count - position else { return nil }
                    labels.append(String(decoding: message[position..<position + Int(first)], as: UTF8.self))
                    position += Int(first)
                    length += Int(first) + 1
                    guard length <= 255 else { return nil }
                case 0xC0...:
                    guard let low = byte() else { return nil }
                    let target = Int(first & 0x3F) << 8 | Int(low)
                    guard target < limit else { return nil }
                    if end == nil { end = position }
                    limit = target
                    position = target
                default: return nil
                }
            }
        }
    }
}
