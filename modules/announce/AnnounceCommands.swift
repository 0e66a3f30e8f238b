import ServerKit

/// XEP-0133 §4.23 to §4.28.
extension Announce {
    func addCommands(_ host: ModuleHost, _ board: NoticeBoard, _ seen: KeyValueStore<String>) {
        host.command(
            .administration(
                "announce", "Send Announcement to Online Users", asking: { [.text("announcement", "Announcement")] }
            ) { form, _ in
                let notice = Notice(subject: nil, body: form.lines("announcement") ?? "")
                self.send(notice, toAllOn: host.host, from: host.jid)
                return .done(note: "The announcement has been sent.")
            })
        addMessageOfTheDayCommands(host, board, seen)
        host.command(
            .administration(
                "set-welcome", "Set Welcome Message",
                asking: { [.text("welcome", "Welcome Message", self.presentWelcome(board))] }
            ) { form, _ in
                board.setWelcome(form.lines("welcome") ?? "")
                return .done(note: "The welcome message has been set.")
            })
        host.command(
            .administration("delete-welcome", "Delete Welcome Message") { _ in
                board.setWelcome("")
                return .done(note: "New users are not welcomed any more.")
            })
    }

    private func addMessageOfTheDayCommands(
        _ host: ModuleHost, _ board: NoticeBoard, _ seen: KeyValueStore<String>
    ) {
        let label = "Message of the Day"
        host.command(
            .administration("set-motd", "Set \(label)", asking: { [.text("motd", label)] }) { form, _ in
                let notice = Notice(subject: nil, body: form.lines("motd") ?? "")
                self.setMessageOfTheDay(notice, board, seen, host)
                return .done(note: "The message of the day has been set.")
            })
        host.command(
            .administration(
                "edit-motd", "Edit \(label)",
                asking: {
                    guard let current = board.current else { throw StanzaError.itemNotFound }
                    return [.text("motd", label, current.notice.body)]
                }
            ) { form, _ in
                board.setMessageOfTheDay(Notice(subject: board.current?.notice.subject, body: form.lines("motd") ?? ""))
                return .done(note: "The message of the day has been changed.")
            })
        host.command(
            .administration("delete-motd", "Delete \(label)") { _ in
                guard board.current != nil else { throw StanzaError.itemNotFound }
                board.setMessageOfTheDay(nil)
                return .done(note: "The message of the day has been deleted.")
            })
    }
}

extension DataFormField {
    /// A text that must be filled in.
    fileprivate static func text(_ name: String, _ label: String, _ text: String = "") -> DataFormField {
        var field = DataFormField.lines(name, text, label: label)
        field.isRequired = true
        return field
    }
}
