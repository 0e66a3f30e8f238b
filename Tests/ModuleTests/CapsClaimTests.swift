import ServerKit
import Testing

@testable import Modules

@Suite("Proof of capabilities (XEP-0115 §5.4)") struct CapsClaimTests {
    private static let features = """
        <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>\
        <feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/>
        """
    private static let exodus = "<identity category='client' type='pc' name='Exodus 0.9.1'/>" + features
    private static let software = """
        <x xmlns='jabber:x:data' type='result'>
        <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>
        <field var='os'><value>Mac</value></field></x>
        """

    private static func query(_ content: String) throws -> Element {
        try Element.parse("<query xmlns='http://jabber.org/protocol/disco#info'>\(content)</query>")
    }

    private static func claim(_ ver: String, hash: String = "sha-1") throws -> CapsClaim {
        let presence = "<presence xmlns='jabber:client'><c xmlns='http://jabber.org/protocol/caps' hash='\(hash)'"
            + " node='http://code.google.com/p/exodus' ver='\(ver)'/></presence>"
        return try #require(CapsClaim(try Presence(try Element.parse(presence))))
    }

    /// A claim with the right hash for this content.
    private static func honest(_ content: String, hash: String = "sha-1") throws -> CapsClaim {
        let algorithm: Digest.Algorithm = hash == "sha-1" ? .sha1 : hash == "sha-256" ? .sha256 : .sha512
        return try claim(DiscoInfo(query(content)).verificationString(algorithm), hash: hash)
    }

    @Test("The example's hash is proven by the example's answer (§5.2)")
    func example() throws {
        let claim = try Self.claim("QgayPKawpkPSDYmwT/WM94uAlu0=")
        #expect(claim.discoNode == "http://code.google.com/p/exodus#QgayPKawpkPSDYmwT/WM94uAlu0=")
        let query = try Self.query(Self.exodus)
        #expect(claim.verdict(on: query) == .proven(try DiscoInfo(query)))
    }

    @Test("Other hash functions that are known prove as much", arguments: ["sha-256", "sha-512"])
    func otherFunctions(hash: String) throws {
        let query = try Self.query(Self.exodus + Self.software)
        let claim = try Self.honest(Self.exodus + Self.software, hash: hash)
        #expect(claim.verdict(on: query) == .proven(try DiscoInfo(query)))
    }

    @Test("A wrong hash and an unknown function prove nothing", arguments: ["sha-1", "md5", "sha-3000"])
    func unproven(hash: String) throws {
        let query = try Self.query(Self.exodus)
        let claim = try Self.claim("q07IKJEyjvHSyhy//CH0CxmKi8w=", hash: hash)
        #expect(claim.verdict(on: query) == .claimed(try DiscoInfo(query)))
    }

    @Test(
        "Answers that say something twice are ill-formed, whatever their hash (§5.4 steps 3.3 to 3.5)",
        arguments: [
            exodus + "<identity category='client' type='pc' name='Exodus 0.9.1'/>",
            exodus + "<feature var='http://jabber.org/protocol/muc'/>",
            exodus + software + software,
            exodus + """
                <x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>a</value>
                <value>b</value></field><field var='os'><value>Mac</value></field></x>
                """,
            exodus + "<feature/>", exodus + "<identity category='client'/>",
            exodus + "<x xmlns='jabber:x:data' type='result'><field/></x>",
        ])
    func illFormed(content: String) throws {
        let claim = try Self.claim("QgayPKawpkPSDYmwT/WM94uAlu0=")
        #expect(claim.verdict(on: try Self.query(content)) == .illFormed)
    }

    @Test("Forms without a hidden FORM_TYPE do not count (§5.4 step 3.6)")
    func otherForms() throws {
        let other = """
            <x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE'><value>a</value></field></x>
            <x xmlns='jabber:x:data' type='result'><field var='os'><value>Mac</value></field></x>
            """
        let query = try Self.query(Self.exodus + other)
        #expect(try Self.claim("QgayPKawpkPSDYmwT/WM94uAlu0=").verdict(on: query) == .proven(try DiscoInfo(query)))
    }

    @Test(
        "What could be taken for something else proves nothing to others (§9.3)",
        arguments: [
            // Two features as one; "&lt;" is the character here (§5.1).
            ("<feature var='a'/><feature var='b'/>", "<feature var='a&lt;b'/>"),
            // The last features as a form, which hides them.
            ("<feature var='a'/><feature var='b'/>", "<feature var='a'/>" + form("b", "")),
            (
                "<feature var='a'/><feature var='b'/><feature var='u:c'/>",
                "<feature var='a'/>" + form("b", "<field var='u:c'/>")
            ),
            (
                "<feature var='a'/><feature var='b'/><feature var='u:c'/><feature var='u:d'/>",
                "<feature var='a'/>" + form("b", "<field var='u:c'><value>u:d</value></field>")
            ),
            // A feature as an identity, which hides it.
            (
                "<feature var='http://jabber.org/protocol/muc'/>",
                "<identity category='http:' type='' xml:lang='jabber.org' name='protocol/muc'/>"
            ),
            // A form as features, where the order allows it.
            (
                "<feature var='a'/>" + form("b", "<field var='c'><value>d</value></field>"),
                "<feature var='a&lt;b'/><feature var='c'/><feature var='d'/>"
            ),
        ])
    func ambiguous(truth: String, lie: String) throws {
        let identity = "<identity category='client' type='pc'/>"
        let claim = try Self.honest(identity + truth)
        let query = try Self.query(identity + lie)
        let info = try DiscoInfo(query)
        #expect(info.verificationString() == claim.ver, "The lie has the hash of the truth.")
        #expect(claim.verdict(on: query) == .claimed(info))
    }

    @Test("A name with slashes is no other identity")
    func slashes() throws {
        let claim = try Self.honest("<identity category='client' type='pc' name='a/b'/>")
        let lie = try Self.query("<identity category='client' type='pc//a' xml:lang='b'/>")
        #expect(claim.verdict(on: lie) != .proven(try DiscoInfo(lie)))
        let truth = try Self.query("<identity category='client' type='pc' name='a/b'/>")
        #expect(claim.verdict(on: truth) == .proven(try DiscoInfo(truth)))
    }

    @Test(
        "Presence without a hash, node or ver, or with a huge one, claims nothing (§13)",
        arguments: [
            "<c xmlns='http://jabber.org/protocol/caps' node='n' ver='0.9' ext='jingle'/>",
            "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' ver='x'/>",
            "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n'/>",
            "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver=''/>",
            "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='\(long)' ver='x'/>",
            "<c xmlns='urn:other' hash='sha-1' node='n' ver='x'/>",
        ])
    func noClaim(element: String) throws {
        let presence = try Presence(try Element.parse("<presence xmlns='jabber:client'>\(element)</presence>"))
        #expect(CapsClaim(presence) == nil)
    }

    private static let long = String(repeating: "n", count: 2_000)

    private static func form(_ type: String, _ fields: String) -> String {
        "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>\(type)</value></field>"
            + fields + "</x>"
    }
}
