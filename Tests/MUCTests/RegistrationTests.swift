import ServerKit
import StorageMemory
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("Registering with a room (XEP-0045 §7.10, §9.9)") struct RegistrationTests {
    private static let ask = "<query xmlns='jabber:iq:register'/>"
    private static let remove = "<query xmlns='jabber:iq:register'><remove/></query>"

    private static func decision(_ isAllowed: Bool, _ jid: String, nick: String = "thirdwitch") -> String {
        """
        <message to='\(coven)' id='d'><x xmlns='jabber:x:data' type='submit'>
        <field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/muc#register</value></field>
        <field var='muc#jid'><value>\(jid)</value></field>
        <field var='muc#register_roomnick'><value>\(nick)</value></field>
        <field var='muc#register_allow'><value>\(isAllowed ? 1 : 0)</value></field></x></message>
        """
    }

    @Test("In an open room who registers is a member with a nick of its own, for good")
    func open() async throws {
        let driver = MemoryStorageDriver()
        try await playRooms(driver: driver) { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            try await crone.makesRoom(as: "firstwitch")
            backstage.configure { $0.isPersistent = true }
            try await hag.enters(as: "oldhag")
            await crone.forgets()

            let query = try #require(try await hag.asks(.get, Self.ask, to: coven))
            #expect(!query.has("registered"))
            let form = try DataForm(try #require(query.child("x", .dataForms)))
            #expect(form.formType == Registration.formType && form.kind == .form)
            #expect(form["muc#register_roomnick"]?.isRequired == true)
            // Where nobody decides, nobody needs to know more.
            #expect(form["muc#register_email"] == nil)

            try await hag.asks(.set, registration("thirdwitch"), to: coven)
            // XEP-0045 §7.10: everybody sees that it is a member now.
            for actor in [crone, hag] {
                let presence = try await actor.receives("<presence from='\(coven)/oldhag'/>")
                #expect(presence.item?["affiliation"] == "member")
            }
            let registered = try #require(try await hag.asks(.get, Self.ask, to: coven))
            #expect(registered.has("registered") && registered.text(of: "username") == "thirdwitch")

            try await stage.restart()
            let again = try await stage.enter("hag66@montague.example/laptop")
            let kept = try #require(try await again.asks(.get, Self.ask, to: coven))
            #expect(kept.text(of: "username") == "thirdwitch")
            let other = try await stage.enter("wiccarocks@montague.example/laptop")
            try await other.isKeptOut(as: "ThirdWitch", .conflict)
        }
    }

    @Test("A nick that is another's is a conflict, reserved or in use, however it is written")
    func conflicts() async throws {
        try await playRooms { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            let wicca = try await stage.enter("wiccarocks@montague.example/laptop")
            try await crone.makesRoom(as: "firstwitch")
            try await hag.asks(.set, registration("thirdwitch"), to: coven)
            await stage.settle()
            for nick in ["thirdwitch", "THIRDWITCH", " ThirdWitch ", "firstwitch"] {
                let error = try await wicca.isRefused(.set, registration(nick), to: coven)
                #expect(error.condition == .conflict)
            }
            // Its own it may write otherwise.
            try await hag.asks(.set, registration("ThirdWitch"), to: coven)
            for nick in ["", " ", String(repeating: "w", count: 1_024)] {
                let error = try await wicca.isRefused(.set, registration(nick), to: coven)
                #expect(error.condition == .notAcceptable)
            }
            try await hag.asks(.set, registration("oldhag"), to: coven)
            try await wicca.asks(.set, registration("thirdwitch"), to: coven)
        }
    }

    @Test("Requests that are none are refused")
    func malformed() async throws {
        try await playRooms { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            #expect(try await hag.isRefused(.get, Self.ask, to: coven).condition == .itemNotFound)
            try await crone.enters(as: "firstwitch")
            // A room that is locked is not there yet.
            #expect(try await hag.isRefused(.get, Self.ask, to: coven).condition == .itemNotFound)
            #expect(try await hag.isRefused(.set, registration("x"), to: coven).condition == .itemNotFound)
            try await crone.configures(coven, [:])
            let wrong = [
                Self.ask, "<query xmlns='jabber:iq:register'><username>hag</username><password>x</password></query>",
                "<query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='submit'/></query>",
                "<query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='form'/></query>",
                registration("hag").replacing("muc#register<", with: "muc#request<"),
            ]
            for request in wrong {
                #expect(try await hag.isRefused(.set, request, to: coven).condition == .badRequest)
            }
            // A room that does not support it (§7.10), and somebody who may not.
            backstage.configure { $0.allowsRegistration = false }
            #expect(try await hag.isRefused(.get, Self.ask, to: coven).condition == .serviceUnavailable)
            #expect(try await hag.isRefused(.set, registration("hag"), to: coven).condition == .serviceUnavailable)
            backstage.configure { $0.allowsRegistration = true }
            backstage.setAffiliation(.outcast, of: "hag66@montague.example")
            #expect(try await hag.isRefused(.get, Self.ask, to: coven).condition == .notAllowed)
            #expect(try await hag.isRefused(.set, registration("hag"), to: coven).condition == .notAllowed)
            #expect(try await hag.isRefused(.set, Self.remove, to: coven).condition == .notAllowed)
        }
    }

    @Test("Who unregisters is no member any more; owners keep what they are, and lose the nick (XEP-0077 §3.2)")
    func removal() async throws {
        try await playRooms { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            try await crone.makesRoom(as: "firstwitch")
            #expect(try await hag.isRefused(.set, Self.remove, to: coven).condition == .registrationRequired)
            try await hag.asks(.set, registration("thirdwitch"), to: coven)
            let jid = try #require(JID("hag66@montague.example"))
            #expect(backstage.room?.affiliation(of: jid) == .member)
            try await hag.asks(.set, Self.remove, to: coven)
            #expect(backstage.room?.affiliates[jid] == nil && backstage.room?.holder(ofNick: "thirdwitch") == nil)
            try await crone.asks(.set, registration("hecate"), to: coven)
            try await crone.asks(.set, Self.remove, to: coven)
            let owner = backstage.room?.affiliates[try #require(JID("crone1@capulet.example"))]
            #expect(owner == Affiliate(affiliation: .owner))
            // In a room for members only nobody stays who is none.
            try await hag.asks(.set, registration("thirdwitch"), to: coven)
            backstage.configure { $0.isMembersOnly = true }
            try await hag.enters(as: "thirdwitch")
            try await hag.asks(.set, Self.remove, to: coven)
            let gone = try await hag.receivesAnywhere("<presence type='unavailable' from='\(coven)/thirdwitch'/>")
            #expect(gone.hasStatus(321))
        }
    }

    @Test("Who has registered by itself is banned with its domain, until an admin makes it a member (§9.2)")
    func domainBan() async throws {
        try await playRooms { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            try await crone.makesRoom(as: "firstwitch")
            try await hag.asks(.set, registration("thirdwitch"), to: coven)
            try await hag.enters(as: "thirdwitch")
            await crone.forgets()
            #expect(try stage.room().affiliation(of: JID("hag66@montague.example")!) == .member)
            try await crone.administers("<item affiliation='outcast' jid='montague.example'/>")
            let gone = try await hag.receives("<presence from='\(coven)/thirdwitch' type='unavailable'/>")
            #expect(gone.hasStatus(301) && gone.item?["affiliation"] == "outcast")
            await hag.forgets()
            try await hag.isKeptOut(as: "thirdwitch", .forbidden)
            #expect(try await hag.isRefused(.set, registration("hag"), to: coven).condition == .notAllowed)
            // What an admin says counts, although it says nothing new.
            try await crone.administers("<item affiliation='member' jid='hag66@montague.example'/>")
            await hag.forgets()
            try await hag.enters(as: "thirdwitch")
        }
    }

    @Test("In a room for members only an admin decides, with a form, even after a restart (§9.9)")
    func approval() async throws {
        try await playRooms { stage in
            let backstage = try Backstage(stage)
            var crone = try await stage.enter("crone1@capulet.example/desktop")
            var hag = try await stage.enter("hag66@montague.example/pda")
            try await crone.makesRoom(as: "firstwitch")
            backstage.configure { ($0.isMembersOnly, $0.isPersistent) = (true, true) }
            let query = try #require(try await hag.asks(.get, Self.ask, to: coven))
            let form = try DataForm(try #require(query.child("x", .dataForms)))
            #expect(form["muc#register_email"] != nil && form["muc#register_faqentry"] != nil)
            let details = """
                <field var='muc#register_first'><value>Brunhilde</value></field>
                <field var='muc#register_faqentry'><value>Just</value><value>another witch.</value></field>
                """
            try await hag.asks(.set, registration("thirdwitch", details), to: coven)
            let request = """
                <message from='\(coven)'><x xmlns='jabber:x:data' type='form'>
                <field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/muc#register</value></field>
                <field var='muc#jid' type='jid-single'><value>hag66@montague.example</value></field>
                <field var='muc#register_roomnick' type='text-single'><value>thirdwitch</value></field>
                <field var='muc#register_first' type='text-single'><value>Brunhilde</value></field>
                <field var='muc#register_faqentry' type='text-multi'><value>Just</value></field>
                <field var='muc#register_allow' type='boolean'><value>0</value></field></x></message>
                """
            try await crone.receives(request)
            let again = try await hag.isRefused(.set, registration("fourthwitch"), to: coven)
            #expect(again.condition == .unexpectedRequest)
            try await hag.isKeptOut(as: "thirdwitch", .registrationRequired)

            try await stage.restart()
            crone = try await stage.enter("crone1@capulet.example/desktop")
            hag = try await stage.enter("hag66@montague.example/pda")
            let entered = try await crone.enters(as: "firstwitch")
            #expect(entered.contains { $0.child("x", .dataForms) != nil })
            try await hag.sends(Self.decision(true, "hag66@montague.example"))
            try await hag.isBounced(.forbidden, id: "d")
            try await crone.sends(Self.decision(true, "hag66@montague.example"))
            await stage.settle()
            await hag.forgets()
            try await hag.enters(as: "thirdwitch")
            await crone.forgets()
            try await crone.sends(Self.decision(true, "hag66@montague.example"))
            try await crone.isBounced(.itemNotFound, id: "d")
        }
    }

    @Test("A moderated room asks, too, since members have voice; who is refused may ask again")
    func refusal() async throws {
        try await playRooms("registration_requests: 1") { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            let wicca = try await stage.enter("wiccarocks@montague.example/laptop")
            try await crone.makesRoom(as: "firstwitch")
            backstage.configure { ($0.isModerated, $0.isPersistent) = (true, true) }
            try await crone.sends("<presence type='unavailable' to='\(coven)/firstwitch'/>")
            await crone.forgets()
            try await hag.asks(.set, registration("thirdwitch"), to: coven)
            // No admin is there: the owner gets it all the same.
            let request = "<message from='\(coven)'><body/><x xmlns='jabber:x:data' type='form'/></message>"
            try await crone.receives(request)
            let jid = try #require(JID("hag66@montague.example"))
            #expect(backstage.room?.affiliation(of: jid) == Affiliation.none)
            #expect(try await wicca.isRefused(.set, registration("w"), to: coven).condition == .resourceConstraint)
            try await crone.sends(Self.decision(false, "hag66@montague.example"))
            await stage.settle()
            #expect(backstage.room?.affiliation(of: jid) == Affiliation.none)
            let long = "<field var='muc#register_last'><value>\(String(repeating: "x", count: 5_000))</value></field>"
            let error = try await hag.isRefused(.set, registration("thirdwitch", long), to: coven)
            #expect(error.condition == .policyViolation)
            try await hag.asks(.set, registration("thirdwitch"), to: coven)
            try await crone.receives(request)
            // Meanwhile somebody else has got the nick.
            backstage.room?.setAffiliate(
                Affiliate(affiliation: .member, nick: "thirdwitch"), of: JID("x@montague.example")!)
            try await crone.sends(Self.decision(true, "hag66@montague.example"))
            try await crone.isBounced(.conflict, id: "d")
            try await crone.sends(Self.decision(true, "hag66@montague.example", nick: "fourthwitch"))
            await stage.settle()
            #expect(backstage.room?.affiliates[jid] == Affiliate(affiliation: .member, nick: "fourthwitch"))
        }
    }

    @Test("Who does not know the password becomes no member by registering, and reads nothing (XEP-0313 §6.1.2)")
    func password() async throws {
        try await playRooms { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            try await crone.makesRoom(as: "firstwitch")
            backstage.configure { $0.password = "cauldronburn" }
            try await crone.says("When shall we three meet again?")
            await crone.forgets()
            try await hag.asks(.set, registration("thirdwitch"), to: coven)
            let jid = try #require(JID("hag66@montague.example"))
            #expect(backstage.room?.affiliation(of: jid) == Affiliation.none)
            #expect(try await hag.isRefused(.set, Query.whole(), to: coven).condition == .forbidden)
            try await crone.receives("<message from='\(coven)'><x xmlns='jabber:x:data' type='form'/></message>")
            try await crone.sends(Self.decision(true, "hag66@montague.example"))
            await stage.settle()
            #expect(try await hag.bodies() == ["When shall we three meet again?"])
        }
    }

    @Test("A room knows no more people than it may")
    func full() async throws {
        try await playRooms("max_affiliations: 10") { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            try await crone.makesRoom(as: "firstwitch")
            for number in 1..<10 { backstage.setAffiliation(.member, of: "witch\(number)@montague.example") }
            #expect(try await hag.isRefused(.set, registration("hag"), to: coven).condition == .resourceConstraint)
            // Members may have a nick.
            backstage.setAffiliation(.none, of: "witch1@montague.example")
            backstage.setAffiliation(.member, of: "hag66@montague.example")
            try await hag.asks(.set, registration("hag"), to: coven)
        }
    }

    @Test("Who registers and takes it back again and again has to wait; where admins are asked, sooner")
    func rate() async throws {
        try await playRooms("registration_rate: 10 per 10 minutes") { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            let wicca = try await stage.enter("wiccarocks@montague.example/laptop")
            try await crone.makesRoom(as: "firstwitch", ["muc#roomconfig_whois": "anyone"])
            for _ in 0..<5 {
                try await hag.asks(.set, registration("thirdwitch"), to: coven)
                try await hag.asks(.set, Self.remove, to: coven)
            }
            let error = try await hag.isRefused(.set, registration("thirdwitch"), to: coven)
            #expect(error.condition == .policyViolation && error.kind == .wait)
            // What is wrong does not count, nor is anybody else concerned.
            #expect(try await wicca.isRefused(.set, registration("firstwitch"), to: coven).condition == .conflict)
            backstage.configure { $0.isMembersOnly = true }
            await crone.forgets()
            for _ in 0..<2 {
                try await wicca.asks(.set, registration("secondwitch"), to: coven)
                try await wicca.asks(.set, Self.remove, to: coven)
            }
            #expect(await crone.everything().count == 2)
            let again = try await wicca.isRefused(.set, registration("secondwitch"), to: coven)
            #expect(again.condition == .policyViolation && again.kind == .wait)
            try await crone.staysSilent()
            await stage.advance(by: .minutes(5))
            try await wicca.asks(.set, registration("secondwitch"), to: coven)
        }
    }

    @Test("Those who register leave places for admins to give, and bans have places of their own")
    func places() async throws {
        try await playRooms("max_affiliations: 20") { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            try await crone.makesRoom(as: "firstwitch")
            for number in 1..<18 { backstage.setAffiliation(.member, of: "witch\(number)@montague.example") }
            try await crone.administers("<item jid='verona.example' affiliation='member'/>")
            for jid in ["romeo@verona.example", "hag66@montague.example"] {
                let jid = try #require(JID(jid))
                #expect(throws: StanzaError.self) { try backstage.room?.register(jid, nick: "nick", actor: jid) }
            }
            #expect(try await hag.isRefused(.set, registration("hag"), to: coven).condition == .resourceConstraint)
            try await crone.administers("<item jid='hag66@montague.example' affiliation='member'/>")
            let full = try await crone.isDenied("<item jid='hecate@montague.example' affiliation='member'/>")
            #expect(full.condition == .resourceConstraint)
            for number in 1...20 {
                try await crone.administers("<item jid='spammer\(number)@verona.example' affiliation='outcast'/>")
            }
            let banned = try await crone.isDenied("<item jid='spammer@verona.example' affiliation='outcast'/>")
            #expect(banned.condition == .resourceConstraint)
            // To pardon somebody makes place, for a member there must be some.
            let pardon = try await crone.isDenied("<item jid='spammer1@verona.example' affiliation='member'/>")
            #expect(pardon.condition == .resourceConstraint)
            try await crone.administers("<item jid='spammer1@verona.example' affiliation='none'/>")
            try await crone.administers("<item jid='hag66@montague.example' affiliation='outcast'/>")
            try await crone.administers("<item jid='hecate@montague.example' affiliation='member'/>")
        }
    }
}
