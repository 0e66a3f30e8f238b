import ServerKit

extension RoomField {
    /// The form, section by section.
    static let sections: [Section] = [
        Section(
            title: "What the room is about",
            fields: [
                text(
                    "muc#roomconfig_roomname", "Name of the room", \.title, limit: \.maxTitle,
                    check: { $0.contains(where: \.isNewline) ? "has more than one line" : nil }),
                text("muc#roomconfig_roomdesc", "Description", \.description, limit: \.maxDescription),
                text(
                    "muc#roomconfig_lang", "Language of the discussion, such as en", \.language, limit: \.maxTitle,
                    check: { $0.isLanguageTag ? nil : "is no language tag" }),
                addresses(
                    "muc#roominfo_contactjid", "Whom to ask about the room", limit: \.maxContacts,
                    { $0.settings.contacts }, set: { $0.settings.contacts = $1 }),
                text(
                    "muc#roomconfig_pubsub", "XMPP URI of a node that belongs to the room", \.pubsubNode,
                    limit: \.maxDescription, check: { $0.hasPrefix("xmpp:") ? nil : "is no XMPP URI" }),
            ]),
        Section(
            title: "Who finds it and who enters",
            fields: [
                bool("muc#roomconfig_publicroom", "Show the room in public lists", \.isPublic),
                bool("muc#roomconfig_persistentroom", "Keep the room when nobody is in it", \.isPersistent),
                bool("muc#roomconfig_membersonly", "Let members only enter", \.isMembersOnly),
                isProtected, secret, maxOccupants,
                bool(
                    "muc#roomconfig_allowinvites", "In a room for members only, let members invite others",
                    \.occupantsInvite),
                bool("x-muc#roomconfig_registration", "Let people register with the room", \.allowsRegistration),
                bool(
                    "x-muc#roomconfig_reservednick", "Make those who have registered a nick use it", \.locksNicks),
            ]),
        Section(
            title: "What is seen of those who are here",
            fields: [
                choice("muc#roomconfig_whois", "Who sees real addresses", \.whois) { (whois: RoomSettings.Whois) in
                    switch whois {
                    case .moderators: "Moderators only"
                    case .anyone: "Anyone"
                    }
                },
                roles("muc#roomconfig_presencebroadcast", "Roles whose presence everybody sees", \.shownRoles),
                roles("muc#roomconfig_getmemberlist", "Roles that may get the member list", \.memberListRoles),
            ]),
        Section(
            title: "Who may say what",
            fields: [
                bool("muc#roomconfig_moderatedroom", "Let only those speak who have been given voice", \.isModerated),
                bool("muc#roomconfig_allowvoicerequests", "Let visitors ask for voice", \.allowsVoiceRequests),
                bool(
                    "muc#roomconfig_changesubject", "Let participants change the subject",
                    \.participantsChangeSubject),
                choice("muc#roomconfig_allowpm", "Who may send private messages", \.privateMessages) {
                    (who: RoomSettings.PrivateMessages) in
                    switch who {
                    case .anyone: "Anyone"
                    case .participants: "Those who have voice"
                    case .moderators: "Moderators only"
                    case .none: "Nobody"
                    }
                },
                // Of ejabberd; clients show what has a label.
                bool("allow_query_users", "Let occupants ask each other for more than messages", \.allowsQueries),
                // XEP-0500 §5.1.
                number(
                    "muc#roomconfig_slow_mode_duration",
                    "Seconds that a participant waits between two messages, 0 for none", \.slowModeSeconds,
                    max: 86_400),
            ]),
        Section(
            title: "What is kept",
            fields: [
                historyLength, isArchived, retention,
                bool(
                    "muc#roomconfig_enablelogging", "Say that the discussion is published elsewhere", \.isLogged),
                text(
                    "muc#roominfo_logs", "Address of what is published", \.logsURL, limit: \.maxDescription,
                    check: { $0.isWebAddress ? nil : "is no address that begins with https:// or http://" }),
            ]),
        Section(
            title: "Who looks after it. These are whole lists: who is missing has no part in it any more",
            fields: [
                addresses(
                    "muc#roomconfig_roomadmins", "Admins", limit: \.maxListed,
                    { $0.affiliates(with: .admin).map(\.jid) }, set: { $0.admins = $1 }),
                addresses(
                    "muc#roomconfig_roomowners", "Owners", limit: \.maxListed,
                    { $0.affiliates(with: .owner).map(\.jid) }, set: { $0.owners = $1 }),
            ]),
    ]

