import ArgumentParser
import Glibc
import ServerKit

struct Demo: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Try the server out: two accounts on this machine, no file to edit.",
        discussion: """
            Listens on the loopback interface only. Everything is kept in one directory; called again, it goes on \
            with the same accounts. Delete the directory to begin anew. Ctrl-C ends the server.
            """)

    @Option(help: ArgumentHelp("Where everything is kept.", valueName: "directory")) var directory = "demo"

    func run() async throws {
        try Files.makeDirectory(directory, mode: 0o700)
        let stage = DemoStage(directory: Files.absolute(directory))
        let ports = try await stage.prepare(modules: MartletMain.modules)
        let accounts = try stage.accounts()
        try await ServerProcess.run(stage.configuration, modules: MartletMain.modules, logLevel: .notice) { listening in
            Console.print(stage.welcome(accounts, ports))
            Console.print("Martlet is ready: \(listening.portList)")
        }
    }
}

/// The files of a demonstration.
struct DemoStage {
    struct Ports: Equatable {
        var c2s: UInt16
        var tls: UInt16
    }

    let directory: String
    var configuration: String { directory + "/martlet.yaml" }
    private var accountList: String { directory + "/accounts.txt" }
    private var certificates: String { directory + "/certificates" }
    private var certificate: String { certificates + "/localhost.crt" }

    /// Makes whatever is missing.
    func prepare(modules: [any Module.Type]) async throws -> Ports {
        try Files.makeDirectory(certificates, mode: 0o700)
        let hasCertificate = CertificateStore(directory: certificates).load(hosts: ["localhost"])
            .reports.contains { $0.notAfter > time(nil) }
        if !hasCertificate {
            try SelfSignedCertificate.generate(
                hosts: ["localhost", "*.localhost"], directory: certificates, addresses: ["127.0.0.1", "::1"], replacing: true)
        }
        if !Files.exists(accountList) {
            let lines = ["romeo", "juliet"].map { "\($0)@localhost \(PasswordOptions.generated())\n" }
            try Files.write("# The accounts of the demonstration.\n" + lines.joined(), to: accountList, mode: 0o600)
        }
        let ports = Ports(c2s: Self.freePort(5222), tls: Self.freePort(5223))
        try Files.write(text(ports), to: configuration, mode: 0o600, isReplacing: true)
        let configuration = try ConfigurationFile.read(self.configuration, modules: modules)
        try await AccountAccess.with(configuration) { accounts in
            guard accounts is StoredAccounts else {
                throw CommandFailure("A server is running with \(directory) already.")
            }
            // Accounts of an earlier run are reported as problems, which they are not here.
            _ = try await AccountImport(accounts: accounts, hosts: ["localhost"]).run(Files.read(accountList))
        }
        return ports
    }

    private func text(_ ports: Ports) -> String {
        """
        # Written by "martlet demo", anew at each start.
        hosts: { localhost: {} }
        components: { conference.localhost: { module: muc } }
        admins: [romeo@localhost]
        data_directory: \(directory.yamlScalar)
        certificates: \(certificates.yamlScalar)
        log: { level: notice }
        listen:
          c2s: ["127.0.0.1:\(ports.c2s)", "[::1]:\(ports.c2s)"]
          c2s_tls: ["127.0.0.1:\(ports.tls)", "[::1]:\(ports.tls)"]
          s2s: off
          s2s_tls: off
        modules: { s2s: off }

        """
    }

    /// Addresses and passwords, in the order of the list.
    func accounts() throws -> [(address: String, password: String)] {
        String(decoding: try Files.read(accountList), as: UTF8.self).split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ", maxSplits: 1).map(String.init)
            return line.hasPrefix("#") || words.count < 2 ? nil : (words[0], words[1])
        }
    }

    /// How to connect.
    func welcome(_ accounts: [(address: String, password: String)], _ ports: Ports) -> String {
        let list = accounts.map { "  \($0.address.padded(to: 20))password  \($0.password)" }.joined(separator: "\n")
        let first = accounts.first?.address ?? "romeo@localhost"
        return """
            Two accounts wait for you:

            \(list)

            Server localhost, port \(ports.c2s) with STARTTLS or \(ports.tls) with TLS from the start. The certificate
            vouches for itself, so that a client asks whether to trust it.

              Profanity   profanity, then
                          /connect \(first) server localhost port \(ports.c2s) tls trust
              Gajim       gajim --profile demo; add the account \(first), under "Advanced settings"
                          host localhost, port \(ports.c2s), and accept the certificate
              Dino        trusts what the system trusts: copy \(certificate)
                          into /usr/local/share/ca-certificates, run update-ca-certificates, start dino

            Rooms for group chat are on conference.localhost: in Profanity, /join hall@conference.localhost

            Accounts: martlet user add NAME@localhost --config \(configuration)
            Ctrl-C ends the server; \(directory) keeps its data.

            """
    }

    /// The port, or a free one in its place if somebody listens there.
    static func freePort(_ wanted: UInt16) -> UInt16 {
        let addresses = { (port: UInt16) in
            ["127.0.0.1", "::1"].map { ListenAddress(host: $0, port: port) }
        }
        let candidates = [wanted] + (1...50).map { wanted + 10 * $0 }
        return candidates.first { port in
            addresses(port).allSatisfy { PortProbe.bind($0) != .inUse }
        } ?? wanted
    }
}
