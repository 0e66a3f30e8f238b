import ServerKit
import TestKit
import Testing

@testable import MUC
@testable import Modules

@Suite("The configuration form (XEP-0045 §10.2, §16.5.3)") struct ConfigurationFormTests {
    @Test("Owners get the form with everything as it is, and so do administrators of the service; others do not")
    func form() async throws {
        try await playRooms(admins: "hecate@capulet.example") { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            let hecate = try await stage.enter("hecate@capulet.example/moon")
            let other = try await stage.enter("wiccarocks@montague.example/laptop")
            try await owner.makesRoom(as: "firstwitch", ["muc#roomconfig_roomname": "A Dark Cave"])
            try await other.enters(as: "secondwitch")
            for actor in [owner, hecate] {
                let form = try await actor.fetchesForm()
                #expect(form.title == "Configuration of A Dark Cave")
                #expect(form["muc#roomconfig_roomname"]?.value == "A Dark Cave")
                #expect(form["muc#roomconfig_roomowners"]?.values == ["crone1@capulet.example"])
                #expect(form["muc#roomconfig_roomsecret"]?.kind == .textPrivate)
                #expect(form["muc#roomconfig_maxusers"]?.value == "none")
                #expect(form["muc#roomconfig_presencebroadcast"]?.values == ["moderator", "participant", "visitor"])
                // People read a label for each, and headings.
                #expect(form.fields.allSatisfy { $0.label != nil || $0.kind == .fixed || $0.kind == .hidden })
                #expect(form.fields.filter { $0.kind == .fixed }.count == 6)
                #expect(form.fields.allSatisfy { $0.kind != nil })
            }
            let payload = "<query xmlns='http://jabber.org/protocol/muc#owner'/>"
            #expect(try await other.isRefused(.get, payload, to: coven).condition == .forbidden)
            #expect(try await other.configuresInVain([("muc#roomconfig_roomname", ["x"])]).condition == .forbidden)
            #expect(try await other.isRefused(.set, cancelledForm, to: coven).condition == .forbidden)
        }
    }

    /// Every field with a value that no room has by itself.
    private static let values: [(name: String, values: [String])] = [
        ("muc#roomconfig_roomname", ["A Dark Cave"]), ("muc#roomconfig_roomdesc", ["For all good witches!"]),
        ("muc#roomconfig_lang", ["en-GB"]), ("muc#roominfo_contactjid", ["crone1@capulet.example"]),
        ("muc#roomconfig_pubsub", ["xmpp:pubsub.capulet.example?;node=coven"]), ("muc#roomconfig_publicroom", ["0"]),
        ("muc#roomconfig_persistentroom", ["1"]), ("muc#roomconfig_membersonly", ["1"]),
        ("muc#roomconfig_passwordprotectedroom", ["1"]), ("muc#roomconfig_roomsecret", ["cauldronburn"]),
        ("muc#roomconfig_maxusers", ["17"]), ("muc#roomconfig_allowinvites", ["1"]),
        ("x-muc#roomconfig_registration", ["0"]), ("x-muc#roomconfig_reservednick", ["1"]),
        ("muc#roomconfig_whois", ["anyone"]), ("muc#roomconfig_presencebroadcast", ["moderator", "participant"]),
        ("muc#roomconfig_getmemberlist", ["moderator"]), ("muc#roomconfig_moderatedroom", ["1"]),
        ("muc#roomconfig_allowvoicerequests", ["0"]), ("muc#roomconfig_changesubject", ["1"]),
        ("muc#roomconfig_allowpm", ["participants"]), ("muc#roomconfig_slow_mode_duration", ["30"]),
        ("muc#maxhistoryfetch", ["50"]), ("muc#roomconfig_enablearchiving", ["0"]),
        ("{urn:martlet:muc}retention_days", ["14"]), ("muc#roomconfig_enablelogging", ["1"]),
        ("allow_query_users", ["0"]),
        ("muc#roominfo_logs", ["https://capulet.example/logs"]),
        ("muc#roomconfig_roomadmins", ["wiccarocks@montague.example"]),
        ("muc#roomconfig_roomowners", ["crone1@capulet.example", "hecate@capulet.example"]),
    ]

    @Test("Every field is taken, shown, and there after a restart")
    func everyField() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.makesRoom(as: "firstwitch")
            #expect(RoomField.all.map(\.name).sorted() == Self.values.map(\.name).sorted())
            let before = try await owner.fetchesForm()
            for (name, values) in Self.values { #expect(before[name]?.values != values, "\(name)") }
            try await owner.submits(Self.values)
            let after = try await owner.fetchesForm()
            for (name, values) in Self.values { #expect(after[name]?.values == values, "\(name)") }
            try await stage.restart()
            let again = try await stage.enter("crone1@capulet.example/desktop")
            let restored = try await again.fetchesForm()
            for (name, values) in Self.values { #expect(restored[name]?.values == values, "\(name)") }
        }
    }

    @Test("A submission changes what it names and nothing else, and empties what is empty (XEP-0004 §3.5)")
    func partial() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.makesRoom(as: "firstwitch")
            try await owner.submits(Self.values)
            let before = try await owner.fetchesForm()
            for name in ["muc#roomconfig_roomdesc", "muc#roominfo_logs", "muc#roominfo_contactjid"] {
                try await owner.submits([(name, [""])])
            }
            try await owner.submits([("muc#roomconfig_roomname", ["Heath"])])
            let after = try await owner.fetchesForm()
            for field in before.fields where field.kind != .fixed {
                guard let name = field.name else { continue }
                switch name {
                case "muc#roomconfig_roomdesc", "muc#roominfo_logs", "muc#roominfo_contactjid":
                    #expect(after[name]?.values == [], "\(name)")
                case "muc#roomconfig_roomname": #expect(after[name]?.values == ["Heath"])
                default: #expect(after[name]?.values == field.values, "\(name)")
                }
            }
        }
    }

    @Test("The form as it was shown changes nothing, and nobody hears of it")
    func unchanged() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.makesRoom(as: "firstwitch")
            try await owner.submits(Self.values)
            await owner.forgets()
            var form = try await owner.fetchesForm()
            let before = form
            form.kind = .submit
            try await owner.asks(
                .set, "<query xmlns='http://jabber.org/protocol/muc#owner'>\(form.element.xml)</query>", to: coven)
            #expect(try await owner.fetchesForm() == before)
            try await stage.staysSilent()
        }
    }

    private static let wrong: [[(String, String)]] = [
        [("muc#roomconfig_membersonly", "perhaps")],
        [("muc#roomconfig_whois", "nobody")], [("muc#roomconfig_maxusers", "0")],
        [("muc#roomconfig_maxusers", "-1")], [("muc#roomconfig_maxusers", "1")],
        [("muc#roomconfig_maxusers", "many")], [("muc#roomconfig_maxusers", "99999999999999999999")],
        [("muc#roomconfig_maxusers", "2001")], [("muc#maxhistoryfetch", "101")], [("muc#maxhistoryfetch", "-1")],
        [("muc#roomconfig_presencebroadcast", "cat")], [("muc#roomconfig_getmemberlist", "none")],
        [("muc#roominfo_contactjid", "a b@x")], [("muc#roominfo_contactjid", "capulet.example")],
        [("muc#roomconfig_roomowners", "capulet.example")], [("muc#roomconfig_roomadmins", "@")],
        [("muc#roominfo_logs", "javascript:alert(1)")], [("muc#roominfo_logs", "https://")],
        [("muc#roomconfig_pubsub", "coven")], [("muc#roomconfig_lang", "the Queen's English")],
        [("muc#roomconfig_roomname", "a&#10;b")], [("muc#roomconfig_slow_mode_duration", "99999999")],
        [("{urn:martlet:muc}retention_days", "x")],
        [("muc#roomconfig_passwordprotectedroom", "1")],
        [("muc#roomconfig_passwordprotectedroom", "1"), ("muc#roomconfig_roomsecret", "")],
        [("muc#roomconfig_passwordprotectedroom", "0"), ("muc#roomconfig_roomsecret", "x")],
        [
            ("muc#roomconfig_roomowners", "crone1@capulet.example"),
            ("muc#roomconfig_roomadmins", "crone1@capulet.example"),
        ],
        [("muc#roomconfig_roomname", String(repeating: "x", count: 201))],
        [("muc#roomconfig_roomdesc", String(repeating: "x", count: 2_001))],
        [("muc#roomconfig_roomsecret", String(repeating: "x", count: 201))],
    ]

    @Test("Fields of other servers are ignored, in a new room as well, and the rest is taken over (XEP-0004 §3.1)")
    func unknown() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.enters(as: "firstwitch")
            try await owner.submits([
                ("muc#roomconfig_cauldron", ["1"]), ("muc#roomconfig_moderatedroom", ["1"]),
                ("captcha_protected", ["no"]),
                ("{http://prosody.im/protocol/muc}roomconfig_default_role", ["visitor", "participant"]),
            ])
            await owner.forgets()
            let other = try await stage.enter("wiccarocks@montague.example/laptop")
            try await other.enters(as: "secondwitch")
            let form = try await owner.fetchesForm()
            #expect(form["muc#roomconfig_moderatedroom"]?.value == "1")
            #expect(form["muc#roomconfig_cauldron"] == nil && form["captcha_protected"] == nil)
            await owner.forgets()
            await other.forgets()
            // Nothing else, no news.
            try await owner.sets(["muc#roomconfig_cauldron": "1"])
            try await stage.staysSilent()
        }
    }

    @Test("What is wrong or contradictory is not acceptable, and nothing changes", arguments: wrong)
    func refused(fields: [(String, String)]) async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            let other = try await stage.enter("wiccarocks@montague.example/laptop")
            try await owner.makesRoom(as: "firstwitch")
            try await other.enters(as: "secondwitch")
            await owner.forgets()
            let before = try await owner.fetchesForm()
            // Not even what would be right is taken over.
            let right: [(name: String, values: [String])] = [("muc#roomconfig_allowinvites", ["1"])]
            let error = try await owner.configuresInVain(right + fields.map { (name: $0.0, values: [$0.1]) })
            #expect(error.condition == .notAcceptable && error.kind == .modify)
            #expect(try await owner.fetchesForm() == before)
            try await stage.staysSilent()
        }
    }

    @Test("Too many addresses, values or forms of other kinds are refused")
    func malformed() async throws {
        try await playRooms("max_contacts: 2, max_owners: 2") { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.makesRoom(as: "firstwitch")
            let many = (0..<1_000).map { "witch\($0)@capulet.example" }
            for name in ["muc#roominfo_contactjid", "muc#roomconfig_roomadmins", "muc#roomconfig_roomowners"] {
                #expect(try await owner.configuresInVain([(name, many)]).condition == .notAcceptable)
            }
            let twice: [(name: String, values: [String])] = [("muc#roomconfig_whois", ["anyone", "moderators"])]
            #expect(try await owner.configuresInVain(twice).condition == .notAcceptable)
            #expect(try await owner.configuresInVain([twice[0], twice[0]]).condition == .badRequest)
            for payload in [
                "", "<x xmlns='jabber:x:data' type='form'/>", "<x xmlns='jabber:x:data'/>",
                "<x xmlns='jabber:x:data' type='result'/>",
                """
                <x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>jabber:iq:register</value></field>
                <field var='muc#roomconfig_roomname'><value>x</value></field></x>
                """,
            ] {
                let query = "<query xmlns='http://jabber.org/protocol/muc#owner'>\(payload)</query>"
                #expect(try await owner.isRefused(.set, query, to: coven).condition == .badRequest)
            }
            #expect(try await owner.discovers().identities.map(\.name) == ["coven"])
        }
    }

    @Test("A password comes and goes with either field, and is kept where it is not mentioned")
    func password() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.makesRoom(as: "firstwitch")
            let (box, secret) = ("muc#roomconfig_passwordprotectedroom", "muc#roomconfig_roomsecret")
            func state() async throws -> [String?] {
                let form = try await owner.fetchesForm()
                return [form[box]?.value, form[secret]?.value]
            }
            try await owner.sets([box: "1", secret: "cauldronburn"])
            #expect(try await state() == ["1", "cauldronburn"])
            #expect(try await owner.discovers().hasFeature("muc_passwordprotected"))
            try await owner.sets([box: "1"])
            try await owner.sets(["muc#roomconfig_roomname": "x"])
            #expect(try await state() == ["1", "cauldronburn"])
            try await owner.sets([secret: "newt"])
            #expect(try await state() == ["1", "newt"])
            // The form that was shown, with the box unticked.
            try await owner.sets([box: "0", secret: "newt"])
            #expect(try await state() == ["0", nil])
            try await owner.sets([secret: "frog"])
            try await owner.sets([box: "false"])
            #expect(try await state() == ["0", nil])
            try await owner.sets([secret: "frog"])
            try await owner.sets([secret: ""])
            #expect(try await state() == ["0", nil])
            #expect(try await owner.discovers().hasFeature("muc_unsecured"))
        }
    }

    @Test("Names that other servers use for a field are understood")
    func aliases() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.makesRoom(as: "firstwitch")
            for name in ["mam", "muc#roomconfig_mam"] {
                for value in ["0", "1"] {
                    try await owner.sets([name: value])
                    #expect(try await owner.fetchesForm()["muc#roomconfig_enablearchiving"]?.value == value)
                }
            }
            try await owner.sets(["muc#roomconfig_historylength": "7"])
            #expect(try await owner.fetchesForm()["muc#maxhistoryfetch"]?.value == "7")
        }
    }

    @Test("Where the service keeps no archive there is nothing to choose")
    func noArchive() async throws {
        try await playRooms("archive: off") { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.makesRoom(as: "firstwitch")
            #expect(try await owner.fetchesForm()["muc#roomconfig_enablearchiving"] == nil)
            try await owner.sets(["muc#roomconfig_enablearchiving": "1"])
            #expect(try await owner.discovers().hasFeature("urn:xmpp:mam:2") == false)
            try await stage.staysSilent()
        }
    }
}

