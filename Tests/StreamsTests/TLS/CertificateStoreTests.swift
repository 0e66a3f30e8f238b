import Glibc
import Testing

@testable import Streams

@Suite("Certificate store") struct CertificateStoreTests {
    private let scratch: Scratch
    private var store: CertificateStore { CertificateStore(directory: scratch.path) }

    init() throws { scratch = try Scratch() }

    @Test("Certificates are found in every layout, by the names inside")
    func layouts() throws {
        try SelfSignedCertificate.generate(hosts: ["a.example", "*.a.example"], directory: scratch.path)
        let both = try SelfSignedCertificate.generate(hosts: ["b.example"], directory: scratch.path)
        try scratch.write("whatever.pem", scratch.text("b.example.crt") + scratch.text("b.example.key"))
        unlink(both.certificate)
        unlink(both.key)
        mkdir(scratch.path + "/live", 0o700)
        let live = try SelfSignedCertificate.generate(hosts: ["c.example"], directory: scratch.path)
        rename(live.certificate, scratch.path + "/live/fullchain.pem")
        rename(live.key, scratch.path + "/live/privkey.pem")

        let result = store.load(
            hosts: ["a.example", "Chat.a.example", "b.example", "c.example", "x.y.a.example"])
        #expect(Set(result.identities.keys) == ["a.example", "chat.a.example", "b.example", "c.example"])
        #expect(result.identities["a.example"] === result.identities["chat.a.example"])
        #expect(result.problems == ["No usable certificate in \(scratch.path) is for x.y.a.example."])
        #expect(result.reports.map(\.names) == [["a.example", "*.a.example"], ["c.example"], ["b.example"]])
        #expect(result.reports[0].servedHosts == ["a.example", "chat.a.example"])
        #expect(result.reports[0].issuer == "CN=a.example")
        #expect(result.reports.allSatisfy { $0.errors.isEmpty && $0.warnings.count == 1 }, "self-signed, each")
    }

    @Test("Of several, the one that is valid longest is served")
    func longest() throws {
        for (name, days) in [("a", 10), ("b", 99), ("c", 50)] {
            let files = try SelfSignedCertificate.generate(
                hosts: ["example.org"], directory: scratch.path, days: days, replacing: true)
            rename(files.certificate, "\(scratch.path)/\(name).crt")
            rename(files.key, "\(scratch.path)/\(name).key")
        }
        let result = store.load(hosts: ["example.org"])
        #expect(result.reports.map(\.servedHosts) == [[], ["example.org"], []])
        let expired = store.load(hosts: ["example.org"], now: time(nil) + 200 * 86_400)
        #expect(expired.reports[1].servedHosts == ["example.org"], "better expired than none")
        #expect(expired.reports[1].warnings.contains { $0.contains("has expired on 20") })
        let early = store.load(hosts: ["example.org"], now: time(nil) - 200 * 86_400)
        #expect(early.reports[1].warnings.contains { $0.contains("is not valid before 20") })
    }

    @Test("A bad file is told of in a sentence and harms no other")
    func bad() throws {
        let good = try SelfSignedCertificate.generate(hosts: ["good.example"], directory: scratch.path)
        let (certificate, key) = (try scratch.text("good.example.crt"), try scratch.text("good.example.key"))
        try SelfSignedCertificate.generate(hosts: ["b.example"], directory: scratch.path)
        rename(scratch.path + "/b.example.crt", scratch.path + "/a-mismatch.crt")
        try scratch.write("a-mismatch.key", key)
        unlink(scratch.path + "/b.example.key")
        try scratch.write("b-nokey.crt", certificate)
        try scratch.write("c-damaged.crt", certificate.replacing("M", with: "!"))
        try scratch.write("c-damaged.key", key)
        try scratch.write("d-empty.pem", "")
        try scratch.write("e-keyless.pem", certificate)
        mkdir(scratch.path + "/f.crt", 0o700)
        let locked = scratch.path + "/h-locked.key"
        try openssl(["ec", "-in", good.key, "-aes128", "-passout", "pass:secret", "-out", locked])
        try scratch.write("h-locked.crt", certificate)

        let result = store.load(hosts: ["good.example"])
        #expect(result.identities.count == 1 && result.problems.isEmpty)
        let expected: [(String, String)] = [
            ("a-mismatch.crt", "does not belong to the certificate"), ("b-nokey.crt", "b-nokey.key cannot be read"),
            ("c-damaged.crt", "contains a damaged certificate"), ("d-empty.pem", "contains no certificate in PEM"),
            ("e-keyless.pem", "contains no private key in PEM"), ("f.crt", "is not a regular file"),
            ("h-locked.crt", "needs a passphrase"),
        ]
        for (file, sentence) in expected {
            let report = try #require(result.reports.first { $0.path == scratch.path + "/" + file })
            #expect(report.errors.count == 1 && report.errors[0].contains(sentence), "\(report.errors)")
        }
        chmod(good.key, 0o644)
        let open = try #require(store.load(hosts: []).reports.first { $0.path == good.certificate })
        #expect(open.warnings.contains { $0.contains("can be used by every user (mode 0644)") })
        #expect(open.warnings.contains { $0.contains("is for none of the configured hosts") })
        #expect(CertificateStore(directory: "/nonexistent").load(hosts: []).problems.count == 1)
    }

