import ServerKit

/// External Service Discovery (XEP-0215): tells clients where STUN and TURN are, and lets them in.
///
/// Clients ask each time they need it; nothing is pushed, which XEP-0215 §3.2 leaves to the server.
final class ExternalServices: Module {
    static let info = ModuleInfo(
        "external_services", "Tells clients which STUN and TURN servers to use for calls",
        implements: [.xep(215, "1.0.0")],
        group: .recommended)

    struct Options: ModuleOptions {
        let services: [ExternalService]
        let lifetime: Duration

        init(_ config: inout OptionReader) {
            let secret = config.optionalString(
                "secret", "The secret shared with TURN servers: static-auth-secret in the configuration of coturn.")
            lifetime = config.duration(
                "lifetime", default: .hours(24), in: .minutes(1)...(.days(30)),
                "How long credentials made with a shared secret are valid.")
            services = config.list("services", "The services; without any the module does nothing.") { item in
                ExternalService(&item, sharedSecret: secret)
            }.compactMap(\.self)
        }
    }

    private let options: Options

    init(options: Options) {
        self.options = options
    }

    func load(into host: ModuleHost) {
        guard !options.services.isEmpty else { return }
        host.advertise(.externalServices, on: .host)
        // A relay costs somebody's bandwidth: XEP-0215 §2 allows to refuse those from elsewhere.
        host.answer(.get, "services", .externalServices, on: .host, from: .local) { self.list($0, host) }
        host.answer(.get, "credentials", .externalServices, on: .host, from: .local) { try self.admit($0, host) }
    }

    /// XEP-0215 §3.1, §3.2.
    private func list(_ request: IQRequest, _ host: ModuleHost) -> Element? {
        let type = request.query["type"]
        return Element("services", .externalServices, ["type": type]) {
            for service in options.services where type == nil || service.type == type {
                service.element(credentials(for: service, request, host))
            }
        }
    }

    /// XEP-0215 §3.3.
    private func admit(_ request: IQRequest, _ host: ModuleHost) throws -> Element? {
        let wanted = request.query.children("service")
        guard !wanted.isEmpty, wanted.allSatisfy({ $0["host"] != nil && $0["type"] != nil }) else {
            throw StanzaError.badRequest("A service has a host and a type.")
        }
        let found = options.services.filter { service in
            service.credentials != nil && wanted.contains { service.isMeant(by: $0) }
        }
        guard !found.isEmpty else { throw StanzaError.itemNotFound }
        return Element("credentials", .externalServices) {
            for service in found { service.element(credentials(for: service, request, host)) }
        }
    }

    private func credentials(
        for service: ExternalService, _ request: IQRequest, _ host: ModuleHost
    ) -> ServiceLogin? {
        switch service.credentials {
        case nil: return nil
        case .fixed(let login): return login
        case .shared(let secret):
            let expiry = host.clock.date.advanced(by: options.lifetime)
            return .timeLimited(user: request.from.localpart ?? "", secret: secret, until: expiry)
        }
    }
}

extension Namespace {
    /// XEP-0215 §5.
    static let externalServices: Namespace = "urn:xmpp:extdisco:2"
}
