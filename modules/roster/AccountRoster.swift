import ServerKit

/// The stores of the roster module on one host.
struct RosterStores: Sendable {
    let storage: Storage
    /// Items by JID.
    let items: MapStore<StoredRosterItem>
    /// Subscription requests that wait for the user's answer, by the JID of who asks: the stanza's XML.
    let requests: MapStore<[UInt8]>
    let history: KeyValueStore<RosterHistory>
}

/// An account's roster while the account is loaded, and the requests that wait for an answer. Every change is written
/// through.
@ServerActor
final class AccountRoster {
    private(set) var items: [JID: RosterItem] = [:]
    private(set) var requests: [JID: Presence] = [:]
    private(set) var history = RosterHistory()
    private let owner: String
    private let stores: RosterStores

    init(of owner: String, in stores: RosterStores) async throws(StorageError) {
        self.owner = owner
        self.stores = stores
        for entry in try await stores.items.entries(of: owner) {
            if let jid = JID(entry.key) { items[jid] = entry.value.item(for: jid) }
        }
        for entry in try await stores.requests.entries(of: owner) {
            guard let jid = JID(entry.key), let element = try? Element.parse(entry.value) else { continue }
            requests[jid] = try? Presence(element)
        }
        history = try await stores.history.value(for: owner) ?? RosterHistory()
    }

    /// Where the user stands with a contact, in the roster or not.
    func subscription(to jid: JID) -> PresenceSubscription {
        var subscription = items[jid]?.subscription ?? PresenceSubscription()
        if requests[jid] != nil, subscription.from == .none { subscription.from = .pending }
        return subscription
    }

    /// Adds or replaces an item. Item and version are written together or not at all.
    func save(_ item: RosterItem) -> RosterHistory.Change {
        items[item.jid] = item
        let change = history.record(item.jid)
        let addition = stores.items.setting(StoredRosterItem(item), item.jid.description, of: owner)
        write([addition, stores.history.setting(history, for: owner)])
        return change
    }

    /// Removes an item.
    func remove(_ jid: JID) -> RosterHistory.Change {
        items[jid] = nil
        let change = history.record(jid)
        let removal = StorageWrite.deleteEntry(stores.items.address, owner: owner, key: jid.description)
        write([removal, stores.history.setting(history, for: owner)])
        return change
    }

    /// Keeps a request until it is answered. RFC 6121 §3.1.3.
    func hold(_ request: Presence, from jid: JID) {
        requests[jid] = request
        stores.requests.set(request.element.xmlBytes, jid.description, of: owner)
    }

    /// The request was answered or taken back.
    func dropRequest(from jid: JID) {
        guard requests.removeValue(forKey: jid) != nil else { return }
        stores.requests.delete(jid.description, of: owner)
    }

    /// Empties what is in memory; what is stored goes with the account.
    func forgetEverything() {
        items = [:]
        requests = [:]
    }

    private func write(_ writes: [StorageWrite]) {
        _ = stores.storage.driver.enqueue(writes)
    }
}
