import TestKit
import Testing

@testable import Modules
@testable import ServerKit

@Suite("Resuming streams (XEP-0198 §5)") struct StreamResumptionTests {
    // MARK: Resuming

    @Test("After a broken connection the client gets what it missed, and nobody saw it leave")
    func resuming() async throws {
        try await play(modules: sessionModules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await makeFriends(romeo, juliet)
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
        try await play(modules: sessionModules) { stage in
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
        try await play(modules: sessionModules) { stage in
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
        try await play(modules: sessionModules) { stage in
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

    @Test("A client that forgot what it acknowledged cannot resume, and learns what arrived")
    func forgetful() async throws {
        try await play(modules: sessionModules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            let id = try await romeo.enables()
            try await romeo.writes("hello", to: "juliet@capulet.example")
            try await juliet.writes("one", to: romeoJID)
            try await romeo.receives("<message/>")
            try await romeo.sends("<a \(sm) h='1'/>")
            await romeo.vanishes()
            let again = try await stage.returns()
            try await again.resumes(id, h: 0)
            try await again.receives("<failed \(sm) h='1'><item-not-found xmlns='\(Namespace.stanzaErrors)'/></failed>")
        }
    }

    @Test("Of two connections that resume at a time the later one has the session")
    func twice() async throws {
        try await play(modules: sessionModules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            let id = try await romeo.enables()
            await romeo.vanishes()
            let one = try await stage.returns()
            let two = try await stage.returns()
            try await one.resumes(id, h: 0)
            try await two.resumes(id, h: 0)
            try await two.receives("<resumed \(sm) previd='\(id)'/>")
            try await juliet.writes("one", to: romeoJID)
            try await two.receives("<message><body>one</body></message>")
            #expect(one.isClosed && !two.isClosed)
        }
    }

    @Test("A long queue is sent as fast as the client reads it, and what is new comes afterwards")
    func longQueue() async throws {
        try await play(modules: sessionModules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            let id = try await romeo.enables()
            await romeo.vanishes()
            let long = String(repeating: "x", count: 100_000)
            for number in 0..<20 { try await juliet.writes("\(number) \(long)", to: romeoJID) }
            await stage.settle()
            let again = try await stage.returns()
            try await again.resumes(id, h: 0)
            await stage.settle()
            try await juliet.writes("20 new", to: romeoJID)
            for _ in 0..<40 { await stage.advance(by: .milliseconds(100)) }
            let numbers = bodies(await again.everything()).compactMap { $0.split(separator: " ").first }
            #expect(numbers == (0...20).map { "\($0)" })
        }
    }

    @Test("A client that said goodbye cannot come back")
    func closed() async throws {
        try await play(modules: sessionModules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await makeFriends(romeo, juliet)
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
        try await play(modules: sessionModules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await makeFriends(romeo, juliet)
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
        try await play(modules: sessionModules) { stage in
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

    @Test("A client that came later than a message gets what the one before left unread")
    func laterClient() async throws {
        try await play(modules: sessionModules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let phone = try await stage.enter("\(romeoJID)/phone")
            try await phone.enables()
            await phone.vanishes()
            try await juliet.writes("one", to: romeoJID)
            await stage.advance(by: .seconds(60))
            let laptop = try await stage.enter("\(romeoJID)/laptop")
            await stage.advance(by: .minutes(11))
            #expect(bodies(await laptop.everything()) == ["one"])
        }
    }

    @Test("A session that cannot be resumed ends with its connection, and loses nothing either")
    func withoutResumption() async throws {
        try await play(modules: sessionModules) { stage in
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
        try await play(modules: sessionModules) { stage in
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

    // MARK: Restarts

    @Test("Sessions outlive a restart of the server, and contacts see nothing of it")
    func restart() async throws {
        try await play(modules: sessionModules) { stage in
            var juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone", with: "<status>here</status>")
            try await makeFriends(romeo, juliet)
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
        try await play(modules: sessionModules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await makeFriends(romeo, juliet)
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

    @Test("What waited in sessions that were over when the server came back goes to offline storage")
    func overAtStart() async throws {
        try await play(modules: sessionModules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await romeo.enables()
            await romeo.vanishes()
            try await juliet.writes("one", to: romeoJID)
            await stage.settle()
            try await stage.restart(after: .minutes(11))
            let again = try await stage.returns()
            try await again.bindsResource("phone")
            try await again.sends("<presence/>")
            #expect(bodies(await again.everything()) == ["one"])
        }
    }

    @Test("Stored sessions that cannot be read do not keep anybody from logging in")
    func unreadable() async throws {
        try await play(modules: sessionModules) { stage in
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await romeo.enables()
            stage.server.storage.rawMap("sessions", on: "montague.example").set(Array("{".utf8), "x", of: "romeo")
            try await stage.restart()
            let again = try await stage.returns()
            try await again.bindsResource("laptop")
            try await again.receives("<iq type='result' id='bind'/>")
        }
    }

    @Test("A session is resumed once: what was stored is gone after it was read, and after its time")
    func storedOnce() async throws {
        try await play(modules: sessionModules) { stage in
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
}
