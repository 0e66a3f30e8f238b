import TestKit
import Testing

@testable import Modules
@testable import ServerKit

private let modules: [any Module.Type] = [Roster.self, PresenceExchange.self]

/// Both end with subscription "both", and nothing unread.
@ServerActor
private func befriend(_ romeo: TestKit.Actor, _ juliet: TestKit.Actor) async throws {
    let (his, hers) = (try #require(romeo.jid).bare, try #require(juliet.jid).bare)
    try await romeo.sends("<presence to='\(hers)' type='subscribe'/>")
    try await juliet.sends("<presence to='\(his)' type='subscribed'/>")
    try await juliet.sends("<presence to='\(his)' type='subscribe'/>")
    try await romeo.sends("<presence to='\(hers)' type='subscribed'/>")
    _ = await romeo.everything()
    _ = await juliet.everything()
}

@ServerActor
private func friends(_ stage: Stage) async throws -> (romeo: TestKit.Actor, juliet: TestKit.Actor) {
    let romeo = try await stage.enter("romeo@montague.example/orchard")
    let juliet = try await stage.enter("juliet@capulet.example/balcony")
    try await befriend(romeo, juliet)
    return (romeo, juliet)
}

@Suite("Presence (RFC 6121 §4)") struct PresenceExchangeTests {
    @Test("Initial presence reaches subscribers, own resources and itself, and brings back theirs (§4.2)")
    func initial() async throws {
        try await play(modules: modules) { stage in
            let (romeo, juliet) = try await friends(stage)
            let chamber = try await stage.enter("juliet@capulet.example/chamber", presence: false)
            try await chamber.sends(
                "<presence id='p1' xml:lang='it'><show>chat</show><priority>5</priority></presence>")
            let pattern = """
                <presence from='juliet@capulet.example/chamber' id='p1' xml:lang='it'>
                <show>chat</show><priority>5</priority></presence>
                """
            let own = try await chamber.receives(pattern)
            #expect(own["to"] == "juliet@capulet.example" && own["type"] == nil)
            try await juliet.receives(pattern)
            #expect(try await romeo.receives(pattern)["to"] == "romeo@montague.example")
            try await chamber.receives("<presence from='juliet@capulet.example/balcony'/>")
            // The probe's answer goes to the bare JID, and so to all.
            try await chamber.receives("<presence from='romeo@montague.example/orchard' to='juliet@capulet.example'/>")
            try await juliet.receives("<presence from='romeo@montague.example/orchard' to='juliet@capulet.example'/>")
            try await stage.staysSilent()
        }
    }

    @Test("Later presence goes to the same, without probes (§4.4)")
    func update() async throws {
        try await play(modules: modules) { stage in
            let (romeo, juliet) = try await friends(stage)
            try await juliet.sends("<presence><show>dnd</show><c xmlns='urn:example:caps' ver='1'/></presence>")
            let pattern = """
                <presence from='juliet@capulet.example/balcony'><show>dnd</show><c xmlns='urn:example:caps' ver='1'/>
                </presence>
                """
            try await romeo.receives(pattern)
            try await juliet.receives(pattern)
            try await stage.staysSilent()
        }
    }

    @Test("A farewell reaches everybody with its words, and the next presence is a first one again (§4.5)")
    func unavailable() async throws {
        try await play(modules: modules) { stage in
            let (romeo, juliet) = try await friends(stage)
            let chamber = try await stage.enter("juliet@capulet.example/chamber")
            _ = await romeo.everything()
            _ = await juliet.everything()
            try await juliet.sends("<presence type='unavailable'><status>going on vacation</status></presence>")
            let pattern = """
                <presence from='juliet@capulet.example/balcony' type='unavailable'>
                <status>going on vacation</status></presence>
                """
            try await romeo.receives(pattern)
            try await chamber.receives(pattern)
            try await juliet.receives(pattern)
            // Once is enough.
            try await juliet.sends("<presence type='unavailable'/>")
            try await romeo.sends("<presence><show>away</show></presence>")
            try await chamber.receives("<presence from='romeo@montague.example/orchard'><show>away</show></presence>")
            _ = await romeo.everything()
            try await stage.staysSilent()
            try await juliet.sends("<presence/>")
            try await romeo.receives("<presence from='juliet@capulet.example/balcony'/>")
            try await juliet.receives("<presence from='juliet@capulet.example/balcony'/>")
            try await juliet.receives("<presence from='juliet@capulet.example/chamber'/>")
            try await juliet.receives("<presence from='romeo@montague.example/orchard'><show>away</show></presence>")
        }
    }

    @Test("Who leaves without a word is unavailable all the same, once (§4.5.2)", arguments: [true, false])
    func lost(isGraceful: Bool) async throws {
        try await play(modules: modules) { stage in
            let (romeo, juliet) = try await friends(stage)
            if isGraceful { await juliet.leaves() } else { await juliet.vanishes() }
            try await romeo.receives(
                "<presence from='juliet@capulet.example/balcony' to='romeo@montague.example' type='unavailable'/>",
                exactly: true)
            try await stage.staysSilent()
        }
    }

    @Test("A priority is one small integer (§4.7.2.3)", arguments: [
        ("<priority>-128</priority>", -128), ("<priority> 127 </priority>", 127), ("<priority>0</priority>", 0),
        ("", 0), ("<priority>128</priority>", nil), ("<priority>-129</priority>", nil),
        ("<priority>high</priority>", nil), ("<priority/>", nil), ("<priority>1.5</priority>", nil),
        ("<priority>99999999999999999999999</priority>", nil), ("<priority>1</priority><priority>2</priority>", nil),
    ] as [(String, Int8?)])
    func priority(content: String, expected: Int8?) async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard", presence: false)
            try await romeo.sends("<presence id='p'>\(content)</presence>")
            if let expected {
                try await romeo.receives("<presence id='p' from='romeo@montague.example/orchard'/>")
                #expect(romeo.resource?.priority == expected && romeo.resource?.isAvailable == true)
            } else {
                try await romeo.receives(
                    """
                    <presence id='p' type='error'><error type='modify'>
                    <bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>
                    """)
                #expect(romeo.resource?.isAvailable == false)
            }
        }
    }

    @Test("Presence that arrives goes to the resource it names, or to all available ones (§8.5.2, §8.5.3)")
    func arriving() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let hidden = try await stage.enter("romeo@montague.example/hidden", presence: false)
            let tybalt = try await stage.enter("tybalt@capulet.example/rapier")
            try await tybalt.sends("<presence to='romeo@montague.example' id='1'/>")
            try await romeo.receives("<presence id='1' to='romeo@montague.example'/>")
            try await tybalt.sends("<presence to='romeo@montague.example/hidden' id='2'/>")
            try await hidden.receives("<presence id='2' from='tybalt@capulet.example/rapier'/>")
            try await tybalt.sends("<presence to='romeo@montague.example/nobody' id='3'/>")
            try await tybalt.sends("<presence to='nobody@montague.example' id='4'/>")
            try await tybalt.sends("<presence to='montague.example' id='5'/>")
            try await stage.staysSilent()
        }
    }

    @Test("A client's presence without sense or address has no effect")
    func nowhere() async throws {
        try await play(modules: modules) { stage in
            let (romeo, _) = try await friends(stage)
            try await romeo.sends("<presence type='probe'/>")
            try await romeo.sends("<presence type='error'><error type='cancel'/></presence>")
            try await stage.staysSilent()
        }
    }

    @Test("A flood of presence to accounts that do not exist loads and answers nothing")
    func flood() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            for number in 0..<500 {
                try await romeo.sends("<presence to='nobody\(number)@capulet.example'/>")
                try await romeo.sends("<presence to='nobody\(number)@capulet.example' type='unavailable'/>")
            }
            try await stage.staysSilent()
            #expect(stage.server.host("capulet.example")?.accounts.loadedAccounts.isEmpty == true)
        }
    }

    @Test("Another module can keep presence from being shown, to one address and without a word")
    func notShown() async throws {
        try await play(modules: modules + [Curtain.self]) { stage in
            let (romeo, juliet) = try await friends(stage)
            let nurse = try await stage.enter("nurse@capulet.example/kitchen")
            try await befriend(nurse, juliet)
            let blocked = try await stage.enter("tybalt@montague.example/rapier")
            try await befriend(blocked, juliet)
            try await juliet.sends("<presence><show>away</show></presence>")
            await juliet.vanishes()
            for friend in [romeo, nurse] {
                try await friend.receives("<presence><show>away</show></presence>")
                try await friend.receives("<presence type='unavailable'/>")
            }
            try await blocked.staysSilent()
        }
    }

    @Test("Switched off, the module leaves no trace; on again, it goes on")
    func reload() async throws {
        try await play(modules: modules) { stage in
            let (romeo, juliet) = try await friends(stage)
            try stage.reload("modules: { roster: on, presence: off }")
            try await juliet.sends("<presence><show>away</show></presence>")
            try await stage.staysSilent()
            try stage.reload("modules: { roster: on, presence: on }")
            await stage.settle()
            try await juliet.sends("<presence><show>dnd</show></presence>")
            try await romeo.receives("<presence><show>dnd</show></presence>")
        }
    }
}

