import ServerKit
import StorageMemory
import TestKit
import Testing

@testable import Modules

@Suite("Invitations of guests") struct GuestInvitationTests {
    @Test(
        "What is no invitation lets nobody in",
        arguments: [
            ("PLAIN", "\0USER\0wrong", "not-authorized"), ("PLAIN", "\0nobody\0PASS", "not-authorized"),
            ("PLAIN", "\0USER\0\0", "malformed-request"), ("PLAIN", "\0USER\0", "malformed-request"),
            ("PLAIN", "\0\0PASS", "malformed-request"), ("PLAIN", "\0USER@guests.example\0PASS", "not-authorized"),
            ("PLAIN", "\0USER\0PASS ", "not-authorized"), ("PLAIN", "\0USER\0USER", "not-authorized"),
            ("PLAIN", "\0juliet\0secret", "not-authorized"), ("PLAIN", "\0romeo\0secret", "not-authorized"),
            ("PLAIN", "juliet@montague.example\0USER\0PASS", "invalid-authzid"),
            ("PLAIN", "nobody@guests.example\0USER\0PASS", "invalid-authzid"),
            ("ANONYMOUS", "", "invalid-mechanism"), ("ANONYMOUS", "PASS", "invalid-mechanism"),
            ("EXTERNAL", "USER@guests.example", "invalid-mechanism"), ("PASS", "", "invalid-mechanism"),
        ])
    func hostile(mechanism: String, data: String, condition: String) async throws {
        try await playWithGuests { stage in
            try await stage.account("juliet@montague.example")
            // From before the host was for guests.
            let accounts = try #require(stage.server.host("guests.example")?.accounts)
            try await accounts.store.create("romeo", password: "secret", iterations: 4_096, at: stage.server.clock.date)
            let pass = try await stage.invites(juliets)
            let text = data.replacing("USER", with: pass.username).replacing("PASS", with: pass.password)
            try await stage.tries(mechanism, Array(text.utf8)).fails(condition)
            #expect(accounts.loadedAccounts.isEmpty)
        }
    }

    @Test("64 KiB are cut off before anybody looks at them, and what is no text is refused")
    func huge() async throws {
        try await playWithGuests { stage in
            let pass = try await stage.invites(juliets)
            let stranger = try await stage.tries(pass, password: String(repeating: "a", count: 65_536))
            try await stranger.isClosed(with: .policyViolation)
            try await stage.tries("PLAIN", [0, 0xFF, 0xFE, 0, 0x61]).fails("malformed-request")
            _ = try await stage.enter(with: pass)
        }
    }

    @Test("Guessing is slowed down like that of passwords: by address, and by invitation")
    func guessing() async throws {
        try await playWithGuests { stage in
            let pass = try await stage.invites(juliets)
            for _ in 0..<6 { try await stage.tries(pass, password: "guess").fails("not-authorized") }
            try await stage.tries(pass).fails("temporary-auth-failure")
            await stage.advance(by: .seconds(600))
            for n in 0..<21 { try await stage.tries("nobody\(n)", "guess").fails("not-authorized") }
            try await stage.tries(pass).fails("temporary-auth-failure")
            await stage.advance(by: .seconds(60))
            _ = try await stage.enter(with: pass)
        }
    }

