import ServerKit

extension Feature {
    /// Deleting items. XEP-0060 §7.2.
    static let retraction = Feature(
        ["delete-items", "retract-items"], [Operation(.set, "retract") { try await $0.retract($1) }])
}

extension Service {
    fileprivate func retract(_ request: Request) async throws -> Element? {
        let node = try find(request)
        let items = request.action.children("item")
        guard let id = items.first?["id"], !id.isEmpty else { throw StanzaError.itemRequired }
        guard items.count == 1 else { throw StanzaError.badRequest("One item at a time.") }
        guard node.configuration.persistsItems else { throw StanzaError.unsupported("persistent-items") }
        let notifies: Bool
        switch request.action["notify"] {
        case "1", "true": notifies = true
        case "0", "false": notifies = false
        case nil: notifies = node.configuration.notifiesRetraction
        case _: throw StanzaError.badRequest("The attribute notify is a boolean.")
        }
        try await retract(id, from: node, notifies: notifies, by: request.from)
        return nil
    }

    /// - Throws: `.itemNotFound` when it is not there.
    func retract(_ id: String, from node: Node, notifies: Bool, by publisher: JID) async throws {
        try await turn(at: node) {
            // Those who may retract nothing do not learn what there is.
            guard mayPublish(publisher, to: node) else { throw StanzaError.forbidden }
            guard let item = try await item(id, of: node) else { throw StanzaError.itemNotFound }
            guard mayRetract(publisher, itemOf: item.publisher, at: node) else { throw StanzaError.forbidden }
            delete(id, of: node)
            if notifies { notifyRetraction(of: id, at: node, by: publisher) }
            home.announce(.retracted(id: id), node: node.name, by: publisher)
        }
    }
}
