@testable import ServerKit
import TestKit
import Testing

@testable import Modules

/// How notifications are sent, and what becomes of those that fail.
extension PushTests {
    // MARK: Pace

    @Test("The first is told at once, what follows together")
    func coalescing() async throws {
        try await Self.play { stage in
            try await enroll(stage)
            for _ in 0..<50 { try write(stage) }
            await stage.settle()
            #expect(PushService.published.count == 1)
            #expect(field("message-count") == "1")
            await stage.advance(by: .seconds(9))
            #expect(PushService.published.count == 1)
            await stage.advance(by: .seconds(2))
            #expect(PushService.published.count == 2)
            #expect(field("message-count") == "50")
            await stage.advance(by: .seconds(60))
            #expect(PushService.published.count == 2)
            try write(stage)
            await stage.settle()
            #expect(PushService.published.count == 3)
        }
    }

    @Test("A call does not wait, but a storm of calls does")
    func calls() async throws {
        try await Self.play(options: "interval: 60 s, body: full") { stage in
            try await enroll(stage)
            try write(stage)
            await stage.advance(by: .seconds(2))
            for number in 0..<100 { try write(stage, "<propose xmlns='urn:xmpp:jingle-message:0' id='\(number)'/>") }
            await stage.settle()
            #expect(PushService.published.count == 2)
            // What is said meanwhile does not take the place of the call.
            try write(stage)
            await stage.advance(by: .seconds(1))
            #expect(PushService.published.count == 3)
            #expect(field("last-message-body") == "New message")
            await stage.advance(by: .seconds(59))
            #expect(PushService.published.count == 3)
        }
    }

    // MARK: Errors

    @Test("A service that refuses is not asked again", arguments: [
        StanzaError.itemNotFound, .gone, .forbidden, .notAuthorized, .notAllowed, .badRequest, .conflict,
        .registrationRequired, .policyViolation,
    ])
    func refusal(_ error: StanzaError) async throws {
        try await Self.play { stage in
            try await enroll(stage)
            PushService.answer = error
            try write(stage)
            await stage.settle()
            #expect(account(stage)?[PushRegistry.Registrations.self].isEmpty == true)
            PushService.answer = nil
            try write(stage)
            await stage.advance(by: .seconds(3_600))
            #expect(PushService.published.count == 1)
            // Nor after a restart.
            try await stage.restart()
            try write(stage)
            await stage.settle()
            #expect(PushService.published.count == 1)
            // Until the client wants it again. XEP-0357 §5.
            try await enroll(stage)
            try write(stage)
            await stage.settle()
            #expect(PushService.published.count == 2)
        }
    }

    @Test("A service that is out of order is tried after ever longer times, with what is new then", arguments: [
        StanzaError(.resourceConstraint), StanzaError(.serviceUnavailable), StanzaError(.itemNotFound, .wait),
        StanzaError(.internalServerError), StanzaError(.remoteServerNotFound),
    ])
    func backOff(_ error: StanzaError) async throws {
        try await Self.play { stage in
            try await enroll(stage)
            PushService.answer = error
            try write(stage)
            await stage.settle()
            #expect(PushService.published.count == 1)
            for _ in 0..<20 { try write(stage) }
            // Not even calls go out now.
            try write(stage, "<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>")
            await stage.advance(by: .seconds(59))
            #expect(PushService.published.count == 1)
            await stage.advance(by: .seconds(2))
            #expect(PushService.published.count == 2)
            #expect(field("message-count") == "22")
            await stage.advance(by: .seconds(118))
            #expect(PushService.published.count == 2)
            PushService.answer = nil
            await stage.advance(by: .seconds(3))
            #expect(PushService.published.count == 3)
            await stage.advance(by: .seconds(600))
            #expect(PushService.published.count == 3)
            // All is well again.
            try write(stage)
            await stage.settle()
            #expect(PushService.published.count == 4)
        }
    }

