import ServerKit

/// What a user chose. Both are chosen together.
struct StrangerChoice: Codable, Sendable {
    let messages: Strangers.Policy
    let subscriptions: Strangers.Policy

    /// Whether it matters whom the user knows.
    var isInForce: Bool { messages == .refuse || subscriptions == .refuse }
}

/// Where it is kept on one host.
@ServerActor
struct AcquaintanceStores {
    let choices: KeyValueStore<StrangerChoice>
    /// When the user first wrote to an address, by that.
    let addresses: MapStore<Timestamp>

    init(_ host: ModuleHost) {
        choices = host.store("strangers")
        addresses = host.map("strangers")
    }
}

/// The addresses a user wrote to, and what the user chose, while the account is loaded.
@ServerActor
final class Acquaintances {
    private(set) var choice: StrangerChoice?
    private var addresses: Set<JID>
    /// The same in the order in which they came.
    private var order: [JID]
    private let owner: String
    private let stores: AcquaintanceStores

    init(of account: Account, in stores: AcquaintanceStores) async throws {
        owner = account.name
        self.stores = stores
        choice = try await stores.choices.value(for: account.name)
        order = try await stores.addresses.entries(of: account.name)
            .sorted { $0.value < $1.value }
            .compactMap { JID($0.key) }
        addresses = Set(order)
    }

    func contains(_ jid: JID) -> Bool { addresses.contains(jid) }

    func insert(_ jid: JID, at time: Timestamp, limit: Int) {
        guard addresses.insert(jid).inserted else { return }
        order.append(jid)
        stores.addresses.set(time, jid.description, of: owner)
        while order.count > limit {
            let oldest = order.removeFirst()
            addresses.remove(oldest)
            stores.addresses.delete(oldest.description, of: owner)
        }
    }

    func choose(_ choice: StrangerChoice) {
        self.choice = choice
        stores.choices.set(choice, for: owner)
    }
}
