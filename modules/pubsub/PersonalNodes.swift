import ServerKit

/// The nodes of accounts, for other modules.
extension PubSub: PersonalEventing {
    private func node(_ name: String, _ account: Account) -> (Service, Node)? {
        guard let service = service(of: account), let node = service.node(name) else { return nil }
        return (service, node)
    }

    public func nodes(of account: Account) -> [String] { service(of: account)?.openNodes.map(\.name) ?? [] }

    public func options(of node: String, account: Account) -> NodeOptions? {
        guard let (_, node) = self.node(node, account) else { return nil }
        let configuration = node.configuration
        return NodeOptions(
            accessModel: configuration.accessModel, maxItems: configuration.maxItems,
            persistsItems: configuration.persistsItems, sendLastItem: configuration.sendLastItem)
    }

    public func mayRead(_ node: String, of account: Account, _ reader: JID) -> Bool {
        guard let (service, node) = self.node(node, account) else { return false }
        return service.mayRead(reader, node)
    }

    public func latestItem(of node: String, account: Account) async throws -> NodeItem? {
        guard let (service, node) = self.node(node, account) else { return nil }
        return try await service.newestItem(of: node).map(NodeItem.init)
    }

    public func item(_ id: String, of node: String, account: Account) async throws -> NodeItem? {
        guard let (service, node) = self.node(node, account) else { return nil }
        return try await service.item(id, of: node).map(NodeItem.init)
    }

    public func items(of node: String, account: Account, limit: Int?) async throws -> [NodeItem] {
        guard let (service, node) = self.node(node, account) else { return [] }
        var items: [Item] = []
        var position = ResultSetRequest.Position.last
        let wanted = limit ?? .max
        while items.count < wanted {
            let page = try await service.page(
                of: node, position, limit: min(100, wanted - items.count), bytes: service.options.pageBytes)
            items = page.items + items
            guard !page.isComplete, let first = page.items.first else { break }
            position = .before(first.id)
        }
        return items.map(NodeItem.init)
    }

    public func publish(
        _ payload: Element, id: String?, to node: String, of account: Account, as publisher: JID?,
        options: NodeOptions, mismatch: NodeOptions.Mismatch
    ) async throws -> String {
        guard let service = service(of: account) else { throw StanzaError(.internalServerError, .wait) }
        let id = try await service.publish(
            Draft(id: id, payload: payload), to: node, by: publisher ?? account.jid
        ) { configuration, exists throws(StanzaError) in
            var wanted = configuration
            wanted.apply(options)
            guard exists, wanted != configuration else {
                configuration = wanted
                return
            }
            switch mismatch {
            case .ignore: break
            case .configure: configuration = wanted
            case .refuse: throw .preconditionNotMet
            }
        }
        return id ?? ""
    }

    public func configure(_ node: String, of account: Account, _ options: NodeOptions) async throws {
        guard let (service, node) = self.node(node, account) else { throw StanzaError.itemNotFound }
        try await service.change(node, by: account.jid) { configuration throws(StanzaError) in
            configuration.apply(options)
        }
    }

    public func retract(_ id: String, of node: String, account: Account, notifies: Bool) async throws {
        guard let (service, node) = self.node(node, account) else { return }
        do {
            try await service.retract(id, from: node, notifies: notifies, by: account.jid)
        } catch let error as StanzaError where error.condition == .itemNotFound {}
    }

    public func deleteNode(_ node: String, of account: Account) async throws {
        guard let (service, node) = self.node(node, account) else { return }
        try await service.delete(node, redirect: nil, by: account.jid)
    }
}

extension NodeItem {
    init(_ item: Item) {
        self.init(id: item.id, publisher: item.publisher, payload: item.payload, published: item.published)
    }
}

extension NodeConfiguration {
    /// Takes over what a module asks for.
    fileprivate mutating func apply(_ options: NodeOptions) {
        accessModel = options.accessModel ?? accessModel
        maxItems = options.maxItems ?? maxItems
        persistsItems = options.persistsItems ?? persistsItems
        sendLastItem = options.sendLastItem ?? sendLastItem
    }
}
