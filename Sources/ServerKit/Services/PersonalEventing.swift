/// The personal eventing nodes of local accounts (XEP-0163), for modules that read them or keep something there: the
/// module `pubsub` offers it. What is done here is done in the owner's name, and is announced like the owner's own
/// requests.
///
/// Changes to one node happen in the order of the calls. Errors are ``StanzaError``s that may be sent to a client, or a
/// `StorageError`.
@ServerActor
public protocol PersonalEventing: AnyObject {
    /// The names of an account's nodes, sorted.
    func nodes(of account: Account) -> [String]
    /// How a node is configured; nil when there is no such node.
    func options(of node: String, account: Account) -> NodeOptions?
    /// Whether somebody may read the items of a node; false when there is no such node.
    func mayRead(_ node: String, of account: Account, _ reader: JID) -> Bool

    /// The item that was published last; nil when there is none, or no such node.
    func latestItem(of node: String, account: Account) async throws -> NodeItem?
    /// One item; nil when it is not there.
    func item(_ id: String, of node: String, account: Account) async throws -> NodeItem?
    /// The items in the order in which they were published, at most the newest `limit` of them; none when there is no
    /// such node.
    func items(of node: String, account: Account, limit: Int?) async throws -> [NodeItem]

    /// Publishes an item. A node that is missing is made with these options.
    ///
    /// - Parameters:
    ///   - id: nil for one that the service chooses.
    ///   - publisher: who is named as publisher; nil for the account itself.
    ///   - mismatch: what happens when the node is there and has other options.
    /// - Returns: the item's id.
    @discardableResult
    func publish(
        _ payload: Element, id: String?, to node: String, of account: Account, as publisher: JID?,
        options: NodeOptions, mismatch: NodeOptions.Mismatch
    ) async throws -> String

    /// Changes the configuration of a node that is there; what is nil stays as it is.
    func configure(_ node: String, of account: Account, _ options: NodeOptions) async throws
    /// Removes an item, if it is there.
    ///
    /// - Parameter notifies: whether subscribers are told.
    func retract(_ id: String, of node: String, account: Account, notifies: Bool) async throws
    /// Removes a node with all its items, if it is there.
    func deleteNode(_ node: String, of account: Account) async throws
}

extension PersonalEventing {
    /// Publishes an item for the account itself.
    @discardableResult
    public func publish(
        _ payload: Element, id: String?, to node: String, of account: Account, options: NodeOptions = NodeOptions(),
        mismatch: NodeOptions.Mismatch = .ignore
    ) async throws -> String {
        try await publish(payload, id: id, to: node, of: account, as: nil, options: options, mismatch: mismatch)
    }
}

/// An item of a node. XEP-0060 §7.1.
public struct NodeItem: Sendable {
    public let id: String
    /// Who published it, as a full JID where that is known.
    public let publisher: JID?
    /// nil on nodes that deliver no payloads.
    public let payload: Element?
    /// When it was published.
    public let published: Timestamp

    public init(id: String, publisher: JID?, payload: Element?, published: Timestamp) {
        self.id = id
        self.publisher = publisher
        self.payload = payload
        self.published = published
    }
}

/// The options of a node that other modules care about. XEP-0060 §16.4.4. What is nil is left to the service.
public struct NodeOptions: Sendable, Hashable {
    /// Who may subscribe and read. XEP-0060 §4.5.
    public enum AccessModel: String, Sendable, Codable, CaseIterable {
        case authorize, open, presence, roster, whitelist
    }

    /// How many items are kept.
    public enum ItemLimit: Sendable, Hashable {
        case count(Int)
        /// As many as the service allows: `max`.
        case max
    }

    /// When the last item is sent unasked.
    public enum SendLastItem: String, Sendable, Codable, CaseIterable {
        case never
        case onSubscription = "on_sub"
        case onSubscriptionAndPresence = "on_sub_and_presence"
    }

    /// What becomes of an item that is published with options the node has not.
    public enum Mismatch: Sendable {
        /// The item is published, the node keeps its options.
        case ignore
        /// The node is given the options first.
        case configure
        /// The item is refused with `precondition-not-met`. XEP-0060 §7.1.5.
        case refuse
    }

    public var accessModel: AccessModel?
    public var maxItems: ItemLimit?
    public var persistsItems: Bool?
    public var sendLastItem: SendLastItem?

    public init(
        accessModel: AccessModel? = nil, maxItems: ItemLimit? = nil, persistsItems: Bool? = nil,
        sendLastItem: SendLastItem? = nil
    ) {
        self.accessModel = accessModel
        self.maxItems = maxItems
        self.persistsItems = persistsItems
        self.sendLastItem = sendLastItem
    }
}

/// Something happened to an item of an account's node.
public struct NodeItemEvent {
    public let account: Account
    public let node: String
    public let id: String
    /// What was published; nil for what was retracted.
    public let payload: Element?
    /// Who did it: a full JID where that is known, the account's bare JID where a module did it in its name.
    public let publisher: JID

    public init(account: Account, node: String, id: String, payload: Element?, publisher: JID) {
        self.account = account
        self.node = node
        self.id = id
        self.payload = payload
        self.publisher = publisher
    }
}

/// Something happened to a node of an account.
public struct NodeEvent {
    public let account: Account
    public let node: String
    /// Who did it, as in ``NodeItemEvent``.
    public let publisher: JID
    /// Who could read the node before its configuration changed; nil for what else may happen to it.
    public let previousAccess: NodeOptions.AccessModel?

    public init(account: Account, node: String, publisher: JID, previousAccess: NodeOptions.AccessModel? = nil) {
        self.account = account
        self.node = node
        self.publisher = publisher
        self.previousAccess = previousAccess
    }

    /// Whether a node that everybody could read is not for everybody any more.
    @ServerActor
    public var isClosing: Bool {
        let eventing = account.host.service((any PersonalEventing).self)
        return previousAccess == .open && eventing?.options(of: node, account: account)?.accessModel != .open
    }
}

extension Hook where Event == NodeItemEvent {
    /// An item is about to be published on a node of an account: filter. Others that arrive meanwhile wait.
    public static var nodeItemPublishing: Self { Hook("node-item-publishing") }
    /// An item was published on a node of an account: observe. Its write is queued.
    public static var nodeItemPublished: Self { Hook("node-item-published") }
    /// An item of a node of an account was retracted by request: observe. Items that had to make room, and those of a
    /// node that was purged or deleted, are not told one by one.
    public static var nodeItemRetracted: Self { Hook("node-item-retracted") }
}

extension Hook where Event == NodeEvent {
    /// All items of a node of an account were removed: observe.
    public static var nodePurged: Self { Hook("node-purged") }
    /// A node of an account was deleted with its items: observe.
    public static var nodeDeleted: Self { Hook("node-deleted") }
    /// The configuration of a node of an account has changed: observe.
    public static var nodeConfigured: Self { Hook("node-configured") }
}
