import Testing
@testable import XMPP

private let outer: Namespace = "urn:example:outer"
private let inner: Namespace = "urn:example:inner"

@Suite("Elements") struct ElementTests {
    @Test("Children inherit their parent's namespace, however deep, and nil attributes are left out")
    func building() {
        let number = 4
        let optional: Element? = nil
        let element = Element("query", outer, ["ver": "1", "none": nil]) {
            Element("item") { Element("group", text: "Friends & foes") }
            optional
            for number in 1...2 { Element("n", text: String(number)) }
            if number > 3 { Element("other", inner) { Element("deep") } } else { "never" }
        }
        #expect(
            element.xml == """
                <query xmlns='urn:example:outer' ver='1'><item><group>Friends &amp; foes</group></item><n>1</n><n>2</n>\
                <other xmlns='urn:example:inner'><deep/></other></query>
                """)
        #expect(element.child("item")?.child("group")?.namespace == outer)
        #expect(element.child("other", inner)?.has("deep") == true)
    }

    @Test(
        "A sealed element is passed on as it is",
        arguments: [
            "<message xmlns='jabber:client'/>", "<message/>", "<a xmlns='urn:x&amp;y' b='&gt;&apos;' c=''>text</a>",
            "<message xmlns='jabber:client' to='a@b' xml:lang='en'><body>1 &lt; 2</body><x xmlns='urn:x'/></message>",
        ])
    func sealed(xml: String) throws {
        let bytes = Array(xml.utf8)
        let original = parse(xml)
        for (bytes, offset) in [(bytes, 0), ([1, 2, 3] + bytes, 3)] {
            let sealed = try #require(Element(sealed: bytes, from: offset))
            #expect(sealed.name == original.name && sealed.namespace == original.namespace)
            #expect(sealed.attributes == original.attributes && sealed.children.isEmpty && sealed.text.isEmpty)
            let outside = Element("forwarded", outer) { sealed }
            #expect(outside.xml == Element("forwarded", outer) { original }.xml)
            var writer = XMLWriter()
            writer.write(sealed, in: original.namespace)
            #expect(!String(decoding: writer.bytes, as: UTF8.self).contains(" xmlns='\(original.namespace.uri)'"))
        }
    }

    @Test(
        "What is no element is not sealed",
        arguments: ["", "<", "<>", "</>", "a<b/>", "<a", "<a>", "<a/> ", "<a xmlns='", "<a xmlns='>", "<a/></a>", "\u{0}"])
    func unsealed(text: String) {
        #expect(Element(sealed: Array(text.utf8)) == nil)
        #expect(Element(sealed: Array(text.utf8), from: 99) == nil)
        #expect(Element(sealed: Array(text.utf8), from: -1) == nil)
    }

    @Test("A child is appended to a view as to a tree")
    func appending() {
        for xml in [
            "<message xmlns='jabber:client' to='a@b'><body>1 &lt; 2</body><x xmlns='urn:x'><y/></x></message>",
            "<message xmlns='jabber:client'>text</message>", "<message xmlns='jabber:client'/>",
        ] {
            for child in [
                Element("id", inner, ["by": "a'b<&>@c", "empty": ""]),
                Element("x", inner) { Element("y") { "text & more" }; Element("z", outer) { Element("w", inner) }; "end" },
                Element("body", text: "2"), Element("a", inner, ["xml:lang": "en"]), view(Element("a", inner)),
            ] {
                var appended = view(parse(xml))
                var tree = appended
                tree["to"] = tree["to"]
                appended.append(child)
                tree.append(child)
                appended.append(Element("last", outer))
                tree.append(Element("last", outer))
                #expect(appended.xml == tree.xml)
                #expect(parse(appended.xml).xml == tree.xml)
                let found = appended.children
                #expect(found.map(\.name) == tree.children.map(\.name))
                #expect(found.map(\.xml) == tree.children.map(\.xml))
                #expect(found.map { $0.children.map(\.namespace) } == tree.children.map { $0.children.map(\.namespace) })
                #expect(appended.has("last", outer) && appended.text == tree.text)
                #expect(found.last?.name == "last" && found.dropLast().last?.attributes == child.attributes)
            }
        }
    }

    @Test("Views and trees serialise alike")
    func viewEqualsTree() {
        let tree = Element("message", .client, ["to": "a'b<c>&\"\t\n\r", "xml:lang": "en"]) {
            "text \r\n\t' \" & < >"
            Element("a", outer) { Element("b", inner, ["x": "1"]) { Element("c", outer) { "ü😀" } } }
            Element("body")
            "tail"
        }
        let parsed = view(tree)
        #expect(parsed.xml == tree.xml)
        #expect(view(parsed).xml == tree.xml)
        #expect(parsed["to"] == "a'b<c>&\"\t\n\r")
        #expect(parsed["xml:lang"] == "en")
        #expect(parsed.text == tree.text)
        #expect(parsed.children.map(\.name) == ["a", "body"])
        #expect(parsed.child("a", outer)?.child("b", inner)?.child("c", outer)?.text == "ü😀")
        #expect(parsed.child("a") == nil)
    }

    @Test("A parsed child takes or drops its declaration as its new parent needs")
    func moving() throws {
        let source = parse(
            "<message><a xmlns='urn:example:outer'><b><c xmlns='urn:example:inner'/></b></a><body>x</body></message>")
        let child = try #require(source.child("a", outer))
        #expect(Element("p", outer) { child }.xml
            == "<p xmlns='urn:example:outer'><a><b><c xmlns='urn:example:inner'/></b></a></p>")
        #expect(Element("p", inner) { child }.xml
            == "<p xmlns='urn:example:inner'><a xmlns='urn:example:outer'>"
            + "<b><c xmlns='urn:example:inner'/></b></a></p>")
        let body = try #require(source.child("body"))
        #expect(Element("p", inner) { body }.xml
            == "<p xmlns='urn:example:inner'><body xmlns='jabber:client'>x</body></p>")
        let deep = try #require(child.child("b")?.child("c", inner))
        #expect(deep.xml == "<c xmlns='urn:example:inner'/>")
        #expect(view(Element("p", outer) { child }).firstChild?.child("b")?.has("c", inner) == true)
    }

    @Test("Changing a view changes that copy only")
    func editing() {
        let original = parse("<iq id='1' type='get'><q xmlns='urn:example:outer'>x<r/></q></iq>")
        var copy = original
        copy["id"] = "2"
        copy["type"] = nil
        copy["missing"] = nil
        copy["new"] = "'"
        copy.append(Element("error", text: "bad"))
        #expect(copy.xml == "<iq xmlns='jabber:client' id='2' new='&apos;'>"
            + "<q xmlns='urn:example:outer'>x<r/></q><error>bad</error></iq>")
        #expect(original["id"] == "1" && original["type"] == "get" && original.children.count == 1)
        copy.removeChildren { $0.is("q", outer) }
        #expect(copy.children.map(\.name) == ["error"])
        copy.removeChildren { $0.name == "nothing" }
        #expect(copy.text(of: "error") == "bad")
        #expect(copy.text(of: "none") == nil)
    }

    @Test("Prefixed attributes keep their declarations, which do not count as attributes")
    func prefixes() {
        let element = parse("<a xmlns:p='urn:p' p:x='1' y='2'><b xmlns:q='urn:q' q:z='3'/></a>")
        #expect(element.attributes.map(\.name) == ["p:x", "y"])
        #expect(element["p:x"] == "1")
        #expect(element["xmlns:p"] == nil)
        var changed = element
        changed["y"] = nil
        #expect(changed.xml == "<a xmlns='jabber:client' xmlns:p='urn:p' p:x='1'><b xmlns:q='urn:q' q:z='3'/></a>")
        #expect(changed.attributes.map(\.name) == ["p:x"])
    }

    @Test("Characters survive as they are or, where XML has none for them, as U+FFFD", arguments: [
        ("plain", "plain"), ("&amp;", "&amp;"), ("<>'\"&", "<>'\"&"), ("\t\n\r", "\t\n\r"), ("", ""),
        ("a\u{0}b\u{1F}c", "a\u{FFFD}b\u{FFFD}c"), ("\u{FFFE}x\u{FFFF}", "\u{FFFD}x\u{FFFD}"),
        ("\u{FF01}\u{FFFD}", "\u{FF01}\u{FFFD}"), ("🐦é]]>", "🐦é]]>"),
    ])
    func escaping(_ input: String, _ expected: String) {
        let element = view(Element("a", outer, ["b": input], text: input))
        #expect(element["b"] == expected)
        #expect(element.text == expected)
        #expect(parse(element.xml).text == expected)
        #expect(element.xml.utf8.allSatisfy { $0 >= 0x20 || $0 == 9 || $0 == 10 })
    }

    @Test("JID attributes are unescaped and checked")
    func jids() {
        let element = view(Element("a", outer, ["to": "o@a.example/it's & that", "bad": "@", "ok": "b.example"]))
        #expect(element.jid("to")?.resourcepart == "it's & that")
        #expect(element.jid("ok") == JID("b.example"))
        #expect(element.jid("bad") == nil)
        #expect(element.jid("none") == nil)
    }

    @Test("Adjacent texts become one; a builder is reusable and patient with unbalanced calls")
    func builder() {
        var builder = TapeBuilder()
        #expect(builder.finish() == nil)
        builder.endElement()
        withBytes("lost") { builder.text($0) }
        for _ in 1...2 {
            withBytes("a") { builder.startElement($0, outer) }
            withBytes("x<") { builder.text($0) }
            withBytes("y") { builder.text($0) }
            #expect(builder.finish() == nil)
            #expect(builder.depth == 1)
            builder.endElement()
            let element = builder.finish()
            #expect(element?.xml == "<a xmlns='urn:example:outer'>x&lt;y</a>")
            #expect(element?.content.count == 1)
            #expect(builder.count == 0)
        }
    }

    @Test("An element that was built without a namespace takes the one it is put into")
    func lateNamespace() {
        var parent = Element("p", inner)
        parent.append(Element("q") { Element("r") { Element("s", outer) } })
        #expect(parent.xml == "<p xmlns='urn:example:inner'><q><r><s xmlns='urn:example:outer'/></r></q></p>")
        #expect(parent.firstChild?.firstChild?.namespace == inner)
    }
}
