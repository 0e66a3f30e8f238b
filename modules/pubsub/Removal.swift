import ServerKit

extension Feature {
    /// Deleting nodes, and all items of a node. XEP-0060 §8.4, §8.5.
    static let removal = Feature(
        ["delete-nodes", "purge-nodes"],
        [
            Operation(.set, "delete", .pubsubOwner) { try await $0.delete($1) },
            Operation(.set, "purge", .pubsubOwner) { try await $0.purge($1) },
        ])
}

extension Service {
    fileprivate func delete(_ request: Request) async throws -> Element? {
        let name = try request.requiredNodeName()
        if let moved = nodes[name], moved.redirect != nil, isOwner(request.from, of: moved) {
            // The address that it left behind is all that is left to delete.
            remove(moved, redirect: nil)
            return nil
        }
        let node = try findOwned(request)
        let redirect = request.action.child("redirect").map { $0["uri"] ?? "" }
        if let redirect {
            guard !redirect.isEmpty, redirect.utf8.count <= options.nameLimit else {
                throw StanzaError.badRequest("A redirect has the address of a node.")
            }
        }
        try await delete(node, redirect: redirect, by: request.from)
        return nil
    }

    func delete(_ node: Node, redirect: String?, by publisher: JID) async throws {
        node.isClosing = true
        do {
            try await node.turn {
                // XEP-0060 §8.4: first the items, then the node.
                try await deleteAllItems(of: node)
                remove(node, redirect: redirect)
            }
        } catch {
            node.isClosing = false
            throw error
        }
        if node.configuration.notifiesDeletion {
            let event = Element("delete", .pubsubEvent, ["node": node.name]) {
                if let redirect { Element("redirect", nil, ["uri": redirect]) }
            }
            notify(node, event, by: publisher, audience: audience(of: node, isEnd: true))
        }
        home.announce(.deleted, node: node.name, by: publisher)
    }

    fileprivate func purge(_ request: Request) async throws -> Element? {
        let node = try findOwned(request)
        guard node.configuration.persistsItems else { throw StanzaError.unsupported("persistent-items") }
        try await turn(at: node) {
            try await deleteAllItems(of: node)
            notify(node, Element("purge", .pubsubEvent, ["node": node.name]), by: request.from)
            home.announce(.purged, node: node.name, by: request.from)
        }
        return nil
    }
}
