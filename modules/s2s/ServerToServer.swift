import ServerKit

/// Connections with other servers (RFC 6120, RFC 7590, XEP-0220, XEP-0288).
public final class ServerToServer: Module {
    public static let info = ModuleInfo(
        "s2s", "Exchanges stanzas with other servers",
        implements: [
            .rfc(6120), .rfc(7590), .rfc(7673), .rfc(7711), .xep(178, "1.2"), .xep(185, "1.0"), .xep(198, "1.6.3"),
            .xep(220, "1.1.1"),
            .xep(288, "1.0.1"), .xep(368, "1.1.0"),
        ], group: .core, scope: .server)

    public struct Options: ModuleOptions {
        let federation: FederationOptions

        public init(_ config: inout OptionReader) {
            federation = FederationOptions(&config)
        }
    }

    private var options: FederationOptions
    private var federation: Federation?
    private var ports: ServicePorts?
    private var resolver: DNSResolver?

    public init(options: Options) {
        self.options = options.federation
    }

    public func load(into host: ModuleHost) throws {
        let resolver = DNSResolver(options.dns)
        let dns = host.server.nameService ?? resolver
        self.resolver = resolver
        let federation = Federation(server: host.server, options: options, dns: dns, log: host.log)
        try federation.judge.loadTrust()
        self.federation = federation
        federation.warnAboutGuests()
        ports = ServicePorts(host.server)
        host.serveElsewhere(federation)
        host.startUp {
            try await self.openPorts()
            try await federation.restore()
        }
        host.onConfigurationChange {
            federation.adaptToHosts()
            federation.warnAboutGuests()
            host.startUp { try await self.openPorts() }
        }
        host.finishBeforeStop { federation.isOwedAnswers }
        host.onStop { federation.stop() }
        host.every(.seconds(10)) { federation.sweep() }
        addCommands(host, federation)
    }

    public func reconfigure(_ options: Options) -> Bool {
        guard options.federation.dns == self.options.dns, options.federation.authorities == self.options.authorities
        else { return false }
        self.options = options.federation
        federation?.take(options.federation)
        return true
    }

    public func unload() {
        ports?.close()
        ports = nil
        federation?.stop()
        federation = nil
        resolver?.close()
        resolver = nil
    }

    private func openPorts() async throws {
        guard let federation else { return }
        let directTLS = try TLSServer(
            federation.server.identities, applicationProtocols: ["xmpp-server"], requestsClientCertificate: true)
        try await ports?.match([
            .init("s2s", silence: ServicePorts.Service.brief) { federation.accept($0) },
            .init("s2s_tls", directTLS: directTLS, silence: ServicePorts.Service.brief) { federation.accept($0) },
        ])
    }
}
