import ServerKit
import TestKit
import Testing

@testable import MUC
@testable import Modules

private let ping = "<ping xmlns='urn:xmpp:ping'/>"

@Suite("Self-ping (XEP-0410)") struct SelfPingTests {
    @Test("The room answers a ping to the own nick itself, however many clients share it (§3.3)")
    func answered() async throws {
        try await playCoven { scene in
            let phone = try await scene.stage.enter("crone1@capulet.example/phone")
            try await phone.enters(as: "firstwitch")
            try await scene.forget()
            try await scene.first.sends("<iq type='get' id='s2c1' to='\(coven)/firstwitch'>\(ping)</iq>")
            try await scene.first.receives(
                "<iq type='result' id='s2c1' from='\(coven)/firstwitch' to='crone1@capulet.example/desktop'/>",
                exactly: true)
            #expect(try await phone.asks(.get, ping, to: "\(coven)/FirstWitch") == nil)
            try await scene.stage.staysSilent()
        }
    }

    @Test("Who is not in the room is told so, whether or not there is such a room or nick (§3.2)")
    func outside() async throws {
        try await playCoven { scene in
            let outsider = try await scene.stage.enter("romeo@montague.example/garden")
            // A client of somebody who is in the room with another one is outside, too.
            let phone = try await scene.stage.enter("crone1@capulet.example/phone")
            for actor in [outsider, phone] {
                for to in ["\(coven)/firstwitch", "\(coven)/nobody", "nowhere@\(conference)/a"] {
                    #expect(try await actor.isRefused(.get, ping, to: to).condition == .notAcceptable)
                }
            }
            try await scene.second.sends("<presence to='\(coven)/secondwitch' type='unavailable'/>")
            try await scene.forget()
            #expect(
                try await scene.second.isRefused(.get, ping, to: "\(coven)/secondwitch").condition
                    == .notAcceptable)
            try await scene.stage.staysSilent()
        }
    }

    @Test("After a change of nick the old one is not found, which says that the client is in the room (§3.2)")
    func oldNick() async throws {
        try await playCoven { scene in
            try await scene.second.sends("<presence to='\(coven)/oldhag'/>")
            try await scene.forget()
            #expect(
                try await scene.second.isRefused(.get, ping, to: "\(coven)/secondwitch").condition
                    == .itemNotFound)
            #expect(try await scene.second.asks(.get, ping, to: "\(coven)/oldhag") == nil)
        }
    }

    @Test("A ping to another occupant is for its client")
    func others() async throws {
        try await playCoven { scene in
            try await scene.second.sends("<iq type='get' id='p' to='\(coven)/thirdwitch'>\(ping)</iq>")
            let request = try await scene.third.receives(
                "<iq type='get' from='\(coven)/secondwitch' to='hag66@capulet.example/pda'>\(ping)</iq>")
            try await scene.third.sends(
                "<iq type='result' id='\(request["id"] ?? "")' to='\(coven)/secondwitch'/>")
            try await scene.second.receives("<iq type='result' id='p' from='\(coven)/thirdwitch'/>")
        }
    }
}
