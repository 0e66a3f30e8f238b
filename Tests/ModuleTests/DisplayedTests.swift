import PubSub
import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("What was read (XEP-0490 §4.5)") struct DisplayedTests {
    private static let modules: [any Module.Type] = [
        Disco.self, Caps.self, Roster.self, PresenceExchange.self, Messages.self, PubSub.self, Displayed.self,
    ]
    private static let node = "urn:xmpp:mds:displayed:0"
    private static let payload = """
        <displayed xmlns='urn:xmpp:mds:displayed:0'>\
        <stanza-id xmlns='urn:xmpp:sid:0' by='juliet@capulet.example' id='0423e3a9'/></displayed>
        """
    private static let marker = "<displayed xmlns='urn:xmpp:chat-markers:0' id='the-msg-1'/>"

    @Test("The server strips what is for it from a marker, and publishes it for the user's devices alone")
    func assisted() async throws {
        try await play(modules: Self.modules) { stage in
            let caps = try ClientCaps([Self.node + "+notify"])
            let balcony = try await stage.enter("juliet@capulet.example/balcony")
            let chamber = try await stage.enter("juliet@capulet.example/chamber", able: caps)
            let romeo = try await stage.enter("romeo@montague.example/orchard", able: caps)
            try await makeFriends(romeo, balcony)
            _ = await chamber.everything()
            let host = try #require(stage.server.host("capulet.example"))
            #expect(host.disco.features(of: .account).contains("urn:xmpp:mds:server-assist:0"))
            try await balcony.sends("<message to='romeo@montague.example'>\(Self.marker)\(Self.payload)</message>")
            let seen = try await romeo.receives(
                "<message from='juliet@capulet.example/balcony'>\(Self.marker)</message>")
            #expect(!seen.has("displayed", "urn:xmpp:mds:displayed:0"))
            try await chamber.receivesAnywhere(
                """
                <message from='juliet@capulet.example'><event xmlns='http://jabber.org/protocol/pubsub#event'>
                <items node='\(Self.node)'><item id='romeo@montague.example'>\(Self.payload)</item></items></event>
                </message>
                """)
            #expect(try await balcony.itemsAt(Self.node).count == 1)
            #expect(try await romeo.itemsAt(Self.node, of: "juliet@capulet.example").isEmpty)
            try await romeo.staysSilent()
        }
    }

    @Test("What says nothing is stripped and not published; what arrives from others is theirs")
    func nonsense() async throws {
        try await play(modules: Self.modules) { stage in
            let balcony = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let empty = "<displayed xmlns='urn:xmpp:mds:displayed:0'/>"
            try await balcony.sends("<message to='romeo@montague.example'>\(Self.marker)\(empty)</message>")
            let seen = try await romeo.receives("<message>\(Self.marker)</message>")
            #expect(!seen.has("displayed", "urn:xmpp:mds:displayed:0"))
            #expect(try await balcony.itemsAt(Self.node).isEmpty)
            #expect(try await romeo.itemsAt(Self.node).isEmpty)
        }
    }
}
