import PubSub
import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("Bookmarks in all their forms (XEP-0402, XEP-0411)") struct BookmarksTests {
    private static let modules: [any Module.Type] = [
        Disco.self, Caps.self, Roster.self, PresenceExchange.self, Messages.self, Private.self, PubSub.self,
        Bookmarks.self,
    ]
    private static let romeo = "romeo@montague.example"
    private static let items = "urn:xmpp:bookmarks:1"
    private static let list = "storage:bookmarks"
    private static let play = "theplay@conference.shakespeare.lit"
    private static let orchard = "orchard@conference.shakespeare.lit"

    private static func perform(
        _ config: String = "", _ body: @escaping @ServerActor @Sendable (Stage, TestKit.Actor) async throws -> Void
    ) async throws {
        try await TestKit.play(modules: modules, config: config) { stage in
            try await body(stage, try await stage.enter(romeo + "/phone"))
        }
    }

    private static func conference(_ content: String = "", _ attributes: String = "") -> String {
        "<conference xmlns='urn:xmpp:bookmarks:1' \(attributes)>\(content)</conference>"
    }

    private static func storage(_ content: String) -> String {
        "<storage xmlns='storage:bookmarks'>\(content)</storage>"
    }

    private static func privately(_ content: String) -> String { "<query xmlns='jabber:iq:private'>\(content)</query>" }

    /// The list in private storage.
    @ServerActor
    private static func privateList(_ actor: TestKit.Actor) async throws -> [Element] {
        let answer = try await actor.asks(.get, privately(storage("")))
        return answer?.firstChild?.children ?? []
    }

    /// The list in PEP.
    @ServerActor
    private static func eventingList(_ actor: TestKit.Actor, _ stage: Stage) async throws -> [Element] {
        await stage.settle()
        let items = try await actor.itemsAt(list)
        #expect(items.count <= 1)
        return items.first?.firstChild?.children ?? []
    }

    @Test("The account says that all forms are the same (XEP-0402 §6, XEP-0411 §2)")
    func features() async throws {
        try await Self.perform { stage, romeo in
            let info = try #require(try await romeo.asks(.get, DiscoTests.info, to: Self.romeo))
            let features = try DiscoInfo(info).features
            for feature: Namespace in [
                "urn:xmpp:bookmarks:1#compat", "urn:xmpp:bookmarks:1#compat-pep", "urn:xmpp:bookmarks-conversion:0",
            ] {
                #expect(features.contains(feature))
            }
        }
    }

    @Test("What new clients publish and retract is in both lists (XEP-0402 §5.3.1)")
    func fromItems() async throws {
        try await Self.perform { stage, romeo in
            let conference = Self.conference(
                "<nick>JC</nick><password>s</password><extensions><x xmlns='urn:y'/></extensions>",
                "name='The Play&apos;s the Thing' autojoin='1'")
            try await romeo.publishes(conference, id: Self.play, at: Self.items)
            try await romeo.publishes(Self.conference(), id: Self.orchard, at: Self.items)
            try await romeo.publishes(Self.conference(), id: "@@nonsense", at: Self.items)
            try await romeo.publishes(Self.conference(), id: "room@conference.example/nick", at: Self.items)
            for list in [
                try await Self.privateList(romeo), try await Self.eventingList(romeo, stage),
            ] {
                #expect(list.count == 2)
                let play = try #require(list.first { $0["jid"] == Self.play })
                let expected = """
                    <conference xmlns='storage:bookmarks' jid='\(Self.play)' name='The Play&apos;s the Thing'
                    autojoin='true'><nick>JC</nick><password>s</password></conference>
                    """
                #expect(try play.isExactly(expected))
                #expect(list.contains { $0["jid"] == Self.orchard && $0["autojoin"] == "false" })
            }
            try await romeo.retractsItem(Self.play, at: Self.items)
            #expect(try await Self.privateList(romeo).map { $0["jid"] } == [Self.orchard])
            #expect(try await Self.eventingList(romeo, stage).map { $0["jid"] } == [Self.orchard])
            try await romeo.owns("delete", Self.items)
            #expect(try await Self.privateList(romeo).isEmpty)
            #expect(try await Self.eventingList(romeo, stage).isEmpty)
        }
    }

    @Test("What old clients store privately changes the items, and the list (XEP-0402 §5.3.2, XEP-0411 §3)")
    func fromPrivateStorage() async throws {
        try await Self.perform { stage, romeo in
            let caps = try ClientCaps([
                "http://jabber.org/protocol/disco#info", "storage:bookmarks+notify", "urn:xmpp:bookmarks:1+notify",
            ])
            let laptop = try await stage.enter(Self.romeo + "/laptop", able: caps)
            let extensions = "<extensions><state xmlns='urn:my' minimized='true'/></extensions>"
            try await romeo.publishes(
                Self.conference("<nick>JC</nick>" + extensions, "name='Play'"), id: Self.play, at: Self.items)
            try await romeo.publishes(Self.conference(), id: "old@conference.example", at: Self.items)
            await stage.settle()
            _ = await laptop.everything()
            let new = """
                <conference jid='\(Self.play)' name='The Play' autojoin='1'><nick>JC</nick></conference>
                <conference jid='\(Self.orchard)'/>
                <conference jid='Orchard@conference.shakespeare.lit'/><conference/><conference jid='@'/>
                <url name='Works' url='http://shakespeare.lit/'/>
                """
            try await romeo.asks(.set, Self.privately(Self.storage(new)))
            let items = try await romeo.itemsAt(Self.items)
            #expect(Set(items.map { $0["id"] }) == [Self.play, Self.orchard])
            let play = try #require(items.first { $0["id"] == Self.play }?.firstChild)
            let expected = "<nick>JC</nick>" + extensions
            let wanted = Self.conference(expected, "name='The Play' autojoin='true'")
            #expect(try play.isExactly(wanted))
            // Clients of both kinds are told, each once, and not of what stayed as it was.
            let told = await laptop.everything().compactMap { $0.firstChild?.firstChild }
            #expect(told.filter { $0["node"] == Self.list }.count == 1)
            #expect(told.filter { $0["node"] == Self.items && $0.has("retract") }.count == 1)
            #expect(told.filter { $0["node"] == Self.items && $0.has("item") }.count == 2)
            let stored = try await Self.privateList(romeo)
            #expect(stored.count == 3 && stored.contains { $0.name == "url" })
            // Nothing changes when it is stored again.
            try await romeo.asks(.set, Self.privately(Self.storage(new)))
            #expect(await laptop.everything().isEmpty)
            try await romeo.asks(.set, Self.privately(Self.storage("")))
            #expect(try await romeo.itemsAt(Self.items).isEmpty)
            #expect(try await Self.privateList(romeo).isEmpty)
        }
    }

    @Test("What old clients publish as a list in PEP changes the items (XEP-0402 §5.3.2)")
    func fromList() async throws {
        try await Self.perform { stage, romeo in
            try await romeo.publishes(Self.conference(), id: Self.play, at: Self.items)
            await stage.settle()
            let list = Self.storage("<conference jid='\(Self.orchard)' autojoin='true'><nick>R</nick></conference>")
            try await romeo.publishes(list, id: "current", at: Self.list)
            await stage.settle()
            #expect(try await romeo.itemsAt(Self.items).map { $0["id"] } == [Self.orchard])
            #expect(try await Self.privateList(romeo).map { $0["jid"] } == [Self.orchard])
            // Who needs the list no longer may delete it.
            try await romeo.owns("delete", Self.list)
            await stage.settle()
            #expect(try await romeo.itemsAt(Self.items).count == 1)
            try await romeo.publishes(Self.conference(), id: Self.play, at: Self.items)
            #expect(try await Self.eventingList(romeo, stage).count == 2)
        }
    }

    @Test("Nobody else may read what this module makes, whatever the nodes were like (XEP-0411 §5)")
    func access() async throws {
        try await Self.perform { stage, romeo in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await makeFriends(romeo, juliet)
            try await romeo.publishes(
                Self.storage(""), id: "current", at: Self.list, options: ["access_model": "open"])
            try await romeo.asks(.set, Self.privately(Self.storage("<conference jid='\(Self.play)'/>")))
            await stage.settle()
            #expect(try await romeo.itemsAt(Self.items).count == 1)
            for node in [Self.items, Self.list] {
                #expect(try await juliet.itemsAt(node, of: Self.romeo).isEmpty)
            }
            let account = try stage.loadedAccount(Self.romeo)
            let eventing = try #require(account.host.service((any PersonalEventing).self))
            let options = eventing.options(of: Self.items, account: account)
            #expect(options?.accessModel == .whitelist && options?.maxItems == .max)
            #expect(options?.persistsItems == true && options?.sendLastItem == .never)
        }
    }

    @Test("Bookmarks from before there were items become items, before the first client looks (XEP-0411 §4)")
    func migration() async throws {
        try await Self.perform { stage, romeo in
            let without = Self.modules.dropLast().map { "  \($0.info.name): on\n" }.joined()
            try stage.reload("modules:\n\(without)  bookmarks: off\n")
            try await romeo.asks(
                .set, Self.privately(Self.storage("<conference jid='\(Self.play)'/><url url='http://a/'/>")))
            try stage.reload("modules:\n\(without)  bookmarks: on\n")
            try await stage.restart()
            let again = try await stage.enter(Self.romeo + "/phone")
            #expect(try await again.itemsAt(Self.items).map { $0["id"] } == [Self.play])
            #expect(try await Self.privateList(again).map(\.name) == ["conference", "url"])
            // What is removed does not come back.
            try await again.retractsItem(Self.play, at: Self.items)
            try await stage.restart()
            let last = try await stage.enter(Self.romeo + "/phone")
            #expect(try await last.itemsAt(Self.items).isEmpty)
            #expect(try await Self.privateList(last).map(\.name) == ["url"])
        }
    }

    @Test("Lists that are too long are refused, and nothing changes")
    func manyRooms() async throws {
        let modules = Self.modules.dropLast().map { "  \($0.info.name): on\n" }.joined()
        try await Self.perform("modules:\n\(modules)  bookmarks: { max_rooms: 50 }\n") { stage, romeo in
            try await romeo.publishes(Self.conference(), id: Self.play, at: Self.items)
            await stage.settle()
            let rooms = (0..<51).map { "<conference jid='room\($0)@conference.example'/>" }.joined()
            let error = try await romeo.isRefused(.set, Self.privately(Self.storage(rooms)))
            #expect(error.condition == .policyViolation)
            let other = try await romeo.cannotPublish(Self.storage(rooms), id: "current", at: Self.list)
            #expect(other.condition == .policyViolation)
            #expect(try await romeo.itemsAt(Self.items).count == 1)
            #expect(try await Self.privateList(romeo).count == 1)
            let fewer = (0..<50).map { "<conference jid='room\($0)@conference.example'/>" }.joined()
            try await romeo.asks(.set, Self.privately(Self.storage(fewer)))
            #expect(try await Self.privateList(romeo).count == 50)
            #expect(try await Self.eventingList(romeo, stage).count == 50)
        }
    }

    @Test("A thousand rooms in one list become a thousand items, and two lists again")
    func thousandRooms() async throws {
        try await Self.perform { stage, romeo in
            let rooms = (0..<900).map { "<conference jid='room\($0)@conference.example' autojoin='1'/>" }.joined()
            try await romeo.asks(.set, Self.privately(Self.storage(rooms)))
            await stage.settle()
            #expect(try await Self.privateList(romeo).count == 900)
            #expect(try await Self.eventingList(romeo, stage).count == 900)
            let most = (0..<1_000).map { "<conference jid='room\($0)@conference.example'/>" }.joined()
            try await romeo.publishes(Self.storage(most), id: "current", at: Self.list)
            await stage.settle()
            #expect(try await Self.privateList(romeo).count == 1_000)
            try await romeo.publishes(Self.storage(""), id: "current", at: Self.list)
            await stage.settle()
            #expect(try await Self.privateList(romeo).isEmpty)
            #expect(try await romeo.itemsAt(Self.items).isEmpty)
        }
    }

    @Test("Other private data and other nodes are left alone, and unloading leaves no trace")
    func others() async throws {
        try await Self.perform { stage, romeo in
            let note = "<exodus xmlns='exodus:prefs'><defaultnick>Hamlet</defaultnick></exodus>"
            try await romeo.asks(.set, Self.privately(note))
            let answer = try await romeo.asks(.get, Self.privately("<exodus xmlns='exodus:prefs'/>"))
            #expect(answer?.firstChild?.text(of: "defaultnick") == "Hamlet")
            let host = try #require(stage.server.host("montague.example"))
            let without = Self.modules.dropLast().map { "  \($0.info.name): on\n" }.joined()
            try stage.reload("modules:\n\(without)  bookmarks: off\n")
            #expect(host.service((any PrivateStorageConversion).self) == nil)
            #expect(!host.disco.features(of: .account).contains("urn:xmpp:bookmarks-conversion:0"))
            try await romeo.publishes(Self.conference(), id: Self.play, at: Self.items)
            #expect(try await Self.eventingList(romeo, stage).isEmpty)
        }
    }
}
