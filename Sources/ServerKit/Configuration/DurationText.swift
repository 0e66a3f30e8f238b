extension Duration {
    /// A duration of so many minutes.
    public static func minutes(_ count: Int) -> Duration { .seconds(60 * count) }
    /// A duration of so many hours.
    public static func hours(_ count: Int) -> Duration { .seconds(3600 * count) }
    /// A duration of so many days of 24 hours.
    public static func days(_ count: Int) -> Duration { .seconds(86_400 * count) }
    /// A duration of so many weeks.
    public static func weeks(_ count: Int) -> Duration { .seconds(604_800 * count) }

    /// Reads `30 days`, `1h 30m`, `90 s`, `2 weeks`, as in the configuration.
    public init?(text: String) {
        guard let duration = DurationText.parse(text) else { return nil }
        self = duration
    }

    /// The duration in the largest unit that divides it, as in the configuration: `365 days`, `90 minutes`.
    public var text: String { DurationText.write(self) }
}

/// Durations as administrators write them: `30 days`, `1h 30m`, `90 s`, `2 weeks`.
enum DurationText {
    /// No duration in a configuration is longer: a thousand years.
    private static let longest = 365_000 * 86_400_000

    /// The units in milliseconds, with the names by which they may be called; the first is the one we write.
    private static let units: [(milliseconds: Int, names: [String])] = [
        (86_400_000, ["day", "days", "d"]),
        (3_600_000, ["hour", "hours", "h"]),
        (60_000, ["minute", "minutes", "min", "m"]),
        (1000, ["second", "seconds", "sec", "s"]),
        (1, ["ms", "ms", "millisecond", "milliseconds"]),
        (604_800_000, ["week", "weeks", "w"]),
        (30 * 86_400_000, ["month", "months"]),
        (365 * 86_400_000, ["year", "years", "y"]),
    ]

    /// Reads one or more numbers with units; nil when it is anything else. A month is 30 days, a year 365.
    static func parse(_ text: String) -> Duration? {
        if text == "0" { return .zero }
        var rest = Substring(text.lowercased())
        var total = 0
        while let (count, unit) = numberAndUnit(&rest) {
            guard let size = units.first(where: { $0.names.contains(unit) })?.milliseconds else { return nil }
            let (product, overflow) = count.multipliedReportingOverflow(by: size)
            guard !overflow, product <= longest - total else { return nil }
            total += product
            if rest.isEmpty { return .milliseconds(total) }
        }
        return nil
    }

    /// The duration in the largest unit that divides it: `365 days`, `90 minutes`.
    static func write(_ duration: Duration) -> String {
        let (seconds, attoseconds) = duration.components
        let (scaled, overflow) = Int(seconds).multipliedReportingOverflow(by: 1000)
        guard !overflow else { return "\(seconds) seconds" }
        let milliseconds = scaled + Int(attoseconds / 1_000_000_000_000_000)
        if milliseconds == 0 { return "0 seconds" }
        for unit in units where milliseconds.isMultiple(of: unit.milliseconds) {
            let count = milliseconds / unit.milliseconds
            return "\(count) \(unit.names[count == 1 ? 0 : 1])"
        }
        return "\(milliseconds) ms"
    }
}

/// Takes a whole number, the word behind it and the blanks around both off the front of `text`; nil when it does not
/// begin with a number. The word may be empty.
func numberAndUnit(_ text: inout Substring) -> (number: Int, unit: String)? {
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    guard let number = Int(digits) else { return nil }
    text = text.dropFirst(digits.count).drop { $0 == " " }
    let unit = text.prefix { $0.isASCII && $0.isLetter }
    text = text.dropFirst(unit.count).drop { $0 == " " }
    return (number, String(unit))
}
