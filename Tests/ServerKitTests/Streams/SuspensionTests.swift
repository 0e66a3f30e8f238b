import StorageMemory
import TestKit
import Testing

@testable import ServerKit

/// Answers `<wait/>` when a test says so, and `<now/>` at once.
private final class Waiting: Module {
    static let info = ModuleInfo("waiting", "Takes its time")
    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        host.streamElement("wait", "urn:example:test") { stream, _ throws(StreamError) in stream.suspend() }
        host.streamElement("now", "urn:example:test") { stream, element throws(StreamError) in
            stream.send(Element("done", "urn:example:test", ["n": element["n"] ?? ""]))
        }
        host.streamElement("brief", "urn:example:test") { stream, _ throws(StreamError) in
            stream.suspend()
            stream.send(Element("done", "urn:example:test", ["n": "brief"]))
            stream.resume()
        }
    }
}

@Suite("Streams that wait and streams that are slowed down") struct SuspensionTests {
    private let wait = "<wait xmlns='urn:example:test'/>"
    private func now(_ n: Int) -> String { "<now xmlns='urn:example:test' n='\(n)'/>" }
    private func order(_ answer: String) -> [String] {
        answer.split(separator: "n='").dropFirst().map { String($0.prefix(1)) }
    }

    @Test("What arrives meanwhile is held and handled in order")
    func held() async throws {
        try await play(modules: [Waiting.self]) { stage in
            let wire = Wire(stage.server)
            wire.says(Wire.header())
            #expect(order(wire.says(now(1) + wait + now(2) + now(3) + wait + now(4))) == ["1"])
            #expect(!wire.isReading)
            #expect(wire.says(now(5)).isEmpty)
            wire.stream?.resume()
            #expect(order(wire.heard()) == ["2", "3"])
            #expect(!wire.isReading)
            wire.stream?.resume()
            #expect(order(wire.heard()) == ["4", "5"])
            #expect(wire.isReading)
            wire.stream?.resume()
            #expect(wire.heard().isEmpty)
        }
    }

    @Test("A handler may suspend and resume at once")
    func brief() async throws {
        try await play(modules: [Waiting.self]) { stage in
            let wire = Wire(stage.server)
            wire.says(Wire.header())
            #expect(order(wire.says("<brief xmlns='urn:example:test'/>" + now(2))) == ["b", "2"])
            #expect(wire.isReading)
        }
    }

    @Test("The end tag waits for its turn, too")
    func heldEnd() async throws {
        try await play(modules: [Waiting.self]) { stage in
            let wire = Wire(stage.server)
            wire.says(Wire.header())
            #expect(wire.says(wait + now(1) + "</stream:stream>").isEmpty)
            #expect(wire.isOpen)
            wire.stream?.resume()
            let answer = wire.heard()
            #expect(order(answer) == ["1"])
            #expect(answer.hasSuffix("</stream:stream>"))
            #expect(!wire.isOpen)
        }
    }

    @Test("What was held of the old stream is not part of the new one")
    func pipelined() async throws {
        try await play(modules: [Waiting.self]) { stage in
            let wire = Wire(stage.server)
            wire.says(Wire.header())
            wire.says(wait + now(1))
            wire.stream?.authenticate("romeo")
            wire.stream?.resume()
            #expect(wire.heard().isEmpty)
            #expect(wire.says(Wire.header()).contains("<stream:features"))
        }
    }

    @Test("What came in plain text with the STARTTLS request is dropped (RFC 6120 §5.4.3.3)")
    func gluedToTLS() async throws {
        try await play(modules: [Waiting.self]) { stage in
            let wire = Wire(stage.server, isSecure: false)
            wire.says(Wire.header(language: "de"))
            wire.says(wait + now(1))
            try wire.stream?.startTLS(TLSServer(TLSIdentities()))
            wire.stream?.resume()
            #expect(wire.heard().isEmpty)
            #expect(wire.stream?.language == nil)
            #expect(wire.says(Wire.header()).contains("<stream:features"))
        }
    }

    @Test("A flood is read as fast as it may come, and nothing of it is lost")
    func rate() async throws {
        try await play(modules: [Waiting.self]) { stage in
            stage.server.limits.rateBeforeLogin = Rate(1_000, per: .seconds(1))
            let wire = Wire(stage.server)
            wire.says(Wire.header())
            #expect(wire.isReading)
            wire.says(String(repeating: " ", count: 3_000))
            #expect(!wire.isReading)
            // The answer of a handler does not start what the rate has stopped.
            wire.says(wait)
            wire.stream?.resume()
            #expect(!wire.isReading)
            await stage.advance(by: .seconds(1))
            #expect(!wire.isReading)
            await stage.advance(by: .seconds(2))
            #expect(wire.isReading)
        }
    }

    @Test("Whoever writes while the disk is behind is read again when it has caught up")
    func diskBehind() async throws {
        let driver = MemoryStorageDriver()
        try await play(modules: [Waiting.self], driver: driver) { stage in
            let wire = Wire(stage.server)
            wire.says(Wire.header())
            let store = stage.server.storage.rawValues("load", on: "montague.example")
            driver.hold()
            defer { driver.release() }
            for n in 0..<Int(Storage.patience) { store.set([1], for: "\(n % 7)") }
            wire.says(now(1))
            #expect(wire.isReading)
            store.set([1], for: "one more")
            // What has arrived is handled, and then no more is asked for.
            #expect(order(wire.says(now(2))) == ["2"])
            #expect(!wire.isReading)
            driver.release()
            await stage.settle()
            #expect(wire.isReading)
            wire.says(now(3))
            #expect(wire.isReading)
        }
    }

    @Test("A bucket lets one interval's worth through at once and then the rate")
    func bucket() {
        let limit = Rate(100, per: .seconds(1))
        var bucket = TokenBucket()
        #expect(bucket.add(100, limit: limit, now: .seconds(5)) == nil)
        #expect(bucket.add(50, limit: limit, now: .seconds(5)) == .milliseconds(500))
        #expect(bucket.add(0, limit: limit, now: .milliseconds(5_500)) == nil)
        #expect(bucket.add(100, limit: limit, now: .seconds(60)) == nil)
        #expect(bucket.add(.max, limit: limit, now: .seconds(60)) == .seconds(60))
        #expect(TokenBucket.passes(Rate(0, per: .seconds(1))))
    }
}

extension TokenBucket {
    fileprivate static func passes(_ limit: Rate) -> Bool {
        var bucket = TokenBucket()
        return bucket.add(1_000_000, limit: limit, now: .zero) == nil
    }
}
