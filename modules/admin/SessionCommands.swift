import ServerKit

/// Who is here, who was, and sending them away. XEP-0133 §4.5, §4.9, §4.10.
extension Admin {
    func addSessionCommands(_ host: ModuleHost) {
        let logins = LoginTimes(host)
        host.command(
            .administration(
                "end-user-session", "End User Session",
                asking: { [.accountJIDs("The Jabber ID(s) for which to end sessions")] }
            ) { form, _ in try self.endSessions(form, host) })
        host.command(
            .administration(
                "get-user-lastlogin", "Get User Last Login Time",
                asking: { [.accountJIDs("The Jabber ID(s) for which to retrieve the last login time")] }
            ) { form, _ in try await self.lastLogins(form, host, logins) })
        host.command(
            .administration(
                "user-stats", "Get User Statistics", asking: { [.accountJID("The Jabber ID for statistics")] }
            ) { form, _ in try await self.statistics(form, host) })
    }

    /// A bare JID stands for all sessions of the account, a full JID for one.
    private func endSessions(_ form: DataForm, _ host: ModuleHost) throws -> AdHocCommand.Step {
        var ended: [Resource] = []
        for jid in try form.jids("accountjids") ?? [] {
            let resources = host.accounts.loadedAccount(try host.accountName(jid.bare))?.resources ?? []
            ended += resources.filter { jid.isBare || $0.jid == jid }
        }
        for resource in ended {
            resource.close(StreamError(.policyViolation, "An administrator has ended the session."))
        }
        return ended.isEmpty ? .failed("There is no such session.") : .done(note: "Sessions ended: \(ended.count).")
    }

    private func lastLogins(
        _ form: DataForm, _ host: ModuleHost, _ logins: LoginTimes
    ) async throws -> AdHocCommand.Step {
        let names = try await host.accountNames(form)
        var times: [String] = []
        for name in names { times.append(try await logins.lastLogin(of: name)?.description ?? "") }
        let jids = names.map { "\($0)@\(host.domain)" }
        return .results(
            DataFormField("accountjids", .jidMulti, values: jids),
            // One value for each account; it is empty if nobody logged in since this is recorded.
            DataFormField("lastlogin", .textMulti, values: times))
    }

    private func statistics(_ form: DataForm, _ host: ModuleHost) async throws -> AdHocCommand.Step {
        let name = try host.accountName(form.jid("accountjid"))
        guard let account = await host.accounts.account(name) else { throw StanzaError.itemNotFound }
        var fields: [DataFormField] = []
        let addresses = Set(account.resources.compactMap { $0.details["address"] })
        fields.append(DataFormField("ipaddresses", .textMulti, values: addresses.sorted()))
        if let contacts = host.service((any ContactList).self) {
            fields.append(DataFormField("rostersize", values: [String(contacts.contacts(of: account).count)]))
        }
        let resources = account.resources.compactMap(\.jid.resourcepart)
        fields.append(DataFormField("onlineresources", .textMulti, values: resources))
        return .done(DataForm(.result, formType: AdHocCommand.administration, fields: fields))
    }
}
