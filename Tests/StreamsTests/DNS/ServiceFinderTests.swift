import NIOCore
import NIOPosix
import Testing

@testable import Streams

@Suite("Finding a server (RFC 6120 §3.2, XEP-0368)") struct ServiceFinderTests {
    private let direct = "_xmpps-server._tcp.example.org SRV"
    private let startTLS = "_xmpp-server._tcp.example.org SRV"

    private func find(_ answers: [String: DNSAnswer], _ domain: String = "example.org") async -> ServiceFinding {
        await ServiceFinder(dns: FakeDNS(answers)) { _ in 0 }.find(domain)
    }

    private func records(_ data: [UInt8]..., isSecure: Bool = false) -> DNSAnswer {
        DNSAnswer(.records(data), isSecure: isSecure)
    }

    @Test("Both kinds of records are one list")
    func merged() async {
        let finding = await find([
            direct: records(srv(20, 0, 443, "a.example"), srv(5, 0, 5270, "b.example"), isSecure: true),
            startTLS: records(srv(10, 0, 5269, "a.example")),
        ])
        #expect(
            finding
                == .endpoints([
                    ServiceEndpoint(target: "b.example", port: 5270, isDirectTLS: true, isSecure: true),
                    ServiceEndpoint(target: "a.example", port: 5269),
                    ServiceEndpoint(target: "a.example", port: 443, isDirectTLS: true, isSecure: true),
                ]))
    }

    @Test("Clients have names and a port of their own")
    func clients() async {
        let dns = FakeDNS(["example.org A": records([192, 0, 2, 1])])
        let finding = await ServiceFinder(dns: dns).find("example.org", .client)
        #expect(finding == .endpoints([ServiceEndpoint(target: "example.org", port: 5222)]))
        #expect(
            dns.asked == [
                "_xmpp-client._tcp.example.org SRV", "_xmpps-client._tcp.example.org SRV", "example.org A",
                "example.org AAAA",
            ])
    }

    @Test("A dot says that a kind is not offered, and keeps from trying the domain itself")
    func dot() async {
        let address = ["example.org A": records([192, 0, 2, 1])]
        let none = records(srv(0, 0, 0, ""))
        let some = records(srv(1, 1, 5269, "a.example"))
        let endpoint = ServiceEndpoint(target: "a.example", port: 5269)
        #expect(await find([direct: none, startTLS: some]) == .endpoints([endpoint]))
        for answers in [[direct: none, startTLS: none], [direct: none], [startTLS: none]] {
            #expect(await find(answers.merging(address) { one, _ in one }) == .notOffered)
        }
    }

    @Test("Without records it is the domain itself, if that has an address")
    func fallback() async {
        let itself = ServiceFinding.endpoints([ServiceEndpoint(target: "example.org", port: 5269)])
        #expect(await find(["example.org AAAA": records([UInt8](repeating: 1, count: 16))]) == itself)
        #expect(await find(["example.org A": records([192, 0, 2, 1]), startTLS: DNSAnswer(.noRecords)]) == itself)
        #expect(await find([:]) == .noSuchDomain)
        #expect(await find(["example.org A": DNSAnswer(.noRecords)]) == .notOffered)
        #expect(await find(["example.org A": DNSAnswer(.failed("x"))]) == .failed("x"))
        #expect(
            await find(["example.org A": DNSAnswer(.failed("x")), "example.org AAAA": DNSAnswer(.noRecords)])
                == .failed("x"))
    }

    @Test("A failed lookup is not a missing record (RFC 7673 §3.1)")
    func failure() async {
        let address = records([192, 0, 2, 1])
        let one = ServiceFinding.endpoints([ServiceEndpoint(target: "a.example", port: 5269)])
        #expect(await find([startTLS: DNSAnswer(.failed("late")), "example.org A": address]) == .failed("late"))
        #expect(await find([direct: DNSAnswer(.bogus("forged")), "example.org A": address]) == .failed("forged"))
        #expect(
            await find([direct: DNSAnswer(.failed("late")), startTLS: records(srv(1, 1, 5269, "a.example"))]) == one)
    }

    @Test("Poisoned answers do no harm")
    func poisoned() async {
        let hundred = (0..<100).map { srv(1, 1, 5269, "t\($0).example") }
        guard case .endpoints(let some) = await find([startTLS: DNSAnswer(.records(hundred))]) else {
            Issue.record("nothing found")
            return
        }
        #expect(some.count == 16 && Set(some).count == 16)
        let same = [[UInt8]](repeating: srv(1, 1, 5269, "a.example"), count: 3000)
        #expect(
            await find([startTLS: DNSAnswer(.records(same))])
                == .endpoints([ServiceEndpoint(target: "a.example", port: 5269)]))
        let damaged = records([1, 2, 3], srv(1, 1, 0, "no-port.example"))
        #expect(await find([startTLS: damaged]) == .failed("All of the domain's SRV records are damaged."))
        let dns = FakeDNS([startTLS: records(srv(1, 1, 5269, "_xmpp-server._tcp.example.org"))])
        _ = await ServiceFinder(dns: dns).find("example.org")
        #expect(dns.asked.count == 2, "a target is not looked up as a service")
    }

    @Test(
        "Addresses stand for themselves, and what is no name is not looked up",
        arguments: [
            ("192.0.2.1", "192.0.2.1"), ("[2001:db8::1]", "2001:db8::1"), ("2001:db8::1", "2001:db8::1"),
        ])
    func addresses(domain: String, target: String) async {
        #expect(await find([:], domain) == .endpoints([ServiceEndpoint(target: target, port: 5269)]))
        for name in ["", "a b", "..", "[192.0.2.1]", "[]", "b\u{fc}cher.example"] {
            #expect(await find([:], name) == .noSuchDomain)
        }
    }

    @Test("TLSA records count only if everything up to them is secure (RFC 7673 §3)")
    func tlsa() async {
        let data: [UInt8] = [3, 1, 1] + [UInt8](repeating: 7, count: 32)
        let record = TLSARecord(.daneEE, .publicKey, .sha256, [UInt8](repeating: 7, count: 32))
        let secure = ServiceEndpoint(target: "a.example", port: 5269, isSecure: true)
        let (a, t) = ("a.example A", "_5269._tcp.a.example TLSA")
        let address = records([192, 0, 2, 1], isSecure: true)
        func tlsa(_ answers: [String: DNSAnswer], _ endpoint: ServiceEndpoint) async -> TLSAFinding {
            await ServiceFinder(dns: FakeDNS(answers)).tlsa(for: endpoint)
        }
        let good = [a: address, t: records([9], data, isSecure: true)]
        #expect(await tlsa(good, secure) == .records([record]))
        #expect(await tlsa(good, ServiceEndpoint(target: "a.example", port: 5269)) == .records([]))
        #expect(await tlsa([a: address, t: records(data)], secure) == .records([]))
        #expect(await tlsa([a: address], secure) == .records([]))
        #expect(await tlsa([a: records([192, 0, 2, 1]), t: DNSAnswer(.failed("x"))], secure) == .records([]))
        #expect(await tlsa([a: address, t: DNSAnswer(.failed("x"))], secure) == .failed("x"))
        #expect(await tlsa([a: address, t: DNSAnswer(.bogus("y"))], secure) == .failed("y"))
        #expect(await tlsa([a: DNSAnswer(.bogus("z")), t: records(data, isSecure: true)], secure) == .failed("z"))
    }

    @Test("A connection is made to whatever address answers")
    func connection() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let listener = try await ServerBootstrap(group: loop).bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(listener.localAddress?.port)
        let dns = FakeDNS([
            "both.example A": records([127, 0, 0, 1], [1, 2, 3]),
            "both.example AAAA": records([UInt8](repeating: 0, count: 15) + [1]),
            "empty.example A": DNSAnswer(.noRecords), "empty.example AAAA": DNSAnswer(.noRecords),
            "late.example A": DNSAnswer(.failed("late")), "late.example AAAA": DNSAnswer(.noRecords),
        ])
        func connect(_ host: String, _ port: Int) async throws -> any Channel {
            try await ClientBootstrap(group: loop).resolver(AddressFinder(dns, on: loop))
                .connect(host: host, port: port).get()
        }
        for host in ["both.example", "127.0.0.1"] { try await connect(host, port).close().get() }
        let problems: [(String, AddressProblem)] = [
            ("nobody.example", .noSuchName("nobody.example")), ("empty.example", .noAddresses("empty.example")),
            ("late.example", .failed("late")),
        ]
        for (host, problem) in problems {
            let error = await #expect(throws: (any Error).self) { try await connect(host, port) }
            #expect(error.flatMap { AddressProblem($0) } == problem)
        }
        try await listener.close().get()
        // Nobody has this one.
        let refused = await #expect(throws: (any Error).self) { try await connect("both.example", 1) }
        #expect(refused.flatMap { AddressProblem($0) } == nil)
    }
}
