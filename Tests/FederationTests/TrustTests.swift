import ServerKit
import TestKit
import Testing

@testable import Federation

@Suite("Who is believed", .serialized) struct TrustTests {
    private let message = "<message to='juliet@capulet.example' type='chat' id='1'><body>x</body></message>"

    @Test(
        "A certificate of nobody's is refused, and everybody is told why",
        arguments: ["capulet.example", "montague.example"])
    func stranger(_ domain: String) async throws {
        try await playBetweenServers(strangers: [domain]) { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            let juliet = try await servers.capulet.enter("juliet@capulet.example/balcony")
            try await romeo.sends(message)
            await servers.settle()
            #expect(await juliet.takeInbox().isEmpty)
            if domain == "capulet.example" {
                let error = await romeo.takeInbox().first?.child("error")
                #expect(error?.has("remote-server-not-found", .stanzaErrors) == true)
                #expect(error?.text(of: "text", .stanzaErrors)?.contains("self-signed") == true)
            } else {
                // The one who did not believe notes it for its administrator.
                #expect(
                    servers.capulet.federation.refusals.entries["montague.example"]?.reason.contains("self-signed")
                        == true)
            }
        }
    }

    @Test("Where the policy allows it, DNS is enough (XEP-0220)")
    func dialback() async throws {
        try await playBetweenServers(s2s: "policy: dialback", strangers: ["montague.example", "capulet.example"]) {
            servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            let juliet = try await servers.capulet.enter("juliet@capulet.example/balcony")
            try await romeo.sends(message)
            await servers.settle()
            #expect(await juliet.takeInbox().map { $0["id"] } == ["1"])
            #expect(servers.montague.federation.streams.values.contains { $0.authentication == "dialback" })
            try await juliet.sends("<message to='romeo@montague.example' type='chat' id='2'><body>y</body></message>")
            await servers.settle()
            #expect(await romeo.takeInbox().map { $0["id"] } == ["2"])
        }
    }

    @Test("One domain may need less proof than others")
    func perDomain() async throws {
        let options = "domains: { capulet.example: { policy: dialback }, montague.example: { policy: dialback } }"
        try await playBetweenServers(s2s: options, strangers: ["montague.example", "capulet.example"]) { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            let juliet = try await servers.capulet.enter("juliet@capulet.example/balcony")
            try await romeo.sends(message)
            await servers.settle()
            #expect(await juliet.takeInbox().map { $0["id"] } == ["1"])
        }
    }

    @Test(
        "Who is on no list, or on the wrong one, is not spoken to",
        arguments: ["allow: [else.example]", "deny: [capulet.example]", "policy: refuse"])
    func lists(_ options: String) async throws {
        try await playBetweenServers(s2s: options) { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            try await romeo.sends(message)
            await servers.settle()
            let error = await romeo.takeInbox().first?.child("error")
            #expect(error?.has("not-allowed", .stanzaErrors) == true)
            let peer = try await servers.rawPeer()
            #expect(try await !peer.secures(from: "capulet.example"))
            #expect(await peer.hears("policy-violation"))
        }
    }

    // MARK: Hostile peers

    @Test("Nothing is taken in plain text, nor before authentication")
    func tooEarly() async throws {
        try await playBetweenServers { servers in
            let stanza = "<message from='juliet@capulet.example' to='romeo@montague.example'><body>x</body></message>"
            let plain = try await servers.rawPeer()
            plain.opens(from: "capulet.example")
            #expect(await plain.hears("<starttls"))
            #expect(await plain.hears("<required"))
            plain.says(stanza)
            #expect(await plain.hears("not-authorized"))
            #expect(await plain.isCutOff())
            let secured = try await servers.rawPeer()
            #expect(try await secured.secures(from: "capulet.example"))
            secured.says(stanza)
            #expect(await secured.hears("not-authorized"))
            let dialback = try await servers.rawPeer()
            dialback.opens(from: "capulet.example")
            #expect(await dialback.hears("<starttls"))
            dialback.says("<db:result from='capulet.example' to='montague.example'>key</db:result>")
            #expect(await dialback.hears("policy-violation"))
        }
    }

    @Test(
        "A certificate is good for its own domain",
        arguments: ["other.example", "example", "rooms.montague.example", nil])
    func wrongName(_ claimed: String?) async throws {
        try await playBetweenServers { servers in
            let peer = try await servers.rawPeer()
            let isOpen = try await peer.secures(from: claimed)
            if isOpen {
                #expect(!peer.heard.contains("EXTERNAL"))
                peer.says("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>")
                #expect(await peer.hears("<failure"))
            } else {
                #expect(await peer.hears("invalid-from"))
            }
        }
    }

    @Test("The authorization identity is that of the stream (RFC 6120 §6.3.8)")
    func authzid() async throws {
        try await playBetweenServers { servers in
            let peer = try await servers.rawPeer()
            #expect(try await peer.secures(from: "capulet.example"))
            #expect(peer.heard.contains("EXTERNAL"))
            let name = Base64.encode(Array("other.example".utf8))
            peer.says("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>\(name)</auth>")
            #expect(await peer.hears("invalid-authzid"))
        }
    }

    @Test("Who has authenticated speaks for its own domain only (RFC 6120 §8.1.2.2)")
    func spoofing() async throws {
        try await playBetweenServers { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            for from in ["juliet@other.example", "romeo@montague.example", "x@rooms.capulet.example", ""] {
                let peer = try await servers.rawPeer()
                #expect(try await peer.authenticates(as: "capulet.example"))
                let sender = from.isEmpty ? "" : "from='\(from)'"
                peer.says("<message \(sender) to='romeo@montague.example'><body>x</body></message>")
                #expect(await peer.hears(from.isEmpty ? "improper-addressing" : "invalid-from"))
                #expect(await peer.isCutOff())
            }
            let peer = try await servers.rawPeer()
            #expect(try await peer.authenticates(as: "capulet.example"))
            peer.says(
                "<message from='a@capulet.example' to='romeo@montague.example/orchard'><body>true</body></message>")
            await servers.settle()
            #expect(await romeo.takeInbox().count == 1)
            // This server is no relay. RFC 6120 §8.1.1.2.
            peer.says("<message from='a@capulet.example' to='b@elsewhere.example' id='1'><body>x</body></message>")
            await servers.settle()
            #expect(await peer.hears("host-unknown"))
            #expect(servers.montague.federation.routes.keys.allSatisfy { $0.remote != "elsewhere.example" })
            #expect(await romeo.takeInbox().isEmpty)
            let client = try await servers.rawPeer()
            #expect(try await client.authenticates(as: "capulet.example"))
            client.says(
                "<message xmlns='jabber:client' from='a@capulet.example' to='romeo@montague.example'><body>x</body></message>"
            )
            #expect(await client.hears("invalid-namespace"))
        }
    }

    @Test("What nobody asked for proves nothing (XEP-0220 §3.1)")
    func unsolicited() async throws {
        try await playBetweenServers(s2s: "policy: dialback") { servers in
            let peer = try await servers.rawPeer(with: "other.example")
            #expect(try await peer.secures(from: "capulet.example"))
            let id = peer.streamID
            peer.says("<db:result from='capulet.example' to='montague.example' type='valid'/>")
            peer.says("<db:verify from='capulet.example' to='montague.example' id='\(id)' type='valid'/>")
            peer.says("<message from='a@capulet.example' to='romeo@montague.example'><body>x</body></message>")
            #expect(await peer.hears("not-authorized"))
        }
    }

    @Test("Nothing goes back to a peer but for the domain that it has proved (XEP-0288 §2.2)")
    func backway() async throws {
        try await playBetweenServers { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            // It has the certificate of capulet.example, and says that it is the victim.
            servers.names.serve("victim.example", port: 1)
            let peer = try await servers.rawPeer()
            #expect(try await peer.secures(from: "victim.example"))
            peer.says(
                "<bidi xmlns='urn:xmpp:bidi'/><db:result from='capulet.example' to='montague.example'>x</db:result>")
            #expect(await peer.hears("type='valid'"))
            peer.says("<enable xmlns='urn:xmpp:sm:3'/>")
            #expect(await peer.hears("<enabled"))
            try await romeo.sends("<message to='x@victim.example' type='chat' id='1'><body>secret</body></message>")
            try await romeo.sends("<message to='x@capulet.example' type='chat' id='2'><body>yours</body></message>")
            await servers.advance(by: .seconds(2))
            await servers.settle()
            #expect(await peer.hears("yours"))
            #expect(!peer.heard.contains("secret"))
        }
    }

    @Test("Many false claims end a stream")
    func falseClaims() async throws {
        try await playBetweenServers { servers in
            let peer = try await servers.rawPeer()
            #expect(try await peer.secures(from: "capulet.example"))
            for n in 0..<20 { peer.says("<db:result from='x\(n).example' to='montague.example'>x</db:result>") }
            #expect(await peer.hears("policy-violation"))
        }
    }

    @Test("Who may not be spoken to any more loses its stream at the reload")
    func reload() async throws {
        try await playBetweenServers { servers in
            let peer = try await servers.rawPeer()
            #expect(try await peer.authenticates(as: "capulet.example"))
            servers.denyCapulet()
            #expect(await peer.hears("policy-violation"))
        }
    }

    @Test("A key that is made up, or belongs to another stream, is refused (XEP-0220 §2.2.1)")
    func wrongKey() async throws {
        try await playBetweenServers(s2s: "policy: dialback") { servers in
            let pair = DomainPair(local: "capulet.example", remote: "montague.example")
            let replayed = servers.capulet.federation.dialback.key(pair, streamID: "another")
            for key in ["made-up", replayed] {
                let peer = try await servers.rawPeer(with: "other.example")
                #expect(try await peer.secures(from: "capulet.example"))
                peer.says("<db:result from='capulet.example' to='montague.example'>\(key)</db:result>")
                await servers.settle()
                #expect(await peer.hears("type='invalid'"))
                #expect(await peer.hears("</stream:stream>"))
            }
            // The right one, as whoever has the secret would make it.
            let peer = try await servers.rawPeer(with: "other.example")
            #expect(try await peer.secures(from: "capulet.example"))
            let key = servers.capulet.federation.dialback.key(pair, streamID: peer.streamID)
            peer.says("<db:result from='capulet.example' to='montague.example'>\(key)</db:result>")
            await servers.settle()
            #expect(await peer.hears("type='valid'"))
        }
    }

    @Test("Streams for nobody here, and those that begin wrongly, are ended")
    func wrongStreams() async throws {
        try await playBetweenServers { servers in
            let cases: [(String, String)] = [
                (
                    "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' from='a.example' to='b.example' version='1.0'>",
                    "host-unknown"
                ),
                (
                    "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' from='a.example' version='1.0'>",
                    "improper-addressing"
                ),
                (
                    "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' from='a.example' to='montague.example'>",
                    "unsupported-version"
                ),
                (
                    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='a.example' to='montague.example' version='1.0'>",
                    "invalid-namespace"
                ),
                (
                    "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' from='montague.example' to='montague.example' version='1.0'>",
                    "invalid-from"
                ),
                ("<!DOCTYPE x>", "restricted-xml"),
            ]
            for (xml, condition) in cases {
                let peer = try await servers.rawPeer()
                peer.says(xml)
                #expect(await peer.hears(condition), "\(xml)")
                #expect(await peer.isCutOff())
            }
        }
    }

    @Test("A peer that never proves who it is loses its connection")
    func idle() async throws {
        try await playBetweenServers(s2s: "authentication_time: 30 s") { servers in
            let peer = try await servers.rawPeer()
            peer.opens(from: "capulet.example")
            #expect(await peer.hears("<starttls"))
            for _ in 0..<5 { await servers.advance(by: .seconds(10)) }
            #expect(await peer.hears("connection-timeout"))
            #expect(await peer.isCutOff())
        }
    }
}
