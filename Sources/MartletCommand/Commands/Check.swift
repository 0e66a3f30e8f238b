import ArgumentParser
import ServerKit

struct Check: AsyncParsableCommand {
    enum Subject: String, ExpressibleByArgument, CaseIterable, Codable {
        case config, certs, dns, ports
    }

    static let configuration = CommandConfiguration(
        abstract: "Look for mistakes: in the configuration, the certificates, DNS, and with the ports.",
        discussion: """
            Checks everything unless told what. Exits with 2 when the configuration is wrong, with 1 when anything \
            else is.
            """)

    @OptionGroup var file: ConfigurationOption
    @Argument(help: "What to check: config, certs, dns or ports.") var subjects: [Subject] = []
    @Flag(help: "Print JSON.") var json = false

    private struct Section: Encodable {
        let check: Subject
        let findings: [Findings.Finding]
    }

    func run() async throws {
        // With a wrong configuration the other checks would look at something else than the server will.
        let configuration = try ConfigurationFile.read(file.path, modules: MartletMain.modules)
        let wanted = subjects.isEmpty ? Subject.allCases : subjects
        var sections: [(Subject, Findings)] = []
        for subject in wanted { sections.append((subject, try await findings(subject, configuration))) }
        if json {
            try Console.print(json: sections.map { Section(check: $0, findings: $1.findings) })
        } else {
            for (subject, findings) in sections {
                Console.print("\(subject.rawValue):")
                Console.print(findings.text)
            }
        }
        if sections.contains(where: { $1.hasProblems }) { throw CommandFailure("") }
    }

    private func findings(_ subject: Subject, _ configuration: ServerConfiguration) async throws -> Findings {
        switch subject {
        case .config:
            var findings = Findings()
            let (hosts, components) = (configuration.hosts.count, configuration.components.count)
            var counts = "\(hosts) \(hosts == 1 ? "host" : "hosts")"
            if components > 0 { counts += ", \(components) \(components == 1 ? "component" : "components")" }
            findings.fine("\(file.path) has no mistakes; \(counts).")
            if configuration.admins.isEmpty && configuration.hosts.allSatisfy(\.admins.isEmpty) {
                findings.hint("Nobody administers the server; name somebody under \"admins:\".")
            }
            return findings
        case .certs: return CertificateCheck.findings(configuration)
        case .dns: return await DNSCheck().findings(configuration)
        case .ports:
            let isRunning = try ControlClient.connect(configuration) != nil
            return PortCheck.findings(configuration, isRunning: isRunning)
        }
    }
}
