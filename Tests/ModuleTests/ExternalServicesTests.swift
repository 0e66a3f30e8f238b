import ServerKit
import TestKit
import Testing

@testable import Modules

private func query(_ attributes: String = "") -> String { "<services xmlns='urn:xmpp:extdisco:2'\(attributes)/>" }

private func credentials(_ service: String) -> String {
    "<credentials xmlns='urn:xmpp:extdisco:2'>\(service)</credentials>"
}

private let config = """
    modules:
      disco: on
      external_services:
        secret: north
        lifetime: 1 hour
        services:
          - { type: stun, host: stun.shakespeare.lit, port: 9998 }
          - { type: turn, host: turn.shakespeare.lit, port: 9999, transport: tcp, name: Relay & Co }
          - { type: turns, host: "2001:db8::1", secret: south }
          - type: ftp
            host: FTP.shakespeare.lit
            port: 20
            transport: tcp
            username: guest
            password: "let me in"
          - { type: turn, host: turn.shakespeare.lit, port: 10000 }
    """

private func play(
    _ text: String = config, _ body: @escaping @ServerActor @Sendable (Stage, TestKit.Actor) async throws -> Void
) async throws {
    try await TestKit.play(modules: [ExternalServices.self, Disco.self], config: text) { stage in
        try await body(stage, try await stage.enter("bard@montague.example/globe"))
    }
}

