import ServerKit
import Testing

@testable import MartletCommand

@Suite("DNS check") struct DNSTests {
    /// What there is: a record or not, and its address.
    private static func names(_ record: DNSAnswer, _ address: DNSAnswer) -> Names {
        Names(record: record, address: address)
    }

    /// The data of a service record. RFC 2782.
    private static func service(_ target: String, _ port: UInt16) -> DNSAnswer {
        var data: [UInt8] = [0, 0, 0, 0, UInt8(port >> 8), UInt8(port & 255)]
        for label in target.split(separator: ".") { data += [UInt8(label.utf8.count)] + Array(label.utf8) }
        return DNSAnswer(.records([data + [0]]))
    }

    struct Names: DNSLookup {
        let record: DNSAnswer
        let address: DNSAnswer

        func lookup(_ name: String, _ type: DNSRecordType) async -> DNSAnswer {
            switch type {
            case .srv: record
            case .a: address
            case .aaaa, .tlsa: DNSAnswer(.noRecords)
            }
        }
    }

    private static let failed = DNSAnswer(.failed("Nobody is there."))
    private static let none = DNSAnswer(.noSuchName)
    private static let one = DNSAnswer(.records([[192, 0, 2, 1]]))

    @Test(
        "Findings tell what to do",
        arguments: [
            (DNSTests.names(DNSTests.failed, DNSTests.one), "do not answer. Nobody is there."),
            (DNSTests.names(DNSAnswer(.bogus("Forged.")), DNSTests.one), "Forged."),
            (DNSTests.names(DNSAnswer(.records([[0, 0]])), DNSTests.one), "damaged"),
            (DNSTests.names(DNSTests.none, DNSTests.none), "neither a service record nor an address"),
            (DNSTests.names(DNSTests.none, DNSTests.one), "clients use its address"),
            (DNSTests.names(DNSTests.service("x.example", 5222), DNSTests.none), "has no address"),
            (DNSTests.names(DNSTests.service("x.example", 5222), DNSTests.one), "leads to x.example:5222"),
            (DNSTests.names(DNSTests.service("x.example", 443), DNSTests.one), "leads to port 443"),
            (DNSTests.names(DNSTests.service("", 0), DNSTests.one), "no such service"),
        ])
    func findings(names: Names, text: String) async throws {
        let (configuration, _) = ServerConfiguration.read(
            bytes: Array("hosts: { example.org: {} }".utf8), file: "f.yaml",
            listeners: ServerConfiguration.knownListeners)
        let check = DNSCheck(dns: names)
        let findings = await check.findings(try #require(configuration))
        #expect(findings.findings.first?.text.contains(text) == true)
    }

    @Test(
        "Components are looked for as other servers do",
        arguments: [
            (DNSTests.names(DNSTests.failed, DNSTests.one), Findings.Grade.problem, "do not answer"),
            (
                DNSTests.names(DNSTests.none, DNSTests.none), .hint,
                "is only for this server's own users: it has neither"
            ),
            (
                DNSTests.names(DNSTests.none, DNSTests.one), .fine,
                "other servers use its address (192.0.2.1), port 5269"
            ),
            (DNSTests.names(DNSTests.service("x.example", 5269), DNSTests.none), .problem, "has no address"),
            (DNSTests.names(DNSTests.service("x.example", 5269), DNSTests.one), .fine, "x.example:5269"),
            (DNSTests.names(DNSTests.service("", 0), DNSTests.none), .hint, "own users"),
        ])
    func components(names: Names, grade: Findings.Grade, text: String) async throws {
        let (configuration, _) = ServerConfiguration.read(
            bytes: Array("components: { rooms.example.org: { module: muc } }".utf8), file: "f.yaml",
            listeners: ServerConfiguration.knownListeners)
        let check = DNSCheck(dns: names)
        let findings = await check.findings(try #require(configuration)).findings
        #expect(findings.map(\.grade) == [grade])
        #expect(findings.first?.text.contains(text) == true)
    }
}
