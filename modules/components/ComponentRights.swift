import ServerKit

/// What a host grants to external components that the configuration trusts: to act in its users' names, unseen by them
/// (XEP-0356), and to answer requests in its place (XEP-0355). The components' own options say which may do what.
final class ComponentRights: Module {
    static let info = ModuleInfo(
        "component_rights", "Lets external components do what their options allow: act for users, answer for the host",
        implements: [
            .xep(355, "0.5").partial("Delegation that users are asked for, the client mode."), .xep(356, "0.4.1"),
        ],
        group: .optional, defaultOn: true, after: ["blocking", "strangers", "roster", "presence"])

    /// What a component may do here.
    struct Grant {
        let component: any ExternalDomain
        let privileges: ComponentPrivileges
        let delegations: [ComponentDelegation]

        @ServerActor
        init(_ component: any ExternalDomain, on host: Host) {
            self.component = component
            privileges = component.privileges(on: host)
            delegations = component.delegations(on: host)
        }

        var isEmpty: Bool { privileges.isEmpty && delegations.isEmpty }
    }

    private(set) var grants: [Grant] = []
    private(set) var facade: ModuleHost?
    /// Requests that are under way in users' names.
    private(set) lazy var requests = ProxiedRequests(self)
    /// What contacts were last seen as, for components that may know.
    var mirror = PresenceMirror()
    /// How many delegated requests wait for their components.
    var forwardedCount = 0
    /// What components say about what they do in the host's place.
    var nested: [NestedInfoKey: DiscoInfo] = [:]
    /// How many stanzas of components wait for an account to be loaded, by its name.
    private var waiting: [String: Int] = [:]
    private var waitingCount = 0

    /// How much of each kind may be under way at a time.
    static let limit = 5_000

    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        facade = host
        loadPrivileges(host)
        host.filter(.iqArrived) { self.delegate($0) }
        host.provide((any ComponentGrants).self, self)
        grantsChanged()
    }

    func unload() {
        requests.stop()
        facade = nil
    }

    /// Calls `body` with an account, nil if there is none: at once if it is loaded, and for each account in the order
    /// of the calls.
    func withAccount(_ name: String, _ body: @escaping @ServerActor (Account?) -> Void) {
        guard let facade else { return }
        if waiting[name] == nil, let account = facade.accounts.loadedAccount(name) { return body(account) }
        waiting[name, default: 0] += 1
        waitingCount += 1
        let router = facade.router
        let fence = router.fence
        fence?.enterDelivery()
        Task { @ServerActor in
            let account = await facade.accounts.account(name)
            let count = self.waiting[name, default: 1] - 1
            self.waiting[name] = count > 0 ? count : nil
            self.waitingCount -= 1
            router.track(fence) { body(account) }
            fence?.leaveDelivery()
        }
    }

    /// Whether too much waits for accounts to be loaded.
    var isBusy: Bool { waitingCount >= Self.limit }
}

extension ComponentRights: ComponentGrants {
    func greet(_ component: any ExternalDomain, on link: any ComponentLink) {
        guard let grant = grants.first(where: { $0.component === component }) else { return }
        for message in announcements(of: grant) { link.send(.message(message)) }
        for presence in presences(for: grant) { link.send(.presence(presence)) }
        askForDisco(grant)
    }

    func grantsChanged() {
        guard let facade else { return }
        let old = grants
        grants = facade.server.allComponents
            .compactMap { $0.service((any ExternalDomain).self) }
            .map { Grant($0, on: facade.host) }.filter { !$0.isEmpty }
        if !mirrorsContacts { mirror = PresenceMirror() }
        nested = nested.filter { key, _ in
            grants.contains { grant in
                grant.component.jid == key.component && grant.delegations.contains { $0.namespace == key.namespace }
            }
        }
        updateDisco()
        for grant in grants where grant.component.isConnected {
            let before = old.first { $0.component === grant.component }
            if before?.privileges == grant.privileges, before?.delegations == grant.delegations { continue }
            // XEP-0355 §8
            for message in announcements(of: grant) { grant.component.tellAll(.message(message)) }
            for presence in presences(for: grant) { grant.component.tellAll(.presence(presence)) }
            askForDisco(grant)
        }
    }

    private func announcements(of grant: Grant) -> [Message] {
        guard let facade else { return [] }
        let contents = [privilegeElement(grant.privileges), delegationElement(grant.delegations)]
        return contents.compactMap(\.self).map { content in
            Message(to: grant.component.jid, from: facade.jid, id: RandomToken.make(bytes: 8)) { content }
        }
    }
}
