import ServerKit

/// Privileged Entity (XEP-0356): rosters, messages and requests in users' names.
extension ComponentRights {
    func loadPrivileges(_ host: ModuleHost) {
        host.filter(.iqAnswer) { self.requests.take($0.iq) ? .drop : .pass }
        host.observe(.rosterChanged) { self.push($0) }
        host.observe(.resourceAvailable) { self.show($0.presence, of: $0.resource) }
        host.observe(.resourceUnavailable) { event in
            self.show(event.presence ?? Presence(kind: .unavailable), of: event.resource)
        }
        host.observe(.presenceArrived) { self.observe($0) }
        host.loadAccounts { self.mirrorsContacts && !self.mirror.isShown($0) }
    }

    /// What a component is told of its privileges; nil when it has none. XEP-0356 §4.2, §5.2, §6.2, §7.2, §7.5.
    func privilegeElement(_ privileges: ComponentPrivileges) -> Element? {
        guard !privileges.isEmpty else { return nil }
        return Element("privilege", .privilege) {
            if privileges.roster != .none {
                Element(
                    "perm", nil,
                    [
                        "access": "roster", "type": privileges.roster.rawValue,
                        "push": privileges.isPushed ? "true" : "false",
                    ])
            }
            if privileges.sendsMessages { Element("perm", nil, ["access": "message", "type": "outgoing"]) }
            if !privileges.requests.isEmpty {
                Element("perm", .privilege, ["access": "iq"]) {
                    for (namespace, access) in privileges.requests.sorted(by: { $0.key < $1.key }) {
                        Element("namespace", nil, ["ns": namespace, "type": access.rawValue])
                    }
                }
            }
            if privileges.presence != .none {
                Element("perm", nil, ["access": "presence", "type": privileges.presence.rawValue])
            }
        }
    }

    func take(_ stanza: Stanza, from component: any ExternalDomain) -> Bool {
        guard let grant = grants.first(where: { $0.component === component }), !grant.privileges.isEmpty else {
            return false
        }
        switch stanza {
        case .message(let message): return take(message, grant)
        case .iq(let iq): return take(iq, grant)
        case .presence: return false
        }
    }

    private func bounce(_ stanza: some StanzaProtocol, _ error: StanzaError) {
        facade?.router.bounce(stanza.stanza, error)
    }

    // MARK: Messages

    /// XEP-0356 §5.3.
    private func take(_ message: Message, _ grant: Grant) -> Bool {
        guard let facade, message.to == facade.jid, !message.isError,
            let wrapper = message.child("privilege", .privilege)
        else { return false }
        guard grant.privileges.sendsMessages,
            let element = wrapper.child("forwarded", .forward)?.child("message", .client),
            let inner = try? Message(element), let from = inner.from, from.domainpart == facade.domain,
            from.resourcepart == nil
        else {
            bounce(message, .forbidden)
            return true
        }
        guard inner.to != nil else {
            bounce(message, .badRequest("A message needs a receiver."))
            return true
        }
        guard let name = from.localpart else {
            // In the name of the host itself.
            facade.router.route(inner)
            return true
        }
        guard !isBusy else {
            bounce(message, .resourceConstraint)
            return true
        }
        withAccount(name) { account in
            guard let account else { return self.bounce(message, .forbidden) }
            self.send(inner, of: account, for: message)
        }
        return true
    }

    /// As if a client of the account had sent it: its other devices and its archive have it, too.
    private func send(_ message: Message, of account: Account, for wrapper: Message) {
        var event = MessageEvent(account: account, message: message)
        let hooks = account.host.hooks.messageSent
        switch hooks.verdict(on: event) {
        case .drop: return
        case .bounce(let error): return bounce(wrapper, error)
        case .pass: break
        }
        hooks.transform(&event)
        if hooks.isClaimed(event) { return }
        account.host.router.route(event.message)
        hooks.notify(event)
    }

    // MARK: Requests

    private func take(_ iq: IQ, _ grant: Grant) -> Bool {
        guard let facade, iq.isRequest, let query = iq.query, let to = iq.to, to.domainpart == facade.domain else {
            return false
        }
        if query.is("privileged_iq", .privilege) {
            send(iq, query, grant)
            return true
        }
        guard query.namespace == .managedRoster, to.resourcepart == nil, to.localpart != nil else { return false }
        // XEP-0356 §4.3: as the owner would be answered.
        guard grant.privileges.roster.allows(iq.kind) else {
            bounce(iq, .forbidden)
            return true
        }
        var own = iq
        own.from = to
        ask(own, of: to, for: iq, grant) { $0 }
        return true
    }

