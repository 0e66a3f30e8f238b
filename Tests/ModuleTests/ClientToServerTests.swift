import Glibc
import ServerKit
import TestKit
import Testing

@testable import Modules

/// A directory that goes away with its test.
struct CertificateDirectory {
    let path: String
    private let hosts: [String]

    init(hosts: [String] = ["montague.example"]) throws {
        self.hosts = hosts
        path = "/tmp/martlet-test-\(RandomToken.make(bytes: 8))"
        guard mkdir(path, 0o700) == 0 else { throw ModuleError("\(path) cannot be made.") }
        try renew()
    }

    func renew() throws {
        _ = try SelfSignedCertificate.generate(hosts: hosts, directory: path, replacing: true)
    }

    func remove() {
        for end in ["crt", "key"] { unlink("\(path)/montague.example.\(end)") }
        rmdir(path)
    }
}

@Suite("Client connections", .serialized) struct ClientToServerTests {
    private let header = "<?xml version='1.0'?><stream:stream to='montague.example' version='1.0'"
        + " xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"

    private func perform(
        _ options: String = "on", listen: String = "c2s: \"127.0.0.1:0\", c2s_tls: \"127.0.0.1:0\"",
        _ body: @escaping @ServerActor @Sendable (Stage, CertificateDirectory) async throws -> Void
    ) async throws {
        let directory = try CertificateDirectory()
        defer { directory.remove() }
        try await play(
            modules: [ClientToServer.self, TLS.self], config: config(directory, options, listen)
        ) { try await body($0, directory) }
    }

    private func config(_ directory: CertificateDirectory, _ options: String = "on", _ listen: String) -> String {
        """
        certificates: \(directory.path)
        hosts: { montague.example: {} }
        listen: { \(listen) }
        modules: { c2s: \(options), tls: on }

        """
    }

    private func address(_ stage: Stage, _ name: String = "c2s") async throws -> ListenAddress {
        try await #require(stage.server.listening[name]?.first)
    }

