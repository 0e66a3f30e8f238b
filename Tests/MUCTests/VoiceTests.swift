import ServerKit
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("Requesting voice (XEP-0045 §7.13, §8.6)") struct VoiceTests {
    private static func request(_ role: String = "participant") -> String {
        """
        <message to='\(coven)' id='yd53c486'><x xmlns='jabber:x:data' type='submit'>
        <field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#request</value></field>
        <field var='muc#role' type='list-single' label='Requested role'><value>\(role)</value></field></x></message>
        """
    }

    private static func answer(
        _ isGranted: Bool, jid: String = "hag66@montague.example/pda", nick: String = "thirdwitch"
    ) -> String {
        """
        <message to='\(coven)' id='approve'><x xmlns='jabber:x:data' type='submit'>
        <field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/muc#request</value></field>
        <field var='muc#role'><value>participant</value></field>
        <field var='muc#jid'><value>\(jid)</value></field><field var='muc#roomnick'><value>\(nick)</value></field>
        <field var='muc#request_allow'><value>\(isGranted)</value></field></x></message>
        """
    }

    private static let form = """
        <message from='\(coven)'><x xmlns='jabber:x:data' type='form'>
        <field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/muc#request</value></field>
        <field var='muc#role' type='list-single'><value>participant</value></field>
        <field var='muc#jid' type='jid-single'><value>hag66@montague.example/pda</value></field>
        <field var='muc#roomnick' type='text-single'><value>thirdwitch</value></field>
        <field var='muc#request_allow' type='boolean'><value>0</value></field></x></message>
        """

    /// A moderated room with a moderator and a visitor.
    private static func moderated(
        _ options: String = "",
        _ body: @escaping @ServerActor @Sendable (Stage, Backstage, _ crone: Actor, _ hag: Actor) async throws -> Void
    ) async throws {
        try await playRooms(options) { stage in
            let backstage = try Backstage(stage)
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            let hag = try await stage.enter("hag66@montague.example/pda")
            try await crone.makesRoom(as: "firstwitch")
            backstage.configure { ($0.isModerated, $0.isPersistent) = (true, true) }
            try await hag.enters(as: "thirdwitch")
            await crone.forgets()
            try await body(stage, backstage, crone, hag)
        }
    }

    /// Leaves and enters anew; the role that it has then.
    private static func comeAgain(_ actor: Actor, _ nick: String, as new: String) async throws -> String? {
        await actor.forgets()
        try await actor.sends("<presence to='\(coven)/\(nick)' type='unavailable'/>")
        await actor.forgets()
        let received = try await actor.enters(as: new)
        return received.first { $0.hasStatus(110) }?.item?["role"]
    }

    @Test("A visitor asks, a moderator grants it, everybody sees it (§8.6)")
    func granted() async throws {
        try await Self.moderated { stage, _, crone, hag in
            try await hag.says("Hark")
            try await hag.isBounced(.forbidden, id: "m")
            try await hag.sends(Self.request())
            try await crone.receives(Self.form)
            try await crone.sends(Self.answer(true))
            for actor in [crone, hag] {
                let presence = try await actor.receives("<presence from='\(coven)/thirdwitch'/>")
                #expect(presence.item?["role"] == "participant")
            }
            try await hag.says("Hark")
            try await hag.receives("<message><body>Hark</body></message>")
            await crone.forgets()
            // Nobody asks any more.
            try await crone.sends(Self.answer(true))
            try await crone.isBounced(.itemNotFound, id: "approve")
            try await hag.sends(Self.request())
            try await hag.isBounced(.notAcceptable, id: "yd53c486")
            try await stage.staysSilent()
        }
    }

    @Test("Voice that was given or taken away lasts over visits, under any nick, while the room is moderated (§5.1)")
    func lasting() async throws {
        try await Self.moderated { stage, _, crone, hag in
            let wiccarocks = try await stage.enter("wiccarocks@montague.example/laptop")
            try await crone.administers("<item affiliation='member' jid='wiccarocks@montague.example'/>")
            try await wiccarocks.enters(as: "secondwitch")
            try await crone.administers(
                "<item nick='thirdwitch' role='participant'/>", "<item nick='secondwitch' role='visitor'/>")
            #expect(try await Self.comeAgain(hag, "thirdwitch", as: "hag") == "participant")
            #expect(try await Self.comeAgain(wiccarocks, "secondwitch", as: "wicca") == "visitor")
            // With a second client and nick.
            let phone = try await stage.enter("wiccarocks@montague.example/phone")
            #expect(try await phone.enters(as: "hecate").first { $0.hasStatus(110) }?.item?["role"] == "visitor")
            // Once everybody had voice it begins anew.
            try await crone.configures(coven, ["muc#roomconfig_moderatedroom": "0"])
            try await crone.configures(coven, ["muc#roomconfig_moderatedroom": "1"])
            #expect(try await Self.comeAgain(hag, "hag", as: "thirdwitch") == "visitor")
        }
    }

    @Test("Who is made a moderator for a visit has voice the next time; who is silenced as one has not")
    func formerModerator() async throws {
        try await Self.moderated { stage, _, crone, hag in
            for (role, expected) in [("moderator", "participant"), ("visitor", "visitor")] {
                try await crone.administers("<item nick='thirdwitch' role='\(role)'/>")
                try await hag.sends("<presence to='\(coven)/thirdwitch' type='unavailable'/>")
                await hag.forgets()
                let own = try await hag.enters(as: "thirdwitch").first { $0.hasStatus(110) }
                #expect(own?.item?["role"] == expected)
            }
        }
    }

    @Test("What a new affiliation gives is not taken away by what was before")
    func newAffiliation() async throws {
        try await Self.moderated { stage, _, crone, hag in
            let item = "<item affiliation='member' jid='hag66@montague.example'/>"
            try await crone.administers(item)
            try await crone.administers("<item nick='thirdwitch' role='visitor'/>")
            try await hag.sends("<presence to='\(coven)/thirdwitch' type='unavailable'/>")
            await hag.forgets()
            #expect(try await hag.enters(as: "hag").first { $0.hasStatus(110) }?.item?["role"] == "visitor")
            try await hag.sends("<presence to='\(coven)/hag' type='unavailable'/>")
            try await crone.administers("<item affiliation='none' jid='hag66@montague.example'/>")
            try await crone.administers(item)
            await hag.forgets()
            #expect(try await hag.enters(as: "hag").first { $0.hasStatus(110) }?.item?["role"] == "participant")
        }
    }

    @Test("The roles of so many are kept, and those that were given first are forgotten")
    func bound() throws {
        var list = KeptRoleList()
        let jids = try (0...KeptRoleList.limit).map { try #require(JID("witch\($0)@montague.example")) }
        for jid in jids.dropLast() { list.set(.participant, of: jid) }
        // Who is given a role again is not among the first any more.
        list.set(.visitor, of: jids[0])
        list.set(.participant, of: jids[KeptRoleList.limit])
        #expect(list.roles.count == KeptRoleList.limit && list.roles[jids[1]] == nil)
        #expect(list.roles[jids[0]]?.role == .visitor && list.roles[jids[KeptRoleList.limit]]?.role == .participant)
    }

    @Test("They last over a crash with those who are here, and so over their next visit")
    func crash() async throws {
        try await Self.moderated { stage, _, crone, hag in
            try await crone.administers("<item nick='thirdwitch' role='participant'/>")
            try await stage.crash(after: .seconds(3))
            let crone = try await stage.enter("crone1@capulet.example/desktop")
            try await crone.enters(as: "firstwitch")
            let hag = try await stage.enter("hag66@montague.example/pda")
            try await hag.enters(as: "thirdwitch")
            try await hag.sends("<presence to='\(coven)/thirdwitch' type='unavailable'/>")
            await hag.forgets()
            #expect(try await hag.enters(as: "hag").first { $0.hasStatus(110) }?.item?["role"] == "participant")
        }
    }

    @Test("A moderator who refuses or skips changes nothing, and the visitor has to wait")
    func refused() async throws {
        try await Self.moderated { stage, _, crone, hag in
            try await hag.sends(Self.request())
            try await crone.receives(Self.form)
            try await crone.sends("<message to='\(coven)'><x xmlns='jabber:x:data' type='cancel'/></message>")
            try await crone.sends(Self.answer(false))
            try await stage.staysSilent()
            try await hag.sends(Self.request())
            try await hag.isBounced(.policyViolation, id: "yd53c486")
            // Nor does it help to come again.
            try await hag.sends("<presence type='unavailable' to='\(coven)/thirdwitch'/>")
            await hag.forgets()
            try await hag.enters(as: "thirdwitch")
            try await hag.sends(Self.request())
            try await hag.isBounced(.policyViolation, id: "yd53c486")
            await crone.forgets()
            await stage.advance(by: .seconds(301))
            try await hag.sends(Self.request())
            try await crone.receives(Self.form)
        }
    }

    @Test("A moderator who comes later is asked, too")
    func later() async throws {
        try await Self.moderated { stage, _, crone, hag in
            try await crone.sends("<presence type='unavailable' to='\(coven)/firstwitch'/>")
            await crone.forgets()
            try await hag.sends(Self.request())
            let received = try await crone.enters(as: "firstwitch")
            #expect(received.contains { $0.child("x", .dataForms)?["type"] == "form" })
            // Without the JID, the nick says who.
            try await crone.sends(
                """
                <message to='\(coven)' id='approve'><x xmlns='jabber:x:data' type='submit'>
                <field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#request</value></field>
                <field var='muc#roomnick'><value>thirdwitch</value></field>
                <field var='muc#request_allow'><value>1</value></field></x></message>
                """)
            let presence = try await crone.receives("<presence from='\(coven)/thirdwitch'/>")
            #expect(presence.item?["role"] == "participant")
        }
    }

    @Test("Nobody gets voice from a form that it may not fill out, or that was never sent")
    func hostile() async throws {
        try await Self.moderated("voice_requests: 1") { stage, backstage, crone, hag in
            try await hag.sends(Self.answer(true))
            try await hag.isBounced(.forbidden, id: "approve")
            let stranger = try await stage.enter("macbeth@montague.example/castle")
            try await stranger.sends(Self.answer(true))
            try await stranger.isBounced(.notAcceptable, id: "approve")
            try await stranger.sends(Self.request())
            try await stranger.isBounced(.notAcceptable, id: "yd53c486")
            try await crone.sends(Self.answer(true))
            try await crone.isBounced(.itemNotFound, id: "approve")
            try await hag.sends(Self.request("moderator"))
            try await hag.isBounced(.badRequest, id: "yd53c486")
            try await hag.sends("<message to='\(coven)' id='e'><x xmlns='jabber:x:data' type='nonsense'/></message>")
            try await hag.isBounced(.badRequest, id: "e")
            try await hag.sends(Self.request())
            try await crone.receives(Self.form)
            try await crone.sends(Self.answer(true, jid: "@"))
            try await crone.isBounced(.notAcceptable, id: "approve")
            // The second one finds the queue full.
            try await stranger.enters(as: "macbeth")
            await hag.forgets()
            await crone.forgets()
            try await stranger.sends(Self.request())
            try await stranger.isBounced(.resourceConstraint, id: "yd53c486")
            backstage.configure { $0.allowsVoiceRequests = false }
            try await stranger.sends(Self.request())
            try await stranger.isBounced(.forbidden, id: "yd53c486")
            // One that has left cannot be given it.
            try await hag.sends("<presence type='unavailable' to='\(coven)/thirdwitch'/>")
            await hag.forgets()
            await crone.forgets()
            await stranger.forgets()
            try await crone.sends(Self.answer(true))
            try await crone.isBounced(.itemNotFound, id: "approve")
            try await stage.staysSilent()
        }
    }
}
