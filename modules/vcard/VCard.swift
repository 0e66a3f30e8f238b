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

    init(options: Options) {
        self.options = options
    }

    func reconfigure(_ options: Options) -> Bool {
        self.options = options
        return true
    }

    func load(into host: ModuleHost) {
        let store = host.server.storage.rawValues("vcard", on: host.domain)
        host.advertise(.vCard, on: .host)
        host.advertise(.vCard, on: .account)
        host.answer(.get, "vCard", .vCard) { try await self.get($0, store) }
        // XEP-0054 §3.2 suggests `forbidden` for others. They get what they would get if there were no such account,
        // for the reason that §3.3 gives.
        host.answer(.set, "vCard", .vCard, from: .owner) { try self.set($0, store) }
        host.answer(.get, "vCard", .vCard, on: .host) { _ in try self.hostCard() }
    }

    private func get(_ request: IQRequest, _ store: KeyValueStore<[UInt8]>) async throws -> Element? {
        let owner = try request.owner()
        guard let bytes = try await store.value(for: owner.name) else {
            // XEP-0054 §3.1 for the user, §3.3 for others: they do not learn whether the account exists.
            throw request.from.bare == owner.jid ? StanzaError.itemNotFound : StanzaError.serviceUnavailable
        }
        return try Element.parse(bytes)
    }

    private func set(_ request: IQRequest, _ store: KeyValueStore<[UInt8]>) throws -> Element? {
        let owner = try request.owner()
        guard request.query.hasChildren else {
            store.delete(owner.name)
            return nil
        }
        let bytes = request.query.xmlBytes
        guard bytes.count <= options.size else {
            throw StanzaError.policyViolation("A vCard may have \(options.size) bytes.")
        }
        store.set(bytes, for: owner.name)
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

extension Namespace {
    /// XEP-0054 §3.
    static let vCard: Namespace = "vcard-temp"
}
