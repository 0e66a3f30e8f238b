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
