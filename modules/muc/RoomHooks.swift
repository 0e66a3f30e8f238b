import ServerKit

/// Somebody wants a nick: by entering, or by changing the one it has.
struct NickEvent {
    let room: Room
    /// The full JID.
    let jid: JID
    /// What it asks for; may be changed, which the client is told (XEP-0045 §7.2.2, status 210).
    var nick: String
    /// The occupant it is already; nil when it is none yet.
    let occupant: Occupant?
    /// Whether it enters, for the first time or again, and does not merely want another nick.
    let isEntering: Bool
}

/// Somebody wants to enter.
struct EntryEvent {
    let room: Room
    /// The full JID.
    let jid: JID
    let affiliation: Affiliation
    let presence: Presence
    /// `<x xmlns='http://jabber.org/protocol/muc'/>`
    let request: Element
    /// Whether it is in the room already, with another client or the same.
    let isInside: Bool
}

/// Somebody is in, and is about to be shown who else is.
struct WelcomeEvent {
    let room: Room
    let session: Occupant.Session
    /// `<x xmlns='http://jabber.org/protocol/muc'/>`
    let request: Element
    /// What is said in its own presence beside the usual.
    var elements: [Element] = []
}

/// Something happened to an occupant.
struct OccupantEvent {
    let room: Room
    let occupant: Occupant
    let session: Occupant.Session
}

/// A message for everybody in a room.
struct RoomMessageEvent {
    let room: Room
    let occupant: Occupant
    let session: Occupant.Session
    /// From the occupant's JID, as everybody will get it.
    var message: Message
    /// The id under which the room knows it, and under which the archive keeps it if it does. XEP-0359 §3.
    let id: String
    /// Whether it goes into history and archive. Chat states, markers and the like do not.
    var isKept: Bool
}

/// A stanza for a room that is no groupchat message: an invitation, a request for voice.
struct RoomStanzaEvent<Content: Sendable> {
    let room: Room
    /// Who sent it, if it is an occupant.
    let occupant: Occupant?
    let session: Occupant.Session?
    let stanza: Content
}

/// A client of an occupant sends other presence, or asks for another nick. XEP-0045 §7.6, §7.7.
struct PresenceUpdateEvent {
    let room: Room
    let session: Occupant.Session
    let presence: Presence
    /// The one it addressed its presence to.
    let nick: String
}

/// A stanza from one occupant to another one's JID. XEP-0045 §7.5, §17.4.
struct OccupantStanzaEvent {
    let room: Room
    let session: Occupant.Session
    /// The nick it is for; there may be nobody with it.
    let nick: String
    let stanza: Stanza
}

/// How somebody stands to a room has changed.
struct AffiliationEvent {
    enum Witnesses {
        case nobody
        /// Its role is one whose presence is for them only. XEP-0045 §16.5.3, `muc#roomconfig_presencebroadcast`.
        case moderators
        case everybody
    }

    let room: Room
    /// A bare JID or a domain.
    let jid: JID
    let old: Affiliation
    let new: Affiliation
    /// Who did it; nil when the room did.
    let actor: JID?
    let reason: String?
    /// Whether it was in the room.
    let wasHere: Bool
    /// Who has seen the change in its presence.
    let witnesses: Witnesses
    /// From which version of the lists to which it leads. XEP-0463.
    let step: AffiliationStep?
}

/// A room was made, changed or is being removed.
struct RoomEvent {
    let room: Room
    /// Before the change.
    var old: RoomSettings?
    /// How it is being removed; nil when it only ends with its last occupant.
    var destruction: Destruction?

    /// XEP-0045 §10.9.
    struct Destruction: Sendable {
        /// Where everybody should go.
        let alternate: JID?
        let reason: String?
    }
}

extension Hook where Event == NickEvent {
    /// Somebody wants a nick: filter to refuse it, transform to give another one.
    static var nickWanted: Self { Hook("muc.nick-wanted") }
}

extension Hook where Event == EntryEvent {
    /// Somebody wants to enter: filter.
    static var occupantEntering: Self { Hook("muc.occupant-entering") }
}

extension Hook where Event == WelcomeEvent {
    /// Somebody is in, and gets next who else is and its own presence: transform to send something before that, or to
    /// say something in it.
    static var occupantWelcoming: Self { Hook("muc.occupant-welcoming") }
}

extension Hook where Event == OccupantEvent {
    /// Somebody has entered and got everything that belongs to it: observe.
    static var occupantEntered: Self { Hook("muc.occupant-entered") }
    /// A client of an occupant has left: observe. If it was the last one, the occupant has no sessions.
    static var occupantLeft: Self { Hook("muc.occupant-left") }
}

