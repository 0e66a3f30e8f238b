import ServerKit

/// Client State Indication (XEP-0352): spares a phone that nobody looks at.
///
/// While a client is inactive, presence, chat states and what contacts publish about themselves wait in front of it, and
/// newer ones take the place of older ones; see ``InactiveGate``. Whether a client is active is independent of its
/// presence, and nobody is told (XEP-0352 §5, §6).
final class ClientState: Module {
    static let info = ModuleInfo(
        "csi", "Spares phones what their users do not look at",
        implements: [.xep(352, "1.0.0")],
        group: .recommended)

    struct Options: ModuleOptions {
        let presence: Bool
        let chatStates: Bool
        let notifications: Bool
        let limit: Int
        let size: Int

        init(_ config: inout OptionReader) {
            presence = config.bool("presence", default: true, "Whether the presence of contacts waits.")
            chatStates = config.bool("chat_states", default: true, "Whether it waits that somebody is typing.")
            notifications = config.bool(
                "notifications", default: true, "Whether it waits what contacts publish, such as avatars and moods.")
            limit = config.int(
                "limit", default: 500, in: 1...10_000, "How many stanzas may wait for a client before it gets them all.")
            size = config.size(
                "size", default: 262_144, in: 1_024...16_777_216, "How many bytes may wait before it gets them all.")
        }
    }

    private var options: Options

    init(options: Options) {
        self.options = options
    }

    func reconfigure(_ options: Options) -> Bool {
        self.options = options
        return true
    }

    func load(into host: ModuleHost) {
        // XEP-0352 §4.1.
        host.streamFeature { $0.authenticated == nil ? nil : Element("csi", .clientState) }
        host.streamElement("active", .clientState) { stream, _ throws(StreamError) in
            try self.indicate(false, stream)
        }
        host.streamElement("inactive", .clientState) { stream, _ throws(StreamError) in
            try self.indicate(true, stream)
        }
        // XEP-0386 §3.2: with `<inactive/>` inside of its request, a client that is woken up in the background is so from
        // the start.
        host.inline(
            .bind, "inactive", .clientState, feature: Element("feature", nil, ["var": Namespace.clientState.uri])
        ) { stream, _ in
            if let resource = stream.resource { self.deactivate(resource) }
            return nil
        }
        // Active is what a client is until it says otherwise. XEP-0352 §5.
        host.inline(.bind, "active", .clientState) { _, _ in nil }

        // XEP-0352 §5.2: after a stream was resumed, the client is active.
        host.observe(.resourceResumed) { self.activate($0.resource) }
        // A client that is gone is as good as inactive, and what waited for it must not be lost: to be resumed means
        // that nothing is missing (XEP-0198 §5).
        host.keepWithSession(Waiting.self)
        host.observe(.resourceRestored) { self.restore($0.resource) }
        host.onUnload {
            for account in host.accounts.loadedAccounts {
                for resource in account.resources { self.activate(resource) }
            }
        }
    }

    /// What waits for a resource whose client is inactive.
    private enum Waiting: ResourceKey {
        static let defaultValue: HeldStanzas? = nil
    }

    private func indicate(_ isInactive: Bool, _ stream: ClientStream) throws(StreamError) {
        // RFC 6120 §4.9.3.12. It has no meaning before a resource is bound, and does no harm.
        guard stream.authenticated != nil else { throw StreamError(.notAuthorized) }
        guard let resource = stream.resource else { return }
        if isInactive { deactivate(resource) } else { activate(resource) }
    }

    private func deactivate(_ resource: Resource) {
        guard resource.gate == nil else { return }
        close(resource, InactiveGate(options: { self.options }))
    }

    /// XEP-0352 §5.1: what waited is on its way before anything else the client asks for is done.
    private func activate(_ resource: Resource) {
        guard let gate = resource.gate as? InactiveGate else { return }
        resource.gate = nil
        resource[Waiting.self] = nil
        gate.release(to: resource)
    }

    private func restore(_ resource: Resource) {
        guard let stored = resource[Waiting.self] else { return }
        let gate = InactiveGate(options: { self.options })
        for stanza in stored.stanzas { gate.hold(stanza, for: resource) }
        close(resource, gate)
    }

    private func close(_ resource: Resource, _ gate: InactiveGate) {
        resource.gate = gate
        resource[Waiting.self] = HeldStanzas(in: gate)
    }
}

extension Namespace {
    /// XEP-0352 §4.1.
    fileprivate static let clientState: Namespace = "urn:xmpp:csi:0"
}
