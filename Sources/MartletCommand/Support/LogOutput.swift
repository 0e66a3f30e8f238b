import Glibc
import ServerKit
import Synchronization

/// What is logged at this moment, for every logger of the process at once.
final class LogControl: Sendable {
    private static let levels = Logger.Level.allCases
    private let index: Atomic<Int>
    let format: ServerConfiguration.Log.Format
    private let descriptor: Int32
    /// Whether the lines go to systemd's journal, which knows the time and wants to be told the priority.
    private let isJournal: Bool

    init(_ level: Logger.Level, format: ServerConfiguration.Log.Format, descriptor: Int32 = STDERR_FILENO) {
        index = Atomic(Self.index(level))
        self.format = format
        self.descriptor = descriptor
        isJournal = Self.leadsToJournal(descriptor)
    }

    /// The least important level that is logged.
    var level: Logger.Level {
        get { Self.levels[index.load(ordering: .relaxed)] }
        set { index.store(Self.index(newValue), ordering: .relaxed) }
    }

    /// A logger that follows the level.
    func logger() -> Logger {
        Logger(label: "martlet") { _ in LogOutput(control: self) }
    }

    private static func index(_ level: Logger.Level) -> Int { levels.firstIndex(of: level) ?? 0 }

    /// systemd names the journal's socket by device and inode, so that a redirection can be told from it.
    private static func leadsToJournal(_ descriptor: Int32) -> Bool {
        guard let named = getenv("JOURNAL_STREAM").map({ String(cString: $0) }) else { return false }
        var status = stat()
        return fstat(descriptor, &status) == 0 && named == "\(status.st_dev):\(status.st_ino)"
    }

    fileprivate func write(_ event: LogEvent, _ metadata: Logger.Metadata) {
        let line =
            switch format {
            case .text: LogLine.text(event.level, event.message, metadata, at: isJournal ? nil : .now)
            case .json: LogLine.json(event.level, event.message, metadata, at: .now)
            }
        // One call, so that lines of several threads do not mix.
        Console.write((isJournal ? "<\(event.level.journalPriority)>" : "") + line + "\n", to: descriptor)
    }
}

/// Writes log lines to standard error.
struct LogOutput: LogHandler {
    let control: LogControl
    var metadata: Logger.Metadata = [:]
    /// Set for one logger by its owner.
    private var ownLevel: Logger.Level?

    init(control: LogControl) {
        self.control = control
    }

    var logLevel: Logger.Level {
        get { ownLevel ?? control.level }
        set { ownLevel = newValue }
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var all = metadata
        if let own = event.metadata { all.merge(own) { $1 } }
        if let error = event.error { all["reason"] = "\(error)" }
        control.write(event, all)
    }
}

/// How a line looks.
enum LogLine {
    /// `2026-02-28T13:45:00.250Z info     Authenticated host=example.org jid=anna@example.org`, keys sorted.
    static func text(
        _ level: Logger.Level, _ message: Logger.Message, _ metadata: Logger.Metadata, at time: Timestamp?
    ) -> String {
        var line = time.map { "\($0.milliseconds) " } ?? ""
        line += level.rawValue.padded(to: 8) + " "
        line += message.description.escapedForLog
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
            line += " " + key + "=" + value.description.loggedValue
        }
        return line
    }

    /// An object with `time`, `level`, `message` and the metadata's keys.
    static func json(
        _ level: Logger.Level, _ message: Logger.Message, _ metadata: Logger.Metadata, at time: Timestamp
    ) -> String {
        var members = [("time", time.milliseconds), ("level", level.rawValue), ("message", message.description)]
        // A key that is taken steps aside.
        members += metadata.sorted { $0.key < $1.key }.map { key, value in
            (["time", "level", "message"].contains(key) ? key + "_" : key, value.description)
        }
        return "{" + members.map { $0.jsonString + ":" + $1.jsonString }.joined(separator: ",") + "}"
    }
}

extension Logger.Level {
    /// The syslog priority in front of a line for the journal.
    fileprivate var journalPriority: Int {
        switch self {
        case .trace, .debug: 7
        case .info: 6
        case .notice: 5
        case .warning: 4
        case .error: 3
        case .critical: 2
        }
    }

    /// The level as the configuration names it.
    init(_ level: ServerConfiguration.Log.Level) {
        switch level {
        case .trace: self = .trace
        case .debug: self = .debug
        case .info: self = .info
        case .notice: self = .notice
        case .warning: self = .warning
        case .error: self = .error
        }
    }
}

extension Timestamp {
    /// Always three digits after the point, so that lines align.
    fileprivate var milliseconds: String {
        let whole = Timestamp(seconds: seconds)
        let fraction = String((microseconds - whole.microseconds) / 1_000)
        let zeros = String(repeating: "0", count: max(0, 3 - fraction.count))
        return whole.description.dropLast() + "." + zeros + fraction + "Z"
    }
}

extension String {
    /// The value as it may stand behind `key=`: peers choose some of them, and must not be able to forge a line.
    fileprivate var loggedValue: String {
        let isPlain = !isEmpty && unicodeScalars.allSatisfy { scalar in
            scalar != " " && scalar != "\"" && scalar != "=" && !scalar.isUnprintable
        }
        return isPlain ? self : "\"" + escaped("\"") + "\""
    }

    /// The text without what would move a terminal's cursor or end the line.
    fileprivate var escapedForLog: String {
        unicodeScalars.contains(where: \.isUnprintable) ? escaped(nil) : self
    }

    private func escaped(_ quote: Unicode.Scalar?) -> String {
        var text = ""
        for scalar in unicodeScalars {
            if scalar.isUnprintable {
                text += "\\u{\(String(scalar.value, radix: 16))}"
            } else {
                if scalar == quote { text += "\\" }
                text.unicodeScalars.append(scalar)
            }
        }
        return text
    }

    /// The text as a JSON string. RFC 8259 §7.
    fileprivate var jsonString: String {
        var text = "\""
        for scalar in unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case _ where scalar.value < 0x20 || scalar.value == 0x7F:
                text += "\\u00" + (scalar.value < 0x10 ? "0" : "") + String(scalar.value, radix: 16)
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text + "\""
    }
}

extension Unicode.Scalar {
    fileprivate var isUnprintable: Bool {
        if value < 0x7F { return value < 0x20 }
        switch properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate: return true
        default: return false
        }
    }
}
