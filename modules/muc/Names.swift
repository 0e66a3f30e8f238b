import ServerKit

extension Namespace {
    /// Entering a room, and what disco says of rooms. XEP-0045 §18.1.
    static let muc: Namespace = "http://jabber.org/protocol/muc"
    /// What moderators and admins do. XEP-0045 §18.3.
    static let mucAdmin: Namespace = "http://jabber.org/protocol/muc#admin"
    /// What owners do. XEP-0045 §18.4.
    static let mucOwner: Namespace = "http://jabber.org/protocol/muc#owner"
    /// XEP-0421 §3.
    static let occupantID: Namespace = "urn:xmpp:occupant-id:0"
    /// Tells of an original sender as only a room may. XEP-0033 §4.
    static let addresses: Namespace = "http://jabber.org/protocol/address"
}

/// What happened to an occupant or a room, as a number. XEP-0045 §15.6.
enum Status: Int, Sendable, Comparable {
    /// Everybody may see the occupant's real JID.
    case nonAnonymous = 100
    /// An affiliation changed while its owner was not in the room.
    case affiliationChanged = 101
    case showsUnavailableMembers = 102
    case hidesUnavailableMembers = 103
    /// Something about the room's configuration that concerns nobody's privacy has changed.
    case configurationChanged = 104
    /// The presence is about the one who gets it.
    case selfPresence = 110
    case loggingEnabled = 170
    case loggingDisabled = 171
    case becameNonAnonymous = 172
    case becameSemiAnonymous = 173
    case created = 201
    /// The room gave the occupant another nick than it asked for.
    case nickAssigned = 210
    case banned = 301
    case nickChanged = 303
    case kicked = 307
    case removedForAffiliation = 321
    case removedForMembersOnly = 322
    case removedForShutdown = 332
    case removedForError = 333

    var element: Element { Element("status", .mucUser, ["code": "\(rawValue)"]) }

    static func < (left: Status, right: Status) -> Bool { left.rawValue < right.rawValue }
}
