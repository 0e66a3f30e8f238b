import ServerKit
import TestKit
import Testing

@testable import Modules

private let sasl2 = "xmlns='urn:xmpp:sasl:2'"
private let bind2 = "xmlns='urn:xmpp:bind:0'"
private let features = "<features xmlns='http://etherx.jabber.org/streams'/>"

/// Takes part in Bind 2 and SASL2 as stream management and the archive do.
private final class Participant: Module {
    static let info = ModuleInfo("participant", "Takes part")

    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        host.inline(.authentication, "resume", .participant, feature: Element("part", .participant)) {
            stream, request in
            guard let name = request["previd"], let localpart = stream.authenticated,
                let resource = await host.accounts.account(localpart)?.resource(name)
            else { return InlineAnswer(Element("failed", .participant)) }
            resource.attach(stream)
            stream.bind(resource)
            return InlineAnswer(Element("resumed", .participant)) { resource.send(Message(id: "resent")) }
        }
        host.inline(.bind, "enable", .participant) { stream, _ in
            guard let resource = stream.resource else { return nil }
            return InlineAnswer(Element("enabled", .participant)) { resource.send(Message(id: "afterwards")) }
        }
        host.inline(.bind, "silent", .participant) { _, _ in nil }
        host.inline(.bind, "enable", .other) { _, _ in InlineAnswer(nil) }
        host.reportOnBind { stream in
            // What comes while something is looked up must not overtake the answer.
            stream.resource?.send(Message(id: "early"))
            _ = try? await host.accounts.store.record(of: "romeo")
            stream.resource?.send(Message(id: "late"))
            return Element("metadata", .participant)
        }
    }
}

extension Namespace {
    fileprivate static let participant: Namespace = "urn:example:participant"
    fileprivate static let other: Namespace = "urn:example:other"
}

