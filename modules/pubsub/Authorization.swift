import ServerKit

/// Asking the owners of a node about somebody who wants to subscribe, and their answers. XEP-0060 §8.6.
extension Service {
    /// - Parameter owner: one of the owners, if the others need not be asked.
    func askOwners(about jid: JID, at node: Node, only owner: JID? = nil) {
        let form = DataForm(
            .form, formType: FormType.authorization, title: "Subscription request",
            instructions: ["Choose whether \(jid) may follow what is published at \(node.name)."],
            fields: [
                .text("pubsub#node", node.name, label: "The node"),
                DataFormField(
                    "pubsub#subscriber_jid", .jidSingle, label: "Who wants to subscribe", values: [jid.description]),
                .boolean("pubsub#allow", false, label: "Allow this JID to subscribe to this node?"),
            ])
        let id = RandomToken.make(bytes: 8)
        for owner in owner.map({ [$0] }) ?? owners(of: node) where !home.isBlocked(jid) {
            let message = Message(to: owner, from: home.address, id: id) { form.element }
            home.host.router.route(message)
        }
    }

    /// Takes an owner's answer. Returns whether the message was one.
    func takeAnswer(_ message: Message) -> Bool {
        guard let from = message.from, !message.isError,
            let form = try? DataForm.find(in: message.payload), form.kind == .submit || form.kind == .cancel,
            form.formType == FormType.authorization
        else { return false }
        // XEP-0060 §8.6: who cancels leaves it undecided.
        guard form.kind == .submit, let name = form.text("pubsub#node"), let node = node(name),
            isOwner(from, of: node), let jid = try? form.jid("pubsub#subscriber_jid"),
            let isAllowed = try? form.bool("pubsub#allow"), node.subscription(of: jid)?.state == .pending
        else { return true }
        settle(jid, isAllowed: isAllowed, at: node)
        return true
    }
}

extension PubSub {
    /// An owner's answer is for the service, none of the owner's clients.
    func takeAuthorization(_ event: MessageEvent) -> Verdict {
        guard event.message.to?.isBare == true, event.message.has("x", .dataForms),
            let service = service(of: event.account), service.takeAnswer(event.message)
        else { return .pass }
        return .drop
    }
}
