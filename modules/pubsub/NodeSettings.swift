import ServerKit

extension Feature {
    /// Configuring nodes. XEP-0060 §8.2, §8.3.
    static let configuration = Feature(
        ["config-node", "retrieve-default"],
        [
            Operation(.get, "configure", .pubsubOwner) { try $0.configurationForm($1) },
            Operation(.set, "configure", .pubsubOwner) { try await $0.configure($1) },
            Operation(.get, "default", .pubsubOwner) { try $0.defaultConfiguration($1) },
        ])
}

extension Service {
    fileprivate func configurationForm(_ request: Request) throws -> Element {
        let node = try findOwned(request)
        return Element("configure", nil, ["node": node.name]) { node.configuration.form(.form, context).element }
    }

    /// XEP-0060 §8.3: to whoever may make nodes here.
    fileprivate func defaultConfiguration(_ request: Request) throws -> Element {
        guard home.mayCreateNodes(request.from) else { throw StanzaError.forbidden }
        // XEP-0060 §8.3.1.1: there are no collections.
        guard request.action["type"] ?? "leaf" == "leaf" else { throw StanzaError.featureNotImplemented }
        let defaults = home.defaults(for: request.nodeName ?? "")
        return Element("default") { defaults.form(.form, context).element }
    }

    fileprivate func configure(_ request: Request) async throws -> Element? {
        let node = try findOwned(request)
        guard let form = try DataForm.find(in: request.action) else {
            throw StanzaError.badRequest("The configuration is a form.")
        }
        if form.kind == .cancel { return nil }
        try await change(node, by: request.from) { configuration throws(StanzaError) in
            try configuration.apply(form, self.context)
        }
        return nil
    }

    /// Changes a configuration when what came before has been done.
    func change(
        _ node: Node, by publisher: JID,
        _ body: @ServerActor (inout NodeConfiguration) throws(StanzaError) -> Void
    ) async throws {
        try await turn(at: node) {
            guard isOwner(publisher, of: node) else { throw StanzaError.forbidden }
            var configuration = node.configuration
            try body(&configuration)
            try await reconfigure(node, configuration, by: publisher)
        }
    }

    /// Gives a node another configuration, while it is this one's turn.
    func reconfigure(_ node: Node, _ configuration: NodeConfiguration, by publisher: JID) async throws {
        let old = node.configuration
        guard configuration != old else { return }
        configure(node, configuration)
        let limit = options.maxItems
        if configuration.itemLimit(limit) < old.itemLimit(limit) { try await trim(node) }
        // XEP-0060 §6.1: those who wait need not any more, if nobody has to approve of them.
        if old.accessModel == .authorize, configuration.accessModel != .authorize {
            for (jid, subscription) in node.subscriptions where subscription.state == .pending {
                settle(jid, isAllowed: mayRead(jid, node), at: node)
            }
        }
        home.announce(.configured(old.accessModel), node: node.name, by: publisher)
        guard configuration.notifiesConfiguration else { return }
        // XEP-0060 §8.2.5.3.
        let event = Element("configuration", .pubsubEvent, ["node": node.name]) {
            if configuration.deliversPayloads { configuration.form(.result, context).element }
        }
        notify(node, event, by: publisher)
    }
}
