import Glibc
import ServerKit

/// Looks whether every domain has a certificate that others will accept.
enum CertificateCheck {
    /// How many days before its end a certificate is worth a note.
    private static let warningDays = 14

    static func findings(_ configuration: ServerConfiguration, now: Int = time(nil)) -> Findings {
        var findings = Findings()
        // Hosts with a certificate file of their own are not looked for in the directory.
        let own = configuration.hosts.filter { $0.certificate != nil }
        for host in own { inspect(host, &findings) }
        let names = configuration.hosts.filter { $0.certificate == nil }.map(\.name)
        guard !names.isEmpty else { return findings }
        let store = CertificateStore(directory: configuration.certificateDirectory, trust: try? TLSTrust.system())
        let result = store.load(
            hosts: names.map { JID(domain: $0)?.asciiDomain ?? $0 },
            others: CertificateLoader(configuration).componentNames, now: now)
        for report in result.reports { add(report, &findings, now: now) }
        for problem in result.problems { findings.problem(problem) }
        return findings
    }

    private static func inspect(_ host: HostConfiguration, _ findings: inout Findings) {
        guard let path = host.certificate else { return }
        do {
            _ = try TLSContext(certificateChain: path, privateKey: host.certificateKey ?? path)
            findings.fine("\(host.name) has a certificate of its own, \(path).")
        } catch {
            findings.problem("\(host.name): \(error)")
        }
    }

    private static func add(_ report: CertificateReport, _ findings: inout Findings, now: Int) {
        for error in report.errors { findings.problem(error) }
        for warning in report.warnings { findings.hint(warning) }
        guard !report.servedHosts.isEmpty, report.errors.isEmpty else { return }
        let hosts = report.servedHosts.joined(separator: ", ")
        let days = (report.notAfter - now) / 86_400
        if report.notAfter <= now {
            findings.problem("\(hosts): \(report.path) has expired.")
        } else if days < warningDays {
            findings.hint("\(hosts): \(report.path) expires in \(days) days; has its renewal stopped?")
        } else {
            findings.fine("\(hosts): \(report.path), issued by \(report.issuer), valid for \(days) days")
        }
    }
}
