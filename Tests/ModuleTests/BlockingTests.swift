import ServerKit
import TestKit
import Testing

@testable import Modules

private let modules: [any Module.Type] = [
    Blocking.self, Messages.self, Roster.self, PresenceExchange.self, Disco.self, LastActivity.self,
]
private let getList = "<blocklist xmlns='urn:xmpp:blocking'/>"

private func block(_ jids: String...) -> String { command("block", jids) }
private func unblock(_ jids: String...) -> String { command("unblock", jids) }
private func list(_ jids: String...) -> String { command("blocklist", jids) }
private func command(_ name: String, _ jids: [String]) -> String {
    "<\(name) xmlns='urn:xmpp:blocking'>" + jids.map { "<item jid='\($0)'/>" }.joined() + "</\(name)>"
}
private func push(_ payload: String) -> String { "<iq type='set'>\(payload)</iq>" }

/// Juliet, who has two devices, and Romeo are contacts.
private struct Scene: Sendable {
    let stage: Stage
    let juliet: TestKit.Actor
    let chamber: TestKit.Actor
    let romeo: TestKit.Actor

    @ServerActor
    init(_ stage: Stage) async throws {
        self.stage = stage
        romeo = try await stage.enter("romeo@montague.example/orchard")
        juliet = try await stage.enter("juliet@capulet.example/balcony")
        try await romeo.sends("<presence to='juliet@capulet.example' type='subscribe'/>")
        try await juliet.sends("<presence to='romeo@montague.example' type='subscribed'/>")
        try await juliet.sends("<presence to='romeo@montague.example' type='subscribe'/>")
        try await romeo.sends("<presence to='juliet@capulet.example' type='subscribed'/>")
        chamber = try await stage.enter("juliet@capulet.example/chamber")
        for actor in [romeo, juliet, chamber] { _ = await actor.everything() }
    }

    @ServerActor
    func clear() async {
        for actor in [romeo, juliet, chamber] { _ = await actor.everything() }
    }
}

private func play(
    config: String = "", _ body: @escaping @ServerActor @Sendable (Scene) async throws -> Void
) async throws {
    try await TestKit.play(modules: modules, config: config) { try await body(try await Scene($0)) }
}

