import ServerKit

/// The command with which owners ask again for the requests that wait for them. XEP-0060 §8.7. Accounts have no
/// commands.
extension PubSub {
    func offerPendingRequests(on host: ModuleHost) {
        let node = Namespace.pubsub(feature: "get-pending")
        host.advertise(node, on: .host)
        host.command(
            AdHocCommand(node.uri, "Answer subscription requests", access: .anyone) { context in
                guard let service = self.domainService else { throw StanzaError(.internalServerError, .wait) }
                let nodes = service.openNodes.filter { service.isOwner(context.from, of: $0) }
                guard !nodes.isEmpty else { throw StanzaError.forbidden }
                let waiting = nodes.filter { !$0.pendingSubscribers.isEmpty }
                guard !waiting.isEmpty else { return .done(note: "Nobody waits for an answer.") }
                let form = DataForm(
                    .form, formType: FormType.authorization,
                    fields: [
                        DataFormField(
                            "pubsub#node", .listSingle, label: "The node", isRequired: true,
                            options: waiting.map { .init($0.name) })
                    ])
                return .form(form) { answer, context in try self.askAgain(answer.text("pubsub#node") ?? "", context) }
            })
    }

    /// Sends one message for each request. XEP-0060 §8.7.4.
    private func askAgain(_ name: String, _ context: AdHocCommand.Context) throws(StanzaError) -> AdHocCommand.Step {
        guard let service = domainService, let node = service.node(name) else { throw .itemNotFound }
        guard service.isOwner(context.from, of: node) else { throw .forbidden }
        for jid in node.pendingSubscribers { service.askOwners(about: jid, at: node, only: context.from.bare) }
        return .done()
    }
}

extension Node {
    var pendingSubscribers: [JID] { subscriptions.filter { $0.subscription.state == .pending }.map(\.jid) }
}