@Suite("What a change of the configuration causes (XEP-0045 §10.2)") struct ReconfiguringTests {
    struct Change: Sendable {
        let name: String
        let value: String
        let code: Int
    }

    /// A room with its owner, somebody without affiliation, and another one.
    private static func meet(_ stage: Stage) async throws -> (Actor, Actor, Actor) {
        let first = try await stage.enter("crone1@capulet.example/desktop")
        let second = try await stage.enter("wiccarocks@montague.example/laptop")
        let third = try await stage.enter("hag66@capulet.example/pda")
        try await first.makesRoom(as: "firstwitch")
        try await second.enters(as: "secondwitch")
        try await third.enters(as: "thirdwitch")
        for actor in [first, second, third] { await actor.forgets() }
        return (first, second, third)
    }

    @Test(
        "Everybody is told, by the code that the change has (§10.2.1)",
        arguments: [
            Change(name: "muc#roomconfig_enablelogging", value: "1", code: 170),
            Change(name: "muc#roomconfig_whois", value: "anyone", code: 172),
            Change(name: "muc#roomconfig_roomname", value: "Heath", code: 104),
            Change(name: "muc#roomconfig_publicroom", value: "0", code: 104),
            Change(name: "muc#roomconfig_roomsecret", value: "newt", code: 104),
        ])
    func statuses(change: Change) async throws {
        try await playRooms { stage in
            let (first, second, third) = try await Self.meet(stage)
            try await first.sets([change.name: change.value])
            for actor in [first, second, third] {
                let received = await actor.everything()
                let message = try #require(received.first { $0.name == "message" })
                #expect(message["type"] == "groupchat" && message["from"] == coven && message["id"] != nil)
                #expect(message.children.count == 1)
                #expect(message.child("x", .mucUser)?.children.map { $0["code"] } == [String(change.code)])
            }
        }
    }

    @Test("Several changes have several codes, and their opposites others")
    func opposites() async throws {
        try await playRooms { stage in
            let (first, second, _) = try await Self.meet(stage)
            try await first.sets([
                "muc#roomconfig_enablelogging": "1", "muc#roomconfig_whois": "anyone", "muc#roomconfig_roomname": "x",
            ])
            var message = try await second.receivesAnywhere("<message type='groupchat'/>")
            #expect([104, 170, 172].allSatisfy(message.hasStatus))
            await second.forgets()
            try await first.sets(["muc#roomconfig_enablelogging": "0", "muc#roomconfig_whois": "moderators"])
            message = try await second.receivesAnywhere("<message type='groupchat'/>")
            #expect([171, 173].allSatisfy(message.hasStatus) && !message.hasStatus(104))
        }
    }

    @Test("When a room becomes non-anonymous, those who did not see real JIDs see them (§7.2.3)")
    func reveal() async throws {
        try await playRooms { stage in
            let (first, second, third) = try await Self.meet(stage)
            try await first.sets(["muc#roomconfig_whois": "anyone"])
            let seen = await second.everything()
            let jids = seen.filter { $0.name == "presence" }.compactMap { $0.item?["jid"] }
            #expect(Set(jids) == ["crone1@capulet.example/desktop", "hag66@capulet.example/pda"])
            // The code comes first.
            #expect(seen.first?.hasStatus(172) == true)
            #expect(await first.everything().allSatisfy { $0.name == "message" })
            await third.forgets()
            let fourth = try await stage.enter("banquo@capulet.example/x")
            #expect(try await fourth.enters(as: "fourth").contains { $0.hasStatus(100) })
            #expect(await third.everything().contains { $0.item?["jid"] == "banquo@capulet.example/x" })
        }
    }

    @Test("When it becomes members-only, those who are no members are removed, with code 322")
    func membersOnly() async throws {
        try await playRooms { stage in
            let (first, second, third) = try await Self.meet(stage)
            try await first.submits([
                ("muc#roomconfig_membersonly", ["1"]), ("muc#roomconfig_roomadmins", ["hag66@capulet.example"]),
            ])
            let farewell = try await second.receivesAnywhere(
                "<presence type='unavailable' from='\(coven)/secondwitch'/>")
            #expect(farewell.hasStatus(322) && farewell.hasStatus(110))
            #expect(farewell.item?["role"] == "none" && farewell.item?["affiliation"] == "none")
            for actor in [first, third] {
                let seen = try await actor.receivesAnywhere(
                    "<presence type='unavailable' from='\(coven)/secondwitch'/>")
                #expect(seen.hasStatus(322) && !seen.hasStatus(110))
                try await actor.receivesAnywhere(
                    """
                    <message type='groupchat' from='\(coven)'><x xmlns='http://jabber.org/protocol/muc#user'>
                    <status code='104'/></x></message>
                    """)
            }
            await second.forgets()
            try await second.sends(
                "<presence to='\(coven)/secondwitch'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
            let error = try await second.receives("<presence type='error'/>")
            #expect(try StanzaError(#require(error.child("error"))).condition == .registrationRequired)
        }
    }

    @Test("When it becomes moderated those without affiliation lose voice, and get it when it is not any more (§5.1.2)")
    func moderated() async throws {
        try await playRooms { stage in
            let (first, second, third) = try await Self.meet(stage)
            try await first.submits([("muc#roomconfig_roomadmins", ["hag66@capulet.example"])])
            for actor in [first, second, third] { await actor.forgets() }
            try await first.sets(["muc#roomconfig_moderatedroom": "1"])
            for actor in [first, second, third] {
                let received = await actor.everything()
                let presences = received.filter { $0.name == "presence" }
                #expect(presences.map(\.nick) == ["secondwitch"])
                #expect(presences.first?.item?["role"] == "visitor")
            }
            try await second.says("Ha!")
            try await second.receives("<message type='error'/>")
            try await first.sets(["muc#roomconfig_moderatedroom": "0"])
            try await second.receivesAnywhere(
                """
                <presence from='\(coven)/secondwitch'><x xmlns='http://jabber.org/protocol/muc#user'>
                <item role='participant'/><status code='110'/></x></presence>
                """)
            await first.forgets()
            try await second.says("Ha!")
            try await first.receives("<message type='groupchat'><body>Ha!</body></message>")
        }
    }

    @Test("Occupants whose presence is not shown any more disappear for all but moderators, and come back")
    func presenceBroadcast() async throws {
        try await playRooms { stage in
            let (first, second, third) = try await Self.meet(stage)
            try await first.submits([("muc#roomconfig_presencebroadcast", ["moderator"])])
            for (actor, nick) in [(second, "thirdwitch"), (third, "secondwitch")] {
                let presences = await actor.everything().filter { $0.name == "presence" }
                #expect(presences.map(\.nick) == [nick] && presences.first?["type"] == "unavailable")
            }
            #expect(await first.everything().allSatisfy { $0.name == "message" })
            // They are here all the same.
            try await second.says("Boo")
            try await third.receives("<message><body>Boo</body></message>")
            for actor in [first, second, third] { await actor.forgets() }
            try await first.submits([("muc#roomconfig_presencebroadcast", ["moderator", "participant"])])
            for (actor, nick) in [(second, "thirdwitch"), (third, "secondwitch")] {
                let presences = await actor.everything().filter { $0.name == "presence" }
                #expect(presences.map(\.nick) == [nick] && presences.first?["type"] == nil)
                #expect(presences.first?.item?["jid"] == nil)
            }
        }
    }

    @Test("Who is named an owner or admin becomes one, who is left out is one no more, and all see it")
    func lists() async throws {
        try await playRooms { stage in
            let (first, second, third) = try await Self.meet(stage)
            try await first.submits([
                ("muc#roomconfig_roomadmins", ["wiccarocks@montague.example"]),
                ("muc#roomconfig_roomowners", ["crone1@capulet.example", "hag66@capulet.example"]),
            ])
            try await second.receivesAnywhere(
                """
                <presence from='\(coven)/secondwitch'><x xmlns='http://jabber.org/protocol/muc#user'>
                <item affiliation='admin' role='moderator'/><status code='110'/></x></presence>
                """)
            try await first.receivesAnywhere(
                """
                <presence from='\(coven)/thirdwitch'><x xmlns='http://jabber.org/protocol/muc#user'>
                <item affiliation='owner' role='moderator'/></x></presence>
                """)
            for actor in [first, second, third] { await actor.forgets() }
            // The other owner leaves the first one out, who becomes an admin beside the one there is.
            try await third.submits([("muc#roomconfig_roomowners", ["hag66@capulet.example"])])
            try await first.receivesAnywhere(
                """
                <presence from='\(coven)/firstwitch'><x xmlns='http://jabber.org/protocol/muc#user'>
                <item affiliation='admin' role='moderator'/></x></presence>
                """)
            #expect(
                try await third.fetchesForm()["muc#roomconfig_roomadmins"]?.values
                    == ["crone1@capulet.example", "wiccarocks@montague.example"])
            #expect(try await first.configuresInVain([]).condition == .forbidden)
            await second.forgets()
            try await third.submits([("muc#roomconfig_roomadmins", [])])
            try await second.receivesAnywhere(
                """
                <presence from='\(coven)/secondwitch'><x xmlns='http://jabber.org/protocol/muc#user'>
                <item affiliation='member' role='participant'/></x></presence>
                """)
        }
    }

    @Test("The last owner stays one (§10.2)")
    func lastOwner() async throws {
        try await playRooms(admins: "hecate@capulet.example") { stage in
            let (first, _, _) = try await Self.meet(stage)
            try await first.sets(["muc#roomconfig_persistentroom": "1"])
            let hecate = try await stage.enter("hecate@capulet.example/moon")
            for actor in [first, hecate] {
                #expect(try await actor.configuresInVain([("muc#roomconfig_roomowners", [])]).condition == .conflict)
            }
            // Somebody else may take over.
            try await first.submits([("muc#roomconfig_roomowners", ["hag66@capulet.example"])])
            #expect(try await first.configuresInVain([]).condition == .forbidden)
            try await stage.restart()
            let again = try await stage.enter("hag66@capulet.example/pda")
            #expect(try await again.fetchesForm()["muc#roomconfig_roomadmins"]?.values == ["crone1@capulet.example"])
        }
    }

    @Test("A room in which nobody is goes away when it becomes temporary")
    func temporary() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.makesRoom(as: "firstwitch", ["muc#roomconfig_persistentroom": "1"])
            try await owner.sends("<presence type='unavailable' to='\(coven)/firstwitch'/>")
            await owner.forgets()
            #expect(try await owner.discovers().hasFeature("muc_persistent"))
            try await owner.sets(["muc#roomconfig_persistentroom": "0"])
            let query = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
            #expect(try await owner.isRefused(.get, query, to: coven).condition == .itemNotFound)
        }
    }

    @Test("Who cancels changes nothing")
    func cancelled() async throws {
        try await playRooms { stage in
            let (first, _, _) = try await Self.meet(stage)
            let before = try await first.fetchesForm()
            try await first.asks(.set, cancelledForm, to: coven)
            #expect(try await first.fetchesForm() == before)
            try await stage.staysSilent()
        }
    }

    @Test("A room may be configured by an owner who is not in it, while it is not even loaded")
    func fromOutside() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.makesRoom(as: "firstwitch", ["muc#roomconfig_persistentroom": "1"])
            try await stage.restart()
            let again = try await stage.enter("crone1@capulet.example/desktop")
            try await again.sets(["muc#roomconfig_roomname": "Heath"])
            #expect(try await again.discovers().identities.map(\.name) == ["Heath"])
        }
    }
}
