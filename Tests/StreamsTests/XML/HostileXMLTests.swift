import Testing
import XMPP

@testable import Streams

@Suite("Hostile XML (RFC 6120 §11)") struct HostileXMLTests {
    @Test("What XMPP forbids ends the stream as soon as it shows", arguments: [
        ("<!-- x", StreamError.Condition.restrictedXML), ("<!-", .restrictedXML), ("<?php", .restrictedXML),
        ("<?xml version='1.0'?>", .restrictedXML), ("<!DOCTYPE a>", .restrictedXML), ("<!D", .restrictedXML),
        ("<a><!--", .restrictedXML), ("<a>text<?pi", .restrictedXML), ("<a><!ENTITY", .restrictedXML),
        ("<a>&unknown;", .restrictedXML), ("<a b='&unknown;'>", .restrictedXML), ("<a>&nbsp;", .restrictedXML),
        ("text", .badFormat), ("<a/>x", .badFormat), ("&amp;", .badFormat), ("&#32;x", .badFormat),
        ("&#10;", .badFormat),
        ("<![CDATA[x]]>", .badFormat), ("\u{FEFF}", .badFormat), ("é", .badFormat),
        ("<stream:stream>", .badFormat), ("<stream:stream/>", .badFormat),
        ("<stream:stream to='a' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>", .badFormat),
        ("</a>", .notWellFormed), ("<a></b>", .notWellFormed), ("<a><b></a>", .notWellFormed),
        ("<a></stream:stream>", .notWellFormed), ("<foo:a/>", .notWellFormed), ("<a foo:b=''/>", .notWellFormed),
        ("<a b='1' b='2'/>", .notWellFormed), ("<a b=1/>", .notWellFormed), ("<a b/>", .notWellFormed),
        ("<a xmlns:p='urn:1' xmlns:q='urn:1' p:b='' q:b=''/>", .notWellFormed), ("<a xmlns:p=''/>", .notWellFormed),
        ("<a xmlns:xml='urn:1'/>", .notWellFormed), ("<a xmlns:xmlns='urn:1'/>", .notWellFormed),
        ("<a:b:c xmlns:a='urn:1'/>", .notWellFormed), ("<:a/>", .notWellFormed), ("< a/>", .notWellFormed),
        ("<a b='<'/>", .notWellFormed), ("<a b='<!-- -->'/>", .notWellFormed),
        ("<a>]]></a>", .notWellFormed), ("<a>&#0;</a>", .notWellFormed),
        ("<a>&#xFFFF;</a>", .notWellFormed), ("<a>&#xD800;</a>", .notWellFormed), ("<a>&#x110000;</a>", .notWellFormed),
        ("<a>\u{FFFE}</a>", .notWellFormed), ("<a>\u{0}", .notWellFormed), ("\u{0}", .notWellFormed),
        ("<a b='\u{1}", .notWellFormed), ("<a>\u{1F}", .notWellFormed), ("<a>&;</a>", .notWellFormed),
        ("<a>& </a>;", .notWellFormed), ("<a><![cdata[x]]></a>", .notWellFormed), ("<1/>", .notWellFormed),
    ])
    func forbidden(_ xml: String, _ condition: StreamError.Condition) {
        let tail = condition == .notWellFormed ? "            <x/>" : ""
        let complete = xml.hasPrefix("<a/>") ? ["<a xmlns='jabber:client'/>"] : []
        let expected = StreamScript(events: complete, condition: condition)
        #expect(StreamScript.readingContent(xml + tail) == expected)
        let bytes = (StreamScript.header + xml + tail).utf8.map { [$0] }
        #expect(StreamScript.reading(bytes).condition == condition)
    }

    @Test("Before the header too", arguments: [
        "<!-- x", "<!DOCTYPE html>", "<!DOCTYPE a [", "<?php", "<?xm?", "<?xmlx", "<?XML version='1.0'?>",
        "<?xml version='1.0'?><!--", "<?xml version='1.0'?>\n<!DOCTYPE a SYSTEM 'file:///etc/passwd'>",
        "<?xml version='1.0'?><!DOCTYPE lolz [<!ENTITY lol 'lol'><!ENTITY lol2 '&lol;&lol;&lol;&lol;'>]><lolz>&lol2;",
    ])
    func forbiddenEarly(_ xml: String) {
        #expect(StreamScript.reading(xml) == StreamScript(condition: .restrictedXML))
        #expect(StreamScript.reading(xml.utf8.map { [$0] }) == StreamScript(condition: .restrictedXML))
    }

    @Test("Bytes that are no UTF-8 end the stream, wherever they stand", arguments: [
        [0xC0, 0x80], [0xC1, 0xA1], [0xE0, 0x80, 0xBC], [0xF0, 0x80, 0x80, 0xBC], [0xED, 0xA0, 0x80],
        [0xED, 0xBF, 0xBF], [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xFF], [0xFE], [0x80], [0xC3, 0x28],
        [0xE2, 0x82], [0xF0, 0x9F, 0x90], [0xE4], [0xC3],
    ] as [[UInt8]])
    func encoding(_ bad: [UInt8]) {
        let places = [
            ("<a>", "</a>"), ("<a b='", "'/>"), ("<a", "/>"), ("<a><![CDATA[", "]]></a>"), ("<a ", "='x'/>"),
            ("<a>" + String(repeating: "x", count: 700), "</a>"), ("", ""), ("<a>&", ";</a>"), ("<a xmlns='", "'/>"),
        ]
        for (before, after) in places {
            let bytes = Array((StreamScript.header + "<ok/>" + before).utf8) + bad + Array((after + "   <x/>").utf8)
            let whole = StreamScript.reading([bytes])
            // Text between stanzas is refused at its first byte, before anything can be wrong with the character.
            #expect(whole.condition == .unsupportedEncoding || before.isEmpty && whole.condition == .badFormat)
            #expect(whole.elements == ["<ok xmlns='jabber:client'/>"])
            #expect(StreamScript.reading(bytes.map { [$0] }).elements == whole.elements)
        }
        #expect(StreamScript.reading([bad + Array("      ".utf8)]).condition == .unsupportedEncoding)
        #expect(throws: StreamError.self) { try Element.parse(Array("<a>".utf8) + bad + Array("</a>".utf8)) }
    }

    @Test("Other encodings are told what they are", arguments: [
        [0xFF, 0xFE, 0x3C, 0x00], [0xFE, 0xFF, 0x00, 0x3C], [0x3C, 0x00, 0x3F, 0x00], [0x00, 0x3C, 0x00, 0x3F],
        [0x00, 0x00, 0xFE, 0xFF], [0x3C, 0x00, 0x00, 0x00], [0x00],
    ] as [[UInt8]])
    func encodings(_ bytes: [UInt8]) {
        #expect(StreamScript.reading([bytes]).condition == .unsupportedEncoding)
        #expect(StreamScript.reading(bytes.map { [$0] }).condition == .unsupportedEncoding)
    }

    @Test("Limits hold exactly", arguments: [1, 7, 4_096, 100_000])
    func exactly(_ chunk: Int) {
        func script(_ xml: String, _ limits: XMLLimits) -> StreamScript {
            let bytes = Array((StreamScript.header + xml).utf8)
            return .reading(
                stride(from: 0, to: bytes.count, by: chunk).map { Array(bytes[$0..<min($0 + chunk, bytes.count)]) },
                limits: limits)
        }
        let size = XMLLimits(elementBytes: 10_000, depth: 3, attributes: 5, namespaces: 3)
        let allowed = [
            element(ofSize: 10_000), " \n" + element(ofSize: 10_000) + " " + element(ofSize: 10_000),
            "<a><b><c/></b></a>", "<a b='' c='' d='' f='' xmlns:e='urn:e'/>",
            "<a><b xmlns='urn:b'/><c xmlns='urn:c'/><c xmlns='urn:b'/></a>",
        ]
        for xml in allowed {
            let script = script(xml, size)
            #expect(script.condition == nil)
            #expect(!script.elements.isEmpty)
        }
        let refused = [
            element(ofSize: 10_001), " " + element(ofSize: 10_001), element(ofSize: 10_000) + element(ofSize: 10_001),
            "<a><b><c><d/></c></b></a>", "<a b='' c='' d='' xmlns:e='urn:e' f='' g=''/>",
            "<a><b xmlns='urn:b'/><c xmlns='urn:c'/><c xmlns='urn:d'/></a>",
        ]
        for xml in refused { #expect(script(xml, size).condition == .policyViolation) }
    }

    @Test("What never ends is cut off at the limit, not when memory runs out", arguments: [
        ("<message a='", "x"), ("<message ", "a"), ("<message ", " "), ("<message ", "b='' "), ("<message", "e"),
        ("<message><body>", "text "), ("<message><body>", "&amp;"), ("<message>", "<a/>"), ("<message>&", "a"),
        ("<message><![CDATA[", "x"), ("<message><![CDATA[", "]"), ("<message>", "<![CDATA[]]>"), ("</", "a"),
        ("<message>&#", "0"), ("<message></message", " "), ("<message>", " "), ("<message>", "\r"),
        ("<message a='", ">"),
        ("<m xmlns:p='" + String(repeating: "u", count: 9_000) + "'>", "<p:a/>"), ("<message>", "'"),
        ("<m xmlns:p='" + String(repeating: "u", count: 9_000) + "'>", "<a p:a=''/>"), ("<message a=\"", "'"),
    ])
    func endless(_ start: String, _ more: String) {
        for size in [16, 4_096, 60_000] {
            let chunk = Array(String(repeating: more, count: max(1, size / more.utf8.count)).utf8)
            let reader = StreamReader(pool: ParserPool(), limits: XMLLimits(elementBytes: 65_536))
            var script = StreamScript.reading(StreamScript.header + start, by: reader)
            var sent = 0
            while script.condition == nil, sent < 300_000 {
                script.read(chunk, reader)
                sent += chunk.count
            }
            #expect(script.condition != nil, "\(start.prefix(20)) \(more)")
            #expect(sent <= 65_536 + max(size, 8_192))
            #expect(!reader.isInsideElement)
        }
    }

    @Test("Before the header as well", arguments: [
        ("", " "), ("<stream:stream ", "a"), ("<stream:stream a='", "x"), ("<?xml version='1.0'", " "), ("<", "a"),
    ])
    func endlessHeader(_ start: String, _ more: String) {
        let reader = StreamReader(pool: ParserPool(), limits: XMLLimits(elementBytes: 10_000))
        var script = StreamScript.reading(start, by: reader)
        var sent = 0
        while script.condition == nil, sent < 100_000 {
            script.read(Array(String(repeating: more, count: 100).utf8), reader)
            sent += 100
        }
        #expect(script.condition == .policyViolation)
        #expect(sent <= 10_100)
    }

    @Test("White space between stanzas costs nothing, for ever")
    func keepalives() {
        let reader = StreamReader(pool: ParserPool(), limits: XMLLimits(elementBytes: 100))
        var script = StreamScript.reading(
            "<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>", by: reader)
        for _ in 0..<100 { script.read(Array(repeating: 0x20, count: 10_000), reader) }
        let around = String(repeating: "\n", count: 20_000)
        script.read(Array((around + "<a/>" + around).utf8), reader)
        #expect(script == StreamScript(events: ["opened - - - 0.9 - ", "<a xmlns=''/>"]))
    }

    @Test("Depth and breadth beyond reason are refused, not recursed into")
    func deep() {
        #expect(StreamScript.readingContent(String(repeating: "<a>", count: 80_000)).condition == .policyViolation)
        let many = (0..<2_000).map { " a\($0)=''" }.joined()
        #expect(StreamScript.readingContent("<a\(many)/>").condition == .policyViolation)
        let declared = (0..<1_000).map { " xmlns:a\($0)='u'" }.joined()
        #expect(StreamScript.readingContent("<a\(declared)/>").condition == .policyViolation)
    }

    @Test("A peer that invents names gets a fresh parser, or the end of its stream if it never pauses")
    func names() throws {
        let pool = ParserPool(capacity: 4)
        let reader = StreamReader(pool: pool, limits: .authenticated)
        var script = StreamScript.reading(StreamScript.header, by: reader)
        for batch in 0..<100 {
            let xml = (0..<1_000).map { "<n\(batch)-\($0) a\(batch)-\($0)=''/>" }.joined()
            script.read(Array(xml.utf8), reader)
        }
        #expect(script.condition == nil)
        #expect(script.elements.count == 100_000)
        let parser = try #require(pool.take(resuming: nil))
        #expect(parser.isReusable)
        script.read(Array("<a>".utf8), reader)
        for batch in 0..<100 where script.condition == nil {
            script.read(Array(((0..<1_000).map { "<n\(batch)-\($0)/>" }.joined() + "</a><a>").utf8), reader)
        }
        #expect(script.condition == .policyViolation)
    }

    @Test("Long names of namespaces do not pile up in a parser")
    func longNames() {
        let reader = StreamReader(pool: ParserPool(), limits: .authenticated)
        var script = StreamScript.reading(StreamScript.header + "<a>", by: reader)
        for number in 0..<1_000 where script.condition == nil {
            script.read(
                Array("<b xmlns='\(number)\(String(repeating: "u", count: 12_000))'/></a><a>".utf8), reader)
        }
        #expect(script.condition == .policyViolation)
    }

    @Test("Random bytes never do harm, and read the same in one piece and in many")
    func random() {
        var generator = Seeded(state: 7)
        let alphabet: [[UInt8]] = [
            "<", ">", "/", "a", "='", "'", "\"", " xmlns", ":p", "urn:x", "&amp;", "&#10;", "<a>", "</a>", "<b/>",
            "]]>", "<![CDATA[", "é", "🐦", "\r", "\n", " ", "x",
            "</stream:stream>", "<p:a xmlns:p='u'>", "</p:a>", "\u{1}",
            "&",
        ].map { Array($0.utf8) } + [[0xFF], [0xC3], [0x00]]
        let pool = ParserPool()
        for _ in 0..<2_000 {
            var bytes = Array(StreamScript.header.utf8)
            for _ in 0..<Int.random(in: 1...20, using: &generator) {
                bytes += alphabet.randomElement(using: &generator) ?? []
            }
            let whole = StreamScript.reading([bytes], by: StreamReader(pool: pool))
            let cut = Int.random(in: 0...bytes.count, using: &generator)
            let pieces = [Array(bytes[..<cut]), Array(bytes[cut...])]
            let parts = StreamScript.reading(pieces, by: StreamReader(pool: pool))
            #expect(whole.elements == parts.elements, "\(String(decoding: bytes, as: UTF8.self)) cut at \(cut)")
            #expect((whole.condition == nil) == (parts.condition == nil))
            for xml in whole.elements { #expect((try? Element.parse(xml))?.xml == xml) }
        }
    }
}

/// Numbers that are the same in every run (splitmix64).
private struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = (state ^ state >> 30) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
        return word ^ word >> 31
    }
}
