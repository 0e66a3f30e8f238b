import ServerKit

/// What a service needs of the entity it belongs to: an account (XEP-0163), or a domain of its own.
@ServerActor
protocol Home: AnyObject {
    /// Where the service is asked, and who its notifications are from.
    var address: JID { get }
    var host: Host { get }
    /// The access models that make sense here.
    var accessModels: [AccessModel] { get }
    /// Whether this is an account, whose user owns all nodes and whose contacts follow them.
    var isPersonal: Bool { get }

    /// Whether somebody owns all nodes.
    func ownsEverything(_ jid: JID) -> Bool
    func mayCreateNodes(_ jid: JID) -> Bool
    /// Whether somebody may see the presence of the owner of the nodes.
    func seesPresence(_ jid: JID) -> Bool
    /// The groups of the owner's roster that somebody is in.
    func groups(of jid: JID) -> [String]
    /// Whether nothing may be sent to somebody.
    func isBlocked(_ jid: JID) -> Bool
    /// The full JIDs that are available and announced that they want to hear of a node. XEP-0060 §9.2.
    func interestedResources(in node: String) -> [JID]
    /// What a node begins with.
    func defaults(for node: String) -> NodeConfiguration

    /// Whether others object to an item that is about to be published.
    func verdict(on item: Item, node: String, publisher: JID) -> Verdict
    /// Tells others what has happened.
    func announce(_ change: NodeChange, node: String, by publisher: JID)
}

/// What has happened to a node.
enum NodeChange {
    case published(Item)
    case retracted(id: String)
    case purged, deleted
    /// With whoever could read it before.
    case configured(AccessModel)
}
