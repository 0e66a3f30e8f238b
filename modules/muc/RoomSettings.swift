import ServerKit

/// What the owners of a room decide. XEP-0045 §10.2, §15.5.2.
///
/// It is stored with the room: what is added later needs a default for rooms that were stored before.
struct RoomSettings: Sendable, Equatable {
    /// Who learns the real JIDs of occupants. XEP-0045 §4.2.
    enum Whois: String, Codable, Sendable, CaseIterable {
        case moderators, anyone
    }

    /// Who may send private messages. XEP-0045 §15.5.2, `muc#roomconfig_allowpm`.
    enum PrivateMessages: String, Codable, Sendable, CaseIterable {
        case anyone, participants, moderators, none
    }

    /// The room's name for people. `muc#roomconfig_roomname`
    var title: String?
    /// `muc#roomconfig_roomdesc`
    var description: String?
    /// `muc#roomconfig_lang`
    var language: String?
    /// Whether it is found by those who do not know it. `muc#roomconfig_publicroom`
    var isPublic = true
    /// Whether it outlives its last occupant. `muc#roomconfig_persistentroom`
    var isPersistent = false
    /// Whether only members enter. `muc#roomconfig_membersonly`
    var isMembersOnly = false
    /// Whether those without affiliation enter without voice. `muc#roomconfig_moderatedroom`
    var isModerated = false
    /// `muc#roomconfig_whois`
    var whois = Whois.moderators
    /// nil when the room has none. `muc#roomconfig_passwordprotectedroom`, `muc#roomconfig_roomsecret`
    var password: String?
    /// nil for as many as the service admits. `muc#roomconfig_maxusers`
    var maxOccupants: Int?
    /// Whether participants may change the subject, and not moderators only. `muc#roomconfig_changesubject`
    var participantsChangeSubject = false
    /// In a room for members only, whether they may invite others, and not admins and owners only.
    /// `muc#roomconfig_allowinvites`
    var occupantsInvite = false
    /// `muc#roomconfig_allowpm`
    var privateMessages = PrivateMessages.anyone
    /// Whether occupants may send each other requests; moderators always may. `allow_query_users`, as in ejabberd
    var allowsQueries = true
    /// Roles whose presence is shown to everybody. `muc#roomconfig_presencebroadcast`
    var shownRoles: Set<Role> = [.visitor, .participant, .moderator]
    /// Roles that may get the member list. `muc#roomconfig_getmemberlist`
    var memberListRoles: Set<Role> = [.participant, .moderator]
    /// Messages that somebody who enters is shown; nil for as many as the service says.
    var historyLength: Int?
    /// Whether messages are kept in the room's archive; nil for what the service does. XEP-0313.
    var isArchived: Bool?
    /// Days that they are kept; nil for as long as the service keeps them.
    var retentionDays: Int?
    /// Whether visitors may ask for voice. `muc#roomconfig_allowvoicerequests`
    var allowsVoiceRequests = true
    /// Whether people may register themselves with the room. XEP-0045 §7.10.
    var allowsRegistration = true
    /// Whom to ask about the room. `muc#roominfo_contactjid`
    var contacts: [JID] = []
    /// Whether the discussion is published elsewhere, as on the web. `muc#roomconfig_enablelogging`
    var isLogged = false
    /// Where. `muc#roominfo_logs`
    var logsURL: String?
    /// The node of a PubSub service that belongs to the room, as a URI. `muc#roomconfig_pubsub`
    var pubsubNode: String?
    /// Seconds that a participant waits between two messages; nil for none.
    var slowModeSeconds: Int?
    /// Whether occupants with a reserved nick must use it. XEP-0045 §7.2.2, status 210.
    var locksNicks = false
}

extension RoomSettings {
    /// Whether everybody may enter who has not been banned. XEP-0045 §4.2.
    var isOpen: Bool { !isMembersOnly && password == nil }
}

