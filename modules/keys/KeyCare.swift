import ServerKit

/// Watches over the devices and keys of a host's accounts.
@ServerActor
final class KeyCare {
    typealias Options = Keys.Options

    /// The end of the account's log.
    enum Head: AccountKey { static let defaultValue: KeyLog.Head? = nil }

    var options: Options
    let log: KeyLog
    private let host: ModuleHost
    /// The accounts whose devices' keys are to be looked for, and when.
    private var due: [String: Duration] = [:]
    /// How many messages each account got lately.
    private var messages: [String: Int] = [:]

    /// When accounts whose log is full were last given another device.
    private var lateChanges: [String: Duration] = [:]
    /// How often that may be.
    private static let latePause = Duration.seconds(3_600)

    /// So many devices' keys are looked for.
    private static let checkedDevices = 100

    init(_ host: ModuleHost, _ options: Options) {
        self.host = host
        self.options = options
        log = KeyLog(host)
    }

    // MARK: Lists

    /// Refuses lists of a length that nobody needs, and changes that cannot be recorded any more.
    func admit(_ event: NodeItemEvent) -> Verdict {
        guard let format = KeyFormat(listNode: event.node) else { return .pass }
        let devices = format.devices(event.payload)
        guard devices.count <= options.devices else {
            return .bounce(.policyViolation("A list may have \(options.devices) devices."))
        }
        let head = event.account[Head.self] ?? KeyLog.Head()
        // To take devices away must be possible at all times: one may have been stolen.
        if head.number < options.entries || Set(devices).isSubset(of: head.devices[event.node] ?? []) { return .pass }
        // Nor may a full log keep a user from ever using another device. It grows slowly from here on.
        if let last = lateChanges[event.account.name], host.clock.now - last < Self.latePause {
            return .bounce(StanzaError(.resourceConstraint, .wait))
        }
        lateChanges[event.account.name] = host.clock.now
        return .pass
    }

    func published(_ event: NodeItemEvent) {
        if let format = KeyFormat(listNode: event.node) {
            return record(format, format.devices(event.payload), event.account, event.publisher)
        }
        guard let (format, device) = KeyFormat.bundle(node: event.node, item: event.id), let device else { return }
        if format.preKeys(in: event.payload) == 0 { return check(event.account) }
        // It has keys now, and may be reported again should it lose them.
        guard var head = event.account[Head.self], let reported = head.reported,
            let index = reported.firstIndex(of: format.mark(device))
        else { return }
        head.reported?.remove(at: index)
        event.account[Head.self] = head
        log.save(head, of: event.account.name)
    }

    /// An item was retracted; or all of them, where `id` is nil.
    func removed(_ account: Account, _ node: String, _ id: String?, _ publisher: JID) {
        if let format = KeyFormat(listNode: node) { return record(format, [], account, publisher) }
        if KeyFormat.bundle(node: node, item: id) != nil { check(account) }
    }

    private func record(_ format: KeyFormat, _ devices: [String], _ account: Account, _ publisher: JID) {
        let head = account[Head.self] ?? KeyLog.Head()
        guard head.devices[format.listNode] ?? [] != devices else { return }
        let known = Set(head.devices.values.joined())
        let (new, entry) = log.append(
            node: format.listNode, devices: devices, publisher: publisher, to: account.name, after: head)
        account[Head.self] = new
        check(account)
        // Whoever begins to encrypt knows the device; and one that is in the other list already was told of.
        let added = entry.added.filter { !known.contains($0) }
        guard head.number > 0, !added.isEmpty else { return }
        host.log.info("A device was added", metadata: ["jid": "\(account.jid)", "device": "\(added)"])
        tell(account, KeyNotice.added(added, by: publisher, to: account.jid, at: entry.time))
    }

    // MARK: Keys

    /// Has the keys of an account's devices looked for, when their clients had time to publish them.
    private func check(_ account: Account) {
        if due[account.name] == nil { due[account.name] = host.clock.now + options.patience }
    }

    func checkDue() {
        let now = host.clock.now
        for (localpart, time) in due where time <= now {
            due[localpart] = nil
            Task { @ServerActor in
                do {
                    guard let account = await self.host.accounts.account(localpart) else { return }
                    try await self.checkKeys(of: account)
                } catch {
                    self.host.log.info(
                        "Keys cannot be looked for", metadata: ["account": "\(localpart)", "reason": "\(error)"])
                }
            }
        }
    }

    private func checkKeys(of account: Account) async throws {
        guard let eventing = host.service((any PersonalEventing).self) else { return }
        var keyless: [String: String] = [:]
        for format in KeyFormat.allCases {
            let devices = account[Head.self]?.devices[format.listNode] ?? []
            for device in devices.prefix(Self.checkedDevices) {
                let place = format.bundlePlace(of: device)
                let item = if let id = place.item {
                    try await eventing.item(id, of: place.node, account: account)
                } else {
                    try await eventing.latestItem(of: place.node, account: account)
                }
                if format.preKeys(in: item?.payload) == 0 { keyless[format.mark(device)] = device }
            }
        }
        guard var head = account[Head.self] else { return }
        let reported = Set(head.reported ?? [])
        // Devices that left the lists, or found their keys, are forgotten.
        head.reported = keyless.keys.sorted()
        guard reported != Set(keyless.keys) else { return }
        account[Head.self] = head
        log.save(head, of: account.name)
        let new = Set(keyless.filter { !reported.contains($0.key) }.values)
        guard !new.isEmpty else { return }
        let devices = new.sorted { (UInt32($0) ?? 0) < (UInt32($1) ?? 0) }
        host.log.info("Devices without pre-keys", metadata: ["jid": "\(account.jid)", "device": "\(devices)"])
        tell(account, KeyNotice.keyless(devices))
    }

    // MARK: Telling

    private func tell(_ account: Account, _ notice: KeyNotice) {
        guard options.tells, !account.isTemporary else { return }
        let count = messages[account.name, default: 0]
        guard count < options.messages else { return }
        messages[account.name] = count + 1
        host.router.route(
            Message(to: account.jid, from: host.jid, id: RandomToken.make(bytes: 8)) {
                Element("subject", .client, text: notice.subject)
                Element("body", .client, text: notice.body)
            })
    }

    /// To be called from time to time.
    func forgetMessages() { messages = [:] }
}

extension KeyFormat {
    /// A device in one of the lists.
    fileprivate func mark(_ device: String) -> String { "\(listNode) \(device)" }
}
