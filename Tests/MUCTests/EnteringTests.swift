import ServerKit
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("Entering a room (XEP-0045 §7.2)") struct EnteringTests {
    @Test("Those who are there see who comes, who comes sees those who are there, and itself last (§7.2.2)")
    func presence() async throws {
        try await playRooms { stage in
            let first = try await stage.enter("crone1@capulet.example/desktop")
            let second = try await stage.enter("wiccarocks@montague.example/laptop")
            let third = try await stage.enter("hag66@capulet.example/pda")
            try await first.makesRoom(as: "firstwitch")
            try await second.enters(as: "secondwitch")
            await first.forgets()
            try await third.sends(
                "<presence id='n' to='\(coven)/thirdwitch'><show>away</show><x xmlns='http://jabber.org/protocol/muc'/></presence>"
            )
            try await third.receives(
                """
                <presence from='\(coven)/firstwitch' to='hag66@capulet.example/pda'>
                <x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner' role='moderator'/></x></presence>
                """)
            try await third.receives(
                """
                <presence from='\(coven)/secondwitch'>
                <x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='participant'/></x></presence>
                """)
            let own = try await third.receives(
                """
                <presence from='\(coven)/thirdwitch' id='n'><show>away</show>
                <x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='participant'/>
                <status code='110'/></x></presence>
                """)
            #expect(!own.hasStatus(100))
            try await third.receives("<message type='groupchat' from='\(coven)'><subject/></message>")
            // Moderators see real JIDs, the others do not (§7.2.4).
            let seen = try await first.receives("<presence from='\(coven)/thirdwitch'><show>away</show></presence>")
            #expect(seen.item?["jid"] == "hag66@capulet.example/pda")
            let hidden = try await second.receives("<presence from='\(coven)/thirdwitch'/>")
            #expect(hidden.item?["jid"] == nil && !hidden.hasStatus(110))
            try await stage.staysSilent()
        }
    }

    @Test("A full room is full for further nicks of those who are in it, too, however they come by them (§7.2.9)")
    func full() async throws {
        try await playRooms("max_occupants: 2") { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            let laptop = try await stage.enter("hag66@montague.example/laptop")
            let romeo = try await stage.enter("romeo@montague.example/garden")
            try await crone.makesRoom(as: "firstwitch")
            try await hag.enters(as: "thirdwitch")
            await laptop.forgets()
            for actor in [laptop, romeo] { try await actor.isKeptOut(as: "another", .serviceUnavailable) }
            // Under the same nick it is no more than before, until it wants one of its own.
            try await laptop.enters(as: "thirdwitch")
            for request in ["", "<x xmlns='http://jabber.org/protocol/muc'/>"] {
                try await laptop.sends("<presence to='\(coven)/another' id='n'>\(request)</presence>")
                try await laptop.receives(
                    """
                    <presence id='n' type='error'><error type='wait'>
                    <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>
                    """)
            }
            try await laptop.sends("<presence to='\(coven)/thirdwitch' type='unavailable'/>")
            await hag.forgets()
            // One nick for another is no more, either.
            try await hag.sends("<presence to='\(coven)/another'/>")
            try await hag.receives("<presence from='\(coven)/thirdwitch' type='unavailable'/>")
            // Who looks after the room always has a place.
            let phone = try await stage.enter("crone1@capulet.example/phone")
            try await phone.enters(as: "hecate")
            #expect(try stage.room().occupants.count == 3)
        }
    }

    @Test("An account enters with so many clients and no more, under whatever nicks")
    func clients() async throws {
        try await playRooms("max_clients: 3") { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            try await crone.makesRoom(as: "firstwitch")
            var hags: [TestKit.Actor] = []
            for number in 1...4 { hags.append(try await stage.enter("hag66@montague.example/\(number)")) }
            for hag in hags { await hag.forgets() }
            try await hags[0].enters(as: "thirdwitch")
            try await hags[1].enters(as: "thirdwitch")
            try await hags[2].enters(as: "hecate")
            for nick in ["thirdwitch", "another"] { try await hags[3].isKeptOut(as: nick, .resourceConstraint) }
            // One that has lost track may come again, and others are not concerned.
            try await hags[0].enters(as: "thirdwitch")
            let phone = try await stage.enter("crone1@capulet.example/phone")
            try await phone.enters(as: "firstwitch")
            try await hags[0].sends("<presence to='\(coven)/thirdwitch' type='unavailable'/>")
            await hags[0].forgets()
            try await hags[3].enters(as: "thirdwitch")
        }
    }

    @Test("Clients that a crash left behind make place for those that come back under other names")
    func clientsAfterCrash() async throws {
        try await playRooms("max_clients: 2") { stage in
            for number in 1...2 {
                let hag = try await stage.enter("hag66@montague.example/\(number)")
                if number == 1 {
                    try await hag.makesRoom(as: "thirdwitch")
                } else {
                    try await hag.enters(as: "thirdwitch")
                }
            }
            for round in 1...3 {
                try await stage.crash()
                let hag = try await stage.enter("hag66@montague.example/again\(round)")
                try await hag.enters(as: "thirdwitch")
            }
        }
    }

    @Test("What is said reaches everybody, with the id it had, and a newcomer as history (§7.4, §7.2.13)")
    func talk() async throws {
        try await playRooms { stage in
            let first = try await stage.enter("crone1@capulet.example/desktop")
            let second = try await stage.enter("wiccarocks@montague.example/laptop")
            try await first.makesRoom(as: "firstwitch")
            try await second.enters(as: "secondwitch")
            await first.forgets()
            try await first.says("Thrice the brinded cat", id: "hysf1v37")
            for actor in [first, second] {
                let heard = try await actor.receives(
                    """
                    <message from='\(coven)/firstwitch' type='groupchat' id='hysf1v37'><body>Thrice the brinded cat</body>
                    <stanza-id xmlns='urn:xmpp:sid:0' by='\(coven)'/><occupant-id xmlns='urn:xmpp:occupant-id:0'/></message>
                    """)
                #expect(heard.child("x", .mucUser) == nil)
            }
            let third = try await stage.enter("hag66@capulet.example/pda")
            let received = try await third.enters(as: "thirdwitch")
            let history = try #require(received.first { $0.name == "message" })
            #expect(history.text(of: "body") == "Thrice the brinded cat")
            #expect(history.child("delay", .delay)?["from"] == coven)
            #expect(received.last?.child("subject") != nil)
        }
    }
}