    static let all: [RoomField] = sections.flatMap(\.fields)

    // MARK: Fields of their own kind

    private static let isProtected = RoomField("muc#roomconfig_passwordprotectedroom", isAlwaysRead: true) { room in
        .boolean(
            "muc#roomconfig_passwordprotectedroom", room.settings.password != nil, label: "Ask for a password")
    } read: { form, _, change throws(StanzaError) in
        change.isProtected = try form.bool("muc#roomconfig_passwordprotectedroom")
    }

    private static let secret = RoomField("muc#roomconfig_roomsecret", isAlwaysRead: true) { room in
        DataFormField(
            "muc#roomconfig_roomsecret", .textPrivate, label: "The password",
            values: room.settings.password.map { [$0] } ?? [])
    } read: { form, room, change throws(StanzaError) in
        guard let secret = form.text("muc#roomconfig_roomsecret") else { return }
        let limit = room.service.options.maxPassword
        guard secret.utf8.count <= limit else {
            throw DataFormProblem("muc#roomconfig_roomsecret", "has more than \(limit) bytes").stanzaError
        }
        change.secret = secret
    }

    private static let maxOccupants = RoomField("muc#roomconfig_maxusers") { room in
        let limit = room.service.options.maxOccupants
        let current = room.settings.maxOccupants
        var numbers = [10, 20, 30, 50, 100, 200, 500, 1_000, 2_000, 5_000].filter { $0 <= limit }
        if let current, !numbers.contains(current) { numbers.append(current) }
        return DataFormField(
            "muc#roomconfig_maxusers", .listSingle, label: "The most occupants",
            values: [current.map(String.init) ?? "none"],
            options: numbers.sorted().map { .init(String($0), label: String($0)) }
                + [.init("none", label: "As many as the service admits: \(limit)")],
            validation: DataFormValidation("xs:string", .open))
    } read: { form, room, change throws(StanzaError) in
        let name = "muc#roomconfig_maxusers"
        guard let text = form.text(name)?.trimmedXMLSpace, !text.isEmpty else { return }
        if text == "none" {
            change.settings.maxOccupants = nil
            return
        }
        guard let number = try form.int(name, in: 1...room.service.options.maxOccupants) else { return }
        guard number >= room.occupants.count else {
            throw DataFormProblem(name, "is less than are here already").stanzaError
        }
        change.settings.maxOccupants = number
    }

    private static let historyLength = RoomField(
        "muc#maxhistoryfetch", aliases: ["muc#roomconfig_historylength"]
    ) { room in
        DataFormField(
            "muc#maxhistoryfetch", .textSingle, label: "Messages that somebody who enters is shown",
            values: [String(room.historyLength)],
            validation: DataFormValidation(
                "xs:integer", .range(min: "0", max: String(room.service.options.historyLimit))))
    } read: { form, room, change throws(StanzaError) in
        guard let length = try form.int("muc#maxhistoryfetch", in: 0...room.service.options.historyLimit) else {
            return
        }
        change.settings.historyLength = length
    }

    private static let isArchived = RoomField(
        "muc#roomconfig_enablearchiving", aliases: ["mam", "muc#roomconfig_mam", "muc_mam"]
    ) { room in
        guard room.service.options.archive != .off else { return nil }
        return .boolean("muc#roomconfig_enablearchiving", room.isArchived, label: "Keep messages in an archive")
    } read: { form, _, change throws(StanzaError) in
        if let value = try form.bool("muc#roomconfig_enablearchiving") { change.settings.isArchived = value }
    }

    private static let retention = number(
        "{urn:martlet:muc}retention_days", "Days that they are kept, 0 for as long as the service keeps them",
        \.retentionDays, max: 36_500)
}

extension String {
    /// Whether it is as RFC 5646 §2.1 has it, by and large.
    fileprivate var isLanguageTag: Bool {
        utf8.count <= 35
            && utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false).allSatisfy { part in
                1...8 ~= part.count
                    && part.allSatisfy { byte in
                        UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte
                            || UInt8(ascii: "a")...UInt8(ascii: "z") ~= byte | 0x20
                    }
            }
    }

    fileprivate var isWebAddress: Bool {
        let scheme = ["https://", "http://"].first { lowercased().hasPrefix($0) }
        guard let scheme, utf8.count > scheme.utf8.count else { return false }
        return utf8.allSatisfy { $0 > 0x20 && $0 != 0x7f }
    }
}
