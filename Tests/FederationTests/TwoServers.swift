import Glibc
import Modules
import ServerKit
import StorageMemory
import TestKit

@testable import Federation

/// Two servers on sockets of this machine, with a DNS of their own.
@ServerActor
final class TwoServers {
    let montague: Stage
    let capulet: Stage
    let names: TestNames
    private let certificates: TestCertificates

    init(
        _ montague: Stage, _ capulet: Stage, _ names: TestNames, _ certificates: TestCertificates,
        _ configure: @escaping (String) -> String
    ) {
        self.configure = configure
        self.certificates = certificates
        self.montague = montague
        self.capulet = capulet
        self.names = names
    }

    /// Lets both do what they have to do until a condition holds, for some seconds at most.
    func until(_ condition: @ServerActor () -> Bool) async -> Bool {
        for _ in 0..<2_000 {
            if condition() { return true }
            await Task.yield()
            await SocketTurn.pass()
            try? await ServerActor.loop.scheduleTask(in: .milliseconds(5)) {}.futureResult.get()
        }
        return condition()
    }

    /// Lets time pass for both.
    func advance(by duration: Duration) async {
        await montague.advance(by: duration)
        await capulet.advance(by: duration)
    }

    /// Until what travels has arrived.
    func settle() async {
        for _ in 0..<16 {
            await montague.settle()
            await capulet.settle()
            await SocketTurn.pass(2)
        }
    }

    /// Somebody who connects to Montague's server.
    ///
    /// - Parameter domain: whose certificate it has; nil for none.
    func rawPeer(with domain: String? = "capulet.example") async throws -> RawPeer {
        let port = montague.server.listening["s2s"]?.first?.port ?? 0
        let path = domain.map { certificates.files(of: $0) }
        return try await RawPeer.connect(to: port, certificate: path)
    }

    /// A fingerprint of a domain's certificate as POSH has it. RFC 7711 §3.1.
    func fingerprint(of domain: String) -> String {
        let pem = String(decoding: TestCertificates.read(certificates.files(of: domain).chain), as: UTF8.self)
        let lines = pem.split(separator: "\n").filter { !$0.hasPrefix("-") }
        return Base64.encode(Digest.sha256(Base64.decode(lines.joined()) ?? []))
    }

    /// Nobody listens any more where the DNS says that the two are.
    func vanish() {
        names.serve("montague.example", port: 1)
        names.serve("capulet.example", port: 1)
    }

    /// The configuration of Montague's server with other hosts.
    func configuration(hosts: String) -> String { configure(hosts) }

    private let configure: (String) -> String

    /// Montague's configuration denies the other domain from now on.
    func denyCapulet() {
        guard let node = YAMLReader.parse("deny: [capulet.example]", file: "f.yaml").root else { return }
        montague.federation.take(FederationOptions.read(node).options)
    }

    /// The DNS says where the two are now.
    func announce() {
        for (stage, domain) in [(montague, "montague.example"), (capulet, "capulet.example")] {
            if let port = stage.server.listening["s2s"]?.first?.port { names.serve(domain, port: port) }
            if let port = stage.server.listening["s2s_tls"]?.first?.port {
                names.serve(domain, port: port, directTLS: true)
            }
            names.serveOthers(of: stage)
        }
    }
}

extension TestNames {
    @ServerActor fileprivate func serveOthers(of stage: Stage) {
        guard let port = stage.server.listening["s2s"]?.first?.port else { return }
        for component in stage.server.allComponents { serve(component.domain, port: port) }
        for host in stage.server.allHosts where host.isAnonymous { serve(host.domain, port: port) }
    }
}

/// Certificates of both, and a file with what each trusts.
struct TestCertificates {
    let path: String

