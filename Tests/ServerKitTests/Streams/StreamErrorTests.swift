import ServerKit
import TestKit
import Testing

/// What ends a stream before anybody is bound to it.
struct EarlyError: Sendable, CustomTestStringConvertible {
    let condition: StreamError.Condition
    let opening: String
    var testDescription: String { "\(condition.rawValue): \(opening.prefix(60))" }

    init(_ condition: StreamError.Condition, _ opening: String) {
        self.condition = condition
        self.opening = opening
    }
}

@Suite("Stream errors (RFC 6120 §4.9.3)") struct StreamErrorTests {
    private static let early = [
        EarlyError(.badFormat, "<stream:wrong xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"),
        EarlyError(.badNamespacePrefix, "<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams'>"),
        EarlyError(.invalidNamespace, Wire.header(streams: "http://wrong.example/")),
        EarlyError(.invalidNamespace, Wire.header(namespace: "jabber:server")),
        EarlyError(.invalidNamespace, Wire.header(namespace: "")),
        EarlyError(.hostUnknown, Wire.header(to: "verona.example")),
        EarlyError(.improperAddressing, Wire.header(to: nil)),
        EarlyError(.improperAddressing, Wire.header(to: "")),
        EarlyError(.improperAddressing, Wire.header(to: "romeo@montague.example")),
        EarlyError(.improperAddressing, Wire.header(to: "a@b@c")),
        EarlyError(.unsupportedVersion, Wire.header(version: nil)),
        EarlyError(.unsupportedVersion, Wire.header(version: "0.9")),
        EarlyError(.unsupportedVersion, Wire.header(version: "one")),
        EarlyError(.unsupportedVersion, Wire.header(version: "99999999999999999999.0")),
        EarlyError(.unsupportedEncoding, "<?xml version='1.0' encoding='ISO-8859-1'?>" + Wire.header().dropFirst(21)),
        EarlyError(.unsupportedEncoding, "<?xml version='1.0' encoding='UTF-16'?>" + Wire.header().dropFirst(21)),
        EarlyError(.unsupportedEncoding, "<?xml version='1.0' encoding='x-klingon'?>" + Wire.header().dropFirst(21)),
        EarlyError(.notWellFormed, "GET / HTTP/1.1\r\nHost: montague.example\r\n\r\n"),
        EarlyError(.notWellFormed, "<<message>"),
        EarlyError(.notWellFormed, "\u{16}\u{3}\u{1}\u{2}\u{0}"),
        EarlyError(.restrictedXML, "<!DOCTYPE a [<!ENTITY b 'c'>]>" + Wire.header()),
        EarlyError(.restrictedXML, Wire.header() + "<!-- comment -->"),
        EarlyError(.restrictedXML, Wire.header() + "<?php 1 ?>"),
        EarlyError(.notWellFormed, Wire.header() + "<iq></presence>"),
        EarlyError(.badFormat, Wire.header() + "text<a/>"),
        EarlyError(.notAuthorized, Wire.header() + "<message to='romeo@montague.example'><body>x</body></message>"),
        EarlyError(.notAuthorized, Wire.header() + "<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>"),
        EarlyError(.notAuthorized, Wire.header() + "<iq type='get'/>"),
        EarlyError(.unsupportedStanzaType, Wire.header() + "<pubsub xmlns='jabber:client'/>"),
        EarlyError(.unsupportedStanzaType, Wire.header() + "<auth xmlns='urn:example:nothing'/>"),
        EarlyError(.invalidNamespace, Wire.header() + "<message xmlns='jabber:server'/>"),
        EarlyError(.policyViolation, Wire.header() + "<iq id='\(String(repeating: "x", count: 40_000))'/>"),
        EarlyError(.policyViolation, Wire.header() + String(repeating: "<a>", count: 100) + "</a>"),
    ]

    @Test("An error before the login comes inside a whole stream, and the connection ends", arguments: early)
    func beforeLogin(_ early: EarlyError) async throws {
        try await play(modules: []) { stage in
            let wire = Wire(stage.server)
            let answer = wire.says(early.opening)
            #expect(answer.hasPrefix("<?xml version='1.0'?><stream:stream "), "\(answer)")
            let condition = "<\(early.condition.rawValue) xmlns='urn:ietf:params:xml:ns:xmpp-streams'"
            #expect(answer.contains(condition), "\(answer)")
            #expect(answer.hasSuffix("</stream:error></stream:stream>"), "\(answer)")
            // RFC 6120 §4.9.1.2: one header, whenever the error comes.
            #expect(answer.split(separator: "<stream:stream ").count == 2, "\(answer)")
            #expect(!wire.isOpen)
            #expect(wire.says(Wire.header()).isEmpty)
        }
    }

    @Test("An error in a restarted stream comes with the new stream's header")
    func afterRestart() async throws {
        try await play(modules: []) { stage in
            let wire = Wire(stage.server)
            wire.says(Wire.header())
            wire.stream?.authenticate("romeo")
            let answer = wire.says("<nonsense")
            #expect(answer.isEmpty)
            wire.stream?.close(StreamError(.connectionTimeout))
            #expect(wire.heard().hasPrefix("<?xml version='1.0'?><stream:stream "))
        }
    }

    @Test("The host does not change within a connection", arguments: ["capulet.example", "verona.example"])
    func otherHost(_ other: String) async throws {
        try await play(modules: []) { stage in
            let wire = Wire(stage.server)
            wire.says(Wire.header())
            wire.stream?.authenticate("romeo")
            #expect(wire.says(Wire.header(to: other)).contains("<host-unknown "))
        }
    }

    @Test("A restarted stream belongs to who authenticated")
    func invalidFromInHeader() async throws {
        try await play(modules: []) { stage in
            for (from, isAllowed) in [("tybalt@montague.example", false), ("romeo@capulet.example", false),
                ("romeo@montague.example", true), ("romeo@montague.example/x", true)]
            {
                let wire = Wire(stage.server)
                wire.says(Wire.header())
                wire.stream?.authenticate("romeo")
                #expect(wire.says(Wire.header(from: from)).contains("<invalid-from ") != isAllowed, "\(from)")
            }
        }
    }

    private static let late: [(StreamError.Condition, String)] = [
        (.invalidFrom, "<message from='juliet@capulet.example/balcony' to='romeo@montague.example'/>"),
        (.invalidFrom, "<message from='romeo@montague.example/other'/>"),
        (.invalidFrom, "<presence from='a@b@c'/>"),
        (.unsupportedStanzaType, "<query xmlns='jabber:client'/>"),
        (.unsupportedStanzaType, "<enable xmlns='urn:example:nothing'/>"),
        (.invalidNamespace, "<message xmlns='jabber:server'/>"),
        (.notWellFormed, "<message></iq>"),
        (.notWellFormed, "<message><x:y/></message>"),
        (.restrictedXML, "<message><body>&evil;</body></message>"),
        (.policyViolation, "<message><body>\(String(repeating: "x", count: 300_000))</body></message>"),
    ]

    @Test("An error of a bound client ends its resource, too", arguments: late)
    func afterBind(_ condition: StreamError.Condition, _ xml: String) async throws {
        try await play(modules: []) { stage in
            let account = try await stage.loadedAccount("romeo")
            let wire = Wire(stage.server)
            _ = wire.enters(account, "phone")
            let answer = wire.says(xml)
            #expect(answer.contains("<\(condition.rawValue) "), "\(answer)")
            #expect(answer.hasSuffix("</stream:error></stream:stream>"))
            #expect(!wire.isOpen)
            #expect(account.resources.isEmpty)
        }
    }

    @Test("A client's own stream error is answered with a farewell only")
    func errorFromClient() async throws {
        try await play(modules: []) { stage in
            let wire = Wire(stage.server)
            wire.says(Wire.header())
            let condition = "<undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
            #expect(wire.says("<stream:error>\(condition)</stream:error>") == "</stream:stream>")
            wire.says("</stream:stream>")
            #expect(!wire.isOpen)
        }
    }

    @Test("Streams of a host that is taken out of the configuration end, bound or not")
    func hostGone() async throws {
        try await play(modules: []) { stage in
            let account = try await stage.loadedAccount("romeo")
            let (bound, authenticated) = (Wire(stage.server), Wire(stage.server))
            _ = bound.enters(account, "phone")
            authenticated.says(Wire.header())
            authenticated.stream?.authenticate("romeo")
            _ = bound.heard()
            try stage.reload("hosts: { capulet.example: {} }")
            #expect(bound.heard().contains("<host-gone "))
            #expect(authenticated.says(Wire.header()).contains("<host-gone "))
            try stage.reload("hosts: { capulet.example: {}, montague.example: {} }")
            #expect(Wire(stage.server).says(Wire.header()).contains("<stream:features"))
        }
    }

    @Test("A server that stops says so")
    func systemShutdown() async throws {
        try await play(modules: []) { stage in
            let account = try await stage.loadedAccount("romeo")
            let wire = Wire(stage.server)
            _ = wire.enters(account, "phone")
            await stage.server.stop()
            #expect(wire.heard().hasSuffix("</stream:error></stream:stream>"))
            #expect(!wire.isOpen)
        }
    }

    @Test("A client that does not read is cut off at the limit")
    func backlog() async throws {
        try await play(modules: []) { stage in
            stage.server.limits.outputBacklog = 1_000
            let account = try await stage.loadedAccount("romeo")
            let wire = Wire(stage.server)
            let resource = wire.enters(account, "phone")
            wire.backlog = 1_001
            // It is looked for now and then, not for each stanza.
            for id in 1...4 { resource?.send(IQ(.result, id: "\(id)")) }
            #expect(!wire.isOpen)
            #expect(account.resources.isEmpty)
        }
    }
}