    @Test("A service that stays out of order is given up")
    func givenUp() async throws {
        try await Self.play(options: "retries: 4") { stage in
            try await enroll(stage)
            PushService.answer = .serviceUnavailable
            try write(stage)
            await stage.advance(by: .seconds(60 + 120 + 240 - 5))
            #expect(PushService.published.count == 3)
            #expect(account(stage) == nil)
            await stage.advance(by: .seconds(10))
            #expect(PushService.published.count == 4)
            PushService.answer = nil
            try write(stage)
            await stage.advance(by: .seconds(3_600))
            #expect(PushService.published.count == 4)
        }
    }

    @Test("Only the push service answers for itself; silence counts as a failure that may pass")
    func forged() async throws {
        try await Self.play { stage in
            let service = try await stage.enter("service@montague.example/x")
            let mallory = try await stage.enter("mallory@capulet.example/x")
            try await enroll(stage, "<enable xmlns='urn:xmpp:push:0' jid='service@montague.example/x' node='n'/>")
            try write(stage)
            let asked = try await service.receives("<iq type='set' from='capulet.example'/>")
            let id = try #require(asked["id"])
            let error = "<iq type='error' to='capulet.example' id='\(id)'><error type='cancel'>"
                + "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            try await mallory.sends(error)
            await stage.settle()
            #expect(account(stage)?[PushRegistry.Registrations.self].count == 1)
            await stage.advance(by: .seconds(61))
            // Too late.
            try await service.sends(error)
            await stage.settle()
            #expect(account(stage)?[PushRegistry.Registrations.self].count == 1)
            await stage.advance(by: .seconds(60))
            let second = try await service.receives("<iq type='set' from='capulet.example'/>")
            try await service.sends("<iq type='result' to='capulet.example' id='\(second["id"] ?? "")'/>")
            await stage.advance(by: .seconds(600))
            try await service.staysSilent()
        }
    }

    @Test("A service takes a registration back by itself; who pretends to be one writes a message")
    func disabledByService() async throws {
        try await Self.play { stage in
            let client = try await stage.enter(phone)
            try await client.asks(.set, enabling)
            func notice(_ from: String) -> String {
                "<message xmlns='jabber:client' from='\(from)' to='\(juliet)'><pubsub xmlns="
                    + "'http://jabber.org/protocol/pubsub' node='n'><affiliation jid='\(juliet)' affiliation='none'/>"
                    + "</pubsub></message>"
            }
            try give(stage, notice("mallory@montague.example/x"))
            try await client.receives("<message from='mallory@montague.example/x'/>")
            #expect(account(stage)?[PushRegistry.Registrations.self].count == 1)
            // XEP-0357 §8.
            try give(stage, notice("push.example"))
            try await client.staysSilent()
            #expect(account(stage)?[PushRegistry.Registrations.self].isEmpty == true)
            #expect(account(stage)?.resource("phone")?[PushRegistry.Session.self].isEmpty == true)
        }
    }

    @Test("Unloading stops everything that is going on, and loading anew goes on with what is stored")
    func unload() async throws {
        try await Self.play { stage in
            try await enroll(stage)
            PushService.answer = .serviceUnavailable
            try write(stage)
            await stage.settle()
            let hosts = "hosts: { montague.example: {}, capulet.example: {} }\n" + Self.components
            let rest = "messages: on, offline: on, presence: on, roster: on, sleeper: on, disco: on"
            try stage.reload(hosts + "modules: { push: off, \(rest) }\n")
            let disco = try #require(stage.server.host("capulet.example")?.disco)
            #expect(!disco.features(of: .account).contains("urn:xmpp:push:0"))
            await stage.advance(by: .seconds(600))
            try write(stage)
            await stage.settle()
            #expect(PushService.published.count == 1)
            PushService.answer = nil
            try stage.reload(hosts + "modules: { push: on, \(rest) }\n")
            await stage.settle()
            try write(stage)
            await stage.settle()
            #expect(PushService.published.count == 2)
        }
    }

    @Test("Who has no account has no use for it")
    func anonymous() async throws {
        let config = "hosts: { guests.example: { authentication: anonymous } }\n"
        try await TestKit.play(modules: [Push.self, Messages.self], config: config) { stage in
            let host = try #require(stage.server.host("guests.example"))
            #expect(!host.disco.features(of: .account).contains("urn:xmpp:push:0"))
        }
    }
}
