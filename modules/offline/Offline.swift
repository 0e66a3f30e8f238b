import ServerKit

/// Keeps messages for users who are away, and delivers them when they come back (XEP-0160).
///
/// Each message is deleted after it was handed to the stream of a client. A crash in between delivers it a second time;
/// a connection that breaks in between loses it unless the client resumes its stream (XEP-0198 §5): at least once for
/// the server's failures, as good as the stream for the network's.
final class Offline: Module {
    static let info = ModuleInfo(
        "offline", "Keeps messages for users who are away",
        implements: [.xep(160, "1.0.1"), .xep(203, "2.0"), .xep(334, "1.0.0")],
        group: .core, requires: ["messages"])

    struct Options: ModuleOptions {
        let limit: Int
        let expire: Duration?

        init(_ config: inout OptionReader) {
            limit = config.int(
                "limit", default: 1000, in: 1...1_000_000,
                "How many messages are kept for an account; the senders of more are told that they were not delivered.")
            expire = config.optionalDuration(
                "expire", default: nil, in: .seconds(60)...(.seconds(3_155_760_000)),
                "After what time messages that nobody fetched are deleted.")
        }
    }

    private var options: Options
    private var queues: OfflineQueues?

    init(options: Options) {
        self.options = options
    }

    func reconfigure(_ options: Options) -> Bool {
        self.options = options
        return true
    }

    func load(into host: ModuleHost) {
        let queues = OfflineQueues(host)
        self.queues = queues
        host.advertise(.offlineMessages, on: .host)
        host.provide((any OfflineQueue).self, queues)
        host.loadWithAccounts(OfflineQueues.Count.self) { try await queues.count(of: $0) }
        host.transform(.messageSent) { $0.message.removeForgedDelays(of: $0.account.host.server) }
        host.claim(.messageUndelivered) { self.keep($0) }
        host.observe(.resourceAvailable) { queues.deliver(to: $0.resource) }
        // XEP-0160 §2: the priority of a resource that is available already may have risen.
        host.observe(.presenceSent) { event in
            if event.presence.to == nil, let resource = event.origin { queues.deliver(to: resource) }
        }
        host.every(.seconds(3600)) {
            if let expire = self.options.expire { queues.deleteMessages(olderThan: expire) }
        }
    }

    /// Whether the message was kept, or needs no answer.
    private func keep(_ event: MessageEvent) -> Bool {
        // Who is gone for good does not come to read it; the sender is told.
        guard let queues, !event.account.isTemporary else { return false }
        switch event.message.offlineFate {
        case .keep:
            // XEP-0160 §2: when the queue is full the sender learns it.
            guard queues.count(of: event.account) < options.limit else { return false }
            queues.append(event.message, event.archiveID, to: event.account)
            return true
        case .forget: return true
        case .refuse: return false
        }
    }
}

extension Message {
    enum OfflineFate {
        case keep
        /// Drop it without a word: whoever gets an error for a chat state knows that the user is away, which strangers
        /// must not find out (RFC 6121 §11).
        case forget
        /// Leave it to the rules for undelivered messages.
        case refuse
    }

    /// What becomes of a message that no resource can take. XEP-0160 §3.
    fileprivate var offlineFate: OfflineFate {
        switch kind {
        case .groupchat, .headline, .error: return .refuse
        case .chat, .normal: break
        }
        // XEP-0334 §4.2. What a person wrote is returned, so that its author knows that it was not read.
        if has(.noStore) { return has("body") ? .refuse : .forget }
        if isStandaloneChatState, !has(.store) { return .forget }
        return .keep
    }

    /// Delays that a client claims to have been added by this server. XEP-0203 §5.
    @ServerActor
    fileprivate mutating func removeForgedDelays(of server: Server) {
        guard has("delay", .delay) else { return }
        payload.removeChildren { child in
            guard child.is("delay", .delay), let from = child.jid("from") else { return false }
            return from.isDomain && server.router.entity(for: from.domainpart) != nil
        }
    }
}

extension Namespace {
    /// XEP-0160 §4: a feature, though no namespace.
    fileprivate static let offlineMessages: Namespace = "msgoffline"
}
