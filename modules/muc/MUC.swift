import ServerKit

/// Multi-User Chat (XEP-0045) on a domain of its own: rooms in which many talk with each other.
///
/// A ``Room`` is a small core: settings, affiliations, occupants, and how presence and messages reach them all. What can be
/// done with it beyond that is a list of ``RoomFeature``s, a file each.
public final class MUC: Module {
    public static let info = ModuleInfo(
        "muc", "Rooms for group chat, which outlive restarts",
        implements: [
            .xep(45, "1.35.5"), .xep(313, "1.1.3"), .xep(317, "0.3.1"), .xep(357, "0.4.1"), .xep(410, "1.1.0"),
            .xep(421, "1.0.1"), .xep(424, "0.4.2"), .xep(425, "0.3.0"), .xep(433, "0.1.0"), .xep(463, "0.2.0"),
            .xep(486, "0.1.0"), .xep(500, "0.1.1"), .xep(502, "0.1.0"),
        ],
        group: .recommended, scope: .component, subdomain: "conference", after: ["disco"])

    public struct Options: ModuleOptions {
        let creators: Creators
        let roomsPerUser: Int
        let maxOccupants: Int
        let maxClients: Int
        let maxAffiliations: Int
        let listChanges: Int
        let affiliationVersions: Int
        let maxHats: Int
        let maxHatsWorn: Int
        let historyLength: Int
        let historyLimit: Int
        let archive: ArchivePolicy
        let retention: Duration?
        let cleanupHour: Int
        let pageSize: Int
        let pageLimit: Int
        let pageBytes: Int
        let waitingQueries: Int
        let allowsModeration: Bool
        let locksNewRooms: Bool
        let maxTitle: Int
        let maxDescription: Int
        let maxPassword: Int
        let maxContacts: Int
        let maxListed: Int
        let listSize: Int
        let showsOccupants: Bool
        /// How a new room is until its owner says how it should be.
        let newRoom: RoomSettings
        let grace: Duration
        let pingAfter: Duration?
        let invitations: Int
        let voiceRequests: Int
        let voiceRequestInterval: Duration
        let registrationRequests: Int
        let keepNick: Duration
        let push: PushPolicy
        let pushRegistrations: Int
        let pushRegistrationLimit: Int
        let destroyedRooms: Duration
        let destroyedRoomLimit: Int
        let openRequests: Int
        let messageSize: Int
        let presenceSize: Int
        let subjectLength: Int
        let nickLength: Int
        let messageRate: Rate?
        let presenceRate: Rate?
        let nickRate: Rate?
        let passwordRate: Rate?
        let administrationRate: Rate?
        let registrationRate: Rate?
        let cardSize: Int
        let avatarPresence: Bool

        /// Who may make rooms.
        enum Creators: String, CaseIterable, Sendable {
            case users, admins, anyone
        }

        /// Whether rooms keep their messages.
        enum ArchivePolicy: String, CaseIterable, Sendable {
            case on
            case onRequest = "on_request"
            case off
        }

        /// What wakes the phones of members who are not in a room.
        enum PushPolicy: String, CaseIterable, Sendable {
            case auto, mentions, all, off
        }

