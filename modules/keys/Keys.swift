import ServerKit

/// Key care: who adds a device to an account can read its encrypted messages from then on (XEP-0384), so that every
/// change of its list of devices is written into a log that cannot be changed unseen, and its owner is told.
final class Keys: Module {
    static let info = ModuleInfo(
        "keys", "Records who may read encrypted messages, and tells users of new devices",
        group: .recommended, requires: ["pubsub"])

    struct Options: ModuleOptions {
        let tells: Bool
        let devices: Int
        let entries: Int
        let patience: Duration
        let messages: Int

        init(_ config: inout OptionReader) {
            tells = config.bool(
                "notify", default: true, "Whether users get a message when a device is added, or one has no keys.")
            devices = config.int(
                "max_devices", default: 200, in: 1...10_000, "How many devices a list may have.")
            entries = config.int(
                "max_entries", default: 2_000, in: 10...1_000_000,
                "How many changes are recorded for an account; beyond that, devices are added once an hour at most.")
            patience = config.duration(
                "patience", default: .minutes(5), in: .seconds(30)...(.days(7)),
                "How long a new device may take to publish its keys.")
            messages = config.int(
                "messages_per_day", default: 20, in: 1...10_000, "How many messages a user gets in a day at most.")
        }
    }

    private var options: Options
    private var care: KeyCare?

    init(options: Options) {
        self.options = options
    }

    func reconfigure(_ options: Options) -> Bool {
        self.options = options
        care?.options = options
        return true
    }

    func load(into host: ModuleHost) {
        let care = KeyCare(host, options)
        self.care = care
        host.loadWithAccounts(KeyCare.Head.self) { try await care.log.head(of: $0.name) }
        host.filter(.nodeItemPublishing) { care.admit($0) }
        host.observe(.nodeItemPublished) { care.published($0) }
        host.observe(.nodeItemRetracted) { care.removed($0.account, $0.node, $0.id, $0.publisher) }
        host.observe(.nodePurged) { care.removed($0.account, $0.node, nil, $0.publisher) }
        host.observe(.nodeDeleted) { care.removed($0.account, $0.node, nil, $0.publisher) }
        host.every(.seconds(30)) { care.checkDue() }
        host.every(.days(1)) { care.forgetMessages() }
        host.provide((any KeyLogs).self, care.log)
        host.command(
            AdHocCommand("urn:martlet:keys", "Show the log of your encryption keys", access: .local) { context in
                guard let localpart = context.from.localpart else { throw StanzaError.forbidden }
                return .done(try await care.log.report(of: localpart).form)
            })
    }
}
