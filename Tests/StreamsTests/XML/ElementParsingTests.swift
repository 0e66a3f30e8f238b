import Testing
import XMPP

@testable import Streams

@Suite("Parsing one element") struct ElementParsingTests {
    @Test("A stored element comes back")
    func stored() throws {
        let element = try Element.parse(" \n<message to='a'><body>x</body></message>\n")
        #expect(element.xml == "<message xmlns='jabber:client' to='a'><body>x</body></message>")
        #expect(try Element.parse("<stream:error/>").namespace == .streams)
        let large = try Element.parse("<a>" + String(repeating: "<b>text</b>", count: 100_000) + "</a>")
        #expect(large.children.count == 100_000)
        let long = try Element.parse("<a>" + String(repeating: "x", count: 11_000_000) + "</a>")
        #expect(long.text.utf8.count == 11_000_000)
    }

    @Test("Anything but exactly one element is refused", arguments: [
        ("", StreamError.Condition.badFormat), ("  ", .badFormat), ("text", .badFormat), ("<a/><b/>", .badFormat),
        ("<a/>x", .badFormat), ("<a>", .notWellFormed), ("<a", .notWellFormed), ("</stream:stream>", .notWellFormed),
        ("<a/></stream:stream>", .notWellFormed), ("<?xml version='1.0'?><a/>", .restrictedXML),
        ("<!DOCTYPE a><a/>", .restrictedXML), ("<a><!----></a>", .restrictedXML), ("<a>&e;</a>", .restrictedXML),
        ("<a\u{0}/>", .notWellFormed), ("<a/>\u{0}", .notWellFormed), ("<stream:stream>", .badFormat),
    ])
    func refused(_ xml: String, _ condition: StreamError.Condition) {
        #expect { try Element.parse(xml) } throws: { ($0 as? StreamError)?.condition == condition }
    }

    @Test("Limits hold here too")
    func limits() throws {
        let limits = XMLLimits(elementBytes: 1_000)
        #expect(try Element.parse(element(ofSize: 1_000).utf8, limits: limits).name == "message")
        #expect(throws: StreamError.self) { try Element.parse(element(ofSize: 1_001).utf8, limits: limits) }
        #expect(throws: StreamError.self) { try Element.parse(String(repeating: "<a>", count: 10_000)) }
    }
}
