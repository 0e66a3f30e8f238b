import ServerKit

/// A domain that a program outside of the server serves (XEP-0114). Every stanza to it goes there.
///
/// What it is trusted with beyond that (XEP-0355, XEP-0356) is told to the hosts, which grant it.
final class ExternalComponent: Module {
    static let info = ModuleInfo(
        "external", "A domain that another program serves, such as a gateway to IRC, Matrix or SMS",
        implements: [.xep(114, "1.6")], group: .optional, scope: .component, subdomain: "gateway")

    private(set) var options: ComponentOptions
    private var facade: ModuleHost?
    private var lanes: [ComponentLane] = []
    private var nextLane: UInt64 = 0
    /// What waits for a component to connect.
    private lazy var queue = ComponentQueue(self)
    /// What waits there and for its connections to be read.
    var backlog = ComponentQueue.Backlog()
    private var askers = AskerTable()
    private(set) var store: ComponentStore?

    init(options: ComponentOptions) {
        self.options = options
    }

    func load(into host: ModuleHost) {
        facade = host
        store = ComponentStore(host)
        if let name = options.name { host.identify("component", "generic", name: name, on: .host) }
        host.takeOver(self)
        host.onUnload { self.tellHosts() }
        host.provide((any ExternalDomain).self, self)
        host.startUp { try await self.restore() }
        host.onStop { self.store?.flush() }
        host.every(.seconds(5)) { self.sweep() }
        tellHosts()
    }

    func reconfigure(_ options: ComponentOptions) -> Bool {
        guard options.name == self.options.name else { return false }
        let old = self.options
        self.options = options
        if options.secret != old.secret {
            // RFC 6120 §4.9.3.16: who knows the old one only is to go.
            for lane in lanes { lane.link.close(StreamError(.reset, "The secret has changed.")) }
        } else if options.connections != .balance {
            for lane in lanes.dropLast() { lane.link.close(StreamError(.conflict)) }
        }
        if options.grants != old.grants { tellHosts() }
        return true
    }

    func unload() {
        // RFC 6120 §4.9.3.5, unless it is about to be loaded anew.
        let components = facade?.server.configuration.components ?? []
        let isGone = !components.contains { $0.name == facade?.domain }
        for lane in lanes { lane.link.close(StreamError(isGone ? .hostGone : .reset)) }
        if facade?.server.isStopping == false { queue.giveUp(.serviceUnavailable) }
        facade = nil
    }

    var server: Server? { facade?.server }
    var clock: (any ServerClock)? { facade?.clock }

    /// What the component is trusted with may have changed.
    private func tellHosts() {
        for host in facade?.server.allHosts ?? [] { host.service((any ComponentGrants).self)?.grantsChanged() }
    }

    // MARK: To the component

    /// Gives stanzas to a connection, or keeps them for the next one. What is written to one that is lost is lost with
    /// it: the protocol has no acknowledgements.
    private func deliver(_ item: ComponentQueue.Item) {
        if let lane = lane(for: item.stanza) { lane.send(item) } else { queue.add(item) }
    }

    /// The connection for a stanza. All of one sender go over the same, so that they keep their order (RFC 6120 §10.1);
    /// answers go where was asked.
    private func lane(for stanza: Stanza) -> ComponentLane? {
        guard lanes.count > 1 else { return lanes.first }
        if let number = askers.asker(of: stanza), let lane = lanes.first(where: { $0.number == number }) {
            return lane
        }
        // Of several connections each sender has one that it prefers most: if another one is lost, nothing changes.
        let sender = stanza.from?.bare.description ?? ""
        return lanes.max { $0.preference(of: sender) < $1.preference(of: sender) }
    }

    /// Answers a stanza that has no way to the component. Nobody needs to hear that presence went nowhere, unless a
    /// subscription waits for an answer.
    func bounce(_ stanza: Stanza, _ error: StanzaError) {
        if case .presence(let presence) = stanza, !presence.kind.isSubscription { return }
        facade?.router.bounce(stanza, error)
    }

    private func restore() async throws {
        guard let store else { return }
        for item in try await store.load() { deliver(item) }
    }

    private func sweep() {
        queue.expire()
        for lane in lanes where lane.isStalled {
            lane.link.close(StreamError(.policyViolation, "Stanzas have waited too long to be read."))
        }
    }
}

extension ExternalComponent: Entity {
    func receive(_ stanza: Stanza) {
        guard let clock else { return }
        let item = ComponentQueue.Item(stanza: stanza, since: clock.now, stamp: clock.date)
        if lanes.isEmpty, !queue.mayWait(stanza) {
            return bounce(stanza, StanzaError(.serviceUnavailable, .wait, "The component is not connected."))
        }
        deliver(item)
    }
}

extension ExternalComponent: ExternalDomain {
    var jid: JID { facade?.jid ?? JID(unchecked: nil, domainpart: "", resourcepart: nil) }

    var isConnected: Bool { !lanes.isEmpty }

    func privileges(on host: Host) -> ComponentPrivileges {
        options.covers(host.domain) ? options.grants.privileges : ComponentPrivileges()
    }

    func delegations(on host: Host) -> [ComponentDelegation] {
        options.covers(host.domain) ? options.grants.delegations : []
    }

    /// SHA-1 of the stream's id and the secret, in hexadecimal. XEP-0114 §3.
    func accepts(proof: String, ofStream id: String) -> Bool {
        guard let secret = options.secret else { return false }
        let expected = Hex.encode(Digest.sha1(Array((id + secret).utf8)))
        return Digest.constantTimeEqual(Array(expected.utf8), Array(proof.lowercased().utf8))
    }

    func admit() throws(StreamError) {
        switch options.connections {
        case .refuse:
            if !lanes.isEmpty { throw StreamError(.conflict, "The component is connected already.") }
        case .replace:
            for lane in lanes { lane.link.close(StreamError(.conflict, "Another connection takes its place.")) }
        case .balance:
            if lanes.count >= ComponentOptions.maxConnections {
                throw StreamError(.conflict, "The component has too many connections.")
            }
        }
    }

    func attach(_ link: any ComponentLink) {
        guard let facade else { return link.close(StreamError(.hostGone)) }
        nextLane += 1
        lanes.append(ComponentLane(link, number: nextLane, self))
        for host in facade.server.allHosts { host.service((any ComponentGrants).self)?.greet(self, on: link) }
        for item in queue.takeAll() { deliver(item) }
    }

    func detach(_ link: any ComponentLink) {
        guard let index = lanes.firstIndex(where: { $0.link === link }) else { return }
        let lane = lanes.remove(at: index)
        for item in lane.stop() {
            if lanes.isEmpty, !queue.mayWait(item.stanza) {
                lane.forget(item)
                bounce(
                    item.stanza, StanzaError(.remoteServerTimeout, .wait, "The connection to the component was lost."))
            } else {
                deliver(item)
            }
        }
    }

    func take(_ stanza: Stanza, from link: any ComponentLink) {
        guard let facade, let to = stanza.to else { return }
        if lanes.count > 1, let number = lanes.first(where: { $0.link === link })?.number {
            askers.note(request: stanza, by: number)
        }
        if !options.grants.privileges.isEmpty, let host = facade.server.host(to.domainpart),
            host.service((any ComponentGrants).self)?.take(stanza, from: self) == true
        {
            return
        }
        facade.router.route(stanza)
    }

    func tellAll(_ stanza: Stanza) {
        for lane in lanes { lane.link.send(stanza) }
    }
}
