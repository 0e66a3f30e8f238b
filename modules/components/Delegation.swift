import ServerKit

/// What a component says about a part of the host or of accounts.
struct NestedInfoKey: Hashable {
    let component: JID
    let namespace: String
    let subject: DiscoRegistry.Subject
}

/// Namespace Delegation (XEP-0355), as the administrator decides: requests that components answer in the host's place.
extension ComponentRights {
    /// What a component is told of its delegations; nil when it has none. XEP-0355 §4.2.
    func delegationElement(_ delegations: [ComponentDelegation]) -> Element? {
        guard !delegations.isEmpty else { return nil }
        return Element("delegation", .delegation) {
            for delegation in delegations {
                Element("delegated", .delegation, ["namespace": delegation.namespace]) {
                    for attribute in delegation.attributes { Element("attribute", nil, ["name": attribute]) }
                }
            }
        }
    }

    // MARK: Requests

    /// XEP-0355 §4.3.
    func delegate(_ event: IQEvent) -> Verdict {
        // Only to the host and to bare JIDs.
        guard !grants.isEmpty, event.iq.isRequest, let from = event.iq.from, event.iq.to?.resourcepart == nil,
            let component = manager(of: event)
        else { return .pass }
        // XEP-0355 §4.3.1: what the component sends itself is the host's affair.
        if from.domainpart == component.jid.domainpart || requests.isOurs(event.iq, of: component) { return .pass }
        guard component.isConnected else { return .bounce(.serviceUnavailable) }
        guard forwardedCount < Self.limit else { return .bounce(.resourceConstraint) }
        forward(event.iq, to: component)
        return .drop
    }

    /// The component that answers a request.
    private func manager(of event: IQEvent) -> (any ExternalDomain)? {
        guard let query = event.iq.query else { return nil }
        for grant in grants {
            for delegation in grant.delegations where delegation.covers(query) { return grant.component }
            if isLeftOver(event, query, grant.delegations) { return grant.component }
        }
        return nil
    }

    /// Whether a disco request about an account is one that nobody here can answer, and the component gets those.
    /// Who may ask at all is decided here: strangers do not learn who has an account. XEP-0355 §7.2.4, §7.2.5.
    private func isLeftOver(_ event: IQEvent, _ query: Element, _ delegations: [ComponentDelegation]) -> Bool {
        guard let account = event.account, event.iq.kind == .get, query.name == "query", let from = event.iq.from,
            query.namespace == .discoInfo || query.namespace == .discoItems
        else { return false }
        let wanted: Namespace = query.namespace == .discoInfo ? .remainingDiscoInfo : .remainingDiscoItems
        guard delegations.contains(where: { $0.namespace == wanted.uri }),
            event.host.allows(.subscriber, from: from, account: account)
        else { return false }
        guard let node = query["node"] else { return query.namespace == .discoItems }
        return !event.host.hasDiscoNode(node, for: event.iq, account: account)
    }

    private func forward(_ iq: IQ, to component: any ExternalDomain) {
        guard let facade else { return }
        let request = IQ(.set, to: component.jid, id: "") {
            Element("delegation", .delegation) { Element("forwarded", .forward) { iq.element } }
        }
        forwardedCount += 1
        facade.host.ask(request, limit: .seconds(60)) { answer in
            self.forwardedCount -= 1
            self.pass(answer, for: iq)
        }
    }

    /// Everything about the answer must be what the question wants, or it is none.
    private func pass(_ answer: IQ, for iq: IQ) {
        guard let router = facade?.router else { return }
        let element = answer.child("delegation", .delegation)?.child("forwarded", .forward)?.child("iq", .client)
        guard answer.kind == .result, let element, var result = try? IQ(element), result.kind == .result,
            result.id == iq.id, result.to == iq.from, result.from == nil || result.from == iq.to
        else { return router.bounce(.iq(iq), .serviceUnavailable) }
        result.from = iq.to
        router.route(result)
    }

    // MARK: Disco

    /// Asks a component what it can do in place of the host and of accounts. XEP-0355 §7.2.
    func askForDisco(_ grant: Grant) {
        guard let facade else { return }
        for delegation in grant.delegations where !delegation.isDisco {
            for (subject, separator) in [(DiscoRegistry.Subject.host, "::"), (.account, ":bare:")] {
                let node = Namespace.delegation.uri + separator + delegation.namespace
                let request = IQ(.get, to: grant.component.jid, id: "") {
                    Element("query", .discoInfo, ["node": node])
                }
                let key = NestedInfoKey(
                    component: grant.component.jid, namespace: delegation.namespace, subject: subject)
                facade.host.ask(request, limit: .seconds(60)) { answer in
                    guard answer.kind == .result, let query = answer.query, let info = try? DiscoInfo(query) else {
                        return
                    }
                    self.learn(info, key)
                }
            }
        }
    }

    private func learn(_ info: DiscoInfo, _ key: NestedInfoKey) {
        let isDelegated = grants.contains { grant in
            grant.component.jid == key.component && grant.delegations.contains { $0.namespace == key.namespace }
        }
        guard isDelegated, info.features.count + info.identities.count <= 500, info.forms.count <= 20 else { return }
        nested[key] = info
        updateDisco()
    }

    /// What the host itself says of delegated namespaces is not true any more, and what their components say is.
    func updateDisco() {
        let all = grants.flatMap { grant in grant.delegations.filter { !$0.isDisco }.map { (grant.component.jid, $0) } }
        var list = all.flatMap { component, delegation in
            DiscoRegistry.Subject.allCases.map { subject in
                let key = NestedInfoKey(component: component, namespace: delegation.namespace, subject: subject)
                return DiscoRegistry.Nested(subject, Namespace(delegation.namespace), nested[key] ?? DiscoInfo())
            }
        }
        if grants.contains(where: { !$0.delegations.isEmpty }) {
            // XEP-0355 §7.1
            list.append(.init(.host, .delegation, DiscoInfo(features: [.delegation])))
        }
        facade?.nest(list)
    }
}

extension ComponentDelegation {
    /// Whether it stands for requests that nobody else answers. XEP-0355 §7.2.4, §7.2.5.
    fileprivate var isDisco: Bool {
        namespace == Namespace.remainingDiscoInfo.uri || namespace == Namespace.remainingDiscoItems.uri
    }

    /// Whether it is about a request with this payload. XEP-0355 §4.1.
    fileprivate func covers(_ query: Element) -> Bool {
        query.namespace.uri == namespace && attributes.allSatisfy { query[$0] != nil }
    }
}
