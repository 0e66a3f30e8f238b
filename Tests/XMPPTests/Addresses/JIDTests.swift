import Testing

@testable import XMPP

@Suite("JID (RFC 7622)") struct JIDTests {
    /// An address and the parts it is to have.
    struct Valid: Sendable, CustomTestStringConvertible {
        let text: String
        let localpart: String?
        let domainpart: String
        let resourcepart: String?
        var testDescription: String { text }

        init(_ text: String, _ localpart: String?, _ domainpart: String, _ resourcepart: String?) {
            self.text = text
            self.localpart = localpart
            self.domainpart = domainpart
            self.resourcepart = resourcepart
        }
    }

    static let table1: [Valid] = [
        Valid("juliet@example.com", "juliet", "example.com", nil),
        Valid("juliet@example.com/foo", "juliet", "example.com", "foo"),
        Valid("juliet@example.com/foo bar", "juliet", "example.com", "foo bar"),
        Valid("juliet@example.com/foo@bar", "juliet", "example.com", "foo@bar"),
        Valid("foo\\20bar@example.com", "foo\\20bar", "example.com", nil),
        Valid("fussball@example.com", "fussball", "example.com", nil),
        Valid("fu\u{DF}ball@example.com", "fu\u{DF}ball", "example.com", nil),
        Valid("\u{3C0}@example.com", "\u{3C0}", "example.com", nil),
        Valid("\u{3A3}@example.com/foo", "\u{3C3}", "example.com", "foo"),
        Valid("\u{3C3}@example.com/foo", "\u{3C3}", "example.com", "foo"),
        Valid("\u{3C2}@example.com/foo", "\u{3C2}", "example.com", "foo"),
        Valid("king@example.com/\u{265A}", "king", "example.com", "\u{265A}"),
        Valid("example.com", nil, "example.com", nil),
        Valid("example.com/foobar", nil, "example.com", "foobar"),
        Valid("a.example.com/b@example.net", nil, "a.example.com", "b@example.net"),
        // Example 18 of table 2 calls this one malformed; erratum 4560 takes that back.
        Valid("juliet@example.com/ foo", "juliet", "example.com", " foo"),
    ]

    @Test("The legal addresses of RFC 7622 §3.5", arguments: table1)
    func legal(_ valid: Valid) throws {
        let jid = try JID.parse(valid.text)
        #expect(jid.localpart == valid.localpart)
        #expect(jid.domainpart == valid.domainpart)
        #expect(jid.resourcepart == valid.resourcepart)
        let parts = try JID(
            localpart: valid.localpart, domainpart: valid.domainpart, resourcepart: valid.resourcepart)
        #expect(parts == jid)
        #expect(Array(valid.text.utf8).withUnsafeBufferPointer { JID(utf8: $0) } == jid)
    }

    @Test(
        "The strings of RFC 7622 §3.5 that are no addresses",
        arguments: [
            "\"juliet\"@example.com", "foo bar@example.com", "@example.com/", "henry\u{2163}@example.com",
            "\u{265A}@example.com", "juliet@", "/foobar",
        ])
    func illegal(_ text: String) {
        #expect(JID(text) == nil)
    }

    @Test(
        "Errors name the part and what is wrong with it",
        arguments: [
            ("", JIDError.empty(.domainpart)), ("/", .empty(.domainpart)), ("@", .empty(.localpart)),
            ("@a", .empty(.localpart)), ("a@", .empty(.domainpart)), ("a@/b", .empty(.domainpart)),
            ("a/", .empty(.resourcepart)), ("a@b/", .empty(.resourcepart)), ("a b@c", .disallowed(.localpart)),
            ("a@b@c", .disallowed(.domainpart)), ("a@b c", .disallowed(.domainpart)),
            ("a@b/\t", .disallowed(.resourcepart)), ("a@b..c", .disallowed(.domainpart)),
            ("a@.", .disallowed(.domainpart)),
        ])
    func errors(_ text: String, _ error: JIDError) {
        #expect(throws: error) { try JID.parse(text) }
    }

    @Test("The first slash is found before the first at-sign")
    func order() throws {
        let jid = try JID.parse("example.com/a/b@c/d")
        #expect(jid.isFull && jid.localpart == nil)
        #expect(jid.resourcepart == "a/b@c/d")
    }

    @Test(
        "Localparts exclude what RFC 7622 §3.3.1 lists, fullwidth forms too",
        arguments: Array("\"&'/:<>@".unicodeScalars))
    func excluded(_ scalar: Unicode.Scalar) throws {
        #expect(throws: JIDError.disallowed(.localpart)) {
            try JID(localpart: "a\(scalar)b", domainpart: "example.com")
        }
        let fullwidth = try #require(Unicode.Scalar(scalar.value + 0xFEE0))
        #expect(throws: JIDError.disallowed(.localpart)) {
            try JID(localpart: "a\(fullwidth)b", domainpart: "example.com")
        }
        #expect(try JID(localpart: nil, domainpart: "a", resourcepart: "a\(scalar)b").resourcepart == "a\(scalar)b")
    }

    @Test("Every ASCII character is judged alike by the fast path and by PRECIS", arguments: 0...127)
    func ascii(_ value: Int) throws {
        let scalar = try #require(Unicode.Scalar(value))
        let text = String(Character(scalar))
        let isExcluded = "\"&'/:<>@".unicodeScalars.contains(scalar)
        let local = try? JID(localpart: text, domainpart: "a").localpart
        #expect(local == (isExcluded ? nil : try? PRECIS.usernameCaseMapped(text)))
        // With a letter outside ASCII the same character takes the long way.
        let long = try? JID(localpart: text + "\u{E4}", domainpart: "a").localpart
        #expect(long == local.map { $0 + "\u{E4}" })
        let resource = try? JID(localpart: nil, domainpart: "a", resourcepart: text).resourcepart
        #expect(resource == (try? PRECIS.opaqueString(text)))
        let longResource = try? JID(localpart: nil, domainpart: "a", resourcepart: text + "\u{E4}").resourcepart
        #expect(longResource == resource.map { $0 + "\u{E4}" })
    }

    @Test(
        "Case, width and composition do not make another address",
        arguments: [
            ("Juliet@Example.COM", "juliet@example.com"),
            ("\u{FF2A}uliet@example.com", "juliet@example.com"),
            ("JOSE\u{301}@example.com", "jos\u{E9}@example.com"),
            ("a@example.com/e\u{301}", "a@example.com/\u{E9}"),
            ("a@example.com/x\u{3000}y", "a@example.com/x y"),
            ("\u{915}\u{93C}@example.com", "\u{958}@example.com"),
        ])
    func equivalent(_ one: String, _ other: String) throws {
        let jid = try JID.parse(one)
        #expect(try JID.parse(other) == jid)
        #expect(try JID.parse(other).hashValue == jid.hashValue)
        #expect(Array(jid.description.utf8) == Array(try JID.parse(other).description.utf8))
    }

    @Test("Resourceparts keep their case")
    func resourceCase() {
        #expect(JID("a@b/Foo") != JID("a@b/foo"))
    }

    @Test("An address has a bare form, a domain and a kind")
    func forms() throws {
        let full = try JID.parse("romeo@montague.example/orchard")
        #expect(full.isFull && !full.isBare && !full.isDomain)
        #expect(full.bare.description == "romeo@montague.example")
        #expect(full.bare.isBare && full.bare.bare == full.bare)
        #expect(full.domainOnly.isDomain && full.domainOnly.description == "montague.example")
        #expect(try full.bare.with(resource: "orchard") == full)
        #expect(try full.with(resource: "a\u{3000}b").resourcepart == "a b")
        #expect(throws: JIDError.empty(.resourcepart)) { try full.with(resource: "") }
        #expect(JID(domain: "Montague.example.") == full.domainOnly)
        #expect(JID(domain: "a@b") == nil)
        #expect(JID(domain: "a/b") == nil)
    }

    @Test("Parts do not run into each other when hashed or compared")
    func distinct() {
        let jids: Set<JID> = Set(["a@b", "a/b", "ab", "b@a", "a@b/c", "a@bc", "b/c"].compactMap { JID($0) })
        #expect(jids.count == 7)
    }

    @Test("A part has at most 1023 bytes, after mapping")
    func lengths() throws {
        let most = String(repeating: "a", count: 1023)
        #expect(try JID.parse("\(most)@b/\(most)").utf8Count == 1023 + 1 + 1 + 1 + 1023)
        #expect(throws: JIDError.tooLong(.localpart)) { try JID.parse("\(most)a@b") }
        #expect(throws: JIDError.tooLong(.resourcepart)) { try JID.parse("b/\(most)a") }
        // Two bytes each: 1022 and 1024.
        let pi = String(repeating: "\u{3C0}", count: 511)
        #expect(try JID.parse("\(pi)a@b/\(pi)a").localpart?.utf8.count == 1023)
        #expect(throws: JIDError.tooLong(.localpart)) { try JID.parse("\(pi)\u{3C0}@b") }
        #expect(throws: JIDError.tooLong(.resourcepart)) { try JID.parse("b/\(pi)\u{3C0}") }
        // Three bytes each before mapping, one after.
        let fullwidth = String(repeating: "\u{FF41}", count: 1023)
        #expect(try JID.parse("\(fullwidth)@b").localpart == most)
        #expect(throws: JIDError.tooLong(.localpart)) { try JID.parse("\(fullwidth)\u{FF41}@b") }
    }

    @Test("An address is appended to a buffer as it is described")
    func bytes() throws {
        let jid = try JID.parse("\u{3C0}@b\u{FC}cher.example/\u{265A}")
        var bytes: [UInt8] = [1]
        jid.append(to: &bytes)
        #expect(bytes.dropFirst().elementsEqual(jid.description.utf8))
        #expect(jid.utf8Count == bytes.count - 1)
    }

    @Test("What an address describes itself as is read back as the same address")
    func roundTrip() throws {
        let atoms = [
            "a", "Z", "7", "-", "\u{DF}", "\u{E9}", "e\u{301}", "\u{3A3}", "\u{5D0}", "\u{627}", "\u{661}",
            "\u{915}\u{94D}",
            "\u{200D}", "\u{FF21}", "\u{4E2D}", "\u{AC00}", "\u{1100}\u{1161}", "\u{1F40E}", "\u{3000}", ".", "/", "@",
            "l\u{B7}l",
        ]
        var generator = SplitMix(state: 7622)
        var count = 0
        for _ in 0..<4000 {
            let part = { (length: Int) in (0..<length).map { _ in atoms[generator.below(atoms.count)] }.joined() }
            let text = "\(part(1 + generator.below(3)))@\(part(1 + generator.below(3)))/\(part(1 + generator.below(3)))"
            guard let jid = JID(text) else { continue }
            count += 1
            #expect(JID(jid.description) == jid, "\(text)")
            #expect(
                try JID(localpart: jid.localpart, domainpart: jid.domainpart, resourcepart: jid.resourcepart) == jid)
            #expect(JID(domain: jid.asciiDomain) == jid.domainOnly)
        }
        #expect(count > 200)
    }

    /// A small repeatable source of random numbers.
    private struct SplitMix {
        var state: UInt64

        mutating func below(_ limit: Int) -> Int {
            state &+= 0x9E37_79B9_7F4A_7C15
            var value = state
            value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
            value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
            return Int((value ^ value >> 31) % UInt64(limit))
        }
    }
}
