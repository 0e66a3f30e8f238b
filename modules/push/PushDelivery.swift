import ServerKit

/// Publishes notifications to push services, and minds what they answer. XEP-0357 §7.
///
/// The first occasion is told at once. Those that follow within the interval, or while the service has not answered, are
/// told together at its end; only calls do not wait. A service that is out of order is tried again after a minute, and
/// then after ever longer times; one that refuses is not tried again.
@ServerActor
final class PushDelivery {
    private struct Key: Hashable {
        let account: String
        let registration: String
    }

    /// What is going on with one registration. Forgotten when nothing is.
    private final class Delivery {
        let registration: PushRegistration
        /// What was not told yet.
        var pending: PushOccasion?
        /// How much the service has been told, or will be with what is pending.
        var unread: Int
        var requests = 0
        /// Attempts that failed, in a row.
        var failures = 0
        /// Nothing is told before, but calls.
        var notBefore = Duration.zero
        var notBeforeForCalls = Duration.zero
        var timer: ScheduledAction?

        /// When the next may be told.
        var due: Duration {
            pending?.kind == .call && failures == 0 ? min(notBefore, notBeforeForCalls) : notBefore
        }

        init(_ registration: PushRegistration) {
            self.registration = registration
            unread = registration.unread ?? 0
        }
    }

    private let host: ModuleHost
    private let registry: PushRegistry
    private let options: @ServerActor () -> Push.Options
    private var deliveries: [Key: Delivery] = [:]

    /// How long a service may take to answer.
    private static let patience = Duration.seconds(60)
    /// How long it is left alone after the first failure; twice as long after each that follows.
    private static let firstPause = Duration.seconds(60)
    private static let longestPause = Duration.seconds(21_600)
    /// After how much time another call is told, though the interval is not over.
    private static let callInterval = Duration.seconds(1)

    init(_ host: ModuleHost, _ registry: PushRegistry, options: @escaping @ServerActor () -> Push.Options) {
        self.host = host
        self.registry = registry
        self.options = options
    }

    // MARK: Occasions

    func push(_ occasion: PushOccasion, _ registration: String, of account: Account) {
        guard let stored = registry.registrations(of: account)[registration] else { return }
        let key = Key(account: account.name, registration: registration)
        let delivery = deliveries[key] ?? Delivery(stored)
        deliveries[key] = delivery
        if occasion.kind != .subscription { delivery.unread += 1 }
        // The last message is the one that is told about, and a call is more than that.
        let isCallPending = delivery.pending?.kind == .call
        if delivery.pending == nil || occasion.kind != .subscription && (!isCallPending || occasion.kind == .call) {
            delivery.pending = occasion
        }
        proceed(key, delivery)
    }

    /// The client has a session again, and sees for itself.
    func deviceIsBack(_ registrations: Set<String>, _ account: Account) {
        for registration in registrations {
            registry.setUnread(0, registration, of: account)
            let key = Key(account: account.name, registration: registration)
            guard let delivery = deliveries[key] else { continue }
            delivery.pending = nil
            delivery.unread = 0
            // How the service fares is remembered.
            if delivery.failures == 0 { remove(key) }
        }
    }

    func forget(_ registration: String, of account: String) {
        remove(Key(account: account, registration: registration))
    }

    func forgetAll(of account: String) {
        for key in deliveries.keys where key.account == account { remove(key) }
    }

    func stop() {
        for key in deliveries.keys { remove(key) }
    }

    private func remove(_ key: Key) {
        deliveries.removeValue(forKey: key)?.timer?.cancel()
    }

    // MARK: Sending

    /// Tells what is pending, now or when it is time.
    private func proceed(_ key: Key, _ delivery: Delivery) {
        guard host.clock.now >= delivery.due else { return wait(key, delivery) }
        if let occasion = delivery.pending {
            if delivery.requests == 0 || occasion.kind == .call { send(occasion, key, delivery) }
        } else if delivery.requests == 0, delivery.failures == 0 {
            remove(key)
        }
    }

    private func wait(_ key: Key, _ delivery: Delivery) {
        delivery.timer?.cancel()
        delivery.timer = host.clock.after(delivery.due - host.clock.now) {
            guard self.deliveries[key] === delivery else { return }
            self.proceed(key, delivery)
        }
    }

    private func send(_ occasion: PushOccasion, _ key: Key, _ delivery: Delivery) {
        delivery.pending = nil
        delivery.requests += 1
        delivery.notBefore = host.clock.now + options().interval
        delivery.notBeforeForCalls = host.clock.now + Self.callInterval
        let account = host.accounts.loadedAccount(key.account)
        if let account { registry.setUnread(delivery.unread, key.registration, of: account) }
        let notification = notification(of: occasion, unread: delivery.unread, account)
        // XEP-0357 §7: in the server's name, which push services tell from those of users (§3.2).
        host.host.ask(delivery.registration.target.publish(notification), limit: Self.patience) { reply in
            guard self.deliveries[key] === delivery else { return }
            delivery.requests -= 1
            self.settle(reply.error, occasion, key, delivery)
        }
    }

    /// XEP-0357 §7.1.
    private func settle(_ error: StanzaError?, _ occasion: PushOccasion, _ key: Key, _ delivery: Delivery) {
        guard let error else {
            delivery.failures = 0
            return proceed(key, delivery)
        }
        delivery.failures += 1
        let isOver = error.endsPushRegistration || delivery.failures >= options().retries
        host.log.debug(
            isOver ? "A push registration ends" : "A push failed",
            metadata: [
                "peer": "\(delivery.registration.service)", "reason": "\(error.condition.rawValue)",
            ])
        if isOver {
            remove(key)
            registry.remove(key.registration, of: key.account)
            return
        }
        // Told again, unless there is something newer.
        delivery.pending = delivery.pending ?? occasion
        let pause = min(Self.firstPause * (1 << min(delivery.failures - 1, 20)), Self.longestPause)
        delivery.notBefore = host.clock.now + pause
        wait(key, delivery)
    }

    // MARK: The notification

    /// What push services learn. XEP-0357 §7, §11.3.1.
    private func notification(of occasion: PushOccasion, unread: Int, _ account: Account?) -> Element {
        let options = options()
        var fields: [DataFormField] = []
        if options.counts {
            fields.append(.text("message-count", "\(unread)"))
            if let requests = account?.pendingRequests.count, requests > 0 {
                fields.append(.text("pending-subscription-count", "\(requests)"))
            }
        }
        if options.sender, let sender = occasion.sender {
            fields.append(DataFormField("last-message-sender", .jidSingle, values: [sender.description]))
        }
        if occasion.kind != .subscription {
            switch options.body {
            case .none: break
            // COMPAT Services for phones tell by the presence of a text whether to wake the user, or the client only;
            // Prosody and ejabberd send one like this by default.
            case .notice: fields.append(.text("last-message-body", "New message"))
            case .full: fields.append(.text("last-message-body", occasion.body.map(Self.shortened) ?? "New message"))
            }
        }
        return Element("notification", .push) {
            if !fields.isEmpty { DataForm(.submit, formType: "urn:xmpp:push:summary", fields: fields).element }
        }
    }

    /// More than this no phone shows.
    private nonisolated static func shortened(_ text: String) -> String {
        text.utf8.count <= 1_024 ? text : String(text.prefix(250)) + "…"
    }
}
