import ServerKit

/// Removes what is older than the host, or the user, wants it.
@ServerActor
final class ArchiveRetention {
    private let host: ModuleHost
    private let options: Archive.Options
    /// For how many days users want their messages kept.
    private let days: KeyValueStore<Int>
    private let cleanup: ArchiveCleanup

    init(_ host: ModuleHost, _ store: ArchiveStore<[UInt8]>, _ options: Archive.Options) {
        self.host = host
        self.options = options
        days = host.store("archive-retention")
        cleanup = ArchiveCleanup(host, store, rounds: "archive-cleanup")
    }

    func register() {
        let plan = ArchiveCleanup.Plan(hour: options.cleanupHour, retention: options.retention)
        cleanup.register {
            plan
        } after: {
            try await self.removeForUsers()
        }
        host.command(command)
    }

    // MARK: Removing

    private func removeForUsers() async throws {
        var after: String?
        repeat {
            let owners = try await days.owners(after: after, limit: 100)
            for owner in owners {
                guard let days = try await days.value(for: owner) else { continue }
                try await cleanup.remove(olderThan: .days(days), of: owner)
            }
            after = owners.last
        } while after != nil && !cleanup.isStopped
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
