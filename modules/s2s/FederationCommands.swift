import ServerKit

/// What administrators may ask about other servers.
extension ServerToServer {
    func addCommands(_ host: ModuleHost, _ federation: Federation) {
        host.controlCommand(.listPeers) { _ in federation.overview }
        host.controlCommand(.testPeer) { arguments in try await federation.test(arguments) }
    }
}

extension Federation {
    fileprivate var overview: PeerOverview {
        let now = server.clock.now
        let connections = streams.values.compactMap { stream in
            stream.pair.map { pair in
                PeerConnection(
                    local: pair.local, remote: pair.remote, isOutgoing: stream.isInitiator,
                    address: stream.transport.peerAddress, tls: stream.transport.tls?.version ?? "none",
                    authentication: stream.authentication, isBidirectional: stream.isBidirectional,
                    isManaged: stream.acknowledgements.usesStreamManagement,
                    age: Int((now - stream.startedAt).components.seconds))
            }
        }
        var waiting: [String: Int] = [:]
        for route in routes.values where !route.queue.isEmpty && route.stream == nil {
            waiting[route.pair.remote, default: 0] += route.queue.count
        }
        let domains = Set(waiting.keys).union(refusals.entries.keys)
        let troubles = domains.map { domain in
            let entry = refusals.entries[domain]
            return PeerTrouble(
                remote: domain, waiting: waiting[domain] ?? 0, reason: entry?.reason ?? "A connection is being opened.",
                time: Int((entry?.date ?? server.clock.date).seconds))
        }
        return PeerOverview(
            connections: connections.sorted { ($0.remote, $0.local) < ($1.remote, $1.local) },
            troubles: troubles.sorted { $0.remote < $1.remote })
    }

    /// Opens a stream to a domain as if there were something to say, and tells what happens.
    fileprivate func test(_ arguments: PeerTestArguments) async throws -> PeerTestReport {
        guard let remote = JID(domain: arguments.domain)?.domainpart else {
            throw ControlFailure("\(arguments.domain) is not a domain name.", exitCode: 2)
        }
        let local =
            arguments.local.flatMap { JID(domain: $0)?.domainpart }
            ?? server.allHosts.first { serves($0.domain) }?.domain
        guard let local, serves(local) else { throw ControlFailure("No such domain is served here.", exitCode: 2) }
        guard !serves(remote) else { throw ControlFailure("\(remote) is served here.", exitCode: 2) }
        let pair = DomainPair(local: local, remote: remote)
        var lines = ["\(local) asks for \(remote). Proof that it needs: \(policies.policy(for: remote).rawValue)."]
        let result = await dialer.dial(pair, authenticates: true) { lines.append($0) }
        if let entry = refusals.entries[remote], !entry.isOurs {
            lines.append("When \(remote) came to us it was refused: \(entry.reason)")
        }
        switch result {
        case .success(let stream):
            lines.append("It showed:")
            lines += stream.certificates.map { "    " + $0 }
            lines.append(
                "Stanzas can be sent: \(stream.transport.tls?.version ?? ""), authenticated by \(stream.authentication)"
                    + (stream.isBidirectional ? ", both ways" : "")
                    + (stream.acknowledgements.usesStreamManagement ? ", with stream management." : "."))
            if stream.routes.isEmpty { stream.close() }
            return PeerTestReport(isReachable: true, lines: lines)
        case .failure(let failure):
            lines.append(failure.steps.isEmpty ? failure.text : "\(remote) cannot be used.")
            return PeerTestReport(isReachable: false, lines: lines)
        }
    }
}
