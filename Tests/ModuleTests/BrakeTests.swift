import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("The brake for those who write to many strangers") struct BrakeTests {
    private let modules: [any Module.Type] = [Brake.self, Messages.self, Roster.self, PresenceExchange.self]

    private func perform(
        _ options: String = "strangers: 3 per hour",
        _ body: @escaping @ServerActor @Sendable (Stage) async throws -> Void
    ) async throws {
        let config = """
            admins: [prince@montague.example]
            hosts: { montague.example: {}, capulet.example: {} }
            modules: { brake: { \(options) }, messages: on, roster: on, presence: on }

            """
        try await play(modules: modules, config: config) { try await body($0) }
    }

    private func message(_ to: String, _ id: String) -> String {
        "<message to='\(to)' type='chat' id='\(id)'><body>Buy!</body></message>"
    }

    @Test("So many strangers, and then slowly; administrators learn of it once")
    func slows() async throws {
        try await perform { stage in
            let prince = try await stage.enter("prince@montague.example/throne")
            let tybalt = try await stage.enter("tybalt@montague.example/sword")
            for n in 1...5 { try await tybalt.sends(message("x\(n)@capulet.example", "m\(n)")) }
            await stage.settle()
            let errors = await tybalt.takeInbox().filter {
                $0.child("error")?.has("policy-violation", .stanzaErrors) == true
            }
            #expect(errors.compactMap { $0["id"] } == ["m4", "m5"])
            let told = await prince.takeInbox()
            #expect(told.count == 1)
            #expect(told.first?.text(of: "body")?.contains("tybalt@montague.example") == true)
            // Those who were written to before may be written to again.
            try await tybalt.sends(message("x1@capulet.example", "again"))
            await stage.settle()
            #expect(
                await tybalt.takeInbox().allSatisfy {
                    $0.child("error")?.has("policy-violation", .stanzaErrors) != true
                })
            await stage.advance(by: .seconds(1_300))
            try await tybalt.sends(message("x6@capulet.example", "m6") + message("x7@capulet.example", "m7"))
            await stage.settle()
            let later = await tybalt.takeInbox().filter {
                $0.child("error")?.has("policy-violation", .stanzaErrors) == true
            }
            #expect(later.compactMap { $0["id"] } == ["m7"])
            #expect(await prince.takeInbox().isEmpty)
        }
    }

    @Test("Contacts, those who wrote first, services and oneself are no strangers; asking for a subscription counts")
    func acquaintances() async throws {
        try await perform("strangers: 1 per hour") { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await romeo.sends(
                "<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='nurse@capulet.example'/></query></iq>"
            )
            try await juliet.sends(message("romeo@montague.example", "first"))
            await stage.settle()
            _ = await romeo.takeInbox()
            for to in ["nurse@capulet.example", "juliet@capulet.example", "montague.example", "romeo@montague.example"]
            {
                for n in 0..<3 { try await romeo.sends(message(to, "\(to)-\(n)")) }
            }
            await stage.settle()
            let refused: @Sendable (Element) -> Bool = {
                $0.child("error")?.has("policy-violation", .stanzaErrors) == true
            }
            #expect(await romeo.takeInbox().allSatisfy { !refused($0) })
            try await romeo.sends("<presence type='subscribe' to='a@capulet.example' id='s1'/>")
            try await romeo.sends("<presence type='subscribe' to='b@capulet.example' id='s2'/>")
            await stage.settle()
            #expect(await romeo.takeInbox().filter(refused).compactMap { $0["id"] } == ["s2"])
        }
    }

    @Test("Administrators are not slowed down")
    func administrators() async throws {
        try await perform("strangers: 1 per hour") { stage in
            let prince = try await stage.enter("prince@montague.example/throne")
            for n in 0..<5 { try await prince.sends(message("x\(n)@capulet.example", "m\(n)")) }
            await stage.settle()
            #expect(
                await prince.takeInbox().allSatisfy {
                    $0.child("error")?.has("policy-violation", .stanzaErrors) != true
                })
        }
    }
}
