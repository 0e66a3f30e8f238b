import ServerKit

/// The reports of a host, oldest first.
@ServerActor
final class ReportStore {
    /// No localpart is empty: reports belong to the host and outlive the account of who made them.
    private static let owner = ""
    private static let pageSize = 200

    private let store: ArchiveStore<AbuseReport>
    private let host: ModuleHost
    /// The ids of what is stored.
    private var ids: [String] = []

    init(_ host: ModuleHost) {
        self.host = host
        store = host.server.storage.archive("spam-reports", on: host.domain)
    }

    func load() async throws {
        let stored = try await all().map(\.id)
        ids = stored.filter { !ids.contains($0) } + ids
    }

    /// Adds a report in place of an earlier one by the same user about the same address.
    func add(_ report: AbuseReport, limit: Int) {
        ids.removeAll { $0 == report.id }
        ids.append(report.id)
        store.append(
            NewArchiveItem(id: report.id, time: host.clock.date.microseconds, value: report), to: Self.owner)
        while ids.count > limit { store.delete(ids.removeFirst(), of: Self.owner) }
    }

    /// The newest reports, about an address or what lies below it if one is given.
    func newest(_ limit: Int, about jid: JID? = nil) async throws -> [ArchiveItem<AbuseReport>] {
        let found = try await all().filter { $0.value.concerns(jid) }
        return found.suffix(limit).reversed()
    }

    /// Deletes reports and returns how many.
    func clear(about jid: JID?) async throws -> Int {
        let found = try await all().filter { $0.value.concerns(jid) }
        for item in found { store.delete(item.id, of: Self.owner) }
        let gone = Set(found.map(\.id))
        ids.removeAll { gone.contains($0) }
        return found.count
    }

    private func all() async throws -> [ArchiveItem<AbuseReport>] {
        var found: [ArchiveItem<AbuseReport>] = []
        var position: Int64 = 0
        while true {
            let page = try await store.items(
                of: Self.owner, ArchiveQuery(after: .sequence(position), limit: Self.pageSize))
            guard let last = page.last else { return found }
            found += page
            position = last.sequence
        }
    }
}

extension AbuseReport {
    /// Whether it is about this address, one of its resources, or somebody on this domain.
    fileprivate func concerns(_ jid: JID?) -> Bool {
        guard let jid else { return true }
        return reported == jid || reported.bare == jid || reported.domainOnly == jid
    }
}

/// Tells the administrators of new reports, but not of each one by itself when there are many.
@ServerActor
final class ReportNotices {
    private let host: ModuleHost
    private var waiting = 0
    private var pause: ScheduledAction?

    init(_ host: ModuleHost) {
        self.host = host
    }

    func tell(_ report: AbuseReport, interval: Duration) {
        guard pause == nil else {
            waiting += 1
            return
        }
        let text = report.text.map { ": \($0)" } ?? "."
        send("\(report.reporter) blocked \(report.reported) because of \(report.shortReason)\(text)")
        pause(interval)
    }

    /// Says nothing more.
    func stop() { pause?.cancel() }

    private func pause(_ interval: Duration) {
        guard interval > .zero else { return }
        pause = host.clock.after(interval) {
            self.pause = nil
            guard self.waiting > 0 else { return }
            self.send("Reports of spam or abuse that came since the last message: \(self.waiting).")
            self.waiting = 0
            self.pause(interval)
        }
    }

    private func send(_ body: String) {
        for admin in Set(host.server.configuration.admins + host.host.configuration.admins) {
            host.router.route(
                Message(to: admin, from: host.jid, id: RandomToken.make(bytes: 8)) {
                    Element("subject", text: "Spam report")
                    Element("body", text: body)
                })
        }
    }
}
