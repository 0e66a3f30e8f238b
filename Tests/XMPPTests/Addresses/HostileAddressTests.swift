import Testing

@testable import XMPP

@Suite("Hostile addresses") struct HostileAddressTests {
    static let megabyte = 1 << 20

    @Test(
        "Control, invisible, private and unassigned characters are refused in every part",
        arguments: [
            0x0, 0x1, 0x8, 0x9, 0xA, 0xD, 0x1B, 0x7F, 0x80, 0x85, 0x9F, 0xAD, 0x34F, 0x61C, 0x180E, 0x200B, 0x200C,
            0x200D, 0x200E, 0x200F, 0x2028, 0x2029, 0x202A, 0x202E, 0x2060, 0x2066, 0x2069, 0xFE0F, 0xFEFF, 0xFFF9,
            0xFFFE, 0xFFFF, 0xFDD0, 0x378, 0xE000, 0xE0001, 0xE0041, 0xE0100, 0x10FFFF, 0x1100, 0x640,
        ] as [UInt32])
    func refused(_ point: UInt32) throws {
        let scalar = try #require(Unicode.Scalar(point))
        #expect(JID("a\(scalar)b@example.com") == nil)
        #expect(JID("a@ex\(scalar)ample.com") == nil)
        #expect(JID("a@example.com/a\(scalar)b") == nil)
        #expect(JID("\(scalar)@example.com") == nil)
        #expect(JID("a@example.com/\(scalar)") == nil)
    }

    @Test(
        "Bytes that are not UTF-8 are refused in every part",
        arguments: [
            [0x80], [0xBF], [0xC0, 0x80], [0xC1, 0xBF], [0xC3], [0xC3, 0x28], [0xE2, 0x82], [0xE0, 0x80, 0xAF],
            [0xED, 0xA0, 0x80], [0xED, 0xBF, 0xBF], [0xF0, 0x80, 0x80, 0xAF], [0xF0, 0x9F, 0x98],
            [0xF4, 0x90, 0x80, 0x80], [0xF8, 0x88, 0x80, 0x80, 0x80], [0xFE], [0xFF],
        ] as [[UInt8]])
    func notUTF8(_ bytes: [UInt8]) {
        for (before, after) in [("a", "b@c/d"), ("a@b", "c/d"), ("a@b/c", "d"), ("", "@b"), ("", "")] {
            let text = Array(before.utf8) + bytes + Array(after.utf8)
            text.withUnsafeBufferPointer { buffer in
                #expect(throws: JIDError.notUTF8) { try JID.parse(utf8: buffer) }
                #expect(JID(utf8: buffer) == nil)
            }
        }
    }

    @Test("No bytes are no address")
    func noBytes() {
        #expect(JID(utf8: UnsafeBufferPointer(start: nil, count: 0)) == nil)
    }

    @Test("A separator with a combining mark is still a separator")
    func combiningMarks() throws {
        let jid = try JID.parse("\u{301}@example.com/\u{338}")
        #expect(jid.localpart == "\u{301}")
        #expect(jid.resourcepart == "\u{338}")
        #expect(JID(jid.description) == jid)
        #expect(JID("a@\u{301}example.com") == nil)
    }

    @Test(
        "A megabyte is refused in no time, whatever it consists of",
        arguments: [
            "a", "A", ".", "-", "[", "@", "/", " ", "a.", "xn--", "1.", "\u{E4}", "\u{301}", "\u{327}\u{301}",
            "\u{30FB}", "\u{3002}", "\u{200C}", "\u{628}\u{200C}", "\u{661}", "\u{FDFA}", "\u{AC00}", "\u{1100}",
            "\u{3A3}", "\u{1F40E}", "\u{3000}",
        ])
    func megabytes(_ unit: String) {
        let text = String(repeating: unit, count: Self.megabyte / unit.utf8.count)
        #expect(JID(text) == nil)
        #expect(JID("\(text)@b") == nil)
        #expect(JID("a@\(text)") == nil)
        #expect(JID("a@b/\(text)") == nil)
        #expect(JID(domain: text) == nil)
        #expect((try? JID(localpart: text, domainpart: "b")) == nil)
    }

    @Test(
        "Profiles survive long runs of characters that look at their neighbours",
        arguments: [
            "\u{327}\u{301}", "\u{200C}", "\u{64B}\u{200C}", "\u{30FB}", "\u{661}\u{6F1}", "\u{3000}", "\u{FDFA}",
            "\u{3A3}",
        ])
    func linear(_ unit: String) {
        let text = String(repeating: unit, count: 5000)
        _ = try? PRECIS.usernameCaseMapped(text)
        _ = try? PRECIS.usernameCasePreserved(text)
        _ = try? PRECIS.opaqueString(text)
        _ = try? PRECIS.nickname(text)
        _ = try? PRECIS.nicknameForComparison(text)
    }
}
