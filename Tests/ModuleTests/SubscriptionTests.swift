import ServerKit
import TestKit
import Testing

@testable import Modules

private let modules: [any Module.Type] = [Roster.self, PresenceExchange.self]
private let get = "<query xmlns='jabber:iq:roster'/>"

private func push(_ item: String) -> String { "<iq type='set'><query xmlns='jabber:iq:roster'>\(item)</query></iq>" }

@ServerActor
private func enter(_ stage: Stage) async throws -> (romeo: TestKit.Actor, juliet: TestKit.Actor) {
    let romeo = try await stage.enter("romeo@montague.example/orchard")
    let juliet = try await stage.enter("juliet@capulet.example/balcony")
    try await romeo.asks(.get, get)
    try await juliet.asks(.get, get)
    return (romeo, juliet)
}

/// Both end with subscription "both", and nothing unread.
@ServerActor
private func befriend(_ romeo: TestKit.Actor, _ juliet: TestKit.Actor) async throws {
    try await romeo.sends("<presence to='juliet@capulet.example' type='subscribe'/>")
    try await juliet.sends("<presence to='romeo@montague.example' type='subscribed'/>")
    try await juliet.sends("<presence to='romeo@montague.example' type='subscribe'/>")
    try await romeo.sends("<presence to='juliet@capulet.example' type='subscribed'/>")
    _ = await romeo.everything()
    _ = await juliet.everything()
}

@ServerActor
private func subscription(_ actor: TestKit.Actor, _ jid: String) async throws -> String? {
    try await actor.asks(.get, get)?.children.first { $0["jid"] == jid }?["subscription"]
}

