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
                if isHere(pair.local) {
                    route.giveUp(.notAllowed("\(pair.local) does not speak to other servers any more."))
                } else {
                    // Its users cannot be told. It may be a slip of the pen: what is on disk waits for the domain.
                    route.stop()
                }
            }
        }
        for domain in store.opened where !isHere(domain) {
            log.notice(
                "What a domain has left to send waits until it is served again", metadata: ["host": "\(domain)"])
            store.close(domain)
            absent.insert(domain)
        }
        restoreThoseBack()
        security.forgetAll()
    }

    /// Sends what was left by domains that are served again.
    private func restoreThoseBack() {
        let back = absent.filter { isHere($0) }
        guard !back.isEmpty else { return }
        absent.subtract(back)
        store.beginLoading()
        Task { @ServerActor in
            defer { self.store.endLoading() }
            for domain in back {
                do { try await self.restore(domain) } catch {
                    self.log.error(
                        "What waits for other servers cannot be read",
                        metadata: ["host": "\(domain)", "reason": "\(error)"])
                }
            }
        }
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
