import ServerKit

/// Domains come and go with the configuration: what was elsewhere may be served here now, and the other way round.
extension Federation {
    /// The configuration has changed.
    func adaptToHosts() {
        for stream in Array(streams.values) {
            guard let pair = stream.pair else { continue }
            if !serves(pair.local) {
                // RFC 6120 §4.9.3.5
                stream.close(StreamError(.hostGone))
            } else if let domain = stream.trusted.union([pair.remote]).first(where: { isHere($0) }) {
                stream.close(StreamError(.invalidFrom, "\(domain) is served here."))
            }
        }
        for (pair, route) in routes {
            if isHere(pair.remote) {
                routes[pair] = nil
                deliverHere(route.surrender(), pair)
            } else if !serves(pair.local) {
                routes[pair] = nil
                // If the domain itself is gone, so are those who could be told.
                route.giveUp(.notAllowed("\(pair.local) does not speak to other servers any more."))
            }
        }
        for domain in store.opened where !isHere(domain) { store.clear(domain) }
        security.forgetAll()
    }

    /// Delivers what waited for a domain that is served here now. It leaves the disk once it is on it in another place.
    func deliverHere(_ items: [Route.Item], _ pair: DomainPair) {
        guard !items.isEmpty else { return }
        log.notice(
            "What waited for another server is delivered here",
            metadata: ["host": "\(pair.local)", "remote": "\(pair.remote)", "count": "\(items.count)"])
        let fence = DurabilityFence(storage: server.storage)
        let now = server.clock.now
        for item in items {
            server.router.track(fence) { server.router.route(Route.stamped(item, pair, now, server.clock.date)) }
        }
        fence.whenDurable { [weak self] lost in
            // What could not be stored is delivered after the next start.
            guard let self, lost == nil else { return }
            for stored in items.compactMap(\.stored) { self.store.forget(stored, for: pair) }
        }
    }
}
