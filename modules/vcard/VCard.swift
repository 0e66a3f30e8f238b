import ServerKit

/// vcard-temp (XEP-0054): what users, and the host, tell everybody about themselves.
final class VCard: Module {
    static let info = ModuleInfo(
        "vcard", "Keeps the users' electronic business cards",
        implements: [.xep(54, "1.3.0")],
        group: .recommended)

    struct Options: ModuleOptions {
        let size: Int
        let name: String?
        let url: String?
        let email: String?
        let description: String?

        init(_ config: inout OptionReader) {
            size = config.size("size", default: 196_608, in: 1024...16_777_216, "How large a card may be.")
            name = config.optionalString("name", "The name on the host's own card.")
            url = config.optionalString("url", "The web address on the host's own card.")
            email = config.optionalString("email", "The e-mail address on the host's own card.")
            description = config.optionalString("description", "What the host's own card says about it.")
        }
    }

    private var options: Options
    private var store: KeyValueStore<[UInt8]>?
    private var storage: Storage?
    private var changed: HookList<CardEvent>?

    init(options: Options) {
        self.options = options
    }

    func reconfigure(_ options: Options) -> Bool {
        self.options = options
        return true
    }

    func load(into host: ModuleHost) {
        let store = host.server.storage.rawValues("vcard", on: host.domain)
        self.store = store
        storage = host.server.storage
        changed = host.host.hooks.list(.cardChanged)
        host.advertise(.vCard, on: .host)
        host.advertise(.vCard, on: .account)
        host.answer(.get, "vCard", .vCard) { try await self.get($0, store) }
        // XEP-0054 §3.2 suggests `forbidden` for others. They get what they would get if there were no such account,
        // for the reason that §3.3 gives.
        host.answer(.set, "vCard", .vCard, from: .owner) { try self.set($0) }
        host.answer(.get, "vCard", .vCard, on: .host) { _ in try self.hostCard() }
        host.provide((any Cards).self, self)
    }

    private func get(_ request: IQRequest, _ store: KeyValueStore<[UInt8]>) async throws -> Element? {
        let owner = try request.owner()
        guard let bytes = try await store.value(for: owner.name) else {
            // XEP-0054 §3.1 for the user, §3.3 for others: they do not learn whether the account exists.
            throw request.from.bare == owner.jid ? StanzaError.itemNotFound : StanzaError.serviceUnavailable
        }
        return try Element.parse(bytes)
    }

    private func set(_ request: IQRequest) throws -> Element? {
        let owner = try request.owner()
        let card = request.query.hasChildren ? request.query : nil
        try setCard(card, of: owner)
        changed?.notify(CardEvent(account: owner, card: card))
        return nil
    }

    /// The host's own card. XEP-0054 §3.3.
    private func hostCard() throws -> Element {
        let card = Element("vCard", .vCard) {
            if let name = options.name { Element("FN", text: name) }
            if let url = options.url { Element("URL", text: url) }
            if let email = options.email {
                Element("EMAIL") {
                    Element("INTERNET")
                    Element("USERID", text: email)
                }
            }
            if let description = options.description { Element("DESC", text: description) }
        }
        guard card.hasChildren else { throw StanzaError.serviceUnavailable }
        return card
    }
}

extension VCard: Cards {
    func card(of account: Account) async throws -> Element? {
        try await store?.value(for: account.name).map { try Element.parse($0) }
    }

    func changeCard(of account: Account, _ change: @ServerActor (Element?) -> Element?) async throws {
        while true {
            let version = account[Version.self]
            // What was written last must be there to be read.
            if let commit = version.commit { try await storage?.durable(commit) }
            let card = try await card(of: account)
            guard account[Version.self].number == version.number else { continue }
            return try setCard(change(card), of: account)
        }
    }

    private func setCard(_ card: Element?, of account: Account) throws {
        let bytes = card?.xmlBytes
        if let bytes, bytes.count > options.size {
            throw StanzaError.policyViolation("A vCard may have \(options.size) bytes.")
        }
        let commit = bytes.map { store?.set($0, for: account.name) } ?? store?.delete(account.name)
        account[Version.self] = (account[Version.self].number + 1, commit)
    }

    /// How often the card was written since the account was loaded, and the last of the writes.
    private enum Version: AccountKey {
        static var defaultValue: (number: Int, commit: CommitNumber?) { (0, nil) }
    }
}
