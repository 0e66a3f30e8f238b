import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("External components (XEP-0114)", .serialized) struct ComponentProtocolTests {
    @Test("A component proves to know the secret, and stanzas go both ways")
    func exchange() async throws {
        try await playWithComponent { stage in
            let gateway = try await Gateway.connect(stage)
            #expect(gateway.header?.from == Gateway.domain)
            #expect(gateway.header?.contentNamespace == .component)
            #expect(gateway.header?.version?.minor == 9, "no version, or features would be expected")
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await romeo.sends(
                "<message to='#balcony%capulet@irc.montague.example/nick' type='chat' id='1'><body>Hark</body></message>"
            )
            try await gateway.receives(
                "<message from='romeo@montague.example/orchard' to='#balcony%capulet@irc.montague.example/nick' type='chat' id='1'><body>Hark</body></message>"
            )
            gateway.says(
                "<message from='juliet@irc.montague.example/x' to='romeo@montague.example' type='chat' id='2'><body>Ay me</body></message>"
            )
            try await romeo.receives(
                "<message from='juliet@irc.montague.example/x' type='chat' id='2'><body>Ay me</body></message>")
            // What a stanza carries in the stream's namespace is in that of clients inside.
            try await romeo.sends("<presence to='juliet@irc.montague.example'><show>away</show></presence>")
            try await gateway.receives("<presence from='romeo@montague.example/orchard'><show>away</show></presence>")
        }
    }

    @Test("Everything to the domain is the component's affair: disco, ping, subscriptions, probes")
    func everything() async throws {
        try await playWithComponent("name: IRC") { stage in
            let gateway = try await Gateway.connect(stage)
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await romeo.sends(
                "<iq type='get' id='d' to='irc.montague.example'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
            )
            try await gateway.receives(
                "<iq type='get' id='d' from='romeo@montague.example/orchard' to='irc.montague.example'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
            )
            gateway.says(
                "<iq type='result' id='d' from='irc.montague.example' to='romeo@montague.example/orchard'><query xmlns='http://jabber.org/protocol/disco#info'><identity category='gateway' type='irc'/></query></iq>"
            )
            try await romeo.receives(
                "<iq type='result' id='d'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
            let items = try await romeo.asks(
                .get, "<query xmlns='http://jabber.org/protocol/disco#items'/>", to: "montague.example")
            #expect(items?.children.map { $0["name"] } == ["IRC"])
            try await romeo.asks(.get, "<query xmlns='jabber:iq:roster'/>")
            try await romeo.sends("<presence type='subscribe' to='irc.montague.example'/>")
            try await gateway.receives("<presence type='subscribe' from='romeo@montague.example'/>")
            gateway.says("<presence type='subscribed' from='irc.montague.example' to='romeo@montague.example'/>")
            gateway.says("<presence type='subscribe' from='irc.montague.example' to='romeo@montague.example'/>")
            gateway.says("<presence type='probe' from='irc.montague.example' to='romeo@montague.example'/>")
            _ = await gateway.everything()
            let seen = await romeo.everything()
            #expect(
                seen.contains { $0["type"] == "subscribed" } && seen.contains { $0["type"] == "subscribe" }, "\(seen)")
            try await romeo.sends("<presence type='subscribed' to='irc.montague.example'/>")
            let toGateway = await gateway.everything()
            #expect(toGateway.contains { $0["type"] == "subscribed" })
            #expect(
                toGateway.contains {
                    $0.name == "presence" && $0["type"] == nil && $0["from"] == "romeo@montague.example/orchard"
                })
        }
    }

    @Test("A component's requests are answered")
    func requests() async throws {
        try await playWithComponent { stage in
            let gateway = try await Gateway.connect(stage)
            gateway.says(
                "<iq type='get' id='p' from='irc.montague.example' to='montague.example'><ping xmlns='urn:xmpp:ping'/></iq>"
            )
            try await gateway.receives("<iq type='result' id='p' from='montague.example' to='irc.montague.example'/>")
            gateway.says(
                "<iq type='get' id='q' from='a@irc.montague.example' to='montague.example'><x xmlns='urn:nobody'/></iq>"
            )
            try await gateway.receives("<iq type='error' id='q'><error type='cancel'/></iq>")
        }
    }

    // MARK: Those who may not

    @Test("A wrong digest, another stream's digest, none: not-authorized")
    func wrongDigest() async throws {
        try await playWithComponent { stage in
            let gateway = try await Gateway.open(stage)
            gateway.shakesHands("mantua")
            try await gateway.isClosed(with: .notAuthorized)
            let one = try await Gateway.open(stage)
            let other = try await Gateway.open(stage)
            other.says("<handshake>\(Hex.encode(Digest.sha1(Array((one.streamID + "verona").utf8))))</handshake>")
            try await other.isClosed(with: .notAuthorized)
            #expect(one.streamID != other.streamID)
            let empty = try await Gateway.open(stage)
            empty.says("<handshake/>")
            try await empty.isClosed(with: .notAuthorized)
        }
    }

    @Test("Guessing the secret is slowed down, for this address and this component")
    func guessing() async throws {
        try await playWithComponent(port: "{ attempts: 3 per minute }") { stage in
            for _ in 0..<3 {
                let gateway = try await Gateway.open(stage)
                gateway.shakesHands("mantua")
                try await gateway.isClosed(with: .notAuthorized)
            }
            let gateway = try await Gateway.open(stage)
            gateway.shakesHands("verona")
            try await gateway.isClosed(with: .policyViolation)
            await stage.advance(by: .seconds(61))
            _ = try await Gateway.connect(stage)
        }
    }

    @Test(
        "Domains that are no external component's: host-unknown",
        arguments: ["montague.example", "mantua.example", "@"])
    func unknownDomain(_ domain: String) async throws {
        try await playWithComponent { stage in
            let gateway = try await Gateway.open(stage, to: domain)
            #expect(gateway.header != nil, "the header comes first")
            try await gateway.isClosed(with: domain == "@" ? .improperAddressing : .hostUnknown)
        }
    }

    @Test("Other namespaces are invalid", arguments: ["jabber:client", "jabber:server", "jabber:component:connect"])
    func namespaces(_ namespace: String) async throws {
        try await playWithComponent { stage in
            let gateway = try await Gateway.open(stage, namespace: namespace)
            try await gateway.isClosed(with: .invalidNamespace)
        }
    }

    @Test("Nothing comes before the handshake, and not for ever")
    func early() async throws {
        try await playWithComponent { stage in
            let gateway = try await Gateway.open(stage)
            gateway.says("<message from='irc.montague.example' to='romeo@montague.example'><body>Hark</body></message>")
            try await gateway.isClosed(with: .notAuthorized)
            let slow = try await Gateway.open(stage)
            let silent = try await RawSocket.connect(to: try #require(stage.server.listening["component"]?.first))
            await stage.settle()
            await stage.advance(by: .seconds(41))
            try await slow.isClosed(with: .connectionTimeout)
            #expect(await silent.isCutOff())
        }
    }

    // MARK: Stanzas that may not be

    @Test(
        "Senders beyond the domain, and stanzas without addresses, end the stream",
        arguments: [
            ("from='romeo@montague.example' to='romeo@montague.example'", StreamError.Condition.invalidFrom),
            ("from='x.irc.montague.example' to='romeo@montague.example'", .invalidFrom),
            ("from='a@@irc.montague.example' to='romeo@montague.example'", .invalidFrom),
            ("to='romeo@montague.example'", .improperAddressing), ("from='irc.montague.example'", .improperAddressing),
        ])
    func forged(_ addresses: String, _ condition: StreamError.Condition) async throws {
        try await playWithComponent { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let gateway = try await Gateway.connect(stage)
            gateway.says("<message \(addresses)><body>Hark</body></message>")
            try await gateway.isClosed(with: condition)
            try await romeo.staysSilent()
        }
    }

    @Test("What cannot be understood is refused, and the stream goes on")
    func malformed() async throws {
        try await playWithComponent { stage in
            let gateway = try await Gateway.connect(stage)
            gateway.says("<message from='irc.montague.example' to='a@@b' id='1'><body>Hark</body></message>")
            try await gateway.receives(
                "<message type='error' id='1'><error><jid-malformed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
            )
            gateway.says("<iq from='irc.montague.example' to='montague.example' type='get' id='2'/>")
            try await gateway.receives(
                "<iq type='error' id='2'><error><bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            )
            gateway.says(
                "<iq from='irc.montague.example' to='montague.example' type='get' id='3'><ping xmlns='urn:xmpp:ping'/></iq>"
            )
            try await gateway.receives("<iq type='result' id='3'/>")
            gateway.says("<dance xmlns='jabber:component:accept' from='irc.montague.example' to='montague.example'/>")
            try await gateway.isClosed(with: .unsupportedStanzaType)
        }
    }

    @Test("A stanza that is too large, and a flood, are stopped")
    func flood() async throws {
        try await playWithComponent(port: "{ stanza_size: 20 KB, rate: 50 KB per second }") { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let gateway = try await Gateway.connect(stage)
            let body = String(repeating: "x", count: 10_000)
            for id in 0..<100 {
                gateway.says(
                    "<message from='irc.montague.example' to='romeo@montague.example' id='\(id)'><body>\(body)</body></message>"
                )
            }
            _ = await gateway.everything()
            let first = await romeo.everything().count
            #expect(first < 100, "a second's worth at once, and what the socket had")
            await stage.advance(by: .seconds(30))
            _ = await gateway.everything()
            await stage.advance(by: .seconds(30))
            _ = await gateway.everything()
            let rest = await romeo.everything().count
            #expect(first + rest == 100)
            gateway.says(
                "<message from='irc.montague.example' to='romeo@montague.example'><body>\(body)\(body)\(body)</body></message>"
            )
            try await gateway.isClosed(with: .policyViolation)
        }
    }

    // MARK: Several connections

    @Test("A second connection is refused by default")
    func refuse() async throws {
        try await playWithComponent { stage in
            let first = try await Gateway.connect(stage)
            let second = try await Gateway.open(stage)
            second.shakesHands("verona")
            try await second.isClosed(with: .conflict)
            first.says(
                "<iq from='irc.montague.example' to='montague.example' type='get' id='3'><ping xmlns='urn:xmpp:ping'/></iq>"
            )
            try await first.receives("<iq type='result' id='3'/>")
            first.socket.leaves()
            await stage.settle()
            _ = await first.everything()
            _ = try await Gateway.connect(stage)
        }
    }

    @Test("A second connection replaces the first, if so configured")
    func replace() async throws {
        try await playWithComponent("connections: replace") { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let first = try await Gateway.connect(stage)
            // Whoever does not know the secret replaces nobody.
            let stranger = try await Gateway.open(stage)
            stranger.shakesHands("mantua")
            try await stranger.isClosed(with: .notAuthorized)
            let second = try await Gateway.connect(stage)
            try await first.isClosed(with: .conflict)
            try await romeo.sends("<message to='irc.montague.example'><body>Hark</body></message>")
            try await second.receives("<message><body>Hark</body></message>")
        }
    }

    @Test("Connections share the stanzas by their senders, and answers go where was asked")
    func balance() async throws {
        try await playWithComponent("connections: balance") { stage in
            var gateways: [Gateway] = []
            for _ in 0..<3 { gateways.append(try await Gateway.connect(stage)) }
            var actors: [Actor] = []
            for number in 0..<12 { actors.append(try await stage.enter("user\(number)@montague.example/x")) }
            for count in 0..<5 {
                for actor in actors { try await actor.sends("<message to='irc.montague.example' id='\(count)'/>") }
            }
            var order: [String: [String]] = [:]
            var places: [String: Set<Int>] = [:]
            for (index, gateway) in gateways.enumerated() {
                for message in await gateway.everything() {
                    order[message["from"] ?? "", default: []].append(message["id"] ?? "")
                    places[message["from"] ?? "", default: []].insert(index)
                }
            }
            #expect(order.count == 12 && order.values.allSatisfy { $0 == ["0", "1", "2", "3", "4"] }, "\(order)")
            #expect(places.values.allSatisfy { $0.count == 1 })
            #expect(Set(places.values.flatMap(\.self)).count > 1, "all went over one: \(places)")
            for (index, gateway) in gateways.enumerated() {
                gateway.says(
                    "<iq from='irc.montague.example' to='montague.example' type='get' id='p\(index)'><ping xmlns='urn:xmpp:ping'/></iq>"
                )
                try await gateway.receives("<iq type='result' id='p\(index)'/>")
            }
            gateways.removeFirst().socket.leaves()
            await stage.settle()
            for actor in actors { try await actor.sends("<message to='irc.montague.example' id='last'/>") }
            var count = 0
            for gateway in gateways { count += await gateway.everything().filter { $0["id"] == "last" }.count }
            #expect(count == 12)
        }
    }

    // MARK: Coming and going

    @Test("Without the component in the configuration its stream ends; another secret ends it, too")
    func reload() async throws {
        try await playWithComponent { stage in
            let gateway = try await Gateway.connect(stage)
            try stage.reload(componentConfig("queue_time: 5 s", modules: stage.server.planner.bundled))
            try await stage.server.finishStartUp()
            gateway.says(
                "<iq from='irc.montague.example' to='montague.example' type='get' id='3'><ping xmlns='urn:xmpp:ping'/></iq>"
            )
            try await gateway.receives("<iq type='result' id='3'/>")
            try stage.reload(componentConfig(secret: "padua", modules: stage.server.planner.bundled))
            try await gateway.isClosed(with: .reset)
            let other = try await Gateway.connect(stage, secret: "padua")
            let modules = stage.server.planner.bundled
            try stage.reload(componentConfig("name: IRC", secret: "padua", modules: modules))
            try await other.isClosed(with: .reset)
            let third = try await Gateway.connect(stage, secret: "padua")
            try stage.reload(componentConfig("name: IRC", secret: "padua", port: "off", modules: modules))
            try await third.isClosed(with: .systemShutdown)
            try stage.reload(componentConfig("name: IRC", secret: "padua", modules: modules))
            try await stage.server.finishStartUp()
            let last = try await Gateway.connect(stage, secret: "padua")
            try stage.reload("hosts: { montague.example: {} }\n")
            try await last.isClosed(with: .hostGone)
            try await stage.server.finishStartUp()
            #expect(stage.server.listening["component"]?.isEmpty ?? true, "nobody is to connect")
        }
    }

    @Test("A server that stops says so")
    func stop() async throws {
        try await playWithComponent { stage in
            let gateway = try await Gateway.connect(stage)
            await stage.server.stop()
            try await gateway.isClosed(with: .systemShutdown)
        }
    }

    @Test("The port is closed as long as no component needs it")
    func closedPort() async throws {
        let modules = bundledModules.filter { ["component", "external"].contains($0.info.name) }
        try await play(modules: modules, config: "listen: { component: \"127.0.0.1:0\" }") { stage in
            try await stage.server.finishStartUp()
            #expect(stage.server.listening["component"]?.isEmpty ?? true)
        }
    }

    @Test("Components need a secret, and grants that make sense")
    func options() {
        let read = { (text: String) in
            let (root, _) = YAMLReader.parse(bytes: Array(text.utf8), file: "test.yaml")
            return root.map { ComponentOptions.read($0).problems.map(\.message) } ?? []
        }
        #expect(read("secret: verona").isEmpty)
        #expect(read("name: IRC").count == 1)
        #expect(read("secret: ''").count == 1)
        #expect(read("{ secret: a, privileges: { presence: roster } }").count == 1)
        #expect(read("{ secret: a, privileges: { presence: roster, roster: get } }").isEmpty)
        #expect(read("{ secret: a, delegate: { 'urn:xmpp:delegation:2': [] } }").count == 1)
        #expect(read("{ secret: a, delegate: { 'urn:xmpp:delegation:2:bare:disco#info:*': } }").isEmpty)
        #expect(read("{ secret: a, privileges: { iq: { 'urn:x': sometimes } } }").count == 1)
    }
}
