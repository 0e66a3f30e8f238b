import ServerKit

/// How somebody stands to a room for good, whether in it or not. XEP-0045 §5.2.
enum Affiliation: String, Codable, Sendable, CaseIterable, Comparable {
    case outcast, none, member, admin, owner

    private var rank: Int {
        switch self {
        case .outcast: 0
        case .none: 1
        case .member: 2
        case .admin: 3
        case .owner: 4
        }
    }

    static func < (left: Affiliation, right: Affiliation) -> Bool { left.rank < right.rank }

    /// The role with which somebody enters. XEP-0045 §5.1.2, table 3.
    func initialRole(isModerated: Bool) -> Role {
        switch self {
        case .outcast: .none
        case .none: isModerated ? .visitor : .participant
        case .member: .participant
        case .admin, .owner: .moderator
        }
    }
}

/// What somebody may do in a room during one visit. XEP-0045 §5.1.
enum Role: String, Codable, Sendable, CaseIterable, Comparable {
    case none, visitor, participant, moderator

    private var rank: Int {
        switch self {
        case .none: 0
        case .visitor: 1
        case .participant: 2
        case .moderator: 3
        }
    }

    static func < (left: Role, right: Role) -> Bool { left.rank < right.rank }
}

/// What a room keeps about somebody who is affiliated with it, or whom it keeps a nick for.
struct Affiliate: Codable, Sendable, Equatable {
    var affiliation: Affiliation
    /// The nick that nobody else may use. XEP-0045 §7.10.
    var nick: String?
    /// Why, as the one who did it said. Shown in lists of the banned (XEP-0045 §9.2).
    var reason: String?
    /// Whether it is a member because it has registered, and nobody has decided about it. XEP-0045 §7.10.
    var isOwnDoing: Bool?

    var isNothing: Bool { affiliation == .none && nick == nil }
}
