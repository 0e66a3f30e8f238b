import ServerKit
import TestKit
import Testing

@testable import MUC

private let user = "xmlns='http://jabber.org/protocol/muc#user'"

/// Three witches: the first owns the room, the third is the one to whom something happens.
@ServerActor
private func witches(
    _ stage: Stage, settings: @escaping (inout RoomSettings) -> Void = { _ in }
) async throws -> (first: Actor, second: Actor, third: Actor) {
    let first = try await stage.enter("crone1@capulet.example/desktop")
    let second = try await stage.enter("wiccarocks@montague.example/laptop")
    let third = try await stage.enter("hag66@capulet.example/pda")
    try await first.makesRoom(as: "firstwitch")
    try stage.settings(settings)
    if try stage.room().settings.isMembersOnly {
        for jid in ["wiccarocks@montague.example", "hag66@capulet.example"] {
            try await first.administers("<item affiliation='member' jid='\(jid)'/>")
        }
    }
    try await second.enters(as: "secondwitch")
    try await third.enters(as: "thirdwitch")
    for actor in [first, second, third] { await actor.forgets() }
    return (first, second, third)
}

@Suite("Roles (XEP-0045 §8, §9)") struct RoleTests {
    @Test("Kicking (§8.2): who is kicked hears it first, then everybody, with the reason and who did it")
    func kick() async throws {
        try await playRooms { stage in
            let (first, second, third) = try await witches(stage)
            try await first.administers("<item nick='thirdwitch' role='none'><reason>Avaunt!</reason></item>")
            let item = "<item affiliation='none' role='none'><actor nick='firstwitch'/><reason>Avaunt!</reason></item>"
            try await third.sees("thirdwitch", item, statuses: [110, 307], type: "unavailable")
            try await first.sees("thirdwitch", item, statuses: [307], type: "unavailable")
            try await second.sees("thirdwitch", item, statuses: [307], type: "unavailable")
            // It may come again.
            try await third.enters(as: "thirdwitch")
            await first.forgets()
            await second.forgets()
            // By its full JID, and by its bare one.
            try await first.administers("<item jid='hag66@capulet.example/pda' role='none'/>")
            try await third.sees("thirdwitch", "<item role='none'/>", statuses: [110, 307], type: "unavailable")
            try await third.enters(as: "thirdwitch")
            try await first.administers("<item jid='hag66@capulet.example' role='none'/>")
            await first.forgets()
            await second.forgets()
            #expect(await third.everything().last?.statuses == [110, 307])
            try await stage.staysSilent()
        }
    }

    @Test("All clients behind a nick are kicked (§8.2)")
    func kickAll() async throws {
        try await playRooms { stage in
            let (first, second, third) = try await witches(stage)
            let phone = try await stage.enter("hag66@capulet.example/phone")
            try await phone.enters(as: "thirdwitch")
            for actor in [first, second, third, phone] { await actor.forgets() }
            try await first.administers("<item nick='thirdwitch' role='none'/>")
            for actor in [third, phone] {
                try await actor.sees("thirdwitch", "<item role='none'/>", statuses: [110, 307], type: "unavailable")
            }
            try await second.sees("thirdwitch", "<item role='none'/>", statuses: [307], type: "unavailable")
            await first.forgets()
            try await stage.staysSilent()
        }
    }

    @Test("Granting and revoking voice (§8.3, §8.4)")
    func voice() async throws {
        try await playRooms { stage in
            let (first, second, third) = try await witches(stage) { $0.isModerated = true }
            try await first.administers(
                "<item nick='thirdwitch' role='participant'><reason>A worthy witch indeed!</reason></item>")
            let granted = "<item affiliation='none' role='participant'><reason>A worthy witch indeed!</reason></item>"
            try await first.sees("thirdwitch", granted)
            try await second.sees("thirdwitch", granted)
            try await third.sees("thirdwitch", granted, statuses: [110])
            try await third.says("Hail")
            for actor in [first, second, third] { try await actor.receives("<message><body>Hail</body></message>") }
            try await first.administers("<item nick='thirdwitch' role='visitor'/>")
            for actor in [first, second] {
                try await actor.sees("thirdwitch", "<item affiliation='none' role='visitor'/>")
            }
            try await third.sees("thirdwitch", "<item role='visitor'/>", statuses: [110])
            try await third.says("Hail")
            try await third.receives("<message type='error'/>")
            // What is so already is done, and nobody hears of it.
            try await first.administers("<item nick='thirdwitch' role='visitor'/>")
            try await stage.staysSilent()
        }
    }

    @Test("The voice list, and changes by list, all or none (§8.5)")
    func voiceList() async throws {
        try await playRooms { stage in
            let (first, second, third) = try await witches(stage) { $0.isModerated = true }
            #expect(try await first.reads("role='participant'").isEmpty)
            try await first.administers(
                "<item nick='secondwitch' role='participant'/><item nick='thirdwitch' role='participant'/>")
            let list = try await first.reads("role='participant'")
            #expect(list.map { $0["nick"] } == ["secondwitch", "thirdwitch"])
            #expect(list.map { $0["jid"] } == ["wiccarocks@montague.example/laptop", "hag66@capulet.example/pda"])
            #expect(list.allSatisfy { $0["role"] == "participant" && $0["affiliation"] == "none" })
            for actor in [first, second, third] { await actor.forgets() }
            // One of them cannot be: none is.
            #expect(
                try await first.isDenied(
                    "<item nick='secondwitch' role='visitor'/>", "<item nick='firstwitch' role='visitor'/>"
                ).condition == .notAllowed)
            #expect(
                try await first.isDenied(
                    "<item nick='secondwitch' role='visitor'/>", "<item nick='nobody' role='visitor'/>"
                ).condition == .itemNotFound)
            #expect(try await first.reads("role='participant'").count == 2)
            #expect(try await first.reads("role='visitor'").isEmpty)
            // The list is for moderators.
            #expect(try await second.mayNotRead("role='participant'").condition == .forbidden)
            #expect(try await second.mayNotRead("role='moderator'").condition == .forbidden)
            #expect(try await second.isDenied("<item nick='thirdwitch' role='visitor'/>").condition == .forbidden)
            try await stage.staysSilent()
        }
    }

    @Test("Granting and revoking moderator status, and the list of moderators (§9.6 to §9.8)")
    func moderators() async throws {
        try await playRooms { stage in
            let (first, second, third) = try await witches(stage)
            try await first.administers("<item nick='thirdwitch' role='moderator'/>")
            for actor in [first, second] {
                try await actor.sees("thirdwitch", "<item affiliation='none' role='moderator'/>")
            }
            try await third.sees("thirdwitch", "<item role='moderator'/>", statuses: [110])
            // From now on it sees who is who (§7.2.4).
            try await third.sees("firstwitch", "<item jid='crone1@capulet.example/desktop'/>")
            try await third.sees("secondwitch", "<item jid='wiccarocks@montague.example/laptop'/>")
            #expect(try await first.reads("role='moderator'").map { $0["nick"] } == ["firstwitch", "thirdwitch"])
            // A moderator without affiliation makes no moderators, and unmakes none.
            #expect(try await third.mayNotRead("role='moderator'").condition == .forbidden)
            #expect(try await third.isDenied("<item nick='secondwitch' role='moderator'/>").condition == .forbidden)
            #expect(try await third.isDenied("<item nick='firstwitch' role='participant'/>").condition == .forbidden)
            #expect(try await third.isDenied("<item nick='firstwitch' role='none'/>").condition == .notAllowed)
            #expect(try await third.isDenied("<item nick='firstwitch' role='visitor'/>").condition == .notAllowed)
            // It kicks those without affiliation, and itself.
            try await third.administers("<item nick='secondwitch' role='none'/>")
            try await second.sees(
                "secondwitch", "<item role='none'><actor nick='thirdwitch'/></item>", statuses: [110, 307],
                type: "unavailable")
            try await first.administers("<item nick='thirdwitch' role='participant'/>")
            #expect(try await first.reads("role='moderator'").map { $0["nick"] } == ["firstwitch"])
            // Owners are moderators, whoever asks.
            #expect(try await first.isDenied("<item nick='firstwitch' role='participant'/>").condition == .notAllowed)
            await first.forgets()
            await third.forgets()
            try await stage.staysSilent()
        }
    }

    @Test("Owners and admins need not be in the room, outsiders may do nothing")
    func outsiders() async throws {
        try await playRooms(admins: "friar@montague.example") { stage in
            let (first, second, third) = try await witches(stage)
            let stranger = try await stage.enter("stranger@capulet.example/x")
            for item in [
                "nick='thirdwitch' role='none'", "jid='a@b.example' affiliation='outcast'", "nick='no' role='none'",
            ] {
                #expect(try await stranger.isDenied("<item \(item)/>").condition == .forbidden)
            }
            for list in ["role='participant'", "affiliation='outcast'", "affiliation='member'", "affiliation='owner'"] {
                #expect(try await stranger.mayNotRead("\(list)").condition == .forbidden)
            }
            // An owner's other client.
            let phone = try await stage.enter("crone1@capulet.example/phone")
            try await phone.administers("<item nick='thirdwitch' role='moderator'/>")
            #expect(try await phone.reads("affiliation='owner'").map { $0["jid"] } == ["crone1@capulet.example"])
            // Whoever administers the server.
            let friar = try await stage.enter("friar@montague.example/cell")
            try await friar.administers("<item nick='thirdwitch' role='none'/>")
            #expect(try await friar.reads("affiliation='owner'").count == 1)
            // No owner bans it.
            #expect(
                try await first.isDenied("<item jid='friar@montague.example' affiliation='outcast'/>").condition
                    == .notAllowed)
            for actor in [first, second, third] { await actor.forgets() }
            try await stage.staysSilent()
        }
    }
}