extension RoomSettings: Codable {
    private enum Key: String, CodingKey {
        case title, description, language, isPublic, isPersistent, isMembersOnly, isModerated, whois, password
        case maxOccupants, participantsChangeSubject, occupantsInvite, privateMessages, allowsQueries
        case shownRoles, memberListRoles
        case historyLength, isArchived, retentionDays, allowsVoiceRequests, allowsRegistration, contacts, isLogged
        case logsURL, pubsubNode, slowModeSeconds, locksNicks
    }

    init(from decoder: any Decoder) throws {
        self.init()
        let values = try decoder.container(keyedBy: Key.self)
        func read<Value: Decodable>(_ key: Key, _ path: WritableKeyPath<RoomSettings, Value>) throws {
            if let value = try values.decodeIfPresent(Value.self, forKey: key) { self[keyPath: path] = value }
        }
        func read<Value: Decodable>(_ key: Key, _ path: WritableKeyPath<RoomSettings, Value?>) throws {
            self[keyPath: path] = try values.decodeIfPresent(Value.self, forKey: key)
        }
        try read(.title, \.title)
        try read(.description, \.description)
        try read(.language, \.language)
        try read(.isPublic, \.isPublic)
        try read(.isPersistent, \.isPersistent)
        try read(.isMembersOnly, \.isMembersOnly)
        try read(.isModerated, \.isModerated)
        try read(.whois, \.whois)
        try read(.password, \.password)
        try read(.maxOccupants, \.maxOccupants)
        try read(.participantsChangeSubject, \.participantsChangeSubject)
        try read(.occupantsInvite, \.occupantsInvite)
        try read(.privateMessages, \.privateMessages)
        try read(.allowsQueries, \.allowsQueries)
        try read(.shownRoles, \.shownRoles)
        try read(.memberListRoles, \.memberListRoles)
        try read(.historyLength, \.historyLength)
        try read(.isArchived, \.isArchived)
        try read(.retentionDays, \.retentionDays)
        try read(.allowsVoiceRequests, \.allowsVoiceRequests)
        try read(.allowsRegistration, \.allowsRegistration)
        try read(.contacts, \.contacts)
        try read(.isLogged, \.isLogged)
        try read(.logsURL, \.logsURL)
        try read(.pubsubNode, \.pubsubNode)
        try read(.slowModeSeconds, \.slowModeSeconds)
        try read(.locksNicks, \.locksNicks)
    }

    func encode(to encoder: any Encoder) throws {
        let usual = RoomSettings()
        var values = encoder.container(keyedBy: Key.self)
        func write<Value: Encodable & Equatable>(_ key: Key, _ path: KeyPath<RoomSettings, Value>) throws {
            // What is as usual is left out: most rooms are.
            if self[keyPath: path] != usual[keyPath: path] { try values.encode(self[keyPath: path], forKey: key) }
        }
        try write(.title, \.title)
        try write(.description, \.description)
        try write(.language, \.language)
        try write(.isPublic, \.isPublic)
        try write(.isPersistent, \.isPersistent)
        try write(.isMembersOnly, \.isMembersOnly)
        try write(.isModerated, \.isModerated)
        try write(.whois, \.whois)
        try write(.password, \.password)
        try write(.maxOccupants, \.maxOccupants)
        try write(.participantsChangeSubject, \.participantsChangeSubject)
        try write(.occupantsInvite, \.occupantsInvite)
        try write(.privateMessages, \.privateMessages)
        try write(.allowsQueries, \.allowsQueries)
        try write(.shownRoles, \.shownRoles)
        try write(.memberListRoles, \.memberListRoles)
        try write(.historyLength, \.historyLength)
        try write(.isArchived, \.isArchived)
        try write(.retentionDays, \.retentionDays)
        try write(.allowsVoiceRequests, \.allowsVoiceRequests)
        try write(.allowsRegistration, \.allowsRegistration)
        try write(.contacts, \.contacts)
        try write(.isLogged, \.isLogged)
        try write(.logsURL, \.logsURL)
        try write(.pubsubNode, \.pubsubNode)
        try write(.slowModeSeconds, \.slowModeSeconds)
        try write(.locksNicks, \.locksNicks)
    }
}
