import ServerKit

/// Removes what is older than the host, or the user, wants it: once a day, in batches so small that nobody waits.
@ServerActor
final class ArchiveRetention {
    private static let batch = 200
    private static let pause = Duration.milliseconds(50)
    /// When the server was down at the right hour, it is done after this long.
    private static let longest: Int64 = 30 * 3600

    private let host: ModuleHost
    private let store: ArchiveStore<[UInt8]>
    private let options: Archive.Options
    /// For how many days users want their messages kept.
    private let days: KeyValueStore<Int>
    /// When it was done last, in seconds since 1970.
    private let rounds: KeyValueStore<Int64>
    private var isBusy = false
    private var isStopped = false

    init(_ host: ModuleHost, _ store: ArchiveStore<[UInt8]>, _ options: Archive.Options) {
        self.host = host
        self.store = store
        self.options = options
        days = host.store("archive-retention")
        rounds = host.store("archive-cleanup")
    }

    func register() {
        host.onUnload { self.isStopped = true }
        host.every(.hours(1)) { self.cleanUpIfDue() }
        host.command(command)
    }

    // MARK: Removing

    private func cleanUpIfDue() {
        guard !isBusy else { return }
        isBusy = true
        Task { @ServerActor in
            do {
                try await self.cleanUp()
            } catch {
                self.host.log.error("Old messages cannot be removed", metadata: ["reason": "\(error)"])
            }
            self.isBusy = false
        }
    }

    private func cleanUp() async throws {
        let now = host.clock.date.seconds
        let last = try await rounds.value(for: "last")
        let age = last.map { now - $0 } ?? 0
        let hour = Int(now / 3600 % 24)
        // What is never done cannot be late: the time is counted from the first look.
        if last == nil { rounds.set(now, for: "last") }
        guard hour == options.cleanupHour && age >= 3600 || age > Self.longest else { return }
        rounds.set(now, for: "last")
        if let retention = options.retention { try await remove(olderThan: retention) }
        var after: String?
        repeat {
            let owners = try await days.owners(after: after, limit: 100)
            for owner in owners {
                guard let days = try await days.value(for: owner) else { continue }
                try await remove(olderThan: .days(days), of: owner)
            }
            after = owners.last
        } while after != nil && !isStopped
    }

    private func limit(_ age: Duration) -> Int64 { host.clock.date.advanced(by: .zero - age).microseconds }

    private func remove(olderThan age: Duration) async throws {
        let limit = limit(age)
        while !isStopped, let oldest = try await store.oldestTime(), oldest < limit {
            store.deleteOlder(than: limit, limit: Self.batch)
            await rest()
        }
    }

    /// XEP-0313 §3.2: only the oldest may go, there must be no holes.
    private func remove(olderThan age: Duration, of owner: String) async throws {
        let limit = limit(age)
        while !isStopped {
            let oldest = try await store.items(of: owner, ArchiveQuery(limit: Self.batch))
            let old = oldest.prefix { $0.time < limit }
            guard let last = old.last else { return }
            store.delete(through: last.sequence, of: owner)
            await rest()
        }
    }

    private func rest() async {
        await withCheckedContinuation { continuation in
            host.clock.after(Self.pause) { continuation.resume() }
        }
    }

    // MARK: Choosing

    /// XEP-0441 §2.2.
    private var command: AdHocCommand {
        AdHocCommand("urn:xmpp:mam#configure", "Archive Settings", access: .local) { context in
            let chosen = try await self.days.value(for: context.from.localpart ?? "")
            return .form(self.form(chosen)) { form, context in
                guard let name = context.from.localpart else { throw StanzaError.forbidden }
                if let days = try form.int(Field.days, in: 1...self.most) {
                    self.days.set(days, for: name)
                    return .done(note: "Your messages are kept for \(days) days. Older ones are removed within a day.")
                }
                self.days.delete(name)
                return .done(note: "Your messages are kept as long as the server keeps messages.")
            }
        }
    }

    /// The most days that a user may choose.
    private var most: Int {
        options.retention.map { max(1, Int($0.components.seconds / 86_400)) } ?? 36_500
    }

    private func form(_ chosen: Int?) -> DataForm {
        let field = DataFormField(
            Field.days, .textSingle, label: "Days that messages are kept",
            description: options.retention == nil
                ? "Leave it empty to keep them for ever." : "At most \(most), which is what counts when it is empty.",
            values: chosen.map { [String($0)] } ?? [],
            validation: DataFormValidation("xs:integer", .range(min: "1", max: String(most))))
        return DataForm(
            .form, formType: "urn:xmpp:mam#configure", title: "Archive Settings",
            instructions: ["How long the server keeps your messages."], fields: [field])
    }

    private enum Field {
        static let days = "days"
    }
}
