import ServerKit

typealias AccessModel = NodeOptions.AccessModel
typealias ItemLimit = NodeOptions.ItemLimit
typealias SendLastItem = NodeOptions.SendLastItem

/// Who may publish. XEP-0060 §16.4.4.
enum PublishModel: String, CaseIterable, Sendable {
    case publishers, subscribers, open
}

/// What happens when one item more than fits is published. XEP-0060 §7.1.2.5.
enum FullBehaviour: String, CaseIterable, Sendable {
    case retractOldest = "retract-oldest"
    case discardOldest = "discard-oldest"
    case reject
}

/// The type of the messages that tell of events. XEP-0060 §16.4.4.
enum NotificationType: String, CaseIterable, Sendable {
    case normal, headline

    var kind: Message.Kind { self == .normal ? .normal : .headline }
}

/// Whether an item tells who published it. XEP-0060 §12.17.
enum ItemReply: String, CaseIterable, Sendable {
    case owner, publisher
}

/// How a node is configured. XEP-0060 §16.4.4.
struct NodeConfiguration: Hashable, Sendable {
    var title = ""
    var description = ""
    var language = ""
    var contacts: [JID] = []
    /// The namespace of the payloads; empty for any.
    var type = ""
    var accessModel: AccessModel
    var rosterGroups: [String] = []
    var publishModel = PublishModel.publishers
    var allowsSubscriptions = true
    var persistsItems = true
    var maxItems: ItemLimit
    /// Seconds; nil for ever.
    var itemExpire: Int?
    /// Bytes; nil for what the service allows.
    var maxPayloadSize: Int?
    var fullBehaviour = FullBehaviour.retractOldest
    var deliversNotifications = true
    var deliversPayloads = true
    var presenceBasedDelivery = false
    var notificationType = NotificationType.headline
    var sendLastItem = SendLastItem.onSubscriptionAndPresence
    var notifiesConfiguration = false
    var notifiesDeletion = true
    var notifiesRetraction = true
    var notifiesSubscriptions = false
    var itemReply: ItemReply?

    /// XEP-0163 §5: what nodes of an account begin with. What is stored of any node is how it differs from this, so
    /// that it must not change.
    static let personal = NodeConfiguration(accessModel: .presence, maxItems: .count(1))

    /// How many items are kept, where the service keeps at most `limit`.
    func itemLimit(_ limit: Int) -> Int {
        guard persistsItems else { return 0 }
        switch maxItems {
        case .count(let count): return min(count, limit)
        case .max: return limit
        }
    }
}

/// A configuration that nodes share: most nodes of most accounts have one of a few.
final class SharedConfiguration: Sendable {
    let value: NodeConfiguration

    private init(_ value: NodeConfiguration) {
        self.value = value
    }

    /// Finds the configurations that nodes have in common.
    @ServerActor
    final class Pool {
        private var known: [NodeConfiguration: SharedConfiguration] = [:]

        init() {}

        func share(_ value: NodeConfiguration) -> SharedConfiguration {
            if let shared = known[value] { return shared }
            let shared = SharedConfiguration(value)
            // What people write is rarely written twice, and there is no end to it.
            let isPersonal =
                !value.title.isEmpty || !value.description.isEmpty || !value.contacts.isEmpty
                || !value.rosterGroups.isEmpty || !value.type.isEmpty
            if !isPersonal, known.count < 256 { known[value] = shared }
            return shared
        }
    }
}
