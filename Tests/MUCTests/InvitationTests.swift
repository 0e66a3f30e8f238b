import ServerKit
import StorageMemory
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("Inviting (XEP-0045 §7.8, §7.9)") struct InvitationTests {
    private static let invited =
        "<message from='\(coven)'><x xmlns='http://jabber.org/protocol/muc#user'><invite/></x></message>"

    @Test(
        "The room passes an invitation on, with who sent it, its reason and the room's password, and nothing else (§7.8.2)"
    )
    func mediated() async throws {
        try await playRooms { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hecate = try await stage.enter("hecate@montague.example/broom")
            try await crone.makesRoom(as: "firstwitch")
            backstage.configure { $0.password = "cauldronburn" }
            try await crone.sends(
                """
                <message to='\(coven)' id='nzd143v8' xml:lang='en'><body>Buy this</body>
                <x xmlns='http://jabber.org/protocol/muc#user'>
                <invite to='hecate@montague.example' from='macbeth@montague.example'>
                <reason>Hey Hecate, this is the place for all good witches!</reason><other xmlns='urn:x'/></invite>
                <password>wrong</password></x></message>
                """)
            let invitation = try await hecate.receives(
                """
                <message from='\(coven)' to='hecate@montague.example' xml:lang='en'>
                <x xmlns='http://jabber.org/protocol/muc#user'><invite from='crone1@capulet.example'>
                <reason>Hey Hecate, this is the place for all good witches!</reason></invite>
                <password>cauldronburn</password></x></message>
                """)
            #expect(invitation["type"] == nil && invitation.child("body") == nil)
            #expect(invitation.child("x", .mucUser)?.children.count == 2)
            #expect(invitation.child("x", .mucUser)?.child("invite")?.child("other") == nil)
            try await hecate.enters(as: "hecate", "<password>cauldronburn</password>")
            await crone.forgets()
            try await stage.staysSilent()
        }
    }

    @Test("A chat becomes a conference: several are invited at once, with its thread (§7.9)")
    func several() async throws {
        try await playRooms { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let laptop = try await stage.enter("wiccarocks@montague.example/laptop")
            let pda = try await stage.enter("hag66@montague.example/pda")
            try await crone.makesRoom(as: "firstwitch")
            try await crone.sends(
                """
                <message to='\(coven)' id='gl3s85n7'><x xmlns='http://jabber.org/protocol/muc#user'>
                <invite to='wiccarocks@montague.example/laptop'><continue thread='e0ffe42b'/></invite>
                <invite to='hag66@montague.example'><continue/></invite></x></message>
                """)
            try await laptop.receives(
                """
                <message to='wiccarocks@montague.example/laptop'><x xmlns='http://jabber.org/protocol/muc#user'>
                <invite from='crone1@capulet.example'><continue thread='e0ffe42b'/></invite></x></message>
                """)
            try await pda.receives(
                "<message><x xmlns='http://jabber.org/protocol/muc#user'><invite><continue/></invite></x></message>")
            try await stage.staysSilent()
        }
    }

    @Test(
        "In a room for members only admins invite, and who is invited becomes a member, after a restart, too (§7.8.2)")
    func membersOnly() async throws {
        let driver = MemoryStorageDriver()
        try await playRooms(driver: driver) { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let wicca = try await stage.enter("wiccarocks@montague.example/laptop")
            var hecate = try await stage.enter("hecate@montague.example/broom")
            try await crone.makesRoom(as: "firstwitch")
            backstage.configure { ($0.isMembersOnly, $0.isPersistent) = (true, true) }
            try await hecate.isKeptOut(as: "hecate", .registrationRequired)
            backstage.setAffiliation(.member, of: "wiccarocks@montague.example")
            await wicca.forgets()
            try await wicca.enters(as: "secondwitch")
            await crone.forgets()

            try await wicca.invites("hecate@montague.example")
            try await wicca.isBounced(.forbidden, id: "i")
            try await hecate.staysSilent()
            backstage.configure { $0.occupantsInvite = true }
            try await wicca.invites("hecate@montague.example/broom")
            try await hecate.receivesAnywhere(Self.invited)

            try await stage.restart()
            hecate = try await stage.enter("hecate@montague.example/broom")
            try await hecate.enters(as: "hecate")
        }
    }

    @Test("Who is not in the room invites nobody, nor does the room write to what is no person")
    func refused() async throws {
        try await playRooms { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let stranger = try await stage.enter("macbeth@montague.example/castle")
            let hecate = try await stage.enter("hecate@montague.example/broom")
            try await crone.makesRoom(as: "firstwitch")
            try await stranger.invites("hecate@montague.example")
            try await stranger.isBounced(.notAcceptable, id: "i")
            // As if it came from the room, or from somebody who is there.
            try await stranger.sends(
                """
                <message to='\(coven)' id='f'><x xmlns='http://jabber.org/protocol/muc#user'>
                <invite from='crone1@capulet.example'/></x></message>
                """)
            try await stranger.isBounced(.notAcceptable, id: "f")

            let nonsense: [(String, StanzaError.Condition)] = [
                ("", .jidMalformed), ("@@", .jidMalformed), ("montague.example", .notAcceptable),
                ("other@\(conference)", .notAcceptable), (coven, .notAcceptable),
            ]
            for (invitee, condition) in nonsense {
                try await crone.invites(invitee)
                try await crone.isBounced(condition, id: "i")
            }
            try await crone.sends(
                """
                <message to='\(coven)' id='n'><x xmlns='http://jabber.org/protocol/muc#user'><invite/></x></message>
                """)
            try await crone.isBounced(.badRequest, id: "n")
            try await crone.sends(
                """
                <message to='\(coven)' type='chat' id='c'><x xmlns='http://jabber.org/protocol/muc#user'>
                <invite to='hecate@montague.example'/></x></message>
                """)
            try await crone.isBounced(.badRequest, id: "c")
            // Of several, one that is wrong spoils all.
            try await crone.sends(
                """
                <message to='\(coven)' id='s'><x xmlns='http://jabber.org/protocol/muc#user'>
                <invite to='hecate@montague.example'/><invite to='@'/></x></message>
                """)
            try await crone.isBounced(.jidMalformed, id: "s")
            let many = (0..<21).map { "<invite to='witch\($0)@montague.example'/>" }.joined()
            try await crone.sends(
                "<message to='\(coven)' id='m'><x xmlns='http://jabber.org/protocol/muc#user'>\(many)</x></message>")
            try await crone.isBounced(.policyViolation, id: "m")
            backstage.setAffiliation(.outcast, of: "hecate@montague.example")
            await crone.forgets()
            await hecate.forgets()
            try await crone.invites("hecate@montague.example")
            try await crone.isBounced(.forbidden, id: "i")
            try await stage.staysSilent()
        }
    }

    @Test("A refusal reaches the inviter, who may have gone meanwhile, once (§7.8.2)")
    func declined() async throws {
        try await playRooms { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let wicca = try await stage.enter("wiccarocks@montague.example/laptop")
            let hecate = try await stage.enter("hecate@montague.example/broom")
            try await crone.makesRoom(as: "firstwitch")
            backstage.configure { $0.isPersistent = true }
            try await wicca.enters(as: "secondwitch")
            try await crone.invites("hecate@montague.example")
            try await wicca.invites("hecate@montague.example")
            await hecate.forgets()
            try await crone.sends("<presence type='unavailable' to='\(coven)/firstwitch'/>")
            await crone.forgets()
            await wicca.forgets()
            let refusal = { (to: String) in
                """
                <message to='\(coven)' id='jk2vs61v'><x xmlns='http://jabber.org/protocol/muc#user'>
                <decline to='\(to)' from='macbeth@montague.example'><reason>Sorry, I'm too busy right now.</reason>
                </decline></x></message>
                """
            }
            try await hecate.sends(refusal("crone1@capulet.example/desktop"))
            try await crone.receives(
                """
                <message from='\(coven)' id='jk2vs61v'><x xmlns='http://jabber.org/protocol/muc#user'>
                <decline from='hecate@montague.example'><reason>Sorry, I'm too busy right now.</reason></decline>
                </x></message>
                """)
            // It has been told, and others were never asked: the room is no way to write to people.
            try await hecate.sends(refusal("crone1@capulet.example"))
            try await hecate.isBounced(.itemNotFound, id: "jk2vs61v")
            try await hecate.sends(refusal("macbeth@montague.example"))
            try await hecate.isBounced(.itemNotFound, id: "jk2vs61v")
            // By its nick.
            try await hecate.sends(refusal("\(coven)/secondwitch"))
            try await wicca.receives(
                """
                <message from='\(coven)'><x xmlns='http://jabber.org/protocol/muc#user'>
                <decline from='hecate@montague.example'/></x></message>
                """)
            try await stage.staysSilent()
        }
    }

    @Test("Refusals are possible after a restart; who has entered cannot refuse any more")
    func remembered() async throws {
        try await playRooms("invitations: 2", modules: roomModules + [Offline.self]) { stage in
            let backstage = try Backstage(stage)
            var crone = try await stage.enter("crone1@capulet.example/desktop")
            try await crone.makesRoom(as: "firstwitch")
            backstage.configure { $0.isPersistent = true }
            for witch in ["first", "second", "third"] {
                try await stage.account("\(witch)@montague.example")
                try await crone.invites("\(witch)@montague.example")
                await stage.advance(by: .seconds(1))
            }
            try await stage.restart()
            crone = try await stage.enter("crone1@capulet.example/desktop")
            let refusal =
                """
                <message to='\(coven)' id='d'><x xmlns='http://jabber.org/protocol/muc#user'>
                <decline to='crone1@capulet.example'/></x></message>
                """
            let first = try await stage.enter("first@montague.example/broom")
            try await first.sends(refusal)
            try await first.isBounced(.itemNotFound, id: "d")
            let second = try await stage.enter("second@montague.example/broom")
            try await second.sends(refusal)
            try await crone.receivesAnywhere(
                """
                <message from='\(coven)'><x xmlns='http://jabber.org/protocol/muc#user'>
                <decline from='second@montague.example'/></x></message>
                """)
            let third = try await stage.enter("third@montague.example/broom")
            try await third.enters(as: "thirdwitch")
            try await third.sends(refusal)
            try await third.isBounced(.itemNotFound, id: "d")
        }
    }

    @Test("An invitation that nobody gets comes back to who sent it (§7.8.2)")
    func nobody() async throws {
        try await playRooms { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let stranger = try await stage.enter("macbeth@montague.example/castle")
            try await crone.makesRoom(as: "firstwitch")
            try await crone.invites("nobody@montague.example")
            try await crone.receives(
                """
                <message type='error' from='\(coven)' id='i'><x xmlns='http://jabber.org/protocol/muc#user'>
                <invite to='nobody@montague.example'/></x>
                <error><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
                """)
            // Somebody else cannot pretend that.
            try await stranger.sends(
                """
                <message type='error' to='\(coven)' id='x'><error type='cancel'>
                <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
                """)
            try await crone.says("Still here")
            try await crone.receives("<message from='\(coven)/firstwitch'><body>Still here</body></message>")
            try await stage.staysSilent()
        }
    }

    @Test("An invitation waits for who is away, and wakes its phone")
    func away() async throws {
        let modules = roomModules + [Offline.self, Archive.self, Push.self, Carbons.self]
        try await playRooms(modules: modules) { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let service = try await stage.enter("push@capulet.example/service")
            let phone = try await stage.enter("hecate@montague.example/phone")
            try await phone.asks(
                .set, "<enable xmlns='urn:xmpp:push:0' jid='push@capulet.example/service' node='n'/>")
            await phone.leaves()
            try await crone.makesRoom(as: "firstwitch")
            try await crone.invites("hecate@montague.example", "<reason>Come</reason>")
            try await service.receivesAnywhere(
                """
                <iq type='set' from='montague.example'><pubsub xmlns='http://jabber.org/protocol/pubsub'>
                <publish node='n'><item><notification xmlns='urn:xmpp:push:0'/></item></publish></pubsub></iq>
                """)
            let again = try await stage.enter("hecate@montague.example/phone", presence: false)
            try await again.sends("<presence/>")
            try await again.receivesAnywhere(
                """
                <message from='\(coven)'><x xmlns='http://jabber.org/protocol/muc#user'>
                <invite from='crone1@capulet.example'><reason>Come</reason></invite></x>
                <delay xmlns='urn:xmpp:delay'/></message>
                """)
        }
    }

    @Test("A direct invitation goes past the room (§7.8.1)")
    func direct() async throws {
        try await playRooms { stage in
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hecate = try await stage.enter("hecate@montague.example/broom")
            try await crone.makesRoom(as: "firstwitch")
            try await crone.sends(
                """
                <message to='hecate@montague.example'><x xmlns='jabber:x:conference' jid='\(coven)'
                reason='Hey Hecate' password='cauldronburn'/></message>
                """)
            try await hecate.receives(
                """
                <message from='crone1@capulet.example/desktop'>
                <x xmlns='jabber:x:conference' jid='\(coven)' password='cauldronburn'/></message>
                """)
            try await hecate.enters(as: "hecate")
        }
    }

    @Test("Who was put on the member list may decline once, and learns nothing of who is an admin (§9.5)")
    func declinedMembership() async throws {
        try await playRooms { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let wicca = try await stage.enter("wiccarocks@montague.example/laptop")
            let hecate = try await stage.enter("hecate@montague.example/broom")
            try await crone.makesRoom(as: "firstwitch", ["muc#roomconfig_membersonly": "1"])
            backstage.setAffiliation(.admin, of: "wiccarocks@montague.example")
            try await crone.administers("<item jid='hecate@montague.example' affiliation='member'/>")
            try await hecate.receivesAnywhere(Self.invited)
            for actor in [crone, wicca, hecate] { await actor.forgets() }
            let refusal = { (to: String) in
                """
                <message to='\(coven)' id='d'><x xmlns='http://jabber.org/protocol/muc#user'>
                <decline to='\(to)'><reason>No</reason></decline></x></message>
                """
            }
            try await hecate.sends(refusal("wiccarocks@montague.example"))
            try await hecate.isBounced(.itemNotFound, id: "d")
            try await hecate.sends(refusal("crone1@capulet.example"))
            try await crone.receives(
                """
                <message from='\(coven)'><x xmlns='http://jabber.org/protocol/muc#user'>
                <decline from='hecate@montague.example'/></x></message>
                """)
            try await hecate.sends(refusal("crone1@capulet.example"))
            try await hecate.isBounced(.itemNotFound, id: "d")
            try await stage.staysSilent()
        }
    }

    @Test("Invitations of those who do not see who is banned go nowhere, like any other for all that they can tell")
    func banned() async throws {
        try await playCoven { scene in
            try await scene.first.administers("<item jid='macbeth@montague.example' affiliation='outcast'/>")
            let macbeth = try await scene.stage.enter("macbeth@montague.example/castle")
            let hecate = try await scene.stage.enter("hecate@montague.example/broom")
            try await scene.forget()
            try await scene.second.sends(
                """
                <message to='\(coven)' id='i'><x xmlns='http://jabber.org/protocol/muc#user'>
                <invite to='macbeth@montague.example'/><invite to='hecate@montague.example'/></x></message>
                """)
            try await hecate.receives(Self.invited)
            try await macbeth.staysSilent()
            try await scene.stage.staysSilent()
        }
    }

    @Test("What the room writes to others comes at the rate of messages, from whomever")
    func rate() async throws {
        try await playCoven("message_rate: 3 per 10 seconds") { scene in
            let hecate = try await scene.stage.enter("hecate@montague.example/broom")
            for _ in 0..<5 { try await scene.second.invites("hecate@montague.example") }
            #expect(await hecate.everything().count == 3)
            let refused = await scene.second.everything()
            #expect(refused.count == 2 && refused.allSatisfy { $0["type"] == "error" })
            let refusal = """
                <message to='\(coven)' id='d'><x xmlns='http://jabber.org/protocol/muc#user'>
                <decline to='hag66@capulet.example'/></x></message>
                """
            for _ in 0..<5 { try await hecate.sends(refusal) }
            let answers = await hecate.everything().compactMap { $0.child("error").map { StanzaError($0).condition } }
            #expect(answers == [.itemNotFound, .itemNotFound, .itemNotFound, .policyViolation, .policyViolation])
        }
    }
}
