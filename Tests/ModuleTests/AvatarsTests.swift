import PubSub
import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("Avatars in PEP and on cards (XEP-0398)") struct AvatarsTests {
    private static let modules: [any Module.Type] = [
        Disco.self, Caps.self, Roster.self, PresenceExchange.self, Messages.self, VCard.self, PubSub.self, Avatars.self,
    ]
    private static let romeo = "romeo@montague.example"
    private static let data = "urn:xmpp:avatar:data"
    private static let metadata = "urn:xmpp:avatar:metadata"
    private static let cardRequest = "<vCard xmlns='vcard-temp'/>"

    /// As much of a PNG as it takes to see that it is one, 64 pixels wide and 32 high.
    private static func png(_ last: UInt8) -> [UInt8] {
        [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 64, 0, 0, 0, 32, last]
    }

    private static func id(_ image: [UInt8]) -> String { Hex.encode(Digest.sha1(image)) }

    private static func perform(
        _ config: String = "", _ body: @escaping @ServerActor @Sendable (Stage, TestKit.Actor) async throws -> Void
    ) async throws {
        try await TestKit.play(modules: modules, config: config) { stage in
            try await body(stage, try await stage.enter(romeo + "/orchard"))
        }
    }

    private static func config(_ avatars: String) -> String {
        let others = modules.dropLast().map { "  \($0.info.name): on\n" }.joined()
        return "modules:\n\(others)  avatars: \(avatars)\n"
    }

    private static func photo(_ image: String, type: String = "image/png") -> String {
        "<vCard xmlns='vcard-temp'><FN>R</FN><PHOTO><TYPE>\(type)</TYPE><BINVAL>\(image)</BINVAL></PHOTO></vCard>"
    }

    /// Publishes data and metadata, as XEP-0084 §3.1 and §3.2 have it.
    @ServerActor
    private static func publish(
        _ image: [UInt8], _ actor: TestKit.Actor, access: String = "open", id: String? = nil
    ) async throws {
        let id = id ?? Self.id(image)
        try await actor.publishes(
            "<data xmlns='urn:xmpp:avatar:data'>\n\(Base64.encode(image))\n</data>", id: id, at: data,
            options: ["access_model": access])
        let info = "<info bytes='\(image.count)' id='\(id)' type='image/png'/>"
        let elsewhere = "<info bytes='1' id='00' type='image/gif' url='http://a.example/b.gif'/>"
        try await actor.publishes(
            "<metadata xmlns='urn:xmpp:avatar:metadata'>\(elsewhere)\(info)</metadata>", id: id, at: metadata,
            options: ["access_model": access])
    }

    private static func update(_ hash: String) -> String {
        "<presence><x xmlns='vcard-temp:x:update'><photo>\(hash)</photo></x></presence>"
    }

    @Test("What is published in PEP is the photo on the card, and in presence (§3.1, §4)")
    func fromEventing() async throws {
        try await Self.perform { stage, romeo in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await makeFriends(romeo, juliet)
            try await romeo.asks(.set, "<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>")
            let image = Self.png(1)
            try await Self.publish(image, romeo)
            await stage.settle()
            let card = try #require(try await juliet.asks(.get, Self.cardRequest, to: Self.romeo))
            #expect(card.text(of: "FN") == "Romeo")
            #expect(card.child("PHOTO")?.text(of: "TYPE") == "image/png")
            #expect(card.child("PHOTO")?.text(of: "BINVAL") == Base64.encode(image))
            // Who sees the presence is told at once.
            try await juliet.receivesAnywhere(Self.update(Self.id(image)))
            // Later presence has it, too, directed presence included.
            _ = await juliet.everything()
            try await romeo.sends("<presence><show>away</show></presence>")
            let later = try await juliet.receives(Self.update(Self.id(image)))
            #expect(later.text(of: "show") == "away")
            let paris = try await stage.enter("paris@capulet.example/tomb")
            try await romeo.sends("<presence to='paris@capulet.example/tomb'/>")
            try await paris.receives(Self.update(Self.id(image)))
            // An empty metadata element disables it (XEP-0084 §3.5).
            _ = await juliet.everything()
            try await romeo.publishes("<metadata xmlns='urn:xmpp:avatar:metadata'/>", at: Self.metadata)
            await stage.settle()
            let without = try #require(try await juliet.asks(.get, Self.cardRequest, to: Self.romeo))
            #expect(!without.has("PHOTO") && without.has("FN"))
            let last = try await juliet.receivesAnywhere(
                "<presence><x xmlns='vcard-temp:x:update'><photo/></x></presence>")
            #expect(last.child("x", "vcard-temp:x:update")?.text(of: "photo") == "")
            // And the next one is shown again.
            try await Self.publish(Self.png(2), romeo)
            try await juliet.receivesAnywhere(Self.update(Self.id(Self.png(2))))
        }
    }

    @Test("A photo that is closed to others later does not stay on the card (§7)")
    func closing() async throws {
        try await Self.perform { stage, romeo in
            try await romeo.asks(.set, "<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>")
            try await Self.publish(Self.png(1), romeo)
            await stage.settle()
            #expect(try await romeo.asks(.get, Self.cardRequest)?.has("PHOTO") == true)
            try await romeo.opens(Self.data, to: "presence")
            await stage.settle()
            #expect(try await romeo.asks(.get, Self.cardRequest)?.has("PHOTO") == false)
            #expect(try await romeo.itemsAt(Self.data).count == 1)
        }
    }

    @Test("A photo stored with the card is published in PEP (§3.2)")
    func fromCard() async throws {
        try await Self.perform { stage, romeo in
            let caps = try ClientCaps(["urn:xmpp:avatar:metadata+notify"])
            let laptop = try await stage.enter(Self.romeo + "/laptop", able: caps)
            let image = Self.png(3)
            let text = Base64.encode(image)
            let folded = text.prefix(20) + "\n   " + text.dropFirst(20)
            try await romeo.asks(.set, Self.photo(String(folded), type: "image/nonsense"))
            await stage.settle()
            let data = try await romeo.itemsAt(Self.data)
            #expect(data.map { $0["id"] } == [Self.id(image)])
            #expect(data.first?.firstChild?.text == text)
            let metadata = try #require(try await romeo.itemsAt(Self.metadata).first)
            let expected = """
                <metadata xmlns='urn:xmpp:avatar:metadata'><info bytes='25' id='\(Self.id(image))' type='image/png'
                width='64' height='32'/></metadata>
                """
            #expect(try metadata.firstChild?.isExactly(expected) == true)
            #expect(metadata["id"] == Self.id(image))
            let told = await laptop.everything()
            #expect(told.filter { $0.firstChild?.firstChild?["node"] == Self.metadata }.count == 1)
            // The same again, with another name, is no new avatar.
            try await romeo.asks(.set, Self.photo(text).replacing("<FN>R</FN>", with: "<FN>Romeo</FN>"))
            #expect(await laptop.everything().isEmpty)
            // Without the photo it had, the avatar is disabled.
            try await romeo.asks(.set, "<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>")
            await stage.settle()
            #expect(try await romeo.itemsAt(Self.metadata).last?.firstChild?.hasChildren == false)
        }
    }

    @Test("A client's own word about its avatar (§4)")
    func presence() async throws {
        try await Self.perform { stage, romeo in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await makeFriends(romeo, juliet)
            // Without an avatar nothing is added, except what a client has begun to say.
            try await romeo.sends("<presence/>")
            #expect(try await !juliet.receives("<presence/>").has("x", "vcard-temp:x:update"))
            try await romeo.sends("<presence><x xmlns='vcard-temp:x:update'/></presence>")
            try await juliet.receives("<presence><x xmlns='vcard-temp:x:update'><photo/></x></presence>")
            try await Self.publish(Self.png(1), romeo)
            await stage.settle()
            _ = await juliet.everything()
            let id = Self.id(Self.png(1))
            let empty = "<presence><x xmlns='vcard-temp:x:update'/></presence>"
            for said in [empty, Self.update("0123"), Self.update(id)] {
                try await romeo.sends(said)
                let seen = try await juliet.receives(Self.update(id))
                #expect(seen.children("x", "vcard-temp:x:update").count == 1)
            }
            // Who wants to show none shows none, when the avatar changes as well.
            try await romeo.sends("<presence><x xmlns='vcard-temp:x:update'><photo/></x></presence>")
            let none = try await juliet.receives("<presence/>")
            #expect(none.child("x", "vcard-temp:x:update")?.text(of: "photo") == "")
            try await Self.publish(Self.png(2), romeo)
            try await juliet.staysSilent()
            // Presence of other types carries nothing.
            try await romeo.sends("<presence type='unavailable'/>")
            #expect(try await !juliet.receives("<presence type='unavailable'/>").has("x", "vcard-temp:x:update"))
        }
    }

    @Test("The hash is there after a restart, and for a card from before")
    func restart() async throws {
        try await Self.perform(Self.config("off")) { stage, romeo in
            let image = Self.png(7)
            try await romeo.asks(.set, Self.photo(Base64.encode(image)))
            try stage.reload(Self.config("on"))
            for _ in 0..<2 {
                try await stage.restart()
                let again = try await stage.enter(Self.romeo + "/orchard", presence: false)
                try await again.sends("<presence/>")
                try await again.receivesAnywhere(Self.update(Self.id(image)))
            }
        }
    }

    @Test("What is not for everybody, is not what its id says, or is not there does not get on the card (§7)")
    func refused() async throws {
        try await Self.perform { stage, romeo in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await Self.publish(Self.png(1), romeo)
            await stage.settle()
            #expect(try await juliet.asks(.get, Self.cardRequest, to: Self.romeo)?.has("PHOTO") == true)
            try await Self.publish(Self.png(2), romeo, id: Self.id(Self.png(3)))
            await stage.settle()
            #expect(try await juliet.isRefused(.get, Self.cardRequest, to: Self.romeo) == .serviceUnavailable)
            let info = "<info bytes='9' id='\(Self.id(Self.png(4)))' type='image/png'/>"
            try await romeo.publishes(
                "<metadata xmlns='urn:xmpp:avatar:metadata'>\(info)</metadata>", at: Self.metadata)
            await stage.settle()
            #expect(try await juliet.isRefused(.get, Self.cardRequest, to: Self.romeo) == .serviceUnavailable)
            try await romeo.owns("delete", Self.data)
            try await romeo.owns("delete", Self.metadata)
            try await Self.publish(Self.png(5), romeo, access: "presence")
            await stage.settle()
            #expect(try await juliet.isRefused(.get, Self.cardRequest, to: Self.romeo) == .serviceUnavailable)
        }
    }

    @Test(
        "Photos that are none, or too large, change nothing in PEP",
        arguments: ["!!! no base64 !!!", "QUJD", "=", "large"])
    func hostilePhotos(photo: String) async throws {
        try await Self.perform(Self.config("{ size: 2 KiB }")) { stage, romeo in
            try await Self.publish(Self.png(1), romeo)
            await stage.settle()
            let large = Base64.encode(Self.png(9) + [UInt8](repeating: 7, count: 4_000))
            try await romeo.asks(
                .set, Self.photo(photo == "large" ? large : photo, type: "application/x-evil"))
            await stage.settle()
            #expect(try await romeo.itemsAt(Self.data).map { $0["id"] } == [Self.id(Self.png(1))])
            #expect(try await romeo.itemsAt(Self.metadata).count == 1)
        }
    }

    @Test("An avatar for which the card has no room takes the photo away rather than leave the old one")
    func noRoom() async throws {
        let others = Self.modules.dropLast().filter { $0.info.name != "vcard" }
            .map { "  \($0.info.name): on\n" }.joined()
        let config = "modules:\n\(others)  vcard: { size: 2 KiB }\n  avatars: on\n"
        try await Self.perform(config) { stage, romeo in
            try await romeo.asks(.set, "<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>")
            try await Self.publish(Self.png(1), romeo)
            await stage.settle()
            #expect(try await romeo.asks(.get, Self.cardRequest)?.has("PHOTO") == true)
            try await Self.publish(Self.png(2) + [UInt8](repeating: 0, count: 3_000), romeo)
            await stage.settle()
            let card = try await romeo.asks(.get, Self.cardRequest)
            #expect(card?.has("PHOTO") == false && card?.has("FN") == true)
        }
    }

    @Test("The account says so, while the module is loaded (§2)")
    func features() async throws {
        try await Self.perform { stage, romeo in
            let host = try #require(stage.server.host("montague.example"))
            #expect(host.disco.features(of: .account).contains("urn:xmpp:pep-vcard-conversion:0"))
            try await Self.publish(Self.png(1), romeo)
            await stage.settle()
            try stage.reload(Self.config("off"))
            #expect(!host.disco.features(of: .account).contains("urn:xmpp:pep-vcard-conversion:0"))
            _ = await romeo.everything()
            try await romeo.sends("<presence/>")
            #expect(try await !romeo.receives("<presence/>").has("x", "vcard-temp:x:update"))
        }
    }
}
