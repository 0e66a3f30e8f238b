import Testing
import XMPP

@testable import Streams

@Suite("Streams of elements") struct StreamReaderTests {
    private static let conversation = """
        <?xml version='1.0'?><stream:stream to='montague.example' version='1.0' xmlns='jabber:client' \
        xmlns:stream='http://etherx.jabber.org/streams' xmlns:e='urn:example:e'>
        <message to="juliet@capulet.example" xml:lang='en'><body>Hark — 🐦é, it's &lt;&amp;&gt; &#x41;</body>\
        <e:x a='1&#10;2' b="it's > that"/></message> \t\r\n<presence/>
        <iq type='get' id='1'><q:query xmlns:q='urn:example:q' q:v='&quot;'><item/><q:item e:f='x'/></q:query></iq>\
        <a xmlns='urn:example:a'><![CDATA[<b>&amp;]] >]]><b xmlns=''>c\r\nd\re</b></a>\u{20}
        </stream:stream>
        """

    @Test("A stream reads the same wherever it is cut")
    func cuts() {
        let bytes = Array(Self.conversation.utf8)
        let whole = StreamScript.reading([bytes])
        #expect(whole.events == [
            "opened montague.example - - 1.0 - jabber:client",
            "<message xmlns='jabber:client' to='juliet@capulet.example' xml:lang='en'><body>Hark — 🐦é, "
                + "it's &lt;&amp;&gt; A</body><x xmlns='urn:example:e' a='1&#10;2' b='it&apos;s &gt; that'/></message>",
            "<presence xmlns='jabber:client'/>",
            "<iq xmlns='jabber:client' type='get' id='1'><query xmlns='urn:example:q' xmlns:q='urn:example:q' "
                + "q:v='\"'><item xmlns='jabber:client'/><item xmlns:e='urn:example:e' e:f='x'/></query></iq>",
            "<a xmlns='urn:example:a'>&lt;b&gt;&amp;amp;]] &gt;<b xmlns=''>c\nd\ne</b></a>",
            "closed",
        ])
        #expect(whole.condition == nil)
        let pool = ParserPool()
        for cut in 0...bytes.count {
            let reader = StreamReader(pool: pool)
            let script = StreamScript.reading([Array(bytes[..<cut]), Array(bytes[cut...])], by: reader)
            #expect(script == whole, "cut at \(cut)")
        }
        for size in [1, 2, 3, 5, 7] {
            let pieces = stride(from: 0, to: bytes.count, by: size).map {
                Array(bytes[$0..<min($0 + size, bytes.count)])
            }
            #expect(StreamScript.reading(pieces, by: StreamReader(pool: pool)) == whole)
        }
    }

    @Test("Text and attributes mean what XML says", arguments: [
        ("<a>&amp;&lt;&gt;&apos;&quot;&#65;&#x1F426;</a>", "<a>&amp;&lt;&gt;'\"A🐦</a>"),
        ("<a b='&amp;&lt;&gt;&apos;&quot;&#65;&#38;#60;'/>", "<a b='&amp;&lt;&gt;&apos;\"A&amp;#60;'/>"),
        ("<a b=' x\t\n\r\ny '/>", "<a b=' x   y '/>"),
        ("<a b='&#9;&#10;&#13;'>\t\n&#13;</a>", "<a b='&#9;&#10;&#13;'>\t\n&#13;</a>"),
        ("<a><![CDATA[]]></a>", "<a/>"), ("<a></a >", "<a/>"), ("<a\n/>", "<a/>"),
        ("<a>x<![CDATA[<!--y-->]]>z</a>", "<a>x&lt;!--y--&gt;z</a>"),
        ("<a>]] ></a>", "<a>]] &gt;</a>"), ("<é:ü xmlns:é='urn:x'/>", "<ü xmlns='urn:x'/>"),
        ("<p:a xmlns:p='urn:1'><p:a xmlns:p='urn:2'/><p:a/></p:a>",
         "<a xmlns='urn:1'><a xmlns='urn:2'/><a/></a>"),
        ("<a xmlns='urn:1'><b xmlns=''/><c xmlns='urn:1'/></a>", "<a xmlns='urn:1'><b xmlns=''/><c/></a>"),
        ("<a xmlns:p='urn:p' p:x='1' p:y='2' x='3'/>", "<a xmlns:p='urn:p' p:x='1' p:y='2' x='3'/>"),
        ("<a xmlns='not a URI at all' xmlns:p='%%%'/>", "<a xmlns='not a URI at all'/>"),
        ("<stream:features/>", "<features xmlns='http://etherx.jabber.org/streams'/>"),
        ("<a xml:lang='de' xml:space='preserve'> </a>", "<a xml:lang='de' xml:space='preserve'> </a>"),
        ("<a>\u{FEFF}\u{FFFD}\u{E000}\u{10FFFD}</a>", "<a>\u{FEFF}\u{FFFD}\u{E000}\u{10FFFD}</a>"),
        ("<a b='\u{85}\u{2028}'>\u{85}\u{7F}</a>", "<a b='\u{85}\u{2028}'>\u{85}\u{7F}</a>"),
    ])
    func meaning(_ xml: String, _ canonical: String) throws {
        let script = StreamScript.readingContent(xml)
        let element = try Element.parse(canonical)
        #expect(script == StreamScript(events: [element.xml]))
        #expect(script.events[0].replacing(" xmlns='jabber:client'") == canonical.replacing(" xmlns='jabber:client'"))
    }

    @Test("Whatever is written is read again as it was", arguments: [
        "\r\n\t\r", "]]>", "'\"&<>", "&amp;", "\u{10FFFF}🐦", "\u{85}\u{2028}\u{FEFF}", " ", "a\u{301}", "\u{FFFD}",
    ])
    func roundTrip(_ text: String) throws {
        let element = Element("message", .client, ["a": text, "xml:lang": text]) {
            text
            Element("b", Namespace("urn:" + text), ["c": text], text: text)
            text
        }
        let parsed = try Element.parse(element.xml)
        #expect(parsed.xml == element.xml)
        #expect(parsed["a"] == text && parsed["xml:lang"] == text)
        #expect(parsed.firstChild?.text == text && parsed.firstChild?.namespace.uri == "urn:" + text)
        #expect(StreamScript.readingContent(element.xml).events == [element.xml])
    }

    @Test("Streams between servers are jabber:client inside, prefixed or not, after a pause too")
    func servers() {
        let reader = StreamReader(pool: ParserPool())
        _ = StreamScript.reading(
            "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' "
                + "xmlns:s='jabber:server' xmlns:db='jabber:server:dialback'>", by: reader)
        for _ in 1...2 {
            let script = StreamScript.reading(
                "<message><body/><forwarded xmlns='urn:f'><message xmlns='jabber:server'/></forwarded></message>"
                    + "<s:presence/><db:result>1</db:result>", by: reader)
            #expect(script.events == [
                "<message xmlns='jabber:client'><body/><forwarded xmlns='urn:f'><message xmlns='jabber:client'/>"
                    + "</forwarded></message>",
                "<presence xmlns='jabber:client'/>", "<result xmlns='jabber:server:dialback'>1</result>",
            ])
            #expect(!reader.isInsideElement)
        }
    }

    @Test("Many stanzas may come at once, more than a step's worth")
    func many() {
        let script = StreamScript.readingContent(String(repeating: "<message><body>x</body></message>\n", count: 3_000))
        #expect(script.elements.count == 3_000)
        #expect(Set(script.elements) == ["<message xmlns='jabber:client'><body>x</body></message>"])
        #expect(script.condition == nil)
    }

    @Test("A stream holds a parser only while something is incomplete")
    func idle() {
        let reader = StreamReader(pool: ParserPool())
        var script = StreamScript()
        let steps: [(String, Bool)] = [
            ("<", true), (String(StreamScript.header.dropFirst()), false), ("  \r\n\t", false), ("\n", false),
            ("<presence/>", false), (" ", false), (" <presence>", true), ("</presence>\r", false), ("\n", false),
            ("<", true), ("presence/>\n", false), ("<iq>text", true), ("</iq", true), (">", false),
        ]
        for (piece, isInside) in steps {
            script.read(Array(piece.utf8), reader)
            #expect(reader.isInsideElement == isInside, "after \(piece)")
        }
        #expect(script.condition == nil)
        #expect(script.elements.count == 4)
        #expect(StreamScript.reading("</stream:stream> <rubbish", by: reader) == StreamScript(events: ["closed"]))
        #expect(!reader.isInsideElement)
    }

    @Test("A parser from the pool knows nothing of the stream it served before", arguments: [
        "<message><body>half a secret", "<message to='", "<![CDATA[", "<a", "&", "<message", "</stream:stream>",
        "\u{1}", "<!--", "<e:x", "text", "</wrong>", " ", "<a xmlns:q='urn:secret'><b>",
    ])
    func reuse(_ rest: String) {
        let pool = ParserPool(capacity: 1)
        for _ in 1...2 {
            do {
                let first = StreamReader(pool: pool)
                _ = StreamScript.reading(
                    "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' "
                        + "xmlns:e='urn:secret'><e:x/>" + rest, by: first)
            }
            let second = StreamReader(pool: pool)
            let script = StreamScript.reading(StreamScript.header + "<message/>", by: second)
            #expect(script.elements == ["<message xmlns='jabber:client'/>"])
            #expect(StreamScript.reading("<e:x/>", by: second).condition == .notWellFormed)
            #expect(StreamScript.reading("<message/>", by: second) == StreamScript(), "nothing is read after an error")
        }
    }

    @Test("Streams that share parsers do not mix")
    func interleaved() {
        let pool = ParserPool()
        let readers = (0..<4).map { _ in StreamReader(pool: pool) }
        let uris = ["urn:0", "urn:1", "urn:0", "urn:1"]
        for (reader, uri) in zip(readers, uris) {
            _ = StreamScript.reading(
                "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
                    + "xmlns:e='\(uri)'>", by: reader)
        }
        for round in 0..<3 {
            for (index, reader) in readers.enumerated() {
                #expect(StreamScript.reading("<e:x><n>\(index).\(round)", by: reader) == StreamScript())
            }
            for (index, reader) in readers.enumerated() {
                let script = StreamScript.reading("</n></e:x> \n", by: reader)
                #expect(script.events == [
                    "<x xmlns='\(uris[index])'><n xmlns='jabber:client'>\(index).\(round)</n></x>"
                ])
            }
        }
    }

    @Test("A restart drops what was not read, and wants a header")
    func restart() throws {
        let reader = StreamReader(pool: ParserPool())
        _ = StreamScript.reading(StreamScript.header, by: reader)
        var seen: [String] = []
        let bytes = Array("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><injected/><presence".utf8)
        try StreamScript.feed(bytes, to: reader) { event in
            if case .element(let element) = event { seen.append(element.name) }
            reader.restart()
            return false
        }
        #expect(seen == ["starttls"])
        #expect(!reader.isInsideElement)
        let script = StreamScript.reading(StreamScript.header + "<presence/>", by: reader)
        #expect(script.events.count == 2)
        reader.restart()
        #expect(StreamScript.reading("<presence/>", by: reader).condition == .invalidNamespace)
        reader.restart()
        #expect(StreamScript.reading(StreamScript.header, by: reader).events.count == 1)
    }

    @Test("An error that the handler throws comes out, and ends the reading")
    func handlerThrows() {
        let reader = StreamReader(pool: ParserPool())
        var count = 0
        #expect(throws: StreamError(.hostUnknown)) {
            let bytes = Array((StreamScript.header + "<presence/>").utf8)
            try StreamScript.feed(bytes, to: reader) { _ throws(StreamError) in
                count += 1
                throw StreamError(.hostUnknown)
            }
        }
        #expect(count == 1)
        #expect(!reader.isInsideElement)
        #expect(StreamScript.reading("<presence/>", by: reader) == StreamScript())
    }

    @Test("Declarations of the header reach stanzas long after, with nasty names")
    func resumption() {
        let reader = StreamReader(pool: ParserPool(capacity: 0))
        _ = StreamScript.reading(
            "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
                + "xmlns:e=\"it's &lt;&amp;&#10;&#13;\t&quot;\">", by: reader)
        for _ in 1...3 {
            let script = StreamScript.reading("<e:x e:y=''/>", by: reader)
            let uri = "it&apos;s &lt;&amp;&#10;&#13; \""
            #expect(script.events == ["<x xmlns='\(uri)' xmlns:e='\(uri)' e:y=''/>"])
        }
    }
}

extension String {
    /// The string without the occurrences of `part`.
    fileprivate func replacing(_ part: String) -> String {
        var result = self[...]
        var kept = ""
        while let range = result.firstRange(of: part) {
            kept += result[..<range.lowerBound]
            result = result[range.upperBound...]
        }
        return kept + result
    }
}
