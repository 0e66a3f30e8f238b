import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("Guests in their conversation") struct GuestConversationTests {
    @Test("An invited guest and a user talk, see each other, and ask each other")
    func talk() async throws {
        try await playWithGuests { stage in
            let juliet = try await stage.enter("\(juliets)/balcony")
            let pass = try await stage.invites(juliets, name: "Friar John")
            let guest = try await stage.enter(with: pass)
            let jid = try #require(guest.jid)
            #expect(jid.localpart?.hasPrefix("friar-john-") == true)
            try await guest.sends("<message to='\(juliets)' type='chat' id='1'><body>Good morrow</body></message>")
            try await juliet.receives("<message from='\(jid)' type='chat' id='1'><body>Good morrow</body></message>")
            try await juliet.writes(to: guest)
            try await juliet.sends("<message to='\(jid.bare)' type='chat' id='2'><body>Again</body></message>")
            try await guest.receives("<message from='\(juliets)/balcony' id='2'/>")
            try await guest.sends("<presence to='\(juliets)'/>")
            try await juliet.receives("<presence from='\(jid)'/>")
            try await juliet.sends("<presence to='\(jid)'><show>away</show></presence>")
            try await guest.receives("<presence from='\(juliets)/balcony'><show>away</show></presence>")
            try await guest.sends("<iq type='get' id='3' to='\(juliets)/balcony'>\(guestPing)</iq>")
            try await juliet.receives("<iq type='get' id='3' from='\(jid)'/>")
            try await juliet.sends("<iq type='result' id='3' to='\(jid)'/>")
            try await guest.receives("<iq type='result' id='3' from='\(juliets)/balcony'/>")
            try await juliet.sends("<iq type='get' id='4' to='\(jid)'>\(guestPing)</iq>")
            try await guest.receives("<iq type='get' id='4'/>")
            try await guest.sends("<iq type='result' id='4' to='\(juliets)/balcony'/>")
            try await juliet.receives("<iq type='result' id='4' from='\(jid)'/>")
            #expect(try stage.book.invitations.map(\.guests) == [[jid.bare]])
            await guest.leaves()
            try await juliet.receives("<presence from='\(jid)' type='unavailable'/>")
            #expect(try stage.book.invitations.map(\.guests) == [[]])
            try await stage.staysSilent()
        }
    }

    @Test("A guest reaches nobody else, and hears why")
    func confinedOut() async throws {
        try await playWithGuests { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let pass = try await stage.invites(juliets)
            let guest = try await stage.enter(with: pass)
            for jid in [
                "romeo@montague.example/orchard", "romeo@montague.example", "nobody@montague.example",
                "montague.example", "guests.example", "other@guests.example", "x@elsewhere.example",
            ] {
                try await guest.cannotWrite(to: jid)
                let error = try await guest.isRefused(.set, "<query xmlns='jabber:iq:x'/>", to: jid)
                #expect(error.condition == .notAllowed)
                try await guest.sends("<presence to='\(jid)' id='p'/>")
                try await guest.receives("<presence type='error' from='\(jid)' id='p'/>")
                for kind in ["unavailable", "probe", "unsubscribed"] {
                    try await guest.sends("<presence to='\(jid)' type='\(kind)'/>")
                }
            }
            try await guest.sends("<iq type='result' id='1' to='romeo@montague.example/orchard'/>")
            let error = try await guest.isRefused(.get, guestPing, to: "romeo@montague.example/orchard")
            #expect(error.condition == .notAllowed)
            try await romeo.staysSilent()
            // Of its own host it may ask, and change nothing.
            try await guest.asks(.get, guestPing, to: "guests.example")
            try await guest.asks(.get, "<query xmlns='http://jabber.org/protocol/disco#info'/>", to: "guests.example")
            let other = try await guest.isRefused(.get, guestPing, to: "montague.example")
            #expect(other.condition == .notAllowed)
            try await stage.staysSilent()
        }
    }

    @Test("For all others there is no such user")
    func confinedIn() async throws {
        try await playWithGuests { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let pass = try await stage.invites(juliets)
            let guest = try await stage.enter(with: pass)
            let jid = try #require(guest.jid)
            for to in ["\(jid)", "\(jid.bare)", "nobody@guests.example", "nobody@guests.example/x"] {
                try await romeo.cannotWrite(to: to, "service-unavailable")
                let error = try await romeo.isRefused(.get, guestPing, to: to)
                #expect(error.condition == .serviceUnavailable)
                let query = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
                let info = try await romeo.isRefused(.get, query, to: to)
                #expect(info.condition == .serviceUnavailable)
                for kind in ["headline", "error"] {
                    try await romeo.sends("<message to='\(to)' type='\(kind)'><body>x</body></message>")
                }
                for kind in ["", " type='unavailable'", " type='subscribed'", " type='error'"] {
                    try await romeo.sends("<presence to='\(to)'\(kind)/>")
                }
                try await romeo.sends("<iq type='result' id='1' to='\(to)'/>")
                try await romeo.sends("<presence to='\(to)' type='probe' id='p'/>")
                _ = await romeo.everything()
                try await guest.staysSilent()
            }
            try await stage.staysSilent()
        }
    }

    @Test("A guest keeps nothing here, knows nobody and invites nobody")
    func keepsNothing() async throws {
        try await playWithGuests("invite: users") { stage in
            let juliet = try await stage.enter("\(juliets)/balcony")
            let pass = try await stage.invites(juliets)
            let guest = try await stage.enter(with: pass)
            let roster = try await guest.asks(.get, "<query xmlns='jabber:iq:roster'/>")
            #expect(roster?.children.isEmpty == true)
            for request in [
                "<query xmlns='jabber:iq:roster'><item jid='\(juliets)'/></query>",
                "<vCard xmlns='vcard-temp'/>", "<block xmlns='urn:xmpp:blocking'><item jid='x@y.example'/></block>",
                "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='x'><item/></publish></pubsub>",
                "<query xmlns='jabber:iq:register'><remove/></query>",
            ] {
                let error = try await guest.isRefused(.set, request)
                #expect(error.condition == .notAllowed)
            }
            let command = "<command xmlns='http://jabber.org/protocol/commands' node='invite-guest'/>"
            for host in ["guests.example", "montague.example"] {
                let error = try await guest.isRefused(.set, command, to: host)
                #expect(error.condition == .notAllowed)
            }
            try await guest.sends("<presence to='\(juliets)' type='subscribe' id='s'/>")
            try await guest.receives("<presence type='error' id='s'/>")
            try await guest.sends(
                "<message to='\(juliets)' id='i'><x xmlns='http://jabber.org/protocol/muc#user'>"
                    + "<invite to='romeo@montague.example'/></x></message>")
            try await guest.receives("<message type='error' id='i'/>")
            // Nor is it anybody's contact.
            let jid = try #require(guest.jid?.bare)
            try await juliet.asks(.get, "<query xmlns='jabber:iq:roster'/>")
            try await juliet.sends("<presence to='\(jid)' type='subscribe' id='t'/>")
            try await juliet.receivesAnywhere("<presence from='\(jid)' type='unsubscribed'/>")
            try await guest.staysSilent()
        }
    }

    @Test("Who sends too much is told to wait, and goes on later")
    func rate() async throws {
        try await playWithGuests("rate: 10 per minute") { stage in
            let juliet = try await stage.enter("\(juliets)/balcony")
            let pass = try await stage.invites(juliets)
            var guest = try await stage.enter(with: pass)
            // The presence counts as well.
            for _ in 0..<9 { try await guest.writes(to: juliet) }
            try await guest.cannotWrite(to: juliets, "resource-constraint")
            let error = try await guest.isRefused(.get, guestPing, to: "guests.example")
            #expect(error.condition == .resourceConstraint && error.kind == .wait)
            try await guest.sends("<iq type='result' id='1' to='\(juliets)/balcony'/>")
            // Nor does it help to come again.
            await guest.leaves()
            guest = try await stage.enter(with: pass, presence: false)
            try await guest.cannotWrite(to: juliets, "resource-constraint")
            _ = await juliet.everything()
            await stage.advance(by: .seconds(13))
            try await guest.writes(to: juliet)
            try await guest.writes(to: juliet)
            try await guest.cannotWrite(to: juliets, "resource-constraint")
            try await stage.staysSilent()
        }
    }

    @Test("Without an invitation people get in where that is allowed, and write within this server")
    func open() async throws {
        try await playWithGuests("open: on") { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            for _ in 0..<2 {
                let guest = try await stage.enterAsGuest(of: "guests.example")
                try await guest.writes(to: romeo)
                try await romeo.writes(to: guest)
                try await guest.cannotWrite(to: "x@elsewhere.example")
                let error = try await guest.isRefused(.set, "<query xmlns='jabber:iq:x'/>", to: "montague.example")
                #expect(error.condition == .notAllowed)
                #expect(error.kind == .cancel)
            }
            // What comes along with ANONYMOUS is of no use, XEP-0175 §3.
            let pass = try await stage.invites("x@elsewhere.example")
            let stranger = try await stage.tries("ANONYMOUS", Array(pass.password.utf8))
            try await stranger.receives("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            #expect(stranger.stream?.authenticated.map { $0 != pass.username } == true)
            try await stranger.opens()
            try await stranger.bindsResource("x")
            try await stranger.receives("<iq type='result' id='bind'/>")
            try await stranger.cannotWrite(to: "x@elsewhere.example")
            // Invitations are good all the same.
            let guest = try await stage.enter(with: pass)
            try await guest.cannotWrite(to: "romeo@montague.example/orchard")
        }
    }
}