    /// XEP-0356 §6.3.
    private func send(_ iq: IQ, _ wrapper: Element, _ grant: Grant) {
        guard let to = iq.to, to.localpart != nil, to.resourcepart == nil,
            let element = wrapper.child("iq", .client), let inner = try? IQ(element), inner.kind == iq.kind,
            inner.from == nil || inner.from == to, let query = inner.query,
            grant.privileges.requests[query.namespace.uri]?.allows(inner.kind) == true
        else { return bounce(iq, .forbidden) }
        var own = inner
        own.from = to
        own.to = inner.to ?? to
        ask(own, of: to, for: iq, grant) { answer in
            var answer = answer
            answer.id = inner.id
            var reply = iq.result(
                Element("privilege", .privilege) { Element("forwarded", .forward) { answer.element } })
            reply.id = iq.id
            return reply
        }
    }

    /// Sends a request in an account's name, and to the component what `reply` makes of the answer.
    private func ask(
        _ own: IQ, of jid: JID, for iq: IQ, _ grant: Grant, reply: @escaping @ServerActor (IQ) -> IQ
    ) {
        guard !isBusy, requests.hasRoom else { return bounce(iq, .resourceConstraint) }
        withAccount(jid.localpart ?? "") { account in
            // Only what there is can be managed.
            guard let account else { return self.bounce(iq, .forbidden) }
            let event = IQEvent(host: account.host, account: account, iq: own)
            switch account.host.hooks.iqSent.verdict(on: event) {
            case .drop: return self.bounce(iq, .notAllowed)
            case .bounce(let error): return self.bounce(iq, error)
            case .pass: break
            }
            self.requests.send(own, for: grant.component) { answer in
                guard let answer else { return self.bounce(iq, .remoteServerTimeout) }
                var reply = reply(answer)
                (reply.to, reply.from, reply.id) = (iq.from, iq.to, iq.id)
                account.host.router.route(reply)
            }
        }
    }

    // MARK: Pushes

    /// XEP-0356 §4.4.
    private func push(_ event: RosterEvent) {
        for grant in grants where grant.privileges.isPushed && grant.component.isConnected {
            facade?.router.route(
                IQ(.set, to: grant.component.jid, from: event.account.jid, id: RandomToken.make(bytes: 8)) {
                    event.push
                })
        }
    }
}

/// Requests that components have sent in users' names, until they are answered.
@ServerActor
final class ProxiedRequests {
    private struct Request {
        let iq: IQ
        let component: JID
        let reply: @ServerActor (IQ?) -> Void
        let limit: ScheduledAction
    }

    private var open: [String: Request] = [:]
    private unowned let rights: ComponentRights

    /// How long an answer may take.
    private static let patience = Duration.seconds(120)

    init(_ rights: ComponentRights) {
        self.rights = rights
    }

    var hasRoom: Bool { open.count < ComponentRights.limit }

    /// Sends a request under an id that nobody can guess; `reply` gets the answer, or nil when none came.
    func send(_ iq: IQ, for component: any ExternalDomain, reply: @escaping @ServerActor (IQ?) -> Void) {
        guard let facade = rights.facade else { return reply(nil) }
        let id = "privileged-" + RandomToken.make()
        var iq = iq
        iq.id = id
        let limit = facade.clock.after(Self.patience) { self.open.removeValue(forKey: id)?.reply(nil) }
        open[id] = Request(iq: iq, component: component.jid, reply: reply, limit: limit)
        facade.router.route(iq)
    }

    /// Takes an answer that has come for a user, if it is one to such a request.
    func take(_ answer: IQ) -> Bool {
        guard !open.isEmpty, !answer.isRequest, let id = answer.id, let request = open[id],
            request.iq.to == answer.from, request.iq.from == answer.to
        else { return false }
        open[id] = nil
        request.limit.cancel()
        request.reply(answer)
        return true
    }

    /// Whether a request is one that this component has sent.
    func isOurs(_ iq: IQ, of component: any ExternalDomain) -> Bool {
        guard let id = iq.id, let request = open[id] else { return false }
        return request.component == component.jid && request.iq.from == iq.from
    }

    func stop() {
        for request in open.values { request.limit.cancel() }
        open = [:]
    }
}

extension Namespace {
    /// XEP-0356 §4.2.
    static let privilege: Namespace = "urn:xmpp:privilege:2"
    /// RFC 6121 §2.1, as a component asks for it. XEP-0356 §4.3.
    fileprivate static let managedRoster: Namespace = "jabber:iq:roster"
}
