import ServerKit

/// Looks whether clients find the server by the domain's name, and others its components.
struct DNSCheck {
    private enum Lookup {
        case found([ServiceRecord])
        case absent
        case failed(String)
    }

    /// Who is asked; tests bring their own.
    var dns: any DNSLookup = DNSResolver(Self.settings)

    /// Somebody waits in front of a terminal, and domains of the house are as good as any.
    private static var settings: DNSSettings {
        var settings = DNSSettings()
        settings.timeout = .seconds(5)
        settings.localZones = ["test", "local", "internal", "home.arpa", "lan"]
        return settings
    }

    func findings(_ configuration: ServerConfiguration) async -> Findings {
        var findings = Findings()
        for host in configuration.hosts {
            await check(host.name, "_xmpp-client._tcp", configuration.listen["c2s"] ?? [], &findings)
            await check(host.name, "_xmpps-client._tcp", configuration.listen["c2s_tls"] ?? [], &findings)
            await check(host.name, "_xmpp-server._tcp", configuration.listen["s2s"] ?? [], &findings)
            await check(host.name, "_xmpps-server._tcp", configuration.listen["s2s_tls"] ?? [], &findings)
        }
        for component in configuration.components { await check(component.name, &findings) }
        return findings
    }

    /// The server's own users reach a component through their host. Other servers look for its domain, by a service
    /// record or its address. RFC 6120 §3.2.
    private func check(_ component: String, _ findings: inout Findings) async {
        let service = "_xmpp-server._tcp"
        let name = "\(service).\(component)"
        let known = await addresses(component)
        switch await services(service, of: component) {
        case .failed(let reason): findings.problem("\(name): the name servers do not answer. \(reason)")
        case .absent where known.isEmpty:
            findings.hint(
                "\(component) is only for this server's own users: it has neither a service record nor an address that "
                    + "others could find. A record would be: \(name). 3600 IN SRV 5 0 5269 \(component).")
        case .absent:
            findings.fine(
                "\(component) has no service record; other servers use its address "
                    + "(\(known.joined(separator: ", "))), port 5269.")
        case .found(let records):
            for record in records {
                let addresses = await addresses(record.target)
                if record.target == "." {
                    findings.hint("\(name) says that \(component) is only for this server's own users.")
                } else if addresses.isEmpty {
                    findings.problem("\(name) leads to \(record.target), which has no address.")
                } else {
                    findings.fine(
                        "\(name) leads to \(record.target):\(record.port) (\(addresses.joined(separator: ", ")))")
                }
            }
        }
    }

    private func check(
        _ host: String, _ service: String, _ listen: [ListenAddress], _ findings: inout Findings
    ) async {
        guard let usual = listen.first?.port else { return }
        let name = "\(service).\(host)"
        let ports = listen.map(\.port)
        switch await services(service, of: host) {
        case .failed(let reason): findings.problem("\(name): the name servers do not answer. \(reason)")
        case .absent: await checkFallback(host, service, usual, &findings)
        case .found(let records):
            for record in records {
                // RFC 2782: a single dot says that there is no such service.
                guard record.target != "." else {
                    findings.problem("\(name) says that there is no such service here.")
                    continue
                }
                let known = await addresses(record.target)
                if known.isEmpty {
                    findings.problem("\(name) leads to \(record.target), which has no address.")
                } else if !ports.contains(record.port) {
                    findings.hint(
                        "\(name) leads to port \(record.port), the server listens on \(usual): right only if a router "
                            + "or proxy between them translates.")
                } else {
                    findings.fine(
                        "\(name) leads to \(record.target):\(record.port) (\(known.joined(separator: ", ")))")
                }
            }
        }
    }

    /// Without service records clients and servers try the domain's own address on the usual port. RFC 6120 §3.2.2.
    private func checkFallback(_ host: String, _ service: String, _ port: UInt16, _ findings: inout Findings) async {
        let record = "\(service).\(host). 3600 IN SRV 5 0 \(port) \(host)."
        if service.hasPrefix("_xmpps") {
            // XEP-0368 §3 has no fallback: without the record nobody tries.
            return findings.hint("\(host) does not announce TLS from the start. The record would be: \(record)")
        }
        let known = await addresses(host)
        let (peers, usual): (String, UInt16) =
            service.hasPrefix("_xmpp-server") ? ("other servers", 5269) : ("clients", 5222)
        if known.isEmpty {
            findings.problem("\(host) has neither a service record nor an address. A record would be: \(record)")
        } else if port != usual {
            findings.problem("\(host) has no service record, and \(peers) try port \(usual). Add: \(record)")
        } else {
            findings.fine(
                "\(host) has no service record; \(peers) use its address (\(known.joined(separator: ", "))), port \(usual)."
            )
        }
    }

    private func services(_ service: String, of domain: String) async -> Lookup {
        let answer = await dns.lookup("\(service).\(Self.ascii(domain))", .srv)
        if let failure = answer.failure { return .failed(failure) }
        let records = answer.records.compactMap { ServiceRecord(data: $0) }
        guard !answer.records.isEmpty else { return .absent }
        guard !records.isEmpty else { return .failed("Its service records are damaged.") }
        return .found(records.sorted { ($0.priority, $1.weight) < ($1.priority, $0.weight) })
    }

    /// The addresses of a machine.
    private func addresses(_ name: String) async -> [String] {
        name == "." ? [] : await AddressFinder.addresses(of: Self.ascii(name), dns)
    }

    private static func ascii(_ domain: String) -> String { JID(domain: domain)?.asciiDomain ?? domain }
}
