import TestKit
import Testing

@testable import Modules
@testable import ServerKit

private let modules: [any Module.Type] = [
    SASL.self, Bind.self, StreamManagement.self, Roster.self, PresenceExchange.self, Messages.self, Offline.self,
]
private let sm = "xmlns='urn:xmpp:sm:3'"
private let romeoJID = "romeo@montague.example"

extension Actor {
    /// Enables stream management and returns the id by which the session can be resumed.
    @discardableResult
    func enables(_ attributes: String = "resume='true'") async throws -> String {
        try await sends("<enable \(sm) \(attributes)/>")
        return try await receives("<enabled \(sm)/>")["id"] ?? ""
    }

    func resumes(_ id: String, h: Int) async throws {
        try await sends("<resume \(sm) previd='\(id)' h='\(h)'/>")
    }

    func writes(_ body: String, to jid: String) async throws {
        try await sends("<message to='\(jid)' type='chat'><body>\(body)</body></message>")
    }
}

extension Stage {
    /// A new connection of an account, authenticated and without a resource.
    func returns(_ localpart: String = "romeo") async throws -> Actor {
        let actor = try await connect(to: "montague.example")
        try await actor.logsIn(localpart)
        return actor
    }
}

/// Subscribes two to each other, and swallows the exchange.
@ServerActor
private func befriend(_ romeo: TestKit.Actor, _ juliet: TestKit.Actor) async throws {
    for (one, other) in [(romeo, juliet), (juliet, romeo)] {
        let (from, to) = (try #require(one.jid?.bare), try #require(other.jid?.bare))
        try await one.sends("<presence type='subscribe' to='\(to)'/>")
        try await other.receivesAnywhere("<presence type='subscribe' from='\(from)'/>")
        try await other.sends("<presence type='subscribed' to='\(from)'/>")
    }
    _ = await romeo.everything()
    _ = await juliet.everything()
}

private func bodies(_ elements: [Element]) -> [String] { elements.compactMap { $0.text(of: "body") } }

@Suite("Stream management (XEP-0198)") struct StreamManagementTests {
    // MARK: Enabling

    @Test("It is offered after authentication, enabled after binding, and only once")
    func enabling() async throws {
        try await play(modules: modules) { stage in
            try await stage.account(romeoJID)
            let romeo = try await stage.connect(to: "montague.example")
            #expect(try await romeo.opens().child("sm", .sm) == nil)
            try await romeo.sends("<enable \(sm)/>")
            try await romeo.receives("<failed \(sm)><unexpected-request xmlns='\(Namespace.stanzaErrors)'/></failed>")
            try await romeo.authenticatesPlain("romeo", "secret")
            try await romeo.receives("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            let features = try await romeo.opens()
            #expect(features.has("sm", .sm))
            try await romeo.sends("<enable \(sm)/>")
            try await romeo.receives("<failed \(sm)><unexpected-request xmlns='\(Namespace.stanzaErrors)'/></failed>")
            try await romeo.bindsResource("phone")
            try await romeo.receives("<iq type='result'/>")
            try await romeo.sends("<enable \(sm)/>")
            let enabled = try await romeo.receives("<enabled \(sm)/>")
            #expect(enabled["resume"] == nil && enabled["id"] == nil && enabled["location"] == nil)
            try await romeo.sends("<enable \(sm)/>")
            try await romeo.isClosed(with: .policyViolation)
        }
    }

    @Test("The client may ask for less time than the server grants, not for more")
    func maximum() async throws {
        try await play(modules: modules, config: "modules: { sm: { resume: 5 minutes } }") { stage in
            for (index, (wish, granted)) in [("60", "60"), ("9999", "300"), ("x", "300")].enumerated() {
                let romeo = try await stage.enter("\(romeoJID)/\(index)")
                try await romeo.sends("<enable \(sm) resume='1' max='\(wish)'/>")
                let enabled = try await romeo.receives("<enabled \(sm) resume='true' max='\(granted)'/>")
                #expect(enabled["id"]?.utf8.count == 32)
            }
        }
    }

    // MARK: Acknowledgements

    @Test("Each side counts the stanzas of the other; elements that are none do not count")
    func acknowledgements() async throws {
        try await play(modules: modules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await romeo.enables()
            try await romeo.sends("<r \(sm)/>")
            try await romeo.receives("<a \(sm) h='0'/>")
            try await romeo.writes("one", to: "juliet@capulet.example")
            try await romeo.sends("<iq type='get' id='1' to='nobody@montague.example'><x xmlns='urn:x'/></iq><r \(sm)/>")
            try await romeo.receivesAnywhere("<a \(sm) h='2'/>")
            try await romeo.receives("<iq type='error' id='1'/>")
            try await romeo.receives("<r \(sm)/>")
            // While an answer is owed, no more requests are made.
            try await juliet.writes("two", to: romeoJID)
            try await juliet.writes("three", to: romeoJID)
            try await romeo.receives("<message><body>two</body></message>")
            try await romeo.receives("<message><body>three</body></message>")
            try await romeo.staysSilent()
            try await romeo.sends("<a \(sm) h='1'/>")
            try await romeo.receives("<r \(sm)/>")
            try await romeo.sends("<a \(sm) h='3'/>")
            try await romeo.staysSilent()
            // Said again, it means nothing.
            try await romeo.sends("<a \(sm) h='2'/>")
            try await romeo.staysSilent()
        }
    }

    @Test("A refused stanza counts as well, and so does an acknowledgement of it")
    func refused() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await romeo.enables()
            try await romeo.sends("<iq type='nonsense' id='1'/><message to='@'/><r \(sm)/>")
            try await romeo.receivesAnywhere("<a \(sm) h='2'/>")
        }
    }

    @Test("Whoever acknowledges more than there was is cut off", arguments: ["1", "4294967295"])
    func tooHigh(h: String) async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await romeo.enables()
            try await romeo.sends("<a \(sm) h='\(h)'/>")
            guard h == "1" else { return try await romeo.staysSilent() }
            try await romeo.receives(
                """
                <error xmlns='http://etherx.jabber.org/streams'><undefined-condition xmlns='\(Namespace.streamErrors)'/>
                <handled-count-too-high \(sm) h='1' send-count='0'/></error>
                """)
        }
    }

    @Test("Acknowledgements without a number, or with nonsense, end the stream", arguments: ["", "h='x'", "h='-1'"])
    func malformed(attributes: String) async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await romeo.enables()
            try await romeo.sends("<a \(sm) \(attributes)/>")
            try await romeo.isClosed(with: .policyViolation)
        }
    }

    // MARK: Resuming

    @Test("After a broken connection the client gets what it missed, and nobody saw it leave")
    func resuming() async throws {
        try await play(modules: modules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await befriend(romeo, juliet)
            let id = try await romeo.enables()
            try await juliet.writes("one", to: romeoJID)
            try await romeo.receives("<message><body>one</body></message>")
            try await juliet.writes("two", to: romeoJID)
            await romeo.vanishes()
            try await juliet.writes("three", to: "\(romeoJID)/phone")
            await stage.advance(by: .seconds(60))
            try await juliet.writes("four", to: romeoJID)
            try await juliet.staysSilent()

            let again = try await stage.returns()
            try await again.resumes(id, h: 1)
            try await again.receives("<resumed \(sm) previd='\(id)' h='0'/>")
            try await again.receives("<message><body>two</body><delay xmlns='urn:xmpp:delay' from='montague.example'/></message>")
            let three = try await again.receives("<message to='\(romeoJID)/phone'><body>three</body></message>")
            #expect(three.has("delay", .delay))
            let four = try await again.receives("<message><body>four</body></message>")
            #expect(!four.has("delay", .delay))
            try await again.receives("<r \(sm)/>")
            try await again.writes("here", to: "juliet@capulet.example")
            try await juliet.receives("<message from='\(romeoJID)/phone'><body>here</body></message>")
            try await again.sends("<r \(sm)/>")
            try await again.receives("<a \(sm) h='1'/>")
            try await juliet.staysSilent()
        }
    }

    @Test("A client may resume while the old connection is still open, which then ends")
    func takeover() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("\(romeoJID)/phone")
            let id = try await romeo.enables()
            let again = try await stage.returns()
            try await again.resumes(id, h: 0)
            try await again.receives("<resumed \(sm) previd='\(id)'/>")
            try await romeo.isClosed(with: .conflict)
            #expect(again.jid == JID("\(romeoJID)/phone") && again.resource?.isAvailable == true)
        }
    }

    @Test("Sessions of others, sessions that never were, and nonsense cannot be resumed; the client may bind instead")
    func refusedResumption() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("\(romeoJID)/phone")
            let id = try await romeo.enables()
            try await stage.account("tybalt@montague.example")
            let tybalt = try await stage.returns("tybalt")
            for (attributes, condition) in [
                ("previd='\(id)' h='0'", "item-not-found"), ("previd='0' h='0'", "item-not-found"),
                ("previd='\(id)'", "bad-request"), ("previd='\(id)' h='-1'", "bad-request"), ("h='0'", "bad-request"),
            ] {
                try await tybalt.sends("<resume \(sm) \(attributes)/>")
                let failed = try await tybalt.receives(
                    "<failed \(sm)><\(condition) xmlns='\(Namespace.stanzaErrors)'/></failed>")
                #expect(failed["h"] == nil)
            }
            try await tybalt.bindsResource("sword")
            try await tybalt.receives("<iq type='result'/>")
            // Nor beside another session.
            try await tybalt.sends("<resume \(sm) previd='\(id)' h='0'/>")
            try await tybalt.receives("<failed \(sm)><unexpected-request xmlns='\(Namespace.stanzaErrors)'/></failed>")
            #expect(romeo.resource != nil && !romeo.isClosed)
        }
    }

    @Test("A resumption with a number that is too high fails, and the session waits on")
    func resumptionTooHigh() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("\(romeoJID)/phone")
            let id = try await romeo.enables()
            await romeo.vanishes()
            let wrong = try await stage.returns()
            try await wrong.resumes(id, h: 7)
            try await wrong.isClosed(with: .undefinedCondition)
            let again = try await stage.returns()
            try await again.resumes(id, h: 0)
            try await again.receives("<resumed \(sm)/>")
        }
    }

    @Test("A client that said goodbye cannot come back")
    func closed() async throws {
        try await play(modules: modules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await befriend(romeo, juliet)
            let id = try await romeo.enables()
            await romeo.leaves()
            try await juliet.receives("<presence type='unavailable' from='\(romeoJID)/phone'/>")
            let again = try await stage.returns()
            try await again.resumes(id, h: 0)
            try await again.receives("<failed \(sm) h='0'><item-not-found xmlns='\(Namespace.stanzaErrors)'/></failed>")
        }
    }

    // MARK: Those who do not come back

    @Test("When the time is over the contacts learn it, and messages go to offline storage, requests back")
    func expiry() async throws {
        try await play(modules: modules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await befriend(romeo, juliet)
            let id = try await romeo.enables()
            try await romeo.writes("before", to: "juliet@capulet.example")
            try await juliet.receives("<message><body>before</body></message>")
            await romeo.vanishes()
            try await juliet.writes("one", to: romeoJID)
            await stage.advance(by: .seconds(30))
            try await juliet.writes("two", to: "\(romeoJID)/phone")
            try await juliet.sends("<iq type='get' id='q' to='\(romeoJID)/phone'><x xmlns='urn:x'/></iq>")
            try await juliet.sends("<message type='headline' to='\(romeoJID)/phone'><body>news</body></message>")
            try await juliet.sends("<message type='groupchat' to='\(romeoJID)/phone' id='g'><body>all</body></message>")
            await stage.advance(by: .minutes(11))
            try await juliet.receives("<presence type='unavailable' from='\(romeoJID)/phone'/>")
            try await juliet.receives("<iq type='error' id='q'><error><service-unavailable xmlns='\(Namespace.stanzaErrors)'/></error></iq>")
            try await juliet.receives("<message type='error' id='g'><error><recipient-unavailable xmlns='\(Namespace.stanzaErrors)'/></error></message>")
            try await juliet.staysSilent()

            let again = try await stage.returns()
            try await again.resumes(id, h: 0)
            // It learns that "before" arrived.
            try await again.receives("<failed \(sm) h='1'><item-not-found xmlns='\(Namespace.stanzaErrors)'/></failed>")
            try await again.bindsResource("phone")
            try await again.sends("<presence/>")
            let all = await again.everything()
            #expect(bodies(all) == ["one", "two"])
            let delays = all.filter { $0.has("body") }.map { $0.children("delay", .delay).count }
            #expect(delays == [1, 1])
        }
    }

    @Test("What one client leaves unread goes to the others only if they have not got it")
    func otherClients() async throws {
        try await play(modules: modules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let phone = try await stage.enter("\(romeoJID)/phone")
            let laptop = try await stage.enter("\(romeoJID)/laptop")
            _ = await phone.everything()
            try await phone.enables()
            await phone.vanishes()
            try await juliet.writes("to all", to: romeoJID)
            try await juliet.writes("to the phone", to: "\(romeoJID)/phone")
            try await laptop.receives("<message><body>to all</body></message>")
            try await laptop.staysSilent()
            await stage.advance(by: .minutes(11))
            let rest = await laptop.everything()
            #expect(bodies(rest) == ["to the phone"])
        }
    }

    @Test("A session that cannot be resumed ends with its connection, and loses nothing either")
    func withoutResumption() async throws {
        try await play(modules: modules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await romeo.enables("")
            try await juliet.writes("one", to: romeoJID)
            try await juliet.writes("two", to: romeoJID)
            try await romeo.receives("<message><body>one</body></message>")
            try await romeo.sends("<a \(sm) h='1'/>")
            await romeo.vanishes()
            let again = try await stage.enter("\(romeoJID)/phone", presence: false)
            try await again.sends("<presence/>")
            #expect(bodies(await again.everything()) == ["two"])
        }
    }

    @Test("A client that takes the resource of one that is away gets what that one missed")
    func sameResource() async throws {
        try await play(modules: modules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await romeo.enables()
            await romeo.vanishes()
            try await juliet.writes("one", to: romeoJID)
            let again = try await stage.returns()
            try await again.bindsResource("phone")
            try await again.receives("<iq type='result' id='bind'/>")
            try await again.sends("<presence/>")
            #expect(bodies(await again.everything()) == ["one"])
        }
    }

    // MARK: Limits

    @Test("A queue that overflows ends the session of a client that is away, and nothing is lost")
    func overflow() async throws {
        try await play(modules: modules, config: "modules: { sm: { queue: 10 } }") { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await romeo.enables()
            await romeo.vanishes()
            for number in 0..<12 { try await juliet.writes("\(number)", to: romeoJID) }
            let again = try await stage.enter("\(romeoJID)/other", presence: false)
            try await again.sends("<presence/>")
            #expect(bodies(await again.everything()) == (0..<12).map { "\($0)" })
        }
    }

    @Test("A client that acknowledges nothing is cut off")
    func neverAcknowledges() async throws {
        try await play(modules: modules, config: "modules: { sm: { queue: 10 } }") { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await romeo.enables()
            for number in 0..<11 { try await juliet.writes("\(number)", to: romeoJID) }
            try await romeo.isClosed(with: .policyViolation)
        }
    }

    @Test("A silent client's messages are announced, then its connection is given up, and it may come back")
    func silence() async throws {
        try await play(modules: modules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            let id = try await romeo.enables()
            let delayed = Delayed()
            let list = stage.server.host("montague.example")?.hooks.stanzaDelayed
            _ = list?.observe(rank: 0) { delayed.stanzas.append($0.stanza) }
            try await juliet.writes("one", to: romeoJID)
            try await romeo.receives("<message><body>one</body></message>")
            await stage.advance(by: .seconds(8))
            #expect(delayed.stanzas.isEmpty)
            await stage.advance(by: .seconds(5))
            #expect(delayed.stanzas.count == 1)
            await stage.advance(by: .seconds(90))
            try await romeo.isClosed(with: .connectionTimeout)
            #expect(delayed.stanzas.count == 1)
            try await juliet.writes("two", to: romeoJID)
            await stage.settle()
            #expect(delayed.stanzas.count == 2)
            let again = try await stage.returns()
            try await again.resumes(id, h: 1)
            try await again.receives("<resumed \(sm)/>")
            try await again.receives("<message><body>two</body></message>")
        }
    }

    @Test("Only so many clients of an account may be away")
    func detachedLimit() async throws {
        try await play(modules: modules, config: "modules: { sm: { detached: 2 } }") { stage in
            for number in 0..<4 {
                let romeo = try await stage.enter("\(romeoJID)/\(number)")
                try await romeo.enables()
                await romeo.vanishes()
            }
            let account = stage.server.host("montague.example")?.accounts.loadedAccount("romeo")
            #expect(account?.resources.compactMap(\.jid.resourcepart) == ["2", "3"])
        }
    }

    // MARK: Restarts

    @Test("Sessions outlive a restart of the server, and contacts see nothing of it")
    func restart() async throws {
        try await play(modules: modules) { stage in
            var juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone", with: "<status>here</status>")
            try await befriend(romeo, juliet)
            let romeoID = try await romeo.enables()
            let julietID = try await juliet.enables()
            try await romeo.sends("<presence to='friar@capulet.example/cell'/>")
            try await juliet.writes("one", to: romeoJID)
            try await romeo.receives("<message><body>one</body></message>")
            try await juliet.writes("two", to: romeoJID)
            await stage.settle()
            try await stage.restart()

            juliet = try await stage.connect(to: "capulet.example")
            try await juliet.logsIn("juliet")
            try await juliet.resumes(julietID, h: 0)
            try await juliet.receives("<resumed \(sm) previd='\(julietID)' h='2'/>")
            try await juliet.writes("three", to: romeoJID)
            let again = try await stage.returns()
            try await again.resumes(romeoID, h: 1)
            try await again.receives("<resumed \(sm) previd='\(romeoID)' h='1'/>")
            try await again.receives("<message><body>two</body></message>")
            try await again.receives("<message><body>three</body></message>")
            let presence = again.resource?.presence
            #expect(presence?.text(of: "status") == "here" && again.resource?.isInterested == false)
            try await juliet.staysSilent()
            // Directed presence is known, too.
            let friar = try await stage.enter("friar@capulet.example/cell")
            try await again.sends("<presence type='unavailable'/>")
            try await friar.receives("<presence type='unavailable' from='\(romeoJID)/phone'/>")
        }
    }

    @Test("After a restart, those who do not come back leave in the end, and what they missed waits for them")
    func restartAndExpiry() async throws {
        try await play(modules: modules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await befriend(romeo, juliet)
            let romeoID = try await romeo.enables()
            let julietID = try await juliet.enables()
            try await juliet.writes("one", to: romeoJID)
            await stage.settle()
            try await stage.restart()
            let again = try await stage.connect(to: "capulet.example")
            try await again.logsIn("juliet")
            try await again.resumes(julietID, h: 0)
            try await again.receives("<resumed \(sm)/>")
            await stage.advance(by: .minutes(11))
            try await again.receivesAnywhere("<presence type='unavailable' from='\(romeoJID)/phone'/>")
            let late = try await stage.returns()
            try await late.resumes(romeoID, h: 0)
            try await late.receives("<failed \(sm)/>")
            try await late.bindsResource("phone")
            try await late.sends("<presence/>")
            #expect(bodies(await late.everything()) == ["one"])
        }
    }

    @Test("A session is resumed once: what was stored is gone after it was read, and after its time")
    func storedOnce() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("\(romeoJID)/phone")
            let id = try await romeo.enables()
            try await stage.restart()
            let store = stage.server.storage.rawMap("sessions", on: "montague.example")
            await stage.settle()
            #expect(try await store.entries(of: "romeo").isEmpty)
            await stage.advance(by: .minutes(11))
            try await stage.restart()
            let again = try await stage.returns()
            try await again.resumes(id, h: 0)
            try await again.receives("<failed \(sm)/>")
        }
    }

    @Test("Unloading the module leaves the streams as they were without it")
    func unloading() async throws {
        let names = modules.map { $0.info.name }
        let without = "modules: { " + names.map { "\($0): \($0 == "sm" ? "off" : "on")" }.joined(separator: ", ") + " }"
        try await play(modules: modules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await romeo.enables()
            try stage.reload(without)
            try await juliet.writes("one", to: romeoJID)
            try await romeo.receives("<message><body>one</body></message>")
            try await romeo.staysSilent()
            try await romeo.sends("<r \(sm)/>")
            try await romeo.isClosed(with: .unsupportedStanzaType)
        }
    }
}

/// What a hook told.
@ServerActor
private final class Delayed {
    var stanzas: [Stanza] = []
    init() {}
}
