import Glibc
import ServerKit

/// Entity Time (XEP-0202): what time it is at the host.
final class EntityTime: Module {
    static let info = ModuleInfo(
        "time", "Tells the time",
        implements: [.xep(202, "2.0")],
        group: .recommended, scope: .domain)

    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        host.advertise(.time, on: .host)
        host.answer(.get, "time", .time, on: .host) { _ in
            let now = Timestamp(seconds: host.clock.date.seconds)
            return Element("time", .time) {
                Element("tzo", text: Self.zone(secondsEast: Self.offset(at: now)))
                Element("utc", text: now.description)
            }
        }
    }

    /// The machine's offset from UTC in seconds.
    private static func offset(at date: Timestamp) -> Int {
        var seconds = time_t(date.seconds)
        var parts = tm()
        return localtime_r(&seconds, &parts) == nil ? 0 : parts.tm_gmtoff
    }

    /// The Time Zone Definition of an offset. XEP-0082 §2.1.
    nonisolated static func zone(secondsEast: Int) -> String {
        let minutes = secondsEast / 60
        if minutes == 0 { return "Z" }
        func padded(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let (hours, rest) = abs(minutes).quotientAndRemainder(dividingBy: 60)
        return "\(minutes < 0 ? "-" : "+")\(padded(hours)):\(padded(rest))"
    }
}

extension Namespace {
    fileprivate static let time: Namespace = "urn:xmpp:time"
}
