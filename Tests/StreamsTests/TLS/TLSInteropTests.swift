import Glibc
import NIOCore
import Testing

@testable import Streams

/// Against the command of OpenSSL, which can be told to do what our own client never would.
@Suite("TLS with openssl s_client", .timeLimit(.minutes(1))) struct TLSInteropTests {
    private let scratch: Scratch
    private let identities: TLSIdentities

    init() throws {
        scratch = try Scratch()
        identities = TLSIdentities(fallback: try scratch.identity("example.org"))
    }

    @Test("Old versions and weak suites are refused", arguments: [
        ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], ["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"], ["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
        ["-groups", "P-521"],
    ])
    func refused(arguments: [String]) async throws {
        let listener = try await Listener(TLSServer(identities))
        let said = try openssl(["s_client", "-connect", "127.0.0.1:\(listener.port)"] + arguments)
        #expect(said.contains("alert"))
        guard case .handshakeFailed = try listener.latest().errors.first else { Issue.record("\(said)"); return }
    }

    @Test("Extended master secret decides about tls-exporter before TLS 1.3")
    func exporter() async throws {
        let listener = try await Listener(TLSServer(identities))
        let said = try listener.sClient(
            "-tls1_3", "-keymatexport", "EXPORTER-Channel-Binding", "-keymatexportlen", "32")
        let new = try await listener.latest().handshake.futureResult.get()
        let hex = hexadecimal(new.exporter)
        #expect(hex.count == 64 && said.lowercased().contains(hex))
        _ = try listener.sClient("-tls1_2")
        let old = try await listener.latest().handshake.futureResult.get()
        #expect(old.version == "TLSv1.2" && old.exporter != nil)
        try scratch.write("openssl.cnf", """
            openssl_conf = all
            [all]
            ssl_conf = ssl
            [ssl]
            system_default = system
            [system]
            Options = -ExtendedMasterSecret

            """)
        let configured = ["OPENSSL_CONF=" + scratch.path + "/openssl.cnf", "openssl", "s_client", "-tls1_2"]
        try openssl(binary: "/usr/bin/env", configured + ["-connect", "127.0.0.1:\(listener.port)"], input: "bye\n")
        let unsafe = try await listener.latest().handshake.futureResult.get()
        #expect(unsafe.version == "TLSv1.2" && unsafe.exporter == nil && unsafe.endPoint != nil)
    }

    @Test("Who asks for no host, or for one unheard of, is shown the certificate of the stream's (RFC 6120 §5.4.3.1)")
    func streamHost() async throws {
        let identities = TLSIdentities([
            "example.org": try scratch.identity("example.org"), "rooms.example.org": try scratch.identity("*.example.org"),
        ])
        for (host, name) in [("example.org", "CN=example.org"), ("rooms.example.org", "CN=*.example.org")] {
            let listener = try await Listener(TLSServer(identities, defaultName: host))
            for arguments in [["-noservername"], ["-servername", "elsewhere.example"]] {
                let said = try openssl(
                    ["s_client", "-connect", "127.0.0.1:\(listener.port)"] + arguments, input: "bye\n")
                #expect(said.replacing(" ", with: "").contains("subject=\(name)"))
            }
        }
        let listener = try await Listener(TLSServer(identities))
        #expect(try listener.sClient("-noservername").contains("no peer certificate available"))
    }

    @Test("Sessions are resumed, across names and a renewal too", arguments: ["-tls1_2", "-tls1_3"])
    func resumption(version: String) async throws {
        let listener = try await Listener(TLSServer(identities))
        let file = scratch.path + "/session"
        _ = try listener.sClient(version, "-sess_out", file)
        #expect(try await !listener.latest().handshake.futureResult.get().reused)
        _ = try listener.sClient(version, "-sess_in", file, "-sess_out", file)
        #expect(try await listener.latest().handshake.futureResult.get().reused)
        identities.replace(with: [:], fallback: try scratch.identity("example.org"))
        _ = try listener.sClient(version, "-sess_in", file)
        #expect(try await listener.latest().handshake.futureResult.get().reused)
        let asking = try await Listener(TLSServer(identities, requestsClientCertificate: true))
        _ = try asking.sClient(version, "-sess_in", file)
        #expect(try await !asking.latest().handshake.futureResult.get().reused)
    }

    @Test("Renegotiation is refused")
    func renegotiation() async throws {
        let listener = try await Listener(TLSServer(identities))
        let said = try openssl(["s_client", "-tls1_2", "-connect", "127.0.0.1:\(listener.port)"], input: "R\nbye\n")
        #expect(said.contains("no renegotiation"))
    }

    @Test("tls-server-end-point takes the hash of the certificate's signature", arguments: [
        ("rsa:2048", "sha256", "sha256"), ("rsa:2048", "sha384", "sha384"), ("rsa:2048", "sha1", "sha256"),
        ("ed25519", "sha256", nil),
    ])
    func endPoint(key: String, signature: String, hash: String?) async throws {
        let base = scratch.path + "/other"
        try openssl([
            "req", "-x509", "-newkey", key, "-nodes", "-" + signature, "-subj", "/CN=other", "-days", "2",
            "-keyout", base + ".key", "-out", base + ".crt",
        ])
        // SHA-1 signatures are refused in handshakes, so that this asks the certificate itself.
        let value = try Certificate.chain(pem: readSmallFile(base + ".crt"))[0].serverEndPoint
        guard let hash else { #expect(value == nil); return }
        let said = try openssl(["x509", "-in", base + ".crt", "-noout", "-fingerprint", "-" + hash])
        let hex = said.split(separator: "=").last?.filter { $0.isHexDigit }.lowercased()
        #expect(hexadecimal(value) == hex)
    }

    private func hexadecimal(_ bytes: [UInt8]?) -> String {
        (bytes ?? []).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }
}
