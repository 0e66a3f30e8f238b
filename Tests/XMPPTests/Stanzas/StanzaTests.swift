import Testing
@testable import XMPP

@Suite("Stanzas") struct StanzaTests {
    @Test("What is no stanza is refused with the condition that RFC 6120 §8 names", arguments: [
        ("<message to='@'/>", StanzaError.Condition.jidMalformed),
        ("<presence from='a@'/>", .jidMalformed),
        ("<presence type='available'/>", .badRequest),
        ("<presence type='nonsense'/>", .badRequest),
        ("<iq type='get'><a/></iq>", .badRequest),
        ("<iq id='1'><a/></iq>", .badRequest),
        ("<iq id='1' type='fetch'><a/></iq>", .badRequest),
        ("<iq id='1' type='get'/>", .badRequest),
        ("<iq id='1' type='set'><a/><b/></iq>", .badRequest),
    ])
    func refused(_ xml: String, _ condition: StanzaError.Condition) {
        for element in [parse(xml), tree(parse(xml))] {
            #expect { try Stanza.parse(element) } throws: { ($0 as? StanzaError)?.condition == condition }
        }
    }

    @Test("Elements of other names or namespaces are no stanzas")
    func others() throws {
        #expect(try Stanza.parse(parse("<note/>")) == nil)
        #expect(try Stanza.parse(parse("<message xmlns='urn:x'/>")) == nil)
    }

    @Test("Writing a stanza gives the same as its element", arguments: [
        "<message to='b@b.example' from='a@a.example/x' type='chat' id='1' xml:lang='de'><body>&amp;</body></message>",
        "<message xmlns:p='urn:p' p:x='it&apos;s' id='&lt;'><a xmlns='urn:x'><b/></a>text</message>",
        "<presence/>", "<presence type='unavailable' to='b.example'><priority>3</priority></presence>",
        "<iq id='1' type='result'/>", "<iq id='1' type='get'><q xmlns='urn:q'/></iq>",
    ])
    func writing(_ xml: String) throws {
        for element in [parse(xml), tree(parse(xml))] {
            var stanza = try #require(try Stanza.parse(element))
            stanza.to = JID("new@c.example/o'x")
            var writer = XMLWriter()
            writer.write(stanza, in: nil)
            let written = parse(String(decoding: writer.bytes, as: UTF8.self))
            #expect(Set(written.attributes) == Set(stanza.element.attributes))
            #expect(view(stanza.element).content.map(text) == written.content.map(text))
            #expect(stanza.element.xml.utf8.count == written.xml.utf8.count)
            var inStream = XMLWriter()
            inStream.write(stanza)
            #expect(writer.bytes.count == inStream.bytes.count + " xmlns='jabber:client'".utf8.count)
        }
    }

    @Test("A bounce exchanges the addresses, keeps id and content and holds one error (RFC 6120 §8.3.1)")
    func bounce() throws {
        let message = try Message(parse(
            "<message to='b.example' from='a@a.example/x' id='1'><error/><body>x</body></message>"))
        let bounce = message.bounced(.itemNotFound)
        #expect(bounce.to == message.from)
        #expect(bounce.from == message.to)
        #expect(bounce.id == "1" && bounce.isError && bounce.body == "x")
        #expect(bounce.payload.children("error").count == 1)
        #expect(bounce.error?.condition == .itemNotFound)
        #expect(bounce.child("error")?["code"] == "404")
        #expect(bounce.stanza.bounced(.badRequest) == nil)
        let iq = try IQ(parse("<iq id='1' type='get' from='a.example'><q xmlns='urn:q'/></iq>"))
        #expect(iq.stanza.bounced(.forbidden)?.element["type"] == "error")
        #expect(iq.result().stanza.bounced(.forbidden) == nil)
        let presence = Presence(to: JID("b.example"), kind: .subscribe)
        #expect(presence.bounced(.notAllowed).element["type"] == "error")
    }

    @Test("Every condition survives being written and read", arguments: StanzaError.Condition.allCases)
    func conditions(_ condition: StanzaError.Condition) {
        var error = StanzaError(condition, nil, "Because <so>.").with(Element("detail", "urn:d") { Element("x") })
        error.language = "en"
        let read = StanzaError(view(error.element))
        #expect(read == error)
        #expect(read.detail?.xml == "<detail xmlns='urn:d'><x/></detail>")
        #expect((error.element["code"] == nil) == (condition == .policyViolation))
    }

    @Test("Unknown conditions become undefined-condition; missing errors too")
    func unknown() throws {
        let error = StanzaError(parse(
            "<error type='wait' code='999'><news xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"))
        #expect(error.condition == .undefinedCondition && error.kind == .wait)
        #expect(try Message(parse("<message type='error'/>")).error?.condition == .undefinedCondition)
        let gone = StanzaError(parse(
            "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:a.example</gone></error>"))
        #expect(gone.address == "xmpp:a.example")
    }

    @Test("Stream errors survive being written and read", arguments: StreamError.Condition.allCases)
    func streamErrors(_ condition: StreamError.Condition) {
        #expect(StreamError(view(StreamError(condition, "Why").element)) == StreamError(condition, "Why"))
    }

    @Test(
        "Message and presence defaults",
        arguments: [("<priority> 5\n</priority>", 5), ("<priority>999</priority>", 0)])
    func presence(_ xml: String, _ priority: Int8) throws {
        let presence = try Presence(parse("<presence>\(xml)<show>dnd</show></presence>"))
        #expect(presence.priority == priority && presence.show == .dnd && presence.kind == .available)
        #expect(try Message(parse("<message type='strange'/>")).kind == .normal)
        #expect("".trimmedXMLSpace == "" && " \n".trimmedXMLSpace == "")
    }

    private func tree(_ element: Element) -> Element {
        var element = element
        element.edit { _ in }
        return element
    }

    private func text(_ content: Element.Content) -> String {
        switch content {
        case .element(let element): element.xml
        case .text(let text): text
        }
    }
}
