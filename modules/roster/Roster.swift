import ServerKit

/// The roster: an account's contacts, and the subscriptions between them. RFC 6121 §2, §3.
final class Roster: Module {
    static let info = ModuleInfo(
        "roster", "Keeps the users' contacts and their subscriptions to each other's presence",
        implements: [.rfc(6121), .xep(237, "1.3")],
        group: .core, defaultOn: true)

    struct Options: ModuleOptions {
        let itemLimit: Int
        let nameLimit: Int
        let groupLimit: Int
        let requestLimit: Int
        let requestSize: Int

        init(_ config: inout OptionReader) {
            itemLimit = config.int("max_items", default: 5_000, in: 1...100_000, "Contacts in one roster.")
            nameLimit = config.int(
                "max_name", default: 1_023, in: 16...65_536, "Bytes in the name of a contact or of a group.")
            groupLimit = config.int("max_groups", default: 50, in: 1...1_000, "Groups that one contact may be in.")
            requestLimit = config.int(
                "max_requests", default: 200, in: 1...10_000,
                "Subscription requests that are kept for one account; what exceeds them is lost.")
            requestSize = config.size(
                "max_request_size", default: 4_096, in: 256...262_144,
                "Size of a subscription request that is kept as it is; of a larger one only who sent it is kept.")
        }
    }

    private(set) var options: Options

    init(options: Options) {
        self.options = options
    }

    func load(into host: ModuleHost) {
        let stores = RosterStores(
            storage: host.server.storage, items: host.map("roster"), requests: host.rawMap("roster-requests"),
            history: host.store("roster"))
        host.loadWithAccounts(Loaded.self) { try await AccountRoster(of: $0.name, in: stores) }

        // Informative, and useful only to those who have an account here. RFC 6121 §2.6.1, §3.4.
        host.streamFeature { $0.authenticated == nil ? nil : Element("ver", .rosterVersioning) }
        host.streamFeature { $0.authenticated == nil ? nil : Element("sub", .preApproval) }

        host.answer(.get, "query", .roster, from: .owner) { try self.get($0) }
        host.answer(.set, "query", .roster) { try self.set($0) }
        host.claim(.presenceSent) { self.send($0) }
        host.claim(.presenceArrived) { self.receive($0) }
        host.observe(.accountRemoved) { self.endSubscriptions(of: $0.account) }
        host.provide((any ContactList).self, self)
    }

    func reconfigure(_ options: Options) -> Bool {
        self.options = options
        return true
    }

    /// An account's roster; nil only until it has been read after the module was switched on.
    func roster(of account: Account) -> AccountRoster? { account[Loaded.self] }

    private enum Loaded: AccountKey {
        static let defaultValue: AccountRoster? = nil
    }

    // MARK: Requests

    /// RFC 6121 §2.1.3, §2.6.2.
    private func get(_ request: IQRequest) throws -> Element? {
        guard let roster = roster(of: try request.owner()) else { throw StanzaError(.internalServerError, .wait) }
        guard !request.query.hasChildren else { throw StanzaError.badRequest("A roster get has no items.") }
        // RFC 6121 §2.6.3: pushes are for changes that are fewer than the items.
        let known = request.query["ver"].flatMap { version in
            roster.history.changes(since: version).flatMap { $0.count <= roster.items.count ? version : nil }
        }
        // The answer may wait for the disk; pushes that overtook it would be undone by it.
        let version = known ?? roster.history.version
        // Without a resource, something asks in the account's name that learns of changes in another way.
        if let resource = request.resource {
            resource.isInterested = false
            request.afterAnswer { self.catchUp(resource, roster, since: version) }
        }
        guard known == nil else { return nil }
        return Element("query", .roster, ["ver": version]) {
            for item in roster.items.values { item.element }
        }
    }

