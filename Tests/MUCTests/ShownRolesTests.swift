import ServerKit
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("Roles that are not shown (XEP-0045 §16.5.3, muc#roomconfig_presencebroadcast)") struct ShownRolesTests {
    /// Only moderators are shown: firstwitch, who owns the room, and secondwitch. thirdwitch is here all the same.
    private func playHidden(
        _ fields: [String: String] = [:], _ body: @escaping @ServerActor @Sendable (Coven) async throws -> Void
    ) async throws {
        try await playCoven("", fields.merging(["muc#roomconfig_presencebroadcast": "moderator"]) { $1 }) { scene in
            try await scene.first.administers("<item nick='secondwitch' role='moderator'/>")
            try await scene.forget()
            try await body(scene)
        }
    }

    @Test("Who becomes a moderator sees those who are hidden, who is none any more does not", arguments: ["0", "1"])
    func moderators(isModerated: String) async throws {
        try await playHidden(["muc#roomconfig_moderatedroom": isModerated]) { scene in
            try await scene.first.administers("<item nick='secondwitch' role='participant'/>")
            let seen = await scene.second.everything()
            #expect(seen.map(\.nick) == ["secondwitch", "thirdwitch"])
            #expect(seen.first?.statuses == [110] && seen.first?.item?["role"] == "participant")
            let gone = try #require(seen.last)
            #expect(gone["type"] == "unavailable" && gone.item?["role"] == "none" && gone.item?["jid"] == nil)
            #expect(gone.statuses == [] && gone.has("occupant-id", .occupantID))
            // For the rest it disappears itself, as before it was a moderator.
            #expect(await scene.third.everything().map { $0["type"] } == ["unavailable"])
            #expect(await scene.first.everything().allSatisfy { $0["type"] == nil })
            try await scene.first.administers("<item nick='secondwitch' role='moderator'/>")
            let again = await scene.second.everything().filter { $0.nick == "thirdwitch" }
            #expect(again.map { $0["type"] } == [nil] && again.first?.item?["jid"] == "hag66@capulet.example/pda")
        }
    }

    @Test("The same by affiliation, for all clients")
    func affiliations() async throws {
        try await playHidden { scene in
            let phone = try await scene.stage.enter("wiccarocks@montague.example/phone")
            try await phone.enters(as: "secondwitch")
            try await scene.first.administers("<item affiliation='admin' jid='wiccarocks@montague.example'/>")
            try await scene.forget()
            await phone.forgets()
            try await scene.first.administers("<item affiliation='none' jid='wiccarocks@montague.example'/>")
            for actor in [scene.second, phone] {
                let gone = await actor.everything().filter { $0["type"] == "unavailable" }
                #expect(gone.map(\.nick) == ["thirdwitch"])
            }
            // With a domain many become moderators and cease to be at once; nobody is told twice.
            try await scene.first.administers("<item affiliation='admin' jid='montague.example'/>")
            let macbeth = try await scene.stage.enter("macbeth@montague.example/castle")
            try await macbeth.enters(as: "macbeth")
            try await scene.forget()
            await phone.forgets()
            try await scene.first.administers("<item affiliation='none' jid='montague.example'/>")
            for (actor, nicks) in [(macbeth, ["secondwitch", "thirdwitch"]), (phone, ["macbeth", "thirdwitch"])] {
                let gone = await actor.everything().filter { $0["type"] == "unavailable" }
                #expect(gone.compactMap(\.nick).sorted() == nicks)
            }
            // Who sees everybody's address is told it here, too.
            try await scene.first.configures(coven, ["muc#roomconfig_whois": "anyone"])
            try await scene.first.administers("<item nick='secondwitch' role='moderator'/>")
            await phone.forgets()
            try await scene.first.administers("<item nick='secondwitch' role='participant'/>")
            let gone = await phone.everything().first { $0["type"] == "unavailable" }
            #expect(gone?.nick == "thirdwitch" && gone?.item?["jid"] == "hag66@capulet.example/pda")
        }
    }
}
