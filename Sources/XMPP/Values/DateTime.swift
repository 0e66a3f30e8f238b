import Glibc

/// An instant: microseconds since 1970-01-01T00:00:00Z, leap seconds not counted. Encoded as that number.
public struct Timestamp: Sendable, Hashable, Comparable {
    public var microseconds: Int64

    public init(microseconds: Int64) {
        self.microseconds = microseconds
    }

    /// - Parameter seconds: seconds since the Unix epoch; clamped to what the type can hold.
    public init(seconds: Int64) {
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000)
        microseconds = overflow ? (seconds < 0 ? .min : .max) : product
    }

    /// The time of the system's clock.
    public static var now: Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(microseconds: Int64(time.tv_sec) &* 1_000_000 &+ Int64(time.tv_nsec) / 1000)
    }

    /// Whole seconds since the Unix epoch, rounded down.
    public var seconds: Int64 { floorDivision(microseconds, 1_000_000).quotient }

    /// This instant moved by `duration`, clamped to what the type can hold.
    public func advanced(by duration: Duration) -> Timestamp {
        let (seconds, attoseconds) = duration.components
        let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000)
        let (delta, deltaOverflow) = whole.addingReportingOverflow(attoseconds / 1_000_000_000_000)
        let (sum, sumOverflow) = microseconds.addingReportingOverflow(delta)
        guard !overflow, !deltaOverflow, !sumOverflow else {
            return Timestamp(microseconds: seconds < 0 ? .min : .max)
        }
        return Timestamp(microseconds: sum)
    }

    public static func < (left: Timestamp, right: Timestamp) -> Bool { left.microseconds < right.microseconds }
}

extension Timestamp: Codable {
    public init(from decoder: any Decoder) throws {
        microseconds = try decoder.singleValueContainer().decode(Int64.self)
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(microseconds)
    }
}

extension Timestamp: CustomStringConvertible {
    /// The first and the last instant of the four-digit years that XEP-0082 §2.1 can express.
    static let expressible =
        Timestamp(microseconds: -62_167_219_200_000_000)...Timestamp(microseconds: 253_402_300_799_999_999)

    /// XEP-0082 §3.2, in UTC, with as many fractional digits as matter: `2026-02-28T13:45:00.25Z`. Instants outside
    /// the years 0000 to 9999 are written as the nearest one inside.
    public var description: String {
        let instant = min(max(self, Self.expressible.lowerBound), Self.expressible.upperBound)
        let (days, rest) = floorDivision(instant.microseconds, 86_400_000_000)
        return CivilDate(daysSinceEpoch: days).description + "T" + TimeOfDay(microseconds: rest).description + "Z"
    }

    /// Reads a DateTime (XEP-0082 §3.2). The offset is required; fractions finer than a microsecond are cut off.
    ///
    /// - Returns: nil for anything else, for days that do not exist, for 24:00 and for the second 60.
    public init?(_ text: String) {
        var reader = DateTimeReader(text)
        guard let date = reader.date(), reader.take("T"), let time = reader.time(), let offset = reader.offset(),
            reader.isAtEnd
        else { return nil }
        self.init(date, time, offset: offset)
    }

    /// Reads the format that was usual before XEP-0082, `20020910T23:08:25`, always in UTC. XEP-0082 §4.
    public init?(legacy text: String) {
        var reader = DateTimeReader(text)
        guard let date = reader.compactDate(), reader.take("T"), let time = reader.time(fraction: false),
            reader.isAtEnd
        else { return nil }
        self.init(date, time, offset: 0)
    }

    private init(_ date: CivilDate, _ time: TimeOfDay, offset: Int64) {
        // The readers bound every term: at most 9999 years, a day and 14 hours, far within 64 bits.
        microseconds = date.daysSinceEpoch &* 86_400_000_000 &+ time.microseconds &- offset &* 60_000_000
    }
}

/// A day of the proleptic Gregorian calendar. XEP-0082 §3.1.
public struct CivilDate: Sendable, Hashable, Comparable, CustomStringConvertible {
    public let year: Int
    public let month: Int
    public let day: Int

    /// - Returns: nil when there is no such day, or the year has not four digits.
    public init?(year: Int, month: Int, day: Int) {
        guard 0...9999 ~= year, 1...12 ~= month, day >= 1, day <= Self.days(inMonth: month, of: year) else {
            return nil
        }
        (self.year, self.month, self.day) = (year, month, day)
    }

    /// Reads `CCYY-MM-DD`.
    public init?(_ text: String) {
        var reader = DateTimeReader(text)
        guard let date = reader.date(), reader.isAtEnd else { return nil }
        self = date
    }

