import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("Service discovery (XEP-0030)") struct DiscoTests {
    static let info = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
    static let items = "<query xmlns='http://jabber.org/protocol/disco#items'/>"

    @Test("The host says what it is and what it can do")
    func host() async throws {
        try await play(modules: [Disco.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone", presence: false)
            let info = try #require(try await romeo.asks(.get, Self.info, to: "montague.example"))
            #expect(info.has(identity: "server", "im"))
            #expect(info.child("identity")?["name"] == "Martlet")
            #expect(
                info.features == ["http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items"])
            let items = try #require(try await romeo.asks(.get, Self.items, to: "montague.example"))
            #expect(items.children.isEmpty)
            try await stage.staysSilent()
        }
    }

    @Test("The host goes by the name that was configured")
    func name() async throws {
        try await play(modules: [Disco.self], config: "modules: { disco: { name: Verona } }") { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let info = try await romeo.asks(.get, Self.info, to: "montague.example")
            #expect(info?.child("identity")?["name"] == "Verona")
        }
    }

    @Test("An account answers its owner, with and without an address")
    func owner() async throws {
        try await play(modules: [Disco.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            for to in [nil, "romeo@montague.example"] {
                let info = try #require(try await romeo.asks(.get, Self.info, to: to))
                #expect(info.has(identity: "account", "registered"))
                let items = try #require(try await romeo.asks(.get, Self.items, to: to))
                #expect(items.children.isEmpty)
            }
        }
    }

    @Test("Strangers cannot tell an account from none, whatever they ask", arguments: [info, items])
    func strangers(query: String) async throws {
        try await play(modules: [Disco.self]) { stage in
            try await stage.account("juliet@capulet.example")
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let refused = try await romeo.isRefused(.get, query, to: "juliet@capulet.example")
            let nobody = try await romeo.isRefused(.get, query, to: "nobody@capulet.example")
            #expect(refused == nobody)
            #expect(refused.condition == .serviceUnavailable)
            let node = query.replacing("/>", with: " node='x'/>")
            #expect(try await romeo.isRefused(.get, node, to: "juliet@capulet.example") == nobody)
        }
    }

    @Test("A contact that sees the presence may ask")
    func subscriber() async throws {
        try await play(modules: [Disco.self, Roster.self, PresenceExchange.self, Messages.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await romeo.sends("<presence to='juliet@capulet.example' type='subscribe'/>")
            await stage.settle()
            try await juliet.sends("<presence to='romeo@montague.example' type='subscribed'/>")
            await stage.settle()
            let info = try await romeo.asks(.get, Self.info, to: "juliet@capulet.example")
            #expect(info?.has(identity: "account", "registered") == true)
            // The other way round there is no subscription.
            let error = try await juliet.isRefused(.get, Self.info, to: "romeo@montague.example")
            #expect(error.condition == .serviceUnavailable)
        }
    }

    @Test(
        "An unknown node is not found",
        arguments: ["x", "http://jabber.org/protocol/commands", "#", "&lt;&amp;", "", "urn:martlet:server#0"])
    func unknownNode(node: String) async throws {
        try await play(modules: [Disco.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            for namespace in ["info", "items"] {
                let query = "<query xmlns='http://jabber.org/protocol/disco#\(namespace)' node='\(node)'/>"
                for to in ["montague.example", "romeo@montague.example"] {
                    #expect(try await romeo.isRefused(.get, query, to: to).condition == .itemNotFound)
                }
            }
        }
    }

    @Test("Nothing can be set")
    func set() async throws {
        try await play(modules: [Disco.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            #expect(try await romeo.isRefused(.set, Self.info, to: "montague.example").condition == .notAllowed)
        }
    }

    @Test("What is switched off is not advertised any more, and comes back")
    func reload() async throws {
        let off = "modules: { disco: on, ping: off, version: off, time: off, commands: off, contact: off, caps: off }"
        let on = "modules: { disco: on, ping: on, version: on, time: on, commands: on, contact: on, caps: on }"
        let modules: [any Module.Type] = [
            Disco.self, Ping.self, SoftwareVersion.self, EntityTime.self, Commands.self, ContactAddresses.self,
            Caps.self,
        ]
        try await play(modules: modules, config: "admins: [friar@montague.example]") { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let before = try #require(try await romeo.asks(.get, Self.info, to: "montague.example"))
            for feature in ["urn:xmpp:ping", "jabber:iq:version", "urn:xmpp:time", "http://jabber.org/protocol/caps"] {
                #expect(before.features.contains(feature))
            }
            #expect(before.has("x", .dataForms))
            try stage.reload(off)
            let without = try #require(try await romeo.asks(.get, Self.info, to: "montague.example"))
            #expect(
                without.features == ["http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items"])
            #expect(!without.has("x", .dataForms))
            let own = try #require(try await romeo.asks(.get, Self.info))
            #expect(own.features == without.features)
            let requests = [
                "<ping xmlns='urn:xmpp:ping'/>", "<query xmlns='jabber:iq:version'/>", "<time xmlns='urn:xmpp:time'/>",
            ]
            for request in requests {
                #expect(
                    try await romeo.isRefused(.get, request, to: "montague.example").condition == .serviceUnavailable)
            }
            let command = "<command xmlns='http://jabber.org/protocol/commands' node='x'/>"
            #expect(try await romeo.isRefused(.set, command, to: "montague.example").condition == .serviceUnavailable)
            try stage.reload("admins: [friar@montague.example]\n" + on)
            #expect(try await romeo.asks(.get, Self.info, to: "montague.example")?.xml == before.xml)
            try stage.reload("modules: { disco: off, contact: off, commands: off, caps: off }")
            #expect(
                try await romeo.isRefused(.get, Self.info, to: "montague.example").condition == .serviceUnavailable)
            try await stage.staysSilent()
        }
    }
}

extension Element {
    func has(identity category: String, _ type: String) -> Bool {
        children("identity").contains { $0["category"] == category && $0["type"] == type }
    }

    /// The features of a disco#info result.
    var features: [String] { children("feature").compactMap { $0["var"] } }
}

/// Serves a domain of its own.
private final class Rooms: Module {
    static let info = ModuleInfo("rooms", "Rooms", scope: .component)
    init(options: NoOptions) {}
    func load(into host: ModuleHost) { host.identify("conference", "text", name: "Balconies", on: .host) }
}

@Suite("Service discovery of components") struct ComponentDiscoTests {
    private let everything: [any Module.Type] = [
        Rooms.self, Disco.self, Commands.self, Ping.self, SoftwareVersion.self, EntityTime.self, LastActivity.self,
        ContactAddresses.self, Caps.self,
    ]
    private let config = "components: { rooms.montague.example: { module: rooms } }\nadmins: [romeo@montague.example]\n"

    @Test("A host lists the components that belong to it, by the names they have")
    func items() async throws {
        try await play(modules: everything, config: config) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let items = try await romeo.asks(.get, DiscoTests.items, to: "montague.example")
            #expect(items?.children.map { $0["jid"] } == ["rooms.montague.example"])
            #expect(items?.firstChild?["name"] == "Balconies")
            #expect(try await romeo.asks(.get, DiscoTests.items, to: "capulet.example")?.children.isEmpty == true)
            #expect(try await romeo.asks(.get, DiscoTests.items)?.children.isEmpty == true)
            #expect(try await romeo.asks(.get, DiscoTests.items, to: "rooms.montague.example")?.children.isEmpty == true)
        }
    }

    @Test("A component is what its module says, and no server; what makes sense on any domain is there")
    func info() async throws {
        try await play(modules: everything, config: config) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let info = try #require(try await romeo.asks(.get, DiscoTests.info, to: "rooms.montague.example"))
            #expect(info.has(identity: "conference", "text"))
            #expect(!info.has(identity: "server", "im"))
            for feature in ["urn:xmpp:ping", "jabber:iq:version", "urn:xmpp:time", "jabber:iq:last"] {
                #expect(info.features.contains(feature), "\(feature)")
            }
            // XEP-0157: whom to write to about the rooms.
            #expect(info.child("x", .dataForms)?.children.contains { $0["var"] == "admin-addresses" } == true)
            let domain = "rooms.montague.example"
            try await romeo.asks(.get, "<ping xmlns='urn:xmpp:ping'/>", to: domain)
            let time = try await romeo.asks(.get, "<time xmlns='urn:xmpp:time'/>", to: domain)
            #expect(time?.has("utc") == true)
            #expect(try await romeo.asks(.get, "<query xmlns='jabber:iq:version'/>", to: domain)?.has("name") == true)
            let node = "http://jabber.org/protocol/commands"
            let commands = try await romeo.asks(
                .get, "<query xmlns='http://jabber.org/protocol/disco#items' node='\(node)'/>", to: domain)
            #expect(commands?.children.isEmpty == true)
        }
    }
}
