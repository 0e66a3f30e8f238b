import ServerKit

/// What disco tells of services and their nodes. XEP-0060 §5, XEP-0163 §6.
extension PubSub {
    /// Accounts are services of their own.
    func describeAccounts(to host: ModuleHost) {
        host.identify("pubsub", "pep", on: .account)
        // COMPAT XEP-0163 §6.1 has clients ask their account. Older ones, made for version 1.0, ask the host.
        host.identify("pubsub", "pep", on: .host)
        advertise(Feature.all + [.eventing], AccessModel.allCases, on: .account, host)
        host.listItems { request in
            guard let account = request.account else { return [] }
            return self.service(of: account)?.items(for: request.from) ?? []
        }
        host.discoNodes(on: .account) { name, request in
            guard let service = request.account.flatMap({ self.service(of: $0) }) else { return nil }
            return service.discoNode(name, for: request.from)
        }
    }

    /// The domain is a service.
    func describeDomain(to host: ModuleHost, _ home: DomainHome) {
        host.identify("pubsub", "service", on: .host)
        advertise(Feature.all, home.accessModels, on: .host, host)
        host.listItems { request in self.domainService?.items(for: request.from) ?? [] }
        host.discoNodes(on: .host) { name, request in self.domainService?.discoNode(name, for: request.from) }
    }

    private func advertise(
        _ features: [Feature], _ models: [AccessModel], on subject: DiscoRegistry.Subject, _ host: ModuleHost
    ) {
        host.advertise(.pubsub, on: subject)
        // XEP-0060 §10 means the default by these, of which there would be one; the field means what there is.
        for model in models { host.advertise(.pubsub(feature: "access-\(model.rawValue)"), on: subject) }
        for name in features.flatMap(\.advertises) { host.advertise(.pubsub(feature: name), on: subject) }
    }
}

extension Service {
    /// The nodes that somebody may read. XEP-0163 §6.2.
    func items(for jid: JID) -> [DiscoRegistry.Item] {
        openNodes.filter { mayDiscover(jid, $0) }.map { node in
            let title = node.configuration.title
            return DiscoRegistry.Item(jid: home.address, node: node.name, name: title.isEmpty ? nil : title)
        }
    }

    func discoNode(_ name: String, for jid: JID) -> (any DiscoNode)? {
        guard let node = node(name), mayDiscover(jid, node) else { return nil }
        return DescribedNode(node, self)
    }

    /// To follow a node whose owners decide, it must be known.
    private func mayDiscover(_ jid: JID, _ node: Node) -> Bool {
        mayRead(jid, node)
            || node.configuration.accessModel == .authorize && affiliation(of: jid, at: node) == .none
    }

    /// XEP-0060 §5.4.
    fileprivate func metadata(of node: Node) -> DataForm {
        let configuration = node.configuration
        let affiliated = node.affiliations
        let publishers = affiliated.filter { $0.affiliation == .publisher || $0.affiliation == .publishOnly }
        return DataForm(
            .result, formType: FormType.metadata,
            fields: [
                .text("pubsub#title", configuration.title),
                .text("pubsub#description", configuration.description),
                .text("pubsub#type", configuration.type),
                DataFormField("pubsub#language", .listSingle, values: [configuration.language]),
                DataFormField("pubsub#contact", .jidMulti, values: configuration.contacts.map(\.description)),
                DataFormField("pubsub#creator", .jidSingle, values: node.creator.map { [$0.description] } ?? []),
                .text("pubsub#creation_date", node.created.description),
                DataFormField("pubsub#access_model", .listSingle, values: [configuration.accessModel.rawValue]),
                DataFormField("pubsub#publish_model", .listSingle, values: [configuration.publishModel.rawValue]),
                .text("pubsub#max_items", configuration.maxItems.text),
                DataFormField("pubsub#owner", .jidMulti, values: owners(of: node).map(\.description)),
                DataFormField("pubsub#publisher", .jidMulti, values: publishers.map(\.jid.description)),
                .text(
                    "pubsub#num_subscribers",
                    String(node.subscriptions.count { $0.subscription.state == .subscribed })),
            ].filter { $0.values.contains { !$0.isEmpty } })
    }
}

/// A node that disco was asked about.
@ServerActor
private final class DescribedNode: DiscoNode {
    private let node: Node
    private let service: Service

    init(_ node: Node, _ service: Service) {
        self.node = node
        self.service = service
    }

    /// XEP-0060 §5.3, §5.4.
    func info(node name: String, request: IQRequest) throws -> [Element] {
        let info = DiscoInfo(
            identities: [
                .init("pubsub", "leaf", name: node.configuration.title.isEmpty ? nil : node.configuration.title)
            ],
            features: [.pubsub], forms: [service.metadata(of: node)])
        return info.elements
    }

    /// XEP-0060 §5.5: the names of items, which have no node.
    func items(node name: String, request: IQRequest) async throws -> [DiscoRegistry.Item] {
        guard node.configuration.persistsItems else { return [] }
        if let refusal = service.refusal(of: request.from, at: node) { throw refusal }
        let page = try await service.page(
            of: node, .first, limit: service.options.pageSize, bytes: service.options.pageBytes)
        return page.items.map { .init(jid: service.home.address, name: $0.id) }
    }
}
