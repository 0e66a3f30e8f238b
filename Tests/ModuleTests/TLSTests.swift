import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("STARTTLS (RFC 6120 §5)") struct TLSTests {
    private let header = "<?xml version='1.0'?><stream:stream to='montague.example' version='1.0'"
        + " xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
    private let request = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"

    private func perform(
        _ body: @escaping @ServerActor @Sendable (Stage, CertificateDirectory) async throws -> Void
    ) async throws {
        let directory = try CertificateDirectory()
        defer { directory.remove() }
        let config = "certificates: \(directory.path)\nhosts: { montague.example: {} }\n"
        try await play(modules: [TLS.self], config: config) { try await body($0, directory) }
    }

    @Test("It is offered as required in plain text, and not again once secured")
    func offer() async throws {
        try await perform { stage, _ in
            let romeo = try await stage.connect(to: "montague.example", secure: false)
            try await romeo.sends(header)
            try await romeo.receives("""
                <features xmlns='http://etherx.jabber.org/streams'>
                  <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></features>
                """)
            try await romeo.sends(request)
            try await romeo.receives("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            romeo.restart()
            try await romeo.sends(header)
            let features = try await romeo.receives("<features xmlns='http://etherx.jabber.org/streams'/>")
            #expect(features.children.isEmpty)
        }
    }

    @Test("Asking again over TLS fails and ends the stream (RFC 6120 §5.4.2.2)")
    func twice() async throws {
        try await perform { stage, _ in
            let romeo = try await stage.connect(to: "montague.example", secure: true)
            try await romeo.sends(header)
            try await romeo.receives("<features xmlns='http://etherx.jabber.org/streams'/>")
            try await romeo.sends(request)
            try await romeo.receives("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            await stage.advance(by: .seconds(6))
            #expect(romeo.isClosed)
        }
    }

    @Test("Without a certificate it is not offered, and fails")
    func noCertificate() async throws {
        try await play(modules: [TLS.self], config: "certificates: /nonexistent\n") { stage in
            let romeo = try await stage.connect(to: "montague.example", secure: false)
            try await romeo.sends(header)
            let features = try await romeo.receives("<features xmlns='http://etherx.jabber.org/streams'/>")
            #expect(features.children.isEmpty)
            try await romeo.sends(request)
            try await romeo.receives("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        }
    }

    @Test("Plain text that is glued to the request is dropped (RFC 6120 §5.4.3.3)")
    func injection() async throws {
        try await perform { stage, _ in
            let romeo = try await stage.connect(to: "montague.example", secure: false)
            try await romeo.sends(header)
            try await romeo.receives("<features xmlns='http://etherx.jabber.org/streams'/>")
            try await romeo.sends(request + header + "<message to='juliet@montague.example'/>")
            try await romeo.receives("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            try await romeo.staysSilent()
            #expect(!romeo.isClosed)
        }
    }

    @Test("One certificate for all hosts is for clients that name none, too")
    func sharedCertificate() async throws {
        let directory = try CertificateDirectory(hosts: ["montague.example", "verona.example"])
        defer { directory.remove() }
        let config = "certificates: \(directory.path)\nhosts: { montague.example: {}, verona.example: {} }\n"
        try await play(modules: [TLS.self], config: config) { stage in
            let identities = stage.server.identities
            #expect(identities.fallback != nil && identities.fallback === identities.context(for: "verona.example"))
        }
    }

    @Test("A renewed certificate is shown to new clients; reload finds it")
    func renewal() async throws {
        try await perform { stage, directory in
            let before = stage.server.identities.context(for: "montague.example")
            try directory.renew()
            stage.server.loadCertificates()
            let after = stage.server.identities.context(for: "montague.example")
            #expect(before != nil && after != nil && before !== after)
        }
    }
}
