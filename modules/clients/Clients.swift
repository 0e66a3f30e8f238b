import ServerKit

/// Client Access Management (XEP-0494): users see which clients can get into their account, and turn them away.
final class Clients: Module {
    static let info = ModuleInfo(
        "clients", "Lets users see, and revoke, what has access to their account",
        implements: [.xep(494, "0.1.0")])

    struct Options: ModuleOptions {
        let remember: Duration
        let names: Bool
        let limit: Int

        init(_ config: inout OptionReader) {
            // XEP-0494 §6: it must be for the administrator to say what is kept and how long.
            remember = config.duration(
                "remember", default: .days(90), in: .days(1)...(.days(3_660)),
                "How long clients are listed that knew the password and have not come back.")
            names = config.bool(
                "device_names", default: true, "Whether it is kept what clients call themselves and their devices.")
            limit = config.int(
                "limit", default: 50, in: 1...1_000, "Clients that are remembered for an account.")
        }
    }

    private let options: Options

    init(options: Options) {
        self.options = options
    }

    func load(into host: ModuleHost) {
        // Guests have nothing that others could get into.
        guard !host.host.isAnonymous else { return }
        let registry = ClientRegistry(host: host, options: options)
        host.advertise(.clientAccess, on: .account)
        host.observe(.resourceBound) { registry.note($0.resource) }
        host.observe(.resourceRestored) { registry.note($0.resource) }
        host.observe(.resourceClosed) { registry.noteEnd(of: $0.resource) }
        host.answer(.get, "list", .clientAccess, from: .owner) { try await self.list($0, registry) }
        host.answer(.set, "revoke", .clientAccess, from: .owner) { try await self.revoke($0, registry) }
        // COMPAT slixmpp 1.17 asks with a get.
        host.answer(.get, "revoke", .clientAccess, from: .owner) { try await self.revoke($0, registry) }
    }

    /// XEP-0494 §3.1.
    private func list(_ request: IQRequest, _ registry: ClientRegistry) async throws -> Element? {
        let clients = try await registry.clients(of: request.owner())
        return Element("clients", .clientAccess) { clients.map(\.element) }
    }

    /// XEP-0494 §3.2.
    private func revoke(_ request: IQRequest, _ registry: ClientRegistry) async throws -> Element? {
        let account = try request.owner()
        guard let id = request.query["id"] else { throw StanzaError.badRequest("The id of a client is missing.") }
        guard let client = try await registry.clients(of: account).first(where: { $0.id == id }) else {
            throw StanzaError.itemNotFound
        }
        try await registry.revoke(client, of: account)
        // Those that are there now: it may have logged in meanwhile.
        let live = account.resources.filter { resource in
            client.resources.contains { $0 === resource }
                || client.client != nil && resource[ClientLogin.Key.self]?.client == client.client
        }
        // The one that asks is told before its stream ends.
        for resource in live where resource !== request.resource { resource.endForRevocation() }
        if let own = live.first(where: { $0 === request.resource }) {
            request.afterAnswer { own.endForRevocation() }
        }
        // What can be taken from it was; but it comes back as long as the password is what it was.
        if client.knowsPassword {
            throw StanzaError.serviceUnavailable.with(Element("password-reset-required", .clientAccess))
        }
        return nil
    }
}

extension Resource {
    fileprivate func endForRevocation() {
        close(StreamError(.policyViolation, "The access of this client has been revoked."))
    }
}

extension AccessingClient {
    /// XEP-0494 §3.1.
    fileprivate var element: Element {
        Element("client", nil, ["id": id, "type": "session", "connected": resources.isEmpty ? "false" : "true"]) {
            Element("first-seen", text: firstSeen.description)
            Element("last-seen", text: lastSeen.description)
            Element("auth") {
                if knowsPassword { Element("password") }
                if hasToken { Element("fast") }
            }
            // Whoever logs in may do everything.
            Element("permission", nil, ["status": "unrestricted"])
            Element("user-agent") {
                if let software = userAgent.software { Element("software", text: software) }
                if let device = userAgent.device { Element("device", text: device) }
            }
        }
    }
}

extension Namespace {
    static let clientAccess: Namespace = "urn:xmpp:cam:0"
}
