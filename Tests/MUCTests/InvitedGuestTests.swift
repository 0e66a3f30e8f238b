import ServerKit
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("Guests in rooms") struct InvitedGuestTests {
    private static let config = """
        hosts: { montague.example: {}, capulet.example: {}, guests.example: { authentication: anonymous } }
        components: { \(conference): { module: muc } }
        modules:
          sasl: on
          bind: on
          disco: on
          messages: on
          presence: on
          roster: on
          commands: on
          guests: { invite: users }

        """

    @ServerActor
    private func invites(_ actor: TestKit.Actor, _ jids: [String]) async throws -> Element {
        let values = jids.map { "<value>\($0)</value>" }.joined()
        let form = "<x xmlns='jabber:x:data' type='submit'><field var='conversation'>\(values)</field></x>"
        let command = "command xmlns='http://jabber.org/protocol/commands' node='invite-guest'"
        let shown = try #require(try await actor.asks(.set, "<\(command)/>", to: "montague.example"))
        let session = try #require(shown["sessionid"])
        let done = try await actor.asks(
            .set, "<\(command) sessionid='\(session)'>\(form)</command>", to: "montague.example")
        return try #require(done)
    }

    @Test("A user invites a guest to a room, who talks there, sees nothing else, and is seen leaving")
    func room() async throws {
        let modules = roomModules + [SASL.self, Bind.self, Commands.self, Guests.self]
        try await play(modules: modules, config: Self.config) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await romeo.makesRoom(as: "romeo")
            for jid in ["x@capulet.example", conference, "\(coven)/romeo"] {
                #expect(try await invites(romeo, [coven, jid]).child("note")?["type"] == "error")
            }
            let done = try await invites(romeo, [coven])
            let form = try #require(try DataForm.find(in: done))
            let username = try #require(form.text("address").flatMap { JID($0) }?.localpart)
            let guest = try await stage.enterAsGuest(
                of: "guests.example", as: (username, try #require(form.text("password"))))
            try await guest.enters(as: "guest")
            await romeo.forgets()
            try await guest.says("By the pricking of my thumbs")
            try await romeo.receives("<message from='\(coven)/guest' type='groupchat'/>")
            try await guest.receives("<message from='\(coven)/guest' type='groupchat'/>")
            // The room is all that it was invited to, not its owner.
            try await guest.sends("<message to='romeo@montague.example' type='chat' id='1'><body>x</body></message>")
            try await guest.receives("<message type='error' id='1'/>")
            try await guest.sends("<message to='\(coven)/romeo' type='chat' id='2'><body>x</body></message>")
            try await romeo.receives("<message from='\(coven)/guest' type='chat' id='2'/>")
            try await guest.sends("<presence to='other@\(conference)/guest' id='3'/>")
            try await guest.receives("<presence type='error' id='3'/>")
            let book = stage.server.host("guests.example")?.service((any GuestBook).self)
            let id = try #require(book?.invitations.first?.id)
            _ = try await book?.revoke(id)
            try await guest.isClosed(with: .notAuthorized)
            try await romeo.receives("<presence from='\(coven)/guest' type='unavailable'/>")
        }
    }
}
