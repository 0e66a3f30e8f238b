import ServerKit
import TestKit
import Testing

@testable import Federation

@Suite("What one server may take up", .serialized) struct BoundsTests {
    @Test("A peer that acknowledges more than it was sent loses its stream (XEP-0198 §6)")
    func acknowledgedTooMuch() async throws {
        try await playBetweenServers { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            let peer = try await servers.rawPeer()
            #expect(try await peer.secures(from: "capulet.example"))
            peer.says(
                "<bidi xmlns='urn:xmpp:bidi'/><db:result from='capulet.example' to='montague.example'>x</db:result>")
            #expect(await peer.hears("type='valid'"))
            peer.says("<enable xmlns='urn:xmpp:sm:3'/>")
            #expect(await peer.hears("<enabled"))
            try await romeo.sends("<message to='x@capulet.example' type='chat' id='1'><body>yours</body></message>")
            #expect(await peer.hears("yours"))
            peer.says("<a xmlns='urn:xmpp:sm:3' h='10'/>")
            #expect(await peer.hears("undefined-condition"))
            #expect(await peer.hears("<handled-count-too-high xmlns='urn:xmpp:sm:3' h='10' send-count='1'/>"))
            #expect(await peer.isCutOff())
        }
    }

    @Test("One domain opens so many connections; those that were silent for long make place")
    func connections() async throws {
        try await playBetweenServers(s2s: "connections_per_domain: 2") { servers in
            let first = try await servers.rawPeer()
            #expect(try await first.authenticates(as: "capulet.example"))
            let second = try await servers.rawPeer()
            #expect(try await second.secures(from: "capulet.example"))
            second.says("<db:result from='capulet.example' to='montague.example'>x</db:result>")
            #expect(await second.hears("type='valid'"))
            let third = try await servers.rawPeer()
            #expect(try await !third.authenticates(as: "capulet.example"))
            #expect(await third.hears("policy-violation"))
            let fourth = try await servers.rawPeer()
            #expect(try await fourth.secures(from: "capulet.example"))
            fourth.says("<db:result from='capulet.example' to='montague.example'>x</db:result>")
            #expect(await fourth.hears("policy-violation"))
            await servers.advance(by: .seconds(90))
            second.says("<message from='a@capulet.example' to='romeo@montague.example'><body>x</body></message>")
            await servers.settle()
            let fifth = try await servers.rawPeer()
            #expect(try await fifth.authenticates(as: "capulet.example"))
            #expect(await first.hears("</stream:stream>"))
            #expect(!second.heard.contains("</stream:stream>"))
        }
    }

    @Test("A domain's rate is one for all its connections")
    func rate() async throws {
        try await playBetweenServers(s2s: "rate: 2 kB/s") { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            let first = try await servers.rawPeer()
            #expect(try await first.authenticates(as: "capulet.example"))
            let second = try await servers.rawPeer()
            #expect(try await second.authenticates(as: "capulet.example"))
            let start = "<message from='a@capulet.example/x' to='romeo@montague.example/orchard' id="
            first.says("\(start)'1'><body>\(String(repeating: "x", count: 1_800))</body></message>")
            await servers.settle()
            #expect(await romeo.takeInbox().map { $0["id"] } == ["1"])
            // What tells that there is too much is read itself.
            second.says("\(start)'2'/>")
            await servers.settle()
            second.says("\(start)'3'/>")
            await servers.settle()
            #expect(await romeo.takeInbox().map { $0["id"] } == ["2"])
            await servers.advance(by: .seconds(10))
            await servers.settle()
            #expect(await romeo.takeInbox().map { $0["id"] } == ["3"])
        }
    }

    @Test("Nobody has keys of many domains verified at a time (XEP-0220 §2.5)")
    func callsBack() async throws {
        try await playBetweenServers(s2s: "policy: dialback") { servers in
            let peer = try await servers.rawPeer(with: "other.example")
            #expect(try await peer.secures(from: "x0.example"))
            let claims = (0..<19).map { "<db:result from='x\($0).example' to='montague.example'>x</db:result>" }
            peer.says(claims.joined())
            #expect(await peer.hears("resource-constraint"))
        }
    }

    @Test("Those who own a zone keep nobody else waiting with it")
    func zones() async throws {
        try await playBetweenServers { servers in
            let federation = servers.montague.federation
            @ServerActor func route(_ remote: String) -> Route {
                Route(DomainPair(local: "montague.example", remote: remote), federation)
            }
            var slots = DialSlots()
            let hostile = (0..<30).map { route("x\($0).hostile.example") }
            let entered = hostile.filter { slots.enter($0, isKnown: false) }
            #expect(entered.count == DialSlots.limitOfZone)
            let others = (0..<90).map { route("x.y\($0).example") }
            let rest = others.filter { slots.enter($0, isKnown: false) }
            #expect(rest.count == DialSlots.limit - DialSlots.limitOfZone)
            // Whoever was reached before does not wait for them.
            let isFree = slots.enter(route("capulet.example"), isKnown: true)
            #expect(isFree)
            // Zones take turns, and those nobody needs any more are passed over.
            let first = slots.leave(entered[0], isKnown: false) { _ in true }
            #expect(first === hostile[20])
            let again = slots.enter(hostile[20], isKnown: false)
            #expect(again)
            let second = slots.leave(rest[0], isKnown: false) { $0 !== others[80] }
            #expect(second === others[81])
            let third = slots.leave(rest[1], isKnown: false) { _ in false }
            #expect(third == nil)
        }
    }

    @Test("Who is there, and who is gone, is told once")
    @ServerActor func acquaintances() {
        let pair = DomainPair(local: "a.example", remote: "b.example")
        var known = Acquaintances()
        let isNews = [
            known.giveUp(pair), lose(), known.giveUp(pair), known.giveUp(pair),
        ]
        #expect(isNews == [false, false, true, false])
        lose()
        known.meet(pair)
        #expect(known.isAway(pair))
        known.greet(pair, wasReached: false)
        #expect(!known.isAway(pair) && !known.wasReached(pair))
        known.greet(pair, wasReached: true)
        known.lose(pair)
        #expect(known.isAway(pair) && known.wasReached(pair))
        known.greet(pair, wasReached: false)
        known.meet(pair)
        let isGone = known.giveUp(pair)
        #expect(isGone)

        @discardableResult
        func lose() -> Bool {
            known.lose(pair)
            return false
        }
    }
}