@Suite("Presence probes (RFC 6121 §4.3)") struct ProbeTests {
    @Test("A subscriber gets the whole presence of every resource, ids included (§4.3.2, §4.3.2.1)")
    func subscriber() async throws {
        try await play(modules: modules) { stage in
            let (romeo, juliet) = try await friends(stage)
            let chamber = try await stage.enter("juliet@capulet.example/chamber", presence: false)
            try await chamber.sends("<presence id='pres1'><show>dnd</show><status>busy!</status></presence>")
            await stage.settle()
            _ = await (romeo.everything(), juliet.everything(), chamber.everything())
            try await romeo.sends("<presence id='probe1' type='probe' to='juliet@capulet.example'/>")
            try await romeo.receives("<presence from='juliet@capulet.example/balcony'/>")
            try await romeo.receives(
                """
                <presence from='juliet@capulet.example/chamber' id='pres1'><show>dnd</show><status>busy!</status>
                </presence>
                """)
            // About one resource only, and only that it is there.
            try await romeo.sends("<presence id='probe2' type='probe' to='juliet@capulet.example/chamber'/>")
            let answer = try await romeo.receives("<presence from='juliet@capulet.example/chamber'/>")
            #expect(!answer.hasChildren && answer["type"] == nil)
            try await romeo.sends("<presence id='probe3' type='probe' to='juliet@capulet.example/nowhere'/>")
            try await romeo.receives("<presence from='juliet@capulet.example/nowhere' id='probe3' type='unavailable'/>")
            try await stage.staysSilent()
        }
    }

    @Test("Who is away is said to be, since when, even after a restart (§4.3.2, rule 3)")
    func away() async throws {
        try await play(modules: modules) { stage in
            let (romeo, juliet) = try await friends(stage)
            let left = stage.clock.date
            await juliet.leaves()
            await stage.advance(by: .seconds(3_600))
            _ = await romeo.everything()
            let pattern = """
                <presence from='juliet@capulet.example' id='probe' type='unavailable'>
                <delay xmlns='urn:xmpp:delay' stamp='\(left)' from='juliet@capulet.example'/></presence>
                """
            try await romeo.sends("<presence id='probe' type='probe' to='juliet@capulet.example'/>")
            try await romeo.receives(pattern)
            try await stage.restart()
            let again = try await stage.enter("romeo@montague.example/orchard", presence: false)
            try await again.sends("<presence/>")
            try await again.receives("<presence from='romeo@montague.example/orchard'/>")
            try await again.receives(pattern)
        }
    }

    @Test("A stranger cannot tell an account that is there from one that is not (§4.3.2, rule 1)")
    func stranger() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let tybalt = try await stage.enter("tybalt@capulet.example/rapier")
            for address in ["romeo@montague.example", "romeo@montague.example/orchard", "nobody@montague.example"] {
                try await tybalt.sends("<presence id='p' type='probe' to='\(address)'/>")
            }
            // Subscription answers that nobody waits for are not shown to clients, so look at the server's side.
            try await stage.staysSilent()
            let listener = Listener()
            stage.server.router.attach(listener, to: "elsewhere.example")
            for address in ["romeo@montague.example", "romeo@montague.example/orchard", "nobody@montague.example"] {
                stage.server.router.route(
                    Presence(to: JID(address), from: JID("x@elsewhere.example/y"), id: "p", kind: .probe))
            }
            await stage.settle()
            let answers = listener.heard.map(\.element.xml)
            #expect(answers == ["romeo", "romeo", "nobody"].map { name in
                Presence(
                    to: JID("x@elsewhere.example"), from: JID("\(name)@montague.example"), id: "p", kind: .unsubscribed
                ).element.xml
            })
            try await romeo.staysSilent()
        }
    }

    @Test("A probe heals a roster that believes in a subscription which is none")
    func healing() async throws {
        try await play(modules: modules) { stage in
            let (romeo, juliet) = try await friends(stage)
            // Her server forgets him.
            let account = try #require(juliet.resource?.account)
            let roster = try #require(account.host.service((any ContactList).self) as? Roster)
            roster.roster(of: account)?.forgetEverything()
            try await romeo.asks(.get, "<query xmlns='jabber:iq:roster'/>")
            let phone = try await stage.enter("romeo@montague.example/phone", presence: false)
            try await phone.sends("<presence/>")
            try await romeo.receivesAnywhere("<presence from='juliet@capulet.example' type='unsubscribed'/>")
            try await romeo.receivesAnywhere(
                """
                <iq type='set'><query xmlns='jabber:iq:roster'>
                <item jid='juliet@capulet.example' subscription='from'/></query></iq>
                """)
        }
    }
}

