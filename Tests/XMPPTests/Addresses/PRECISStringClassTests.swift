import Testing

@testable import XMPP

@Suite("PRECIS string classes (RFC 8264)") struct PRECISStringClassTests {
    @Test(
        "Derived properties, one for each step of RFC 8264 §8",
        arguments: [
            (0xDF, .protocolValid), (0x3C2, .protocolValid), (0x3007, .protocolValid), (0xB7, .contextO),
            (0x375, .contextO), (0x5F3, .contextO), (0x5F4, .contextO), (0x30FB, .contextO), (0x660, .contextO),
            (0x6F9, .contextO), (0x640, .disallowed), (0x7FA, .disallowed), (0x302E, .disallowed),
            (0x303B, .disallowed), (0x378, .unassigned), (0xE0000, .unassigned), (0x10FFFD, .disallowed),
            (0xFFFE, .disallowed), (0x21, .protocolValid), (0x7E, .protocolValid), (0x200C, .contextJ),
            (0x200D, .contextJ), (0x1100, .disallowed), (0x11FF, .disallowed), (0xA960, .disallowed),
            (0xD7CB, .disallowed), (0xAD, .disallowed), (0x3164, .disallowed), (0xFE0F, .disallowed),
            (0x0, .disallowed), (0x7F, .disallowed), (0x85, .disallowed), (0xA0, .freeformOnly),
            (0x2163, .freeformOnly), (0xFB01, .freeformOnly), (0xFF21, .freeformOnly), (0x1D400, .freeformOnly),
            (0x61, .protocolValid), (0xE9, .protocolValid), (0x301, .protocolValid), (0x4E2D, .protocolValid),
            (0xAC00, .protocolValid), (0x966, .protocolValid), (0x1F88, .freeformOnly), (0x16EE, .freeformOnly),
            (0x20DD, .freeformOnly), (0x20, .freeformOnly), (0x1680, .freeformOnly), (0x20AC, .freeformOnly),
            (0x265A, .freeformOnly), (0x1F40E, .freeformOnly), (0xBF, .freeformOnly), (0x2014, .freeformOnly),
            (0x2028, .disallowed), (0xE000, .disallowed), (0x600, .disallowed), (0x202E, .disallowed),
        ] as [(UInt32, UnicodeTables.DerivedProperty)])
    func derived(_ point: UInt32, _ property: UnicodeTables.DerivedProperty) {
        #expect(UnicodeTables.properties(of: point).derived == property)
    }

    @Test(
        "Contextual rules of RFC 5892 Appendix A",
        arguments: [
            ("\u{915}\u{94D}\u{200C}\u{937}", true), ("\u{628}\u{200C}\u{628}", true),
            ("\u{628}\u{64B}\u{200C}\u{64B}\u{627}", true), ("\u{627}\u{200C}\u{628}", false), ("a\u{200C}b", false),
            ("\u{200C}", false), ("\u{628}\u{200C}", false), ("\u{200C}\u{628}", false), ("\u{628}\u{200C}a", false),
            ("\u{915}\u{94D}\u{200D}\u{937}", true), ("\u{915}\u{200D}", false), ("\u{200D}", false),
            ("\u{1F468}\u{200D}\u{1F469}", false),
            ("l\u{B7}l", true), ("l\u{B7}", false), ("\u{B7}l", false), ("a\u{B7}l", false), ("l\u{B7}\u{B7}l", false),
            ("\u{375}\u{3B1}", true), ("\u{375}", false), ("\u{375}a", false), ("\u{3B1}\u{375}", false),
            ("\u{5D0}\u{5F3}", true), ("\u{5F3}\u{5D0}", false), ("\u{5D0}\u{5F4}\u{5D1}", true), ("a\u{5F4}", false),
            ("\u{30FB}\u{30A2}", true), ("\u{3042}\u{30FB}", true), ("a\u{30FB}\u{4E2D}", true), ("\u{30FB}", false),
            ("a\u{30FB}b", false), ("\u{30FB}\u{30FB}", false),
            ("\u{627}\u{660}\u{661}", true), ("\u{627}\u{6F0}\u{6F1}", true), ("\u{627}\u{660}\u{6F0}", false),
            ("\u{6F0}\u{627}\u{660}", false),
        ])
    func context(_ text: String, _ isAllowed: Bool) {
        let points = text.unicodeScalars.map(\.value)
        if isAllowed {
            #expect(throws: Never.self) { try StringClass.freeform.check(points) }
        } else {
            #expect(throws: PRECISError.self) { try StringClass.freeform.check(points) }
        }
    }

    @Test("Errors name the code point")
    func errors() {
        #expect(throws: PRECISError.disallowed("\u{265A}")) { try StringClass.identifier.check([0x61, 0x265A]) }
        #expect(throws: PRECISError.outOfContext("\u{B7}")) { try StringClass.identifier.check([0x61, 0xB7]) }
    }

    @Test(
        "Forms C and KC",
        arguments: [
            ([0x65, 0x301], [0xE9], [0xE9]), ([0x301, 0x65], [0x301, 0x65], [0x301, 0x65]),
            ([0x1E9B, 0x323], [0x1E9B, 0x323], [0x1E69]),
            ([0x61, 0x315, 0x300, 0x5AE, 0x62], [0xE0, 0x5AE, 0x315, 0x62], [0xE0, 0x5AE, 0x315, 0x62]),
            ([0x212B], [0xC5], [0xC5]), ([0xFB01], [0xFB01], [0x66, 0x69]), ([0x958], [0x915, 0x93C], [0x915, 0x93C]),
            ([0x1112, 0x1161, 0x11AB], [0xD55C], [0xD55C]), ([0xD558, 0x11AB], [0xD55C], [0xD55C]),
            ([0xD55C, 0x11AB], [0xD55C, 0x11AB], [0xD55C, 0x11AB]),
            ([0x1D15E], [0x1D157, 0x1D165], [0x1D157, 0x1D165]),
            ([0x344], [0x308, 0x301], [0x308, 0x301]),
            ([0xB47, 0x300, 0xB3E], [0xB47, 0x300, 0xB3E], [0xB47, 0x300, 0xB3E]), ([0x1F82], [0x1F82], [0x1F82]),
            ([0x3B1, 0x345, 0x313, 0x300], [0x1F82], [0x1F82]), ([0xFF76, 0xFF9E], [0xFF76, 0xFF9E], [0x30AC]),
            ([], [], []),
        ] as [([UInt32], [UInt32], [UInt32])])
    func normalization(_ points: [UInt32], _ canonical: [UInt32], _ compatibility: [UInt32]) {
        #expect(Normalization.canonical(points) == canonical)
        #expect(Normalization.compatibility(points) == compatibility)
        #expect(Normalization.canonical(canonical) == canonical)
    }

    @Test("Whatever a profile makes of a code point, it makes of the result too")
    func everyCodePoint() throws {
        for value in stride(from: UInt32(0), through: 0x10FFFF, by: 101) {
            guard let scalar = Unicode.Scalar(value) else { continue }
            let text = String(Character(scalar))
            if let username = try? PRECIS.usernameCaseMapped(text) {
                #expect(try PRECIS.usernameCaseMapped(username).utf8.elementsEqual(username.utf8))
            }
            if let opaque = try? PRECIS.opaqueString(text) {
                #expect(try PRECIS.opaqueString(opaque).utf8.elementsEqual(opaque.utf8))
            }
            _ = try? PRECIS.nickname(text)
            _ = try? PRECIS.nicknameForComparison(text)
        }
    }
}
