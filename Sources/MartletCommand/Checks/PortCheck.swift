import ServerKit

/// Looks whether the ports can be opened or, on a running server, whether they are.
enum PortCheck {
    static func findings(_ configuration: ServerConfiguration, isRunning: Bool) -> Findings {
        var findings = Findings()
        let unused = ServerConfiguration.knownListeners.filter { !$0.isUsed(by: configuration) }.map(\.name)
        for (name, addresses) in configuration.listen.sorted(by: { $0.key < $1.key }) where !unused.contains(name) {
            if addresses.isEmpty { findings.hint("\(name) is off.") }
            for address in addresses { check(name, address, isRunning: isRunning, &findings) }
        }
        for listener in ServerConfiguration.knownListeners where listener.isPlain {
            for address in configuration.listen[listener.name] ?? [] where !address.isLoopback {
                findings.hint(
                    "\(listener.name) listens on \(address), where others may be able to read what it carries; use "
                        + "127.0.0.1, or \(listener.name)_tls.")
            }
        }
        findings.hint(
            "Whether a firewall or router lets others in cannot be seen from here. From another machine: "
                + "nc -vz HOST 5222")
        return findings
    }

    private static func check(_ name: String, _ address: ListenAddress, isRunning: Bool, _ findings: inout Findings) {
        if isRunning {
            if address.port == 0 { return findings.hint("\(name) is on a port that the system chose: martlet status") }
            PortProbe.connects(address)
                ? findings.fine("\(name) accepts connections on \(address).")
                : findings.problem("\(name) should listen on \(address), and nobody does.")
            return
        }
        switch PortProbe.bind(address) {
        case .free: findings.fine("\(name) can listen on \(address).")
        case .inUse:
            findings.problem(
                "\(name): another program listens on \(address). Find it with: ss -ltnp 'sport = :\(address.port)'")
        case .refused(let reason): findings.problem("\(name) cannot listen on \(address): \(reason).")
        }
    }
}
