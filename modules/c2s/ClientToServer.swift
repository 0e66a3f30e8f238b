import ServerKit

/// Client connections (RFC 6120, XEP-0368): listens, limits what strangers may occupy, and notices silence.
final class ClientToServer: Module {
    static let info = ModuleInfo(
        "c2s", "Accepts connections from clients", implements: [.rfc(6120), .xep(368, "1.1.0")], group: .core,
        scope: .server)

    struct Options: ModuleOptions {
        let limits: Limits
        let loginTime: Duration
        let keepalive: Duration
        let perAddress: Int

        init(_ config: inout OptionReader) {
            let defaults = Limits()
            var limits = defaults
            limits.authenticated.elementBytes = config.size(
                "stanza_size", default: defaults.authenticated.elementBytes, in: 10_000...100_000_000,
                "The largest stanza that a client may send.")
            limits.unauthenticated.elementBytes = config.size(
                "stanza_size_before_login", default: defaults.unauthenticated.elementBytes, in: 10_000...1_000_000,
                "The same before it has logged in.")
            limits.outputBacklog = config.size(
                "output_limit", default: defaults.outputBacklog, in: 65_536...1_000_000_000,
                "What may wait for a client that does not read, before it is disconnected.")
            limits.rate = config.optionalByteRate(
                "rate", default: Rate(4_194_304, per: .seconds(1)),
                "What a client may send before it is read more slowly; one interval's worth may come at once.")
            limits.rateBeforeLogin = config.optionalByteRate(
                "rate_before_login", default: Rate(65_536, per: .seconds(1)), "The same before it has logged in.")
            self.limits = limits
            loginTime = config.duration(
                "login_time", default: .seconds(60), "How long a client may take to log in.")
            keepalive = config.duration(
                "keepalive", default: .minutes(5), "After how much silence a connection is shown to be alive.")
            perAddress = config.int(
                "connections_per_address", default: 1_000, in: 1...1_000_000,
                "Connections from one IPv4 address, or one IPv6 network of 64 bits.")
        }
    }

    private var options: Options
    private var streams: [ObjectIdentifier: ClientStream] = [:]
    private var counts = ConnectionCounts()
    private var ports: ServicePorts?
    private var facade: ModuleHost?

    init(options: Options) {
        self.options = options
    }

    func load(into host: ModuleHost) throws {
        facade = host
        ports = ServicePorts(host.server)
        host.server.limits = options.limits
        host.startUp { try await self.openListeners() }
        host.onConfigurationChange {
            self.endStreamsOfLostHosts()
            host.startUp { try await self.openListeners() }
        }
        host.onStop { self.endAll() }
        host.every(.seconds(10)) { self.sweep() }
    }

    func reconfigure(_ options: Options) -> Bool {
        self.options = options
        facade?.server.limits = options.limits
        return true
    }

    func unload() {
        ports?.close()
        ports = nil
        endAll()
        facade = nil
    }

    // MARK: Listening

    private func openListeners() async throws {
        guard let server = facade?.server else { return }
        // RFC 7301 through XEP-0368 §3: clients name what they speak.
        let directTLS = try TLSServer(server.identities, applicationProtocols: ["xmpp-client"])
        try await ports?.match([
            .init("c2s") { self.accept($0, server) },
            .init("c2s_tls", directTLS: directTLS) { self.accept($0, server) },
        ])
    }

    private func accept(_ transport: any StreamTransport, _ server: Server) -> ClientStream? {
        guard facade != nil else { return nil }
        let network = PeerNetwork(transport.peerAddress)
        guard counts.add(network, limit: options.perAddress) else { return nil }
        let stream = ClientStream(server: server, transport: transport)
        let id = ObjectIdentifier(stream)
        streams[id] = stream
        stream.onClose { self.forget(id, network) }
        return stream
    }

    private func forget(_ id: ObjectIdentifier, _ network: PeerNetwork?) {
        streams[id] = nil
        counts.remove(network)
    }

    /// RFC 6120 §4.9.3.5. Streams with a resource ended with their account; these have none yet.
    private func endStreamsOfLostHosts() {
        for stream in Array(streams.values) {
            guard let host = stream.host, stream.server.host(host.domain) !== host else { continue }
            stream.close(StreamError(.hostGone))
        }
    }

    private func endAll() {
        for stream in Array(streams.values) { stream.close(StreamError(.systemShutdown)) }
    }

    // MARK: Silence

    private func sweep() {
        guard let now = facade?.clock.now else { return }
        for stream in Array(streams.values) {
            if stream.resource == nil, now - stream.startedAt > options.loginTime {
                stream.close(StreamError(.connectionTimeout, "Logging in took too long."))
            } else if stream.resource != nil, now - max(stream.lastReceived, stream.lastSent) > options.keepalive {
                // Nothing may ever come back, but TCP learns whether anybody is there.
                stream.sendKeepalive()
            }
        }
    }
}
