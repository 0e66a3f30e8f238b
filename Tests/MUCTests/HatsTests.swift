import ServerKit
import StorageMemory
import TestKit
import Testing

@testable import MUC

@Suite("Hats (XEP-0317)") struct HatsTests {
    private static let assistant = "http://tech.example.edu/hats#TeacherAssistant"

    /// `<command/>` with a form that is filled out, if there are fields.
    private static func command(
        _ name: String, _ fields: [String: String] = [:], session: String? = nil, action: String? = nil
    ) -> String {
        let attributes = (session.map { " sessionid='\($0)'" } ?? "") + (action.map { " action='\($0)'" } ?? "")
        let values = fields.map { "<field var='\($0.key)'><value>\($0.value)</value></field>" }.joined()
        let form =
            "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:hats:commands</value></field>\(values)</x>"
        return """
            <command xmlns='http://jabber.org/protocol/commands' node='urn:xmpp:hats:commands:\(name)'\(attributes)>
            \(fields.isEmpty ? "" : form)</command>
            """
    }

    @ServerActor
    private static func makeHat(_ actor: Actor, _ title: String = "Assistant", uri: String = assistant) async throws {
        let fields = ["hats#title": title, "hats#uri": uri, "hats#hue": "327.255249"]
        try await actor.asks(.set, command("create", fields), to: coven)
        await actor.forgets()
    }

    @ServerActor
    private static func rows(_ actor: Actor, _ name: String) async throws -> [[String]] {
        let answer = try #require(try await actor.asks(.set, command(name), to: coven))
        #expect(answer["status"] == "completed")
        let form = try #require(try DataForm.find(in: answer))
        return form.items.map { $0.map { $0.value ?? "" } }
    }

    @Test("An owner makes a hat by filling out the form (§3.2)")
    func create() async throws {
        try await playRooms { stage in
            let first = try await stage.enter("crone1@capulet.example/desktop")
            let second = try await stage.enter("wiccarocks@montague.example/laptop")
            try await first.makesRoom(as: "firstwitch")
            try await second.enters(as: "secondwitch")
            await first.forgets()
            let shown = try #require(try await first.asks(.set, Self.command("create", action: "execute"), to: coven))
            #expect(shown["status"] == "executing")
            let form = try #require(try DataForm.find(in: shown))
            #expect(form.formType == "urn:xmpp:hats:commands")
            #expect(form.fields.compactMap(\.name) == ["FORM_TYPE", "hats#title", "hats#uri", "hats#hue"])
            let fields = ["hats#title": "Assistant", "hats#uri": Self.assistant, "hats#hue": "327.255249"]
            let done = try await first.asks(
                .set, Self.command("create", fields, session: shown["sessionid"]), to: coven)
            #expect(done?["status"] == "completed" && done?["sessionid"] == shown["sessionid"])
            // The list of hats is a part of the configuration.
            for actor in [first, second] {
                let message = try await actor.receives("<message type='groupchat' from='\(coven)'/>")
                #expect(message.statuses == [104])
            }
            #expect(try await Self.rows(second, "list") == [["Assistant", Self.assistant, "327.255249"]])
            // The same URI again changes it.
            try await Self.makeHat(first, "Helper")
            #expect(try await Self.rows(first, "list") == [["Helper", Self.assistant, "327.255249"]])
            await second.forgets()
            try await stage.staysSilent()
        }
    }

    @Test("A hat is given, shown in presence, and taken again (§3.1, §3.5, §3.6)")
    func assign() async throws {
        try await playRooms { stage in
            let first = try await stage.enter("crone1@capulet.example/desktop")
            let second = try await stage.enter("wiccarocks@montague.example/laptop")
            try await first.makesRoom(as: "firstwitch")
            try await second.enters(as: "secondwitch")
            try await Self.makeHat(first)
            await second.forgets()
            let shown = try #require(try await first.asks(.set, Self.command("assign"), to: coven))
            let form = try #require(try DataForm.find(in: shown))
            #expect(form["hats#uri"]?.kind == .listSingle && form["hats#jid"]?.kind == .jidSingle)
            #expect(form["hats#uri"]?.options == [.init(Self.assistant, label: "Assistant")])
            let fields = ["hats#jid": "wiccarocks@montague.example/laptop", "hats#uri": Self.assistant]
            try await first.asks(.set, Self.command("assign", fields, session: shown["sessionid"]), to: coven)
            let pattern = """
                <presence from='\(coven)/secondwitch'><hats xmlns='urn:xmpp:hats:0'>
                <hat title='Assistant' uri='\(Self.assistant)' hue='327.255249'/></hats>
                <x xmlns='http://jabber.org/protocol/muc#user'><item role='participant'/></x></presence>
                """
            try await first.receives(pattern)
            try await second.receives(pattern)
            #expect(
                try await Self.rows(first, "list-assigned")
                    == [["wiccarocks@montague.example", "Assistant", Self.assistant, "327.255249"]])
            // It is there for those who come later, and for who wears it when it comes again.
            let third = try await stage.enter("hag66@capulet.example/pda")
            let seen = try await third.enters(as: "thirdwitch")
            #expect(seen.first { $0.nick == "secondwitch" }?.child("hats", .hats)?.children.count == 1)
            try await second.sends("<presence to='\(coven)/secondwitch' type='unavailable'/>")
            await second.forgets()
            let again = try await second.enters(as: "other")
            #expect(again.first { $0.hasStatus(110) }?.child("hats", .hats) != nil)
            for actor in [first, second, third] { await actor.forgets() }
            // Changing it shows it anew, to all.
            try await Self.makeHat(first, "Helper")
            for actor in [second, third] {
                try await actor.receives(
                    "<presence from='\(coven)/other'><hats xmlns='urn:xmpp:hats:0'><hat title='Helper'/></hats></presence>"
                )
                await actor.forgets()
            }
            try await first.asks(
                .set,
                Self.command("unassign", ["hats#jid": "wiccarocks@montague.example", "hats#uri": Self.assistant]),
                to: coven)
            for actor in [first, second, third] {
                let presence = try await actor.receives("<presence from='\(coven)/other'/>")
                #expect(presence.child("hats", .hats) == nil)
            }
            #expect(try await Self.rows(first, "list-assigned").isEmpty)
            try await stage.staysSilent()
        }
    }

    @Test("A hat that is destroyed is on nobody's head any more (§3.3)")
    func destroy() async throws {
        try await playRooms { stage in
            let first = try await stage.enter("crone1@capulet.example/desktop")
            try await first.makesRoom(as: "firstwitch")
            try await Self.makeHat(first)
            try await Self.makeHat(first, "Host", uri: "urn:example:host")
            for uri in [Self.assistant, "urn:example:host"] {
                try await first.asks(
                    .set, Self.command("assign", ["hats#jid": "crone1@capulet.example", "hats#uri": uri]), to: coven)
            }
            await first.forgets()
            try await first.asks(.set, Self.command("destroy", ["hats#uri": Self.assistant]), to: coven)
            let presence = try await first.receives("<presence from='\(coven)/firstwitch'/>")
            #expect(presence.child("hats", .hats)?.children.map { $0["uri"] } == ["urn:example:host"])
            #expect(presence.hasStatus(110))
            try await first.receives(
                "<message type='groupchat'><x xmlns='http://jabber.org/protocol/muc#user'><status code='104'/></x></message>"
            )
            #expect(try await Self.rows(first, "list-assigned").count == 1)
            let error = try await first.isRefused(
                .set, Self.command("destroy", ["hats#uri": Self.assistant]), to: coven)
            #expect(error.condition == .badRequest)
        }
    }

    @Test("Hats outlive a restart, and the commands do what they did")
    func restart() async throws {
        try await playRooms { stage in
            let first = try await stage.enter("crone1@capulet.example/desktop")
            try await first.makesRoom(as: "firstwitch")
            try stage.settings { $0.isPersistent = true }
            try await Self.makeHat(first)
            try await first.asks(
                .set, Self.command("assign", ["hats#jid": "crone1@capulet.example", "hats#uri": Self.assistant]),
                to: coven)
            try await stage.restart()
            let again = try await stage.enter("crone1@capulet.example/desktop")
            let seen = try await again.enters(as: "firstwitch")
            #expect(seen.first { $0.hasStatus(110) }?.child("hats", .hats)?.children.count == 1)
            #expect(try await Self.rows(again, "list-assigned").count == 1)
        }
    }

    @Test("Owners make hats, admins give them, members see which there are")
    func access() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            let admin = try await stage.enter("wiccarocks@montague.example/laptop")
            let other = try await stage.enter("hag66@capulet.example/pda")
            let stranger = try await stage.enter("stranger@capulet.example/x")
            try await owner.makesRoom(as: "firstwitch")
            try await owner.administers("<item affiliation='admin' jid='wiccarocks@montague.example'/>")
            try await other.enters(as: "thirdwitch")
            try await Self.makeHat(owner)
            let commands = ["create", "destroy", "assign", "unassign", "list", "list-assigned"]
            for (actor, allowed) in [
                (owner, commands), (admin, ["assign", "unassign", "list", "list-assigned"]), (other, ["list"]),
                (stranger, []),
            ] {
                for name in commands {
                    if allowed.contains(name) {
                        try await actor.asks(.set, Self.command(name), to: coven)
                    } else {
                        #expect(try await actor.isRefused(.set, Self.command(name), to: coven).condition == .forbidden)
                    }
                }
            }
            // Where JIDs are no secret, those who are here see who wears what.
            try stage.settings { $0.whois = .anyone }
            #expect(try await Self.rows(other, "list-assigned").isEmpty)
            #expect(
                try await stranger.isRefused(.set, Self.command("list-assigned"), to: coven).condition == .forbidden)
            // Who has lost the right meanwhile cannot finish.
            let begun = try await admin.asks(.set, Self.command("assign"), to: coven)
            try await owner.administers("<item affiliation='none' jid='wiccarocks@montague.example'/>")
            let fields = ["hats#jid": "wiccarocks@montague.example", "hats#uri": Self.assistant]
            #expect(
                try await admin.isRefused(.set, Self.command("assign", fields, session: begun?["sessionid"]), to: coven)
                    .condition == .forbidden)
        }
    }

    // MARK: Hostile

    @Test("Nobody puts a hat on its own head", arguments: ["urn:xmpp:hats:0", "xmpp:prosody.im/protocol/hats:1"])
    func forged(namespace: String) async throws {
        try await playRooms { stage in
            let first = try await stage.enter("crone1@capulet.example/desktop")
            let second = try await stage.enter("wiccarocks@montague.example/laptop")
            try await first.makesRoom(as: "firstwitch")
            let hats = "<hats xmlns='\(namespace)'><hat title='Host' uri='urn:example:host'/></hats>"
            try await second.enters(as: "secondwitch", presence: hats)
            let entered = try await first.receives("<presence from='\(coven)/secondwitch'/>")
            #expect(!entered.xml.contains("hats"))
            try await second.sends("<presence to='\(coven)/secondwitch'><show>away</show>\(hats)</presence>")
            let changed = try await first.receives("<presence from='\(coven)/secondwitch'><show>away</show></presence>")
            #expect(!changed.xml.contains("hats"))
            try await second.sends("<message to='\(coven)' type='groupchat'><body>I am host</body>\(hats)</message>")
            let message = try await first.receives("<message><body>I am host</body></message>")
            #expect(!message.xml.contains("hats"))
        }
    }

    @Test(
        "What makes no hat is refused",
        arguments: [
            ["hats#title": "", "hats#uri": "urn:x:y"], ["hats#title": "Host"],
            ["hats#title": "Host", "hats#uri": "host"],
            ["hats#title": "Host", "hats#uri": "urn:x y"], ["hats#title": "Host", "hats#uri": ":x"],
            ["hats#title": "Host", "hats#uri": "urn:"], ["hats#title": "Host", "hats#uri": "1urn:x"],
            ["hats#title": "Host", "hats#uri": "urn:x:y", "hats#hue": "361"],
            ["hats#title": "Host", "hats#uri": "urn:x:y", "hats#hue": "nan"],
            ["hats#title": "Host", "hats#uri": "urn:x:y", "hats#hue": "-1"],
            ["hats#title": String(repeating: "x", count: 101), "hats#uri": "urn:x:y"],
            ["hats#title": "Host", "hats#uri": "urn:" + String(repeating: "x", count: 1_000)],
        ])
    func malformed(_ fields: [String: String]) async throws {
        try await playRooms { stage in
            let first = try await stage.enter("crone1@capulet.example/desktop")
            try await first.makesRoom(as: "firstwitch")
            let error = try await first.isRefused(.set, Self.command("create", fields), to: coven)
            #expect([.badRequest, .notAcceptable].contains(error.condition))
            #expect(try await Self.rows(first, "list").isEmpty)
            try await stage.staysSilent()
        }
    }

    @Test("Nor are commands that there are not, or of another room, or of somebody else")
    func wrongCommands() async throws {
        try await playRooms { stage in
            let first = try await stage.enter("crone1@capulet.example/desktop")
            try await first.makesRoom(as: "firstwitch")
            try await first.makesRoom("cave@\(conference)", as: "firstwitch")
            try await Self.makeHat(first)
            #expect(try await first.isRefused(.set, Self.command("wear"), to: coven).condition == .itemNotFound)
            let begun = try #require(try await first.asks(.set, Self.command("create"), to: coven))
            let fields = ["hats#title": "Host", "hats#uri": "urn:x:y"]
            let command = Self.command("create", fields, session: begun["sessionid"])
            let elsewhere = try await first.isRefused(.set, command, to: "cave@\(conference)")
            #expect(elsewhere.detail?.name == "bad-sessionid")
            let phone = try await stage.enter("crone1@capulet.example/phone")
            #expect(try await phone.isRefused(.set, command, to: coven).detail?.name == "bad-sessionid")
            let unknown = ["hats#jid": "a@b.example", "hats#uri": "urn:no:hat"]
            #expect(
                try await first.isRefused(.set, Self.command("assign", unknown), to: coven).condition == .badRequest)
            let nobody = ["hats#jid": "@", "hats#uri": Self.assistant]
            #expect(try await first.isRefused(.set, Self.command("assign", nobody), to: coven).condition == .badRequest)
            let bare = ["hats#jid": "a@b.example", "hats#uri": Self.assistant]
            #expect(
                try await first.isRefused(.set, Self.command("unassign", bare), to: coven).condition == .itemNotFound)
            try await first.asks(.set, Self.command("create", session: begun["sessionid"], action: "cancel"), to: coven)
        }
    }

    @Test("There is an end to the hats of a room, and to those that are worn")
    func limits() async throws {
        try await playRooms("max_hats: 2, max_hats_worn: 3") { stage in
            let first = try await stage.enter("crone1@capulet.example/desktop")
            try await first.makesRoom(as: "firstwitch")
            for number in 1...2 { try await Self.makeHat(first, uri: "urn:hat:\(number)") }
            let third = ["hats#title": "Third", "hats#uri": "urn:hat:3"]
            #expect(
                try await first.isRefused(.set, Self.command("create", third), to: coven).condition
                    == .resourceConstraint)
            try await Self.makeHat(first, "Other", uri: "urn:hat:2")
            for number in 1...4 {
                let command = Self.command("assign", ["hats#jid": "u\(number)@x.example", "hats#uri": "urn:hat:1"])
                if number < 4 {
                    try await first.asks(.set, command, to: coven)
                } else {
                    #expect(try await first.isRefused(.set, command, to: coven).condition == .resourceConstraint)
                }
            }
            #expect(try await Self.rows(first, "list-assigned").count == 3)
        }
    }
}
