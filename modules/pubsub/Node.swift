import ServerKit

/// A node while its service is loaded: everything but its items. XEP-0060 §4.4: always a leaf.
@ServerActor
final class Node {
    let name: String
    /// Names the node where its items and relations are stored, so that names may be long.
    let number: Int
    let created: Timestamp
    let creator: JID?
    private(set) var shared: SharedConfiguration
    /// Where the node has moved; nothing else is left of it. XEP-0060 §8.4.1.
    let redirect: String?
    /// By the JID that subscribed, or the bare JID that is affiliated.
    private(set) var relations: [JID: Relation] = [:]

    /// The newest item, where it has been looked up.
    enum Newest {
        case unknown
        case none
        case id(String)
    }

    var newest = Newest.unknown
    /// The node has at most as many items; nil when they have not been counted.
    var itemBound: Int?
    /// Whether the node is being deleted. For everybody but the one who does it, it is gone.
    var isClosing = false

    init(
        _ name: String, number: Int, created: Timestamp, creator: JID?, _ shared: SharedConfiguration,
        redirect: String? = nil
    ) {
        self.name = name
        self.number = number
        self.created = created
        self.creator = creator
        self.shared = shared
        self.redirect = redirect
    }

    var configuration: NodeConfiguration { shared.value }

    func configure(_ shared: SharedConfiguration) {
        self.shared = shared
    }

    // MARK: Relations

    func affiliation(of jid: JID) -> Affiliation { relations[jid.bare]?.affiliation ?? .none }

    func subscription(of jid: JID) -> Subscription? { relations[jid]?.subscription }

    /// All subscriptions of one bare JID.
    func subscriptions(ofBare bare: JID) -> [(jid: JID, subscription: Subscription)] {
        relations.compactMap { jid, relation in
            guard let subscription = relation.subscription, jid.bare == bare else { return nil }
            return (jid, subscription)
        }
    }

    /// Whether somebody has a subscription that is in force.
    func isSubscribed(_ jid: JID) -> Bool {
        subscription(of: jid.bare)?.state == .subscribed || jid.isFull && subscription(of: jid)?.state == .subscribed
            || subscriptions(ofBare: jid.bare).contains { $0.subscription.state == .subscribed }
    }

    var subscriptions: [(jid: JID, subscription: Subscription)] {
        relations.compactMap { jid, relation in relation.subscription.map { (jid, $0) } }
    }

    var affiliations: [(jid: JID, affiliation: Affiliation)] {
        relations.compactMap { jid, relation in relation.affiliation.map { (jid, $0) } }
    }

    func setRelation(_ relation: Relation, of jid: JID) {
        relations[jid] = relation.isNothing ? nil : relation
    }

    // MARK: Taking turns

    private let turns = Turns()

    /// How many wait for their turn.
    var waitingCount: Int { turns.waitingCount }

    /// Does something with the node's items while nobody else does, in the order of the calls.
    func turn<Result>(_ body: @ServerActor () async throws -> Result) async rethrows -> Result {
        await turns.begin()
        defer { turns.end() }
        return try await body()
    }
}
