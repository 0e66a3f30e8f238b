import ServerKit
import StorageMemory
import TestKit
import Testing

@testable import Modules

@Suite("What guests leave behind") struct GuestTracesTests {
    @Test("No registered nick and no phone to be woken, with nobody; a hidden invitation is found")
    func nothingThere() async throws {
        try await playWithGuests { stage in
            let juliet = try await stage.enter("\(juliets)/balcony")
            let guest = try await stage.enter(with: try await stage.invites(juliets))
            for request in [
                "<query xmlns='jabber:iq:register'><username>x</username></query>",
                "<enable xmlns='urn:xmpp:push:0' jid='push.elsewhere.example' node='x'/>",
                "<disable xmlns='urn:xmpp:push:0' jid='push.elsewhere.example'/>",
            ] {
                #expect(try await guest.isRefused(.set, request, to: juliets).condition == .notAllowed)
                #expect(try await guest.isRefused(.set, request, to: "\(juliets)/balcony").condition == .notAllowed)
            }
            try await guest.sends(
                """
                <message to='\(juliets)' id='m'><x xmlns='http://jabber.org/protocol/muc#user'/>\
                <x xmlns='http://jabber.org/protocol/muc#user'><invite to='romeo@montague.example'/></x></message>
                """)
            try await guest.receives("<message from='\(juliets)' id='m' type='error'/>")
            try await juliet.staysSilent()
        }
    }

    @Test("Who writes to a guest who is gone, or never was available, hears so")
    func undelivered() async throws {
        let modules: [any Module.Type] = [
            SASL.self, Bind.self, Roster.self, PresenceExchange.self, Messages.self, Disco.self, Ping.self,
            Commands.self, Guests.self, Offline.self, StreamManagement.self,
        ]
        let config = guestConfig() + "\n  offline: on\n  sm: on\n"
        try await play(modules: modules, config: config) { stage in
            let juliet = try await stage.enter("\(juliets)/balcony")
            let pass = try await stage.invites(juliets)
            let silent = try await stage.enter(with: pass, presence: false)
            let address = try #require(silent.jid).bare
            try await juliet.cannotWrite(to: "\(address)", "service-unavailable")
            await silent.leaves()
            try await juliet.cannotWrite(to: "\(address)", "service-unavailable")
            // The next with this address finds nothing of it.
            let next = try await stage.enter(with: pass)
            #expect(await next.everything().isEmpty)
        }
    }

    @Test("A crash leaves nothing for who gets the address next")
    func crash() async throws {
        let driver = MemoryStorageDriver()
        try await playWithGuests(driver: driver) { stage in
            let pass = try await stage.invites(juliets, places: 2)
            let guest = try await stage.enter(with: pass)
            let name = try #require(guest.jid?.localpart)
            let notes = Storage(driver).rawValues("notes", on: "guests.example")
            notes.set([1], for: name)
            try await stage.crash()
            try await stage.server.finishStartUp()
            await stage.settle()
            let left = try await notes.value(for: name)
            #expect(left == nil)
            _ = try await stage.enter(with: pass)
        }
    }

    @Test("Invitations go with the account of who made them")
    func inviter() async throws {
        try await playWithGuests("invite: users") { stage in
            let juliet = try await stage.enter("\(juliets)/balcony")
            let jid = try #require(JID(juliets))
            let request = GuestRequest(peers: [jid])
            let pass = try await stage.book.invite(request, by: jid)
            let other = try await stage.book.invite(request, by: JID("romeo@montague.example"))
            let guest = try await stage.enter(with: pass)
            await juliet.leaves()
            try await stage.server.host("montague.example")?.accounts.remove("juliet")
            await stage.settle()
            try await guest.isClosed(with: .notAuthorized)
            try await stage.tries(pass).fails("not-authorized")
            #expect(try stage.book.invitations.map(\.id) == [other.invitation.id])
        }
    }

    @Test("Closed to the uninvited, the host does not keep those who are here")
    func closing() async throws {
        try await playWithGuests("open: true") { stage in
            let stranger = try await stage.enterAsGuest(of: "guests.example")
            let invited = try await stage.enter(with: try await stage.invites(juliets))
            try stage.reload(guestConfig("open: false"))
            try await stranger.isClosed(with: .notAuthorized)
            try await invited.asks(.get, guestPing, to: "guests.example")
        }
    }

    @Test("Who comes again and again with an invitation for several has to wait")
    func comingAndGoing() async throws {
        try await playWithGuests { stage in
            let pass = try await stage.invites(juliets, places: 2)
            for _ in 0..<18 { await (try await stage.enter(with: pass)).leaves() }
            try await stage.tries(pass).fails("temporary-auth-failure")
            await stage.advance(by: .seconds(3_600))
            _ = try await stage.enter(with: pass)
        }
    }
}
