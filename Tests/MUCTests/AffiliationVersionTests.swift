import ServerKit
import TestKit
import Testing

@testable import MUC

@Suite("Affiliation versioning (XEP-0463)") struct AffiliationVersionTests {
    private static let namespace = "urn:xmpp:muc:affiliations:1"

    /// Enters and asks for what is new; what it gets.
    @ServerActor
    private static func enter(_ actor: Actor, as nick: String, since: String? = nil) async throws -> [Element] {
        await actor.forgets()
        let attribute = since.map { " since='\($0)'" } ?? ""
        return try await actor.enters(as: nick, "<mav xmlns='\(namespace)'\(attribute)/>")
    }

    /// The lists in messages, up to the first presence.
    private static func lists(_ received: [Element]) -> [Element] {
        Array(received.prefix { $0.name == "message" && $0.mav != nil })
    }

    private static func version(_ received: [Element]) -> String? {
        received.first { $0.hasStatus(110) }?.mav?["until"]
    }

    private static func items(_ message: Element) -> [String: String] {
        var items: [String: String] = [:]
        for item in message.child("x", .mucUser)?.children("item") ?? [] {
            items[item["jid"] ?? ""] = item["affiliation"]
        }
        return items
    }

    /// A room for members, who know each other.
    @ServerActor
    private static func makeRoom(_ stage: Stage) async throws -> Actor {
        let owner = try await stage.enter("louise@capulet.example/desktop")
        try await owner.makesRoom(as: "louise")
        try stage.settings {
            $0.isMembersOnly = true
            $0.whois = .anyone
            $0.isPersistent = true
        }
        try await owner.administers(
            "<item jid='rosa@montague.example' affiliation='member'/><item jid='peter@x.example' affiliation='admin'/>",
            "<item jid='mallory@x.example' affiliation='outcast'/>")
        await owner.forgets()
        return owner
    }

    @Test("Who asks for the first time gets all lists it may read, before anything else (§5.1, §5.2.1)")
    func bootstrap() async throws {
        try await playRooms { stage in
            let owner = try await Self.makeRoom(stage)
            let rosa = try await stage.enter("rosa@montague.example/toaster")
            let received = try await Self.enter(rosa, as: "rosa")
            let lists = Self.lists(received)
            #expect(lists.count == 1 && lists[0].mav?["since"] == nil)
            #expect(lists[0]["from"] == coven && lists[0]["type"] == nil)
            #expect(
                Self.items(lists[0]) == [
                    "louise@capulet.example": "owner", "peter@x.example": "admin", "rosa@montague.example": "member",
                ])
            #expect(lists[0].mav?["until"] == Self.version(received))
            // An admin sees who is banned, too, so that its versions are others.
            let own = try await Self.enter(owner, as: "louise")
            #expect(Self.items(Self.lists(own)[0])["mallory@x.example"] == "outcast")
            #expect(Self.version(own) != Self.version(received))
            // Nobody else hears of it.
            let peter = try await stage.enter("other@capulet.example/x")
            try await owner.administers("<item jid='other@capulet.example' affiliation='member'/>")
            await peter.forgets()
            let plain = try await peter.enters(as: "other")
            #expect(plain.allSatisfy { $0.mav == nil && $0.name != "message" || $0.child("subject") != nil })
        }
    }

    @Test("Who comes again gets what has changed, or nothing (§5.2.1)")
    func difference() async throws {
        try await playRooms { stage in
            let owner = try await Self.makeRoom(stage)
            let rosa = try await stage.enter("rosa@montague.example/toaster")
            let version = try #require(Self.version(try await Self.enter(rosa, as: "rosa")))
            try await rosa.sends("<presence to='\(coven)/rosa' type='unavailable'/>")
            await rosa.forgets()
            let same = try await Self.enter(rosa, as: "rosa", since: version)
            #expect(Self.lists(same).isEmpty && Self.version(same) == version)
            try await rosa.sends("<presence to='\(coven)/rosa' type='unavailable'/>")
            await rosa.forgets()
            // What is banned is none of its business.
            try await owner.administers("<item jid='eve@x.example' affiliation='outcast'/>")
            let unseen = try await Self.enter(rosa, as: "rosa", since: version)
            #expect(Self.lists(unseen).isEmpty && Self.version(unseen) == version)
            try await rosa.sends("<presence to='\(coven)/rosa' type='unavailable'/>")
            await rosa.forgets()
            try await owner.administers("<item jid='vladimir@x.example' affiliation='member'/>")
            try await owner.administers("<item jid='peter@x.example' affiliation='outcast'/>")
            try await owner.administers("<item jid='vladimir@x.example' affiliation='none'/>")
            let changed = try await Self.enter(rosa, as: "rosa", since: version)
            let lists = Self.lists(changed)
            #expect(lists.count == 1 && lists[0].mav?["since"] == version)
            #expect(lists[0].mav?["until"] == Self.version(changed) && Self.version(changed) != version)
            #expect(Self.items(lists[0]) == ["vladimir@x.example": "none", "peter@x.example": "none"])
        }
    }

    @Test("Each change leads from one version to the next, in presence and in messages (§5.2.2)")
    func changes() async throws {
        try await playRooms { stage in
            let owner = try await Self.makeRoom(stage)
            let rosa = try await stage.enter("rosa@montague.example/toaster")
            let plain = try await stage.enter("vladimir@capulet.example/web")
            try await owner.administers("<item jid='vladimir@capulet.example' affiliation='member'/>")
            try await plain.enters(as: "vladimir")
            var version = try #require(Self.version(try await Self.enter(rosa, as: "rosa")))
            await owner.forgets()
            await plain.forgets()
            // Absent, present, itself, unseen, several at once, removed.
            for (items, count) in [
                ("<item jid='a@x.example' affiliation='member'/>", 1),
                ("<item jid='vladimir@capulet.example' affiliation='admin'/>", 1),
                ("<item jid='rosa@montague.example' affiliation='member' nick='rosa'/>", 0),
                ("<item jid='b@x.example' affiliation='outcast'/>", 0),
                ("<item jid='c@x.example' affiliation='member'/><item jid='d@x.example' affiliation='owner'/>", 2),
                ("<item jid='vladimir@capulet.example' affiliation='none'/>", 1),
            ] {
                try await owner.administers(items)
                let told = await rosa.everything().filter { $0.mav != nil }
                #expect(told.count == count, "\(items)")
                for stanza in told {
                    #expect(stanza.mav?["since"] == version, "\(items)")
                    version = try #require(stanza.mav?["until"])
                }
                #expect(await plain.everything().allSatisfy { $0.mav == nil })
            }
            // That is what it would be told if it came now.
            try await rosa.sends("<presence to='\(coven)/rosa' type='unavailable'/>")
            await rosa.forgets()
            let again = try await Self.enter(rosa, as: "rosa", since: version)
            #expect(Self.lists(again).isEmpty && Self.version(again) == version)
        }
    }

    @Test("Versions outlive a restart, for those who are elsewhere and those who are in the room")
    func restart() async throws {
        try await playRooms { stage in
            _ = try await Self.makeRoom(stage)
            let rosa = try await stage.enter("rosa@montague.example/toaster")
            let version = try #require(Self.version(try await Self.enter(rosa, as: "rosa")))
            try await stage.restart()
            let owner = try await stage.enter("louise@capulet.example/desktop")
            try await owner.administers("<item jid='a@x.example' affiliation='member'/>")
            #expect(try stage.room().session(JID("rosa@montague.example/toaster")!)?.knowsVersions ?? true)
            let again = try await stage.enter("rosa@montague.example/phone")
            let lists = Self.lists(try await Self.enter(again, as: "rosa", since: version))
            #expect(lists.count == 1 && Self.items(lists[0]) == ["a@x.example": "member"])
        }
    }

    @Test("What is forgotten, invented, or another's version leads to all lists (§5.2.1)")
    func unknown() async throws {
        try await playRooms("affiliation_versions: 3") { stage in
            let owner = try await Self.makeRoom(stage)
            let rosa = try await stage.enter("rosa@montague.example/toaster")
            let old = try #require(Self.version(try await Self.enter(rosa, as: "rosa")))
            let others = try #require(Self.version(try await Self.enter(owner, as: "louise")))
            for number in 1...4 {
                try await owner.administers("<item jid='m\(number)@x.example' affiliation='member'/>")
            }
            let long = String(repeating: "9", count: 10_000)
            for since in [old, others, "", "0", "-", "1", "5-abcdef", "\(long)-1", "-1-x", "9pacabr2q1", "&lt;x&gt;"] {
                try await rosa.sends("<presence to='\(coven)/rosa' type='unavailable'/>")
                await rosa.forgets()
                let received = try await Self.enter(rosa, as: "rosa", since: since)
                let lists = Self.lists(received)
                #expect(lists.count == 1 && lists[0].mav?["since"] == nil, "\(since)")
                #expect(Self.items(lists[0]).count == 7)
                #expect(lists[0].mav?["until"] == Self.version(received))
            }
            #expect(try stage.room().versions.changes.count == 3)
        }
    }

    @Test("A long list comes in parts whose versions join (§5.2.1)")
    func parts() async throws {
        try await playRooms("max_list_changes: 2000") { stage in
            let owner = try await Self.makeRoom(stage)
            try await owner.administers(
                (0..<1_200).map { "<item jid='u\($0)@x.example' affiliation='member'/>" }.joined())
            await owner.forgets()
            let rosa = try await stage.enter("rosa@montague.example/toaster")
            let received = try await Self.enter(rosa, as: "rosa")
            let lists = Self.lists(received)
            #expect(lists.count == 3 && lists[0].mav?["since"] == nil)
            #expect(
                lists[1].mav?["since"] == lists[0].mav?["until"] && lists[2].mav?["since"] == lists[1].mav?["until"])
            #expect(lists[2].mav?["until"] == Self.version(received))
            #expect(lists.reduce(0) { $0 + Self.items($1).count } == 1_203)
            // Who was interrupted begins anew.
            let part = lists[0].mav?["until"]
            try await rosa.sends("<presence to='\(coven)/rosa' type='unavailable'/>")
            await rosa.forgets()
            #expect(Self.lists(try await Self.enter(rosa, as: "rosa", since: part)).count == 3)
        }
    }

    @Test("Who may not read the lists is told so, and enters (§5.2.3)")
    func forbidden() async throws {
        try await playRooms { stage in
            let owner = try await Self.makeRoom(stage)
            try stage.settings { $0.whois = .moderators }
            let rosa = try await stage.enter("rosa@montague.example/toaster")
            let received = try await Self.enter(rosa, as: "rosa")
            #expect(received[0].name == "message" && received[0]["type"] == "error")
            let error = try #require(received[0].child("error"))
            #expect(error["type"] == "auth" && error["by"] == coven && error.has("forbidden", .stanzaErrors))
            #expect(Self.version(received) == nil)
            try await owner.administers("<item jid='rosa@montague.example' affiliation='admin'/>")
            #expect(await rosa.everything().allSatisfy { $0.mav == nil })
        }
    }

    @Test("Nobody learns of the time before it was let in (§6)")
    func past() async throws {
        try await playRooms { stage in
            let owner = try await Self.makeRoom(stage)
            let rosa = try await stage.enter("rosa@montague.example/toaster")
            let version = try #require(Self.version(try await Self.enter(rosa, as: "rosa")))
            // Somebody who was no member at that version got it from somebody.
            let late = try await stage.enter("late@capulet.example/x")
            try await owner.administers("<item jid='late@capulet.example' affiliation='member'/>")
            await late.forgets()
            let received = try await Self.enter(late, as: "late", since: version)
            #expect(received[0]["type"] == "error" && Self.version(received) == nil)
            try await late.sends("<presence to='\(coven)/late' type='unavailable'/>")
            await late.forgets()
            #expect(Self.lists(try await Self.enter(late, as: "late")).count == 1)
        }
    }

    @Test("The log: versions by list, and what is forgotten")
    func log() {
        var log = AffiliationLog()
        let (a, b) = (JID("a@x.example")!, JID("b@x.example")!)
        #expect(log.version(of: .all) == 0 && log.changes(after: 0, in: .all)?.isEmpty == true)
        let first = log.append(a, from: .none, to: .outcast, limit: 2)
        #expect(first.versions(of: .members) == nil)
        #expect(first.versions(of: .all).map { [$0.since, $0.until] } == [0, 1])
        #expect(log.version(of: .members) == 0 && log.version(of: .all) == 1)
        let second = log.append(a, from: .outcast, to: .member, limit: 2)
        #expect(second.versions(of: .members).map { [$0.since, $0.until] } == [0, 2])
        #expect(second.versions(of: .all).map { [$0.since, $0.until] } == [1, 2])
        _ = log.append(b, from: .member, to: .owner, limit: 2)
        #expect(log.forgotten == 1 && log.changes(after: 0, in: .all) == nil)
        #expect(log.changes(after: 1, in: .members)?.map(\.number) == [2, 3])
        #expect(log.changes(after: 2, in: [.members, .outcasts])?.map(\.number) == [3])
        #expect(log.affiliation(of: a, at: 1) == .outcast && log.affiliation(of: a, at: 2) == nil)
        _ = log.append(b, from: .owner, to: .none, limit: 0)
        #expect(log.forgotten == 4 && log.changes.isEmpty)
    }
}

extension Element {
    /// XEP-0463 §5.
    fileprivate var mav: Element? { child("x", .mucUser)?.child("mav", .affiliationVersions) }
}