@Suite("Bind 2 (XEP-0386)") struct Bind2Tests {
    private static let modules: [any Module.Type] = [SASL.self, SASL2.self, Bind.self, Participant.self]

    private static func bind(_ tag: String? = "AwesomeXMPP", _ content: String = "") -> String {
        "<bind \(bind2)>\(tag.map { "<tag>\($0)</tag>" } ?? "")\(content)</bind>"
    }

    private static func agent(_ id: Character) -> String {
        "<user-agent id='\(id)4565fa7-4d72-4749-b3d3-740edbf87770'/>"
    }

    @Test("What modules take part in is announced")
    func announcement() async throws {
        try await play(modules: Self.modules) { stage in
            let client = try await stage.connect(to: "montague.example")
            let inline = try await client.opens().child("authentication", .sasl2)?.child("inline")
            let expected = """
                <inline \(sasl2)>
                  <part xmlns='urn:example:participant'/>
                  <bind \(bind2)><inline>
                    <feature var='urn:example:participant'/><feature var='urn:example:other'/>
                  </inline></bind>
                </inline>
                """
            #expect(try inline?.matches(Element.parse(expected), exactly: true) == true)
        }
    }

    @Test("The resource begins with the tag, and stays the same for a client and a tag")
    func resource() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            try await stage.account("juliet@montague.example")
            @ServerActor func name(_ agent: String, _ tag: String?, _ username: String = "romeo") async throws -> String
            {
                let client = try await stage.connect(to: "montague.example")
                let success = try await client.logsInAgain(username, with: agent + Self.bind(tag))
                let name = try #require(client.jid?.resourcepart)
                #expect(success.text(of: "authorization-identifier") == "\(username)@montague.example/\(name)")
                await client.leaves()
                return name
            }
            let first = try await name(Self.agent("d"), "AwesomeXMPP")
            #expect(first.hasPrefix("AwesomeXMPP/") && first.count > 20)
            #expect(!first.contains("4565fa7") && !first.contains("740edbf87770"))
            #expect(try await name(Self.agent("D"), "AwesomeXMPP") == first)
            let others = [
                try await name(Self.agent("e"), "AwesomeXMPP"), try await name(Self.agent("d"), "Other"),
                try await name(Self.agent("d"), nil), try await name("", "AwesomeXMPP"),
                try await name("", "AwesomeXMPP"), try await name(Self.agent("d"), "AwesomeXMPP", "juliet"),
            ]
            #expect(Set(others + [first]).count == 7)
            try await stage.restart()
            #expect(try await name(Self.agent("d"), "AwesomeXMPP") == first)
        }
    }

    @Test(
        "A tag that cannot be part of a resource is left out",
        arguments: [String(repeating: "a", count: 101), "", "\u{E000}"])
    func badTag(tag: String) async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.logsInAgain(with: Self.bind(tag))
            #expect(romeo.jid?.resourcepart?.count == 12)
        }
    }

    @Test("Answers and reports are part of the success, and nothing overtakes it")
    func order() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            let content = """
                <silent xmlns='urn:example:other'/><enable xmlns='urn:example:participant'/>\
                <enable xmlns='urn:example:participant'/><enable xmlns='urn:example:other'/><enable xmlns='urn:example:unknown'/>
                """
            try await romeo.opens(and: Actor.plain(with: Self.bind("A", content)))
            let success = try await romeo.receives("<success \(sasl2)/>")
            let expected = """
                <bound \(bind2)><enabled xmlns='urn:example:participant'/><metadata xmlns='urn:example:participant'/></bound>
                """
            #expect(
                try success.child("bound", "urn:xmpp:bind:0")?.matches(Element.parse(expected), exactly: true) == true)
            let next = try await romeo.receives(features)
            #expect(!next.has("bind", .bind))
            try await romeo.receives("<message id='early'/>")
            try await romeo.receives("<message id='late'/>")
            try await romeo.receives("<message id='afterwards'/>")
            try await romeo.staysSilent()
        }
    }

    @Test("A session that was resumed is not bound anew, and has no features")
    func resumption() async throws {
        try await play(modules: Self.modules) { stage in
            let old = try await stage.enter("romeo@montague.example/balcony", presence: false)
            let resource = try #require(old.resource)
            let romeo = try await stage.connect(to: "montague.example")
            let content = "<resume xmlns='urn:example:participant' previd='balcony'/>" + Self.bind()
            try await romeo.opens(and: Actor.plain(with: Self.agent("d") + content))
            let success = try await romeo.receives(
                """
                <success \(sasl2)>
                  <authorization-identifier>romeo@montague.example/balcony</authorization-identifier>
                  <resumed xmlns='urn:example:participant'/></success>
                """)
            #expect(!success.has("bound", "urn:xmpp:bind:0"))
            try await romeo.receives("<message id='resent'/>")
            #expect(romeo.resource === resource)
            #expect(resource[ClientLogin.Key.self]?.client != nil)
        }
    }

    @Test("Where resumption fails, the bind follows; another's session is not even seen")
    func failedResumption() async throws {
        try await play(modules: Self.modules) { stage in
            let juliet = try await stage.enter("juliet@montague.example/balcony", presence: false)
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            let content = "<resume xmlns='urn:example:participant' previd='balcony'/>" + Self.bind()
            try await romeo.opens(and: Actor.plain(with: content))
            try await romeo.receives(
                "<success \(sasl2)><failed xmlns='urn:example:participant'/><bound \(bind2)/></success>")
            #expect(romeo.jid?.resourcepart?.hasPrefix("AwesomeXMPP/") == true)
            #expect(!juliet.isClosed)
        }
    }

    @Test("An earlier session of the same client ends, others go on")
    func sameClient() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let first = try await stage.connect(to: "montague.example")
            try await first.logsInAgain(with: Self.agent("d") + Self.bind())
            let other = try await stage.connect(to: "montague.example")
            try await other.logsInAgain(with: Self.agent("e") + Self.bind())
            let jid = first.jid
            let second = try await stage.connect(to: "montague.example")
            try await second.logsInAgain(with: Self.agent("d") + Self.bind())
            try await first.isClosed(with: .conflict)
            #expect(second.jid == jid && !other.isClosed)
        }
    }

    @Test("Whoever has taken the name by other means keeps it")
    func nameTaken() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let first = try await stage.connect(to: "montague.example")
            try await first.logsInAgain(with: Self.agent("d") + Self.bind())
            let name = try #require(first.jid?.resourcepart)
            await first.leaves()
            let other = try await stage.connect(to: "montague.example")
            try await other.logsIn()
            try await other.bindsResource(name)
            try await other.receives("<iq type='result'/>")
            let second = try await stage.connect(to: "montague.example")
            try await second.logsInAgain(with: Self.agent("d") + Self.bind())
            #expect(second.jid?.resourcepart?.hasPrefix("AwesomeXMPP/") == true && second.jid != other.jid)
            #expect(!other.isClosed)
        }
    }

    @Test("A resource is bound once")
    func twice() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.logsInAgain(with: Self.bind())
            #expect(try await romeo.isRefused(.set, "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>") == .notAllowed)
            try await romeo.sends(Self.bind())
            try await romeo.isClosed(with: .unsupportedStanzaType)
        }
    }

    @Test("With too many clients there is success without a resource")
    func tooMany() async throws {
        let config = "modules: { sasl: on, sasl2: on, bind: { resources: 1 } }"
        try await play(modules: [SASL.self, SASL2.self, Bind.self], config: config) { stage in
            let first = try await stage.enter("romeo@montague.example/balcony", presence: false)
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens(and: Actor.plain(with: Self.bind()))
            let success = try await romeo.receives(
                "<success \(sasl2)><authorization-identifier>romeo@montague.example</authorization-identifier></success>"
            )
            #expect(!success.has("bound", "urn:xmpp:bind:0"))
            #expect(try await romeo.receives(features).has("bind", .bind))
            try await romeo.bindsResource("phone")
            try await romeo.receives(
                "<iq type='error'><error><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            )
            #expect(!first.isClosed)
        }
    }

    @Test("An account that is locked while its client logs in has no session")
    func locked() async throws {
        try await play(modules: Self.modules) { stage in
            try await stage.account("romeo@montague.example")
            let accounts = try #require(stage.server.host("montague.example")?.accounts)
            try await accounts.setLocked(true, "romeo")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens(and: Actor.plain(with: Self.bind()))
            try await romeo.failsAgain("account-disabled")
            #expect(accounts.resourceCount == 0)
        }
    }

    @Test("Without the module bind it is not offered, and ignored")
    func notOffered() async throws {
        try await play(modules: [SASL.self, SASL2.self]) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            let success = try await romeo.logsInAgain(with: Self.bind())
            #expect(!success.has("bound", "urn:xmpp:bind:0") && romeo.resource == nil)
        }
    }
}
