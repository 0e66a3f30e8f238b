import ServerKit

/// Publish-Subscribe (XEP-0060) at every account (XEP-0163): nodes that people publish to and others follow, from
/// avatars, bookmarks and keys for encryption to web logs.
///
/// A ``Service`` holds the nodes of one account. What can be done with it is a list of ``Feature``s, a file each.
public final class PubSub: Module {
    public static let info = ModuleInfo(
        "pubsub", "Keeps what clients publish about their users, and tells those who follow it",
        implements: [
            .xep(60, "1.30.0").partial(
                "Left out: collections, several subscriptions of one JID, leases, digests, at accounts get-pending."),
            .xep(163, "1.2.2"), .xep(222, "1.0"), .xep(223, "1.1.1"),
        ],
        group: .recommended, scope: .hostAndComponent,
        after: ["caps", "disco", "roster", "presence", "messages"])

    public struct Options: ModuleOptions {
        let nodeLimit: Int
        let domainLimit: Int
        let maxItems: Int
        let itemSize: Int
        let nameLimit: Int
        let relationLimit: Int
        let pageSize: Int
        let pageBytes: Int
        let waitingLimit: Int
        let creators: Creators

        /// Who may make nodes on a domain.
        enum Creators: String, CaseIterable, Sendable {
            case users, admins, anyone
        }

        public init(_ config: inout OptionReader) {
            nodeLimit = config.int(
                "max_nodes", default: 250, in: 1...100_000, "Nodes of one account; on a domain, that one user made.")
            domainLimit = config.int(
                "max_domain_nodes", default: 10_000, in: 1...1_000_000, "Nodes of a domain of its own.")
            maxItems = config.int(
                "max_items", default: 1_000, in: 1...100_000, "Items of one node; what clients call max.")
            itemSize = config.size(
                "max_item_size", default: 262_144, in: 1_024...16_777_216, "Size of an item's content.")
            nameLimit = config.int(
                "max_name", default: 1_023, in: 64...4_096, "Bytes in the name of a node or the id of an item.")
            relationLimit = config.int(
                "max_subscribers", default: 500, in: 1...100_000,
                "Subscriptions and affiliations of one node. Contacts who follow by their presence do not count.")
            pageSize = config.int(
                "page_size", default: 500, in: 1...10_000, "Items in one answer; of more, clients get the first page.")
            pageBytes = config.size(
                "max_page_size", default: 1_048_576, in: 65_536...67_108_864,
                "Size of an answer with items; when it is reached, the page ends.")
            waitingLimit = config.int(
                "max_waiting", default: 200, in: 1...10_000,
                "Changes to one node that may wait for the storage; more are refused for the moment.")
            creators = config.choice(
                "create", default: Creators.users,
                "Who may make nodes on a domain of its own: the users of this server, its administrators, or anyone.")
        }

        @ServerActor
        func context(_ home: any Home) -> ConfigurationContext {
            ConfigurationContext(
                accessModels: home.accessModels, knowsPresence: home.isPersonal, maxItems: maxItems, itemSize: itemSize,
                textLimit: 1_023)
        }
    }

    private(set) var options: Options
    let pool = SharedConfiguration.Pool()

    public init(options: Options) {
        self.options = options
    }

    public func reconfigure(_ options: Options) -> Bool {
        self.options = options
        return true
    }

    public func load(into host: ModuleHost) {
        if host.isComponent { serveDomain(host) } else { serveAccounts(host) }
    }

    // MARK: Accounts

    private func serveAccounts(_ host: ModuleHost) {
        let stores = ServiceStores(host)
        host.loadWithAccounts(LoadedService.self) { account in
            let nodes = try await stores.load(account.name, self.pool)
            return Service(
                AccountHome(account), owner: account.name, stores: stores, module: self, nodes: nodes)
        }
        for kind in [IQ.Kind.get, .set] {
            for namespace in [Namespace.pubsub, .pubsubOwner] {
                host.answer(kind, "pubsub", namespace) { try await self.answer($0) }
            }
        }
        host.observe(.capabilitiesKnown) { self.sendLastItems($0) }
        host.observe(.presenceSent) { self.welcome($0) }
        host.filter(.messageArrived) { self.takeAuthorization($0) }
        host.provide((any PersonalEventing).self, self)
        describeAccounts(to: host)
    }

    /// The service of an account; nil only until it has been read after the module was switched on.
    func service(of account: Account) -> Service? { account[LoadedService.self] }

    private enum LoadedService: AccountKey {
        static let defaultValue: Service? = nil
    }

    private func answer(_ request: IQRequest) async throws -> Element? {
        guard let service = request.account.map({ service(of: $0) }) ?? domainService else {
            throw StanzaError(.internalServerError, .wait)
        }
        return try await service.answer(request)
    }

    // MARK: A domain

    /// The service of a domain; nil until it has been read.
    private(set) var domainService: Service?

    private func serveDomain(_ host: ModuleHost) {
        let stores = ServiceStores(host)
        let home = DomainHome(host.host, self)
        host.startUp {
            let nodes = try await stores.load("", self.pool)
            self.domainService = Service(home, owner: "", stores: stores, module: self, nodes: nodes)
        }
        for kind in [IQ.Kind.get, .set] {
            for namespace in [Namespace.pubsub, .pubsubOwner] {
                host.answer(kind, "pubsub", namespace, on: .host) { try await self.answer($0) }
            }
        }
        host.claim(.hostMessage) { self.domainService?.takeAnswer($0.message) ?? false }
        offerPendingRequests(on: host)
        describeDomain(to: host, home)
    }
}