    @Test("A stream begins in plain text, changes to TLS and gets features")
    func startTLS() async throws {
        try await perform { stage, _ in
            let client = try await NetworkClient.connect(to: address(stage))
            client.says(header)
            #expect(await client.hears("<required/></starttls></stream:features>"), "\(client.heard)")
            client.says("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            #expect(await client.hears("<proceed "))
            try client.startTLS()
            client.says(header)
            #expect(await client.hears("<stream:features/>"), "\(client.heard)")
            client.says("</stream:stream>")
            #expect(await client.hears("</stream:stream>"))
            #expect(await client.isCutOff())
        }
    }

    @Test("Direct TLS speaks xmpp-client or nothing in particular (XEP-0368)")
    func directTLS() async throws {
        try await perform { stage, _ in
            let address = try await address(stage, "c2s_tls")
            for protocols in [["xmpp-client"], [], ["h2", "xmpp-client"]] {
                let client = try await NetworkClient.connect(to: address, tls: protocols)
                client.says(header)
                #expect(await client.hears("<stream:features"), "\(protocols)")
                #expect(!client.heard.contains("starttls"))
                client.leaves()
            }
            let web = try await NetworkClient.connect(to: address, tls: ["h2", "http/1.1"])
            web.says(header)
            #expect(await web.isCutOff())
            #expect(web.heard.isEmpty)
        }
    }

    @Test("Whoever speaks something else is told and cut off", arguments: [
        "GET / HTTP/1.1\r\nHost: montague.example\r\n\r\n", "\u{16}\u{3}\u{1}\u{0}\u{5}hello", "EHLO x\r\n",
    ])
    func garbage(_ text: String) async throws {
        try await perform { stage, _ in
            let client = try await NetworkClient.connect(to: address(stage))
            client.says(text)
            #expect(await client.hears("<not-well-formed "))
            #expect(await client.isCutOff())
            let secured = try await NetworkClient.connect(to: address(stage, "c2s_tls"))
            secured.says("GET / HTTP/1.1\r\n\r\n")
            #expect(await secured.isCutOff())
            #expect(!secured.heard.contains("<stream"))
        }
    }

    @Test("An error reaches a client that is still sending")
    func errorWhileSending() async throws {
        try await perform { stage, _ in
            let client = try await NetworkClient.connect(to: address(stage))
            client.says(header + "<iq id='" + String(repeating: "x", count: 500_000))
            #expect(await client.hears("<policy-violation "))
            #expect(await client.isCutOff())
        }
    }

    @Test("One address gets so many connections and no more, until some end")
    func perAddress() async throws {
        try await perform("{ connections_per_address: 2 }") { stage, _ in
            let address = try await address(stage)
            let first = try await NetworkClient.connect(to: address)
            let second = try await NetworkClient.connect(to: address)
            for client in [first, second] {
                client.says(header)
                #expect(await client.hears("<stream:features"))
            }
            let third = try await NetworkClient.connect(to: address)
            #expect(await third.isCutOff())
            first.says("</stream:stream>")
            #expect(await first.isCutOff())
            let fourth = try await NetworkClient.connect(to: address)
            fourth.says(header)
            #expect(await fourth.hears("<stream:features"))
        }
    }

    @Test("Whoever does not log in in time is told and cut off; a silent resource is kept alive")
    func silence() async throws {
        try await perform("{ login_time: 20 s, keepalive: 1 min }") { stage, _ in
            let client = try await NetworkClient.connect(to: address(stage))
            client.says(header)
            #expect(await client.hears("<stream:features"))
            await stage.advance(by: .seconds(19))
            #expect(!client.isClosed)
            await stage.advance(by: .seconds(15))
            #expect(await client.hears("<connection-timeout "))
            #expect(await client.isCutOff())
        }
    }

    @Test("A server that stops says so to everybody")
    func stop() async throws {
        try await perform { stage, _ in
            let plain = try await NetworkClient.connect(to: address(stage))
            let secured = try await NetworkClient.connect(to: address(stage, "c2s_tls"), tls: [])
            for client in [plain, secured] {
                client.says(header)
                #expect(await client.hears("<stream:features"))
            }
            let address = try await address(stage)
            await stage.server.stop()
            for client in [plain, secured] {
                #expect(await client.hears("<system-shutdown "))
                #expect(await client.isCutOff())
            }
            await #expect(throws: (any Error).self) { try await NetworkClient.connect(to: address) }
        }
    }

    @Test("Reload opens and closes ports; connections stay")
    func ports() async throws {
        try await perform { stage, directory in
            let plain = try await address(stage)
            let client = try await NetworkClient.connect(to: plain)
            client.says(header)
            #expect(await client.hears("<stream:features"))
            try stage.reload(config(directory, "on", "c2s: off, c2s_tls: [\"127.0.0.1:0\", \"[::1]:0\"]"))
            try await stage.server.finishStartUp()
            #expect(stage.server.listening["c2s"]?.isEmpty == true)
            #expect(stage.server.listening["c2s_tls"]?.count == 2)
            await #expect(throws: (any Error).self) { try await NetworkClient.connect(to: plain) }
            client.says("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            #expect(await client.hears("<proceed "))
            try stage.reload(config(directory, "off", "c2s_tls: off"))
            try await stage.server.finishStartUp()
            #expect(stage.server.listening["c2s_tls"] == nil)
        }
    }

    @Test("A port that is taken is an error that says which and why")
    func portTaken() async throws {
        try await perform { stage, _ in
            let taken = try await address(stage)
            let error = await #expect(throws: ModuleError.self) {
                try await perform(listen: "c2s: \"\(taken)\", c2s_tls: off") { _, _ in }
            }
            #expect(error?.description == "\(taken) cannot be listened on: Address already in use.")
        }
    }

    @Test("Options describe themselves, and limits hold from the next stream on")
    func options() async throws {
        let options = "{ stanza_size_before_login: 12 kB, rate: unlimited, rate_before_login: 1 MB/s }"
        try await perform(options) { stage, _ in
            #expect(stage.server.limits.unauthenticated.elementBytes == 12_000)
            #expect(stage.server.limits.rate == nil)
            #expect(stage.server.limits.rateBeforeLogin == Rate(1_000_000, per: .seconds(1)))
        }
    }
}
