import ServerKit
import TestKit
import Testing

@testable import MUC

/// The tables of XEP-0045 §5, row by row.
@Suite("Privileges (XEP-0045 §5)") struct PrivilegeTests {
    private static let affiliations: [Affiliation] = [.none, .member, .admin, .owner]

    private static func condition(_ body: () throws(StanzaError) -> Void) -> StanzaError.Condition? {
        do throws(StanzaError) { try body() } catch { return error.condition }
        return nil
    }

    // MARK: Roles

    @Test("The first role follows from the affiliation (§5.1.2)")
    func defaultRoles() {
        let moderated: [Affiliation: Role] = [
            .outcast: .none, .none: .visitor, .member: .participant, .admin: .moderator, .owner: .moderator,
        ]
        let unmoderated: [Affiliation: Role] = [
            .outcast: .none, .none: .participant, .member: .participant, .admin: .moderator, .owner: .moderator,
        ]
        for affiliation in Affiliation.allCases {
            #expect(affiliation.initialRole(isModerated: true) == moderated[affiliation])
            #expect(affiliation.initialRole(isModerated: false) == unmoderated[affiliation])
        }
    }

    /// A row: who asks, for what, of whom in which role, and how it goes, by the affiliation of the target: none, member,
    /// admin, owner. `+` may, `f` forbidden, `n` not-allowed.
    private static let roleChanges: [(Affiliation, Role, new: Role, of: Role, String)] = [
        // §5.1.1: visitors and participants kick nobody, nor grant or revoke voice.
        (.none, .visitor, .none, .visitor, "ffff"), (.none, .visitor, .participant, .visitor, "ffff"),
        (.none, .participant, .none, .visitor, "ffff"), (.none, .participant, .visitor, .participant, "ffff"),
        (.member, .participant, .none, .participant, "ffff"), (.member, .participant, .moderator, .visitor, "ffff"),
        (.member, .none, .none, .participant, "ffff"),
        // §8.2: moderators kick, but nobody with a higher affiliation.
        (.none, .moderator, .none, .visitor, "+nnn"), (.none, .moderator, .none, .participant, "+nnn"),
        (.member, .moderator, .none, .participant, "++nn"), (.admin, .moderator, .none, .participant, "+++n"),
        (.owner, .moderator, .none, .participant, "++++"),
        // §5.1.3: moderators are kicked by admins and owners.
        (.none, .moderator, .none, .moderator, "nnnn"), (.member, .moderator, .none, .moderator, "nnnn"),
        (.admin, .moderator, .none, .moderator, "+++n"), (.owner, .moderator, .none, .moderator, "++++"),
        // §8.3: moderators grant voice.
        (.none, .moderator, .participant, .visitor, "++++"), (.member, .moderator, .participant, .visitor, "++++"),
        (.admin, .moderator, .participant, .visitor, "++++"), (.owner, .none, .participant, .visitor, "++++"),
        // §8.4: they revoke it, of nobody at their level, and nobody does of admins and owners.
        (.none, .moderator, .visitor, .participant, "+nnn"), (.member, .moderator, .visitor, .participant, "+nnn"),
        (.admin, .moderator, .visitor, .participant, "++nn"), (.owner, .moderator, .visitor, .participant, "++nn"),
        // §5.1.3: of moderators only admins and owners revoke it.
        (.none, .moderator, .visitor, .moderator, "nnnn"), (.member, .moderator, .visitor, .moderator, "nnnn"),
        (.admin, .moderator, .visitor, .moderator, "++nn"), (.owner, .moderator, .visitor, .moderator, "++nn"),
        // §9.6: admins and owners make moderators.
        (.none, .moderator, .moderator, .participant, "ffff"), (.member, .moderator, .moderator, .visitor, "ffff"),
        (.admin, .moderator, .moderator, .visitor, "++++"), (.admin, .none, .moderator, .participant, "++++"),
        (.owner, .moderator, .moderator, .participant, "++++"),
        // §9.7, §9.8: and unmake them, unless they are admins or owners.
        (.none, .moderator, .participant, .moderator, "ffff"), (.member, .moderator, .participant, .moderator, "ffff"),
        (.admin, .moderator, .participant, .moderator, "++nn"), (.owner, .moderator, .participant, .moderator, "++nn"),
        (.owner, .none, .participant, .moderator, "++nn"),
    ]

    @Test("Who changes whose role (§5.1.1, §5.1.3, §8.2 to §8.4, §9.6, §9.7)", arguments: roleChanges.indices)
    func roles(_ index: Int) {
        let row = Self.roleChanges[index]
        let actor = Standing(affiliation: row.0, role: row.1)
        for (affiliation, expected) in zip(Self.affiliations, row.4) {
            let target = Standing(affiliation: affiliation, role: row.of)
            let found = Self.condition { () throws(StanzaError) in try actor.checkMay(give: row.new, to: target) }
            #expect(Self.letter(found) == expected, "\(actor) gives \(row.new) to \(target)")
        }
    }

    @Test("A moderator may kick itself, and nothing else comes easier (§8.2)")
    func ownRole() {
        for affiliation in Self.affiliations {
            let actor = Standing(affiliation: affiliation, role: .moderator)
            #expect(
                Self.condition { () throws(StanzaError) in
                    try actor.checkMay(give: .none, to: actor, isSelf: true)
                } == nil)
        }
        let owner = Standing(affiliation: .owner, role: .moderator)
        #expect(
            Self.condition { () throws(StanzaError) in
                try owner.checkMay(give: .visitor, to: owner, isSelf: true)
            } == .notAllowed)
        let participant = Standing(affiliation: .none, role: .participant)
        #expect(
            Self.condition { () throws(StanzaError) in
                try participant.checkMay(give: .none, to: participant, isSelf: true)
            } == .forbidden)
    }

    // MARK: Affiliations

    /// A row of the state chart: from an affiliation to outcast, none, member, admin, owner, as an admin and as an owner.
    private static let affiliationChanges: [(Affiliation, admin: String, owner: String)] = [
        (.outcast, "+++ff", "+++++"), (.none, "+++ff", "+++++"), (.member, "+++ff", "+++++"),
        (.admin, "nffff", "+++++"), (.owner, "nffff", "+++++"),
    ]

    @Test("Who changes whose affiliation (§5.2.1, §5.2.2, §9, §10)", arguments: affiliationChanges.indices)
    func affiliations(_ index: Int) {
        let row = Self.affiliationChanges[index]
        let columns: [Affiliation] = [.outcast, .none, .member, .admin, .owner]
        for (position, new) in columns.enumerated() {
            for actor in Affiliation.allCases {
                let expected: Character =
                    switch actor {
                    case .outcast, .none, .member: "f"
                    case .admin: Array(row.admin)[position]
                    case .owner: Array(row.owner)[position]
                    }
                // Whether it is a moderator makes no difference.
                for role in Role.allCases {
                    let found = Self.condition { () throws(StanzaError) in
                        try Standing(affiliation: actor, role: role).checkMay(make: new, from: row.0)
                    }
                    #expect(Self.letter(found) == expected, "\(actor) makes \(row.0) \(new)")
                }
            }
        }
    }

    @Test("Nobody bans itself (§9.1)")
    func ownBan() {
        for affiliation in [Affiliation.admin, .owner] {
            #expect(
                Self.condition { () throws(StanzaError) in
                    try Standing(affiliation: affiliation, role: .moderator)
                        .checkMay(make: .outcast, from: affiliation, isSelf: true)
                } == .conflict)
        }
    }

    private static func letter(_ condition: StanzaError.Condition?) -> Character {
        switch condition {
        case nil: "+"
        case .forbidden: "f"
        case .notAllowed: "n"
        default: "?"
        }
    }

    // MARK: Lists

    /// A row: who reads, and which of the lists of owners, admins, members, outcasts, where JIDs are hidden and where not.
    private static let lists: [(Affiliation, Role, hidden: String, open: String)] = [
        (.outcast, .none, "", ""), (.none, .none, "", ""), (.none, .visitor, "", ""),
        (.none, .participant, "", "oam"), (.none, .moderator, "m", "oam"),
        (.member, .none, "", "oam"), (.member, .visitor, "", "oam"), (.member, .participant, "", "oam"),
        (.member, .moderator, "m", "oam"),
        (.admin, .none, "mx", "oamx"), (.admin, .moderator, "mx", "oamx"),
        (.owner, .none, "oamx", "oamx"), (.owner, .moderator, "oamx", "oamx"),
    ]

    @Test("Who reads which list (§5.2.1, §9.2, §9.5, §10.5, §10.8)", arguments: lists.indices)
    func readable(_ index: Int) {
        let row = Self.lists[index]
        var settings = RoomSettings()
        let reader = Standing(affiliation: row.0, role: row.1)
        #expect(Self.letters(reader.readableLists(settings)) == row.hidden, "\(reader)")
        settings.whois = .anyone
        #expect(Self.letters(reader.readableLists(settings)) == row.open, "\(reader)")
    }

    @Test("The room's owner says which roles get the member list (§9.5)")
    func memberList() {
        var settings = RoomSettings()
        settings.whois = .anyone
        settings.memberListRoles = []
        #expect(Standing(affiliation: .member, role: .participant).readableLists(settings) == [])
        #expect(Standing(affiliation: .none, role: .moderator).readableLists(settings) == [])
        #expect(Standing(affiliation: .admin, role: .moderator).readableLists(settings) == .all)
        settings.memberListRoles = [.moderator]
        #expect(Standing(affiliation: .member, role: .participant).readableLists(settings) == [])
        #expect(Standing(affiliation: .none, role: .moderator).readableLists(settings).contains(.members))
        settings.memberListRoles = [.visitor]
        #expect(Standing(affiliation: .none, role: .visitor).readableLists(settings).contains(.members))
    }

    private static func letters(_ lists: AffiliationLists) -> String {
        let all: [(String, AffiliationLists)] = [("o", .owners), ("a", .admins), ("m", .members), ("x", .outcasts)]
        return all.filter { lists.contains($0.1) }.map(\.0).joined()
    }

    // MARK: What each role may do, in a room

    @Test("What visitors, participants and moderators may do (§5.1.1)")
    func roleTable() async throws {
        try await playRooms { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.makesRoom(as: "firstwitch")
            try stage.settings { $0.isModerated = true }
            let other = try await stage.enter("wiccarocks@montague.example/laptop")
            try await other.enters(as: "secondwitch")
            let actor = try await stage.enter("hag66@capulet.example/pda")
            try await actor.enters(as: "thirdwitch")
            for role in [Role.visitor, .participant, .moderator] {
                try await owner.administers("<item nick='thirdwitch' role='\(role)'/>")
                await owner.forgets()
                await other.forgets()
                await actor.forgets()
                // Receive messages.
                try await owner.says("Hail")
                try await actor.receives(
                    "<message type='groupchat' from='\(coven)/firstwitch'><body>Hail</body></message>")
                // Receive occupant presence, broadcast presence, change availability status.
                try await actor.sends(
                    "<presence to='\(coven)/thirdwitch'><show>\(role == .visitor ? "away" : "dnd")</show></presence>")
                try await other.receivesAnywhere("<presence from='\(coven)/thirdwitch'><show/></presence>")
                try await other.sends("<presence to='\(coven)/secondwitch'><show>xa</show></presence>")
                try await actor.receivesAnywhere("<presence from='\(coven)/secondwitch'><show>xa</show></presence>")
                // Change room nickname.
                try await actor.sends("<presence to='\(coven)/hag'/>")
                try await other.receivesAnywhere("<presence from='\(coven)/hag'/>")
                try await actor.sends("<presence to='\(coven)/thirdwitch'/>")
                await actor.forgets()
                // Send messages to all, modify the subject.
                try await actor.says("All hail", id: "talk")
                try await actor.sends(
                    "<message to='\(coven)' type='groupchat' id='subject'><subject>\(role)</subject></message>")
                let answers = await actor.everything().filter { $0.name == "message" }
                #expect(
                    answers.map { $0["type"] } == [
                        role == .visitor ? "error" : "groupchat", role == .moderator ? "groupchat" : "error",
                    ])
                // Kick, grant voice, revoke voice.
                for item in [
                    "<item nick='secondwitch' role='participant'/>", "<item nick='secondwitch' role='visitor'/>",
                    "<item nick='secondwitch' role='none'/>",
                ] {
                    if role == .moderator {
                        try await actor.administers(item)
                    } else {
                        #expect(try await actor.isDenied(item).condition == .forbidden)
                    }
                }
                await other.forgets()
            }
            #expect(try stage.room().occupant(nick: "secondwitch") == nil)
        }
    }

    @Test("Who administers the service owns its rooms, whatever their owners say of it or its domain")
    func service() async throws {
        try await playRooms(admins: "friar@montague.example") { stage in
            let owner = try await stage.enter("crone1@capulet.example/desktop")
            try await owner.makesRoom(as: "firstwitch")
            let friar = try await stage.enter("friar@montague.example/cell")
            for item in [
                "jid='friar@montague.example' affiliation='member'", "jid='montague.example' affiliation='outcast'",
            ] {
                try await owner.administers("<item \(item)/>")
                try await friar.administers("<item jid='a@x.example' affiliation='owner'/>")
                try await friar.enters(as: "friar")
                #expect(try stage.room().occupant(nick: "friar")?.affiliation == .owner)
            }
            let ban = "<item jid='friar@montague.example' affiliation='outcast'/>"
            #expect(try await owner.isDenied(ban).condition == .notAllowed)
        }
    }

    @Test("What the affiliations may do (§5.2.1)")
    func affiliationTable() async throws {
        try await playRooms { stage in
            let founder = try await stage.enter("founder@capulet.example/x")
            try await founder.makesRoom(as: "founder")
            let other = try await stage.enter("other@capulet.example/x")
            for affiliation in [Affiliation.outcast, .none, .member, .admin, .owner] {
                let jid = "\(affiliation)@montague.example"
                let actor = try await stage.enter("\(jid)/x")
                try stage.settings { $0.isMembersOnly = false }
                try await founder.administers("<item jid='\(jid)' affiliation='\(affiliation)'/>")
                await actor.forgets()
                // Enter an open room, enter a members-only room.
                let enter =
                    "<presence to='\(coven)/\(affiliation)'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
                try await actor.sends(enter)
                #expect(await actor.everything().contains { $0.hasStatus(110) } == (affiliation >= .none))
                try await actor.sends("<presence to='\(coven)/\(affiliation)' type='unavailable'/>")
                await actor.forgets()
                try stage.settings { $0.isMembersOnly = true }
                try await actor.sends(enter)
                #expect(await actor.everything().contains { $0.hasStatus(110) } == (affiliation >= .member))
                try stage.settings { $0.isMembersOnly = false }
                try await actor.sends(enter)
                await actor.forgets()
                // Retrieve the member list, in a room where JIDs are no secret.
                try stage.settings {
                    $0.whois = .anyone
                    $0.memberListRoles = [.moderator, .participant]
                }
                let mayRead = affiliation >= .none
                if mayRead {
                    _ = try await actor.reads("affiliation='member'")
                } else {
                    #expect(try await actor.mayNotRead("affiliation='member'").condition == .forbidden)
                }
                try stage.settings { $0.whois = .moderators }
                // Ban, edit the member list, assign and remove the moderator role; edit the admin list and the owner list.
                try await other.enters(as: "other")
                let admin = [
                    "<item jid='a@capulet.example' affiliation='outcast'/>",
                    "<item jid='a@capulet.example' affiliation='none'/>",
                    "<item jid='a@capulet.example' affiliation='member'/>",
                    "<item nick='other' role='moderator'/>", "<item nick='other' role='participant'/>",
                ]
                let owner = [
                    "<item jid='a@capulet.example' affiliation='admin'/>",
                    "<item jid='a@capulet.example' affiliation='none'/>",
                    "<item jid='b@capulet.example' affiliation='owner'/>",
                    "<item jid='b@capulet.example' affiliation='none'/>",
                ]
                for (items, least) in [(admin, Affiliation.admin), (owner, .owner)] {
                    for item in items {
                        // What an admin took from a list of its own is no matter of the owner's lists.
                        if least == .owner, affiliation == .admin, item.contains("'none'") { continue }
                        if affiliation >= least {
                            try await actor.administers(item)
                        } else {
                            #expect(try await actor.isDenied(item).condition == .forbidden, "\(affiliation) \(item)")
                        }
                    }
                }
                // Change the configuration.
                let form =
                    "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>"
                if affiliation == .owner {
                    try await actor.asks(.set, form, to: coven)
                } else {
                    #expect(try await actor.isRefused(.set, form, to: coven).condition == .forbidden)
                }
                for somebody in [actor, other] {
                    try await somebody.sends("<presence to='\(coven)/x' type='unavailable'/>")
                    await somebody.forgets()
                }
            }
        }
    }
}
