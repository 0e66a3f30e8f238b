import Testing
import XMPP

@testable import Streams

@Suite("Stream headers (RFC 6120 §4.7)") struct StreamHeaderTests {
    private static let plain = "opened montague.example - - 1.0 - jabber:client"

    @Test("Headers as clients and servers send them are understood", arguments: [
        // Conversations
        ("""
         <?xml version='1.0'?><stream:stream to='montague.example' version='1.0' xml:lang='en' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams'>
         """, "opened montague.example - - 1.0 en jabber:client"),
        // Conversations, authenticated
        ("""
         <?xml version='1.0'?><stream:stream from='romeo@montague.example' to='montague.example' version='1.0' \
         xml:lang='en' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>
         """, "opened montague.example romeo@montague.example - 1.0 en jabber:client"),
        // Gajim (nbxmpp)
        ("""
         <?xml version='1.0'?><stream:stream xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams" \
         version="1.0" to="montague.example" xml:lang="en" >
         """, "opened montague.example - - 1.0 en jabber:client"),
        // Profanity (libstrophe)
        ("""
         <?xml version="1.0"?><stream:stream to="montague.example" xml:lang="en" version="1.0" xmlns="jabber:client" \
         xmlns:stream="http://etherx.jabber.org/streams" from="romeo@montague.example">
         """, "opened montague.example romeo@montague.example - 1.0 en jabber:client"),
        // slixmpp: no declaration
        ("""
         <stream:stream to='montague.example' xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client' \
         xml:lang='en' version='1.0'>
         """, "opened montague.example - - 1.0 en jabber:client"),
        // Monal
        ("""
         <?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
         version='1.0' to='montague.example'>
         """, plain),
        // Line ends, a declared encoding, standalone, extra prefixes
        ("""
         <?xml version="1.0" encoding="UTF-8" standalone="no" ?>\r\n<stream:stream\n\txmlns='jabber:client'\r\n\
         xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' \
         to='montague.example' version='1.0'\n>\n
         """, plain),
        // A server
        ("""
         <?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
         xmlns:stream='http://etherx.jabber.org/streams' from='capulet.example' to='montague.example' version='1.0'>
         """, "opened montague.example capulet.example - 1.0 - jabber:server"),
        // Before XMPP 1.0; an id; no content namespace
        ("<stream:stream to='montague.example' id='a&apos;b' xmlns:stream='http://etherx.jabber.org/streams'>",
         "opened montague.example - a'b 0.9 - "),
        ("""
         <stream:stream to='it&#x27;s > a "b"' version='x' xmlns:stream='http://etherx.jabber.org/streams' \
         xmlns='jabber:client'>
         """, "opened it's > a \"b\" - - nonsense - jabber:client"),
    ])
    func headers(_ xml: String, _ expected: String) {
        let whole = StreamScript.reading(xml)
        #expect(whole == StreamScript(events: [expected]))
        // The first bytes may come one by one; and a parser that was used must do as a new one.
        let pool = ParserPool()
        for _ in 1...2 {
            let reader = StreamReader(pool: pool)
            #expect(StreamScript.reading(xml.utf8.map { [$0] }, by: reader) == whole)
            #expect(!reader.isInsideElement)
            StreamScript.reading("<a x='<' <!-- ", by: reader).condition.map { #expect($0 == .notWellFormed) }
        }
    }

    @Test("Wrong headers end the stream with their condition", arguments: [
        ("<foobar:stream xmlns='jabber:client' xmlns:foobar='http://etherx.jabber.org/streams'>",
         StreamError.Condition.badNamespacePrefix),
        ("<stream xmlns='http://etherx.jabber.org/streams'>", .badNamespacePrefix),
        ("<stream:stream xmlns='jabber:client' xmlns:stream='urn:example:other'>", .invalidNamespace),
        ("<stream xmlns='jabber:client'>", .invalidNamespace),
        ("<stream>", .invalidNamespace),
        ("<stream:stream xmlns='jabber:client'>", .notWellFormed),
        ("<stream:features xmlns:stream='http://etherx.jabber.org/streams'>", .badFormat),
        ("<?xml version='1.0'?><?xml version='1.0'?>", .restrictedXML),
        (" <?xml version='1.0'?>", .restrictedXML),
        ("<?xml version='2.0'?>", .notWellFormed),
        ("<?xml encoding='UTF-8'?>", .notWellFormed),
        ("<?xml version='1.0' encoding='ISO-8859-1'?>", .unsupportedEncoding),
        ("<?xml version=\"1.0\" standalone='no' encoding = \"UTF-8\"?>", .notWellFormed),
        ("<?xml version=\"1.0\" encoding = \"latin1\" ?>", .unsupportedEncoding),
        ("<?xml version='1.0' encoding='UTF-16'?>", .unsupportedEncoding),
        ("<?xml version='1.0' encoding='ISO-2022-CN-EXT'?>", .unsupportedEncoding),
        ("<?xml version='1.0' encoding='no-such-thing'?>", .unsupportedEncoding),
        ("GET / HTTP/1.1\r\n\r\n", .notWellFormed), ("\u{16}\u{3}\u{1}", .notWellFormed),
        ("x", .notWellFormed), ("</stream:stream>", .notWellFormed), ("<>", .notWellFormed),
        // RFC 6120 §11.6: U+FEFF is a character like another, and text before the root element.
        ("\u{FEFF}<?xml version='1.0'?>", .notWellFormed),
        ("\u{FEFF}<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>", .notWellFormed),
    ])
    func wrong(_ xml: String, _ condition: StreamError.Condition) {
        let expected = StreamScript(condition: condition)
        #expect(StreamScript.reading(xml + "<stream:stream>") == expected)
        #expect(StreamScript.reading((xml + "<stream:stream>").utf8.map { [$0] }) == expected)
    }

    @Test("Versions", arguments: [
        (nil, 0, 9), ("1.0", 1, 0), ("01.00", 1, 0), ("2.13", 2, 13), ("1", -1, -1), ("1.0.0", -1, -1),
        ("+1.0", -1, -1), ("-1.0", -1, -1), (".", -1, -1), ("1.", -1, -1), ("", -1, -1), (" 1.0", -1, -1),
        ("99999999999999999999.0", -1, -1),
    ] as [(String?, Int, Int)])
    func versions(_ text: String?, _ major: Int, _ minor: Int) {
        let version = StreamHeader.version(text)
        #expect(version?.major == (major < 0 ? nil : major))
        #expect(version?.minor == (minor < 0 ? nil : minor))
    }

    @Test("What is written is read again")
    func writing() {
        var writer = XMLWriter()
        let header = StreamHeader(
            to: "a'b<\"&>", from: "ü", id: "1\n2", language: "de", contentNamespace: .server)
        writer.write(header)
        #expect(String(decoding: writer.bytes, as: UTF8.self).hasPrefix("<?xml version='1.0'?><stream:stream "))
        #expect(StreamScript.reading([writer.bytes]).events == ["opened a'b<\"&> ü 1\n2 1.0 de jabber:server"])
    }
}
