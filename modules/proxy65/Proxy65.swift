import ServerKit

/// A proxy for SOCKS5 Bytestreams (XEP-0065): carries the bytes of two users who cannot connect to each other.
///
/// Both connect to its port and name a hash; the one who asked for the stream then has it activated over XMPP, and so
/// proves who it is. Nothing is kept but what is on its way.
final class Proxy65: Module {
    static let info = ModuleInfo(
        "proxy65", "A proxy for file transfers between users who cannot connect to each other",
        implements: [.xep(65, "1.8.2").partial("UDP, which is optional.")],
        group: .optional, scope: .component, subdomain: "proxy", after: ["disco"])

    struct Options: ModuleOptions {
        let host: String?
        let access: Access
        let limits: ProxyLimits

        /// Who may use it.
        enum Access: String, CaseIterable, Sendable {
            case local, anyone
        }

        init(_ config: inout OptionReader) {
            host = config.optionalString(
                "host", "The name or address that users connect to; without it, the one it listens on or its domain.")
            access = config.choice(
                "access", default: Access.local,
                "Who may use it: users of this server for transfers with anyone, or anyone.")
            limits = ProxyLimits(
                transferRate: config.optionalByteRate(
                    "rate", default: Rate(4_194_304, per: .seconds(1)), "How fast one transfer may be."),
                userRate: config.optionalByteRate(
                    "user_rate", default: Rate(8_388_608, per: .seconds(1)),
                    "How fast all transfers of one user may be together."),
                transfers: config.int(
                    "max_transfers", default: 200, in: 1...100_000, "Transfers that are carried at the same time."),
                perUser: config.int("max_transfers_per_user", default: 10, in: 1...100_000, "The same of one user."),
                connections: config.int(
                    "max_connections", default: 1_000, in: 2...1_000_000, "Connections that are open at the same time."),
                perAddress: config.int(
                    "connections_per_address", default: 50, in: 1...1_000_000,
                    "Connections from one IPv4 address, or one IPv6 network of 64 bits."),
                greetingTime: config.duration(
                    "greeting_time", default: .seconds(20), "How long a connection may take to say what it is for."),
                activationTime: config.duration(
                    "activation_time", default: .minutes(2), "How long it may then wait for the transfer to begin."),
                idleTime: config.duration(
                    "idle_time", default: .minutes(10), "After how much silence a transfer is ended."))
        }
    }

    private var options: Options
    private var relay: ProxyRelay?
    private var ports: ServicePorts?

    init(options: Options) {
        self.options = options
    }

    func load(into host: ModuleHost) throws {
        let ours = host.server.configuration.components.first { $0.module == Self.info.name }
        guard ours?.name == host.domain else {
            throw ModuleError("There is one port for it: the component \(ours?.name ?? "") has it already.")
        }
        let relay = ProxyRelay(clock: host.clock, limits: options.limits, log: host.log)
        self.relay = relay
        let ports = ServicePorts(host.server)
        self.ports = ports
        let service = ServicePorts.Service("proxy65") { relay.accept($0) }
        host.identify("proxy", "bytestreams", name: "File transfer proxy", on: .host)
        host.advertise(.bytestreams, on: .host)
        let access: IQAccess = options.access == .local ? .local : .anyone
        host.answer(.get, "query", .bytestreams, on: .host, from: access) { _ in try self.tellAddress(host) }
        host.answer(.set, "query", .bytestreams, on: .host, from: access) { try self.activate($0, relay) }
        host.startUp { try await ports.match([service]) }
        host.onConfigurationChange { host.startUp { try await ports.match([service]) } }
        host.every(.seconds(5)) { relay.sweep() }
    }

    func reconfigure(_ options: Options) -> Bool {
        guard options.access == self.options.access else { return false }
        self.options = options
        relay?.limits = options.limits
        return true
    }

    func unload() {
        ports?.close()
        ports = nil
        relay?.endAll()
        relay = nil
    }

    /// XEP-0065 §4.
    private func tellAddress(_ host: ModuleHost) throws -> Element {
        guard let address = host.server.listening["proxy65"]?.first else {
            throw StanzaError.notAllowed("The proxy's port is not open.")
        }
        let name = options.host ?? address.host.flatMap { $0 == "0.0.0.0" || $0 == "::" ? nil : $0 }
        return Element("query", .bytestreams) {
            Element(
                "streamhost", nil,
                [
                    "jid": host.jid.description, "host": name ?? host.jid.asciiDomain, "port": String(address.port),
                ])
        }
    }

    /// XEP-0065 §6.3.5.
    private func activate(_ request: IQRequest, _ relay: ProxyRelay) throws -> Element? {
        let query = request.query
        guard let id = query["sid"], !id.isEmpty, id.utf8.count <= 1_024, let text = query.text(of: "activate") else {
            throw StanzaError.badRequest("An activation has the id of the stream, and the target.")
        }
        guard let target = JID(text.trimmedXMLSpace) else { throw StanzaError.jidMalformed }
        // Addresses are in their prepared form, as the two have hashed them. XEP-0065 §5.3.2.
        let hash = Hex.encode(Digest.sha1(Array((id + request.from.description + target.description).utf8)))
        try relay.activate(hash, for: request.from.bare)
        return nil
    }
}

extension Namespace {
    /// XEP-0065 §3.
    static let bytestreams: Namespace = "http://jabber.org/protocol/bytestreams"
}
