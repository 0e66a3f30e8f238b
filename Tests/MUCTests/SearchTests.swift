import ServerKit
import StorageMemory
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("Search for rooms (XEP-0433)") struct SearchTests {
    private static let byAddress = "{urn:xmpp:channel-search:0:order}address"
    private static let byOccupants = "{urn:xmpp:channel-search:0:order}nusers"

    private static func query(_ fields: [String: String], _ set: String = "") -> String {
        let content = fields.map { "<field var='\($0.key)'><value>\($0.value)</value></field>" }.joined()
        return """
            <search xmlns='urn:xmpp:channel-search:0:search'>\(set)<x xmlns='jabber:x:data' type='submit'>
            <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:channel-search:0:search-params</value></field>
            \(content)</x></search>
            """
    }

    private static func set(_ content: String) -> String {
        "<set xmlns='http://jabber.org/protocol/rsm'>\(content)</set>"
    }

    private static func search(_ actor: Actor, _ fields: [String: String], _ set: String = "") async throws -> Element {
        let result = try #require(try await actor.asks(.get, query(fields, set), to: conference))
        #expect(result.name == "result")
        return result
    }

    private static func names(_ result: Element) -> [String] {
        result.children("item").compactMap { $0.jid("address")?.localpart }
    }

    /// Four rooms, in two of which there is somebody.
    private static func prepare(_ stage: Stage) async throws -> Actor {
        let witch = try await stage.enter("hag66@capulet.example/pda")
        let other = try await stage.enter("wiccarocks@montague.example/laptop")
        let persistent = ["muc#roomconfig_persistentroom": "1"]
        func make(_ name: String, _ fields: [String: String]) async throws {
            try await witch.makesRoom("\(name)@\(conference)", as: "x", fields.merging(persistent) { $1 })
        }
        try await make("coven", ["muc#roomconfig_roomname": "A Dark Cave", "muc#roomconfig_lang": "en"])
        try await make("heath", ["muc#roomconfig_roomname": "A Lonely Heath", "muc#roomconfig_membersonly": "1"])
        try await make(
            "forres", ["muc#roomconfig_roomdesc": "The PALACE of Duncan", "muc#roomconfig_whois": "anyone"])
        try await make("secret", ["muc#roomconfig_publicroom": "0", "muc#roomconfig_roomname": "Secret Cave"])
        for name in ["heath", "secret"] {
            try await witch.sends("<presence type='unavailable' to='\(name)@\(conference)/x'/>")
        }
        try await other.enters("forres@\(conference)", as: "y")
        await witch.forgets()
        return witch
    }

    @Test("The form tells what can be asked for (§4.2.1)")
    func form() async throws {
        try await playRooms { stage in
            let witch = try await stage.enter("hag66@capulet.example/pda")
            let search = try #require(
                try await witch.asks(.get, "<search xmlns='urn:xmpp:channel-search:0:search'/>", to: conference))
            let form = try #require(try DataForm.find(in: search))
            #expect(form.formType == "urn:xmpp:channel-search:0:search-params")
            #expect(
                form.fields.compactMap(\.name) == [
                    "FORM_TYPE", "q", "all", "sinname", "sindescription", "sinaddress", "min_users", "types", "key",
                ])
            #expect(form["key"]?.value == Self.byOccupants)
        }
    }

    @Test("All words must be found, in what is searched, whatever the case; hidden rooms are not found")
    func keywords() async throws {
        try await playRooms { stage in
            let witch = try await Self.prepare(stage)
            for (fields, expected) in [
                (["q": "cave"], ["coven"]), (["q": "DARK cave"], ["coven"]), (["q": "dark heath"], []),
                (["q": "palace"], ["forres"]), (["q": "palace", "sindescription": "0"], []),
                (["q": "coven"], ["coven"]), (["q": "coven", "sinaddress": "0"], []),
                (["q": "coven", "sinaddr": "false"], []), (["q": "secret"], []),
                (["q": "e"], ["coven", "forres", "heath"]),
                (["q": "heath", "sinname": "0"], ["heath"]), (["q": "e", "types": "xep-0369"], []),
                (["q": "e", "min_users": "1"], ["coven", "forres"]), (["q": "e", "min_users": "2"], ["forres"]),
                (["q": "%"], []), (["q": "e", "unknown": "x"], ["coven", "forres", "heath"]),
            ] as [([String: String], [String])] {
                let result = try await Self.search(witch, fields.merging(["key": Self.byAddress]) { $1 })
                #expect(Self.names(result) == expected, "\(fields)")
            }
        }
    }

    @Test("Results tell what is to be known of a room (§6.2)")
    func items() async throws {
        try await playRooms { stage in
            let witch = try await Self.prepare(stage)
            let result = try await Self.search(witch, ["all": "true", "key": Self.byAddress])
            let items = result.children("item")
            let texts = ["name", "description", "language", "nusers", "service-type", "is-open", "anonymity-mode"]
            #expect(
                items.map { item in texts.map { item.text(of: $0) } } == [
                    ["A Dark Cave", nil, "en", "1", "xep-0045", "true", "muc_semianonymous"],
                    [
                        "forres", "The PALACE of Duncan", nil, "2", "xep-0045", "true",
                        "{urn:xmpp:channel-search:0:anonymity}none",
                    ],
                    ["A Lonely Heath", nil, nil, "0", "xep-0045", "false", "muc_semianonymous"],
                ])
            #expect(items.map { $0["address"] } == ["coven", "forres", "heath"].map { "\($0)@\(conference)" })
        }
    }

    @Test("Rooms are ordered by address or by occupants, and come page by page", arguments: [1, 2, 3])
    func pages(size: Int) async throws {
        try await playRooms { stage in
            let witch = try await Self.prepare(stage)
            for (key, expected) in [
                (Self.byAddress, ["coven", "forres", "heath"]), (Self.byOccupants, ["forres", "coven", "heath"]),
            ] {
                var seen: [String] = []
                var position = ""
                for _ in 0..<10 {
                    let set = Self.set("<max>\(size)</max>\(position)")
                    let result = try await Self.search(witch, ["all": "1", "key": key], set)
                    seen += Self.names(result)
                    let response = try ResultSetResponse(#require(result.child("set", .rsm)))
                    guard let last = response.last else { break }
                    position = "<after>\(last)</after>"
                }
                #expect(seen == expected)
            }
            // Without a key, the order that the form shows.
            #expect(Self.names(try await Self.search(witch, ["all": "1"])) == ["forres", "coven", "heath"])
        }
    }

    @Test("Searches that cannot be are refused as the XEP says (§4.2.2)")
    func refused() async throws {
        try await playRooms { stage in
            let witch = try await Self.prepare(stage)
            let cases: [(fields: [String: String], StanzaError.Condition, StanzaError.Kind, String)] = [
                ([:], .badRequest, .cancel, "no-search-conditions"),
                (["all": "0", "key": Self.byAddress], .badRequest, .cancel, "no-search-conditions"),
                (["q": "x", "all": "1"], .badRequest, .modify, "conflicting-fields"),
                (["q": "  "], .badRequest, .modify, "invalid-search-terms"),
                (["q": String(repeating: "x ", count: 11)], .badRequest, .modify, "invalid-search-terms"),
                (["q": String(repeating: "x", count: 501)], .badRequest, .modify, "invalid-search-terms"),
                (["all": "1", "key": "random"], .featureNotImplemented, .modify, "invalid-sort-key"),
            ]
            for (fields, condition, kind, name) in cases {
                try await witch.sends("<iq type='get' id='s' to='\(conference)'>\(Self.query(fields))</iq>")
                let answer = try await witch.receives("<iq type='error' id='s'/>")
                let error = try #require(answer.child("error"))
                #expect(StanzaError(error).condition == condition, "\(fields)")
                #expect(StanzaError(error).kind == kind, "\(fields)")
                #expect(error.children.contains { $0.is(name, "urn:xmpp:channel-search:0:error") }, "\(fields)")
            }
        }
    }

    @Test("Nonsense is refused")
    func hostile() async throws {
        try await playRooms { stage in
            let witch = try await Self.prepare(stage)
            for set in ["<after>x/y</after>", "<after>99999999999999999999/a</after>", "<after>1/coven</after>"] {
                let query = Self.query(["all": "1", "key": Self.byAddress], Self.set(set))
                #expect(try await witch.isRefused(.get, query, to: conference).condition == .itemNotFound, "\(set)")
            }
            for set in ["<before/>", "<index>1</index>"] {
                let query = Self.query(["all": "1"], Self.set(set))
                #expect(
                    try await witch.isRefused(.get, query, to: conference).condition == .featureNotImplemented)
            }
            for form in ["<x xmlns='jabber:x:data' type='form'/>", "<x xmlns='jabber:x:data'/>"] {
                let query = "<search xmlns='urn:xmpp:channel-search:0:search'>\(form)</search>"
                #expect(try await witch.isRefused(.get, query, to: conference).condition == .badRequest)
            }
            let fields = ["all": "maybe"]
            #expect(try await witch.isRefused(.get, Self.query(fields), to: conference).condition == .notAcceptable)
            let set = "<search xmlns='urn:xmpp:channel-search:0:search'/>"
            #expect(try await witch.isRefused(.set, set, to: conference).condition == .notAllowed)
        }
    }

    @Test("One search looks at so many rooms and tells where to go on")
    func bounded() async throws {
        let driver = MemoryStorageDriver()
        let stored = Storage(driver).values("room-list", on: conference, of: ListedRoom.self)
        for number in 0..<6_000 {
            var settings = RoomSettings()
            if number == 5_500 { settings.title = "Needle" }
            stored.set(ListedRoom(settings), for: "room\(10_000 + number)")
        }
        try await playRooms(driver: driver) { stage in
            let witch = try await stage.enter("hag66@capulet.example/pda")
            var seen: [String] = []
            var position = ""
            var pages = 0
            for _ in 0..<10 {
                let result = try await Self.search(witch, ["q": "needle"], position.isEmpty ? "" : Self.set(position))
                seen += Self.names(result)
                guard let last = try ResultSetResponse(#require(result.child("set", .rsm))).last else { break }
                position = "<after>\(last)</after>"
                pages += 1
            }
            #expect(seen == ["room15500"])
            #expect(pages == 2)
        }
    }
}