@Suite("Directed presence (RFC 6121 §4.6)") struct DirectedPresenceTests {
    @Test("Who saw directed presence hears of the end, and of nothing in between", arguments: [true, false])
    func farewell(isGraceful: Bool) async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let nurse = try await stage.enter("nurse@capulet.example/kitchen")
            try await romeo.sends("<presence to='nurse@capulet.example/kitchen'><status>Hush</status></presence>")
            try await nurse.receives("<presence from='romeo@montague.example/orchard'><status>Hush</status></presence>")
            try await romeo.sends("<presence><show>away</show></presence>")
            try await nurse.staysSilent()
            if isGraceful {
                try await romeo.sends("<presence type='unavailable'><status>Adieu</status></presence>")
                try await nurse.receives("<presence type='unavailable'><status>Adieu</status></presence>")
            } else {
                await romeo.vanishes()
                try await nurse.receives(
                    """
                    <presence from='romeo@montague.example/orchard' to='nurse@capulet.example/kitchen'
                      type='unavailable'/>
                    """, exactly: true)
            }
            await romeo.vanishes()
            try await nurse.staysSilent()
        }
    }

    @Test("A connected resource that is not available can direct presence, too (rule 3)", arguments: [true, false])
    func connected(isGraceful: Bool) async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard", presence: false)
            let nurse = try await stage.enter("nurse@capulet.example/kitchen")
            try await romeo.sends("<presence to='nurse@capulet.example'/>")
            try await nurse.receives("<presence from='romeo@montague.example/orchard'/>")
            if isGraceful { try await romeo.sends("<presence type='unavailable'/>") } else { await romeo.vanishes() }
            try await nurse.receives("<presence from='romeo@montague.example/orchard' type='unavailable'/>")
            await romeo.vanishes()
            try await nurse.staysSilent()
        }
    }

    @Test("No farewell to whom it was taken back from, or who left first")
    func takenBack() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let nurse = try await stage.enter("nurse@capulet.example/kitchen")
            let peter = try await stage.enter("peter@capulet.example/hall")
            try await romeo.sends("<presence to='nurse@capulet.example/kitchen'/>")
            try await romeo.sends("<presence to='nurse@capulet.example/kitchen' type='unavailable'/>")
            try await nurse.receives("<presence/>")
            try await nurse.receives("<presence type='unavailable'/>")
            try await romeo.sends("<presence to='peter@capulet.example/hall'/>")
            try await peter.receives("<presence/>")
            try await peter.sends("<presence to='romeo@montague.example/orchard' type='unavailable'/>")
            try await romeo.receives("<presence type='unavailable'/>")
            await romeo.vanishes()
            try await stage.staysSilent()
        }
    }

    @Test("A subscriber gets one farewell, not two (rule 1)")
    func subscribers() async throws {
        try await play(modules: modules) { stage in
            let (romeo, juliet) = try await friends(stage)
            try await juliet.sends("<presence to='romeo@montague.example'><status>for you</status></presence>")
            try await romeo.receives("<presence><status>for you</status></presence>")
            await juliet.vanishes()
            try await romeo.receives("<presence type='unavailable'/>")
            try await romeo.staysSilent()
        }
    }

    @Test("A probe by who saw it is answered with the mere fact, for that resource only (§4.6.6)")
    func probe() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            _ = try await stage.enter("romeo@montague.example/phone")
            _ = await romeo.everything()
            let room = Listener()
            stage.server.router.attach(room, to: "rooms.example")
            try await romeo.sends("<presence to='verona@rooms.example/R'><status>x</status></presence>")
            for to in ["romeo@montague.example/orchard", "romeo@montague.example/phone", "romeo@montague.example"] {
                stage.server.router.route(
                    Presence(to: JID(to), from: JID("verona@rooms.example"), id: "p", kind: .probe))
            }
            await stage.settle()
            let answers = room.heard.dropFirst().map(\.element)
            #expect(answers.map { $0["type"] } == [nil, "unsubscribed", "unsubscribed"])
            #expect(answers.first?["from"] == "romeo@montague.example/orchard")
            #expect(answers.allSatisfy { !$0.hasChildren })
            #expect(romeo.resource?.isVisible(to: try #require(JID("verona@rooms.example/Other"))) == true)
        }
    }

    @Test("One client cannot make the server remember addresses without end")
    func limit() async throws {
        let config = "modules: { roster: on, presence: { max_directed: 3 } }"
        try await play(modules: modules, config: config) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            for number in 0..<3 { try await romeo.sends("<presence to='n\(number)@capulet.example'/>") }
            try await stage.staysSilent()
            try await romeo.sends("<presence to='n3@capulet.example' id='3'/>")
            try await romeo.receives("<presence type='error' id='3'/>")
            try await romeo.sends("<presence to='n2@capulet.example'><show>away</show></presence>")
            try await romeo.sends("<presence to='n0@capulet.example' type='unavailable'/>")
            try await romeo.sends("<presence to='n3@capulet.example' id='3'/>")
            try await stage.staysSilent()
        }
    }

    @Test("Requests to a client reach it only from those who may know of it, if that is wanted (§8.5.3.1)")
    func hiding() async throws {
        let config = "modules: { roster: on, presence: { hide_resources: on } }"
        let ask = "<query xmlns='jabber:iq:version'/>"
        try await play(modules: modules, config: config) { stage in
            let (romeo, juliet) = try await friends(stage)
            let tybalt = try await stage.enter("tybalt@capulet.example/rapier")
            let address = "romeo@montague.example/orchard"
            #expect(try await tybalt.isRefused(.get, ask, to: address).condition == .serviceUnavailable)
            try await romeo.staysSilent()
            try await juliet.sends("<iq type='get' id='1' to='\(address)'>\(ask)</iq>")
            try await romeo.receives("<iq type='get' id='1' from='juliet@capulet.example/balcony'/>")
            try await romeo.sends("<presence to='tybalt@capulet.example'/>")
            try await tybalt.receives("<presence/>")
            try await tybalt.sends("<iq type='get' id='2' to='\(address)'>\(ask)</iq>")
            try await romeo.receives("<iq type='get' id='2'/>")
            stage.server.router.route(
                try #require(try Stanza.parse(Element.parse(
                    "<iq type='get' id='3' from='capulet.example' to='\(address)'>\(ask)</iq>"))))
            try await romeo.receives("<iq type='get' id='3'/>")
        }
    }
}

/// Hides everybody's presence from Tybalt.
private final class Curtain: Module {
    static let info = ModuleInfo("curtain", "Hides presence")

    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        host.filter(.presenceShown) { $0.presence.to?.localpart == "tybalt" ? .drop : .pass }
    }
}

/// Another domain, which only listens.
private final class Listener: Entity {
    var heard: [Stanza] = []

    func receive(_ stanza: Stanza) { heard.append(stanza) }
}
