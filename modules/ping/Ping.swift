import ServerKit

/// XMPP Ping (XEP-0199): answers pings, and pings clients that have been silent, to find those that are gone.
final class Ping: Module, LivenessCheck {
    static let info = ModuleInfo(
        "ping", "Answers pings, and finds connections that died",
        implements: [.xep(199, "2.0.1")],
        group: .recommended, scope: .domain)

    struct Options: ModuleOptions {
        let interval: Duration?
        let timeout: Duration

        init(_ config: inout OptionReader) {
            interval = config.optionalDuration(
                "interval", default: .seconds(600), in: .seconds(30)...(.seconds(86_400)),
                "After how much silence a client is pinged.")
            timeout = config.duration(
                "timeout", default: .seconds(60), in: .seconds(5)...(.seconds(3_600)),
                "How long it may take to answer before it is disconnected.")
        }
    }

    private let options: Options

    var interval: Duration? { options.interval }

    init(options: Options) {
        self.options = options
    }

    func load(into host: ModuleHost) {
        host.advertise(.ping, on: .host)
        host.advertise(.ping, on: .account)
        host.answer(.get, "ping", .ping, on: .host) { _ in nil }
        // XEP-0199 §7: a ping must not tell strangers who is there.
        host.answer(.get, "ping", .ping, from: .subscriber) { _ in nil }
        guard let interval else { return }
        host.provide((any LivenessCheck).self, self)
        host.every(min(interval, options.timeout, .seconds(20)) / 2) { self.sweep(host, interval) }
    }

    // MARK: Silent clients

    private func sweep(_ host: ModuleHost, _ interval: Duration) {
        let now = host.clock.now
        for account in host.accounts.loadedAccounts {
            for resource in account.resources { check(resource, now, interval, host.jid) }
        }
    }

    /// XEP-0199 §4.1. Whatever a client sends shows that it is there; its answer may be an error (§6), and is not even
    /// looked at.
    private func check(_ resource: Resource, _ now: Duration, _ interval: Duration, _ host: JID) {
        guard let lastHeard = resource.lastHeard else { return }
        if let pinged = resource[Pinged.self], lastHeard < pinged {
            guard now - pinged >= options.timeout else { return }
            // RFC 6120 §4.9.3.4.
            return resource.close(StreamError(.connectionTimeout, "The client did not answer."))
        }
        resource[Pinged.self] = nil
        guard now - lastHeard >= interval else { return }
        resource[Pinged.self] = now
        resource.send(IQ(.get, to: resource.jid, from: host, id: RandomToken.make(bytes: 8)) { Element("ping", .ping) })
    }

    /// When the client was pinged and has not been heard since, by the server's clock.
    private enum Pinged: ResourceKey { static let defaultValue: Duration? = nil }
}