@Suite("Subscriptions (RFC 6121 §3)") struct SubscriptionTests {
    @Test("Two become contacts, step by step as §3.1 tells it", arguments: [Medium.memory, .tls])
    func handshake(medium: Medium) async throws {
        try await play(modules: modules, over: medium) { stage in
            let (romeo, juliet) = try await enter(stage)
            // The resource is dropped on both sides (§3.1.1, §3.1.2).
            try await romeo.sends(
                "<presence id='s1' to='juliet@capulet.example/x' type='subscribe'><status>Hello</status></presence>")
            try await romeo.receives(push("<item jid='juliet@capulet.example' subscription='none' ask='subscribe'/>"))
            try await juliet.receives(
                """
                <presence id='s1' from='romeo@montague.example' to='juliet@capulet.example' type='subscribe'>
                <status>Hello</status></presence>
                """)
            // Not in her roster until she approves (§3.1.3).
            #expect(try await juliet.asks(.get, get)?.hasChildren == false)

            try await juliet.sends("<presence id='a1' to='romeo@montague.example' type='subscribed'/>")
            try await juliet.receives(push("<item jid='romeo@montague.example' subscription='from'/>"))
            try await romeo.receives(
                """
                <presence id='a1' from='juliet@capulet.example' to='romeo@montague.example' type='subscribed'/>
                """)
            let item = try await romeo.receives(push("<item jid='juliet@capulet.example' subscription='to'/>"))
            #expect(item.firstChild?.firstChild?["ask"] == nil)
            try await romeo.receives("<presence from='juliet@capulet.example/balcony' to='romeo@montague.example'/>")
            try await stage.staysSilent()

            try await juliet.sends("<presence to='romeo@montague.example' type='subscribe'/>")
            try await juliet.receives(push("<item jid='romeo@montague.example' subscription='from' ask='subscribe'/>"))
            try await romeo.receives("<presence from='juliet@capulet.example' type='subscribe'/>")
            try await romeo.sends("<presence to='juliet@capulet.example' type='subscribed'/>")
            try await romeo.receives(push("<item jid='juliet@capulet.example' subscription='both'/>"))
            try await juliet.receives("<presence from='romeo@montague.example' type='subscribed'/>")
            try await juliet.receives(push("<item jid='romeo@montague.example' subscription='both'/>"))
            try await juliet.receives("<presence from='romeo@montague.example/orchard'/>")
            try await stage.staysSilent()
        }
    }

    @Test("A request waits for somebody to come, survives a restart, and comes again until it is answered (§3.1.3)")
    func pending() async throws {
        try await play(modules: modules) { stage in
            try await stage.account("juliet@capulet.example")
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await romeo.sends(
                """
                <presence to='juliet@capulet.example' type='subscribe' id='first'><status>It is I</status>
                <x xmlns='urn:example:extended'><y/></x></presence>
                """)
            try await romeo.sends("<presence to='juliet@capulet.example' type='subscribe' id='second'/>")
            try await stage.restart()
            let request = """
                <presence from='romeo@montague.example' to='juliet@capulet.example' type='subscribe' id='first'>
                <status>It is I</status><x xmlns='urn:example:extended'><y/></x></presence>
                """
            for resource in ["a", "b"] {
                let juliet = try await stage.enter("juliet@capulet.example/\(resource)", presence: false)
                try await juliet.sends("<presence/>")
                try await juliet.receivesAnywhere(request)
                #expect(await juliet.everything().allSatisfy { $0["type"] == nil })
                await juliet.leaves()
            }
            let juliet = try await stage.enter("juliet@capulet.example/c")
            try await juliet.sends("<presence to='romeo@montague.example' type='unsubscribed'/>")
            let later = try await stage.enter("juliet@capulet.example/d", presence: false)
            try await later.sends("<presence/>")
            #expect(await later.everything().allSatisfy { $0["type"] == nil })
        }
    }

    @Test("A request that was denied is off both books (§3.2)")
    func denied() async throws {
        try await play(modules: modules) { stage in
            let (romeo, juliet) = try await enter(stage)
            try await romeo.sends("<presence to='juliet@capulet.example' type='subscribe'/>")
            try await romeo.receives(push("<item jid='juliet@capulet.example' ask='subscribe'/>"))
            try await juliet.receives("<presence type='subscribe'/>")
            try await juliet.sends("<presence to='romeo@montague.example' type='unsubscribed'/>")
            try await romeo.receives("<presence from='juliet@capulet.example' type='unsubscribed'/>")
            let item = try await romeo.receives(push("<item jid='juliet@capulet.example' subscription='none'/>"))
            #expect(item.firstChild?.firstChild?["ask"] == nil)
            #expect(try await juliet.asks(.get, get)?.hasChildren == false)
            try await stage.staysSilent()
        }
    }

    @Test("A subscription is cancelled: unavailable first, then the news (§3.2.2, §3.2.3)")
    func cancelled() async throws {
        try await play(modules: modules) { stage in
            let (romeo, juliet) = try await enter(stage)
            try await befriend(romeo, juliet)
            try await juliet.sends("<presence to='romeo@montague.example' type='unsubscribed'/>")
            try await juliet.receives(push("<item jid='romeo@montague.example' subscription='to'/>"))
            try await romeo.receives("<presence from='juliet@capulet.example/balcony' type='unavailable'/>")
            try await romeo.receives("<presence from='juliet@capulet.example' type='unsubscribed'/>")
            try await romeo.receives(push("<item jid='juliet@capulet.example' subscription='from'/>"))
            try await juliet.sends("<presence><show>away</show></presence>")
            try await juliet.receives("<presence from='juliet@capulet.example/balcony'><show>away</show></presence>")
            try await stage.staysSilent()
        }
    }

    @Test("A user unsubscribes (§3.3)")
    func unsubscribed() async throws {
        try await play(modules: modules) { stage in
            let (romeo, juliet) = try await enter(stage)
            try await befriend(romeo, juliet)
            try await romeo.sends("<presence to='juliet@capulet.example' type='unsubscribe'/>")
            try await romeo.receives(push("<item jid='juliet@capulet.example' subscription='from'/>"))
            try await juliet.receives("<presence from='romeo@montague.example' type='unsubscribe'/>")
            try await juliet.receives(push("<item jid='romeo@montague.example' subscription='to'/>"))
            try await romeo.receives("<presence from='juliet@capulet.example/balcony' type='unavailable'/>")
            try await stage.staysSilent()
        }
    }

    @Test("A request is taken back: nothing of it is left (§3.3.3)")
    func takenBack() async throws {
        try await play(modules: modules) { stage in
            try await stage.account("juliet@capulet.example")
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await romeo.sends("<presence to='juliet@capulet.example' type='subscribe'/>")
            try await romeo.sends("<presence to='juliet@capulet.example' type='unsubscribe'/>")
            let juliet = try await stage.enter("juliet@capulet.example/balcony", presence: false)
            try await juliet.sends("<presence/>")
            try await juliet.receives("<presence from='juliet@capulet.example/balcony'/>")
            try await juliet.staysSilent()
            #expect(try await juliet.asks(.get, get)?.hasChildren == false)
            #expect(try await subscription(romeo, "juliet@capulet.example") == "none")
        }
    }

    @Test("Removing an item ends both subscriptions, on both sides (§2.5.2)")
    func removed() async throws {
        try await play(modules: modules) { stage in
            let (romeo, juliet) = try await enter(stage)
            try await befriend(romeo, juliet)
            try await romeo.asks(
                .set,
                "<query xmlns='jabber:iq:roster'><item jid='juliet@capulet.example' subscription='remove'/></query>")
            try await romeo.receives(push("<item jid='juliet@capulet.example' subscription='remove'/>"))
            try await romeo.receives("<presence from='juliet@capulet.example/balcony' type='unavailable'/>")
            try await juliet.receives("<presence from='romeo@montague.example' type='unsubscribe'/>")
            try await juliet.receives(push("<item jid='romeo@montague.example' subscription='to'/>"))
            try await juliet.receives("<presence from='romeo@montague.example/orchard' type='unavailable'/>")
            try await juliet.receives("<presence from='romeo@montague.example' type='unsubscribed'/>")
            try await juliet.receives(push("<item jid='romeo@montague.example' subscription='none'/>"))
            try await stage.staysSilent()
        }
    }

    @Test("One who is subscribed already is answered at once, and shown what there is (§3.1.3)")
    func alreadySubscribed() async throws {
        try await play(modules: modules) { stage in
            let (romeo, juliet) = try await enter(stage)
            try await befriend(romeo, juliet)
            stage.server.router.route(
                try #require(try Stanza.parse(Element.parse(
                    """
                    <presence from='romeo@montague.example' to='juliet@capulet.example' type='subscribe' id='x'/>
                    """))))
            try await romeo.receives("<presence from='juliet@capulet.example/balcony' to='romeo@montague.example'/>")
            try await stage.staysSilent()
        }
    }

    @Test("A request that was approved in advance is answered without the user (§3.4)")
    func preApproved() async throws {
        try await play(modules: modules) { stage in
            let (romeo, juliet) = try await enter(stage)
            try await juliet.sends("<presence to='romeo@montague.example' type='subscribed'/>")
            try await juliet.receives(
                push("<item jid='romeo@montague.example' subscription='none' approved='true'/>"))
            try await stage.staysSilent()
            try await romeo.sends("<presence id='s' to='juliet@capulet.example' type='subscribe'/>")
            let item = try await juliet.receives(push("<item jid='romeo@montague.example' subscription='from'/>"))
            #expect(item.firstChild?.firstChild?["approved"] == nil)
            try await romeo.receives(push("<item jid='juliet@capulet.example' ask='subscribe'/>"))
            try await romeo.receives("<presence from='juliet@capulet.example' id='s' type='subscribed'/>")
            try await romeo.receives(push("<item jid='juliet@capulet.example' subscription='to'/>"))
            try await romeo.receives("<presence from='juliet@capulet.example/balcony'/>")
            try await stage.staysSilent()
        }
    }

    @Test("An approval in advance can be taken back, and nobody hears of it (§3.2.2, §3.4)")
    func preApprovalTakenBack() async throws {
        try await play(modules: modules) { stage in
            let (romeo, juliet) = try await enter(stage)
            try await juliet.sends("<presence to='romeo@montague.example' type='subscribed'/>")
            try await juliet.receives(push("<item jid='romeo@montague.example' approved='true'/>"))
            // A probe is answered with "unsubscribed", and that does not cancel it (§4.3.2).
            try await romeo.sends("<presence to='juliet@capulet.example' type='probe'/>")
            await stage.settle()
            _ = await romeo.everything()
            try await juliet.sends("<presence to='romeo@montague.example' type='unsubscribed'/>")
            let item = try await juliet.receives(push("<item jid='romeo@montague.example' subscription='none'/>"))
            #expect(item.firstChild?.firstChild?["approved"] == nil)
            try await stage.staysSilent()
        }
    }

    @Test("Nobody subscribes to themselves, and subscriptions have an address")
    func nonsense() async throws {
        try await play(modules: modules) { stage in
            let (romeo, _) = try await enter(stage)
            for kind in ["subscribe", "subscribed", "unsubscribe", "unsubscribed"] {
                try await romeo.sends("<presence to='romeo@montague.example' type='\(kind)'/>")
                try await romeo.sends("<presence to='romeo@montague.example/orchard' type='\(kind)'/>")
                try await stage.staysSilent()
                try await romeo.sends("<presence type='\(kind)' id='\(kind)'/>")
                try await romeo.receives("<presence type='error' id='\(kind)'/>")
            }
            try await romeo.sends("<presence type='subscribed-ish' to='juliet@capulet.example' id='x'/>")
            try await romeo.receives("<presence type='error' id='x'><error type='modify'/></presence>")
            try await romeo.sends("<presence type='available' id='y'/>")
            try await romeo.receives("<presence type='error' id='y'/>")
            try await stage.staysSilent()
            #expect(try await romeo.asks(.get, get)?.hasChildren == false)
        }
    }

    @Test("Answers that nobody waits for change nothing (§3.1.6, §3.2.3, §3.3.3)", arguments: [
        "subscribed", "unsubscribed", "unsubscribe",
    ])
    func unasked(kind: String) async throws {
        try await play(modules: modules) { stage in
            let (_, juliet) = try await enter(stage)
            for to in ["juliet@capulet.example", "juliet@capulet.example/balcony", "juliet@capulet.example/none"] {
                stage.server.router.route(
                    try #require(try Stanza.parse(Element.parse(
                        "<presence from='x@elsewhere.example/y' to='\(to)' type='\(kind)'/>"))))
            }
            #expect(try await juliet.asks(.get, get)?.hasChildren == false)
            try await stage.staysSilent()
        }
    }

    @Test("A storm of requests is kept up to the limit, one of each sender, large ones without their content")
    func storm() async throws {
        let config = "modules: { roster: { max_requests: 5, max_request_size: 300 }, presence: on }"
        try await play(modules: modules, config: config) { stage in
            try await stage.account("juliet@capulet.example")
            _ = await stage.server.host("capulet.example")?.accounts.account("juliet")
            let text = String(repeating: "x", count: 400)
            for number in 0..<1_000 {
                stage.server.router.route(
                    try #require(try Stanza.parse(Element.parse(
                        """
                        <presence from='bot\(number / 2)@elsewhere.example' to='juliet@capulet.example'
                          type='subscribe'><status>\(text)</status></presence>
                        """))))
            }
            let juliet = try await stage.enter("juliet@capulet.example/balcony", presence: false)
            try await juliet.sends("<presence/>")
            let requests = await juliet.everything().filter { $0["type"] == "subscribe" }
            #expect(requests.count == 5)
            #expect(Set(requests.compactMap { $0["from"] }).count == 5)
            #expect(requests.allSatisfy { !$0.hasChildren })
        }
    }

    @Test("A request to nobody is met with silence, and asked again at the next login (§3.1.2, §8.5.1)")
    func nobody() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await romeo.sends("<presence to='juliet@capulet.example' type='subscribe'/>")
            try await stage.staysSilent()
            await romeo.leaves()
            // She has an account now, and the request comes again.
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            _ = try await stage.enter("romeo@montague.example/orchard")
            try await juliet.receives("<presence from='romeo@montague.example' type='subscribe'/>")
            try await juliet.staysSilent()
        }
    }

    @Test("The errors of the server's own repeated requests bother nobody")
    func repeatedRequestFails() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await romeo.sends("<presence to='juliet@elsewhere.example' type='subscribe' id='1'/>")
            try await romeo.receives("<presence type='error' id='1' to='romeo@montague.example'/>")
            await romeo.leaves()
            let again = try await stage.enter("romeo@montague.example/orchard", presence: false)
            try await again.sends("<presence/>")
            try await again.receives("<presence from='romeo@montague.example/orchard'/>")
            try await again.staysSilent()
        }
    }

    @Test("When an account is removed, its contacts are left without subscriptions")
    func accountRemoved() async throws {
        try await play(modules: modules) { stage in
            let (romeo, juliet) = try await enter(stage)
            let nurse = try await stage.enter("nurse@capulet.example/kitchen")
            try await nurse.asks(.get, get)
            try await befriend(romeo, juliet)
            try await nurse.sends("<presence to='romeo@montague.example' type='subscribe'/>")
            _ = await nurse.everything()
            let host = try #require(stage.server.host("montague.example"))
            try await host.accounts.remove("romeo")
            try await juliet.receivesAnywhere("<presence from='romeo@montague.example/orchard' type='unavailable'/>")
            try await juliet.receivesAnywhere("<presence from='romeo@montague.example' type='unsubscribe'/>")
            try await juliet.receivesAnywhere("<presence from='romeo@montague.example' type='unsubscribed'/>")
            _ = await juliet.everything()
            #expect(try await subscription(juliet, "romeo@montague.example") == "none")
            // A request that waited is denied.
            try await nurse.receivesAnywhere("<presence from='romeo@montague.example' type='unsubscribed'/>")
            // A namesake starts with nothing.
            let namesake = try await stage.enter("romeo@montague.example/orchard")
            #expect(try await namesake.asks(.get, get)?.hasChildren == false)
        }
    }

    @Test("Other modules learn who may know")
    func services() async throws {
        try await play(modules: modules) { stage in
            let (romeo, juliet) = try await enter(stage)
            let (a, b) = (try #require(romeo.resource?.account), try #require(juliet.resource?.account))
            #expect(a.isVisible(to: a.jid) && !a.isVisible(to: b.jid) && !b.isVisible(to: a.jid))
            try await romeo.sends("<presence to='juliet@capulet.example' type='subscribe'/>")
            try await juliet.sends("<presence to='romeo@montague.example' type='subscribed'/>")
            await stage.settle()
            #expect(b.isVisible(to: a.jid) && !a.isVisible(to: b.jid))
            let contacts = try #require(a.host.service((any ContactList).self))
            #expect(contacts.contact(b.jid, of: a)?.subscription == .to)
            #expect(contacts.contains(b.jid, account: a))
            #expect(contacts.contacts(of: a).map(\.jid) == [b.jid])
            #expect(contacts.subscriptions(of: a) == [b.jid] && contacts.subscribers(of: a).isEmpty)
        }
    }
}
