import ServerKit

/// The command by which users choose. XEP-0050.
extension Strangers {
    func addCommand(_ host: ModuleHost) {
        host.command(
            AdHocCommand("strangers", "Strangers", access: .local) { context in
                let known = try await self.acquaintances(context)
                let policy = self.policy(of: known)
                let form = DataForm(
                    .form, title: "Strangers",
                    instructions: [
                        "Strangers are all who are not in your contact list and to whom you have not written."
                    ],
                    fields: [
                        .boolean("messages", policy.messages == .refuse, label: "Refuse their messages"),
                        .boolean("subscriptions", policy.subscriptions == .refuse, label: "Refuse their requests"),
                    ])
                return .form(form) { form, context in
                    // It may have been let go of and loaded anew.
                    let known = try await self.acquaintances(context)
                    let choice = StrangerChoice(
                        messages: try form.bool("messages") ?? false ? .refuse : .allow,
                        subscriptions: try form.bool("subscriptions") ?? false ? .refuse : .allow)
                    known.choose(choice)
                    return .done(note: "Your choice holds from now on.")
                }
            })
    }

    private func acquaintances(_ context: AdHocCommand.Context) async throws -> Acquaintances {
        guard let name = context.from.localpart, let account = await context.host.accounts.account(name),
            let known = acquaintances(of: account)
        else { throw StanzaError.itemNotFound }
        return known
    }
}