    @Test("An incomplete chain is noticed")
    func chain() throws {
        let path = scratch.path
        mkdir(path + "/certs", 0o700)
        func make(_ name: String, signedBy issuer: String?, extensions: String) throws {
            try scratch.write(name + ".ext", extensions)
            try openssl([
                "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=" + name,
                "-keyout", "\(path)/\(name).key", "-out", "\(path)/\(name).csr",
            ])
            let signer = issuer.map { ["-CA", "\(path)/\($0).crt", "-CAkey", "\(path)/\($0).key", "-CAcreateserial"] }
            try openssl([
                "x509", "-req", "-in", "\(path)/\(name).csr", "-days", "2", "-extfile", "\(path)/\(name).ext",
                "-out", "\(path)/\(name).crt",
            ] + (signer ?? ["-signkey", "\(path)/\(name).key"]))
        }
        let authority = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n"
        try make("root", signedBy: nil, extensions: authority)
        try make("middle", signedBy: "root", extensions: authority)
        try make("leaf", signedBy: "middle", extensions: "subjectAltName=DNS:example.org\n")
        let trust = try TLSTrust(file: path + "/root.crt")
        let store = CertificateStore(directory: path + "/certs", trust: trust)
        try scratch.write("certs/x.key", scratch.text("leaf.key"))
        try scratch.write("certs/x.crt", scratch.text("leaf.crt"))
        #expect(store.load(hosts: ["example.org"]).reports[0].warnings.first?.contains("is incomplete") == true)
        try scratch.write("certs/x.crt", scratch.text("leaf.crt") + scratch.text("middle.crt"))
        let result = store.load(hosts: ["example.org"])
        #expect(result.reports[0].warnings.isEmpty && result.identities.count == 1)
    }

    @Test("Names are matched by complete labels only", arguments: [
        ("*.example.org", "a.example.org", true), ("*.example.org", "example.org", false),
        ("*.example.org", "a.b.example.org", false), ("example.org", "EXAMPLE.ORG", true),
        ("example.org", "xexample.org", false), ("example.org", "", false),
        ("example.org", "example.org\0.evil", false),
    ])
    func matching(name: String, host: String, isCovered: Bool) throws {
        let files = try SelfSignedCertificate.generate(hosts: [name], directory: scratch.path)
        #expect(try Certificate.chain(pem: readSmallFile(files.certificate))[0].covers(host) == isCovered)
    }

    @Test("A self-signed certificate keeps its key to itself and what exists in place")
    func selfSigned() throws {
        let files = try SelfSignedCertificate.generate(
            hosts: ["example.org"], directory: scratch.path, addresses: ["127.0.0.1", "::1"])
        var status = stat()
        #expect(stat(files.key, &status) == 0 && status.st_mode & 0o777 == 0o600)
        let said = try openssl(["x509", "-in", files.certificate, "-noout", "-text"])
        #expect(said.contains("DNS:example.org, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1"))
        #expect(throws: TLSError.configuration("\(files.key) exists already.")) {
            try SelfSignedCertificate.generate(hosts: ["example.org"], directory: scratch.path)
        }
    }

    @Test("Host names that could mean something else are refused", arguments: [
        "", "a,DNS:evil", "../evil", "a..b", "-a", "a*.b", "*", "a.*.b", "a b", "ä.example", "a\0b",
    ])
    func badNames(host: String) throws {
        #expect(throws: TLSError.self) {
            try SelfSignedCertificate.generate(hosts: [host], directory: scratch.path)
        }
    }
}
