import ServerKit
import Testing

@testable import MartletCommand

@Suite("DNS check") struct DNSTests {
    /// A reply about `_x._tcp.a` with one record whose target points back into the question.
    private static let reply: [UInt8] =
        [0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0] + [2] + Array("_x".utf8) + [4] + Array("_tcp".utf8)
        + [1] + Array("a".utf8) + [0, 0, 33, 0, 1]
        + [0xC0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 13, 0, 5, 0, 7, 0x14, 0x66, 4] + Array("host".utf8) + [0xC0, 20]

    @Test("A service record is read, compressed names included")
    func record() throws {
        let answer = try #require(DNSAnswer(Self.reply))
        #expect(answer.services == [.init(priority: 5, weight: 7, port: 5222, target: "host.a")])
    }

    @Test("Whatever is cut off or points in circles is refused")
    func hostile() {
        for count in 0..<Self.reply.count { #expect(DNSAnswer(Array(Self.reply.prefix(count))) == nil) }
        var circle = Self.reply
        circle[circle.count - 1] = UInt8(circle.count - 2)
        #expect(DNSAnswer(circle) == nil)
        for index in Self.reply.indices {
            for value: UInt8 in [0, 1, 0x3F, 0x40, 0xC0, 0xFF] {
                var damaged = Self.reply
                damaged[index] = value
                _ = DNSAnswer(damaged)
            }
        }
    }

    @Test(
        "Findings tell what to do",
        arguments: [
            (DNSCheck.Lookup.failed, ["192.0.2.1"], "do not answer"),
            (.absent, [], "neither a service record nor an address"),
            (.absent, ["192.0.2.1"], "clients use its address"),
            (.found([.init(priority: 0, weight: 0, port: 5222, target: "x.example")]), [], "has no address"),
            (.found([.init(priority: 0, weight: 0, port: 5222, target: "x.example")]), ["::1"], "leads to x.example:5222"),
            (.found([.init(priority: 0, weight: 0, port: 443, target: "x.example")]), ["::1"], "leads to port 443"),
            (.found([.init(priority: 0, weight: 0, port: 0, target: ".")]), ["::1"], "no such service"),
        ])
    func findings(lookup: DNSCheck.Lookup, addresses: [String], text: String) throws {
        let (configuration, _) = ServerConfiguration.read(
            bytes: Array("hosts: { example.org: {} }".utf8), file: "f.yaml",
            listeners: ServerConfiguration.knownListeners)
        let check = DNSCheck(services: { _ in lookup }, addresses: { _ in addresses })
        let findings = check.findings(try #require(configuration))
        #expect(findings.findings.first?.text.contains(text) == true)
    }

    @Test(
        "Components are looked for as other servers do",
        arguments: [
            (DNSCheck.Lookup.failed, ["192.0.2.1"], Findings.Grade.problem, "do not answer"),
            (.absent, [], .hint, "is only for this server's own users: it has neither"),
            (.absent, ["192.0.2.1"], .fine, "other servers use its address (192.0.2.1), port 5269"),
            (.found([.init(priority: 0, weight: 0, port: 5269, target: "x.example")]), [], .problem, "has no address"),
            (.found([.init(priority: 0, weight: 0, port: 5269, target: "x.example")]), ["::1"], .fine, "x.example:5269"),
            (.found([.init(priority: 0, weight: 0, port: 0, target: ".")]), [], .hint, "own users"),
        ])
    func components(lookup: DNSCheck.Lookup, addresses: [String], grade: Findings.Grade, text: String) throws {
        let (configuration, _) = ServerConfiguration.read(
            bytes: Array("components: { rooms.example.org: { module: muc } }".utf8), file: "f.yaml",
            listeners: ServerConfiguration.knownListeners)
        let check = DNSCheck(services: { _ in lookup }, addresses: { _ in addresses })
        let findings = check.findings(try #require(configuration)).findings
        #expect(findings.map(\.grade) == [grade])
        #expect(findings.first?.text.contains(text) == true)
    }
}