@Suite("Blocking (XEP-0191)") struct BlockingTests {
    @Test("The list is empty at first, and then what was blocked, after a restart too (§3.2)")
    func retrieve() async throws {
        try await play { scene in
            let none = try #require(try await scene.juliet.asks(.get, getList))
            #expect(none.matches(try Element.parse(getList), exactly: true))
            try await scene.juliet.asks(.set, block("romeo@montague.example", "iago@shakespeare.lit"))
            try await scene.juliet.asks(.set, block("EXAMPLE.org", "Tybalt@capulet.example/Sword"))
            let expected = try Element.parse(
                list(
                    "example.org", "iago@shakespeare.lit", "romeo@montague.example", "tybalt@capulet.example/Sword"))
            let some = try await scene.chamber.asks(.get, getList)
            #expect(some?.matches(expected, exactly: true) == true)
            try await scene.stage.restart()
            let again = try await scene.stage.enter("juliet@capulet.example/balcony")
            #expect(try await again.asks(.get, getList)?.matches(expected, exactly: true) == true)
            try await again.asks(.set, unblock("example.org", "nobody@nowhere.example"))
            try await again.asks(.set, "<unblock xmlns='urn:xmpp:blocking'/>")
            try await scene.stage.restart()
            let later = try await scene.stage.enter("juliet@capulet.example/balcony")
            #expect(try await later.asks(.get, getList)?.hasChildren == false)
        }
    }

    @Test("Devices that asked for the list are pushed its changes, the others are not (§3.3 to §3.5)")
    func pushes() async throws {
        try await play { scene in
            let silent = try await scene.stage.enter("juliet@capulet.example/silent")
            await scene.clear()
            try await scene.juliet.asks(.get, getList)
            try await scene.chamber.asks(.get, getList)
            for (request, expected) in [
                (block("iago@shakespeare.lit", "a.example"), block("iago@shakespeare.lit", "a.example")),
                (block("iago@shakespeare.lit"), block("iago@shakespeare.lit")),
                (unblock("a.example"), unblock("a.example")),
                ("<unblock xmlns='urn:xmpp:blocking'/>", "<unblock xmlns='urn:xmpp:blocking'/>"),
            ] {
                try await silent.asks(.set, request)
                for actor in [scene.juliet, scene.chamber] {
                    let got = try await actor.receives(push(expected))
                    #expect(got["to"] == actor.jid?.description && got["from"] == nil)
                    #expect(got.firstChild?.matches(try Element.parse(expected), exactly: true) == true)
                    try await actor.sends("<iq type='result' id='\(got["id"] ?? "")'/>")
                }
            }
            try await scene.stage.staysSilent()
        }
    }

    @Test("Nonsense changes nothing", arguments: [
        ("<block xmlns='urn:xmpp:blocking'/>", StanzaError.Condition.badRequest),
        ("<block xmlns='urn:xmpp:blocking'><item/></block>", .badRequest),
        (block("a@b@c"), .jidMalformed), (block("good.example", ""), .jidMalformed),
        (block("good.example", "x@y z"), .jidMalformed), (unblock("@"), .jidMalformed),
        (block("juliet@capulet.example"), .notAllowed), (block("good.example", "juliet@capulet.example/x"), .notAllowed),
    ])
    func nonsense(request: String, condition: StanzaError.Condition) async throws {
        try await play { scene in
            try await scene.chamber.asks(.get, getList)
            #expect(try await scene.juliet.isRefused(.set, request).condition == condition)
            #expect(try await scene.juliet.asks(.get, getList)?.hasChildren == false)
            try await scene.stage.staysSilent()
        }
    }

    @Test("Nobody sees or changes the list of another account")
    func strangers() async throws {
        try await play { scene in
            for (kind, payload) in [(IQ.Kind.get, getList), (.set, block("a.example")), (.set, unblock())] {
                let error = try await scene.romeo.isRefused(kind, payload, to: "juliet@capulet.example")
                #expect(error.condition == .serviceUnavailable)
            }
            #expect(try await scene.juliet.asks(.get, getList)?.hasChildren == false)
        }
    }

    @Test("The list has an end")
    func limit() async throws {
        let others = modules.dropFirst().map { "\($0.info.name): on" }.joined(separator: ", ")
        try await play(config: "modules: { blocking: { max_items: 10 }, \(others) }") { scene in
            try await scene.juliet.asks(.set, command("block", (1...9).map { "\($0).example" }))
            let error = try await scene.juliet.isRefused(.set, block("10.example", "11.example"))
            #expect(error.condition == .resourceConstraint)
            try await scene.juliet.asks(.set, block("10.example", "9.example"))
            #expect(try await scene.juliet.isRefused(.set, block("11.example")).condition == .resourceConstraint)
            #expect(try await scene.juliet.asks(.get, getList)?.children.count == 10)
        }
    }

    @Test("Messages do not reach the user, and seem to reach nobody (§3.3)")
    func messages() async throws {
        try await play { scene in
            try await scene.juliet.asks(.set, block("romeo@montague.example"))
            await scene.clear()
            for (type, isAnswered) in [
                ("chat", true), ("normal", true), ("groupchat", false), ("headline", false), ("error", false),
            ] {
                for to in ["juliet@capulet.example", "juliet@capulet.example/balcony"] {
                    try await scene.romeo.sends("<message to='\(to)' type='\(type)' id='m'><body>x</body></message>")
                    if isAnswered {
                        let error = try await scene.romeo.receives("<message type='error' id='m' from='\(to)'/>")
                        #expect(StanzaError(try #require(error.child("error"))) == .serviceUnavailable)
                    }
                    try await scene.stage.staysSilent()
                }
            }
            try await scene.juliet.asks(.set, unblock("romeo@montague.example"))
            await scene.clear()
            try await scene.romeo.sends("<message to='juliet@capulet.example/balcony'><body>y</body></message>")
            try await scene.juliet.receives("<message><body>y</body></message>")
        }
    }

    @Test("What the user sends to a blocked address comes back, with the reason (§3.3)")
    func outbound() async throws {
        try await play { scene in
            try await scene.juliet.asks(.set, block("romeo@montague.example"))
            await scene.clear()
            let blocked = "<error type='cancel'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
                + "<blocked xmlns='urn:xmpp:blocking:errors'/></error>"
            for to in ["romeo@montague.example", "romeo@montague.example/orchard", "romeo@montague.example/x"] {
                try await scene.juliet.sends("<message to='\(to)'><body>Can you hear me now?</body></message>")
                try await scene.juliet.receives(
                    "<message type='error' from='\(to)'><body>Can you hear me now?</body>\(blocked)</message>")
                for type in ["", " type='subscribe'", " type='unavailable'", " type='probe'"] {
                    try await scene.juliet.sends("<presence to='\(to)'\(type)/>")
                    try await scene.juliet.receives("<presence type='error' from='\(to)'>\(blocked)</presence>")
                }
                for type in ["get", "set"] {
                    try await scene.juliet.sends(
                        "<iq type='\(type)' id='i' to='\(to)'><ping xmlns='urn:xmpp:ping'/></iq>")
                    try await scene.juliet.receives("<iq type='error' id='i' from='\(to)'>\(blocked)</iq>")
                }
                // Answers and errors are not answered.
                for type in ["result", "error"] { try await scene.juliet.sends("<iq type='\(type)' id='i' to='\(to)'/>") }
                try await scene.juliet.sends("<message type='error' to='\(to)'/>")
                try await scene.juliet.sends("<presence type='error' to='\(to)'/>")
            }
            try await scene.stage.staysSilent()
        }
    }

    @Test("Requests of a blocked address are refused, and its answers dropped (§3.3)")
    func requests() async throws {
        try await play { scene in
            // A request that is under way.
            try await scene.juliet.sends(
                "<iq type='get' id='q1' to='romeo@montague.example/orchard'><ping xmlns='urn:xmpp:ping'/></iq>")
            try await scene.romeo.receives("<iq id='q1'/>")
            try await scene.juliet.asks(.set, block("romeo@montague.example"))
            await scene.clear()
            for type in ["result", "error"] {
                try await scene.romeo.sends("<iq type='\(type)' id='q1' to='juliet@capulet.example/balcony'/>")
            }
            for to in ["juliet@capulet.example", "juliet@capulet.example/balcony"] {
                for payload in ["<query xmlns='jabber:iq:last'/>", "<ping xmlns='urn:xmpp:ping'/>"] {
                    let error = try await scene.romeo.isRefused(.get, payload, to: to)
                    #expect(error == .serviceUnavailable)
                }
            }
            try await scene.stage.staysSilent()
        }
    }

    @Test("Who is blocked sees the user leave, and come back when that is over; the subscription stays (§3.3, §3.4)")
    func presence() async throws {
        try await play { scene in
            try await scene.juliet.asks(.set, block("romeo@montague.example"))
            for device in ["balcony", "chamber"] {
                try await scene.romeo.receivesAnywhere(
                    "<presence from='juliet@capulet.example/\(device)' type='unavailable'/>")
            }
            try await scene.stage.staysSilent()
            // Blocked twice is blocked, and nothing new to hear of.
            try await scene.juliet.asks(.set, block("romeo@montague.example"))
            // No presence in either direction, whatever its kind.
            try await scene.juliet.sends("<presence><show>away</show></presence>")
            await scene.clear()
            await scene.chamber.leaves()
            _ = await scene.juliet.everything()
            for type in ["probe", "subscribe", "subscribed", "unavailable", "error"] {
                try await scene.romeo.sends("<presence to='juliet@capulet.example' type='\(type)'/>")
                try await scene.romeo.sends("<presence to='juliet@capulet.example/balcony' type='\(type)'/>")
            }
            try await scene.romeo.sends("<presence><show>dnd</show></presence>")
            try await scene.romeo.receives("<presence from='romeo@montague.example/orchard'/>")
            try await scene.stage.staysSilent()
            // A device that comes meanwhile does not ask for his presence, and shows him nothing.
            let late = try await scene.stage.enter("juliet@capulet.example/late")
            _ = await scene.juliet.everything()
            try await scene.stage.staysSilent()
            try await late.asks(.set, unblock("romeo@montague.example"))
            try await scene.romeo.receivesAnywhere(
                "<presence from='juliet@capulet.example/balcony'><show>away</show></presence>")
            try await scene.romeo.receivesAnywhere("<presence from='juliet@capulet.example/late'/>")
            for actor in [scene.juliet, late] {
                try await actor.receives("<presence from='romeo@montague.example/orchard'><show>dnd</show></presence>")
            }
            try await scene.stage.staysSilent()
        }
    }

    @Test("Who may not see the user's presence is told nothing, unless a device showed itself")
    func directedPresence() async throws {
        try await play { scene in
            let tybalt = try await scene.stage.enter("tybalt@montague.example/x")
            try await scene.juliet.asks(.set, block("tybalt@montague.example"))
            try await scene.stage.staysSilent()
            try await scene.juliet.asks(.set, unblock("tybalt@montague.example"))
            try await scene.stage.staysSilent()
            try await scene.juliet.sends("<presence to='tybalt@montague.example/x'/>")
            try await tybalt.receives("<presence from='juliet@capulet.example/balcony'/>")
            try await scene.chamber.asks(.set, block("tybalt@montague.example"))
            try await tybalt.receives("<presence from='juliet@capulet.example/balcony' type='unavailable'/>")
            try await scene.chamber.asks(.set, unblock("tybalt@montague.example"))
            try await scene.juliet.sends("<presence type='unavailable'/>")
            await scene.clear()
            try await scene.stage.staysSilent()
        }
    }

    @Test("A subscription request that waits is hidden while its sender is blocked")
    func pendingRequest() async throws {
        try await play { scene in
            let nurse = try await scene.stage.enter("nurse@montague.example/x")
            await scene.juliet.leaves()
            await scene.chamber.leaves()
            try await nurse.sends("<presence to='juliet@capulet.example' type='subscribe'/>")
            let first = try await scene.stage.enter("juliet@capulet.example/one", presence: false)
            try await first.asks(.set, block("montague.example"))
            try await first.sends("<presence/>")
            #expect(await first.everything().allSatisfy { $0["from"] == "juliet@capulet.example/one" })
            try await first.asks(.set, "<unblock xmlns='urn:xmpp:blocking'/>")
            let second = try await scene.stage.enter("juliet@capulet.example/two", presence: false)
            try await second.sends("<presence/>")
            try await second.receivesAnywhere("<presence from='nurse@montague.example' type='subscribe'/>")
        }
    }

    struct Match: CustomStringConvertible {
        let item: String
        let from: String
        let isBlocked: Bool
        var description: String { "\(item) \(isBlocked ? "covers" : "does not cover") \(from)" }
    }

    static let matches: [Match] = [
        Match(item: "a@b.example/c", from: "a@b.example/c", isBlocked: true),
        Match(item: "a@b.example/c", from: "a@b.example/d", isBlocked: false),
        Match(item: "a@b.example/c", from: "a@b.example", isBlocked: false),
        Match(item: "a@b.example", from: "a@b.example/c", isBlocked: true),
        Match(item: "a@b.example", from: "a@b.example", isBlocked: true),
        Match(item: "a@b.example", from: "d@b.example/c", isBlocked: false),
        Match(item: "b.example/c", from: "b.example/c", isBlocked: true),
        Match(item: "b.example/c", from: "a@b.example/c", isBlocked: false),
        Match(item: "b.example/c", from: "b.example", isBlocked: false),
        Match(item: "b.example", from: "b.example", isBlocked: true),
        Match(item: "b.example", from: "b.example/c", isBlocked: true),
        Match(item: "b.example", from: "a@b.example", isBlocked: true),
        Match(item: "b.example", from: "a@b.example/c", isBlocked: true),
        Match(item: "b.example", from: "a@x.b.example", isBlocked: false),
        Match(item: "A@B.example", from: "a@b.example/C", isBlocked: true),
        Match(item: "ﬁ@b.example", from: "fi@b.example", isBlocked: false),
        Match(item: "ＡＢ@b.example", from: "ab@b.example", isBlocked: true),
        Match(item: "straße.example", from: "a@straße.example", isBlocked: true),
        // Neither the user's own devices nor the server, but everybody else on it.
        Match(item: "capulet.example", from: "juliet@capulet.example/chamber", isBlocked: false),
        Match(item: "capulet.example", from: "capulet.example", isBlocked: false),
        Match(item: "capulet.example", from: "tybalt@capulet.example/x", isBlocked: true),
    ]

    @Test("Items match as §6 says", arguments: matches)
    func matching(match: Match) async throws {
        try await play { scene in
            guard JID(match.item) != nil else {
                #expect(try await scene.juliet.isRefused(.set, block(match.item)).condition == .jidMalformed)
                return
            }
            try await scene.juliet.asks(.set, block(match.item))
            let host = try #require(scene.stage.server.host("capulet.example"))
            let account = try #require(scene.juliet.resource?.account)
            let from = try #require(JID(match.from))
            let blockList = try #require(host.service((any BlockList).self))
            #expect(blockList.isBlocked(from, by: account) == match.isBlocked)
            host.router.route(Message(to: account.jid, from: from, kind: .headline) { Element("body", text: "x") })
            #expect(await scene.juliet.everything().isEmpty == match.isBlocked)
        }
    }

    @Test("Somebody who is blocked invites to no rooms (XEP-0045 §7.8.2)")
    func invitations() async throws {
        try await play { scene in
            try await scene.juliet.asks(.set, block("romeo@montague.example"))
            await scene.clear()
            let nurse = try await scene.stage.enter("nurse@montague.example/room")
            for (inviter, isShown) in [
                ("romeo@montague.example/orchard", false), ("romeo@montague.example", false),
                ("paris@montague.example", true), ("", true),
            ] {
                let from = inviter.isEmpty ? "" : " from='\(inviter)'"
                try await nurse.sends(
                    "<message to='juliet@capulet.example'><x xmlns='http://jabber.org/protocol/muc#user'>"
                        + "<invite\(from)/></x></message>")
                for actor in [scene.juliet, scene.chamber] {
                    #expect(await actor.everything().count == (isShown ? 1 : 0), "\(inviter)")
                }
            }
            try await scene.stage.staysSilent()
        }
    }

    @Test("A change that overtakes the list on its way is pushed after it")
    func race() async throws {
        try await play { scene in
            try await scene.juliet.sends(
                "<iq type='set' id='1'>\(block("a.example"))</iq><iq type='get' id='2'>\(getList)</iq>"
                    + "<iq type='set' id='3'>\(block("b.example"))</iq>")
            try await scene.juliet.receives("<iq type='result' id='1'/>")
            var known: Set<String> = []
            for element in await scene.juliet.everything() {
                for item in element.firstChild?.children ?? [] { known.insert(item["jid"] ?? "") }
            }
            #expect(known == ["a.example", "b.example"])
        }
    }

    @Test("The host says so, and when the module is gone nothing is left of it")
    func reload() async throws {
        let others = modules.dropFirst().map { "\($0.info.name): on" }.joined(separator: ", ")
        let on = "modules: { blocking: on, \(others) }"
        try await play(config: on) { scene in
            func features() async throws -> [String] {
                try await scene.juliet.asks(.get, DiscoTests.info, to: "capulet.example")?.features ?? []
            }
            for _ in 0..<2 {
                #expect(try await features().contains("urn:xmpp:blocking"))
                try await scene.juliet.asks(.set, block("romeo@montague.example"))
                try scene.stage.reload("modules: { blocking: off, \(others) }")
                await scene.clear()
                #expect(try await !features().contains("urn:xmpp:blocking"))
                #expect(try await scene.juliet.isRefused(.get, getList).condition == .serviceUnavailable)
                try await scene.romeo.sends("<message to='juliet@capulet.example/balcony'><body>x</body></message>")
                try await scene.juliet.receives("<message><body>x</body></message>")
                try scene.stage.reload(on)
                try await scene.romeo.sends("<message to='juliet@capulet.example/balcony'><body>x</body></message>")
                try await scene.romeo.receivesAnywhere("<message type='error'/>")
            }
        }
    }
}
