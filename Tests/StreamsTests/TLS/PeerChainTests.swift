import COpenSSL
import Glibc
import Testing
import XMPP

@testable import Streams

@Suite("Judging a peer's certificate") struct PeerChainTests {
    private let pki: TestAuthority
    private let trust: TLSTrust
    private let middle: Certificate

    init() throws {
        pki = try TestAuthority()
        try pki.issueAuthority("root")
        middle = try pki.issueAuthority("middle", by: "root")
        trust = try pki.trust("root")
    }

    private func leaf(_ names: String..., extensions: [String] = []) throws -> Certificate {
        try pki.issue("leaf", by: "middle", names: names, extensions: extensions)
    }

    private func judge(_ host: String, _ chain: Certificate..., now: Int = time(nil)) -> PeerVerdict {
        PeerChain(chain).judge(trust: trust, host: host, now: now)
    }

    @Test(
        "Every name that counts",
        arguments: [
            (["DNS:example.org"], "example.org", true), (["DNS:EXAMPLE.org"], "example.org", true),
            (["DNS:*.example.org"], "chat.example.org", true), (["DNS:*.example.org"], "example.org", false),
            (["DNS:*.example.org"], "a.b.example.org", false), (["DNS:c*.example.org"], "chat.example.org", false),
            (["DNS:chat.*.org"], "chat.example.org", false), (["DNS:*"], "localhost", false),
            (["DNS:xn--bcher-kva.example"], "xn--bcher-kva.example", true),
            (["SRV:_xmpp-server.example.org"], "example.org", true),
            (["SRV:_XMPP-Server.Example.org"], "example.org", true),
            (["SRV:_xmpp-client.example.org"], "example.org", false), (["SRV:example.org"], "example.org", false),
            (["SRV:_xmpp-server.*.example.org"], "chat.example.org", true),
            (["SRV:_xmpp-server.*.example.org"], "example.org", false),
            (["SRV:_xmpp-server.*.org"], "example.org", false), (["SRV:_xmpp-server.*"], "example.org", false),
            (["SRV:_xmpp-server.c*.example.org"], "chat.example.org", false),
            (["XMPP:example.org"], "example.org", true), (["XMPP:b\u{fc}cher.example"], "xn--bcher-kva.example", true),
            (["XMPP:juliet@example.org"], "example.org", false), (["XMPP:*.example.org"], "chat.example.org", false),
            (["ODD:7", "DNS:example.org"], "example.org", true), (["ODD:7"], "example.org", false),
            (["IP:192.0.2.1"], "192.0.2.1", true), (["IP:2001:db8::1"], "[2001:db8::1]", true),
            (["IP:192.0.2.1"], "192.0.2.2", false), (["DNS:192.0.2.1"], "192.0.2.1", false),
            (["DNS:other.example"], "", false), (["email:a@example.org"], "example.org", false),
        ])
    func names(names: [String], host: String, isCovered: Bool) throws {
        let certificate = try pki.issue("leaf", by: "middle", names: names, subject: "example.org")
        let verdict = judge(host, certificate, middle)
        #expect(verdict.isValid == isCovered, "\(verdict)")
        if !isCovered {
            #expect(verdict.problems.count == 1)
            if !certificate.allNames.isEmpty {
                #expect(verdict.problems == [.wrongName(host: host, names: certificate.allNames)])
            }
        }
    }

