import ArgumentParser
import Glibc
import ServerKit

struct Setup: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Prepare a server for a domain.",
        discussion: """
            Writes a configuration in which every option is explained, makes the data directory and the first \
            administrator. If there is no certificate for the domain yet, makes one that vouches for itself: enough \
            to try the server out. Nothing that exists is overwritten. Called by root, gives the data to the user \
            "martlet" if there is one, which is the one that the systemd unit serves as.
            """)

    @Argument(help: "The domain of the accounts, such as example.org.") var domain: String
    @Option(
        name: [.customShort("c"), .long],
        help: ArgumentHelp(
            "The configuration to write. (default: /etc/martlet/martlet.yaml for root, else ./martlet.yaml)",
            valueName: "file"))
    var config: String?
    @Option(
        help: ArgumentHelp(
            "Where all data will live. (default: /var/lib/martlet for root, else ./data)", valueName: "directory"))
    var data: String?
    @Option(
        help: ArgumentHelp(
            "Certificates and keys. (default: /etc/letsencrypt/live if it has the domain, else in the data)",
            valueName: "directory"))
    var certificates: String?
    @Option(help: ArgumentHelp("The first administrator's name.", valueName: "name")) var admin = "admin"
    @OptionGroup var password: PasswordOptions

    func run() async throws {
        let isRoot = geteuid() == 0
        let plan = try SetupPlan(
            domain: domain, admin: admin, configuration: config ?? (isRoot ? "/etc/martlet/martlet.yaml" : "martlet.yaml"),
            data: data ?? (isRoot ? "/var/lib/martlet" : "data"), certificates: certificates)
        try plan.check()
        // Generated unless asked otherwise: a prompt would keep a first installation from being scripted.
        let isGiven = password.passwordStdin
        let text = isGiven ? try password.password(for: plan.admin.description).text : PasswordOptions.generated()
        let certificate = try await plan.carryOut(password: text, modules: MartletMain.modules)
        Console.print("Configuration:  \(plan.configuration)")
        Console.print("Data:           \(plan.data)")
        Console.print("Certificates:   \(plan.certificates)")
        Console.print("Administrator:  \(plan.admin)" + (isGiven ? "" : ", password \(text)"))
        if let certificate {
            Console.print(
                """

                \(certificate) vouches for itself. Clients will warn about it and other servers refuse it. \
                Before others use the server, put a certificate from an authority such as Let's Encrypt into the \
                directory above, or change "certificates:" to where it is, and run "martlet reload".
                """)
        }
        Console.print("\nNext:  martlet check --config \(plan.configuration)")
        Console.print("       martlet run --config \(plan.configuration)")
    }
}

/// What `setup` is about to do.
struct SetupPlan {
    let domain: String
    let admin: JID
    let configuration: String
    let data: String
    let certificates: String

    private static let letsEncrypt = "/etc/letsencrypt/live"

    init(domain: String, admin: String, configuration: String, data: String, certificates: String?) throws {
        guard let jid = JID(domain: domain), let administrator = JID("\(admin)@\(jid.domainpart)"),
            administrator.localpart != nil
        else {
            throw CommandFailure(
                "\(domain.yamlScalar) is not a domain such as example.org, or \(admin.yamlScalar) not a name.",
                ExitStatus.configuration)
        }
        self.domain = jid.domainpart
        self.admin = administrator
        self.configuration = configuration
        self.data = data
        let isKnown = Files.exists("\(Self.letsEncrypt)/\(jid.domainpart)/fullchain.pem")
        self.certificates = certificates ?? (isKnown ? Self.letsEncrypt : data + "/certificates")
    }

    /// - Throws: a ``CommandFailure`` when something would be overwritten.
    func check() throws {
        for path in [configuration, data + "/martlet.sqlite"] where Files.exists(path) {
            throw CommandFailure("\(path) exists already; nothing was done.", ExitStatus.configuration)
        }
    }

    /// Does it all.
    ///
    /// - Returns: the certificate that had to be made, if one had to be.
    func carryOut(password: String, modules: [any Module.Type]) async throws -> String? {
        let owner = serviceUser
        for directory in [data, certificates] where !Files.exists(directory) {
            try Files.makeDirectory(directory)
            Files.give(directory, to: owner)
        }
        let certificate = try makeCertificate()
        for file in [certificate?.certificate, certificate?.key] { if let file { Files.give(file, to: owner) } }
        if let slash = configuration.lastIndex(of: "/"), slash != configuration.startIndex {
            try Files.makeDirectory(String(configuration[..<slash]), mode: 0o755)
        }
        let sample = SampleConfiguration(
            modules: modules, host: domain, admin: admin, data: Files.absolute(data),
            certificates: Files.absolute(certificates))
        try Files.write(sample.text, to: configuration, mode: 0o640)
        Files.give(configuration, to: owner.map { (0, $0.group) })
        let read = try ConfigurationFile.readLoosely(configuration)
        try await AccountAccess.with(read) { try await $0.add(admin, password: password) }
        return certificate?.certificate
    }

    private var serviceUser: (user: uid_t, group: gid_t)? {
        guard geteuid() == 0, let entry = getpwnam("martlet") else { return nil }
        return (entry.pointee.pw_uid, entry.pointee.pw_gid)
    }

    private func makeCertificate() throws -> SelfSignedCertificate.Files? {
        let found = CertificateStore(directory: certificates).load(hosts: [domain])
        guard found.identities[domain] == nil else { return nil }
        return try SelfSignedCertificate.generate(hosts: [domain, "*." + domain], directory: certificates)
    }
}
