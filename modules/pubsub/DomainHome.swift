import ServerKit

/// A domain that is a service: users make nodes there, and whoever made one owns it.
@ServerActor
final class DomainHome: Home {
    let address: JID
    let host: Host
    private let module: PubSub

    init(_ host: Host, _ module: PubSub) {
        self.host = host
        self.module = module
        address = host.jid
    }

    /// Nobody's contacts are known here.
    let accessModels = [AccessModel.authorize, .open, .whitelist]
    let isPersonal = false

    func ownsEverything(_ jid: JID) -> Bool { host.isAdmin(jid) }

    func mayCreateNodes(_ jid: JID) -> Bool {
        switch module.options.creators {
        case .anyone: true
        case .users: host.allows(.local, from: jid) || host.isAdmin(jid)
        case .admins: host.isAdmin(jid)
        }
    }

    func seesPresence(_ jid: JID) -> Bool { false }
    func groups(of jid: JID) -> [String] { [] }
    func isBlocked(_ jid: JID) -> Bool { false }
    func interestedResources(in node: String) -> [JID] { [] }

    /// XEP-0060 §4.5: open; with a history, as web logs and the like have one.
    func defaults(for node: String) -> NodeConfiguration {
        var configuration = NodeConfiguration(accessModel: .open, maxItems: .max)
        configuration.sendLastItem = .onSubscription
        return configuration
    }

    func verdict(on item: Item, node: String, publisher: JID) -> Verdict { .pass }
    func announce(_ change: NodeChange, node: String, by publisher: JID) {}
}