    /// - Parameter strangers: domains whose certificates nobody trusts.
    init(strangers: Set<String> = []) throws {
        path = "/tmp/martlet-test-\(RandomToken.make(bytes: 8))"
        mkdir(path, 0o700)
        var trusted: [UInt8] = []
        for domain in ["montague.example", "capulet.example"] {
            mkdir("\(path)/\(domain)", 0o700)
            let files = try SelfSignedCertificate.generate(
                hosts: [domain, "rooms.\(domain)", "guests.\(domain)"], directory: "\(path)/\(domain)")
            if !strangers.contains(domain) { trusted += Self.read(files.certificate) }
        }
        // Somebody has to be trusted.
        let other = try SelfSignedCertificate.generate(hosts: ["other.example"], directory: path)
        trusted += Self.read(other.certificate)
        Self.write(trusted, to: "\(path)/trusted.pem")
    }

    func files(of domain: String) -> (chain: String, key: String) {
        let base = domain == "other.example" ? "\(path)/\(domain)" : "\(path)/\(domain)/\(domain)"
        return (base + ".crt", base + ".key")
    }

    func remove() {
        for domain in ["montague.example", "capulet.example"] {
            for end in ["crt", "key"] { unlink("\(path)/\(domain)/\(domain).\(end)") }
            rmdir("\(path)/\(domain)")
        }
        for name in ["other.example.crt", "other.example.key", "trusted.pem"] { unlink("\(path)/\(name)") }
        rmdir(path)
    }

    fileprivate static func read(_ path: String) -> [UInt8] {
        let file = open(path, O_RDONLY)
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = Glibc.read(file, &bytes, bytes.count)
        return Array(bytes.prefix(max(0, count)))
    }

    private static func write(_ bytes: [UInt8], to path: String) {
        let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        defer { close(file) }
        _ = bytes.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
    }
}

/// Performs a play with two servers.
///
/// - Parameters:
///   - s2s: options of the module, for both.
///   - strangers: domains whose certificates nobody trusts.
///   - listen: the ports of both.
///   - guests: whether both have a host for guests, such as `guests.montague.example`.
func playBetweenServers(
    s2s: String = "", strangers: Set<String> = [], modules extra: [any Module.Type] = [],
    listen: String = "s2s: \"127.0.0.1:0\", s2s_tls: off", components: Bool = false, ofModule component: String = "muc",
    guests: Bool = false,
    drivers: (montague: MemoryStorageDriver, capulet: MemoryStorageDriver) = (
        MemoryStorageDriver(), MemoryStorageDriver()
    ),
    _ body: @escaping @ServerActor @Sendable (TwoServers) async throws -> Void
) async throws {
    let certificates = try TestCertificates(strangers: strangers)
    defer { certificates.remove() }
    let names = TestNames()
    let modules: [any Module.Type] =
        [ServerToServer.self]
        + bundledModules.filter {
            ["roster", "presence", "messages", "offline", "disco", "ping", "bind", "version"].contains($0.info.name)
        } + extra
    let configure: @Sendable (String, String) -> String = { domain, hosts in
        """
        certificates: \(certificates.path)/\(domain)
        hosts: { \(hosts) }
        listen: { \(listen) }
        \(components ? "components: { rooms.\(domain): { module: \(component) } }" : "")
        modules:
          s2s: { authorities: \(certificates.path)/trusted.pem, \(s2s) }

        """
            + modules.map { $0.info }.filter { $0.scope != .component && $0.name != "s2s" }.map { "  \($0.name): on\n" }
            .joined()
    }
    let config: @Sendable (String) -> String = { domain in
        configure(
            domain, "\(domain): {}\(guests ? ", guests.\(domain): { authentication: anonymous }" : "")")
    }
    try await play(modules: modules, config: config("montague.example"), driver: drivers.montague, names: names) {
        montague in
        try await play(modules: modules, config: config("capulet.example"), driver: drivers.capulet, names: names) {
            capulet in
            let servers = TwoServers(montague, capulet, names, certificates) { configure("montague.example", $0) }
            try await montague.server.finishStartUp()
            try await capulet.server.finishStartUp()
            servers.announce()
            try await body(servers)
        }
    }
}
