import Testing

@testable import Streams

@Suite("DNS records") struct DNSRecordTests {
    @Test("An SRV record is read")
    func service() {
        let record = ServiceRecord(data: srv(10, 258, 5269, "XMPP.Example.org"))
        #expect(record == ServiceRecord(priority: 10, weight: 258, port: 5269, target: "xmpp.example.org"))
        #expect(ServiceRecord(data: srv(0, 0, 0, ""))?.target == ".")
    }

    @Test(
        "Damaged SRV records are none",
        arguments: [
            [], [0], [0, 1, 0, 1, 20, 149],
            // A pointer to itself, another one, and a label of a kind that is reserved.
            [0, 1, 0, 1, 20, 149, 0xC0, 6], [0, 1, 0, 1, 20, 149, 1, 97, 0xC0, 0], [0, 1, 0, 1, 20, 149, 0x40, 1],
            // Cut short, something behind it, empty labels, characters that no host has.
            Array(srv(1, 1, 5269, "example.org").dropLast()), Array(srv(1, 1, 5269, "example.org").dropLast(3)),
            srv(1, 1, 5269, "example.org") + [0], srv(1, 1, 1, "a b"), srv(1, 1, 1, "a\0b"), srv(1, 1, 1, "ex\u{e9}"),
            srv(1, 1, 1, "a/../b"),
            // Longer than any name, and than any record.
            srv(1, 1, 1, Array(repeating: "aaaaaaaaa", count: 26).joined(separator: ".")),
            [UInt8](repeating: 63, count: 65_535), [UInt8](repeating: 0, count: 65_535),
            [UInt8](repeating: 0xFF, count: 65_535),
        ] as [[UInt8]])
    func damaged(data: [UInt8]) {
        #expect(ServiceRecord(data: data) == nil)
    }

    @Test(
        "Names that can be looked up, and those that cannot",
        arguments: [
            ("example.org", true), ("example.org.", true), ("_xmpp-server._tcp.example.org", true), ("localhost", true),
            ("xn--bcher-kva.example", true), ("", false), (".", false), ("..", false), ("a..b", false), (".a", false),
            ("b\u{fc}cher.example", false), ("a b", false), ("a\0b", false), ("a\\032b", false), ("[::1]", false),
            (String(repeating: "a", count: 63), true), (String(repeating: "a", count: 64), false),
            (Array(repeating: "aaaaaaaaa", count: 26).joined(separator: "."), false),
        ])
    func names(name: String, isValid: Bool) {
        #expect(DNSName.isValid(name) == isValid)
    }

    @Test("The order is by priority, and by weight within one (RFC 2782)")
    func order() {
        let records = [
            ServiceRecord(priority: 20, weight: 0, port: 1, target: "last"),
            ServiceRecord(priority: 10, weight: 60, port: 1, target: "a"),
            ServiceRecord(priority: 10, weight: 0, port: 1, target: "zero"),
            ServiceRecord(priority: 10, weight: 40, port: 1, target: "b"),
        ]
        func targets(_ numbers: Int...) -> [String] {
            var numbers = numbers[...]
            let order = ServiceRecord.order(records) { min($0, numbers.popFirst() ?? 0) }
            return order.map { records[$0].target }
        }
        #expect(targets(0) == ["zero", "a", "b", "last"])
        #expect(targets(1) == ["a", "zero", "b", "last"])
        #expect(targets(60, 40) == ["a", "b", "zero", "last"])
        #expect(targets(61, 0) == ["b", "zero", "a", "last"])
        #expect(targets(100, 60) == ["b", "a", "zero", "last"])
        #expect(ServiceRecord.order([]).isEmpty)
        #expect(ServiceRecord.order(records, limit: 2) { _ in 0 } == [2, 1])
    }

    @Test("Chance follows the weights")
    func chance() {
        let records = [10, 30, 60].map { ServiceRecord(priority: 1, weight: $0, port: 1, target: "t\($0)") }
        var counts = [0, 0, 0]
        for _ in 0..<10_000 { counts[ServiceRecord.order(records, limit: 1)[0]] += 1 }
        #expect((700...1300).contains(counts[0]) && (2600...3400).contains(counts[1]), "\(counts)")
    }

    @Test(
        "TLSA records are read if they are usable",
        arguments: [
            ([3, 1, 1] + [UInt8](repeating: 7, count: 32), true), ([2, 0, 2] + [UInt8](repeating: 7, count: 64), true),
            ([0, 0, 0, 1], true), ([], false), ([3, 1, 1], false),
            ([3, 1, 1] + [UInt8](repeating: 7, count: 31), false),
            ([3, 1, 2] + [UInt8](repeating: 7, count: 32), false),
            ([4, 1, 1] + [UInt8](repeating: 7, count: 32), false),
            ([3, 2, 1] + [UInt8](repeating: 7, count: 32), false), ([3, 1, 3, 1], false),
            ([255, 255, 255] + [UInt8](repeating: 7, count: 32), false),
        ] as [([UInt8], Bool)])
    func tlsa(data: [UInt8], isUsable: Bool) {
        #expect((TLSARecord(data: data) != nil) == isUsable)
    }
}
