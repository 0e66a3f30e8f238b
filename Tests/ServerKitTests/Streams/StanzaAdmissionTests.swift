import ServerKit
import TestKit
import Testing

@Suite("Stanzas of a client (RFC 6120 §8, §10)") struct StanzaAdmissionTests {
    private let romeo = "romeo@montague.example/phone"

    @Test("IQs that are none are answered with bad-request, answers never", arguments: [
        ("<iq type='get'><query xmlns='urn:example:x'/></iq>", "bad-request"),
        ("<iq type='get' id='1'/>", "bad-request"),
        ("<iq type='set' id='1'><a xmlns='urn:example:x'/><b xmlns='urn:example:x'/></iq>", "bad-request"),
        ("<iq type='fetch' id='1'><a xmlns='urn:example:x'/></iq>", "bad-request"),
        ("<iq id='1'><a xmlns='urn:example:x'/></iq>", "bad-request"),
        ("<iq type='get' id='1' to='a@b@c'><a xmlns='urn:example:x'/></iq>", "jid-malformed"),
        ("<message to='@montague.example'><body>x</body></message>", "jid-malformed"),
        ("<presence to='juliet@ca pulet.example'/>", "jid-malformed"),
        ("<iq type='get' id='1'><query xmlns='urn:example:x'/></iq>", "service-unavailable"),
        ("<iq type='get' id='1' to='montague.example'><query xmlns='urn:example:x'/></iq>", "service-unavailable"),
        ("<iq type='get' id='1' to='romeo@montague.example/gone'><query xmlns='urn:example:x'/></iq>",
            "service-unavailable"),
        ("<message to='montague.example'><body>x</body></message>", "service-unavailable"),
        ("<message to='juliet@verona.example'><body>x</body></message>", "remote-server-not-found"),
        ("<iq type='get' id='1' to='nobody@montague.example'><q xmlns='urn:example:x'/></iq>", "service-unavailable"),
        ("<message to='nobody@montague.example'><body>x</body></message>", "service-unavailable"),
    ])
    func refused(_ xml: String, _ condition: String) async throws {
        try await play(modules: [Delivery.self]) { stage in
            let client = try await stage.enter(romeo)
            try await client.sends(xml)
            let answer = try #require(await client.everything().first)
            #expect(answer["type"] == "error")
            #expect(answer.child("error")?.child(condition, "urn:ietf:params:xml:ns:xmpp-stanzas") != nil, "\(answer)")
            #expect(answer.children.filter { $0.name == "error" }.count == 1)
            try await stage.staysSilent()
        }
    }

    @Test("Nothing comes back", arguments: [
        "<iq type='result'/>", "<iq type='error' to='a@b@c' id='1'/>", "<iq type='result' to='a@b@c' id='1'/>",
        "<message type='error' to='a@b@c'/>", "<presence type='error' to='a@b@c'/>",
        "<iq type='result' id='1'/>", "<iq type='error' id='1' to='montague.example'/>",
        "<iq type='result' id='1' to='romeo@montague.example/gone'/>",
        "<iq type='result' id='1' to='nobody@x.example'/>",
        "<message type='error' to='nobody@montague.example'/>", "<message type='error' to='nobody@verona.example'/>",
        "<presence to='nobody@montague.example'/>", "<presence to='montague.example'/>",
        "<iq type='result' id='host-1' to='montague.example'/>",
    ])
    func silent(_ xml: String) async throws {
        try await play(modules: []) { stage in
            let client = try await stage.enter(romeo)
            try await client.sends(xml)
            try await stage.staysSilent()
            #expect(!client.isClosed)
        }
    }

    @Test("An error element of the sender does not pass for the server's")
    func forgedError() async throws {
        try await play(modules: []) { stage in
            let client = try await stage.enter(romeo)
            try await client.sends("""
                <message to='a@b@c'><error type='auth'>
                  <forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
                """)
            let answer = try #require(await client.everything().first)
            #expect(answer.children.filter { $0.name == "error" }.count == 1)
            #expect(answer.error?.condition == .jidMalformed)
        }
    }

    @Test("Stanzas carry the sender's full JID and the language of its stream (RFC 6120 §8.1.2.1, §8.1.5)")
    func stamps() async throws {
        try await play(modules: []) { stage in
            let account = try await stage.loadedAccount("romeo")
            let (phone, laptop) = (Wire(stage.server), Wire(stage.server))
            _ = phone.enters(account, "phone", language: "it")
            _ = laptop.enters(account, "laptop")
            _ = laptop.heard()
            let query = "<query xmlns='urn:example:x'/></iq>"
            for (from, language) in [
                ("", ""), (" from='romeo@montague.example'", ""), (" from='\(romeo)'", " xml:lang='de'"),
            ] {
                phone.says("<iq type='get' id='1' to='romeo@montague.example/laptop'\(from)\(language)>" + query)
                let heard = try Element.parse(laptop.heard())
                #expect(heard["from"] == romeo)
                #expect(heard["xml:lang"] == (language.isEmpty ? "it" : "de"))
            }
        }
    }
}

/// Gives messages to all resources.
private final class Delivery: Module {
    static let info = ModuleInfo("delivery", "Delivers messages")
    init(options: NoOptions) {}
    func load(into host: ModuleHost) {
        host.claim(.messageArrived) { event in
            for resource in event.account.resources { resource.send(event.message) }
            return true
        }
    }
}

extension Element {
    fileprivate var error: StanzaError? { child("error").map { StanzaError($0) } }
}
