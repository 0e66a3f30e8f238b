import ServerKit

/// Multi-User Chat (XEP-0045) on a domain of its own: rooms in which many talk with each other.
///
/// A ``Room`` is a small core: settings, affiliations, occupants, and how presence and messages reach them all. What can be
/// done with it beyond that is a list of ``RoomFeature``s, a file each.
public final class MUC: Module {
    public static let info = ModuleInfo(
        "muc", "Rooms for group chat, which outlive restarts",
        implements: [.xep(45, "1.35.5"), .xep(421, "1.0.1")],
        group: .recommended, scope: .component, subdomain: "conference", after: ["disco"])

    public struct Options: ModuleOptions {
        let creators: Creators
        let roomsPerUser: Int
        let maxOccupants: Int
        let maxAffiliations: Int
        let listChanges: Int
        let historyLength: Int
        let historyLimit: Int
        let archive: ArchivePolicy

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

        public init(_ config: inout OptionReader) {
            creators = config.choice(
                "create", default: Creators.users,
                "Who may make rooms: the users of this server, its administrators, or anyone.")
            roomsPerUser = config.int("max_rooms", default: 100, in: 1...100_000, "Rooms that one user may make.")
            maxOccupants = config.int(
                "max_occupants", default: 2_000, in: 2...100_000, "Occupants of one room; owners may choose less.")
            maxAffiliations = config.int(
                "max_affiliations", default: 10_000, in: 10...1_000_000,
                "Members, admins, owners and banned users that one room keeps.")
            listChanges = config.int(
                "max_list_changes", default: 500, in: 1...100_000,
                "Roles and affiliations that one request may change.")
            historyLength = config.int(
                "history", default: 25, in: 0...1_000,
                "Messages that somebody who enters is shown, where the room's owners do not say.")
            historyLimit = config.int("max_history", default: 100, in: 0...1_000, "The most that they may say.")
            archive = config.choice(
                "archive", default: ArchivePolicy.on,
                "Whether rooms keep their messages: on unless their owners say no, on_request if they say so, or off.")
        }

        /// How a new room is until its owner says how it should be.
        var newRoom: RoomSettings { RoomSettings() }
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
