import Testing

@testable import Streams

@Suite("Asking the DNS", .timeLimit(.minutes(1))) struct DNSResolverTests {
    private func settings(_ server: NameServer, _ change: (inout DNSSettings) -> Void = { _ in }) -> DNSSettings {
        var settings = DNSSettings()
        settings.servers = [server.address]
        settings.hostsFile = nil
        settings.trustAnchorFile = nil
        change(&settings)
        return settings
    }

    @Test("Records arrive as they are, with what is known about them")
    func records() async throws {
        let six = [UInt8](repeating: 0xFD, count: 16)
        let server = try NameServer([
            "a.example A": .records([[192, 0, 2, 1], [192, 0, 2, 2]], ttl: 120), "a.example AAAA": .records([six]),
            "_xmpp-server._tcp.a.example SRV": .records([srv(1, 2, 5269, "b.example")]),
        ])
        defer { server.stop() }
        let dns = DNSResolver(settings(server))
        let answer = await dns.lookup("a.example", .a)
        #expect(Set(answer.records) == [[192, 0, 2, 1], [192, 0, 2, 2]] && !answer.isSecure)
        #expect((.seconds(100)...(.seconds(120))).contains(answer.timeToLive), "\(answer)")
        #expect(await dns.lookup("A.Example.", .aaaa).records == [six])
        let service = await dns.lookup("_xmpp-server._tcp.a.example", .srv).records
        #expect(service.compactMap(ServiceRecord.init(data:)).map(\.target) == ["b.example"])
        #expect(await dns.lookup("a.example", .tlsa).outcome == .noRecords)
        #expect(await dns.lookup("b.example", .a).outcome == .noSuchName)
        #expect(dns.isValidating == false)
        dns.close()
        #expect(await dns.lookup("a.example", .a).outcome == .failed("The resolver has been closed."))
    }

    @Test("What is no name is not asked for", arguments: ["", "a b", "a\0b", "..", "b\u{fc}cher.example"])
    func names(name: String) async throws {
        let server = try NameServer([:])
        defer { server.stop() }
        #expect(await DNSResolver(settings(server)).lookup(name, .a).outcome == .noSuchName)
        #expect(server.asked.isEmpty)
    }

    @Test("Errors and silence are failures, and hold up nobody else")
    func failures() async throws {
        let server = try NameServer([
            "broken.example A": .error(2), "silent.example A": .silence, "a.example A": .records([[192, 0, 2, 1]]),
        ])
        defer { server.stop() }
        let dns = DNSResolver(settings(server) { $0.timeout = .seconds(4) })
        async let silent = dns.lookup("silent.example", .a)
        async let broken = dns.lookup("broken.example", .a)
        #expect(await dns.lookup("a.example", .a).records == [[192, 0, 2, 1]])
        #expect(await silent.outcome == .failed("No resolver answered in time."))
        let failure = try #require(await broken.failure)
        #expect(failure.contains("SERVFAIL") || failure.contains("in time"), "\(failure)")
    }

    @Test("Answers are remembered for as long as they say, unless they are to be forgotten")
    func memory() async throws {
        let server = try NameServer(["a.example A": .records([[192, 0, 2, 1]], ttl: 300)])
        defer { server.stop() }
        let dns = DNSResolver(settings(server))
        #expect(await dns.lookup("a.example", .a).records == [[192, 0, 2, 1]])
        server["a.example A"] = .records([[192, 0, 2, 2]])
        #expect(await dns.lookup("a.example", .a).records == [[192, 0, 2, 1]])
        dns.reset()
        #expect(await dns.lookup("a.example", .a).records == [[192, 0, 2, 2]])
        #expect(server.asked.count == 2)
    }

    @Test("A short time to live ends")
    func expiry() async throws {
        let server = try NameServer(["a.example A": .records([[192, 0, 2, 1]], ttl: 1)])
        defer { server.stop() }
        let dns = DNSResolver(settings(server))
        #expect(await dns.lookup("a.example", .a).records == [[192, 0, 2, 1]])
        server["a.example A"] = .records([[192, 0, 2, 2]])
        try await Task.sleep(for: .milliseconds(2100))
        #expect(await dns.lookup("a.example", .a).records == [[192, 0, 2, 2]])
        server["a.example A"] = .records([[192, 0, 2, 3]])
        dns.forget("a.example")
        #expect(await dns.lookup("a.example", .a).records == [[192, 0, 2, 3]])
    }

    @Test("Zones that are not public are found when they are said to be there")
    func localZones() async throws {
        let server = try NameServer([
            "school.test A": .records([[10, 0, 0, 1]]), "chat.home.arpa A": .records([[10, 0, 0, 2]]),
        ])
        defer { server.stop() }
        let strict = DNSResolver(settings(server))
        #expect(await strict.lookup("school.test", .a).outcome == .noSuchName)
        #expect(server.asked.isEmpty)
        let open = DNSResolver(settings(server) { $0.localZones = ["test", "home.arpa."] })
        #expect(await open.lookup("school.test", .a).records == [[10, 0, 0, 1]])
        #expect(await open.lookup("chat.home.arpa", .a).records == [[10, 0, 0, 2]])
        let wrong = DNSResolver(settings(server) { $0.localZones = ["a b"] })
        #expect(await wrong.lookup("school.test", .a).outcome == .failed("\"a b\" is not the name of a zone."))
    }

    @Test("Hosts and resolvers are read from files")
    func files() async throws {
        let server = try NameServer(["a.example A": .records([[192, 0, 2, 1]])])
        defer { server.stop() }
        let scratch = try Scratch()
        try scratch.write("hosts", "127.0.0.9 pinned.test other.example\n")
        let dns = DNSResolver(
            settings(server) {
                $0.hostsFile = scratch.path + "/hosts"
                $0.localZones = ["test"]
            })
        #expect(await dns.lookup("pinned.test", .a).records == [[127, 0, 0, 9]])
        #expect(await dns.lookup("other.example", .a).records == [[127, 0, 0, 9]])
        let wrong = DNSResolver(settings(server) { $0.servers = ["not an address"] })
        let failure = try #require(await wrong.lookup("a.example", .a).failure)
        #expect(failure.contains("not an address"), "\(failure)")
        let damaged = DNSResolver(settings(server) { $0.trustAnchorFile = scratch.path + "/none" })
        #expect(await damaged.lookup("a.example", .a).failure != nil)
    }

    @Test("What a zone has signed is secure, and anything else is bogus (RFC 4035)")
    func signatures() async throws {
        let signer = try ZoneSigner("signed.example")
        let scratch = try Scratch()
        try scratch.write("root.key", signer.trustAnchor)
        let tlsa: [UInt8] = [3, 1, 1] + [UInt8](repeating: 7, count: 32)
        let server = try NameServer([
            "signed.example TYPE48": signer.signed("signed.example", 48, [signer.dnskey]),
            "signed.example A": signer.signed("signed.example", 1, [[192, 0, 2, 1]]),
            "signed.example AAAA": signer.signed("signed.example", 28, [[UInt8](repeating: 0xFD, count: 16)]),
            "_5269._tcp.signed.example TLSA": signer.signed("_5269._tcp.signed.example", 52, [tlsa]),
            "forged.signed.example A": .records([[192, 0, 2, 66]]), "plain.example A": .records([[192, 0, 2, 3]]),
        ])
        defer { server.stop() }
        let dns = DNSResolver(settings(server) { $0.trustAnchorFile = scratch.path + "/root.key" })
        let good = await dns.lookup("signed.example", .a)
        #expect(good.records == [[192, 0, 2, 1]] && good.isSecure, "\(good)")
        let endpoint = ServiceEndpoint(target: "signed.example", port: 5269, isSecure: true)
        #expect(
            await ServiceFinder(dns: dns).tlsa(for: endpoint)
                == .records([TLSARecord(.daneEE, .publicKey, .sha256, [UInt8](repeating: 7, count: 32))]))
        guard case .bogus(let reason) = await dns.lookup("forged.signed.example", .a).outcome else {
            Issue.record("A forgery was believed.")
            return
        }
        #expect(reason.contains("forged.signed.example"))
        let plain = await dns.lookup("plain.example", .a)
        #expect(plain.records == [[192, 0, 2, 3]] && !plain.isSecure)
    }

    @Test("A resolver that leaves the signatures out is believed unless they are demanded")
    func ignorance() async throws {
        let scratch = try Scratch()
        try scratch.write("root.key", ZoneSigner("").trustAnchor)
        let server = try NameServer(["a.example A": .records([[192, 0, 2, 1]])])
        defer { server.stop() }
        let lenient = DNSResolver(settings(server) { $0.trustAnchorFile = scratch.path + "/root.key" })
        let answer = await lenient.lookup("a.example", .a)
        #expect(answer.records == [[192, 0, 2, 1]] && !answer.isSecure, "\(answer)")
        #expect(lenient.isValidating == false)
        let strict = DNSResolver(
            settings(server) {
                $0.trustAnchorFile = scratch.path + "/root.key"
                $0.demandsDNSSEC = true
            })
        let refused = await strict.lookup("a.example", .a)
        #expect(refused.failure != nil && strict.isValidating == true, "\(refused)")
    }

    @Test("Many questions at once are all answered")
    func many() async throws {
        var zone: [String: NameServer.Reply] = [:]
        for index in 0..<500 {
            zone["h\(index).example A"] = .records([[10, 0, UInt8(index / 256), UInt8(index % 256)]])
        }
        let server = try NameServer(zone)
        defer { server.stop() }
        let dns = DNSResolver(settings(server))
        let count = await withTaskGroup(of: Bool.self) { group in
            for index in 0..<500 {
                group.addTask {
                    let expected: [[UInt8]] = [[10, 0, UInt8(index / 256), UInt8(index % 256)]]
                    return await dns.lookup("h\(index).example", .a).records == expected
                }
            }
            return await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
        }
        #expect(count == 500)
    }
}
