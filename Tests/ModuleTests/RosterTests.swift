import ServerKit
import StorageMemory
import TestKit
import Testing

@testable import Modules

private let modules: [any Module.Type] = [Roster.self, PresenceExchange.self]
private let get = "<query xmlns='jabber:iq:roster'/>"

private func set(_ item: String) -> String { "<query xmlns='jabber:iq:roster'>\(item)</query>" }

private func push(_ item: String) -> String { "<iq type='set'>\(set(item))</iq>" }

@Suite("Roster (RFC 6121 §2)") struct RosterTests {
    @Test("An empty roster is an empty query, and has a version (§2.1.4)")
    func empty() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let query = try #require(try await romeo.asks(.get, get))
            #expect(query.is("query", .roster) && !query.hasChildren && query["ver"] != nil)
            try await stage.staysSilent()
        }
    }

    @Test("What was added is pushed to interested resources only, and returned (§2.3)")
    func added() async throws {
        try await play(modules: modules) { stage in
            let phone = try await stage.enter("romeo@montague.example/phone")
            let laptop = try await stage.enter("romeo@montague.example/laptop")
            let watch = try await stage.enter("romeo@montague.example/watch", presence: false)
            try await phone.asks(.get, get)
            try await watch.asks(.get, get)
            let item = """
                <item jid='nurse@capulet.example' name='Nurse'><group>Servants</group><group>A &amp; B</group></item>
                """
            #expect(try await phone.asks(.set, set(item)) == nil)
            let pushed = item.replacing("name=", with: "subscription='none' name=")
            let first = try await phone.receives(push(pushed))
            #expect(first["from"] == nil && first["to"] == "romeo@montague.example/phone")
            let second = try await watch.receives(push(pushed))
            #expect(first.firstChild?["ver"] == second.firstChild?["ver"])
            // Answers to pushes lead nowhere.
            try await phone.sends("<iq type='result' id='\(first["id"] ?? "")'/>")
            try await watch.sends("<iq type='error' id='\(second["id"] ?? "")'><error type='cancel'/></iq>")
            let query = try #require(try await laptop.asks(.get, get))
            #expect(query.matches(try Element.parse(set(pushed))))
            #expect(query["ver"] == first.firstChild?["ver"])
            try await stage.staysSilent()
        }
    }

    @Test("An update replaces name and groups, and keeps the subscription (§2.4)")
    func updated() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            try await romeo.asks(.get, get)
            try await romeo.sends("<presence to='juliet@elsewhere.example' type='subscribe'/>")
            try await romeo.receives(push("<item jid='juliet@elsewhere.example' ask='subscribe'/>"))
            try await romeo.receives("<presence type='error' from='juliet@elsewhere.example'/>")
            try await romeo.asks(.set, set("<item jid='juliet@elsewhere.example' name='J'><group>G</group></item>"))
            try await romeo.receives(
                push("<item jid='juliet@elsewhere.example' name='J' ask='subscribe'><group>G</group></item>"))
            // An empty name is none; ask, approved and subscription are not the client's to set.
            try await romeo.asks(
                .set,
                set("<item jid='juliet@elsewhere.example' name='' ask='x' approved='true' subscription='both'/>"))
            let item = try await romeo.receives(push("<item jid='juliet@elsewhere.example'/>")).firstChild?.firstChild
            #expect(item?["name"] == nil && item?["subscription"] == "none" && item?["ask"] == "subscribe")
            #expect(item?["approved"] == nil && item?.hasChildren == false)
        }
    }

    @Test("What was removed is pushed as such and gone; what was never there is not found (§2.5)")
    func removed() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            try await romeo.asks(.get, get)
            try await romeo.asks(.set, set("<item jid='nurse@capulet.example'/>"))
            try await romeo.receives(push("<item jid='nurse@capulet.example'/>"))
            try await romeo.asks(.set, set("<item jid='nurse@capulet.example' subscription='remove'/>"))
            try await romeo.receives(push("<item jid='nurse@capulet.example' subscription='remove'/>"))
            let error = try await romeo.isRefused(
                .set, set("<item jid='nurse@capulet.example' subscription='remove'/>"))
            #expect(error.condition == .itemNotFound)
            #expect(try await romeo.asks(.get, get)?.hasChildren == false)
            try await stage.staysSilent()
        }
    }

    @Test("Bad requests are refused and change nothing (§2.3.3)", arguments: [
        ("", StanzaError.Condition.badRequest),
        ("<item jid='a@b.example'/><item jid='c@b.example'/>", .badRequest),
        ("<item/>", .badRequest),
        ("<item jid=''/>", .jidMalformed),
        ("<item jid='@'/>", .jidMalformed),
        ("<item jid='a@b.example/resource'/>", .badRequest),
        ("<item xmlns='urn:example:other' jid='a@b.example'/>", .badRequest),
        ("<thing jid='a@b.example'/>", .badRequest),
        ("<item jid='a@b.example'><group>G</group><group>G</group></item>", .badRequest),
        ("<item jid='a@b.example'><group></group></item>", .notAcceptable),
        ("<item jid='a@b.example'><group>\(String(repeating: "x", count: 1_024))</group></item>", .notAcceptable),
        ("<item jid='a@b.example' name='\(String(repeating: "x", count: 1_024))'/>", .notAcceptable),
        (
            "<item jid='a@b.example'>\((0...50).map { "<group>\($0)</group>" }.joined())</item>", .notAcceptable
        ),
        ("<item jid='romeo@montague.example'/>", .notAllowed),
        ("<item jid='ROMEO@Montague.Example'/>", .notAllowed),
        ((0..<10_000).map { "<item jid='\($0)@b'/>" }.joined(), .badRequest),
    ])
    func refused(item: String, condition: StanzaError.Condition) async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            try await romeo.asks(.get, get)
            #expect(try await romeo.isRefused(.set, set(item)).condition == condition)
            #expect(try await romeo.asks(.get, get)?.hasChildren == false)
            try await stage.staysSilent()
        }
    }

    @Test("Nobody else reads or changes a roster (§2.1.5)")
    func strangers() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let tybalt = try await stage.enter("tybalt@capulet.example/rapier")
            try await romeo.asks(.get, get)
            let reading = try await tybalt.isRefused(.get, get, to: "romeo@montague.example")
            #expect(reading.condition == .serviceUnavailable)
            let writing = try await tybalt.isRefused(
                .set, set("<item jid='tybalt@capulet.example'/>"), to: "romeo@montague.example")
            #expect(writing.condition == .forbidden)
            // A push that somebody forges is an IQ to a full JID; clients check its sender (§2.1.6).
            try await tybalt.sends(
                "<iq type='set' id='x' to='romeo@montague.example/phone'>\(set("<item jid='a@b.example'/>"))</iq>")
            let forged = try await romeo.receives("<iq type='set' id='x'/>")
            #expect(forged["from"] == "tybalt@capulet.example/rapier")
            #expect(try await romeo.asks(.get, get, to: "romeo@montague.example")?.hasChildren == false)
            try await stage.staysSilent()
        }
    }

    @Test("A get with items is refused (§2.1.3)")
    func getWithItems() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            #expect(try await romeo.isRefused(.get, set("<item jid='a@b.example'/>")).condition == .badRequest)
        }
    }

    @Test("A full roster takes no more items, by set or by subscription; what is there can be changed")
    func full() async throws {
        let config = "modules: { roster: { max_items: 2 }, presence: on }"
        try await play(modules: modules, config: config) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            try await romeo.asks(.set, set("<item jid='a@b.example'/>"))
            try await romeo.asks(.set, set("<item jid='b@b.example'/>"))
            #expect(try await romeo.isRefused(.set, set("<item jid='c@b.example'/>")).condition == .resourceConstraint)
            try await romeo.sends("<presence to='c@capulet.example' type='subscribe' id='s'/>")
            try await romeo.receives(
                """
                <presence type='error' id='s' from='c@capulet.example'><error type='wait'>
                <resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>
                """)
            try await romeo.asks(.set, set("<item jid='a@b.example' name='A'/>"))
            try await romeo.asks(.set, set("<item jid='b@b.example' subscription='remove'/>"))
            try await romeo.asks(.set, set("<item jid='c@b.example'/>"))
        }
    }

    @Test("A large roster survives a restart, whole")
    func restart() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            for number in 0..<300 {
                try await romeo.asks(
                    .set, set("<item jid='c\(number)@b.example' name='N&apos;\(number)'><group>G</group></item>"))
            }
            let before = try #require(try await romeo.asks(.get, get))
            try await stage.restart()
            let again = try await stage.enter("romeo@montague.example/phone")
            let after = try #require(try await again.asks(.get, get))
            #expect(after["ver"] == before["ver"])
            #expect(Set(after.children.map(\.xml)) == Set(before.children.map(\.xml)))
            #expect(after.children.count == 300)
        }
    }

    @Test("Switched off and on again, the module finds what it left")
    func reload() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            try await romeo.asks(.set, set("<item jid='nurse@capulet.example'/>"))
            try stage.reload("modules: { roster: off, presence: on }")
            #expect(try await romeo.isRefused(.get, get).condition == .serviceUnavailable)
            try stage.reload("modules: { roster: on, presence: on }")
            await stage.settle()
            #expect(try await romeo.asks(.get, get)?.children.count == 1)
        }
    }
}