    @Test("The guest who comes back is the same, and the page that was there before has to go")
    func returning() async throws {
        try await playWithGuests { stage in
            let juliet = try await stage.enter("\(juliets)/balcony")
            let pass = try await stage.invites(juliets)
            let first = try await stage.enter(with: pass)
            let jid = try #require(first.jid?.bare)
            #expect(jid == pass.address && !"\(jid)".contains(pass.password))
            await first.vanishes()
            let second = try await stage.enter(with: pass)
            #expect(second.jid?.bare == jid)
            let third = try await stage.enter(with: pass)
            #expect(third.jid?.bare == jid)
            try await second.isClosed(with: .conflict)
            try await third.writes(to: juliet)
            try await juliet.writes(to: third)
            // Who had logged in when the last one left is let in all the same.
            let slow = try await stage.tries(pass)
            try await slow.receives("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            await third.leaves()
            try await slow.opens()
            try await slow.bindsResource("x")
            try await slow.receives("<iq type='result' id='bind'/>")
            #expect(slow.jid?.bare == jid)
            try await slow.writes(to: juliet)
        }
    }

    @Test("Two who log in with one invitation at the same time do not get in each other's way")
    func atTheSameTime() async throws {
        try await playWithGuests { stage in
            let pass = try await stage.invites(juliets)
            let (one, two) = (
                try await stage.tries(pass), try await stage.tries(pass)
            )
            for actor in [one, two] {
                try await actor.receives("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
                try await actor.opens()
            }
            // What is written to the guest meanwhile must not hide that there is one.
            let juliet = try await stage.enter("\(juliets)/balcony")
            let jid = try #require(try stage.book.invitations.first).guests
            #expect(jid.isEmpty)
            try await one.bindsResource("a")
            try await two.bindsResource("b")
            await stage.settle()
            let accounts = try #require(stage.server.host("guests.example")?.accounts)
            #expect(accounts.loadedAccounts.map(\.resources.count) == [1])
            #expect(accounts.resourceCount == 1)
            let last = one.isClosed ? two : one
            _ = await last.everything()
            try await last.writes(to: juliet)
        }
    }

    @Test("Of several guests each has an address, and there are no more than places")
    func places() async throws {
        try await playWithGuests { stage in
            let pass = try await stage.invites(juliets, places: 2)
            let one = try await stage.enter(with: pass)
            let two = try await stage.enter(with: pass)
            #expect(one.jid?.bare != two.jid?.bare)
            try await stage.tries(pass).fails("temporary-auth-failure")
            // They do not hear each other.
            try await one.cannotWrite(to: "\(try #require(two.jid))")
            let old = one.jid?.bare
            await one.leaves()
            let three = try await stage.enter(with: pass)
            #expect(three.jid?.bare != old)
            // Who never binds a resource has no place for ever.
            await three.leaves()
            let idle = try await stage.tries(pass)
            try await idle.receives("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            await idle.vanishes()
            try await stage.tries(pass).fails("temporary-auth-failure")
            await stage.advance(by: .seconds(130))
            _ = try await stage.enter(with: pass)
        }
    }

    @Test("An invitation that expires or is taken back ends its guests' sessions, which are told why")
    func end() async throws {
        try await playWithGuests { stage in
            let juliet = try await stage.enter("\(juliets)/balcony")
            for isRevoked in [false, true] {
                let pass = try await stage.invites(juliets, lifetime: 60)
                let other = try await stage.invites(juliets)
                let guest = try await stage.enter(with: pass)
                let friend = try await stage.enter(with: other)
                try await guest.sends("<presence to='\(juliets)'/>")
                try await juliet.receives("<presence/>")
                let late = try await stage.tries(pass)
                try await late.receives("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
                if isRevoked {
                    #expect(try await stage.book.revoke(pass.invitation.id))
                    #expect(try await !stage.book.revoke(pass.invitation.id))
                } else {
                    await stage.advance(by: .seconds(66))
                }
                let error = try await guest.receivesAnywhere("<error xmlns='http://etherx.jabber.org/streams'/>")
                let text = StreamError(error).text ?? ""
                #expect(StreamError(error).condition == .notAuthorized)
                #expect(text.contains(isRevoked ? "taken back" : "expired"))
                try await juliet.receives("<presence type='unavailable'/>")
                // Who has logged in and not bound a resource does not slip through.
                if !late.isClosed {
                    try await late.opens()
                    try await late.bindsResource("x")
                    try await late.isClosed(with: .notAuthorized)
                }
                try await stage.tries(pass).fails("not-authorized")
                try await friend.writes(to: juliet)
                #expect(try stage.book.invitations.count == (isRevoked ? 2 : 1))
            }
        }
    }

    @Test("A restart keeps invitations and addresses; the password is nowhere in the storage")
    func restart() async throws {
        let driver = MemoryStorageDriver()
        try await playWithGuests(driver: driver) { stage in
            let pass = try await stage.invites(juliets, "romeo@elsewhere.example", name: "Ann", places: 1)
            let brief = try await stage.invites(juliets, lifetime: 60)
            let gone = try await stage.invites(juliets)
            _ = try await stage.book.revoke(gone.invitation.id)
            let jid = try await stage.enter(with: pass).jid?.bare
            try await stage.crash(after: .seconds(90))
            try await stage.server.finishStartUp()
            #expect(try stage.book.invitations == [pass.invitation])
            let juliet = try await stage.enter("\(juliets)/balcony")
            let guest = try await stage.enter(with: pass)
            #expect(guest.jid?.bare == jid)
            try await guest.writes(to: juliet)
            for other in [brief, gone] { try await stage.tries(other).fails("not-authorized") }
            let entries = try await stage.server.storage.rawMap("guest-invitations", on: "guests.example").entries(
                of: "")
            #expect(entries.count == 1)
            for entry in entries {
                #expect(!(entry.key + String(decoding: entry.value, as: UTF8.self)).contains(pass.password))
            }
        }
    }

    @Test(
        "What cannot be an invitation is refused",
        arguments: [
            GuestRequest(peers: []), GuestRequest(peers: [JID("montague.example")!]),
            GuestRequest(peers: [JID("juliet@montague.example/balcony")!]),
            GuestRequest(peers: [JID("x@guests.example")!]),
            GuestRequest(peers: (0..<21).map { JID("a\($0)@montague.example")! }),
            GuestRequest(peers: [JID("juliet@montague.example")!], lifetime: 0),
            GuestRequest(peers: [JID("juliet@montague.example")!], lifetime: -1),
            GuestRequest(peers: [JID("juliet@montague.example")!], lifetime: .max),
            GuestRequest(peers: [JID("juliet@montague.example")!], places: 0),
            GuestRequest(peers: [JID("juliet@montague.example")!], places: 51),
            GuestRequest(peers: [JID("juliet@montague.example")!], name: String(repeating: "x", count: 101)),
        ])
    func refused(request: GuestRequest) async throws {
        try await playWithGuests { stage in
            let book = try stage.book
            await #expect(throws: StanzaError.self) { try await book.invite(request, by: nil) }
            #expect(book.invitations.isEmpty)
        }
    }

    @Test("There is an end to invitations")
    func capacity() async throws {
        try await playWithGuests("max_invitations: 2") { stage in
            let book = try stage.book
            // At the same time, too.
            let request = GuestRequest(peers: [JID("juliet@montague.example")!])
            let tasks = (0..<4).map { _ in Task { @ServerActor in try await book.invite(request, by: nil) } }
            var count = 0
            for task in tasks where (try? await task.value) != nil { count += 1 }
            #expect(count == 2 && book.invitations.count == 2)
            let error = await #expect(throws: StanzaError.self) {
                try await book.invite(request, by: nil)
            }
            #expect(error?.condition == .resourceConstraint)
        }
    }

    @Test("What is taken back while it is being made leaves nothing")
    func revokedAtOnce() async throws {
        try await playWithGuests { stage in
            let book = try stage.book
            let request = GuestRequest(peers: [JID("juliet@montague.example")!])
            let task = Task { @ServerActor in try await book.invite(request, by: nil) }
            while book.invitations.isEmpty { await Task.yield() }
            #expect(try await book.revoke(book.invitations[0].id))
            _ = try? await task.value
            #expect(book.invitations.isEmpty && !book.mayFederate(with: "montague.example"))
            let store = stage.server.storage.rawMap("guest-invitations", on: "guests.example")
            #expect(try await store.entries(of: "").isEmpty)
        }
    }

    @Test("Once the module is off nobody is left who was held to a conversation, and on again invitations are good")
    func unload() async throws {
        try await playWithGuests { stage in
            let pass = try await stage.invites(juliets)
            var guest = try await stage.enter(with: pass)
            try stage.reload(guestConfig(isOn: false))
            try await guest.isClosed(with: .reset)
            #expect(stage.server.host("guests.example")?.service((any GuestBook).self) == nil)
            // As before there was a module: anybody, and to everybody here.
            guest = try await stage.enterAsGuest(of: "guests.example")
            try await stage.tries(pass).fails("invalid-mechanism")
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await guest.writes(to: romeo)
            let slow = try await stage.connect(to: "guests.example")
            try await slow.opens()
            try stage.reload(guestConfig())
            try await stage.server.finishStartUp()
            // What was offered before does not count.
            try await slow.authenticates("ANONYMOUS", [])
            try await slow.fails("invalid-mechanism")
            try await guest.isClosed(with: .reset)
            guest = try await stage.enter(with: pass)
            try await guest.cannotWrite(to: "romeo@montague.example")
        }
    }
}