@Suite("External services (XEP-0215)") struct ExternalServicesTests {
    @Test("All services are listed, with what is needed to use them (§3.1)")
    func all() async throws {
        try await play { stage, bard in
            let answer = try #require(try await bard.asks(.get, query(), to: "montague.example"))
            #expect(answer.is("services", .externalServices) && answer["type"] == nil)
            let expected = [
                "<service type='stun' host='stun.shakespeare.lit' port='9998' transport='udp'/>",
                "<service type='turn' host='turn.shakespeare.lit' port='9999' transport='tcp' name='Relay &amp; Co'/>",
                "<service type='turns' host='2001:db8::1' port='5349' transport='tcp'/>",
                "<service type='ftp' host='ftp.shakespeare.lit' port='20' transport='tcp' username='guest'"
                    + " password='let me in' restricted='true'/>",
                "<service type='turn' host='turn.shakespeare.lit' port='10000' transport='udp'/>",
            ]
            #expect(answer.children.count == expected.count)
            for (service, pattern) in zip(answer.children, expected) {
                let element = try Element.parse(
                    pattern.replacing("<service", with: "<service xmlns='urn:xmpp:extdisco:2'"))
                #expect(service.matches(element), "\(service)")
                let isRelay = service["type"]?.hasPrefix("turn") == true
                #expect((service["expires"] != nil) == isRelay)
                #expect((service["username"] == nil) == (service["type"] == "stun"))
                #expect((service["restricted"] == "true") == (service["type"] != "stun"))
            }
        }
    }

    @Test("Credentials are those that a TURN server computes, until they expire")
    func timeLimited() async throws {
        try await play { stage, bard in
            let before = stage.clock.date
            let answer = try #require(try await bard.asks(.get, query(), to: "montague.example"))
            for (index, secret) in [(1, "north"), (2, "south"), (4, "north")] {
                let service = answer.children[index]
                let username = try #require(service["username"])
                let parts = username.split(separator: ":")
                #expect(parts.count == 2 && parts.last == "bard")
                let expiry = try #require(parts.first.flatMap { Int64($0) })
                #expect(abs(expiry - before.seconds - 3600) <= 1)
                #expect(service["expires"].flatMap { Timestamp($0) } == Timestamp(seconds: expiry))
                let password = Digest.hmac(.sha1, key: Array(secret.utf8), Array(username.utf8))
                #expect(service["password"] == Base64.encode(password))
            }
            await stage.advance(by: .minutes(5))
            let later = try await bard.asks(.get, query(), to: "montague.example")
            #expect(later?.children[1]["username"] != answer.children[1]["username"])
        }
    }

    @Test("A known answer: coturn takes it")
    func known() {
        // printf 1700000000:bard | openssl dgst -sha1 -hmac north -binary | base64
        let login = ServiceLogin.timeLimited(user: "bard", secret: "north", until: Timestamp(seconds: 1_700_000_000))
        #expect(login.username == "1700000000:bard" && login.password == "cLeFGVAXLwmCy+KCfS7nYP3WmGs=")
        #expect(login.expiry?.description == "2023-11-14T22:13:20Z")
    }

    @Test("One kind of service is listed alone (§3.2)")
    func selected() async throws {
        try await play { _, bard in
            for (type, count) in [("turn", 2), ("stun", 1), ("ftp", 1), ("sip", 0), ("", 0)] {
                let answer = try await bard.asks(.get, query(" type='\(type)'"), to: "montague.example")
                #expect(answer?["type"] == type && answer?.children.count == count)
                #expect(answer?.children.allSatisfy { $0["type"] == type } == true)
            }
        }
    }

    @Test("Credentials can be asked for (§3.3)", arguments: [
        ("<service host='turn.shakespeare.lit' type='turn'/>", 2),
        ("<service host='TURN.shakespeare.lit' type='turn' port='10000'/>", 1),
        ("<service host='2001:db8:0::1' type='turns'/>", 1),
        ("<service host='ftp.shakespeare.lit' type='ftp'/>", 1),
        ("<service host='ftp.shakespeare.lit' type='ftp'/><service host='turn.shakespeare.lit' type='turn'/>", 3),
    ])
    func credentialsFor(service: String, count: Int) async throws {
        try await play { _, bard in
            let answer = try #require(try await bard.asks(.get, credentials(service), to: "montague.example"))
            #expect(answer.is("credentials", .externalServices) && answer.children.count == count)
            #expect(answer.children.allSatisfy { $0["username"] != nil && $0["password"] != nil })
        }
    }

    @Test("What cannot be given is refused", arguments: [
        ("<service host='turn.shakespeare.lit' type='stun'/>", StanzaError.Condition.itemNotFound),
        ("<service host='stun.shakespeare.lit' type='stun'/>", .itemNotFound),
        ("<service host='turn.shakespeare.lit' type='turn' port='1'/>", .itemNotFound),
        ("<service host='turn.shakespeare.lit' type='turn' port='99999999'/>", .itemNotFound),
        ("<service host='a b' type='turn'/>", .itemNotFound),
        ("<service host='turn.shakespeare.lit'/>", .badRequest), ("<service type='turn'/>", .badRequest),
        ("", .badRequest), ("<x xmlns='urn:x'/>", .badRequest),
    ])
    func refused(service: String, condition: StanzaError.Condition) async throws {
        try await play { _, bard in
            let error = try await bard.isRefused(.get, credentials(service), to: "montague.example")
            #expect(error.condition == condition)
        }
    }

    @Test("Those from elsewhere get nothing")
    func strangers() async throws {
        try await play { stage, bard in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            for payload in [query(), credentials("<service host='turn.shakespeare.lit' type='turn'/>")] {
                let error = try await juliet.isRefused(.get, payload, to: "montague.example")
                #expect(error.condition == .forbidden)
                #expect(try await bard.isRefused(.set, payload, to: "montague.example").condition == .notAllowed)
            }
        }
    }

    @Test("The host says so where there are services, and nothing without")
    func disco() async throws {
        let none = "modules: { disco: on, external_services: { secret: x } }"
        try await play { stage, bard in
            for (text, isThere) in [(config, true), (none, false), (config, true)] {
                try stage.reload(text)
                let info = try await bard.asks(.get, DiscoTests.info, to: "montague.example")
                #expect(info?.features.contains("urn:xmpp:extdisco:2") == isThere)
                if !isThere {
                    let error = try await bard.isRefused(.get, query(), to: "montague.example")
                    #expect(error.condition == .serviceUnavailable)
                }
            }
        }
    }

    @Test("What is wrong in the configuration is told, with its line", arguments: [
        ("{ host: a.example }", "type: it is missing"), ("{ type: turn }", "host: it is missing"),
        ("{ type: TURN, host: a.example }", "is not a word"), ("{ type: turn, host: a b }", "is not a domain"),
        ("{ type: turn, host: a.example, port: 0 }", "is not a port"),
        ("{ type: turn, host: a.example, transport: sctp }", "is not a transport"),
        ("{ type: turn, host: a.example, username: x }", "belong together"),
        ("{ type: turn, host: a.example, password: x }", "belong together"),
        ("{ type: turn, host: a.example, username: x, password: y, secret: z }", "not both"),
        ("{ type: turn, host: a.example, prot: 1 }", "no such option"), ("turn", "expected a group of options"),
    ])
    func mistakes(item: String, problem: String) throws {
        let text = "services:\n  - { type: stun, host: stun.example }\n  - \(item)\n"
        let (root, syntax) = YAMLReader.parse(text, file: "m.yaml")
        #expect(syntax.isEmpty)
        let (options, problems) = ExternalServices.Options.read(try #require(root))
        #expect(problems.count == 1, "\(problems)")
        #expect(problems.first?.description.contains(problem) == true, "\(problems)")
        #expect(problems.first?.description.hasPrefix("m.yaml:3") == true, "\(problems)")
        #expect(options.services.first?.host == "stun.example")
    }
}
