import ServerKit

/// Holds back from an inactive client what can wait.
///
/// **What waits**: presence that says who is there, chat states that come alone (in copies of messages, too), and what
/// contacts publish about themselves. Everything else is given to the client at once.
///
/// **What is merged**: of the presence of one full JID, of the chat states in one conversation, and of the notices of one
/// item the last. It takes its place at the end, as if the earlier one had never been sent; an `unavailable` between two
/// available ones is thus forgotten. Chat states of somebody who then writes are forgotten, too: whoever wrote has
/// stopped typing.
///
/// **The order** (RFC 6120 §10.1): a message wakes the client anyway, so all that waits goes before it, in the order in
/// which it came, and so it is with all that is no IQ: subscriptions, the client's own presence in a room, which comes
/// after that of the other occupants (XEP-0045 §7.1), errors. IQs, many of which are answers to what the client does
/// on its own, overtake what waits from others, but not what waits from the entity that sends them: for each pair of
/// entities stanzas stay in order, and that is all that the section asks for.
///
/// **How much**: a number of stanzas and of bytes. Beyond that the client gets all of it, and it begins anew.
@ServerActor
final class InactiveGate: ResourceGate {
    private struct Held {
        let stanza: Stanza
        let key: HeldKey?
        let size: Int
    }

    private let options: @ServerActor () -> ClientState.Options
    /// In the order in which they came; nil where a later one has taken the place.
    private var held: [Held?] = []
    private var index: [HeldKey: Int] = [:]
    private var count = 0
    private var size = 0

    init(options: @escaping @ServerActor () -> ClientState.Options) {
        self.options = options
    }

    /// The room that what waits takes, gaps included.
    var places: Int { held.count }

    /// What waits, in order.
    var stanzas: [Stanza] { held.compactMap { $0?.stanza } }

    func take(_ stanza: Stanza, for resource: Resource) {
        switch Urgency(of: stanza, for: resource, options()) {
        case .none(let key): hold(stanza, key, for: resource)
        case .own:
            release(to: resource) { $0.from?.bare == stanza.from?.bare }
            resource.sendPastGate(stanza)
        case .full(let forgotten):
            if let forgotten { remove(forgotten) }
            release(to: resource)
            resource.sendPastGate(stanza)
        }
    }

    /// Takes back what waited before the server was restarted.
    func hold(_ stanza: Stanza, for resource: Resource) {
        if case .none(let key) = Urgency(of: stanza, for: resource, options()) {
            hold(stanza, key, for: resource)
        } else {
            hold(stanza, nil, for: resource)
        }
    }

    private func hold(_ stanza: Stanza, _ key: HeldKey?, for resource: Resource) {
        if let key { remove(key) }
        var writer = XMLWriter()
        writer.write(stanza)
        let entry = Held(stanza: stanza, key: key, size: writer.bytes.count)
        held.append(entry)
        if let key { index[key] = held.count - 1 }
        count += 1
        size += entry.size
        if count > options().limit || size > options().size { release(to: resource) }
        // The gaps that merging leaves must not become many.
        if held.count > 2 * count + 16 { closeGaps() }
    }

    private func remove(_ key: HeldKey) {
        guard let place = index.removeValue(forKey: key), let entry = held[place] else { return }
        held[place] = nil
        count -= 1
        size -= entry.size
    }

    private func closeGaps() {
        held.removeAll { $0 == nil }
        index = [:]
        for (place, entry) in held.enumerated() {
            if let key = entry?.key { index[key] = place }
        }
    }

    /// Gives the client what waits, or what of it is `wanted`.
    func release(to resource: Resource, where wanted: (Stanza) -> Bool = { _ in true }) {
        guard count > 0 else { return }
        let all = held.compactMap(\.self)
        let released = all.filter { wanted($0.stanza) }
        guard !released.isEmpty else { return }
        // To send may end the stream, and more may come in while that is told.
        held = all.filter { !wanted($0.stanza) }
        count = held.count
        size = held.reduce(0) { $0 + ($1?.size ?? 0) }
        closeGaps()
        for entry in released { resource.sendPastGate(entry.stanza) }
    }
}

/// What is kept with a resource while its gate is closed; it is read when the server stops.
struct HeldStanzas: Codable, Sendable {
    private let gate: InactiveGate?
    private let restored: [[UInt8]]

    @ServerActor
    init(in gate: InactiveGate) {
        self.gate = gate
        restored = []
    }

    init(from decoder: any Decoder) throws {
        gate = nil
        restored = try decoder.singleValueContainer().decode([[UInt8]].self)
    }

    func encode(to encoder: any Encoder) throws {
        let gate = self.gate
        // Session state is read and written by the server's one logical thread.
        let stanzas = ServerActor.assumeIsolated { gate?.stanzas ?? [] }
        let written = stanzas.map { stanza in
            var writer = XMLWriter()
            writer.write(stanza, in: nil)
            return writer.bytes
        }
        var container = encoder.singleValueContainer()
        try container.encode(written + restored)
    }

    /// What waited before the server was restarted; what cannot be read is left out.
    var stanzas: [Stanza] {
        restored.compactMap { bytes in
            guard let element = try? Element.parse(bytes) else { return nil }
            return try? Stanza.parse(element)
        }
    }
}
