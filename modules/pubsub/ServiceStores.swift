import ServerKit

/// What is kept of a node besides items and relations.
struct StoredNode: Codable, Sendable {
    let number: Int
    let created: Timestamp
    var creator: JID?
    /// The fields of the configuration that differ from ``NodeConfiguration/personal``.
    var configuration: [String: [String]]?
    var redirect: String?
}

/// Where the nodes of one host are stored. All that belongs to an account goes with it.
final class ServiceStores: Sendable {
    let storage: Storage
    /// Nodes by name.
    let nodes: MapStore<StoredNode>
    /// Relations, by the number of the node and the JID.
    let relations: MapStore<Relation>
    /// Items in the order of publication: each belongs to the number of its node, and is named by that and its id.
    let items: ArchiveStore<[UInt8]>

    @ServerActor
    init(_ host: ModuleHost) {
        storage = host.server.storage
        nodes = host.map("pubsub-nodes")
        relations = host.map("pubsub-relations")
        items = host.rawArchive("pubsub-items")
    }

    func write(_ writes: [StorageWrite]) {
        if !writes.isEmpty { _ = storage.driver.enqueue(writes) }
    }

    /// Reads what an owner has.
    @ServerActor
    func load(_ owner: String, _ pool: SharedConfiguration.Pool) async throws -> [Node] {
        let stored = try await nodes.entries(of: owner)
        guard !stored.isEmpty else { return [] }
        var byNumber: [Int: Node] = [:]
        for entry in stored {
            let value = entry.value
            let configuration = NodeConfiguration(stored: value.configuration ?? [:])
            byNumber[value.number] = Node(
                entry.key, number: value.number, created: value.created, creator: value.creator,
                pool.share(configuration), redirect: value.redirect)
        }
        for entry in try await relations.entries(of: owner) {
            let parts = entry.key.split(separator: "/", maxSplits: 1)
            guard parts.count == 2, let number = Int(parts[0]), let jid = JID(String(parts[1])) else { continue }
            byNumber[number]?.setRelation(entry.value, of: jid)
        }
        return Array(byNumber.values)
    }
}