extension Hook where Event == RoomMessageEvent {
    /// An occupant says something to everybody: filter to refuse it, transform, claim to act on it in place of passing
    /// it on, observe once it is on its way.
    static var roomMessage: Self { Hook("muc.room-message") }
}

extension Hook where Event == RoomStanzaEvent<Message> {
    /// A message for the room itself that is not for everybody: filter to refuse it, claim.
    static var messageToRoom: Self { Hook("muc.message-to-room") }
    /// A message of the room itself could not be delivered, or was refused: claim. What nobody claims tells that an
    /// occupant is gone, if it came back from one.
    static var errorToRoom: Self { Hook("muc.error-to-room") }
}

extension Hook where Event == RoomStanzaEvent<Presence> {
    /// Presence for the room itself, or of a kind that has no meaning between occupants: claim.
    static var presenceToRoom: Self { Hook("muc.presence-to-room") }
}

extension Hook where Event == RoomStanzaEvent<IQ> {
    /// The result or error of a request that went through the room, whichever of its JIDs it is for: claim.
    static var answerToRoom: Self { Hook("muc.answer-to-room") }
}

extension Hook where Event == PresenceUpdateEvent {
    /// A client that is in the room sends other presence: filter.
    static var presenceUpdating: Self { Hook("muc.presence-updating") }
}

extension Hook where Event == OccupantStanzaEvent {
    /// A message or a request from one occupant to another: filter, then claim. Messages of type "error" are offered to
    /// be claimed, too; what nobody takes of them is about something that everybody got.
    static var occupantAddressed: Self { Hook("muc.occupant-addressed") }
}

extension Hook where Event == AffiliationEvent {
    /// Observe.
    static var affiliationChanged: Self { Hook("muc.affiliation-changed") }
}

extension Hook where Event == RoomEvent {
    /// A room was made by somebody who is now its owner, and is locked yet: observe.
    static var roomCreated: Self { Hook("muc.room-created") }
    /// A room was read from the storage: observe.
    static var roomLoaded: Self { Hook("muc.room-loaded") }
    /// Its settings have changed: observe.
    static var roomConfigured: Self { Hook("muc.room-configured") }
    /// It is being removed; what it stored is still there: observe.
    static var roomDestroyed: Self { Hook("muc.room-destroyed") }
}

/// The lists behind the hook points, looked up once.
@ServerActor
struct RoomHooks {
    let nickWanted: HookList<NickEvent>
    let occupantEntering: HookList<EntryEvent>
    let occupantWelcoming: HookList<WelcomeEvent>
    let occupantEntered: HookList<OccupantEvent>
    let occupantLeft: HookList<OccupantEvent>
    let roomMessage: HookList<RoomMessageEvent>
    let messageToRoom: HookList<RoomStanzaEvent<Message>>
    let errorToRoom: HookList<RoomStanzaEvent<Message>>
    let presenceToRoom: HookList<RoomStanzaEvent<Presence>>
    let answerToRoom: HookList<RoomStanzaEvent<IQ>>
    let presenceUpdating: HookList<PresenceUpdateEvent>
    let occupantAddressed: HookList<OccupantStanzaEvent>
    let affiliationChanged: HookList<AffiliationEvent>
    let roomCreated: HookList<RoomEvent>
    let roomLoaded: HookList<RoomEvent>
    let roomConfigured: HookList<RoomEvent>
    let roomDestroyed: HookList<RoomEvent>

    init(_ hooks: HostHooks) {
        nickWanted = hooks.list(.nickWanted)
        occupantEntering = hooks.list(.occupantEntering)
        occupantWelcoming = hooks.list(.occupantWelcoming)
        occupantEntered = hooks.list(.occupantEntered)
        occupantLeft = hooks.list(.occupantLeft)
        roomMessage = hooks.list(.roomMessage)
        messageToRoom = hooks.list(.messageToRoom)
        errorToRoom = hooks.list(.errorToRoom)
        presenceToRoom = hooks.list(.presenceToRoom)
        answerToRoom = hooks.list(.answerToRoom)
        presenceUpdating = hooks.list(.presenceUpdating)
        occupantAddressed = hooks.list(.occupantAddressed)
        affiliationChanged = hooks.list(.affiliationChanged)
        roomCreated = hooks.list(.roomCreated)
        roomLoaded = hooks.list(.roomLoaded)
        roomConfigured = hooks.list(.roomConfigured)
        roomDestroyed = hooks.list(.roomDestroyed)
    }
}