    /// Years of an era of 400 begin in March here, so that the leap day comes last.
    init(daysSinceEpoch: Int64) {
        let (era, dayOfEra) = floorDivision(daysSinceEpoch &+ 719_468, 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        day = Int(dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
        month = Int(shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9)
        year = Int(yearOfEra + era &* 400) + (month <= 2 ? 1 : 0)
    }

    public var daysSinceEpoch: Int64 {
        let shiftedYear = Int64(month <= 2 ? year - 1 : year)
        let (era, yearOfEra) = floorDivision(shiftedYear, 400)
        let shiftedMonth = Int64(month > 2 ? month - 3 : month + 9)
        let dayOfYear = (153 * shiftedMonth + 2) / 5 + Int64(day) - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    public var description: String { "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))" }

    public static func < (left: CivilDate, right: CivilDate) -> Bool { left.daysSinceEpoch < right.daysSinceEpoch }

    private static func days(inMonth month: Int, of year: Int) -> Int {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }
}

/// A time of day, microseconds since midnight. XEP-0082 §3.3.
public struct TimeOfDay: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// From 0 to just before 86,400,000,000.
    public let microseconds: Int64

    init(microseconds: Int64) {
        self.microseconds = microseconds
    }

    /// Reads `hh:mm:ss[.sss][offset]`; with an offset, the result is the time of day in UTC.
    public init?(_ text: String) {
        var reader = DateTimeReader(text)
        guard let time = reader.time() else { return nil }
        guard !reader.isAtEnd else {
            self = time
            return
        }
        guard let offset = reader.offset(), reader.isAtEnd else { return nil }
        microseconds = floorDivision(time.microseconds &- offset &* 60_000_000, 86_400_000_000).remainder
    }

    /// `hh:mm:ss`, with as many fractional digits as matter.
    public var description: String {
        let (seconds, fraction) = (Int(microseconds / 1_000_000), Int(microseconds % 1_000_000))
        let whole = "\(padded(seconds / 3600, 2)):\(padded(seconds / 60 % 60, 2)):\(padded(seconds % 60, 2))"
        guard fraction > 0 else { return whole }
        var digits = padded(fraction, 6)
        while digits.hasSuffix("0") { digits.removeLast() }
        return whole + "." + digits
    }

    public static func < (left: TimeOfDay, right: TimeOfDay) -> Bool { left.microseconds < right.microseconds }
}

/// Reads the parts of dates and times, byte by byte.
private struct DateTimeReader {
    private var rest: Substring.UTF8View

    init(_ text: String) {
        rest = Substring(text).utf8
    }

    var isAtEnd: Bool { rest.isEmpty }

    mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard let first = rest.first, UInt32(first) == character.value else { return false }
        rest.removeFirst()
        return true
    }

    /// Exactly `count` digits; `count` is at most four.
    mutating func number(digits count: Int) -> Int? {
        var value = 0
        for _ in 0..<count {
            guard let digit = digit() else { return nil }
            value = value * 10 + digit
        }
        return value
    }

    mutating func date() -> CivilDate? {
        guard let year = number(digits: 4), take("-"), let month = number(digits: 2), take("-"),
            let day = number(digits: 2)
        else { return nil }
        return CivilDate(year: year, month: month, day: day)
    }

    mutating func compactDate() -> CivilDate? {
        guard let year = number(digits: 4), let month = number(digits: 2), let day = number(digits: 2) else {
            return nil
        }
        return CivilDate(year: year, month: month, day: day)
    }

    mutating func time(fraction isFractionAllowed: Bool = true) -> TimeOfDay? {
        guard let hour = number(digits: 2), hour < 24, take(":"), let minute = number(digits: 2), minute < 60,
            take(":"), let second = number(digits: 2), second < 60
        else { return nil }
        var fraction: Int64 = 0
        if isFractionAllowed, take(".") {
            guard let first = digit() else { return nil }
            fraction = Int64(first) * 100_000
            var unit: Int64 = 10_000
            while let next = digit() {
                fraction += Int64(next) * unit
                unit /= 10
            }
        }
        return TimeOfDay(microseconds: Int64((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction)
    }

    /// Minutes east of UTC, at most 14 hours (XML Schema 1.1 part 2 §3.3.7).
    mutating func offset() -> Int64? {
        if take("Z") { return 0 }
        let sign: Int64
        if take("+") { sign = 1 } else if take("-") { sign = -1 } else { return nil }
        guard let hours = number(digits: 2), take(":"), let minutes = number(digits: 2), minutes < 60,
            hours * 60 + minutes <= 14 * 60
        else { return nil }
        return sign * Int64(hours * 60 + minutes)
    }

    private mutating func digit() -> Int? {
        guard let byte = rest.first, 0x30...0x39 ~= byte else { return nil }
        rest.removeFirst()
        return Int(byte) - 0x30
    }
}

/// Division that rounds down; `divisor` is positive.
private func floorDivision(_ dividend: Int64, _ divisor: Int64) -> (quotient: Int64, remainder: Int64) {
    let (quotient, remainder) = dividend.quotientAndRemainder(dividingBy: divisor)
    return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
}

private func padded(_ number: Int, _ width: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
}
