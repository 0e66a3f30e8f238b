import ServerKit

/// Stream Limits Advertisement (XEP-0478): tells clients how large a stanza may be, and how long they may be silent.
final class StreamLimits: Module {
    static let info = ModuleInfo(
        "limits", "Tells clients how large a stanza may be", implements: [.xep(478, "0.2.0")])

    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        host.streamFeature { self.limits(of: $0, host) }
    }

    /// What holds for this stream as it is now: more is allowed once its client has logged in. XEP-0478 §3.1, §4.
    private func limits(of stream: ClientStream, _ host: ModuleHost) -> Element {
        let isAuthenticated = stream.authenticated != nil
        let limits = host.server.limits
        let size = (isAuthenticated ? limits.authenticated : limits.unauthenticated).elementBytes
        // Silence is asked after once there is a session; before, it is the whole login that may take only so long.
        let idle = isAuthenticated ? host.service((any LivenessCheck).self)?.interval : nil
        return Element("limits", .streamLimits) {
            Element("max-bytes", text: String(size))
            if let idle { Element("idle-seconds", text: String(idle.components.seconds)) }
        }
    }
}

extension Namespace {
    static let streamLimits: Namespace = "urn:xmpp:stream-limits:0"
}
