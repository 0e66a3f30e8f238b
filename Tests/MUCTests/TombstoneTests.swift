import ServerKit
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("Rooms that are gone (XEP-0045 §10.9), and clear words for who cannot enter (§7.2.17)") struct TombstoneTests {
    private func error(_ presence: Element) -> StanzaError? { presence.child("error").map { StanzaError($0) } }

    private func text(_ presence: Element) -> String? { error(presence)?.text }

    @Test("Who enters a room that has moved learns where to, after a restart, too; its owner can make it anew")
    func moved() async throws {
        try await playRooms { stage in
            let backstage = try Backstage(stage)
            var crone = try await stage.enter("crone1@capulet.example/desktop")
            var hag = try await stage.enter("hag66@montague.example/pda")
            try await crone.makesRoom(as: "firstwitch")
            try await hag.enters(as: "thirdwitch")
            backstage.room?.destroy(alternate: JID("höhle@\(conference)"), reason: "Macbeth doth come.")
            await hag.forgets()
            for round in 0..<2 {
                let presence = try await hag.isKeptOut(as: "thirdwitch", .gone)
                #expect(error(presence)?.address == "xmpp:h%C3%B6hle@\(conference)?join")
                #expect(text(presence) == "This room has moved to höhle@\(conference). Macbeth doth come.")
                #expect(error(presence)?.kind == .cancel)
                if round == 0 {
                    try await stage.restart()
                    crone = try await stage.enter("crone1@capulet.example/desktop")
                    hag = try await stage.enter("hag66@montague.example/pda")
                }
            }
            try await crone.makesRoom(as: "firstwitch")
            try await hag.enters(as: "thirdwitch")
        }
    }

    @Test("One that is just gone is so for a while, but not one that was never there or that fell asleep")
    func gone() async throws {
        try await playRooms("destroyed_rooms: 1 hour") { stage in
            let backstage = try Backstage(stage)
            var crone = try await stage.enter("crone1@capulet.example/desktop")
            var hag = try await stage.enter("hag66@montague.example/pda")
            try await crone.makesRoom(as: "firstwitch")
            backstage.room?.destroy()
            await crone.forgets()
            let presence = try await hag.isKeptOut(as: "thirdwitch", .gone)
            #expect(error(presence)?.address == nil)
            #expect(text(presence) == "This room is gone.")
            await crone.leaves()
            await hag.leaves()
            await stage.advance(by: .seconds(3_601))
            crone = try await stage.enter("crone1@capulet.example/desktop")
            hag = try await stage.enter("hag66@montague.example/pda")
            try await hag.makesRoom(as: "thirdwitch")
            try await hag.sends("<presence type='unavailable' to='\(coven)/thirdwitch'/>")
            await hag.forgets()
            // It was not persistent: whoever comes next makes it.
            try await crone.makesRoom(as: "firstwitch")
            // A room whose making was cancelled was none.
            try await crone.enters("cave@\(conference)", as: "firstwitch")
            try await crone.asks(
                .set,
                """
                <query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='cancel'/></query>
                """, to: "cave@\(conference)")
            await crone.forgets()
            try await hag.makesRoom("cave@\(conference)", as: "thirdwitch")
        }
    }

    @Test("No more are remembered than the administrator wants")
    func bounded() async throws {
        try await playRooms("max_destroyed_rooms: 2") { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            for number in 1...3 {
                try await crone.makesRoom("cave\(number)@\(conference)", as: "firstwitch")
                backstage.room?.destroy()
                await crone.forgets()
                await stage.advance(by: .seconds(1))
            }
            await stage.advance(by: .seconds(20))
            try await hag.makesRoom("cave1@\(conference)", as: "thirdwitch")
            await hag.forgets()
            try await hag.isKeptOut(of: "cave2@\(conference)", as: "thirdwitch", .gone)
            try await hag.isKeptOut(of: "cave3@\(conference)", as: "thirdwitch", .gone)
        }
    }

    @Test("Guests enter rooms, but make none (§10.1)")
    func guests() async throws {
        let config = roomConfig().replacing(
            "hosts: {", with: "hosts: { guests.example: { authentication: anonymous },", maxReplacements: 1)
        try await play(modules: roomModules + [SASL.self, Bind.self], config: config) { stage in
            let guest = try await stage.enterAsGuest(of: "guests.example")
            try await guest.isKeptOut(as: "x", .notAllowed)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            try await crone.makesRoom(as: "firstwitch")
            try await guest.enters(as: "x")
        }
    }

    @Test("Every refusal says in words what is wrong (§7.2.5 to §7.2.9, §7.2.17)")
    func words() async throws {
        try await playRooms("create: admins", admins: "crone1@capulet.example") { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            #expect(
                text(try await hag.isKeptOut(as: "x", .notAllowed))
                    == "There is no such room, and you may not make one.")
            try await crone.makesRoom(as: "firstwitch")
            backstage.configure { $0.password = "cauldronburn" }
            #expect(text(try await hag.isKeptOut(as: "x", .notAuthorized)) != nil)
            backstage.configure { ($0.password, $0.isMembersOnly) = (nil, true) }
            #expect(text(try await hag.isKeptOut(as: "x", .registrationRequired)) != nil)
            backstage.configure { ($0.isMembersOnly, $0.maxOccupants) = (false, 1) }
            let full = try await hag.isKeptOut(as: "x", .serviceUnavailable)
            #expect(text(full) != nil && error(full)?.kind == .wait)
            backstage.setAffiliation(.outcast, of: "hag66@montague.example")
            await hag.forgets()
            #expect(text(try await hag.isKeptOut(as: "x", .forbidden)) != nil)
        }
    }
}
