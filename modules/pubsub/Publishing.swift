import ServerKit

extension Feature {
    /// Publishing. XEP-0060 §7.1.
    static let publishing = Feature(
        [
            "publish", "publish-options", "auto-create", "item-ids", "persistent-items", "multi-items",
            "config-node-max", "publish-node-full",
        ],
        [Operation(.set, "publish", with: "publish-options") { try await $0.publish($1) }])
}

/// What somebody wants to publish.
struct Draft: Sendable {
    var id: String?
    /// Whether there is an `<item/>` at all.
    var hasItem = true
    var payload: Element?

    init(id: String?, payload: Element?) {
        self.id = id
        self.payload = payload
    }

    /// Reads a `<publish/>`.
    init(_ publish: Element) throws(StanzaError) {
        let items = publish.children("item")
        // XEP-0060 §7.1.1: more than one was allowed long ago.
        guard items.count <= 1 else { throw .badRequest("One item at a time.") }
        let payloads = items.first?.children ?? []
        guard payloads.count <= 1 else { throw .invalidPayload }
        hasItem = !items.isEmpty
        id = items.first?["id"].flatMap { $0.isEmpty ? nil : $0 }
        payload = payloads.first
    }
}

extension Service {
    fileprivate func publish(_ request: Request) async throws -> Element {
        let name = try request.requiredNodeName()
        let draft = try Draft(request.action)
        let options = try request.companion.map { try Self.options($0) }
        let id = try await publish(draft, to: name, by: request.from) { configuration, exists throws(StanzaError) in
            guard let options else { return }
            // XEP-0060 §7.1.5: an unknown field is a precondition that nothing can meet.
            let known = Set(ConfigurationField.all.map(\.name) + ["FORM_TYPE"])
            guard options.fields.allSatisfy({ known.contains($0.name ?? "") }) else { throw .preconditionNotMet }
            var wanted = configuration
            try wanted.apply(options, self.context)
            guard exists else {
                configuration = wanted
                return
            }
            guard wanted.isEquivalent(to: configuration, itemLimit: self.options.maxItems) else {
                throw .preconditionNotMet
            }
        }
        return Element("publish", nil, ["node": name]) {
            if let id { Element("item", nil, ["id": id]) }
        }
    }

    /// Reads `<publish-options/>`.
    private static func options(_ element: Element) throws(StanzaError) -> DataForm {
        guard var form = try DataForm.find(in: element) else { throw .badRequest("The options are a form.") }
        guard form.formType == FormType.publishOptions, form.kind == .submit else {
            throw .badRequest("The options are a submitted form for publish-options.")
        }
        form.fields.removeAll { $0.name == "FORM_TYPE" }
        return form
    }

    /// Publishes an item.
    ///
    /// - Parameter prepare: gets the configuration that the node has, or would be made with, and whether it is there;
    ///   changes it or throws.
    /// - Returns: the item's id; nil where there is none.
    func publish(
        _ draft: Draft, to name: String, by publisher: JID,
        prepare: @ServerActor (inout NodeConfiguration, Bool) throws(StanzaError) -> Void
    ) async throws -> String? {
        if let id = draft.id, id.utf8.count > options.nameLimit {
            throw StanzaError.notAcceptable("The id of an item may have \(options.nameLimit) bytes.")
        }
        while true {
            if let node = nodes[name], node.redirect == nil {
                guard node.waitingCount < options.waitingLimit else { throw StanzaError(.resourceConstraint, .wait) }
                let id: String?? = try await node.turn {
                    // While this one waited, the node may have gone away.
                    guard self.node(name) === node else { return nil }
                    guard mayPublish(publisher, to: node) else { throw StanzaError.forbidden }
                    var configuration = node.configuration
                    try prepare(&configuration, true)
                    try check(draft, configuration)
                    if configuration != node.configuration { try await reconfigure(node, configuration, by: publisher) }
                    return .some(try await publish(draft, at: node, by: publisher))
                }
                if let id { return id }
                continue
            }
            // To others it makes no difference whether there is such a node.
            guard home.mayCreateNodes(publisher) else { throw StanzaError.forbidden }
            // XEP-0060 §7.1.4.
            var configuration = home.defaults(for: name)
            try prepare(&configuration, false)
            try check(draft, configuration)
            _ = try create(name, configuration, by: publisher)
            // Now that it has these options, it meets them.
        }
    }

    /// Checks an item against the configuration of its node. XEP-0060 §4.3, §7.1.3.
    private func check(_ draft: Draft, _ configuration: NodeConfiguration) throws(StanzaError) {
        if !configuration.persistsItems, !configuration.deliversPayloads {
            guard !draft.hasItem else { throw .itemForbidden }
            return
        }
        guard draft.hasItem else { throw .itemRequired }
        guard let payload = draft.payload else {
            guard !configuration.deliversPayloads else { throw .payloadRequired }
            return
        }
        guard configuration.type.isEmpty || payload.namespace.uri == configuration.type else { throw .invalidPayload }
        let limit = min(configuration.maxPayloadSize ?? options.itemSize, options.itemSize)
        guard payload.xmlBytes.count <= limit else { throw .payloadTooBig }
    }

    /// Publishes what has been checked, while it is this one's turn.
    private func publish(_ draft: Draft, at node: Node, by publisher: JID) async throws -> String? {
        guard draft.hasItem else {
            notify(node, Element("items", nil, ["node": node.name]), by: publisher)
            return nil
        }
        let item = Item(
            id: draft.id ?? RandomToken.make(bytes: 16), publisher: publisher, payload: draft.payload, published: now)
        switch home.verdict(on: item, node: node.name, publisher: publisher) {
        case .pass: break
        case .drop: throw StanzaError.forbidden
        case .bounce(let error): throw error
        }
        let removed = try await keep(item, at: node)
        notify(node, of: item, by: publisher)
        tellOfRemoval(removed, at: node, by: publisher)
        home.announce(.published(item), node: node.name, by: publisher)
        return item.id
    }

    /// XEP-0060 §7.1.2.5: retracted, as opposed to discarded. A node of one item says the same by its new one.
    private func tellOfRemoval(_ ids: [String], at node: Node, by publisher: JID) {
        let configuration = node.configuration
        guard configuration.fullBehaviour == .retractOldest, configuration.notifiesRetraction,
            configuration.itemLimit(options.maxItems) > 1
        else { return }
        for id in ids { notifyRetraction(of: id, at: node, by: publisher) }
    }
}

extension NodeConfiguration {
    /// Whether both mean the same where a node keeps at most so many items.
    fileprivate func isEquivalent(to other: NodeConfiguration, itemLimit: Int) -> Bool {
        resolved(itemLimit) == other.resolved(itemLimit)
    }

    private func resolved(_ itemLimit: Int) -> NodeConfiguration {
        var copy = self
        copy.maxItems = .count(min(maxItems.count ?? itemLimit, itemLimit))
        copy.rosterGroups.sort()
        return copy
    }
}
