import ServerKit

/// How many messages are said in an hour, as an indicator of what is going on in public rooms. XEP-0502.
struct Activity: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        host.observe(.roomMessage) { event in
            // XEP-0502 §4: what is no message by itself does not count.
            guard event.message.has("body"), !event.message.has("replace", .correction) else { return }
            event.room.countMessage()
        }
        host.observe(.occupantLeft) { if $0.room.isEmpty { $0.room.saveCounts() } }
        rooms.describe { room, _ in room.activity.map { RoomDescription(fields: [$0]) } }
    }
}

/// Messages by the hour: the register of XEP-0502 §5, which tells of whole hours only.
struct MessageCounts: Codable, Sendable, Equatable {
    /// The hour of the first count, since 1970.
    private(set) var hour: Int
    /// The latest first.
    private(set) var counts: [Int]

    static let hours = 24

    init(hour: Int) {
        self.hour = hour
        counts = [0]
    }

    mutating func count(at hour: Int) {
        move(to: hour)
        counts[0] += 1
    }

    private mutating func move(to hour: Int) {
        guard hour > self.hour else { return }
        let empty = [Int](repeating: 0, count: min(hour - self.hour, Self.hours + 1))
        counts = Array((empty + counts).prefix(Self.hours + 1))
        self.hour = hour
    }

    /// Messages per hour in the last hours that are over, but no more than so many.
    func rate(at hour: Int, hours: Int) -> Double {
        var current = self
        current.move(to: hour)
        return Double(current.counts.dropFirst().reduce(0, +)) / Double(hours)
    }
}

extension Room {
    /// What was counted since the room was loaded.
    private enum Counts: RoomKey { static let defaultValue: MessageCounts? = nil }

    private var hour: Int { Int(service.host.clock.date.microseconds / 3_600_000_000) }

    fileprivate func countMessage() {
        let hour = self.hour
        var counts = self[Counts.self] ?? record.activity ?? MessageCounts(hour: hour)
        let isNewHour = counts.hour < hour
        counts.count(at: hour)
        self[Counts.self] = counts
        // One write an hour is enough for what is a rough indicator.
        if isNewHour { saveCounts() }
    }

    fileprivate func saveCounts() {
        guard !isDestroyed, let counts = self[Counts.self], counts != record.activity else { return }
        change { $0.activity = counts }
    }

    /// XEP-0502 §3.1, §9: for rooms that everybody finds and may enter, once there is something to tell.
    fileprivate var activity: DataFormField? {
        let hour = self.hour
        let age = hour - Int(record.created.microseconds / 3_600_000_000)
        guard settings.isPersistent, settings.isPublic, settings.isOpen, age > 1 else { return nil }
        // The hour in which the room was made was no whole one.
        let hours = min(age - 1, MessageCounts.hours)
        let counts = self[Counts.self] ?? record.activity ?? MessageCounts(hour: hour)
        return .text(
            "{urn:xmpp:muc-activity}message-activity", counts.rate(at: hour, hours: hours).hundredths,
            label: "Messages per hour")
    }
}

extension Double {
    /// With two places after the point.
    fileprivate var hundredths: String {
        let number = Int((self * 100).rounded())
        let rest = number % 100
        return "\(number / 100).\(rest < 10 ? "0" : "")\(rest)"
    }
}

extension Namespace {
    /// XEP-0308.
    fileprivate static let correction: Namespace = "urn:xmpp:message-correct:0"
}
