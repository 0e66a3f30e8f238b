import ServerKit

/// Message Carbons (XEP-0280): every device of a user sees both halves of a conversation.
final class Carbons: Module {
    static let info = ModuleInfo(
        "carbons", "Copies messages to all of a user's devices",
        implements: [.xep(280, "1.0.1")],
        group: .recommended, requires: ["messages"])

    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        host.advertise(.carbons, .carbonsRules, on: .host)
        // Others learn nothing of the account, rather than the "not-allowed" that XEP-0280 §4.1 recommends.
        host.answer(.set, "enable", .carbons, from: .owner) { try self.enable(true, $0) }
        host.answer(.set, "disable", .carbons, from: .owner) { try self.enable(false, $0) }
        host.keepWithSession(Enabled.self)
        // XEP-0386 §3.2. Nothing is said about it, which means that it worked.
        host.inline(.bind, "enable", .carbons, feature: Element("feature", nil, ["var": Namespace.carbons.uri])) {
            stream, _ in
            stream.resource?[Enabled.self] = true
            return InlineAnswer(nil)
        }
        host.filter(.messageSent) { self.refuseForgery($0) }
        host.filter(.messageArrived) { self.refuseForgery($0) }
        host.observe(.messageSent) { self.copy($0, .sent) }
        host.observe(.messageDelivered) { self.copy($0, .received) }
        host.observe(.messageArrived) { self.copyLost($0) }
    }

    /// Whether the resource asked for copies. Asking twice is no mistake. XEP-0280 §4, §5, §10.1.
    private enum Enabled: ResourceKey { static let defaultValue = false }

    private func enable(_ isEnabled: Bool, _ request: IQRequest) throws -> Element? {
        try request.origin()[Enabled.self] = isEnabled
        return nil
    }

    // MARK: Copying

    /// Copies a message to the devices that neither sent nor got it. XEP-0280 §7, §8.
    private func copy(_ event: MessageEvent, _ direction: Carbon.Direction) {
        let resources = event.account.resources
        // Most messages end here: there is no other device.
        guard let first = resources.firstIndex(where: { isDue($0, event, direction) }) else { return }
        guard let rule = event.message.carbonRule(direction), allows(rule, event, direction) else { return }
        var copy = Carbon.make(of: event, direction)
        for resource in resources[first...] where isDue(resource, event, direction) {
            if case .room(let room) = rule, !resource.isVisible(to: room) { continue }
            copy.to = resource.jid
            resource.send(copy)
        }
    }

    /// An error to a client that has gone is delivered to nobody, but its user has other clients that saw the message
    /// that failed. XEP-0280 §7.
    private func copyLost(_ event: MessageEvent) {
        guard event.message.isError, let resourcepart = event.message.to?.resourcepart,
            event.account.resource(resourcepart) == nil
        else { return }
        copy(event, .received)
    }

    private func isDue(_ resource: Resource, _ event: MessageEvent, _ direction: Carbon.Direction) -> Bool {
        guard !event.reached(resource), resource[Enabled.self] else { return false }
        switch direction {
        case .sent:
            // What is sent to oneself arrives by itself.
            return event.message.to?.bare != event.account.jid
        case .received:
            if event.message.from == resource.jid { return false }
            // What was kept for later is delivered to a resource when it becomes available.
            return !event.reached.isEmpty || resource.isAvailable || event.message.isError
        }
    }

    /// Decides what depends on earlier messages, and remembers this one for later ones. XEP-0280 §6.1.
    private func allows(_ rule: CarbonRule, _ event: MessageEvent, _ direction: Carbon.Direction) -> Bool {
        let peer = direction == .sent ? event.message.to : event.message.from
        guard let id = event.message.id, let peer = peer?.bare else { return rule != .error }
        let account = event.account
        if rule == .error { return account[Copied.self]?.contains(id, peer) ?? false }
        if let copied = account[Copied.self] {
            copied.insert(id, peer)
        } else {
            account[Copied.self] = CopiedMessages(id, peer)
        }
        return true
    }

    private enum Copied: AccountKey { static let defaultValue: CopiedMessages? = nil }

    // MARK: Forged copies

    /// Copies are made by the server that hands them over: whatever comes from elsewhere is an attempt to put words
    /// into somebody's mouth (XEP-0280 §11), or a copy that a client sent back, which nobody is to hear of (§10.3).
    private func refuseForgery(_ event: MessageEvent) -> Verdict {
        guard event.message.holdsCarbon else { return .pass }
        if event.origin == nil, event.message.from == event.account.jid { return .drop }
        // The answer must not be taken for a forgery itself.
        return .bounce(.notAcceptable("Carbon copies are made by the server.").withoutRequest())
    }
}

/// The messages of an account that were copied last, because errors that answer them are copied, too. XEP-0280 §6.1.
///
/// An answer need not repeat what it answers (§10.3); what tells is the id, together with who answers.
@ServerActor
private final class CopiedMessages {
    private static let limit = 64
    private var hashes: [Int]
    private var next = 0

    init(_ id: String, _ peer: JID) {
        hashes = [Self.hash(id, peer)]
    }

    func insert(_ id: String, _ peer: JID) {
        if hashes.count < Self.limit {
            hashes.append(Self.hash(id, peer))
        } else {
            hashes[next] = Self.hash(id, peer)
            next = (next + 1) % Self.limit
        }
    }

    func contains(_ id: String, _ peer: JID) -> Bool { hashes.contains(Self.hash(id, peer)) }

    /// Seeded anew with each start, so that nobody outside can make two messages look like one.
    private static func hash(_ id: String, _ peer: JID) -> Int {
        var hasher = Hasher()
        hasher.combine(id)
        hasher.combine(peer)
        return hasher.finalize()
    }
}