@Suite("Affiliations (XEP-0045 §9, §10)") struct AffiliationTests {
    @Test("Banning (§9.1): who is here is removed, and does not come back")
    func ban() async throws {
        try await playRooms { stage in
            let (first, second, third) = try await witches(stage)
            try await first.administers(
                "<item affiliation='outcast' jid='hag66@capulet.example/pda'><reason>Treason</reason></item>")
            let item =
                "<item affiliation='outcast' role='none'><actor nick='firstwitch'/><reason>Treason</reason></item>"
            try await third.sees("thirdwitch", item, statuses: [110, 301], type: "unavailable")
            for actor in [first, second] {
                try await actor.sees("thirdwitch", item, statuses: [301], type: "unavailable")
            }
            try await third.sends(
                "<presence to='\(coven)/hag'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
            try await third.receives(
                "<presence type='error'><error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
            )
            // The list (§9.2).
            let list = try await first.reads("affiliation='outcast'")
            #expect(list.map { $0["jid"] } == ["hag66@capulet.example"])
            #expect(list[0].text(of: "reason") == "Treason" && list[0]["nick"] == nil && list[0]["role"] == nil)
            try await first.administers("<item affiliation='none' jid='hag66@capulet.example'/>")
            #expect(try await first.reads("affiliation='outcast'").isEmpty)
            await first.forgets()
            try await third.enters(as: "thirdwitch")
            await first.forgets()
            await second.forgets()
            try await stage.staysSilent()
        }
    }

    @Test("Changes of the ban list are made together or not at all (§9.2)")
    func banList() async throws {
        try await playRooms { stage in
            let (first, second, third) = try await witches(stage)
            try await first.administers("<item affiliation='admin' jid='wiccarocks@montague.example'/>")
            await first.forgets()
            await second.forgets()
            await third.forgets()
            let harmless = "<item affiliation='outcast' jid='hag66@capulet.example'/>"
            for (item, condition) in [
                ("<item affiliation='outcast' jid='crone1@capulet.example'/>", StanzaError.Condition.notAllowed),
                ("<item affiliation='outcast' jid='wiccarocks@montague.example'/>", .conflict),
                ("<item affiliation='outcast' nick='secondwitch'/>", .conflict),
                ("<item affiliation='admin' jid='a@b.example'/>", .forbidden),
                ("<item affiliation='none' jid='crone1@capulet.example'/>", .forbidden),
                ("<item affiliation='none' nick='nobody'/>", .itemNotFound),
            ] {
                #expect(try await second.isDenied(harmless, item).condition == condition)
            }
            #expect(try await second.reads("affiliation='outcast'").isEmpty)
            // An owner bans itself no more than others do.
            #expect(
                try await first.isDenied("<item affiliation='outcast' jid='crone1@capulet.example'/>").condition
                    == .conflict)
            try await second.administers(harmless, "<item affiliation='outcast' jid='lordscroop@montague.example'/>")
            #expect(try await second.reads("affiliation='outcast'").count == 2)
            try await third.sees(
                "thirdwitch", "<item affiliation='outcast'/>", statuses: [110, 301], type: "unavailable")
        }
    }

    @Test("A domain is banned with all its users, but not those whom the room knows (§9.2)")
    func domainBan() async throws {
        try await playRooms { stage in
            let (first, second, third) = try await witches(stage)
            try await first.administers("<item affiliation='member' jid='wiccarocks@montague.example'/>")
            for actor in [first, second, third] { await actor.forgets() }
            let romeo = try await stage.enter("romeo@montague.example/x")
            try await romeo.enters(as: "romeo")
            for actor in [first, second, third] { await actor.forgets() }
            try await first.administers("<item affiliation='outcast' jid='montague.example'/>")
            try await romeo.sees("romeo", "<item affiliation='outcast'/>", statuses: [110, 301], type: "unavailable")
            try await second.sees("romeo", "<item affiliation='outcast'/>", statuses: [301], type: "unavailable")
            try await romeo.sends(
                "<presence to='\(coven)/r'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
            try await romeo.receives("<presence type='error'/>")
            #expect(try stage.room().occupant(nick: "secondwitch") != nil)
            #expect(try await first.reads("affiliation='outcast'").map { $0["jid"] } == ["montague.example"])
            // The one is let in again, and then all.
            try await first.administers("<item affiliation='member' jid='romeo@montague.example'/>")
            await romeo.forgets()
            try await romeo.enters(as: "romeo")
            try await first.administers("<item affiliation='none' jid='montague.example'/>")
            #expect(try stage.room().affiliation(of: JID("benvolio@montague.example")!) == .none)
        }
    }

    @Test("Granting and revoking membership (§9.3, §9.4)")
    func membership() async throws {
        try await playRooms { stage in
            let (first, second, third) = try await witches(stage) { $0.isModerated = true }
            try await first.administers(
                "<item affiliation='member' jid='hag66@capulet.example' nick='thirdwitch'><reason>Worthy</reason></item>"
            )
            let granted = "<item affiliation='member' role='participant'><reason>Worthy</reason></item>"
            for actor in [first, second] { try await actor.sees("thirdwitch", granted) }
            try await third.sees("thirdwitch", granted, statuses: [110])
            let list = try await first.reads("affiliation='member'")
            #expect(list.map { $0["nick"] } == ["thirdwitch"] && list[0]["role"] == nil)
            // The nick is its own now (§7.2.8), and another one may not get it.
            let other = try await stage.enter("other@capulet.example/x")
            try await third.sends("<presence to='\(coven)/thirdwitch' type='unavailable'/>")
            for actor in [first, second, third] { await actor.forgets() }
            try await other.sends(
                "<presence to='\(coven)/Thirdwitch'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
            try await other.receives(
                "<presence type='error'><error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
            )
            #expect(
                try await first.isDenied("<item affiliation='member' jid='other@capulet.example' nick='THIRDWITCH'/>")
                    .condition == .conflict)
            #expect(
                try await first.isDenied("<item affiliation='member' jid='other@capulet.example' nick='secondwitch'/>")
                    .condition == .conflict)
            // An empty nick gives it up (§9.5).
            try await first.administers("<item affiliation='member' jid='hag66@capulet.example' nick=''/>")
            try await other.enters(as: "thirdwitch")
            for actor in [first, second] { await actor.forgets() }
            try await first.administers("<item affiliation='none' jid='hag66@capulet.example'/>")
            #expect(try await first.reads("affiliation='member'").isEmpty)
        }
    }

    @Test("Who loses its membership leaves a members-only room, in one presence (§9.4)")
    func membersOnly() async throws {
        try await playRooms { stage in
            let (first, second, third) = try await witches(stage) { $0.isMembersOnly = true }
            try await first.administers("<item affiliation='none' jid='hag66@capulet.example'/>")
            let item = "<item affiliation='none' role='none'><actor nick='firstwitch'/></item>"
            try await third.sees("thirdwitch", item, statuses: [110, 321], type: "unavailable")
            for actor in [first, second] {
                try await actor.sees("thirdwitch", item, statuses: [321], type: "unavailable")
            }
            try await third.sends(
                "<presence to='\(coven)/t'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
            try await third.receives(
                "<presence type='error'><error><registration-required xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
            )
            try await stage.staysSilent()
        }
    }

    @Test("The member list is for members where JIDs are no secret (§9.5)")
    func memberList() async throws {
        try await playRooms { stage in
            let (first, second, third) = try await witches(stage) {
                $0.isMembersOnly = true
                $0.whois = .anyone
            }
            let members = ["hag66@capulet.example", "wiccarocks@montague.example"]
            #expect(try await second.reads("affiliation='member'").map { $0["jid"] } == members)
            #expect(try await second.reads("affiliation='member'").map { $0["nick"] } == ["thirdwitch", "secondwitch"])
            #expect(try await second.reads("affiliation='owner'").map { $0["jid"] } == ["crone1@capulet.example"])
            #expect(try await second.reads("affiliation='admin'").isEmpty)
            #expect(try await second.mayNotRead("affiliation='outcast'").condition == .forbidden)
            // Also when it is not in the room.
            let elsewhere = try await stage.enter("wiccarocks@montague.example/phone")
            #expect(try await elsewhere.reads("affiliation='member'").count == 2)
            try await second.sends("<presence to='\(coven)/s' type='unavailable'/>")
            #expect(try await elsewhere.reads("affiliation='member'").count == 2)
            try stage.settings { $0.memberListRoles = [.moderator] }
            #expect(try await third.mayNotRead("affiliation='member'").condition == .forbidden)
            try stage.settings {
                $0.memberListRoles = [.moderator, .participant]
                $0.whois = .moderators
            }
            #expect(try await third.mayNotRead("affiliation='member'").condition == .forbidden)
            #expect(try await first.reads("affiliation='member'").count == 2)
        }
    }

    @Test("Admins and owners: granting, revoking, lists (§10.3 to §10.8)")
    func adminsAndOwners() async throws {
        try await playRooms { stage in
            let (first, second, third) = try await witches(stage)
            try await first.administers("<item affiliation='admin' jid='wiccarocks@montague.example'/>")
            for actor in [first, third] {
                try await actor.sees("secondwitch", "<item affiliation='admin' role='moderator'/>")
            }
            try await second.sees("secondwitch", "<item affiliation='admin' role='moderator'/>", statuses: [110])
            await second.forgets()
            #expect(try await first.reads("affiliation='admin'").map { $0["jid"] } == ["wiccarocks@montague.example"])
            // Where JIDs are hidden these lists are the owners' (§10.5, §10.8); an admin changes none of them.
            #expect(try await second.mayNotRead("affiliation='admin'").condition == .forbidden)
            #expect(try await second.mayNotRead("affiliation='owner'").condition == .forbidden)
            #expect(
                try await second.isDenied("<item affiliation='owner' jid='hag66@capulet.example'/>").condition
                    == .forbidden)
            #expect(
                try await second.isDenied("<item affiliation='none' jid='wiccarocks@montague.example'/>").condition
                    == .forbidden)
            // There is always an owner (§10.4).
            for affiliation in ["admin", "member", "none"] {
                #expect(
                    try await first.isDenied("<item affiliation='\(affiliation)' jid='crone1@capulet.example'/>")
                        .condition
                        == .conflict)
            }
            // Whoever takes over may be made owner in the same breath.
            try await first.administers(
                "<item affiliation='none' jid='crone1@capulet.example'/>",
                "<item affiliation='owner' jid='hag66@capulet.example/pda'/>")
            #expect(try await third.reads("affiliation='owner'").map { $0["jid"] } == ["hag66@capulet.example"])
            #expect(try stage.room().occupant(nick: "firstwitch")?.role == .participant)
            for actor in [first, second, third] { await actor.forgets() }
            // Revoking (§10.4, §10.7).
            try await third.administers("<item affiliation='none' jid='wiccarocks@montague.example'/>")
            try await first.sees("secondwitch", "<item affiliation='none' role='participant'/>")
            try await second.sees("secondwitch", "<item affiliation='none' role='participant'/>", statuses: [110])
            #expect(
                try await third.isDenied("<item affiliation='none' jid='hag66@capulet.example'/>").condition
                    == .conflict)
        }
    }

    @Test("What owners decided is there after a restart")
    func restart() async throws {
        try await playRooms { stage in
            let (first, _, _) = try await witches(stage) { $0.isPersistent = true }
            try await first.administers(
                "<item affiliation='outcast' jid='hag66@capulet.example'><reason>Treason</reason></item>",
                "<item affiliation='admin' jid='wiccarocks@montague.example' nick='second'/>")
            try await stage.restart()
            let again = try await stage.enter("crone1@capulet.example/desktop")
            let outcasts = try await again.reads("affiliation='outcast'")
            #expect(outcasts.map { $0["jid"] } == ["hag66@capulet.example"])
            #expect(outcasts[0].text(of: "reason") == "Treason")
            #expect(try await again.reads("affiliation='admin'").map { $0["nick"] } == ["second"])
        }
    }

    // MARK: Those who are not here

    @Test("What happens to those who are not here is told in messages (§10.3, §18.1)")
    func absent() async throws {
        try await playRooms { stage in
            let (first, second, third) = try await witches(stage)
            let hecate = try await stage.enter("hecate@montague.example/broom")
            try await first.administers("<item affiliation='admin' jid='hecate@montague.example'/>")
            let item = "<item affiliation='admin' jid='hecate@montague.example' role='none'"
            let notice = try await first.receives(
                "<message from='\(coven)'><x \(user)>\(item)><actor nick='firstwitch'/></item></x></message>")
            #expect(notice["type"] == nil && notice.statuses.isEmpty && notice["id"] != nil)
            let own = try await hecate.receives(
                "<message from='\(coven)'><x \(user)>\(item)/><status code='101'/></x></message>")
            #expect(own.child("body") == nil)
            // Those who may not know JIDs learn nothing, and strangers nothing of rooms that ban them.
            try await first.administers("<item affiliation='outcast' jid='romeo@montague.example'/>")
            try await first.receives(
                "<message><x \(user)><item affiliation='outcast' jid='romeo@montague.example'/></x></message>")
            try await stage.staysSilent()
            // Where JIDs are no secret members hear of members; who is banned is for admins (§9.2).
            try stage.settings { $0.whois = .anyone }
            try await first.administers("<item affiliation='member' jid='macbeth@capulet.example'/>")
            for actor in [first, second, third] {
                try await actor.receives(
                    "<message><x \(user)><item affiliation='member' jid='macbeth@capulet.example'/></x></message>")
            }
            try await first.administers("<item affiliation='outcast' jid='macbeth@capulet.example'/>")
            try await first.receives("<message><x \(user)><item affiliation='outcast'/></x></message>")
            for actor in [second, third] {
                try await actor.receives("<message><x \(user)><item affiliation='none'/></x></message>")
            }
            try await first.administers("<item affiliation='outcast' jid='duncan@capulet.example'/>")
            try await first.receives("<message><x \(user)><item affiliation='outcast'/></x></message>")
            try await stage.staysSilent()
        }
    }

    @Test("Who is put on the list of a members-only room is invited (§9.5)")
    func invitation() async throws {
        try await playRooms { stage in
            let (first, _, _) = try await witches(stage) { $0.isMembersOnly = true }
            try stage.settings { $0.password = "cauldronburn" }
            let hecate = try await stage.enter("hecate@montague.example/broom")
            try await first.administers("<item affiliation='member' jid='hecate@montague.example'/>")
            try await hecate.receives(
                """
                <message from='\(coven)'><x \(user)><invite from='crone1@capulet.example'/>
                <password>cauldronburn</password><item affiliation='member'/><status code='101'/></x></message>
                """)
            try await hecate.enters(as: "hecate", "<password>cauldronburn</password>")
        }
    }
}

