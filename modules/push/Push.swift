import ServerKit

/// Push Notifications (XEP-0357): lets phones sleep, and wakes them when there is something for their user.
///
/// A client names the push service of its maker. The server tells that service, and the service the phone, when
/// something is there that cannot reach the client: it has no session, or one that is detached or does not answer. A
/// registration belongs to the session that enabled it last. While that session gets the account's messages, only what
/// waits in it counts; without one, everything that arrives for the account.
final class Push: Module {
    static let info = ModuleInfo(
        "push", "Wakes phones when there is something for their user",
        implements: [.xep(357, "0.4.1")],
        group: .recommended, requires: ["messages"])

    struct Options: ModuleOptions {
        /// What takes the place of a message's text.
        enum Body: String, CaseIterable {
            case none, notice, full
        }

        let limit: Int
        let size: Int
        let interval: Duration
        let retries: Int
        let counts: Bool
        let sender: Bool
        let body: Body
        let rooms: Bool

        init(_ config: inout OptionReader) {
            limit = config.int("limit", default: 10, in: 1...1_000, "How many registrations an account may have.")
            size = config.size(
                "size", default: 4_096, in: 256...65_536, "How large a registration may be, with its publish options.")
            interval = config.duration(
                "interval", default: .seconds(10), in: .zero...(.seconds(3_600)),
                "For how long after a push others are joined into one; calls do not wait.")
            retries = config.int(
                "retries", default: 16, in: 1...100,
                "How often in a row a push service may be out of order before a registration is removed.")
            counts = config.bool(
                "counts", default: true, "Whether push services learn how many messages and requests wait.")
            sender = config.bool("sender", default: false, "Whether push services learn who sent the last message.")
            body = config.choice(
                "body", default: Body.notice,
                "What push services learn of its text: nothing, a constant notice, by which some tell what is urgent, or "
                    + "all of it, unless it is encrypted.")
            rooms = config.bool(
                "rooms", default: true,
                "Whether messages in rooms wake a client that joined them before it fell asleep.")
        }
    }

    private(set) var options: Options
    private var registry: PushRegistry?

    init(options: Options) {
        self.options = options
    }

    func reconfigure(_ options: Options) -> Bool {
        self.options = options
        return true
    }

    func load(into host: ModuleHost) throws {
        // Who has no account has nothing that outlives the session.
        guard !host.host.isAnonymous else { return }
        let registry = PushRegistry(host)
        let delivery = PushDelivery(host, registry, options: { self.options })
        self.registry = registry
        // XEP-0357 §4.1.
        host.advertise(.push, on: .account)
        host.loadWithAccounts(PushRegistry.Registrations.self) { try await registry.load($0) }
        host.keepWithSession(PushRegistry.Session.self)
        host.answer(.set, "enable", .push, from: .owner) { try self.enable($0, registry, delivery) }
        host.answer(.set, "disable", .push, from: .owner) { try self.disable($0, registry, delivery) }

        host.observe(.messageDelivered) { self.arrived($0, registry, delivery) }
        host.observe(.presenceArrived) { self.arrived($0, registry, delivery) }
        host.observe(.stanzaDelayed) { self.delayed($0, registry, delivery) }
        host.observe(.resourceResumed) { delivery.deviceIsBack(registry.keys(of: $0.resource), $0.resource.account) }
        host.filter(.messageArrived) { self.disabledByService($0, registry, delivery) }
        host.observe(.accountRemoved) { delivery.forgetAll(of: $0.account.name) }
        host.onUnload { delivery.stop() }
    }

    // MARK: Registering

    /// XEP-0357 §5.
    private func enable(_ request: IQRequest, _ registry: PushRegistry, _ delivery: PushDelivery) throws -> Element? {
        let resource = try request.origin()
        let registration = try PushRegistration(request.query, sizeLimit: options.size)
        for key in try registry.add(registration, for: resource, limit: options.limit) {
            delivery.forget(key, of: resource.account.name)
        }
        return nil
    }

    /// XEP-0357 §6.
    private func disable(_ request: IQRequest, _ registry: PushRegistry, _ delivery: PushDelivery) throws -> Element? {
        let account = try request.owner()
        let meant = try PushTarget.meant(by: request.query)
        for (key, registration) in registry.registrations(of: account) where meant(registration.target) {
            registry.remove(key, of: account.name)
            delivery.forget(key, of: account.name)
        }
        return nil
    }

    /// The service takes no more notifications for a node. It says so to the account, not to the user.
    /// XEP-0357 §8.
    private func disabledByService(
        _ event: MessageEvent, _ registry: PushRegistry, _ delivery: PushDelivery
    ) -> Verdict {
        let account = event.account
        guard let change = event.message.child("pubsub", .pushPubSub), let affiliation = change.child("affiliation"),
            affiliation["affiliation"] == "none",
            let jid = affiliation.jid("jid"), jid == account.jid || jid == account.host.jid,
            let (key, _) = registry.registrations(of: account)
                .first(where: { $0.value.service == event.message.from && $0.value.node == change["node"] })
        else { return .pass }
        registry.remove(key, of: account.name)
        delivery.forget(key, of: account.name)
        return .drop
    }

    // MARK: Occasions

    /// A message that was delivered, or kept for later. XEP-0357 §7.
    private func arrived(_ event: MessageEvent, _ registry: PushRegistry, _ delivery: PushDelivery) {
        let registrations = registry.registrations(of: event.account)
        guard !registrations.isEmpty,
            let occasion = PushOccasion(.message(event.message), for: event.account.jid, isWaiting: false)
        else { return }
        push(occasion, to: event.account, registry, delivery)
    }

    /// A request to subscribe that waits for the user. RFC 6121 §3.1.3.
    private func arrived(_ event: PresenceEvent, _ registry: PushRegistry, _ delivery: PushDelivery) {
        guard event.presence.kind == .subscribe, !registry.registrations(of: event.account).isEmpty,
            let from = event.presence.from?.bare, event.account.pendingRequests.contains(from)
        else { return }
        push(PushOccasion(.subscription), to: event.account, registry, delivery)
    }

    /// To those registrations whose session does not get what is sent to the account.
    private func push(
        _ occasion: PushOccasion, to account: Account, _ registry: PushRegistry, _ delivery: PushDelivery
    ) {
        let covered = account.resources.filter(\.takesMessages)
            .reduce(into: Set<String>()) { $0.formUnion(registry.keys(of: $1)) }
        for key in registry.registrations(of: account).keys where !covered.contains(key) {
            delivery.push(occasion, key, of: account)
        }
    }

    /// Something waits for a client that is gone or silent.
    private func delayed(_ event: StanzaDelayEvent, _ registry: PushRegistry, _ delivery: PushDelivery) {
        let keys = registry.keys(of: event.resource)
        let account = event.resource.account
        guard !keys.isEmpty, let occasion = PushOccasion(event.stanza, for: account.jid, isWaiting: true) else {
            return
        }
        if occasion.isFromRoom, !options.rooms { return }
        for key in keys { delivery.push(occasion, key, of: account) }
    }
}

extension Account {
    /// Who waits to be admitted to the account's presence.
    var pendingRequests: [JID] {
        host.service((any ContactList).self)?.pendingRequests(of: self) ?? []
    }
}
