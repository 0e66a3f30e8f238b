import ServerKit

/// What somebody may do at a node. XEP-0060 §4.1.
enum Affiliation: String, Codable, CaseIterable, Sendable {
    case owner, publisher
    case publishOnly = "publish-only"
    case member, outcast, none
}

/// A subscription of one JID to a node. XEP-0060 §4.2.
struct Subscription: Codable, Hashable, Sendable {
    enum State: String, Codable, Sendable {
        case pending, subscribed
    }

    var state: State
    /// Whether the subscriber wants notifications at the moment; nil for yes. XEP-0060 §16.4.2.
    var delivers: Bool?

    var isDelivered: Bool { state == .subscribed && delivers != false }
}

/// Where somebody stands with a node: affiliations belong to bare JIDs (XEP-0060 §4.1), subscriptions to any.
struct Relation: Codable, Hashable, Sendable {
    var affiliation: Affiliation?
    var subscription: Subscription?

    var isNothing: Bool { affiliation == nil && subscription == nil }
}
