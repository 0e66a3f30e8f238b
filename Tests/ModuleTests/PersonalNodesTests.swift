import PubSub
import ServerKit
import TestKit
import Testing

@testable import Modules

/// What clients publish about their users works without a module of its own.
@Suite("Nick, tune, mood and their like") struct PersonalNodesTests {
    private static let modules: [any Module.Type] = [
        Disco.self, Caps.self, Roster.self, PresenceExchange.self, Messages.self, PubSub.self,
    ]

    private static let payloads: [(node: String, payload: String)] = [
        // XEP-0172 §4.3
        ("http://jabber.org/protocol/nick", "<nick xmlns='http://jabber.org/protocol/nick'>CallMeIshmael</nick>"),
        // XEP-0118 §2.1
        (
            "http://jabber.org/protocol/tune",
            "<tune xmlns='http://jabber.org/protocol/tune'><artist>Yes</artist><length>686</length></tune>"
        ),
        // XEP-0080 §3
        (
            "http://jabber.org/protocol/geoloc",
            "<geoloc xmlns='http://jabber.org/protocol/geoloc' xml:lang='en'><lat>45.44</lat><lon>12.33</lon></geoloc>"
        ),
        // XEP-0108 §2.1
        (
            "http://jabber.org/protocol/activity",
            "<activity xmlns='http://jabber.org/protocol/activity'><relaxing><partying/></relaxing></activity>"
        ),
        // XEP-0107 §2.2
        ("http://jabber.org/protocol/mood", "<mood xmlns='http://jabber.org/protocol/mood'><annoyed/></mood>"),
    ]

    @Test("Contacts that want it are told, and get the last item when they come", arguments: payloads.indices)
    func published(index: Int) async throws {
        let (node, payload) = Self.payloads[index]
        try await TestKit.play(modules: Self.modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let nurse = try await stage.enter("nurse@capulet.example/chamber")
            try await makeFriends(romeo, juliet)
            try await makeFriends(romeo, nurse)
            let caps = try ClientCaps(["http://jabber.org/protocol/disco#info", node + "+notify"])
            try await juliet.sends(caps.presence)
            for question in await juliet.questions() { try await juliet.answers(question, caps.content) }
            await stage.settle()
            _ = await juliet.everything()
            try await romeo.publishes(payload, at: node)
            let event = """
                <message from='romeo@montague.example'><event xmlns='http://jabber.org/protocol/pubsub#event'>
                <items node='\(node)'><item>\(payload)</item></items></event></message>
                """
            try await juliet.receivesAnywhere(event)
            // The other contact does not want it.
            #expect(await !nurse.everything().contains { $0.name == "message" })
            try await juliet.sends("<presence type='unavailable'/>")
            await stage.settle()
            _ = await juliet.everything()
            try await juliet.sends(caps.presence)
            try await juliet.receivesAnywhere(event)
            #expect(try await nurse.itemsAt(node, of: "romeo@montague.example").count == 1)
            let paris = try await stage.enter("paris@capulet.example/tomb")
            #expect(try await paris.itemsAt(node, of: "romeo@montague.example").isEmpty)
        }
    }

    @Test("Somebody who comes while the user is away gets the last item")
    func absent() async throws {
        try await TestKit.play(modules: Self.modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let first = try await stage.enter("juliet@capulet.example/balcony")
            try await makeFriends(romeo, first)
            let (node, payload) = Self.payloads[0]
            try await romeo.publishes(payload, at: node)
            try await stage.restart()
            let caps = try ClientCaps([node + "+notify"])
            let juliet = try await stage.enter("juliet@capulet.example/balcony", presence: false)
            try await juliet.sends(caps.presence)
            await stage.settle()
            let seen = await juliet.everything()
            for question in seen where question["type"] == "get" { try await juliet.answers(question, caps.content) }
            try await juliet.receivesAnywhere(
                """
                <message from='romeo@montague.example'><event xmlns='http://jabber.org/protocol/pubsub#event'>
                <items node='\(node)'><item>\(payload)</item></items></event></message>
                """)
        }
    }

    @Test("What was read on one device is read on the others, and nobody else sees it (XEP-0490 §4.1)")
    func displayed() async throws {
        try await TestKit.play(modules: Self.modules) { stage in
            let node = "urn:xmpp:mds:displayed:0"
            let caps = try ClientCaps([node + "+notify"])
            let phone = try await stage.enter("romeo@montague.example/phone", able: caps)
            let laptop = try await stage.enter("romeo@montague.example/laptop", able: caps)
            let juliet = try await stage.enter("juliet@capulet.example/balcony", able: caps)
            try await makeFriends(phone, juliet)
            _ = await laptop.everything()
            for id in ["juliet@capulet.example", "room@conference.example"] {
                let payload = """
                    <displayed xmlns='urn:xmpp:mds:displayed:0'><stanza-id xmlns='urn:xmpp:sid:0'
                    by='romeo@montague.example' id='0f710f2b'/></displayed>
                    """
                try await phone.publishes(
                    payload, id: id, at: node,
                    options: [
                        "persist_items": "true", "max_items": "max", "send_last_published_item": "never",
                        "access_model": "whitelist",
                    ])
                try await laptop.receivesAnywhere(
                    """
                    <message><event xmlns='http://jabber.org/protocol/pubsub#event'><items node='\(node)'>
                    <item id='\(id)'>\(payload)</item></items></event></message>
                    """)
            }
            #expect(await !juliet.everything().contains { $0.name == "message" })
            #expect(try await juliet.itemsAt(node, of: "romeo@montague.example").isEmpty)
            #expect(try await laptop.itemsAt(node).count == 2)
            // With send_last_published_item never nothing comes unasked.
            let tablet = try await stage.enter("romeo@montague.example/tablet", presence: false)
            try await tablet.sends(caps.presence)
            #expect(await !tablet.everything().contains { $0.name == "message" })
        }
    }

    @Test("A bookmark keeps the wish for notifications that is in it (XEP-0492 §2.1)")
    func notificationSettings() async throws {
        try await TestKit.play(modules: Self.modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let payload = """
                <conference xmlns='urn:xmpp:bookmarks:1' name='Council'><extensions>
                <notify xmlns='urn:xmpp:notification-settings:1'><on-mention/></notify></extensions></conference>
                """
            try await romeo.publishes(payload, id: "council@conference.example", at: "urn:xmpp:bookmarks:1")
            let item = try #require(try await romeo.itemsAt("urn:xmpp:bookmarks:1").first)
            #expect(try item.firstChild?.matches(Element.parse(payload)) == true)
        }
    }
}