    @Test("The common name is none of them")
    func commonName() throws {
        let certificate = try pki.issue("example.org", by: "middle")
        #expect(
            judge("example.org", certificate, middle)
                == .invalid([.commonNameOnly(host: "example.org", commonName: "example.org")]))
    }

    @Test("Authorities issue for servers only, and servers present that to each other")
    func purposes() throws {
        for purpose in ["serverAuth", "clientAuth", "serverAuth,clientAuth"] {
            let certificate = try leaf("DNS:example.org", extensions: ["extendedKeyUsage=\(purpose)"])
            #expect(judge("example.org", certificate, middle) == .valid(by: .authority))
        }
    }

    @Test("Everything that is wrong is told, with what would mend it")
    func problems() throws {
        let certificate = try leaf("DNS:example.org")
        let year = 365 * 86_400
        let late = judge("other.example", certificate, middle, now: time(nil) + year)
        #expect(
            Set(late.problems) == [
                .expired(since: certificate.notAfter), .issuerOutOfDate("CN=middle"), .issuerOutOfDate("CN=root"),
                .wrongName(host: "other.example", names: ["example.org"]),
            ])
        let early = judge("example.org", certificate, middle, now: time(nil) - year)
        #expect(early.problems.contains(.notYetValid(from: certificate.notBefore)))

        #expect(judge("example.org", certificate) == .invalid([.incompleteChain(issuer: "CN=middle")]))
        #expect(PeerChain([]).judge(trust: trust, host: "example.org") == .invalid([.noCertificate]))

        let own = try pki.issue("own", names: ["DNS:example.org"])
        #expect(judge("example.org", own) == .invalid([.selfSigned]))
        #expect(judge("example.net", own).problems.contains(.wrongName(host: "example.net", names: ["example.org"])))

        let stranger = try pki.issueAuthority("stranger")
        let between = try pki.issueAuthority("between", by: "stranger")
        let strange = try pki.issue("strange", by: "between", names: ["DNS:example.org"])
        #expect(judge("example.org", strange, between) == .invalid([.unknownAuthority("CN=stranger")]))
        #expect(judge("example.org", strange, between, stranger) == .invalid([.unknownAuthority("CN=stranger")]))
        #expect(
            PeerChain([certificate, middle]).judge(trust: nil, host: "example.org")
                == .invalid([.unknownAuthority("CN=root")]))

        // Neither an authority nor a signature that it is one.
        let forged = try pki.issue("forged", by: "leaf", names: ["DNS:example.com"])
        #expect(!judge("example.com", forged, certificate, middle).isValid)
        let weak = try pki.issue("weak", by: "middle", names: ["DNS:example.org"], key: ["rsa:1024"])
        #expect(judge("example.org", weak, middle) == .invalid([.other("EE certificate key too weak")]))
    }

    @Test("Sentences name what matters and nothing that a terminal would obey")
    func sentences() {
        let hostile = "\u{1B}[31mevil\n\u{202E}" + String(repeating: "x", count: 10_000)
        let problems: [PeerProblem] = [
            .noCertificate, .expired(since: 0), .notYetValid(from: 86_400), .selfSigned, .unknownAuthority(hostile),
            .wrongName(host: "example.org", names: [String](repeating: hostile, count: 5000)),
            .commonNameOnly(host: "example.org", commonName: hostile), .incompleteChain(issuer: hostile),
            .issuerOutOfDate(hostile), .notInTLSA, .notPinned("sha256:00"), .other("because"),
        ]
        for problem in problems {
            let text = problem.description
            #expect(text.hasSuffix(".") && text.utf8.count < 2500, "\(text.count)")
            #expect(text.utf8.allSatisfy { (0x20...0x7E).contains($0) })
        }
        #expect(problems[1].description.contains("1970-01-01") && problems[2].description.contains("1970-01-02"))
    }

    @Test("An issuer that may vouch for some names only cannot vouch for names of another kind")
    func constraints() throws {
        let limited = try pki.issueAuthority(
            "limited", by: "root", extensions: ["nameConstraints=critical,permitted;DNS:example.net"])
        let good = try pki.issue("good", by: "limited", names: ["DNS:a.example.net"])
        #expect(judge("a.example.net", good, limited) == .valid(by: .authority))
        let names = ["DNS:a.example.net", "SRV:_xmpp-server.example.org", "XMPP:example.org"]
        let sly = try pki.issue("sly", by: "limited", names: names)
        #expect(!judge("example.org", sly, limited).isValid)
        let plain = try pki.issue("plain", by: "limited", names: ["DNS:example.org"])
        #expect(!judge("example.org", plain, limited).isValid)
    }

    @Test("A pin is believed, and nothing else beside it")
    func pins() throws {
        let own = try pki.issue("own", subject: "nothing")
        let fingerprint = Digest.sha256(own.der)
        let colons = fingerprint.map { hexadecimal([$0]).uppercased() }.joined(separator: ":")
        let texts = [
            "sha256:" + hexadecimal(fingerprint), "SHA256:" + colons, "sha256:" + Base64.encode(fingerprint),
            "sha256:" + Base64.encode(Digest.sha256(own.publicKey)).dropLast(),
        ]
        for text in texts {
            let pin = try #require(CertificatePin(text))
            #expect(PeerChain([own]).judge(trust: nil, host: "example.org", pins: [pin]) == .valid(by: .pin))
            #expect(PeerChain([own]).judge(trust: nil, host: "example.org", pins: [pin], now: 0) == .valid(by: .pin))
            let other = try leaf("DNS:example.org")
            let verdict = PeerChain([other, middle]).judge(trust: trust, host: "example.org", pins: [pin])
            #expect(verdict == .invalid([.notPinned("sha256:" + hexadecimal(Digest.sha256(other.der)))]))
            // A certificate that somebody else has proves nothing when it only follows.
            #expect(!PeerChain([other, own]).judge(trust: nil, host: "example.org", pins: [pin]).isValid)
        }
        for text in [
            "", "sha256:", "sha256:zz", "sha1:00", hexadecimal(fingerprint), "sha256:\(texts[0])",
            "sha256:" + String(repeating: "\u{FF10}", count: 64), "sha256:" + Base64.encode([1, 2, 3]),
        ] {
            #expect(CertificatePin(text) == nil)
        }
        #expect(PeerChain([own]).pin == texts[0] && CertificatePin(texts[1])?.description == texts[0])
    }

    @Test("TLSA records decide when there are any (RFC 7673 §4.2, RFC 7671 §5)")
    func dane() throws {
        let own = try pki.issue("own", subject: "nothing")
        let certificate = try leaf("DNS:example.org")
        let root = try pki.certificate("root")
        func record(
            _ usage: TLSARecord.Usage, _ of: Certificate, _ selector: TLSARecord.Selector = .publicKey,
            _ matching: TLSARecord.Matching = .sha256
        ) -> TLSARecord {
            let selected = selector == .certificate ? of.der : of.publicKey
            switch matching {
            case .full: return TLSARecord(usage, selector, matching, selected)
            case .sha256: return TLSARecord(usage, selector, matching, Digest.sha256(selected))
            case .sha512: return TLSARecord(usage, selector, matching, Digest.sha512(selected))
            }
        }
        func dane(
            _ chain: [Certificate], _ records: TLSARecord..., host: String = "example.org",
            target: String? = nil, trust: TLSTrust? = nil, now: Int = time(nil)
        ) -> PeerVerdict {
            PeerChain(chain).judge(trust: trust, host: host, target: target, tlsa: records, now: now)
        }
        // 3: the server's own, whatever else is in it and whatever day it is.
        for selector in [TLSARecord.Selector.certificate, .publicKey] {
            for matching in [TLSARecord.Matching.full, .sha256, .sha512] {
                #expect(dane([own], record(.daneEE, own, selector, matching), now: 0) == .valid(by: .dane))
            }
        }
        #expect(dane([own], record(.daneEE, middle), record(.daneEE, own)) == .valid(by: .dane))
        // None that matches is worse than an authority is good.
        #expect(dane([certificate, middle], record(.daneEE, own), trust: trust) == .invalid([.notInTLSA]))
        #expect(dane([own, certificate], record(.daneEE, certificate)) == .invalid([.notInTLSA]))
        // 2: an authority, with names and dates.
        for anchor in [middle, root] {
            #expect(dane([certificate, middle, root], record(.daneTA, anchor, .certificate)) == .valid(by: .dane))
        }
        let two = record(.daneTA, middle, .certificate)
        #expect(
            dane([certificate, middle], two, host: "other.example")
                == .invalid([.wrongName(host: "other.example", names: ["example.org"])]))
        #expect(dane([certificate, middle], two, host: "other.example", target: "example.org") == .valid(by: .dane))
        #expect(!dane([certificate, middle], two, now: time(nil) + 365 * 86_400).isValid)
        #expect(dane([certificate], two) == .invalid([.notInTLSA]))
        #expect(dane([certificate], record(.daneTA, middle, .certificate, .full)) == .valid(by: .dane))
        // Presented, but not what signed.
        let stranger = try pki.issueAuthority("stranger")
        #expect(!dane([certificate, stranger], record(.daneTA, stranger)).isValid)
        // One that fails does not spoil one that does not.
        #expect(dane([certificate, middle, stranger], record(.daneTA, stranger), two) == .valid(by: .dane))
        // 1 and 0: what an authority must have vouched for as well.
        #expect(dane([certificate, middle], record(.pkixEE, certificate), trust: trust) == .valid(by: .dane))
        #expect(!dane([certificate, middle], record(.pkixEE, certificate)).isValid)
        #expect(dane([certificate, middle], record(.pkixEE, own), trust: trust) == .invalid([.notInTLSA]))
        #expect(dane([certificate, middle], record(.pkixTA, root), trust: trust) == .valid(by: .dane))
        #expect(dane([certificate, middle], record(.pkixTA, stranger), trust: trust) == .invalid([.notInTLSA]))
        #expect(!dane([certificate, middle], record(.pkixTA, root), host: "other.example", trust: trust).isValid)
        #expect(dane([], two) == .invalid([.noCertificate]))
        #expect(!dane([own], TLSARecord(.daneTA, .certificate, .full, [0x30, 0x82, 0xFF, 0xFF])).isValid)
    }

    @Test("A chain is described in lines")
    func lines() throws {
        let certificate = try leaf("DNS:example.org", "SRV:_xmpp-server.example.org", "XMPP:b\u{fc}cher.example")
        let lines = PeerChain([certificate, middle]).lines
        #expect(lines.count == 2)
        #expect(
            lines[0].hasPrefix("CN=leaf for example.org, _xmpp-server.example.org, b?cher.example, issued by CN=middle")
        )
        #expect(lines[0].hasSuffix("sha256:" + hexadecimal(Digest.sha256(certificate.der))))
        #expect(lines[1].hasPrefix("CN=middle, issued by CN=root, valid from 20"))
    }

    @Test("Each side presents its chain to the other, and a renewed one at once", .timeLimit(.minutes(1)))
    func mutual() async throws {
        _ = try leaf("DNS:example.org", extensions: ["extendedKeyUsage=serverAuth"])
        let identity = try pki.identity("leaf", "middle")
        let server = try TLSServer(TLSIdentities(fallback: identity), requestsClientCertificate: true)
        let listener = try await Listener(server)
        let pem = try [pki.certificate("leaf"), middle].map(\.der)

        let (channel, owner) = try await listener.connect(.client(presenting: identity))
        #expect(try await owner.handshake.futureResult.get().chain == pem)
        #expect(try await listener.latest().handshake.futureResult.get().chain == pem)
        try await channel.close()

        let nobody = try await listener.connect(.client(presenting: nil))
        _ = try await nobody.owner.handshake.futureResult.get()
        #expect(try await listener.latest().handshake.futureResult.get().chain.isEmpty)
        try await nobody.channel.close()
    }
}
