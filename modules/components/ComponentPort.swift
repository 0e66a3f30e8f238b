import ServerKit

/// The port for external components (XEP-0114): programs that serve a domain of this server, such as gateways to other
/// networks. Who may connect, and what becomes of stanzas, the domain's own module knows.
final class ComponentPort: Module {
    static let info = ModuleInfo(
        "component", "Takes the connections of external components, such as gateways to other networks",
        implements: [.xep(114, "1.6").partial("Connections that the server opens, jabber:component:connect.")],
        group: .optional, defaultOn: true, scope: .server)

    struct Options: ModuleOptions {
        let limits: Limits
        let handshakeTime: Duration
        let keepalive: Duration
        let perAddress: Int
        let attempts: Rate?

        init(_ config: inout OptionReader) {
            var limits = Limits()
            limits.authenticated.elementBytes = config.size(
                "stanza_size", default: 1_048_576, in: 10_000...100_000_000,
                "The largest stanza that a component may send.")
            limits.rate = config.optionalByteRate(
                "rate", default: Rate(16_777_216, per: .seconds(1)),
                "What a component may send before it is read more slowly; one interval's worth may come at once.")
            limits.rateBeforeLogin = config.optionalByteRate(
                "rate_before_handshake", default: Rate(65_536, per: .seconds(1)),
                "The same before it has proved itself.")
            limits.outputBacklog = config.size(
                "output_limit", default: limits.outputBacklog, in: 65_536...1_000_000_000,
                "What may wait for a component that provokes answers and does not read, before it is disconnected.")
            self.limits = limits
            handshakeTime = config.duration(
                "handshake_time", default: .seconds(30), "How long a component may take to prove itself.")
            keepalive = config.duration(
                "keepalive", default: .minutes(1), "After how much silence a connection is shown to be alive.")
            perAddress = config.int(
                "connections_per_address", default: 100, in: 1...100_000,
                "Connections from one IPv4 address, or one IPv6 network of 64 bits.")
            attempts = config.optionalRate(
                "attempts", default: Rate(20, per: .minutes(1)),
                "How often one address may try to connect as one component with a wrong secret.")
        }
    }

    private struct Attempt: Hashable {
        let network: PeerNetwork?
        let domain: String
    }

    private(set) var options: Options
    private var streams: [ObjectIdentifier: ComponentStream] = [:]
    private var counts = ConnectionCounts()
    private var attempts: [Attempt: TokenBucket] = [:]
    private var ports: ServicePorts?
    private var facade: ModuleHost?

    init(options: Options) {
        self.options = options
    }

    func load(into host: ModuleHost) {
        facade = host
        ports = ServicePorts(host.server)
        host.startUp { try await self.openPorts() }
        host.onConfigurationChange { host.startUp { try await self.openPorts() } }
        host.onStop { self.endAll() }
        host.every(.seconds(10)) { self.sweep() }
    }

    func reconfigure(_ options: Options) -> Bool {
        self.options = options
        return true
    }

    func unload() {
        ports?.close()
        ports = nil
        endAll()
        facade = nil
    }

    // MARK: Connections

    private func openPorts() async throws {
        guard let facade, let ports else { return }
        let server = facade.server
        for address in server.configuration.listen["component"] ?? [] where !address.isLoopback {
            facade.log.warning(
                "Components can connect in plain text from elsewhere", metadata: ["reason": "component: \(address)"])
        }
        let directTLS = try TLSServer(server.identities)
        try await ports.match([
            .init("component") { self.accept($0) }, .init("component_tls", directTLS: directTLS) { self.accept($0) },
        ])
    }

    private func accept(_ transport: any StreamTransport) -> ComponentStream? {
        guard let facade else { return nil }
        let network = PeerNetwork(transport.peerAddress)
        guard counts.add(network, limit: options.perAddress) else { return nil }
        let stream = ComponentStream(self, server: facade.server, log: facade.log, transport: transport)
        let id = ObjectIdentifier(stream)
        streams[id] = stream
        stream.onEnd { self.forget(id, network) }
        return stream
    }

    private func forget(_ id: ObjectIdentifier, _ network: PeerNetwork?) {
        streams[id] = nil
        counts.remove(network)
    }

    private func endAll() {
        for stream in Array(streams.values) { stream.close(StreamError(.systemShutdown)) }
    }

    private func sweep() {
        guard let now = facade?.clock.now else { return }
        for stream in Array(streams.values) {
            if !stream.isOpen, now - stream.startedAt > options.handshakeTime {
                stream.close(StreamError(.connectionTimeout, "The handshake took too long."))
            } else if stream.isOpen, now - max(stream.lastReceived, stream.lastSent) > options.keepalive {
                // Nothing may ever come back, but TCP learns whether anybody is there.
                stream.sendKeepalive()
            }
        }
        guard let limit = options.attempts else {
            attempts = [:]
            return
        }
        attempts = attempts.filter { !$0.value.isDrained(limit: limit, now: now) }
    }

    // MARK: Guessing

    /// Whether an address may try a secret now. Others, with other domains, are not made to suffer for it.
    func mayTry(_ domain: String, from address: String) -> Bool {
        guard let limit = options.attempts, let now = facade?.clock.now else { return true }
        let attempt = Attempt(network: PeerNetwork(address), domain: domain)
        return attempts[attempt, default: TokenBucket()].take(1, limit: limit, now: now) == nil
    }

    /// It has tried, and the secret was right.
    func succeeded(_ domain: String, from address: String) {
        attempts[Attempt(network: PeerNetwork(address), domain: domain)] = nil
    }
}
