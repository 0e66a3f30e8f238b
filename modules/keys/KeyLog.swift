import ServerKit

/// The logs of the devices of a host's accounts: entries that are only ever added, and where each log ends.
@ServerActor
final class KeyLog: KeyLogs {
    /// The end of an account's log.
    struct Head: Codable, Sendable {
        /// How many entries there are.
        var number = 0
        /// The hash of the last one.
        var hash = ""
        /// The ids of the devices in each list, by its node.
        var devices: [String: [String]] = [:]
        /// Devices without keys that the owner was told of, as node and id.
        var reported: [String]?
    }

    private let storage: Storage
    private let entries: ArchiveStore<KeyLogEntry>
    private let heads: KeyValueStore<Head>
    private let clock: any ServerClock

    init(_ host: ModuleHost) {
        storage = host.server.storage
        clock = host.clock
        entries = storage.archive("keys", on: host.domain)
        heads = host.store("keys-head")
    }

    func head(of localpart: String) async throws -> Head? { try await heads.value(for: localpart) }

    /// Writes down a change of a list; both writes are one.
    ///
    /// - Returns: the new end of the log.
    func append(
        node: String, devices: [String], publisher: JID, to localpart: String, after head: Head
    ) -> (head: Head, entry: KeyLogEntry) {
        let before = head.devices[node] ?? []
        let now = clock.date
        let entry = KeyLogEntry(
            number: head.number + 1, time: now.description, node: node,
            added: devices.filter { !before.contains($0) }, removed: before.filter { !devices.contains($0) },
            publisher: publisher.description, previous: head.hash)
        var new = head
        new.number = entry.number
        new.hash = entry.hash
        new.devices[node] = devices
        let item = NewArchiveItem(id: "\(entry.number)", time: now.microseconds, value: entry)
        _ = storage.driver.enqueue([entries.appending(item, to: localpart), heads.setting(new, for: localpart)])
        return (new, entry)
    }

    /// Keeps what else is known about the account.
    func save(_ head: Head, of localpart: String) { heads.set(head, for: localpart) }

    // MARK: Reading

    func report(of localpart: String) async throws -> KeyLogReport {
        while true {
            // What is queued belongs to it.
            try await storage.durable(storage.lastEnqueued)
            let head = try await head(of: localpart) ?? Head()
            let entries = try await entries.items(of: localpart).map(\.value)
            // It may have grown meanwhile.
            guard try await self.head(of: localpart)?.number ?? 0 == head.number else { continue }
            return KeyLogReport(
                entries: entries, head: head.hash, devices: head.devices, problem: Self.problem(in: entries, head))
        }
    }

    /// What is wrong with a log; nil when nothing is.
    nonisolated static func problem(in entries: [KeyLogEntry], _ head: Head) -> String? {
        var previous = ""
        var devices: [String: Set<String>] = [:]
        for (index, entry) in entries.enumerated() {
            guard entry.number == index + 1 else { return "Entry \(index + 1) is missing." }
            guard entry.isTrue else { return "Entry \(entry.number) was changed." }
            guard entry.previous == previous else { return "Entry \(entry.number) does not follow the one before." }
            previous = entry.hash
            devices[entry.node] = (devices[entry.node] ?? []).subtracting(entry.removed).union(entry.added)
        }
        guard entries.count == head.number, previous == head.hash else { return "The end of the log is missing." }
        for node in Set(devices.keys).union(head.devices.keys) {
            guard devices[node] ?? [] == Set(head.devices[node] ?? []) else {
                return "The list of \(node) is not what its changes led to."
            }
        }
        return nil
    }
}

extension KeyLogReport {
    /// What the owner of the account is shown: the newest entries, and whether the log holds.
    var form: DataForm {
        let shown = entries.suffix(100)
        let verdict = problem.map { "The log was tampered with. \($0)" }
            ?? (entries.isEmpty ? "Nothing was recorded yet." : "The log is complete and unchanged.")
        var fields: [DataFormField] = [.text("verdict", verdict, label: "Verdict")]
        if !head.isEmpty { fields.append(.text("head", head, label: "Fingerprint of the log")) }
        for (node, ids) in devices.sorted(by: { $0.key < $1.key }) where !ids.isEmpty {
            let name = KeyFormat(listNode: node)?.name ?? node
            fields.append(.text(node, ids.joined(separator: ", "), label: "Devices now (\(name))"))
        }
        let columns: [DataFormField] = [
            .text("number", nil, label: "Number"), .text("time", nil, label: "Time"),
            .text("list", nil, label: "List"), .text("added", nil, label: "Added"),
            .text("removed", nil, label: "Removed"), .text("client", nil, label: "By"),
        ]
        let rows = shown.map { entry -> [DataFormField] in
            [
                .text("number", "\(entry.number)"), .text("time", entry.time),
                .text("list", KeyFormat(listNode: entry.node)?.name ?? entry.node),
                .text("added", entry.added.joined(separator: ", ")),
                .text("removed", entry.removed.joined(separator: ", ")), .text("client", entry.publisher),
            ]
        }
        return DataForm(
            .result, title: "Devices for encrypted messages", fields: fields, reported: columns, items: Array(rows))
    }
}
