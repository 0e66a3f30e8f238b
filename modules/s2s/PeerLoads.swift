import ServerKit

/// What each domain elsewhere takes up here, over all of its streams together.
///
/// A stream counts for the domain that was the first to be authenticated on it: further ones cost nothing more.
@ServerActor
final class PeerLoads {
    @ServerActor
    private final class Load {
        let bucket = SharedBucket()
        var streams = 0
        /// Those that the domain opened.
        var incoming: [ServerStream] = []
    }

    private unowned let federation: Federation
    private var loads: [String: Load] = [:]

    /// How long a stream must have been silent before another one takes its place.
    private static let silence = Duration.seconds(60)

    init(_ federation: Federation) {
        self.federation = federation
    }

    /// Whether a domain may have one more stream to us. If it has as many as it may, the one that has been silent for
    /// longest makes place: its peer may have forgotten it. If all of them are in use the new one is too many.
    func makePlace(for domain: String) -> Bool {
        guard let load = loads[domain] else { return true }
        let open = load.incoming.filter { !$0.isClosing }
        guard open.count >= limit else { return true }
        guard let quietest = open.min(by: { $0.lastStanza < $1.lastStanza }),
            federation.server.clock.now - quietest.lastStanza >= Self.silence
        else { return false }
        quietest.close(reason: "\(domain) has opened many others.")
        return true
    }

    /// Who does not multiplex needs a stream for each domain here.
    private var limit: Int {
        let server = federation.server
        return federation.options.perDomain + max(0, server.configuration.hosts.count - 1)
            + server.configuration.components.count
    }

    /// A stream has been authenticated.
    ///
    /// - Returns: what its bytes are counted in.
    func join(_ stream: ServerStream, _ domain: String) -> SharedBucket {
        let load = loads[domain] ?? Load()
        loads[domain] = load
        load.streams += 1
        if !stream.isInitiator { load.incoming.append(stream) }
        let id = ObjectIdentifier(stream)
        stream.onEnd { [weak self] _ in
            load.streams -= 1
            load.incoming.removeAll { ObjectIdentifier($0) == id }
            self?.forget(domain)
        }
        return load.bucket
    }

    /// Whoever comes back at once finds what it owes.
    private func forget(_ domain: String) {
        guard let load = loads[domain], load.streams == 0 else { return }
        if let rate = federation.limits.rate {
            guard load.bucket.bucket.isDrained(limit: rate, now: federation.server.clock.now) else { return }
        }
        loads[domain] = nil
    }

    /// Forgets who is gone and owes nothing any more.
    func sweep() {
        for domain in Array(loads.keys) { forget(domain) }
    }
}
