import ServerKit
import TestKit
import Testing

@testable import Modules

/// A roster in which Romeo sees everybody's presence.
private final class StageRoster: Module, ContactList {
    static let info = ModuleInfo("stage_roster", "Lets Romeo see everybody")
    init(options: NoOptions) {}
    func load(into host: ModuleHost) { host.provide((any ContactList).self, self) }

    func hasSubscriber(_ contact: JID, account: Account) -> Bool { contact.description == "romeo@montague.example" }
    func subscribers(of account: Account) -> [JID] { [] }
    func subscriptions(of account: Account) -> [JID] { [] }
    func contact(_ jid: JID, of account: Account) -> Contact? { nil }
    func contacts(of account: Account) -> [Contact] { [] }
    func deliverPendingRequests(to resource: Resource) {}
}

@Suite("Last Activity (XEP-0012)") struct LastActivityTests {
    private static let request = "<query xmlns='jabber:iq:last'/>"
    private static let juliet = "juliet@capulet.example"

    private static func play(
        _ body: @escaping @ServerActor @Sendable (Stage, Actor) async throws -> Void
    ) async throws {
        try await TestKit.play(modules: [LastActivity.self, StageRoster.self, StagePresence.self]) { stage in
            try await body(stage, try await stage.enter("romeo@montague.example/orchard"))
        }
    }

    @Test("A contact learns when the user left, and with what words")
    func offline() async throws {
        try await Self.play { stage, romeo in
            let balcony = try await stage.enter(Self.juliet + "/balcony")
            try await balcony.sends("<presence type='unavailable'><status>Heading Home</status></presence>")
            await balcony.leaves()
            await stage.advance(by: .seconds(903))
            let result = try await romeo.asks(.get, Self.request, to: Self.juliet)
            #expect(result?["seconds"] == "903" && result?.text == "Heading Home")
            // The words of a session before the last are forgotten.
            let chamber = try await stage.enter(Self.juliet + "/chamber")
            try await chamber.sends("<presence type='unavailable'><status>Back soon</status></presence><presence/>")
            await chamber.vanishes()
            try await stage.restart()
            let again = try await stage.enter("romeo@montague.example/orchard")
            await stage.advance(by: .seconds(5))
            let later = try await again.asks(.get, Self.request, to: Self.juliet)
            #expect(later?["seconds"] == "5" && later?.text == "")
        }
    }

    @Test("While any client is connected the answer is 0")
    func online() async throws {
        try await Self.play { stage, romeo in
            let balcony = try await stage.enter(Self.juliet + "/balcony")
            let chamber = try await stage.enter(Self.juliet + "/chamber", presence: false)
            await balcony.leaves()
            await stage.advance(by: .seconds(10))
            let result = try await romeo.asks(.get, Self.request, to: Self.juliet)
            #expect(result?["seconds"] == "0" && result?.text == "")
            await chamber.leaves()
            await stage.advance(by: .seconds(10))
            #expect(try await romeo.asks(.get, Self.request, to: Self.juliet)?["seconds"] == "10")
        }
    }

    @Test("Who does not see the presence is told nothing, whether the client is there or not")
    func forbidden() async throws {
        try await Self.play { stage, romeo in
            let balcony = try await stage.enter(Self.juliet + "/balcony")
            let paris = try await stage.enter("paris@capulet.example/square")
            for to in [Self.juliet, Self.juliet + "/balcony", Self.juliet + "/gone"] {
                #expect(try await paris.isRefused(.get, Self.request, to: to) == .forbidden)
            }
            try await balcony.staysSilent()
            // But users may ask about themselves.
            #expect(try await paris.asks(.get, Self.request)?["seconds"] == "0")
            // Other requests to the client are none of this module's business.
            try await paris.sends("<iq type='get' id='o' to='\(Self.juliet)/balcony'><query xmlns='urn:example'/></iq>")
            try await balcony.receives("<iq type='get' id='o'/>")
        }
    }

    @Test("A contact's request reaches the client, whose answer comes back")
    func client() async throws {
        try await Self.play { stage, romeo in
            let balcony = try await stage.enter(Self.juliet + "/balcony")
            try await romeo.sends("<iq type='get' id='last2' to='\(Self.juliet)/balcony'>\(Self.request)</iq>")
            try await balcony.receives("""
                <iq type='get' id='last2' from='romeo@montague.example/orchard'><query xmlns='jabber:iq:last'/></iq>
                """)
            try await balcony.sends("""
                <iq type='result' id='last2' to='romeo@montague.example/orchard'>
                <query xmlns='jabber:iq:last' seconds='123'/></iq>
                """)
            try await romeo.receives("""
                <iq type='result' id='last2' from='juliet@capulet.example/balcony'>
                <query xmlns='jabber:iq:last' seconds='123'/></iq>
                """)
            #expect(
                try await romeo.isRefused(.get, Self.request, to: Self.juliet + "/gone") == .serviceUnavailable)
        }
    }

    @Test("The host tells how long it has been running, and its features")
    func uptime() async throws {
        try await Self.play { stage, romeo in
            await stage.advance(by: .seconds(1_234))
            let result = try await romeo.asks(.get, Self.request, to: "capulet.example")
            #expect(result?["seconds"] == "1234" && result?.text == "")
            let host = try #require(stage.server.host("capulet.example"))
            #expect(host.disco.features(of: .host).contains("jabber:iq:last"))
            #expect(host.disco.features(of: .account).contains("jabber:iq:last"))
        }
    }

    @Test("Nothing is known of who never was here, and sets are refused")
    func never() async throws {
        try await Self.play { stage, romeo in
            try await stage.account(Self.juliet)
            #expect(try await romeo.isRefused(.get, Self.request, to: Self.juliet) == .itemNotFound)
            #expect(try await romeo.isRefused(.set, Self.request, to: Self.juliet).condition == .notAllowed)
            #expect(
                try await romeo.isRefused(.get, Self.request, to: "nobody@capulet.example") == .serviceUnavailable)
        }
    }
}
