import ServerKit
import StorageMemory
import TestKit
import Testing

@testable import MUC
@testable import Modules

private let getCard = "<vCard xmlns='vcard-temp'/>"
private let discoInfo = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
/// The picture of XEP-0486, example 3.
private let svg =
    "PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIHdpZHRoPSIzMiIgaGVpZ2h0PSIzMiI+CiA8cmVjdCB4PSIwIiB5PSIwIiB3aWR0aD0i"
    + "MzIiIGhlaWdodD0iMzIiIGZpbGw9InJlZCIvPgo8L3N2Zz4K"
private let svgHash = Hex.encode(Digest.sha1(Base64.decode(svg)!))

private func card(_ photos: (type: String, data: String)...) -> String {
    let photos = photos.map { "<PHOTO><TYPE>\($0.type)</TYPE><BINVAL>\($0.data)</BINVAL></PHOTO>" }
    return "<vCard xmlns='vcard-temp'>\(photos.joined())</vCard>"
}

extension TestKit.Actor {
    /// The hashes that a room's disco tells.
    fileprivate func seesHashes() async throws -> [String] {
        let info = try await asks(.get, discoInfo, to: coven)
        let form = info?.children("x", .dataForms).compactMap { try? DataForm($0) }
            .first { $0.formType == "http://jabber.org/protocol/muc#roominfo" }
        return form?.fields.first { $0.name == "muc#roominfo_avatarhash" }?.values ?? []
    }
}

@Suite("The card and avatar of a room (XEP-0486)") struct RoomCardTests {
    @Test("An owner sets it, all who are here hear of a change, everybody finds hash and picture (§3.2 to §3.4)")
    func published() async throws {
        try await playCoven { scene in
            #expect(try await scene.second.seesHashes() == [])
            try await scene.first.asks(.set, card(("image/svg+xml", svg)), to: coven)
            for actor in [scene.first, scene.second, scene.third] {
                let told = try await actor.receives("<message from='\(coven)' type='groupchat'/>")
                #expect(told.hasStatus(104))
            }
            try await scene.stage.staysSilent()
            let outsider = try await scene.stage.enter("romeo@montague.example/garden")
            for actor in [scene.second, outsider] {
                #expect(try await actor.seesHashes() == [svgHash])
                let found = try await actor.asks(.get, getCard, to: coven)
                #expect(found?.child("PHOTO")?.text(of: "BINVAL") == svg)
            }
        }
    }

    @Test("Service and rooms advertise it, and the service answers for itself (§3.1)")
    func advertised() async throws {
        try await playCoven { scene in
            for to in [conference, coven] {
                let info = try await scene.second.asks(.get, discoInfo, to: to)
                #expect(info?.children("feature").contains { $0["var"] == "vcard-temp" } == true)
            }
            #expect(try await scene.second.asks(.get, getCard, to: conference)?.has("FN") == true)
        }
    }

    @Test("Every version of a picture is told of; an empty card removes all (§3.2, §5.1)")
    func several() async throws {
        try await playCoven { scene in
            try await scene.first.asks(.set, card(("image/svg+xml", svg), ("image/png", "SG\n k=")), to: coven)
            #expect(try await scene.second.seesHashes() == [svgHash, Hex.encode(Digest.sha1(Array("Hi".utf8)))])
            try await scene.first.asks(.set, getCard, to: coven)
            #expect(try await scene.second.seesHashes() == [])
            #expect(try await scene.second.isRefused(.get, getCard, to: coven).condition == .itemNotFound)
            // The card itself remains possible without a picture.
            try await scene.first.asks(.set, "<vCard xmlns='vcard-temp'><DESC>Witches</DESC></vCard>", to: coven)
            #expect(try await scene.second.seesHashes() == [])
            #expect(try await scene.second.asks(.get, getCard, to: coven)?.text(of: "DESC") == "Witches")
        }
    }

    @Test("Only owners may (§6); what is no picture, or too large, is refused, and nothing changes")
    func refused() async throws {
        try await playCoven("card_size: 4096") { scene in
            let outsider = try await scene.stage.enter("romeo@montague.example/garden")
            for actor in [scene.second, outsider] {
                #expect(try await actor.isRefused(.set, card(("image/png", "SGk=")), to: coven).condition == .forbidden)
            }
            let large = String(repeating: "AAAA", count: 1_100)
            let many =
                "<vCard xmlns='vcard-temp'>"
                + String(repeating: "<PHOTO><BINVAL>SGk=</BINVAL></PHOTO>", count: 9) + "</vCard>"
            for (query, condition) in [
                (card(("image/png", "no base64!")), StanzaError.Condition.badRequest),
                (card(("text/html", "SGk=")), .badRequest), (many, .badRequest),
                (card(("image/png", large)), .policyViolation),
            ] {
                #expect(try await scene.first.isRefused(.set, query, to: coven).condition == condition)
            }
            #expect(try await scene.second.isRefused(.get, getCard, to: coven).condition == .itemNotFound)
            #expect(
                try await scene.first.isRefused(.get, getCard, to: "nowhere@\(conference)").condition == .itemNotFound)
            try await scene.stage.staysSilent()
        }
    }

    @Test("It outlives a restart, and only the hash is loaded with the room")
    func durable() async throws {
        let driver = MemoryStorageDriver()
        try await playRooms(driver: driver) { stage in
            let first = try await stage.enter("crone1@capulet.example/desktop")
            try await first.makesRoom(as: "firstwitch", ["muc#roomconfig_persistentroom": "1"])
            try await first.asks(.set, card(("image/svg+xml", svg)), to: coven)
            try await stage.restart()
            let again = try await stage.enter("crone1@capulet.example/desktop")
            #expect(try await again.seesHashes() == [svgHash])
            let found = try await again.asks(.get, getCard, to: coven)
            #expect(found?.child("PHOTO")?.text(of: "BINVAL") == svg)
        }
    }

    @Test("The room's own presence shows it if the administrator wants that (§5.2)")
    func presence() async throws {
        let update = "<x xmlns='vcard-temp:x:update'><photo>\(svgHash)</photo></x>"
        try await playCoven("avatar_presence: on") { scene in
            try await scene.first.asks(.set, card(("image/svg+xml", svg)), to: coven)
            for actor in [scene.first, scene.second] {
                try await actor.receivesAnywhere("<presence from='\(coven)'>\(update)</presence>")
            }
            let later = try await scene.stage.enter("romeo@montague.example/garden")
            let received = try await later.enters(as: "ghost")
            #expect(received.last?.jid("from") == JID(coven) && received.last?.name == "presence")
            try await scene.forget()
            try await scene.first.asks(.set, getCard, to: coven)
            let gone = try await scene.second.receivesAnywhere("<presence from='\(coven)'/>")
            #expect(gone.firstChild?.firstChild?.text == "")
        }
    }
}
