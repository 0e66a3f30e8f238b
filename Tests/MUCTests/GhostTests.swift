import ServerKit
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("Ghosts (XEP-0045 §11.1, §18.1.2)") struct GhostTests {
    private static let romeo = "romeo@verona.example/orchard"
    private static let stanzaErrors = "urn:ietf:params:xml:ns:xmpp-stanzas"

    private func fill(_ stage: Stage, _ elsewhere: Elsewhere) async throws -> Actor {
        let crone = try await stage.enter("crone1@capulet.example/desktop")
        try await crone.makesRoom(as: "firstwitch")
        try await elsewhere.enters(as: "romeo", from: Self.romeo)
        await crone.forgets()
        _ = await elsewhere.takes()
        return crone
    }

    private func error(_ condition: String, _ stanza: String = "message", _ content: String = "", id: String = "m")
        -> String
    {
        """
        <\(stanza) type='error' id='\(id)' from='\(Self.romeo)' to='\(coven)/firstwitch'>\(content)
        <error type='cancel'><\(condition) xmlns='\(Self.stanzaErrors)'/></error></\(stanza)>
        """
    }

    @Test("Errors that say that nobody is there any more end the visit, whatever they came back for")
    func definite() async throws {
        try await playWithOthers { stage, elsewhere in
            let crone = try await fill(stage, elsewhere)
            for stanza in ["message", "presence"] {
                for condition in ["gone", "item-not-found", "recipient-unavailable", "redirect", "jid-malformed"] {
                    try await elsewhere.sends(error(condition, stanza))
                    let gone = try await crone.receivesAnywhere(
                        "<presence type='unavailable' from='\(coven)/romeo'/>")
                    #expect(gone.statuses == [333], "\(condition)")
                    try await elsewhere.enters(as: "romeo", from: Self.romeo)
                    await crone.forgets()
                }
            }
        }
    }

    @Test("Other errors, those for private messages and requests, and those of strangers do not")
    func harmless() async throws {
        try await playWithOthers { stage, elsewhere in
            let crone = try await fill(stage, elsewhere)
            let conditions = [
                "bad-request", "conflict", "feature-not-implemented", "forbidden", "internal-server-error",
                "not-acceptable", "not-allowed", "not-authorized", "policy-violation", "resource-constraint",
                "subscription-required", "undefined-condition", "unexpected-request", "service-unavailable",
            ]
            for condition in conditions {
                try await elsewhere.sends(error(condition))
                try await elsewhere.sends(error(condition, "presence"))
            }
            for condition in conditions + ["gone", "item-not-found", "recipient-unavailable", "remote-server-timeout"] {
                let marker = "<body>psst</body><x xmlns='http://jabber.org/protocol/muc#user'/>"
                try await elsewhere.sends(error(condition, "message", marker))
                try await elsewhere.sends(error(condition, "iq"))
            }
            try await elsewhere.sends(
                error("gone").replacingOccurrences(Self.romeo, with: "paris@verona.example/tomb"))
            #expect(await crone.news().filter { $0.name == "presence" }.isEmpty)
            #expect(stage.rooms?.loaded["coven"]?.occupants.count == 2)
            #expect(stage.rooms?.loaded["coven"]?.sessions.contains(where: \.isUnverified) == false)
        }
    }

    @Test("A server that says service-unavailable is asked what it means")
    func doubtful() async throws {
        try await playWithOthers { stage, elsewhere in
            let crone = try await fill(stage, elsewhere)
            try await elsewhere.sends(error("service-unavailable"))
            #expect(elsewhere.requests.count == 1)
            #expect(await crone.news().isEmpty)
            elsewhere.answer = { $0.bounced(.serviceUnavailable) }
            try await elsewhere.sends(error("service-unavailable"))
            try await crone.receivesAnywhere("<presence type='unavailable' from='\(coven)/romeo'/>")
            #expect(elsewhere.requests.map { $0.query?.name } == ["ping", "ping", "query"])
        }
    }

    @Test("When a server cannot be reached its users have the grace period, and miss nothing")
    func unreachable() async throws {
        try await playWithOthers { stage, elsewhere in
            let crone = try await fill(stage, elsewhere)
            try await crone.says("one", id: "1")
            #expect(bodies(await elsewhere.takes()) == ["one"])
            elsewhere.error = .remoteServerNotFound
            try await crone.says("two", id: "2")
            try await crone.says("three", id: "3")
            await stage.advance(by: .seconds(90))
            elsewhere.error = nil
            await stage.advance(by: .seconds(100))
            #expect(bodies(await elsewhere.takes()) == ["two", "three"])
            #expect(bodies(await crone.news()) == ["one", "two", "three"])
            elsewhere.error = .remoteServerTimeout
            try await crone.says("four", id: "4")
            await stage.advance(by: .seconds(290))
            #expect(bodies(await crone.news()) == ["four"])
            await stage.advance(by: .seconds(20))
            try await crone.receivesAnywhere("<presence type='unavailable' from='\(coven)/romeo'/>")
        }
    }

    @Test("Who from elsewhere has been silent for long is asked; local clients are not")
    func pings() async throws {
        try await playWithOthers { stage, elsewhere in
            let crone = try await fill(stage, elsewhere)
            await stage.advance(by: .minutes(14))
            #expect(elsewhere.requests.isEmpty)
            await stage.advance(by: .minutes(2))
            #expect(elsewhere.requests.count == 1)
            await stage.advance(by: .minutes(13))
            try await elsewhere.sends(
                "<message type='groupchat' from='\(Self.romeo)' to='\(coven)'><body>a</body></message>")
            await stage.advance(by: .minutes(14))
            #expect(elsewhere.requests.count == 1)
            // No answer proves nothing: it may be a telephone that is asleep.
            elsewhere.answer = nil
            await stage.advance(by: .minutes(60))
            #expect((3...6).contains(elsewhere.requests.count))
            #expect(stage.rooms?.loaded["coven"]?.occupants.count == 2)
            elsewhere.answer = { $0.bounced(.itemNotFound) }
            await stage.advance(by: .minutes(16))
            try await crone.receivesAnywhere("<presence type='unavailable' from='\(coven)/romeo'/>")
            #expect(await crone.everything().filter { $0.name == "iq" }.isEmpty)
        }
    }

    @Test("Pings can be switched off")
    func noPings() async throws {
        try await playWithOthers("ping_after: never") { stage, elsewhere in
            _ = try await fill(stage, elsewhere)
            await stage.advance(by: .minutes(40))
            #expect(elsewhere.requests.isEmpty)
        }
    }

    @Test("A local client that went away without a word is noticed by a message that comes back, or in time")
    func local() async throws {
        // Nobody tells rooms who leaves.
        let modules: [any Module.Type] = [MUC.self, Messages.self, SilentPresence.self]
        try await playRooms(modules: modules) { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            try await crone.makesRoom(as: "firstwitch")
            for _ in 0..<2 {
                let hag = try await stage.enter("hag66@capulet.example/pda")
                try await hag.enters(as: "thirdwitch")
                await crone.forgets()
                await hag.leaves()
                #expect(stage.rooms?.loaded["coven"]?.occupants.count == 2)
                try await crone.says("Where is she?")
                let gone = try await crone.receivesAnywhere(
                    "<presence type='unavailable' from='\(coven)/thirdwitch'/>")
                #expect(gone.hasStatus(333))
                await crone.forgets()
            }
            let hag = try await stage.enter("hag66@capulet.example/pda")
            try await hag.enters(as: "thirdwitch")
            await hag.leaves()
            await crone.forgets()
            await stage.advance(by: .seconds(61))
            try await crone.receivesAnywhere("<presence type='unavailable' from='\(coven)/thirdwitch'/>")
        }
    }

    @Test("Of two clients with one nick one may leave, and the room still learns when the other goes away")
    func sharedNick() async throws {
        try await playRooms { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            try await crone.makesRoom(as: "firstwitch")
            let pda = try await stage.enter("hag66@capulet.example/pda")
            let laptop = try await stage.enter("hag66@capulet.example/laptop")
            try await pda.enters(as: "thirdwitch")
            try await laptop.enters(as: "thirdwitch")
            try await pda.sends("<presence type='unavailable' to='\(coven)/thirdwitch'/>")
            await stage.settle()
            await crone.forgets()
            await laptop.leaves()
            let gone = try await crone.receivesAnywhere("<presence type='unavailable' from='\(coven)/thirdwitch'/>")
            #expect(!gone.hasStatus(333))
        }
    }

    @Test("Clients that share a nick change it alone, also by entering anew under another one")
    func sharedNickChange() async throws {
        try await playRooms { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            try await crone.makesRoom(as: "firstwitch")
            let pda = try await stage.enter("hag66@capulet.example/pda")
            let laptop = try await stage.enter("hag66@capulet.example/laptop")
            try await pda.enters(as: "thirdwitch")
            try await laptop.enters(as: "thirdwitch")
            for (nick, step) in [("a", true), ("thirdwitch", true), ("b", false), ("thirdwitch", false)] {
                if step {
                    try await laptop.enters(as: nick)
                } else {
                    try await laptop.sends("<presence to='\(coven)/\(nick)'/>")
                    await stage.settle()
                }
                let room = try #require(stage.rooms?.loaded["coven"])
                let jid = try #require(JID("hag66@capulet.example/laptop"))
                #expect(room.session(jid)?.occupant.nick == nick)
                #expect(room.occupants.flatMap(\.sessions).count == 3 && room.sessions.count == 3)
                let stored = try await room.service.stores.sessions.value("\(jid)", of: "coven")
                #expect(stored?.nick == nick)
            }
        }
    }

    @Test("Who is unreachable again and again gets the room again only as often as one may enter")
    func flapping() async throws {
        try await playWithOthers("presence_rate: 4 per minute") { stage, elsewhere in
            let crone = try await fill(stage, elsewhere)
            var welcomes = 0
            for _ in 0..<20 {
                try await elsewhere.sends(error("remote-server-not-found"))
                try await elsewhere.sends(
                    "<iq type='get' id='p' from='\(Self.romeo)' to='\(coven)/romeo'><ping xmlns='urn:xmpp:ping'/></iq>")
                welcomes += await elsewhere.takes().filter { $0.hasStatus(110) }.count
            }
            // To enter was the first.
            #expect(welcomes == 3)
            // In the end it gets it, and what was said meanwhile.
            try await crone.says("Hark")
            await stage.advance(by: .minutes(2))
            let received = await elsewhere.takes()
            #expect(received.contains { $0.hasStatus(110) } && bodies(received) == ["Hark"])
        }
    }
}

extension String {
    fileprivate func replacingOccurrences(_ text: String, with other: String) -> String {
        split(separator: text, omittingEmptySubsequences: false).joined(separator: other)
    }
}

/// Gives clients the presence that is for them, and tells nobody when they go away.
private final class SilentPresence: Module {
    static let info = ModuleInfo("presence", "Delivers presence.")

    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        host.claim(.presenceArrived) { event in
            event.presence.to?.resourcepart.flatMap { event.account.resource($0) }?.send(event.presence)
            return true
        }
    }
}