    /// Sends what changed since a version, and from now on every change. RFC 6121 §2.2, §2.6.3.
    private func catchUp(_ resource: Resource, _ roster: AccountRoster, since version: String) {
        guard let changes = roster.history.changes(since: version) else {
            // More changes than are remembered came while the answer waited: the client has to begin again.
            return resource.close(StreamError(.resourceConstraint, "The roster changed too fast."))
        }
        resource.isInterested = true
        for change in changes { push(change, roster.items[change.jid], to: [resource]) }
    }

    /// RFC 6121 §2.1.5.
    private func set(_ request: IQRequest) throws -> Element? {
        let account = try request.owner()
        guard request.from.bare == account.jid else { throw StanzaError.forbidden }
        guard let roster = roster(of: account) else { throw StanzaError(.internalServerError, .wait) }
        let wanted = try RosterSet(request.query, limits: options)
        // RFC 6121 §2.3.3, interoperability note.
        guard wanted.jid != account.jid else { throw StanzaError.notAllowed("Nobody is a contact of their own.") }
        if wanted.isRemoval {
            try remove(wanted.jid, from: roster, of: account)
        } else {
            try update(wanted, in: roster, of: account)
        }
        return nil
    }

    /// RFC 6121 §2.3.2, §2.4.2.
    private func update(_ wanted: RosterSet, in roster: AccountRoster, of account: Account) throws {
        guard hasRoom(for: wanted.jid, in: roster) else { throw StanzaError.resourceConstraint("The roster is full.") }
        var item = roster.items[wanted.jid] ?? RosterItem(jid: wanted.jid)
        item.name = wanted.name
        item.groups = wanted.groups
        save(item, in: roster, of: account)
    }

    /// RFC 6121 §2.5.2.
    private func remove(_ jid: JID, from roster: AccountRoster, of account: Account) throws {
        // The type that the example of RFC 6121 §2.5.3 shows.
        guard roster.items[jid] != nil else { throw StanzaError(.itemNotFound, .modify) }
        let subscription = roster.subscription(to: jid)
        let change = roster.remove(jid)
        roster.dropRequest(from: jid)
        announce(change, nil, of: account)
        end(subscription, of: account, with: jid)
    }

    func hasRoom(for jid: JID, in roster: AccountRoster) -> Bool {
        roster.items[jid] != nil || roster.items.count < options.itemLimit
    }

    // MARK: Pushes

    /// Stores an item and pushes it.
    func save(_ item: RosterItem, in roster: AccountRoster, of account: Account) {
        announce(roster.save(item), item, of: account)
    }

    private func announce(_ change: RosterHistory.Change, _ item: RosterItem?, of account: Account) {
        push(change, item, to: account.interestedResources)
        account.host.hooks.rosterChanged.notify(RosterEvent(account: account, push: element(change, item)))
    }

    /// RFC 6121 §2.1.6. A missing item is one that was removed.
    private func push(_ change: RosterHistory.Change, _ item: RosterItem?, to resources: [Resource]) {
        guard !resources.isEmpty else { return }
        let query = element(change, item)
        for resource in resources {
            resource.send(IQ(.set, to: resource.jid, id: "push-\(change.version)") { query })
        }
    }

    private func element(_ change: RosterHistory.Change, _ item: RosterItem?) -> Element {
        let removal = Element("item", .roster, ["jid": change.jid.description, "subscription": "remove"])
        return Element("query", .roster, ["ver": change.version]) { item?.element ?? removal }
    }
}

extension Account {
    /// Those that are pushed changes of the roster. RFC 6121 §2.2.
    fileprivate var interestedResources: [Resource] { resources.filter(\.isInterested) }
}

extension Namespace {
    /// RFC 6121 §2.1.
    static let roster: Namespace = "jabber:iq:roster"
    /// RFC 6121 §2.6.1.
    static let rosterVersioning: Namespace = "urn:xmpp:features:rosterver"
    /// RFC 6121 §3.4.
    static let preApproval: Namespace = "urn:xmpp:features:pre-approval"
}
