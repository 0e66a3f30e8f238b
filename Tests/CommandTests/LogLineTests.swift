import Glibc
import ServerKit
import Testing

@testable import MartletCommand

@Suite("Log output") struct LogLineTests {
    private let time = Timestamp(microseconds: 1_772_286_300_250_900)

    @Test("A line has time, level, message and the metadata with its keys in order")
    func text() {
        let metadata: Logger.Metadata = ["jid": "anna@example.org", "host": "example.org"]
        #expect(
            LogLine.text(.info, "Authenticated", metadata, at: time)
                == "2026-02-28T13:45:00.250Z info     Authenticated host=example.org jid=anna@example.org")
        #expect(LogLine.text(.error, "Lost", [:], at: nil) == "error    Lost")
    }

    @Test(
        "What a peer chooses can neither begin a line nor pass for another key",
        arguments: [
            ("plain", "plain"), ("", "\"\""), ("two words", "\"two words\""), ("a=b", "\"a=b\""),
            ("x\"y", "\"x\\\"y\""), ("line\nerror forged", "\"line\\u{a}error forged\""),
            ("\u{1B}[2J", "\"\\u{1b}[2J\""), ("\u{202E}txt", "\"\\u{202e}txt\""), ("zoë", "zoë"),
        ])
    func forging(value: String, shown: String) {
        #expect(LogLine.text(.info, "M", ["k": "\(value)"], at: nil) == "info     M k=" + shown)
    }

    @Test("JSON is one object a line; a key that is taken steps aside")
    func json() {
        #expect(
            LogLine.json(.notice, "A \"word\"", ["level": "x\ny\u{1}"], at: time)
                == #"{"time":"2026-02-28T13:45:00.250Z","level":"notice","message":"A \"word\"","level_":"x\ny\u0001"}"#)
    }

    @Test("Loggers that were copied long ago follow the level")
    func level() throws {
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        defer { for end in ends { close(end) } }
        let control = LogControl(.info, format: .text, descriptor: ends[1])
        let logger = control.logger()
        var copy = logger
        copy[metadataKey: "host"] = "example.org"
        copy.debug("One")
        control.level = .debug
        #expect(copy.logLevel == .debug)
        copy.debug("Two", metadata: ["reason": "test"])
        control.level = .error
        copy.info("Three")
        var bytes = [UInt8](repeating: 0, count: 1_000)
        let count = read(ends[0], &bytes, bytes.count)
        let text = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
        #expect(text.hasSuffix("debug    Two host=example.org reason=test\n"))
        #expect(!text.contains("One") && !text.contains("Three"))
    }
}
