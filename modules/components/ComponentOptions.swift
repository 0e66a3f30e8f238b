import ServerKit

/// The options of a domain that an external component serves.
struct ComponentOptions: ModuleOptions {
    /// What becomes of another connection of a component.
    enum Connections: String, CaseIterable, Sendable {
        case refuse, replace, balance
    }

    /// Whether messages may be sent in users' names.
    private enum Messages: String, CaseIterable {
        case none, outgoing
    }

    /// What a component is trusted with.
    struct Grants: Sendable, Hashable {
        var privileges = ComponentPrivileges()
        var delegations: [ComponentDelegation] = []
    }

    static let maxConnections = 32

    let secret: String?
    let name: String?
    let connections: Connections
    let queueTime: Duration
    let queueLength: Int
    let queueSize: Int
    let stallTime: Duration
    let hosts: Set<String>
    let grants: Grants

    init(_ config: inout OptionReader) {
        secret = config.required(
            "secret", example: "a long random text", as: "the secret that the component knows, too",
            "The secret that the component knows, too."
        ) { $0.isEmpty ? nil : $0 }
        name = config.optionalString("name", "What lists of services call it.")
        connections = config.choice(
            "connections", default: Connections.refuse,
            "What becomes of another connection of the component: it is refused, it replaces the first, or both share the "
                + "stanzas by their senders.")
        queueTime = config.duration(
            "queue_time", default: .minutes(1), in: .zero...(.days(7)),
            "How long messages wait for the component to connect, before they are answered with an error.")
        queueLength = config.int(
            "queue_length", default: 5_000, in: 1...1_000_000,
            "How many stanzas may wait for the component to connect, or for a connection to take them.")
        queueSize = config.size(
            "queue_size", default: 16_777_216, in: 65_536...1_000_000_000, "What they may take together.")
        stallTime = config.duration(
            "stall_time", default: .minutes(1), in: .seconds(1)...(.hours(1)),
            "How long a connection may take nothing although stanzas wait, before it is closed.")
        let names = config.strings(
            "hosts", "The hosts whose users privileges and delegations are about; without any, all of this server.")
        hosts = Set(names.map { JID(domain: $0)?.domainpart ?? $0 })
        grants = Grants(privileges: Self.privileges(&config), delegations: Self.delegations(&config))
    }

    /// Whether privileges and delegations hold for a host.
    func covers(_ host: String) -> Bool { hosts.isEmpty || hosts.contains(host) }

    private static func privileges(_ config: inout OptionReader) -> ComponentPrivileges {
        config.section("privileges", "What the component may do in users' names, unseen by them (XEP-0356).") {
            config in
            var privileges = ComponentPrivileges()
            privileges.roster = config.choice(
                "roster", default: ComponentPrivileges.Access.none, "Whether it may read and change rosters.")
            let isPushed = config.bool(
                "roster_push", default: true, "Whether it is told of changes to those it may read.")
            privileges.isPushed = isPushed && privileges.roster.allows(.get)
            privileges.sendsMessages =
                config.choice("message", default: Messages.none, "Whether it may send messages.") == .outgoing
            privileges.presence = config.choice(
                "presence", default: ComponentPrivileges.PresenceAccess.none,
                "Whose presence it is shown: that of users, or of those in their rosters, too.")
            // XEP-0356 §7.4
            if privileges.presence == .contacts, !privileges.roster.allows(.get) {
                config.report("presence", "contacts' presence is only for those who may read rosters, \"roster: get\".")
            }
            let requests = config.named(
                "iq", example: "http://jabber.org/protocol/pubsub", "The requests that it may send, by their namespace."
            ) { name, config in
                config.choice(name, default: ComponentPrivileges.Access.none, "Which of these.")
            }
            for (name, access) in requests where access != .none { privileges.requests[name] = access }
            return privileges
        }
    }

    private static func delegations(_ config: inout OptionReader) -> [ComponentDelegation] {
        let found = config.named(
            "delegate", example: "urn:xmpp:mam:2",
            "Namespaces whose requests the component answers in place of the hosts and their accounts (XEP-0355)."
        ) { name, config in
            // XEP-0355 §8
            if name.hasPrefix(Namespace.delegation.uri), !Namespace.delegatedDisco.contains(name) {
                config.report(name, "delegation itself is not delegated.")
            }
            return ComponentDelegation(
                name, attributes: config.strings(name, "Attributes without which the hosts answer themselves."))
        }
        return found.map(\.value)
    }
}

extension Namespace {
    /// XEP-0355 §4.2.
    static let delegation: Namespace = "urn:xmpp:delegation:2"
    /// Requests about accounts and nodes that nobody else knows. XEP-0355 §7.2.4.
    static let remainingDiscoInfo: Namespace = "urn:xmpp:delegation:2:bare:disco#info:*"
    /// Requests for what lies below accounts. XEP-0355 §7.2.5.
    static let remainingDiscoItems: Namespace = "urn:xmpp:delegation:2:bare:disco#items:*"
    fileprivate static let delegatedDisco: Set<String> = [remainingDiscoInfo.uri, remainingDiscoItems.uri]
}
