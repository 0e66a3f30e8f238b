import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("Commands for guests (XEP-0050)") struct GuestCommandTests {
    private static func command(_ node: String, _ session: String? = nil, _ fields: [(String, [String])] = []) -> String
    {
        let values = fields.map { name, values in
            "<field var='\(name)'>\(values.map { "<value>\($0)</value>" }.joined())</field>"
        }
        let form = session == nil ? "" : "<x xmlns='jabber:x:data' type='submit'>\(values.joined())</x>"
        return "<command xmlns='http://jabber.org/protocol/commands' node='\(node)'"
            + (session.map { " sessionid='\($0)'" } ?? "") + ">\(form)</command>"
    }

    @ServerActor
    private func runs(
        _ actor: TestKit.Actor, _ node: String, _ fields: [(String, [String])]
    ) async throws -> Element {
        let shown = try #require(try await actor.asks(.set, Self.command(node), to: "montague.example"))
        let session = try #require(shown["sessionid"])
        let done = try await actor.asks(.set, Self.command(node, session, fields), to: "montague.example")
        return try #require(done)
    }

    @Test("A user invites to itself, and takes it back")
    func invites() async throws {
        try await playWithGuests("invite: users, invitations_per_user: 1") { stage in
            let juliet = try await stage.enter("\(juliets)/balcony")
            let done = try await runs(
                juliet, "invite-guest", [("conversation", [juliets]), ("name", ["Nurse"]), ("days", ["2"])])
            #expect(done["status"] == "completed")
            let form = try #require(try DataForm.find(in: done))
            let (address, password) = (try #require(form.text("address")), try #require(form.text("password")))
            let note = try #require(done.text(of: "note"))
            #expect(note.contains(address) && note.contains(password) && note.contains("xmpp:\(juliets)"))
            let guest = try await stage.enterAsGuest(
                of: "guests.example", as: (try #require(JID(address)?.localpart), password))
            try await guest.writes(to: juliet)
            #expect(try stage.book.invitations.first?.inviter == JID(juliets))
            // One at a time.
            let second = try await runs(juliet, "invite-guest", [("conversation", [juliets])])
            #expect(second.child("note")?["type"] == "error")
            // Not to others, nor to what only looks like a room.
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            for jid in [juliets, "x@elsewhere.example", "guests.example", "x@guests.example"] {
                let refused = try await runs(romeo, "invite-guest", [("conversation", [jid])])
                #expect(refused.child("note")?["type"] == "error")
            }
            // Nor does he take back what is not his.
            let id = try #require(JID(address)?.localpart)
            let nothing = try #require(try await romeo.asks(.set, Self.command("guests"), to: "montague.example"))
            #expect(nothing["status"] == "completed")
            #expect(try stage.book.invitations.count == 1)
            let back = try await runs(juliet, "guests", [("invitations", [id])])
            #expect(back["status"] == "completed")
            try await guest.isClosed(with: .notAuthorized)
            #expect(try stage.book.invitations.isEmpty)
        }
    }

    @Test("By default only administrators invite, to whomever they like")
    func administrators() async throws {
        try await playWithGuests { stage in
            let juliet = try await stage.enter("\(juliets)/balcony")
            let error = try await juliet.isRefused(.set, Self.command("invite-guest"), to: "montague.example")
            #expect(error.condition == .forbidden)
            let friar = try await stage.enter("friar@montague.example/cell")
            let done = try await runs(
                friar, "invite-guest", [("conversation", [juliets, "x@elsewhere.example"]), ("places", ["2"])])
            let form = try #require(try DataForm.find(in: done))
            let username = try #require(form.text("address").flatMap { JID($0) }?.localpart)
            let guest = try await stage.enterAsGuest(
                of: "guests.example", as: (username, try #require(form.text("password"))))
            try await guest.writes(to: juliet)
            for (name, value) in [("days", "100"), ("places", "51"), ("conversation", "guests.example")] {
                var fields = ["conversation": [juliets]]
                fields[name] = [value]
                let refused = try await runs(friar, "invite-guest", fields.map { ($0.key, $0.value) })
                #expect(refused.child("note")?["type"] == "error")
            }
        }
    }
}
