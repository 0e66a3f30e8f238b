import Testing

@testable import XMPP

@Suite("Domainpart (RFC 7622 §3.2)") struct DomainpartTests {
    @Test(
        "Names take one form, and one in ASCII",
        arguments: [
            ("example.com", "example.com", "example.com"), ("EXAMPLE.Com", "example.com", "example.com"),
            ("example.com.", "example.com", "example.com"), ("localhost", "localhost", "localhost"),
            ("3com.example", "3com.example", "3com.example"),
            ("b\u{FC}cher.example", "b\u{FC}cher.example", "xn--bcher-kva.example"),
            ("bu\u{308}cher.example", "b\u{FC}cher.example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "b\u{FC}cher.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example.", "b\u{FC}cher.example", "xn--bcher-kva.example"),
            ("B\u{DC}CHER.example", "b\u{FC}cher.example", "xn--bcher-kva.example"),
            ("fa\u{DF}.example", "fa\u{DF}.example", "xn--fa-hia.example"),
            ("\u{FF45}xample.com", "example.com", "example.com"),
            ("\u{65E5}\u{672C}\u{8A9E}\u{3002}jp", "\u{65E5}\u{672C}\u{8A9E}.jp", "xn--wgv71a119e.jp"),
            ("\u{65E5}\u{672C}\u{8A9E}.jp\u{3002}", "\u{65E5}\u{672C}\u{8A9E}.jp", "xn--wgv71a119e.jp"),
            ("example\u{3002}com", "example.com", "example.com"),
            ("\u{5E9}\u{5DC}\u{5D5}\u{5DD}.example", "\u{5E9}\u{5DC}\u{5D5}\u{5DD}.example", "xn--9dbne9b.example"),
            ("l\u{B7}l.example", "l\u{B7}l.example", "xn--ll-0ea.example"),
            ("\u{13A0}\u{13F5}.example", "\u{13A0}\u{13F5}.example", "xn--58d4o.example"),
            (
                "\u{915}\u{94D}\u{200D}\u{937}.example", "\u{915}\u{94D}\u{200D}\u{937}.example",
                "xn--11b2ezcw70k.example"
            ),
        ])
    func names(_ text: String, _ domainpart: String, _ ascii: String) throws {
        let jid = try JID.parse("a@\(text)/r")
        #expect(Array(jid.domainpart.utf8) == Array(domainpart.utf8))
        #expect(jid.asciiDomain == ascii)
        #expect(JID(domain: ascii) == jid.domainOnly)
    }

    @Test(
        "IP addresses are canonical; IPv6 is bracketed",
        arguments: [
            ("192.0.2.1", "192.0.2.1"),
            ("\u{FF11}92.0.2.1", "192.0.2.1"),
            ("[::1]", "[::1]"),
            ("[2001:DB8:0:0:0:0:2:1]", "[2001:db8::2:1]"),
            ("[2001:db8::0001]", "[2001:db8::1]"),
            ("[2001:db8:0:1:1:1:1:1]", "[2001:db8:0:1:1:1:1:1]"),
            ("[2001:db8:0:0:1:0:0:1]", "[2001:db8::1:0:0:1]"),
            ("[::ffff:192.0.2.1]", "[::ffff:192.0.2.1]"),
        ])
    func addresses(_ text: String, _ domainpart: String) throws {
        let jid = try JID.parse(text)
        #expect(jid.domainpart == domainpart)
        #expect(jid.asciiDomain == domainpart)
        #expect(JID(jid.description) == jid)
    }

    @Test(
        "Names that DNS, IDNA or RFC 7622 do not allow",
        arguments: [
            ".", "..", "a..b", ".a", "a.b..", "a.\u{3002}", "-a.example", "a-.example", "a.-b", "a_b.example", "a b",
            "a\u{0}b", "a:5222", "a,b", "*.example", "a%b", "a\\b", "ab--cd.example", "xn--.example", "xn--a.example",
            "xn--abc-.example", "xn--zzzzzzzz.example", "xn--g6h.example", "xn--a-ecp.example",
            "xn--b\u{FC}cher-kva.example", "\u{2665}.example", "\u{FB01}.example", "\u{1F40E}.example",
            "a\u{AD}b.example", "a\u{200B}b.example", "a\u{202E}b.example", "a\u{200D}b.example", "\u{301}a.example",
            "a\u{B7}b.example", "\u{5D0}a.example", "\u{663}\u{5D0}.example", "\u{378}.example", "\u{E000}.example",
            "\u{FFFD}.example", "\u{E4}..example", "\u{E4}_.example", "-\u{E4}.example", "\u{E4}.ab--cd",
            "xn--bcher-kva.aa--a", "\u{E4}.1", "xn--bcher-kva.2", "1.2.3", "01.2.3.4",
            "256.0.0.1", "1.2.3.4.5", "2130706433", "example.1", "[]", "[", "]", "[::1", "::1", "[::1]]", "[192.0.2.1]",
            "[fe80::1%25eth0]", "[::\u{0}1]", "[\u{FF11}::]", "[v1.a]",
        ])
    func malformed(_ text: String) {
        #expect(throws: JIDError.disallowed(.domainpart)) { try JID(localpart: nil, domainpart: text) }
        #expect(JID(domain: text) == nil)
    }

    @Test("A label has at most 63 bytes, a name 253, both in ASCII")
    func lengths() throws {
        let label = String(repeating: "a", count: 63)
        #expect(JID(domain: label) != nil)
        #expect(throws: JIDError.tooLong(.domainpart)) { try JID.parse("\(label)a") }
        #expect(throws: JIDError.tooLong(.domainpart)) { try JID.parse("\(label)a.example") }
        let most = "\(label).\(label).\(label).\(label.dropLast(2))"
        #expect(most.utf8.count == 253)
        #expect(JID(domain: most)?.domainpart == most)
        #expect(JID(domain: most + ".")?.domainpart == most)
        #expect(throws: JIDError.tooLong(.domainpart)) { try JID.parse("\(most)a") }
        // "xn--" and the digits of the delta come on top.
        let umlauts = String(repeating: "\u{FC}", count: 56)
        #expect(JID(domain: umlauts)?.asciiDomain.utf8.count ?? 0 <= 63)
        #expect(JID(domain: String(repeating: "\u{FC}", count: 63)) == nil)
        #expect(JID(domain: "\(umlauts).\(umlauts).\(umlauts).\(umlauts).\(umlauts)") == nil)
    }

    @Test("A domain that never was one stays as it is in ASCII")
    func unchecked() {
        let jid = JID(unchecked: nil, domainpart: "\u{2665}", resourcepart: nil)
        #expect(jid.asciiDomain == "\u{2665}")
    }
}
