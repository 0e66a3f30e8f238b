@testable import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("Client state indication (XEP-0352)") struct ClientStateTests {
    private static let modules: [any Module.Type] = [ClientState.self, PresenceExchange.self, Messages.self, Ping.self]
    private let active = "<active xmlns='urn:xmpp:csi:0'/>"
    private let inactive = "<inactive xmlns='urn:xmpp:csi:0'/>"
    private let phone = "juliet@capulet.example/phone"
    private let composing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"

    /// Juliet with an inactive phone, and Romeo.
    private func enter(_ stage: Stage) async throws -> (juliet: Actor, romeo: Actor) {
        let juliet = try await stage.enter(phone)
        let romeo = try await stage.enter("romeo@montague.example/home")
        try await juliet.sends(inactive)
        await stage.settle()
        return (juliet, romeo)
    }

    // MARK: The protocol

    @Test("It is offered to those who have authenticated, and asked of nobody else")
    func feature() async throws {
        try await play(modules: Self.modules) { stage in
            let stranger = try await stage.connect(to: "capulet.example")
            let header = "<stream:stream to='capulet.example' version='1.0' xmlns='jabber:client'"
                + " xmlns:stream='http://etherx.jabber.org/streams'>"
            try await stranger.sends(header)
            let before = try await stranger.receives(
                "<features xmlns='http://etherx.jabber.org/streams'/>")
            #expect(!before.has("csi", "urn:xmpp:csi:0"))
            stranger.stream?.authenticate("juliet")
            stranger.restart()
            try await stranger.sends(header)
            try await stranger.receives(
                "<features xmlns='http://etherx.jabber.org/streams'><csi xmlns='urn:xmpp:csi:0'/></features>")
            // Before a resource is bound there is nothing to hold back.
            try await stranger.sends(inactive + active)
            try await stage.staysSilent()
            let other = try await stage.connect(to: "capulet.example")
            try await other.sends(header + inactive)
            try await other.isClosed(with: .notAuthorized)
        }
    }

    @Test("There is no reply to either, however often they are said")
    func silent() async throws {
        try await play(modules: Self.modules) { stage in
            let juliet = try await stage.enter(phone)
            try await juliet.sends(active + inactive + inactive + active + active)
            try await stage.staysSilent()
            #expect(juliet.resource?.gate == nil)
        }
    }

    @Test("Presence waits, and the last of each sender comes when the client is active, before the pong it asked for")
    func presence() async throws {
        try await play(modules: Self.modules) { stage in
            let (juliet, romeo) = try await enter(stage)
            let nurse = try await stage.enter("nurse@capulet.example/x")
            try await romeo.sends("<presence to='\(phone)'><show>away</show></presence>")
            try await nurse.sends("<presence to='juliet@capulet.example'/>")
            try await romeo.sends("<presence to='\(phone)' type='unavailable'/>")
            try await romeo.sends("<presence to='\(phone)'><show>chat</show></presence>")
            try await stage.staysSilent()
            // XEP-0352 §5.1.
            try await juliet.sends(
                active + "<iq type='get' id='ping1' to='capulet.example'><ping xmlns='urn:xmpp:ping'/></iq>")
            try await juliet.receives("<presence from='nurse@capulet.example/x'/>")
            try await juliet.receives("<presence from='romeo@montague.example/home'><show>chat</show></presence>")
            try await juliet.receives("<iq type='result' id='ping1'/>")
            try await romeo.sends("<presence to='\(phone)'><show>dnd</show></presence>")
            try await juliet.receives("<presence><show>dnd</show></presence>")
            try await stage.staysSilent()
        }
    }

    // MARK: What is urgent

    @Test("A message brings everything that waits before it, in order")
    func message() async throws {
        try await play(modules: Self.modules) { stage in
            let (juliet, romeo) = try await enter(stage)
            let nurse = try await stage.enter("nurse@capulet.example/x")
            try await nurse.sends("<presence to='\(phone)'/>")
            try await nurse.sends("<message to='\(phone)' type='chat'>\(composing)</message>")
            try await romeo.sends("<presence to='\(phone)'><show>xa</show></presence>")
            try await stage.staysSilent()
            try await romeo.sends("<message to='juliet@capulet.example' type='chat'><body>Hark</body></message>")
            try await juliet.receives("<presence from='nurse@capulet.example/x'/>")
            try await juliet.receives("<message from='nurse@capulet.example/x'>\(composing)</message>")
            try await juliet.receives("<presence from='romeo@montague.example/home'/>")
            try await juliet.receives("<message><body>Hark</body></message>")
            // It is still inactive.
            try await romeo.sends("<presence to='\(phone)'/>")
            try await stage.staysSilent()
        }
    }

    @Test("These come at once", arguments: [
        "<message type='chat'><encrypted xmlns='eu.siacs.conversations.axolotl'/></message>",
        "<message type='chat'><received xmlns='urn:xmpp:receipts' id='1'/></message>",
        "<message type='chat'><displayed xmlns='urn:xmpp:chat-markers:0' id='1'/></message>",
        "<message><propose xmlns='urn:xmpp:jingle-message:0' id='1'/></message>",
        "<message><x xmlns='jabber:x:conference' jid='room@rooms.example'/></message>",
        "<message type='chat'><body>Hark</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>",
        "<message type='error'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
        "<message type='headline'><body>News</body><event xmlns='http://jabber.org/protocol/pubsub#event'>"
            + "<items node='x'><item id='1'/></items></event></message>",
        "<presence type='error'/>",
        "<presence><x xmlns='http://jabber.org/protocol/muc#user'><item/><status code='110'/></x></presence>",
        "<presence type='unavailable'><x xmlns='http://jabber.org/protocol/muc#user'><status code='307'/>"
            + "<status code='110'/></x></presence>",
    ])
    func urgent(_ xml: String) async throws {
        try await play(modules: Self.modules) { stage in
            let (juliet, romeo) = try await enter(stage)
            try await romeo.sends("<presence to='\(phone)'><show>xa</show></presence>")
            let addressed = xml.replacing(/^<(\w+)/) { "<\($0.1) to='\(phone)'" }
            try await romeo.sends(addressed)
            try await juliet.receives("<presence><show>xa</show></presence>")
            try await juliet.receives(xml)
            try await stage.staysSilent()
        }
    }

    @Test("An IQ comes at once, after what waits from its sender, and leaves the rest where it is")
    func iq() async throws {
        try await play(modules: Self.modules) { stage in
            let (juliet, romeo) = try await enter(stage)
            let nurse = try await stage.enter("nurse@capulet.example/x")
            try await nurse.sends("<presence to='\(phone)'/>")
            try await romeo.sends("<presence to='\(phone)'/>")
            try await juliet.asks(.get, "<ping xmlns='urn:xmpp:ping'/>", to: "capulet.example")
            try await stage.staysSilent()
            try await romeo.sends("<iq type='get' id='1' to='\(phone)'><ping xmlns='urn:xmpp:ping'/></iq>")
            try await juliet.receives("<presence from='romeo@montague.example/home'/>")
            try await juliet.receives("<iq type='get' from='romeo@montague.example/home'/>")
            try await stage.staysSilent()
            try await juliet.sends(active)
            try await juliet.receives("<presence from='nurse@capulet.example/x'/>")
        }
    }

    @Test("Requests to subscribe come at once")
    func subscription() async throws {
        try await play(modules: Self.modules + [Roster.self]) { stage in
            let (juliet, romeo) = try await enter(stage)
            try await romeo.sends("<presence to='juliet@capulet.example' type='subscribe'/>")
            try await juliet.receives("<presence type='subscribe' from='romeo@montague.example'/>")
        }
    }

    @Test("Its own presence comes back to the client that sends it")
    func own() async throws {
        try await play(modules: Self.modules) { stage in
            let (juliet, _) = try await enter(stage)
            try await juliet.sends("<presence><show>away</show></presence>")
            try await juliet.receives("<presence from='\(phone)'><show>away</show></presence>")
        }
    }

    // MARK: Chat states

    @Test("Of chat states the last waits, and none when a message says more")
    func chatStates() async throws {
        try await play(modules: Self.modules) { stage in
            let (juliet, romeo) = try await enter(stage)
            let paused = "<paused xmlns='http://jabber.org/protocol/chatstates'/>"
            try await romeo.sends("<message to='\(phone)' type='chat'>\(composing)<thread>a</thread></message>")
            try await romeo.sends("<message to='\(phone)' type='chat'>\(paused)</message>")
            try await stage.staysSilent()
            try await juliet.sends(active)
            try await juliet.receives("<message>\(paused)</message>")
            try await juliet.sends(inactive)
            try await romeo.sends("<message to='\(phone)' type='chat'>\(composing)</message>")
            try await romeo.sends("<message to='\(phone)' type='chat'><body>Hark</body></message>")
            try await juliet.receives("<message><body>Hark</body></message>")
            try await stage.staysSilent()
        }
    }

    private func carbon(_ direction: String, _ content: String, from: String = "juliet@capulet.example") -> String {
        "<message from='\(from)'><\(direction) xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>"
            + "<message xmlns='jabber:client' from='romeo@montague.example/home' to='juliet@capulet.example/laptop'"
            + " type='chat'>\(content)</message></forwarded></\(direction)></message>"
    }

    @Test("Copies of chat states wait, too; copies of messages do not, and forged ones are none")
    func carbons() async throws {
        try await play(modules: Self.modules) { stage in
            let (juliet, _) = try await enter(stage)
            let resource = try #require(juliet.resource)
            @ServerActor func give(_ xml: String) throws { resource.send(try Message(Element.parse(xml))) }
            try give(carbon("received", composing))
            try give(carbon("sent", composing))
            try await stage.staysSilent()
            try give(carbon("received", "<body>Hark</body>"))
            try await juliet.receives(carbon("received", "<body>Hark</body>"))
            try await stage.staysSilent()
            try give(carbon("received", composing, from: "mallory@capulet.example"))
            try await juliet.receives("<message from='mallory@capulet.example'/>")
        }
    }

    // MARK: What contacts publish

    private func notice(
        _ node: String, _ content: String, from: String = "romeo@montague.example", kind: String = "headline"
    ) -> String {
        "<message from='\(from)' type='\(kind)'><event xmlns='http://jabber.org/protocol/pubsub#event'>"
            + "<items node='\(node)'>\(content)</items></event></message>"
    }

    @Test("Of what a contact publishes the last of each item waits; the account's own comes at once")
    func notices() async throws {
        try await play(modules: Self.modules) { stage in
            let (juliet, _) = try await enter(stage)
            let resource = try #require(juliet.resource)
            @ServerActor func give(_ xml: String) throws { resource.send(try Message(Element.parse(xml))) }
            try give(notice("mood", "<item id='1'><happy xmlns='urn:example:mood'/></item>"))
            try give(notice("tune", "<item id='1'/>"))
            try give(notice("mood", "<item id='2'/>"))
            try give(notice("mood", "<retract id='1'/>"))
            try give(notice("mood", "<item id='1'><sad xmlns='urn:example:mood'/></item>"))
            try give(notice("mood", "<item id='1'/>", from: "nurse@capulet.example"))
            try await stage.staysSilent()
            try await juliet.sends(active)
            try await juliet.receives(notice("tune", "<item id='1'/>"))
            try await juliet.receives(notice("mood", "<item id='2'/>"))
            try await juliet.receives(notice("mood", "<retract id='1'/>"))
            try await juliet.receives(notice("mood", "<item id='1'><sad xmlns='urn:example:mood'/></item>"))
            try await juliet.receives(notice("mood", "<item id='1'/>", from: "nurse@capulet.example"))
            try await juliet.sends(inactive)
            await stage.settle()
            for urgent in [
                notice("urn:xmpp:mds:displayed:0", "<item id='1'/>", from: "juliet@capulet.example"),
                notice("blog", "<item id='1'/>", kind: "chat"),
            ] {
                try give(urgent)
                try await juliet.receives(urgent)
            }
        }
    }

    // MARK: Limits and options

    @Test("When too much waits the client gets it all", arguments: ["limit: 3", "size: 1 KiB"])
    func limits(_ option: String) async throws {
        let config = "modules: { csi: { \(option) }, presence: on, messages: on, ping: on }\n"
        try await play(modules: Self.modules, config: config) { stage in
            let (juliet, romeo) = try await enter(stage)
            let text = String(repeating: "x", count: 300)
            for number in 1...3 {
                let presence = "<presence to='\(phone)' from='romeo@montague.example/home'><status>\(text)</status></presence>"
                // The same sender does not add up.
                try await romeo.sends(presence)
                try await romeo.sends(presence)
                juliet.resource?.send(Presence(from: JID("room@rooms.example/\(number)")))
                await stage.settle()
                if number < 3 || option.hasPrefix("size") { try await stage.staysSilent() }
            }
            if option.hasPrefix("size") {
                for number in 4...20 { juliet.resource?.send(Presence(from: JID("room@rooms.example/\(number)"))) }
            }
            #expect(await juliet.everything().count >= 4)
            try await romeo.sends("<presence to='\(phone)'/>")
            try await stage.staysSilent()
        }
    }

    @Test("Merging for days takes no more memory")
    func gaps() async throws {
        try await play(modules: Self.modules) { stage in
            let (juliet, _) = try await enter(stage)
            let gate = try #require(juliet.resource?.gate as? InactiveGate)
            for number in 0..<5_000 {
                juliet.resource?.send(Presence(from: JID("room@rooms.example/\(number % 10)")))
            }
            #expect(gate.stanzas.count == 10)
            #expect(gate.places <= 40)
            try await juliet.sends(active)
            #expect(await juliet.everything().map { $0["from"] } == (0..<10).map { "room@rooms.example/\($0)" })
        }
    }

    @Test("What is switched off comes at once")
    func options() async throws {
        let config = "modules: { csi: { presence: off, chat_states: off, notifications: off }, presence: on, messages: on }\n"
        try await play(modules: Self.modules, config: config) { stage in
            let (juliet, romeo) = try await enter(stage)
            try await romeo.sends("<presence to='\(phone)'/>")
            try await juliet.receives("<presence/>")
            try await romeo.sends("<message to='\(phone)'>\(composing)</message>")
            try await juliet.receives("<message/>")
            juliet.resource?.send(try Message(Element.parse(notice("mood", "<item/>"))))
            try await juliet.receives("<message type='headline'/>")
        }
    }

    // MARK: Sessions

    @Test("Who binds inactive is so from the start")
    func bind() async throws {
        try await play(modules: Self.modules) { stage in
            let juliet = try await stage.enter(phone)
            let inline = try #require(stage.server.host("capulet.example")?.inline)
            #expect(inline.features(.bind).contains { $0["var"] == "urn:xmpp:csi:0" })
            let request = try Element.parse(inactive)
            let handler = try #require(inline.handler(.bind, for: request))
            let answer = await handler(try #require(juliet.stream), request)
            #expect(answer?.element == nil)
            #expect(juliet.resource?.gate != nil)
        }
    }

    @Test("A client that resumes is active, and misses nothing")
    func resumption() async throws {
        try await play(modules: Self.modules + [Keeper.self]) { stage in
            let (juliet, romeo) = try await enter(stage)
            let resource = try #require(juliet.resource)
            try await romeo.sends("<presence to='\(phone)'><show>xa</show></presence>")
            await juliet.vanishes()
            try await romeo.sends("<presence to='\(phone)'><show>dnd</show></presence>")
            await stage.settle()
            #expect(resource.gate != nil)
            #expect(Keeper.link.stanzas.isEmpty)
            resource.account.host.hooks.resourceResumed.notify(ResourceEvent(resource: resource))
            #expect(resource.gate == nil)
            #expect(Keeper.link.stanzas.map { $0.element.text(of: "show") } == ["dnd"])
        }
    }

    @Test("With stream management a client that is cut off gets what waited when it resumes, also after a restart",
        arguments: [false, true])
    func streamManagement(_ isRestarted: Bool) async throws {
        let modules = Self.modules + [SASL.self, Bind.self, StreamManagement.self]
        try await play(modules: modules) { stage in
            let juliet = try await stage.enter(phone)
            let id = try await juliet.enables()
            let romeo = try await stage.enter("romeo@montague.example/home")
            try await juliet.sends(inactive)
            try await romeo.sends("<presence to='\(phone)'><show>xa</show></presence>")
            try await stage.staysSilent()
            await juliet.vanishes()
            try await romeo.sends("<presence to='\(phone)'><show>dnd</show></presence>")
            await stage.settle()
            if isRestarted { try await stage.restart() }
            let again = try await stage.connect(to: "capulet.example")
            try await again.logsIn("juliet")
            try await again.resumes(id, h: 0)
            try await again.receives("<resumed xmlns='urn:xmpp:sm:3' h='0'/>")
            // Romeo has gone with the old server.
            let show = isRestarted ? "" : "<show>dnd</show>"
            try await again.receives("<presence from='romeo@montague.example/home'>\(show)</presence>")
            #expect(again.resource?.gate == nil)
        }
    }

    @Test("What waits outlives a restart of the server")
    func restart() async throws {
        try await play(modules: Self.modules) { stage in
            let (juliet, romeo) = try await enter(stage)
            try await romeo.sends("<presence to='\(phone)'><show>xa</show></presence>")
            try await romeo.sends("<message to='\(phone)'>\(composing)</message>")
            await stage.settle()
            let resource = try #require(juliet.resource)
            let host = resource.account.host
            let state = host.sessionState.state(of: resource)
            await juliet.leaves()
            let link = Recorder()
            let restored = try #require(
                resource.account.restore("phone", presence: Presence(), link: link) {
                    host.sessionState.restore(state, to: $0)
                })
            restored.send(Presence(from: JID("romeo@montague.example/home")))
            // It can be stored again.
            #expect(host.sessionState.state(of: restored).count == 1)
            host.hooks.resourceResumed.notify(ResourceEvent(resource: restored))
            #expect(link.stanzas.map(\.element.name) == ["message", "presence"])
            #expect(restored.gate == nil)
        }
    }

    @Test("Unloading lets everything go, and loading anew works as before")
    func unload() async throws {
        try await play(modules: Self.modules) { stage in
            let (juliet, romeo) = try await enter(stage)
            try await romeo.sends("<presence to='\(phone)'/>")
            try await stage.staysSilent()
            let hosts = "hosts: { montague.example: {}, capulet.example: {} }\n"
            try stage.reload("modules: { csi: off, presence: on, messages: on }\n" + hosts)
            try await juliet.receives("<presence from='romeo@montague.example/home'/>")
            #expect(juliet.resource?.gate == nil)
            #expect(stage.server.host("capulet.example")?.inline.features(.bind).isEmpty == true)
            try stage.reload("modules: { csi: on, presence: on, messages: on }\n" + hosts)
            try await juliet.sends(inactive)
            try await romeo.sends("<presence to='\(phone)'/>")
            try await stage.staysSilent()
            try await juliet.sends(inactive.replacing("inactive", with: "active"))
            try await juliet.receives("<presence from='romeo@montague.example/home'/>")
        }
    }

    // MARK: What it is worth

    /// An hour of thirty contacts, of whom some come and go, change their clients' state and what they publish, type, and
    /// now and then write: what an inactive phone gets of it beside an active laptop.
    @Test("A storm of presence and chat states costs an inactive phone a small part of the bytes and packets")
    func storm() async throws {
        try await play(modules: Self.modules) { stage in
            let juliet = try await stage.enter(phone)
            let laptop = try await stage.enter("juliet@capulet.example/laptop")
            _ = await juliet.everything()
            try await juliet.sends(inactive)
            await stage.settle()
            let account = try #require(juliet.resource?.account)
            var bytes = (phone: 0, laptop: 0)
            var packets = (phone: 0, laptop: 0)
            @ServerActor func count() async {
                let (got, there) = (await juliet.everything(), await laptop.everything())
                bytes.phone += got.reduce(0) { $0 + $1.xmlBytes.count }
                bytes.laptop += there.reduce(0) { $0 + $1.xmlBytes.count }
                packets.phone += got.isEmpty ? 0 : 1
                packets.laptop += there.isEmpty ? 0 : 1
            }
            @ServerActor func arrives(_ xml: String) async throws {
                let stanza = try #require(try Stanza.parse(Element.parse(xml)))
                account.receive(stanza)
                await count()
            }
            let to = "to='juliet@capulet.example'"
            let shows = ["", "<show>away</show>", "<show>xa</show>", ""]
            for minute in 0..<60 {
                for contact in 0..<30 where (minute + contact) % 5 == 0 {
                    let from = "from='contact\(contact)@montague.example/client'"
                    try await arrives(
                        "<presence \(to) \(from)>\(shows[minute / 5 % 4])<c xmlns='http://jabber.org/protocol/caps'"
                            + " hash='sha-1' node='http://example.org/client' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/>"
                            + "<x xmlns='vcard-temp:x:update'><photo>01b87fcd030b72895ff8e88db57ec525450f000d</photo></x>"
                            + "</presence>")
                }
                if minute % 3 == 0 {
                    let from = "from='contact\(minute % 30)@montague.example/client'"
                    for state in ["composing", "paused", "composing", "active"] {
                        try await arrives(
                            "<message \(to) \(from) type='chat'><\(state) xmlns='http://jabber.org/protocol/chatstates'/>"
                                + "</message>")
                    }
                }
                if minute % 2 == 0 {
                    account.availableResources.forEach { resource in
                        let tune = "<item id='current'><tune xmlns='http://jabber.org/protocol/tune'>"
                            + "<title>Song \(minute)</title></tune></item>"
                        let from = "contact\(minute % 4)@montague.example"
                        if let notice = try? Message(Element.parse(self.notice("tune", tune, from: from))) {
                            resource.send(notice)
                        }
                    }
                    await count()
                }
                if minute == 25 {
                    try await arrives(
                        "<message \(to) from='contact1@montague.example/client' type='chat'><body>Hark</body></message>")
                }
            }
            try await juliet.sends(active)
            await count()
            print("Client state: \(bytes.phone) bytes in \(packets.phone) packets instead of "
                + "\(bytes.laptop) in \(packets.laptop)")
            #expect(bytes.phone * 4 < bytes.laptop)
            #expect(packets.phone * 50 < packets.laptop)
        }
    }
}

/// Keeps resources whose stream was lost.
private final class Keeper: Module {
    @ServerActor static let link = Recorder()
    static let info = ModuleInfo("keeper", "Keeps resources")
    init(options: NoOptions) {}
    func load(into host: ModuleHost) {
        host.claim(.resourceDetaching) { event in
            event.resource.attach(Keeper.link)
            return true
        }
    }
}

/// Takes stanzas for a client that is not there.
private final class Recorder: ResourceLink {
    var stanzas: [Stanza] = []
    nonisolated init() {}
    func deliver(_ stanza: Stanza) { stanzas.append(stanza) }
    func close(_ error: StreamError?) {}
}
