import ServerKit

/// The nodes of one account or domain.
@ServerActor
final class Service {
    let home: any Home
    /// To whom the nodes belong in the stores.
    let owner: String
    let stores: ServiceStores
    private let module: PubSub
    private(set) var nodes: [String: Node] = [:]
    private var lastNumber = 0

    init(_ home: any Home, owner: String, stores: ServiceStores, module: PubSub, nodes: [Node]) {
        self.home = home
        self.owner = owner
        self.stores = stores
        self.module = module
        for node in nodes {
            self.nodes[node.name] = node
            lastNumber = max(lastNumber, node.number)
        }
    }

    var options: PubSub.Options { module.options }
    var context: ConfigurationContext { module.options.context(home) }
    var now: Timestamp { home.host.server.clock.date }

    // MARK: Finding nodes

    /// The node with this name, unless it has moved or is being deleted.
    func node(_ name: String) -> Node? {
        guard let node = nodes[name], !node.isClosing, node.redirect == nil else { return nil }
        return node
    }

    /// All nodes, by name.
    var openNodes: [Node] {
        nodes.values.filter { !$0.isClosing && $0.redirect == nil }.sorted { $0.name < $1.name }
    }

    /// The node that a request names.
    ///
    /// What XEP-0060 has us answer tells strangers that there is such an account, as its open nodes do anyway.
    ///
    /// - Throws: `.itemNotFound` when there is none, `.gone` to those who may know that it has moved
    ///   (XEP-0060 §6.1.3.11).
    func find(_ request: Request) throws(StanzaError) -> Node {
        let name = try request.requiredNodeName()
        if let node = node(name) { return node }
        if let node = nodes[name], let address = node.redirect, refusal(of: request.from, at: node) == nil {
            var gone = StanzaError(.gone, .modify)
            gone.address = address
            throw gone
        }
        throw .itemNotFound
    }

    /// The node that a request names, for one of its owners.
    func findOwned(_ request: Request) throws(StanzaError) -> Node {
        let node = try find(request)
        guard isOwner(request.from, of: node) else { throw .forbidden }
        return node
    }

    /// Does something with a node's items when it is this one's turn, unless the node is gone by then.
    ///
    /// - Throws: `.resourceConstraint` when too many wait already.
    func turn<Result>(at node: Node, _ body: @ServerActor () async throws -> Result) async throws -> Result {
        guard node.waitingCount < options.waitingLimit else { throw StanzaError.resourceConstraint }
        return try await node.turn {
            guard self.node(node.name) === node else { throw StanzaError.itemNotFound }
            return try await body()
        }
    }

    // MARK: Changing nodes

    /// Makes a node.
    ///
    /// - Throws: `.conflict` when it is there, `.resourceConstraint` when there are too many.
    func create(
        _ name: String, _ configuration: NodeConfiguration, by creator: JID
    ) throws(StanzaError) -> Node {
        let existing = nodes[name]
        guard existing == nil || existing?.redirect != nil else { throw .conflict }
        guard name.utf8.count <= options.nameLimit else {
            throw .notAcceptable("The name of a node may have \(options.nameLimit) bytes.")
        }
        guard existing != nil || hasRoomForNode(of: creator.bare) else {
            throw .resourceConstraint("There are too many nodes already.")
        }
        lastNumber += 1
        let node = Node(
            name, number: lastNumber, created: now, creator: creator.bare, module.pool.share(configuration))
        if !home.isPersonal { node.setRelation(Relation(affiliation: .owner), of: creator.bare) }
        nodes[name] = node
        var writes = existing.map { forgetting(relationsOf: $0) } ?? []
        writes.append(saving(node))
        writes += node.relations.map { saving($0.value, of: $0.key, at: node) }
        stores.write(writes)
        return node
    }

    private func hasRoomForNode(of creator: JID) -> Bool {
        if home.isPersonal { return nodes.count < options.nodeLimit }
        return nodes.count < options.domainLimit && nodes.values.count { $0.creator == creator } < options.nodeLimit
    }

    func configure(_ node: Node, _ configuration: NodeConfiguration) {
        node.configure(module.pool.share(configuration))
        stores.write([saving(node)])
    }

    /// Removes a node whose items are gone already; with an address, its name goes on pointing there.
    func remove(_ node: Node, redirect: String?) {
        guard nodes[node.name] === node else { return }
        guard let redirect else {
            nodes[node.name] = nil
            stores.write(
                forgetting(relationsOf: node)
                    + [.deleteEntry(stores.nodes.address, owner: owner, key: node.name)])
            return
        }
        let moved = Node(
            node.name, number: node.number, created: node.created, creator: node.creator, node.shared,
            redirect: redirect)
        for (jid, relation) in node.relations { moved.setRelation(relation, of: jid) }
        nodes[node.name] = moved
        stores.write([saving(moved)])
    }

    func setAffiliation(_ affiliation: Affiliation, of jid: JID, at node: Node) {
        var relation = node.relations[jid.bare] ?? Relation()
        relation.affiliation = affiliation == .none ? nil : affiliation
        setRelation(relation, of: jid.bare, at: node)
    }

    func setSubscription(_ subscription: Subscription?, of jid: JID, at node: Node) {
        var relation = node.relations[jid] ?? Relation()
        relation.subscription = subscription
        setRelation(relation, of: jid, at: node)
    }

    private func setRelation(_ relation: Relation, of jid: JID, at node: Node) {
        guard node.relations[jid] ?? Relation() != relation else { return }
        node.setRelation(relation, of: jid)
        stores.write([saving(relation, of: jid, at: node)])
    }

    /// Whether one more may subscribe or be affiliated.
    func hasRoom(for jid: JID, at node: Node) -> Bool {
        node.relations[jid] != nil || node.relations.count < options.relationLimit
    }

    // MARK: Writes

    private func saving(_ node: Node) -> StorageWrite {
        let configuration = node.configuration.stored
        let value = StoredNode(
            number: node.number, created: node.created, creator: node.creator,
            configuration: configuration.isEmpty ? nil : configuration, redirect: node.redirect)
        return stores.nodes.setting(value, node.name, of: owner)
    }

    private func saving(_ relation: Relation, of jid: JID, at node: Node) -> StorageWrite {
        let key = "\(node.number)/\(jid)"
        return relation.isNothing
            ? .deleteEntry(stores.relations.address, owner: owner, key: key)
            : stores.relations.setting(relation, key, of: owner)
    }

    private func forgetting(relationsOf node: Node) -> [StorageWrite] {
        node.relations.keys.map {
            .deleteEntry(stores.relations.address, owner: owner, key: "\(node.number)/\($0)")
        }
    }
}
