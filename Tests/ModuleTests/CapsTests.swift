import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("Entity capabilities (XEP-0115)") struct CapsTests {
    @Test("The verification strings of the examples, whatever the order", arguments: [false, true])
    func examples(isReversed: Bool) throws {
        let features = """
            <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>
            <feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/>
            """
        // XEP-0115 §5.2.
        let simple = "<identity category='client' type='pc' name='Exodus 0.9.1'/>" + features
        // XEP-0115 §5.3.
        let complex = """
            <identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>
            <identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>\(features)
            <x xmlns='jabber:x:data' type='result'>
              <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>
              <field var='ip_version'><value>ipv6</value><value>ipv4</value></field>
              <field var='software'><value>Psi</value></field><field var='software_version'><value>0.11</value></field>
              <field var='os'><value>Mac</value></field><field var='os_version'><value>10.5.1</value></field></x>
            """
        for (xml, expected) in [(simple, "QgayPKawpkPSDYmwT/WM94uAlu0="), (complex, "q07IKJEyjvHSyhy//CH0CxmKi8w=")] {
            let query = "<query xmlns='http://jabber.org/protocol/disco#info'>\(xml)</query>"
            var info = try DiscoInfo(try Element.parse(query))
            if isReversed {
                info.identities.reverse()
                info.features.reverse()
            }
            #expect(info.verificationString() == expected)
        }
    }

    @Test(
        "Information that lacks something is refused",
        arguments: [
            "<identity category='client'/>", "<identity type='pc'/>", "<feature/>",
            "<x xmlns='jabber:x:data' type='nonsense'/>", "<x xmlns='jabber:x:data' type='result'><field/></x>",
        ])
    func malformed(xml: String) throws {
        let query = try Element.parse("<query xmlns='http://jabber.org/protocol/disco#info'>\(xml)</query>")
        #expect(throws: StanzaError.self) { try DiscoInfo(query) }
    }

    @Test("A form without FORM_TYPE changes nothing")
    func formWithoutType() {
        let plain = DiscoInfo(features: [.discoInfo])
        var extended = plain
        extended.forms = [DataForm(.result, fields: [.text("a", "b")])]
        #expect(plain.verificationString() == extended.verificationString())
    }

    @Test("After login the stream features carry a hash that stands for the host's information")
    func streamFeature() async throws {
        let config = "admins: [friar@montague.example]"
        try await play(modules: [Disco.self, Caps.self, ContactAddresses.self], config: config) { stage in
            let client = try await stage.connect(to: "montague.example")
            try await client.sends(Self.header)
            let before = try await client.receives("<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>")
            #expect(!before.has("c", .caps))
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let caps = try #require(try await Self.caps(stage))
            let ver = try #require(caps["ver"])
            #expect(caps["hash"] == "sha-1" && caps["node"] == "urn:martlet:server")
            let node = "urn:martlet:server#\(ver)"
            let query = "<query xmlns='http://jabber.org/protocol/disco#info' node='\(node)'/>"
            let answer = try #require(try await romeo.asks(.get, query, to: "montague.example"))
            #expect(answer["node"] == node)
            #expect(answer.has("x", .dataForms))
            #expect(try DiscoInfo(answer).verificationString() == ver)
            let plain = try #require(try await romeo.asks(.get, DiscoTests.info, to: "montague.example"))
            #expect(try DiscoInfo(plain) == DiscoInfo(answer))
        }
    }

    @Test("The hash follows what is loaded and configured, and an old one is not found")
    func changes() async throws {
        try await play(modules: [Disco.self, Caps.self, Ping.self, ContactAddresses.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let first = try await Self.caps(stage)?["ver"]
            try stage.reload("modules: { disco: on, caps: on, ping: off, contact: on }")
            let second = try await Self.caps(stage)?["ver"]
            // Only the form changes, and the module that makes it stays loaded.
            try stage.reload(
                "admins: [friar@montague.example]\nmodules: { disco: on, caps: on, ping: off, contact: on }")
            let third = try await Self.caps(stage)?["ver"]
            #expect(Set([first, second, third]).count == 3)
            for old in [first, second, "", "AAAA"] {
                let node = "urn:martlet:server#\(old ?? "")"
                let query = "<query xmlns='http://jabber.org/protocol/disco#info' node='\(node)'/>"
                #expect(try await romeo.isRefused(.get, query, to: "montague.example").condition == .itemNotFound)
            }
            try stage.reload("modules: { disco: on, caps: off }")
            let last = try await Self.caps(stage)
            #expect(last == nil)
        }
    }

    private static let header =
        "<stream:stream to='montague.example' version='1.0' xmlns='jabber:client'"
        + " xmlns:stream='http://etherx.jabber.org/streams'>"

    /// What a client that has just authenticated is shown.
    @ServerActor
    private static func caps(_ stage: Stage) async throws -> Element? {
        let client = try await stage.connect(to: "montague.example")
        try await client.sends(header)
        try await client.receives("<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>")
        client.stream?.authenticate("romeo")
        client.restart()
        try await client.sends(header)
        let features = try await client.receives("<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>")
        return features.child("c", .caps)
    }
}