@Suite("Hostile administration (XEP-0045 §14.6)") struct HostileAdministrationTests {
    @Test(
        "What is malformed is refused",
        arguments: [
            ("", StanzaError.Condition.badRequest),
            ("<item/>", .badRequest), ("<item nick='thirdwitch'/>", .badRequest),
            ("<item nick='thirdwitch' role='none' affiliation='outcast'/>", .badRequest),
            ("<item nick='thirdwitch' role='king'/>", .badRequest),
            ("<item jid='a@b.example' affiliation='king'/>", .badRequest),
            ("<item role='none'/>", .badRequest), ("<item affiliation='outcast'/>", .badRequest),
            ("<item nick='' role='none'/>", .badRequest),
            ("<item jid='@@' affiliation='outcast'/>", .jidMalformed),
            ("<item jid='' affiliation='none'/>", .jidMalformed),
            ("<item jid='a@b.example' affiliation='member' nick='&#x200e;'/>", .badRequest),
            (
                "<item jid='a@b.example' affiliation='member'/><item jid='a@b.example/x' affiliation='none'/>",
                .badRequest
            ),
            ("<item nick='thirdwitch' role='none'/><item nick='Thirdwitch' role='visitor'/>", .badRequest),
            (
                "<item jid='a@b.example' affiliation='member' nick='x'/><item jid='c@b.example' affiliation='member' nick='X'/>",
                .conflict
            ),
        ])
    func malformed(_ items: String, _ condition: StanzaError.Condition) async throws {
        try await playRooms { stage in
            let (first, second, third) = try await witches(stage)
            #expect(try await first.isDenied(items).condition == condition)
            // To those who may do nothing it is all the same.
            if condition != .badRequest, condition != .jidMalformed {
                #expect(try await second.isDenied(items).condition == .forbidden)
            }
            try await third.says("Still here")
            for actor in [first, second, third] {
                try await actor.receives("<message><body>Still here</body></message>")
            }
            try await stage.staysSilent()
        }
    }

    @Test(
        "Lists that there are not",
        arguments: ["", "role='none'", "affiliation='none'", "role='x'", "role='visitor' affiliation='member'"])
    func lists(_ list: String) async throws {
        try await playRooms { stage in
            let (first, _, _) = try await witches(stage)
            #expect(try await first.mayNotRead(list).condition == .badRequest)
        }
    }

    @Test("10,000 affiliations in one set are refused at once, and the room goes on")
    func flood() async throws {
        try await playRooms { stage in
            stage.server.limits.authenticated = XMLLimits(elementBytes: 10_000_000)
            let (first, _, third) = try await witches(stage)
            let items = (0..<10_000).map { "<item jid='u\($0)@x.example' affiliation='member' nick='n\($0)'/>" }
                .joined()
            #expect(try await first.isDenied(items).condition == .policyViolation)
            #expect(try await first.reads("affiliation='member'").isEmpty)
            try await third.says("Still here")
            try await first.receives("<message><body>Still here</body></message>")
        }
    }

    @Test(
        "Where the limit is high, 10,000 affiliations take no minutes; and there is an end to what a room keeps",
        .timeLimit(.minutes(3)))
    func affiliationLimit() async throws {
        try await playRooms("max_list_changes: 100000, max_affiliations: 10000") { stage in
            stage.server.limits.authenticated = XMLLimits(elementBytes: 10_000_000)
            let (first, _, third) = try await witches(stage)
            let most = (0..<10_000).map { "<item jid='u\($0)@x.example' affiliation='outcast'/>" }.joined()
            try await first.administers(most)
            // They are told in turns.
            await stage.advance(by: .seconds(1))
            await first.forgets()
            #expect(try await first.reads("affiliation='outcast'").count == 10_000)
            #expect(
                try await first.isDenied("<item jid='one@more.example' affiliation='outcast'/>").condition
                    == .resourceConstraint)
            // What makes none more goes on.
            try await first.administers("<item jid='u1@x.example' affiliation='member'/>")
            try await first.administers("<item jid='u2@x.example' affiliation='none'/>")
            try await first.administers("<item jid='one@more.example' affiliation='outcast'/>")
            await first.forgets()
            await third.forgets()
            try await third.says("Still here")
            try await first.receives("<message><body>Still here</body></message>")
        }
    }

    @Test("A long reason is cut")
    func reason() async throws {
        try await playRooms { stage in
            let (first, _, _) = try await witches(stage)
            let reason = String(repeating: "🦉", count: 5_000)
            try await first.administers(
                "<item jid='a@b.example' affiliation='outcast'><reason>\(reason)</reason></item>")
            await first.forgets()
            #expect(try await first.reads("affiliation='outcast'")[0].text(of: "reason")?.count == 1_000)
        }
    }
}