        public init(_ config: inout OptionReader) {
            creators = config.choice(
                "create", default: Creators.users,
                "Who may make rooms: those with an account on this server, its administrators, or anyone.")
            roomsPerUser = config.int("max_rooms", default: 100, in: 1...100_000, "Rooms that one user may make.")
            maxOccupants = config.int(
                "max_occupants", default: 2_000, in: 2...100_000, "Occupants of one room; owners may choose less.")
            maxClients = config.int(
                "max_clients", default: 20, in: 1...100_000,
                "Clients with which one account may be in a room at the same time.")
            maxAffiliations = config.int(
                "max_affiliations", default: 10_000, in: 10...1_000_000,
                "Members, admins and owners that one room keeps, and again as many banned users.")
            listChanges = config.int(
                "max_list_changes", default: 200, in: 1...100_000,
                "Roles and affiliations that one request may change.")
            affiliationVersions = config.int(
                "affiliation_versions", default: 100, in: 0...10_000,
                "Changes of affiliations that a room remembers for clients that ask what is new.")
            maxHats = config.int("max_hats", default: 50, in: 0...1_000, "Hats that one room has to give.")
            maxHatsWorn = config.int(
                "max_hats_worn", default: 500, in: 0...100_000, "Hats that all together may wear in one room.")
            historyLength = config.int(
                "history", default: 25, in: 0...1_000,
                "Messages that somebody who enters is shown, where the room's owners do not say.")
            historyLimit = config.int("max_history", default: 100, in: 0...1_000, "The most that they may say.")
            archive = config.choice(
                "archive", default: ArchivePolicy.on,
                "Whether rooms keep their messages: on unless their owners say no, on_request if they say so, or off.")
            retention = config.optionalDuration(
                "retention", default: .days(365), in: .hours(1)...(.days(36_500)),
                "How long messages are kept. Owners may choose less for their rooms.")
            cleanupHour = config.int(
                "cleanup_hour", default: 4, in: 0...23,
                "The hour of the day, in UTC, at which older messages are removed.")
            pageSize = config.int(
                "page_size", default: 50, in: 1...1000, "Archived messages per page when the client does not say.")
            pageLimit = config.int("page_limit", default: 250, in: 1...1000, "The most messages per page.")
            pageBytes = config.size(
                "page_bytes", default: 1_048_576, in: 65_536...67_108_864,
                "A page ends with the message that makes it this large.")
            waitingQueries = config.int(
                "waiting_queries", default: 20, in: 1...1000,
                "How many queries of a client to archives may wait for the one before them.")
            allowsModeration = config.bool(
                "moderation", default: true, "Whether moderators may retract what others have said.")
            locksNewRooms = config.bool(
                "lock_new_rooms", default: true, "Whether others can enter a new room only when it has been configured."
            )
            maxTitle = config.int("max_title", default: 200, in: 10...10_000, "Bytes of a room's name.")
            maxDescription = config.int(
                "max_description", default: 2_000, in: 10...100_000, "Bytes of a room's description.")
            maxPassword = config.int("max_password", default: 200, in: 1...10_000, "Bytes of a room's password.")
            maxContacts = config.int(
                "max_contacts", default: 10, in: 0...1_000, "Addresses of those whom to ask about a room.")
            maxListed = config.int(
                "max_owners", default: 100, in: 1...10_000,
                "Owners, and admins, that the form for a room's configuration takes.")
            listSize = config.int(
                "list_size", default: 200, in: 1...1_000, "Rooms that a list shows at once, or occupants.")
            showsOccupants = config.bool(
                "list_occupants", default: false,
                "Whether everybody may list the occupants of public rooms, and not only those who are in them.")
            newRoom = config.section("defaults", "How new rooms are until their owners say.") { RoomSettings(&$0) }
            grace = config.duration(
                "grace", default: .minutes(5), in: .seconds(10)...(.seconds(86_400)),
                "How long occupants who cannot be reached keep their place, as after a restart.")
            pingAfter = config.optionalDuration(
                "ping_after", default: .minutes(15), in: .seconds(60)...(.seconds(86_400)),
                "After how much silence an occupant from another server is asked whether it is still there.")
            invitations = config.int(
                "invitations", default: 100, in: 1...10_000,
                "Invitations that a room remembers, so that who declines one can tell who sent it.")
            voiceRequests = config.int(
                "voice_requests", default: 20, in: 1...1_000, "Requests for voice that may wait in one room.")
            voiceRequestInterval = config.duration(
                "voice_request_interval", default: .seconds(300), in: .seconds(1)...(.seconds(86_400)),
                "How long a visitor waits before it may ask for voice again.")
            registrationRequests = config.int(
                "registration_requests", default: 50, in: 1...1_000,
                "Requests to become a member that may wait for the admins of one room.")
            keepNick = config.duration(
                "keep_nick", default: .zero, in: .zero...(.seconds(3_600)),
                "How long the nick of somebody who left is kept from others.")
            push = config.choice(
                "push", default: PushPolicy.auto,
                "What wakes the phones of members who are not in a room, if they want it: mentions of them, all messages, "
                    + "auto, which is all in rooms for members only and mentions elsewhere, or nothing.")
            pushRegistrations = config.int(
                "push_registrations", default: 5, in: 1...100, "How many phones of a member one room wakes.")
            pushRegistrationLimit = config.int(
                "max_push_registrations", default: 2_000, in: 1...100_000, "How many phones one room wakes in all.")
            destroyedRooms = config.duration(
                "destroyed_rooms", default: .days(30), in: .zero...(.days(3_650)),
                "How long only its owners can make a room again that they have destroyed, and others learn that it is gone."
            )
            destroyedRoomLimit = config.int(
                "max_destroyed_rooms", default: 1_000, in: 1...100_000, "Destroyed rooms that are remembered.")
            openRequests = config.int(
                "open_requests", default: 500, in: 1...10_000,
                "Requests of one account to other occupants, as for their pictures, that may wait for an answer.")
            messageSize = config.size(
                "max_message", default: 262_144, in: 1_024...16_777_216, "How large a message in a room may be.")
            presenceSize = config.size(
                "max_presence", default: 8_192, in: 1_024...1_048_576,
                "How large presence in a room may be, such as what somebody says of being away.")
            subjectLength = config.int(
                "max_subject", default: 2_000, in: 10...100_000,
                "Characters that the subject of a room may have, in all languages together.")
            nickLength = config.int("max_nick", default: 100, in: 4...1_023, "Characters that a nick may have.")
            messageRate = config.optionalRate(
                "message_rate", default: Rate(300, per: .seconds(10)),
                "Messages that an occupant may send to a room, private ones included; more are refused.")
            presenceRate = config.optionalRate(
                "presence_rate", default: Rate(60, per: .seconds(10)),
                "How often an account may enter a room or change its presence there. More changes wait, entering is "
                    + "refused.")
            nickRate = config.optionalRate(
                "nick_rate", default: Rate(30, per: .seconds(60)), "How often an occupant may change its nick.")
            passwordRate = config.optionalRate(
                "password_rate", default: Rate(10, per: .seconds(60)),
                "How often an account may try to enter a room with a password.")
            administrationRate = config.optionalRate(
                "admin_rate", default: Rate(300, per: .seconds(60)),
                "How often an account may change the configuration of a room, roles, affiliations or hats there.")
            registrationRate = config.optionalRate(
                "registration_rate", default: Rate(10, per: .seconds(600)),
                "How often an account may register with a room or end that. Where admins are asked, it counts as five.")
            cardSize = config.size(
                "card_size", default: 196_608, in: 1_024...16_777_216,
                "How large the card of a room may be, its picture included.")
            avatarPresence = config.bool(
                "avatar_presence", default: false,
                "Whether rooms also show their picture in presence of their own, for clients that look for it there only."
            )
        }

        var pageLimits: ArchivePage.Limits { .init(usual: pageSize, most: pageLimit, bytes: pageBytes) }
    }

    private var options: Options
    private(set) var rooms: Rooms?

    public init(options: Options) {
        self.options = options
    }

    public func reconfigure(_ options: Options) -> Bool {
        self.options = options
        rooms?.options = options
        return true
    }

    public func load(into host: ModuleHost) {
        let rooms = Rooms(host, options)
        self.rooms = rooms
        host.provide(Rooms.self, rooms)
        host.identify("conference", "text", name: "Rooms", on: .host)
        host.advertise(.muc, on: .host)
        for feature in Self.features { feature.init().load(into: host, rooms) }
    }
}
