import ServerKit
import TestKit
import Testing

@testable import Modules

private let sasl2 = "xmlns='urn:xmpp:sasl:2'"
private let features = "<features xmlns='http://etherx.jabber.org/streams'/>"

/// What a client does that has been here before: FAST (XEP-0484), Bind 2 (XEP-0386) and stream management (XEP-0198) in
/// one request.
@Suite("A returning client") struct ReturningClientTests {
    private static let modules: [any Module.Type] = [
        SASL.self, SASL2.self, Bind.self, FAST.self, StreamManagement.self, Messages.self, Roster.self,
        PresenceExchange.self, Offline.self,
    ]
    private static let bind = """
        <bind xmlns='urn:xmpp:bind:0'><tag>AwesomeXMPP</tag><enable \(sm) resume='true'/></bind>
        """

    /// A client with a token and a session that it may resume.
    @ServerActor
    private static func firstVisit(
        _ stage: Stage, username: String = "romeo"
    ) async throws -> (client: Actor, token: String, session: String) {
        try await stage.account("\(username)@montague.example")
        let client = try await stage.connect(to: "montague.example")
        let request = "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>"
        let success = try await client.logsInAgain(username, with: Actor.agent + request + bind)
        let enabled = try #require(success.child("bound", .bind2)?.child("enabled", .sm))
        return (client, try #require(success.child("token", .fast)?["token"]), try #require(enabled["id"]))
    }

    private static func resume(_ session: String, h: Int = 0) -> String {
        "<resume \(sm) previd='\(session)' h='\(h)'/>"
    }

    @Test("All of it is announced")
    func announcement() async throws {
        try await play(modules: Self.modules) { stage in
            let client = try await stage.connect(to: "montague.example")
            let inline = try await client.opens().child("authentication", .sasl2)?.child("inline")
            let expected = """
                <inline \(sasl2)>
                  <sm \(sm)/><fast xmlns='urn:xmpp:fast:0'><mechanism>HT-SHA-256-NONE</mechanism></fast>
                  <bind xmlns='urn:xmpp:bind:0'><inline><feature var='urn:xmpp:sm:3'/></inline></bind>
                </inline>
                """
            #expect(try inline?.matches(Element.parse(expected), exactly: true) == true)
        }
    }

    @Test("From TLS to a new session it is one round trip", arguments: [Medium.memory, .tls])
    func newSession(medium: Medium) async throws {
        try await play(modules: Self.modules, over: medium) { stage in
            let (first, token, _) = try await Self.firstVisit(stage)
            let jid = try #require(first.jid)
            await first.leaves()
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.shows(token, with: Actor.agent + Self.bind)
            try await romeo.receives(
                """
                <success \(sasl2)><authorization-identifier>\(jid)</authorization-identifier>
                  <bound xmlns='urn:xmpp:bind:0'><enabled \(sm) resume='true'/></bound></success>
                """)
            #expect(romeo.roundTrips == 1)
            #expect(romeo.jid == jid)
            let next = try await romeo.receives(features)
            #expect(!next.has("bind", .bind) && !next.has("sm", .sm))
            try await romeo.staysSilent()
        }
    }

    @Test("And so it is to the session there was, with what was missed in between")
    func resumption() async throws {
        try await play(modules: Self.modules) { stage in
            let (first, token, session) = try await Self.firstVisit(stage)
            let jid = try #require(first.jid)
            await first.vanishes()
            let juliet = try await stage.enter("juliet@montague.example/balcony")
            try await juliet.writes("Where art thou?", to: "\(jid)")
            await stage.settle()

            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.shows(token, with: Actor.agent + Self.resume(session) + Self.bind)
            let success = try await romeo.receives(
                """
                <success \(sasl2)><authorization-identifier>\(jid)</authorization-identifier>
                  <resumed \(sm) previd='\(session)' h='0'/></success>
                """)
            #expect(romeo.roundTrips == 1)
            #expect(!success.has("bound", .bind2))
            // XEP-0198 §9.2: no features.
            try await romeo.receives("<message><body>Where art thou?</body></message>")
            try await romeo.receives("<r \(sm)/>")
            try await romeo.staysSilent()
            try await romeo.writes("Here", to: "juliet@montague.example/balcony")
            try await juliet.receives("<message from='\(jid)'><body>Here</body></message>")
        }
    }

    @Test("Everything that a phone wants fits into it", arguments: [Medium.memory, .tls])
    func everything(medium: Medium) async throws {
        let modules = Self.modules + [Carbons.self, ClientState.self, Archive.self]
        try await play(modules: modules, over: medium) { stage in
            let (first, token, _) = try await Self.firstVisit(stage)
            let jid = try #require(first.jid)
            await first.leaves()
            let juliet = try await stage.enter("juliet@montague.example/balcony")
            try await juliet.writes("Hark", to: "romeo@montague.example")
            await stage.settle()
            let romeo = try await stage.connect(to: "montague.example")
            let bind = """
                <bind xmlns='urn:xmpp:bind:0'><tag>AwesomeXMPP</tag><enable \(sm) resume='true'/>\
                <enable xmlns='urn:xmpp:carbons:2'/><inactive xmlns='urn:xmpp:csi:0'/></bind>
                """
            try await romeo.shows(token, with: Actor.agent + bind)
            try await romeo.receives(
                """
                <success \(sasl2)><authorization-identifier>\(jid)</authorization-identifier>
                  <bound xmlns='urn:xmpp:bind:0'>
                    <enabled \(sm)/><metadata xmlns='urn:xmpp:mam:2'><end/></metadata></bound></success>
                """)
            #expect(romeo.roundTrips == 1)
            #expect(romeo.resource?.gate != nil)
            try await romeo.receives(features)
            let offer = try await stage.connect(to: "montague.example").opens()
            let inline = offer.child("authentication", .sasl2)?.child("inline")?.child("bind", .bind2)?.firstChild
            let names = Set((inline?.children ?? []).compactMap { $0["var"] })
            #expect(names.isSuperset(of: ["urn:xmpp:carbons:2", "urn:xmpp:csi:0", "urn:xmpp:sm:3"]))
        }
    }

    @Test("Carbons come from the first moment on")
    func carbons() async throws {
        try await play(modules: Self.modules + [Carbons.self]) { stage in
            let juliet = try await stage.enter("juliet@montague.example/balcony")
            let other = try await stage.enter("romeo@montague.example/orchard")
            let romeo = try await stage.connect(to: "montague.example")
            let bind = "<bind xmlns='urn:xmpp:bind:0'><enable xmlns='urn:xmpp:carbons:2'/><enable \(sm)/></bind>"
            let offer = try await romeo.opens(and: Actor.plain(with: bind))
            let features = offer.child("authentication", .sasl2)?.child("inline")?.child("bind", .bind2)?.child(
                "inline")
            #expect(Set(features?.children.map { $0["var"] } ?? []) == ["urn:xmpp:carbons:2", "urn:xmpp:sm:3"])
            let success = try await romeo.receives("<success \(sasl2)/>")
            #expect(success.child("bound", .bind2)?.children.map(\.name) == ["enabled"])
            _ = await romeo.everything()
            try await juliet.writes("Hark", to: "romeo@montague.example/orchard")
            try await other.receives("<message><body>Hark</body></message>")
            try await romeo.receives("<message><received xmlns='urn:xmpp:carbons:2'/></message>")
        }
    }

    @Test("After a restart of the server, too")
    func restart() async throws {
        try await play(modules: Self.modules) { stage in
            let (first, token, session) = try await Self.firstVisit(stage)
            let jid = try #require(first.jid)
            try await stage.restart()
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.shows(token, with: Actor.agent + Self.resume(session) + Self.bind)
            try await romeo.receives("<success \(sasl2)><resumed \(sm) previd='\(session)'/></success>")
            #expect(romeo.roundTrips == 1 && romeo.jid == jid)
            #expect(romeo.resource?[ClientLogin.Key.self]?.mechanism == "HT-SHA-256-NONE")
        }
    }

    @Test(
        "The session of somebody else, or of nobody, is refused, and a new one begun", arguments: ["juliet", "nobody"])
    func foreignSession(owner: String) async throws {
        try await play(modules: Self.modules) { stage in
            let (juliet, _, session) = try await Self.firstVisit(stage, username: "juliet")
            let (_, token, _) = try await Self.firstVisit(stage)
            let romeo = try await stage.connect(to: "montague.example")
            let wanted = owner == "juliet" ? session : "nonsense"
            try await romeo.shows(token, with: Actor.agent + Self.resume(wanted) + Self.bind)
            try await romeo.receives(
                """
                <success \(sasl2)><failed \(sm)><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>
                  <bound xmlns='urn:xmpp:bind:0'><enabled \(sm)/></bound></success>
                """)
            try await romeo.receives(features)
            #expect(romeo.jid?.localpart == "romeo")
            #expect(!juliet.isClosed)
        }
    }

    @Test("With a wrong token nothing happens to the session")
    func wrongToken() async throws {
        try await play(modules: Self.modules) { stage in
            let (first, _, session) = try await Self.firstVisit(stage)
            let thief = try await stage.connect(to: "montague.example")
            try await thief.shows("guess", with: Actor.agent + Self.resume(session) + Self.bind)
            try await thief.failsAgain("not-authorized")
            #expect(!first.isClosed && thief.resource == nil)
        }
    }

    @Test("What arrives while the session begins is counted, and comes after the success")
    func arrivalsMeanwhile() async throws {
        try await play(modules: Self.modules + [SlowReport.self]) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.opens(and: Actor.plain(with: Self.bind))
            try await romeo.receives("<success \(sasl2)/>")
            try await romeo.receives(features)
            try await romeo.receives("<message id='meanwhile'/>")
            try await romeo.receives("<r \(sm)/>")
            try await romeo.sends("<a \(sm) h='1'/>")
            try await romeo.staysSilent()
            try await romeo.sends("<a \(sm) h='2'/>")
            try await romeo.isClosed(with: .undefinedCondition)
        }
    }
}

/// Sends something while the answer to a bind is being prepared.
private final class SlowReport: Module {
    static let info = ModuleInfo("slow", "Takes its time")

    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        host.reportOnBind { stream in
            _ = try? await host.accounts.store.record(of: "romeo")
            stream.resource?.send(Message(id: "meanwhile"))
            return nil
        }
    }
}
