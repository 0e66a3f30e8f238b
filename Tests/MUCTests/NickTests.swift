import ServerKit
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("Nicks that are reserved or kept (XEP-0045 §7.2.8, §7.6, §7.10)") struct NickTests {
    @Test("A reserved nick is refused to others, who enter or change theirs")
    func reserved() async throws {
        try await playRooms { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            let wicca = try await stage.enter("wiccarocks@montague.example/laptop")
            try await crone.makesRoom(as: "firstwitch")
            try await hag.asks(.set, registration("thirdwitch"), to: coven)
            await wicca.forgets()
            try await wicca.isKeptOut(as: "ThirdWitch", .conflict)
            try await wicca.enters(as: "secondwitch")
            try await wicca.sends("<presence to='\(coven)/thirdwitch' id='ifd1c35'/>")
            try await wicca.receives(
                """
                <presence type='error' id='ifd1c35' from='\(coven)/thirdwitch'>
                <error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>
                """)
            // XEP-0045 §7.12: its owner may come under another.
            await hag.forgets()
            try await hag.enters(as: "oldhag")
            await crone.forgets()
            await wicca.forgets()
            try await hag.sends("<presence to='\(coven)/thirdwitch'/>")
            try await hag.receives("<presence type='unavailable' from='\(coven)/oldhag'/>")
            try await hag.receives("<presence from='\(coven)/thirdwitch'/>")
        }
    }

    @Test("Where nicks are locked, everybody goes by its own (§7.6, §7.10)")
    func locked() async throws {
        try await playRooms { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            try await crone.makesRoom(as: "firstwitch")
            backstage.configure { $0.locksNicks = true }
            try await hag.asks(.set, registration("thirdwitch"), to: coven)
            await hag.forgets()
            let received = try await hag.enters(as: "oldhag")
            let own = try #require(received.first { $0.hasStatus(110) })
            #expect(own.nick == "thirdwitch" && own.hasStatus(210))
            await crone.forgets()
            try await hag.sends("<presence to='\(coven)/oldhag' id='ifd1c35'/>")
            try await hag.receives(
                """
                <presence type='error' id='ifd1c35'>
                <error><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>
                """)
            // A client that lost track and enters again keeps it.
            let again = try await hag.enters(as: "oldhag")
            #expect(again.contains { $0.hasStatus(110) && $0.hasStatus(210) && $0.nick == "thirdwitch" })
            // Those who have none are free.
            try await crone.sends("<presence to='\(coven)/hecate'/>")
            try await crone.receives("<presence type='unavailable' from='\(coven)/firstwitch'/>")
            try await crone.receives("<presence from='\(coven)/hecate'/>")
        }
    }

    @Test("A reserved nick is no longer than others, whoever chooses it (§14.6, RFC 7622 §3.4)")
    func lengths() async throws {
        try await playRooms("max_nick: 300") { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            try await crone.makesRoom(as: "firstwitch")
            try await hag.enters(as: "thirdwitch")
            backstage.configure { $0.locksNicks = true }
            await crone.forgets()
            await hag.forgets()
            // Characters, or bytes.
            for nick in [301, 4_000].map({ String(repeating: "n", count: $0) }) + [String(repeating: "🦉", count: 260)] {
                let item = "<item jid='hag66@montague.example' affiliation='member' nick='\(nick)'/>"
                #expect(try await crone.isDenied(item).condition == .badRequest)
                #expect(try await hag.isRefused(.set, registration(nick), to: coven).condition == .notAcceptable)
            }
            try await stage.staysSilent()
            let nick = String(repeating: "🦉", count: 255)
            try await crone.administers("<item jid='hag66@montague.example' affiliation='member' nick='\(nick)'/>")
            #expect(try stage.room().occupant(nick: "thirdwitch") != nil)
            try await hag.asks(.set, registration("owl\(nick.dropLast())"), to: coven)
            try await crone.receivesAnywhere("<presence from='\(coven)/owl\(nick.dropLast())'/>")
        }
    }

    @Test("A reserved nick from a time when longer ones were allowed is given to whom it belongs")
    func shorter() async throws {
        try await playRooms("max_nick: 8") { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            try await crone.makesRoom(as: "hecate")
            backstage.configure { $0.locksNicks = true }
            backstage.room?.setAffiliate(
                Affiliate(affiliation: .member, nick: "thirdwitch"), of: JID("hag66@montague.example")!)
            let own = try #require(try await hag.enters(as: "hag").first { $0.hasStatus(110) })
            #expect(own.nick == "thirdwitch" && own.hasStatus(210))
        }
    }

    @Test("Who is here when nicks are locked, or registers then, gets its own (§7.10)")
    func renamed() async throws {
        try await playRooms { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            try await crone.makesRoom(as: "firstwitch")
            try await hag.enters(as: "oldhag")
            try await hag.asks(.set, registration("thirdwitch"), to: coven)
            await hag.forgets()
            await crone.forgets()
            backstage.configure { $0.locksNicks = true }
            let old = try await hag.receives("<presence type='unavailable' from='\(coven)/oldhag'/>")
            #expect(old.hasStatus(303) && old.item?["nick"] == "thirdwitch")
            let new = try await hag.receives("<presence from='\(coven)/thirdwitch'/>")
            #expect(new.statuses == [110, 210])
            try await crone.receivesAnywhere(
                """
                <presence from='\(coven)/thirdwitch'><x xmlns='http://jabber.org/protocol/muc#user'>
                <status code='210'/></x></presence>
                """)
            await crone.forgets()
            try await hag.asks(.set, registration("fourthwitch"), to: coven)
            try await crone.receives("<presence type='unavailable' from='\(coven)/thirdwitch'/>")
            #expect(try await crone.receives("<presence from='\(coven)/fourthwitch'/>").statuses == [210])
            await hag.forgets()
            try await stage.staysSilent()
        }
    }

    @Test("A nick is kept for who left it, for a while, and for no one else")
    func kept() async throws {
        try await playRooms("keep_nick: 5 minutes") { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            let laptop = try await stage.enter("hag66@montague.example/laptop")
            let wicca = try await stage.enter("wiccarocks@montague.example/laptop")
            try await crone.makesRoom(as: "firstwitch")
            try await hag.enters(as: "thirdwitch")
            try await laptop.enters(as: "thirdwitch")
            try await hag.sends("<presence type='unavailable' to='\(coven)/thirdwitch'/>")
            try await laptop.sends("<presence type='unavailable' to='\(coven)/thirdwitch'/>")
            await stage.settle()
            try await wicca.isKeptOut(as: "THIRDWITCH", .conflict)
            await hag.forgets()
            try await hag.enters(as: "thirdwitch")
            try await hag.sends("<presence type='unavailable' to='\(coven)/thirdwitch'/>")
            await stage.settle()
            await stage.advance(by: .seconds(299))
            try await wicca.isKeptOut(as: "thirdwitch", .conflict)
            #expect(backstage.room?.pins == 1)
            await stage.advance(by: .seconds(2))
            try await wicca.enters(as: "thirdwitch")
            #expect(backstage.room?.pins == 0)
        }
    }

    @Test("Unless the administrator wants it, nicks are free at once")
    func free() async throws {
        try await playRooms { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            try await crone.makesRoom(as: "firstwitch")
            let first = try await crone.enters(as: "thirdwitch").last { $0.hasStatus(110) }
            try await crone.enters(as: "firstwitch")
            let second = try await hag.enters(as: "thirdwitch").last { $0.hasStatus(110) }
            // XEP-0421 §3: it is another one all the same.
            let ids = [first, second].map { $0?.child("occupant-id", .occupantID)?["id"] }
            #expect(ids[0] != nil && ids[0] != ids[1])
        }
    }
}
