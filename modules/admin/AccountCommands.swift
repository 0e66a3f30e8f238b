import ServerKit

/// Making, changing and removing accounts. XEP-0133 §4.1 to §4.7.
extension Admin {
    func addAccountCommands(_ host: ModuleHost) {
        // Names and e-mail addresses are not asked for: there is nowhere to keep them but the user's own vCard.
        let account = DataFormField.accountJID("The Jabber ID for the account to be added")
        let password = DataFormField("password", .textPrivate, label: "The password for this account", isRequired: true)
        let verify = DataFormField("password-verify", .textPrivate, label: "Retype password", isRequired: true)
        host.command(
            .administration("add-user", "Add User", asking: { [account, password, verify] }) { form, _ in
                try await self.addUser(form, host)
            })
        host.command(
            .administration(
                "change-user-password", "Change User Password",
                asking: { [.accountJID("The Jabber ID for this account"), password] }
            ) { form, _ in
                let name = try host.accountName(form.jid("accountjid"))
                try await self.translating {
                    try await host.accounts.setPassword(form.text("password") ?? "", of: name)
                }
                return .done(note: "The password has been changed.")
            })
        addEach(host, "delete-user", "Delete User", "The Jabber ID(s) to delete") { try await $0.remove($1) }
        addEach(host, "disable-user", "Disable User", "The Jabber ID(s) to disable") {
            try await $0.setLocked(true, $1)
        }
        addEach(host, "reenable-user", "Re-Enable User", "The Jabber ID(s) to re-enable") {
            try await $0.setLocked(false, $1)
        }
    }

    private func addUser(_ form: DataForm, _ host: ModuleHost) async throws -> AdHocCommand.Step {
        guard !host.host.isAnonymous else { throw StanzaError.notAllowed("This host has no accounts.") }
        let name = try host.accountName(form.jid("accountjid"))
        guard form.text("password") == form.text("password-verify") else {
            throw StanzaError.notAcceptable("The passwords differ.")
        }
        try await translating { try await host.accounts.create(name, password: form.text("password") ?? "") }
        return .done(note: "The account has been made.")
    }

    /// Adds a command that does the same to each of some accounts.
    private func addEach(
        _ host: ModuleHost, _ node: String, _ title: String, _ label: String,
        _ action: @escaping @Sendable @ServerActor (AccountDirectory, String) async throws -> Void
    ) {
        host.command(
            .administration(node, title, asking: { [.accountJIDs(label)] }) { form, _ in
                for name in try await host.accountNames(form) {
                    try await self.translating { try await action(host.accounts, name) }
                }
                return .done(note: "Done.")
            })
    }

    private func translating(_ body: () async throws -> Void) async throws {
        do { try await body() } catch let error as AccountError { throw error.stanzaError }
    }
}
