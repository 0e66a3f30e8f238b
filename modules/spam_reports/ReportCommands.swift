import ServerKit

/// What administrators do about reports.
extension SpamReports {
    private static let longestList = 500

    func addCommands(_ host: ModuleHost, _ reports: ReportStore) {
        host.command(
            AdHocCommand("spam_reports#list", "List Reports of Spam and Abuse") { _ in
                .form(Self.form("List Reports", withCount: true)) { form, _ in
                    let count = form.text("count").flatMap { Int($0) } ?? 50
                    return try await Self.list(reports, min(max(1, count), Self.longestList), try form.jid("jid"))
                }
            })
        host.command(
            AdHocCommand("spam_reports#clear", "Delete Reports of Spam and Abuse") { _ in
                .form(Self.form("Delete Reports")) { form, _ in
                    let count = try await reports.clear(about: try form.jid("jid"))
                    return .done(note: "Reports deleted: \(count).")
                }
            })
    }

    private static func form(_ title: String, withCount: Bool = false) -> DataForm {
        var fields = [
            DataFormField(
                "jid", .jidSingle, label: "Only about this address or domain",
                description: "All reports, if nothing is given.")
        ]
        if withCount { fields.append(.text("count", "50", label: "How many of the newest")) }
        return DataForm(.form, title: title, fields: fields)
    }

    private static func list(_ reports: ReportStore, _ count: Int, _ jid: JID?) async throws -> AdHocCommand.Step {
        let found = try await reports.newest(count, about: jid)
        guard !found.isEmpty else { return .done(note: "There are no reports.") }
        let columns = [
            DataFormField("time", .textSingle, label: "Time"),
            DataFormField("reporter", .jidSingle, label: "Who reports"),
            DataFormField("reported", .jidSingle, label: "Who is reported"),
            DataFormField("reason", .textSingle, label: "Reason"),
            DataFormField("text", .textSingle, label: "Words"),
            DataFormField("messages", .textMulti, label: "Messages"),
            DataFormField("agreed", .textMulti, label: "May be passed on to"),
        ]
        let rows = found.map { item in
            let report = item.value
            return [
                DataFormField("time", values: [Timestamp(microseconds: item.time).description]),
                DataFormField("reporter", values: [report.reporter.description]),
                DataFormField("reported", values: [report.reported.description]),
                DataFormField("reason", values: [report.shortReason]),
                DataFormField("text", values: [report.text ?? ""]),
                DataFormField("messages", values: report.messages.map { "\($0.id) (\($0.by))" }),
                DataFormField("agreed", values: report.agreedTo),
            ]
        }
        return .done(DataForm(.result, title: "Reports of Spam and Abuse", reported: columns, items: rows))
    }
}