@Suite("Roster versioning (RFC 6121 §2.6)") struct RosterVersioningTests {
    private func versioned(_ version: String) -> String { "<query xmlns='jabber:iq:roster' ver='\(version)'/>" }

    @Test("The stream features are there once the client has authenticated")
    func features() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.connect(to: "montague.example")
            let header = "<stream:stream to='montague.example' version='1.0' xmlns='jabber:client'"
                + " xmlns:stream='http://etherx.jabber.org/streams'>"
            try await romeo.sends(header)
            let before = try await romeo.receives("<stream:features/>")
            #expect(!before.has("ver", .rosterVersioning) && !before.has("sub", .preApproval))
            try await stage.account("romeo@montague.example")
            romeo.stream?.authenticate("romeo")
            romeo.restart()
            try await romeo.sends(header)
            try await romeo.receives(
                """
                <stream:features><ver xmlns='urn:xmpp:features:rosterver'/>
                <sub xmlns='urn:xmpp:features:pre-approval'/></stream:features>
                """)
        }
    }

    @Test("Nothing has changed: the result is empty, also after a restart")
    func unchanged() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            try await romeo.asks(.set, set("<item jid='nurse@capulet.example'/>"))
            let version = try #require(try await romeo.asks(.get, versioned(""))?["ver"])
            #expect(try await romeo.asks(.get, versioned(version)) == nil)
            try await stage.restart()
            let again = try await stage.enter("romeo@montague.example/phone")
            #expect(try await again.asks(.get, versioned(version)) == nil)
            try await stage.staysSilent()
        }
    }

    @Test("What changed meanwhile is pushed once an item, after an empty result, in order, each with its version")
    func interim() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            for name in ["a", "b", "c", "d"] { try await romeo.asks(.set, set("<item jid='\(name)@b.example'/>")) }
            let version = try #require(try await romeo.asks(.get, versioned(""))?["ver"])
            let laptop = try await stage.enter("romeo@montague.example/laptop")
            try await laptop.asks(.set, set("<item jid='a@b.example' name='1'/>"))
            try await laptop.asks(.set, set("<item jid='b@b.example' subscription='remove'/>"))
            try await laptop.asks(.set, set("<item jid='a@b.example' name='2'/>"))
            let live = await romeo.everything()
            let last = try #require(live.last?.firstChild?["ver"])
            #expect(live.count == 3 && Set(live.compactMap { $0.firstChild?["ver"] }).count == 3)
            try await laptop.sends("<iq type='get' id='g'>\(versioned(version))</iq>")
            try await laptop.receives("<iq type='result' id='g'/>", exactly: false)
            try await laptop.receives(push("<item jid='b@b.example' subscription='remove'/>"))
            let end = try await laptop.receives(push("<item jid='a@b.example' name='2'/>"))
            #expect(end.firstChild?["ver"] == last)
            try await stage.staysSilent()
        }
    }

    @Test("The whole roster comes for versions that are unknown, too old, or cheaper so", arguments: [
        "", "1", "99-00000000", "x-y", "0",
    ])
    func unknown(version: String) async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            // Two changes, one item: even from the beginning on, the roster itself is shorter.
            try await romeo.asks(.set, set("<item jid='b@b.example'/>"))
            try await romeo.asks(.set, set("<item jid='a@b.example'/>"))
            try await romeo.asks(.set, set("<item jid='b@b.example' subscription='remove'/>"))
            #expect(try await romeo.asks(.get, versioned(version))?.children.count == 1)
            try await stage.staysSilent()
        }
    }

    @Test("The history forgets what is old, and knows that it did")
    func capacity() throws {
        var history = RosterHistory()
        let start = history.version
        var versions: [String] = []
        for number in 0..<RosterHistory.capacity + 10 {
            versions.append(history.record(try #require(JID("c\(number)@b.example"))).version)
        }
        #expect(history.changes.count == RosterHistory.capacity)
        #expect(Set(versions).count == versions.count)
        #expect(history.changes(since: start) == nil)
        #expect(history.changes(since: versions[9]) == nil)
        #expect(history.changes(since: versions[10])?.count == RosterHistory.capacity - 1)
        #expect(history.changes(since: history.version)?.isEmpty == true)
    }

    @Test("A push never overtakes a result that waits for the disk")
    func order() async throws {
        let driver = MemoryStorageDriver()
        try await play(modules: modules, driver: driver) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let laptop = try await stage.enter("romeo@montague.example/laptop")
            driver.hold()
            try await romeo.sends("<iq type='set' id='1'>\(set("<item jid='a@b.example'/>"))</iq>")
            try await romeo.sends("<iq type='get' id='2'>\(get)</iq>")
            try await laptop.sends("<iq type='set' id='3'>\(set("<item jid='b@b.example'/>"))</iq>")
            #expect(romeo.resource?.isInterested == false)
            driver.release()
            try await romeo.receives("<iq type='result' id='1'/>")
            try await romeo.receives("<iq type='result' id='2'>\(set("<item jid='a@b.example'/>"))</iq>")
            try await romeo.receives(push("<item jid='b@b.example'/>"))
            try await romeo.staysSilent()
        }
    }
}
