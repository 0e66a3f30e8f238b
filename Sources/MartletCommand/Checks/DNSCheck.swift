import CResolv
import Glibc
import ServerKit

/// Looks whether clients find the server by the domain's name, and others its components.
struct DNSCheck {
    enum Lookup: Equatable {
        case found([DNSAnswer.Service])
        case absent
        case failed
    }

    /// Where service records come from; tests bring their own.
    var services: (_ name: String) -> Lookup = Self.query
    /// The addresses of a machine.
    var addresses: (_ name: String) -> [String] = Self.resolve

    func findings(_ configuration: ServerConfiguration) -> Findings {
        var findings = Findings()
        for host in configuration.hosts {
            check(host.name, "_xmpp-client._tcp", configuration.listen["c2s"] ?? [], &findings)
            check(host.name, "_xmpps-client._tcp", configuration.listen["c2s_tls"] ?? [], &findings)
            check(host.name, "_xmpp-server._tcp", configuration.listen["s2s"] ?? [], &findings)
            check(host.name, "_xmpps-server._tcp", configuration.listen["s2s_tls"] ?? [], &findings)
        }
        for component in configuration.components { check(component.name, &findings) }
        return findings
    }

    /// The server's own users reach a component through their host. Other servers look for its domain, by a service
    /// record or its address. RFC 6120 §3.2.
    private func check(_ component: String, _ findings: inout Findings) {
        let name = "_xmpp-server._tcp.\(component)"
        let known = addresses(component)
        switch services(name) {
        case .failed: findings.problem("\(name): the name servers do not answer.")
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
                let addresses = addresses(record.target)
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

    private func check(_ host: String, _ service: String, _ listen: [ListenAddress], _ findings: inout Findings) {
        guard let usual = listen.first?.port else { return }
        let name = "\(service).\(host)"
        let ports = listen.map(\.port)
        switch services(name) {
        case .failed: findings.problem("\(name): the name servers do not answer.")
        case .absent: checkFallback(host, service, usual, &findings)
        case .found(let records):
            for record in records {
                // RFC 2782: a single dot says that there is no such service.
                guard record.target != "." else {
                    findings.problem("\(name) says that there is no such service here.")
                    continue
                }
                let known = addresses(record.target)
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
    private func checkFallback(_ host: String, _ service: String, _ port: UInt16, _ findings: inout Findings) {
        let record = "\(service).\(host). 3600 IN SRV 5 0 \(port) \(host)."
        if service.hasPrefix("_xmpps") {
            // XEP-0368 §3 has no fallback: without the record nobody tries.
            return findings.hint("\(host) does not announce TLS from the start. The record would be: \(record)")
        }
        let known = addresses(host)
        let (peers, usual): (String, UInt16) = service.hasPrefix("_xmpp-server") ? ("other servers", 5269) : ("clients", 5222)
        if known.isEmpty {
            findings.problem("\(host) has neither a service record nor an address. A record would be: \(record)")
        } else if port != usual {
            findings.problem("\(host) has no service record, and \(peers) try port \(usual). Add: \(record)")
        } else {
            findings.fine(
                "\(host) has no service record; \(peers) use its address (\(known.joined(separator: ", "))), port \(usual).")
        }
    }

    private static func query(_ name: String) -> Lookup {
        var answer = [UInt8](repeating: 0, count: 65_536)
        let count = martlet_resolver_query(name, 33, &answer, Int32(answer.count))
        guard count >= 0 else { return martlet_resolver_says_absent() != 0 ? .absent : .failed }
        guard let message = DNSAnswer(Array(answer.prefix(Int(count)))) else { return .failed }
        return message.services.isEmpty ? .absent : .found(message.services)
    }

    private static func resolve(_ name: String) -> [String] {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(name, nil, &hints, &found) == 0 else { return [] }
        defer { freeaddrinfo(found) }
        var addresses: [String] = []
        var next = found
        while let info = next {
            var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            let length = socklen_t(text.count)
            if getnameinfo(
                info.pointee.ai_addr, info.pointee.ai_addrlen, &text, length, nil, 0, NI_NUMERICHOST) == 0
            {
                let bytes = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
                let address = String(decoding: bytes, as: UTF8.self)
                if !addresses.contains(address) { addresses.append(address) }
            }
            next = info.pointee.ai_next
        }
        return addresses
    }
}
