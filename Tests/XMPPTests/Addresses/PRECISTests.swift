import Testing

@testable import XMPP

@Suite("PRECIS profiles (RFC 8265, RFC 8266)") struct PRECISTests {
    @Test(
        "The userparts of RFC 8265 §3.6",
        arguments: [
            ("juliet@example.com", "juliet@example.com"), ("fussball", "fussball"), ("fu\u{DF}ball", "fu\u{DF}ball"),
            ("\u{3C0}", "\u{3C0}"), ("\u{3A3}", "\u{3C3}"), ("\u{3C3}", "\u{3C3}"), ("\u{3C2}", "\u{3C2}"),
        ])
    func userparts(_ text: String, _ mapped: String) throws {
        #expect(try PRECIS.usernameCaseMapped(text) == mapped)
        #expect(try PRECIS.usernameCasePreserved(text) == text)
    }

    @Test(
        "The strings of RFC 8265 §3.6 that are no userparts",
        arguments: [
            ("foo bar", PRECISError.disallowed(" ")), ("", .empty), ("henry\u{2163}", .disallowed("\u{2163}")),
            ("\u{221E}", .disallowed("\u{221E}")),
        ])
    func notUserparts(_ text: String, _ error: PRECISError) {
        #expect(throws: error) { try PRECIS.usernameCasePreserved(text) }
        #expect(throws: PRECISError.self) { try PRECIS.usernameCaseMapped(text) }
    }

    @Test(
        "The passwords of RFC 8265 §4.3",
        arguments: [
            ("correct horse battery staple", "correct horse battery staple"),
            ("Correct Horse Battery Staple", "Correct Horse Battery Staple"),
            ("\u{3C0}\u{DF}\u{E5}", "\u{3C0}\u{DF}\u{E5}"), ("Jack of \u{2666}s", "Jack of \u{2666}s"),
            ("foo\u{1680}bar", "foo bar"),
        ])
    func passwords(_ text: String, _ enforced: String) throws {
        #expect(try PRECIS.opaqueString(text) == enforced)
    }

    @Test(
        "The strings of RFC 8265 §4.3 that are no passwords",
        arguments: [
            ("", PRECISError.empty), ("my cat is a \tby", .disallowed("\t")),
        ])
    func notPasswords(_ text: String, _ error: PRECISError) {
        #expect(throws: error) { try PRECIS.opaqueString(text) }
    }

    @Test(
        "The nicknames of RFC 8266 §3",
        arguments: [
            ("Foo", "foo"), ("foo", "foo"), ("Foo Bar", "foo bar"), ("foo bar", "foo bar"), ("\u{3A3}", "\u{3C3}"),
            ("\u{3C3}", "\u{3C3}"), ("\u{3C2}", "\u{3C2}"), ("\u{3D4}", "\u{3CB}"), ("\u{221E}", "\u{221E}"),
            ("Richard \u{2163}", "richard iv"),
        ])
    func nicknames(_ text: String, _ comparison: String) throws {
        #expect(try PRECIS.nicknameForComparison(text) == comparison)
    }

    @Test(
        "Nicknames are trimmed, single-spaced and in Form KC; their case stays",
        arguments: [
            ("  St \u{3000} Peter\u{A0}", "St Peter"), ("Richard \u{2163}", "Richard IV"), ("\u{FF21}bc", "Abc"),
            ("\u{314B}\u{314B}", "\u{110F}\u{110F}"), ("\u{A8}", "\u{308}"),
        ])
    func nickname(_ text: String, _ enforced: String) throws {
        #expect(try PRECIS.nickname(text) == enforced)
    }

    @Test(
        "What is no nickname",
        arguments: [
            ("", PRECISError.empty), ("   ", .empty), ("\u{3000}", .empty), ("a\u{7}b", .disallowed("\u{7}")),
            ("\u{202E}abc", .disallowed("\u{202E}")), ("a\u{378}", .disallowed("\u{378}")),
        ])
    func notNicknames(_ text: String, _ error: PRECISError) {
        #expect(throws: error) { try PRECIS.nickname(text) }
        #expect(throws: error) { try PRECIS.nicknameForComparison(text) }
    }

    @Test(
        "User names are mapped before they are judged",
        arguments: [
            ("JULIET", "juliet"), ("\u{FF2A}\u{FF55}\u{FF4C}", "jul"), ("\u{FF76}\u{FF9E}", "\u{30AC}"),
            ("E\u{301}", "\u{E9}"), ("\u{130}", "i\u{307}"), ("\u{212B}", "\u{E5}"), ("L\u{B7}L", "l\u{B7}l"),
            ("\u{1100}\u{1161}\u{11A8}", "\u{AC01}"), ("\u{10400}", "\u{10428}"), ("\u{39F}\u{3A3}", "\u{3BF}\u{3C3}"),
            ("\u{1E9E}", "\u{DF}"),
        ])
    func mapped(_ text: String, _ expected: String) throws {
        let result = try PRECIS.usernameCaseMapped(text)
        // By bytes: to Swift every form of a string is the same string.
        #expect(Array(result.utf8) == Array(expected.utf8))
        #expect(Array(try PRECIS.usernameCaseMapped(result).utf8) == Array(result.utf8))
    }

    @Test("The case-preserving profile maps width and form, not case")
    func preserved() throws {
        #expect(try PRECIS.usernameCasePreserved("\u{FF2A}uliE\u{301}") == "Juli\u{C9}")
    }

    @Test(
        "The Bidi Rule of RFC 5893 §2",
        arguments: [
            ("\u{5D0}\u{5D1}", true), ("\u{5D0}1", true), ("\u{5D0}\u{5B7}", true), ("\u{627}\u{661}", true),
            ("\u{627}-\u{628}", true), ("1\u{5D0}", false), ("a\u{5D0}", false), ("\u{5D0}a", false),
            ("\u{5D0}-", false), ("\u{627}1\u{661}", false), ("\u{661}", false), ("\u{5B7}\u{5D0}", false),
            ("-\u{5D0}", false), ("1a-", true),
        ])
    func bidi(_ text: String, _ isValid: Bool) {
        #expect(((try? PRECIS.usernameCaseMapped(text)) != nil) == isValid)
        // Opaque strings may mix directions. RFC 8265 §4.2.2.
        #expect((try? PRECIS.opaqueString(text)) == text)
    }
}
