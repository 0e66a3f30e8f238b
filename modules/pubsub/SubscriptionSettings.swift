import ServerKit

extension Feature {
    /// What subscribers may choose. XEP-0060 §6.3, §6.4.
    static let subscriptionOptions = Feature(
        ["subscription-options", "retrieve-default-sub"],
        [
            Operation(.get, "options") { try $0.subscriptionForm($1) },
            Operation(.set, "options") { try $0.setOptions($1) },
            Operation(.get, "default") { try $0.defaultOptions($1) },
        ])
}

extension Subscription {
    /// The form that shows the options. XEP-0060 §16.4.2.
    func form(_ kind: DataForm.Kind) -> DataForm {
        DataForm(
            kind, formType: FormType.subscribeOptions,
            fields: [.boolean("pubsub#deliver", delivers != false, label: "Whether to deliver notifications")])
    }

    /// Takes over the form inside an `<options/>`.
    ///
    /// - Throws: `.invalidOptions` when it asks for something else. XEP-0060 §6.3.6.2.
    mutating func apply(_ options: Element) throws(StanzaError) {
        guard let form = try DataForm.find(in: options), form.kind != .cancel else { return }
        guard form.kind == .submit, form.formType == nil || form.formType == FormType.subscribeOptions else {
            throw .invalidOptions
        }
        for field in form.fields where field.name != "FORM_TYPE" {
            guard field.name == "pubsub#deliver" else { throw .invalidOptions }
        }
        guard let value = try? form.bool("pubsub#deliver") else {
            guard form["pubsub#deliver"] == nil else { throw .invalidOptions }
            return
        }
        delivers = value ? nil : false
    }
}

extension Service {
    /// The subscription that a request is about.
    private func subscription(_ request: Request) throws(StanzaError) -> (Node, JID, Subscription) {
        let jid = try request.subscriber(otherwise: .forbidden)
        let node = try find(request)
        guard let subscription = node.subscription(of: jid) else {
            // XEP-0060 §6.3.4.2: the type of the example.
            throw StanzaError(.unexpectedRequest, .modify).pubsub("not-subscribed")
        }
        return (node, jid, subscription)
    }

    fileprivate func subscriptionForm(_ request: Request) throws -> Element {
        let (node, jid, subscription) = try subscription(request)
        return Element("options", nil, ["node": node.name, "jid": jid.description]) {
            subscription.form(.form).element
        }
    }

    fileprivate func setOptions(_ request: Request) throws -> Element? {
        var (node, jid, subscription) = try subscription(request)
        try subscription.apply(request.action)
        setSubscription(subscription, of: jid, at: node)
        return nil
    }

    /// XEP-0060 §6.4.
    fileprivate func defaultOptions(_ request: Request) throws -> Element {
        var name: String?
        if request.nodeName != nil {
            let node = try find(request)
            if let refusal = refusal(of: request.from, at: node) { throw refusal }
            name = node.name
        }
        return Element("default", nil, ["node": name]) {
            Subscription(state: .subscribed).form(.result).element
        }
    }
}
