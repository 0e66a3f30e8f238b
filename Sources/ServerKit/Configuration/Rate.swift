/// So many of something in so much time: `30 per minute`, `10/s`, `5 per 10 minutes`.
public struct Rate: Sendable, Hashable, CustomStringConvertible {
    /// How many, at least 0.
    public let count: Int
    /// The time in which they may come, more than nothing.
    public let interval: Duration

    /// `count` per `interval`.
    public init(_ count: Int, per interval: Duration) {
        self.count = count
        self.interval = interval
    }

    /// Reads `30 per minute`, `10/s` or `5 per 10 minutes`; the count may be a size: `64 KiB per second`.
    public init?(_ text: String) {
        guard let (left, right) = Self.halves(of: text.lowercased()),
            let count = ByteSizeText.parse(left),
            let interval = DurationText.parse(right) ?? DurationText.parse("1 " + right), interval > .zero
        else { return nil }
        self.init(count, per: interval)
    }

    /// How many in a second.
    public var perSecond: Double {
        Double(count) / (interval / .seconds(1))
    }

    public var description: String { "\(count) \(intervalDescription)" }

    /// The rate with its count as a size: `64 KiB per second`.
    var byteDescription: String { "\(ByteSizeText.write(count)) \(intervalDescription)" }

    private var intervalDescription: String {
        let text = DurationText.write(interval)
        return "per " + (text.hasPrefix("1 ") ? String(text.dropFirst(2)) : text)
    }

    private static func halves(of text: String) -> (String, String)? {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        if parts.count == 2 { return (trimmed(parts[0]), trimmed(parts[1])) }
        let words = text.split(separator: " ")
        guard let middle = words.firstIndex(of: "per") else { return nil }
        return (words[..<middle].joined(separator: " "), words[(middle + 1)...].joined(separator: " "))
    }

    private static func trimmed(_ text: Substring) -> String {
        text.split(separator: " ").joined(separator: " ")
    }
}

extension Rate: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        guard let rate = Rate(text) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "\(text) is not a rate")
        }
        self = rate
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}
