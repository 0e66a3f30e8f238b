import ServerKit

/// The commands by which users invite guests. XEP-0050. They are on the hosts of those who invite.
extension Guests {
    func addCommands(_ host: ModuleHost) {
        let access: IQAccess = options.inviters == .admins ? .admin : .local
        host.command(
            AdHocCommand("invite-guest", "Invite a guest", access: access) { context in try self.askWhom(context) })
        host.command(
            AdHocCommand("guests", "Take back invitations of guests", access: access) { context in
                try self.askWhich(context)
            })
    }

    private static func books(_ server: Server) -> [(domain: String, book: any GuestBook)] {
        server.allHosts.compactMap { host in
            guard host.isAnonymous, let book = host.service((any GuestBook).self) else { return nil }
            return (host.domain, book)
        }
    }

    static func invitations(of user: JID, _ server: Server) -> [GuestInvitation] {
        books(server).flatMap(\.book.invitations).filter { $0.inviter == user.bare }
    }

    static func revoke(_ ids: [String], _ server: Server) async throws {
        for id in ids {
            for (_, book) in books(server) { _ = try await book.revoke(id) }
        }
    }

    // MARK: Inviting

    private func askWhom(_ context: AdHocCommand.Context) throws -> AdHocCommand.Step {
        let domains = Self.books(context.host.server).map(\.domain)
        guard let first = domains.first else { return .failed("This server receives no guests.") }
        let form = DataForm(
            .form, title: "Invite a guest",
            instructions: ["The guest can write to these addresses, and to nobody else."],
            fields: [
                DataFormField(
                    "conversation", .jidMulti, label: "You, or rooms", isRequired: true,
                    values: [context.from.bare.description]),
                .text("name", nil, label: "What to call the guest"),
                DataFormField(
                    "days", .textSingle, label: "Days for which it is good",
                    values: [String(max(1, Int(options.lifetime / .days(1))))]),
                DataFormField("places", .textSingle, label: "Guests who may use it at a time", values: ["1"]),
                DataFormField(
                    "host", .listSingle, label: "Domain of the guests", values: [first],
                    options: domains.map { DataFormField.Option($0) }),
            ])
        return .form(form) { form, context in try await self.invite(form, context) }
    }

    private func invite(_ form: DataForm, _ context: AdHocCommand.Context) async throws -> AdHocCommand.Step {
        let host = context.host
        let peers = try form.jids("conversation") ?? []
        let request = GuestRequest(
            peers: peers, name: form.text("name"),
            lifetime: try form.int("days", in: 1...3_650).map { $0 * 86_400 },
            places: try form.int("places", in: 1...10_000))
        if !host.isAdmin(context.from) {
            for peer in peers where peer != context.from.bare {
                guard await isRoom(peer, host) else {
                    return .failed("You can invite to yourself and to rooms, which \(peer) is not.")
                }
            }
            guard Self.invitations(of: context.from, host.server).count < options.perUser else {
                return .failed("You have \(options.perUser) invitations that are good. Take one back first.")
            }
        }
        let domain = form.text("host")
        guard let book = Self.books(host.server).first(where: { domain == nil || $0.domain == domain })?.book else {
            return .failed("This server receives no guests.")
        }
        do {
            let pass = try await book.invite(request, by: context.from.bare)
            let result = DataForm(
                .result, title: "The guest's invitation",
                fields: [
                    .text("address", pass.address.description, label: "Address to log in with"),
                    .text("password", pass.password, label: "Password"),
                    .text("expires", pass.invitation.expires, label: "Good until"),
                ])
            return .done(result, note: pass.hint)
        } catch let error as StanzaError {
            return .failed(error.text ?? "This cannot be an invitation.")
        }
    }

    /// Whether an address is that of a room: its domain says that there are rooms, and users have theirs elsewhere.
    private func isRoom(_ jid: JID, _ host: Host) async -> Bool {
        guard jid.localpart != nil, jid.isBare, host.server.host(jid.domainpart) == nil,
            let domain = JID(domain: jid.domainpart)
        else { return false }
        let question = IQ(.get, to: domain, id: "rooms") { Element("query", .discoInfo) }
        let answer = await withCheckedContinuation { continuation in
            host.ask(question, limit: .seconds(20)) { continuation.resume(returning: $0) }
        }
        guard answer.kind == .result, let query = answer.query, let info = try? DiscoInfo(query) else { return false }
        return info.identities.contains { $0.category == "conference" && $0.type == "text" }
    }

    // MARK: Taking back

    private func askWhich(_ context: AdHocCommand.Context) throws -> AdHocCommand.Step {
        let own = Self.invitations(of: context.from, context.host.server)
        guard !own.isEmpty else { return .done(note: "You have invited no guests.") }
        let form = DataForm(
            .form, title: "Take back invitations of guests",
            fields: [
                DataFormField(
                    "invitations", .listMulti, label: "Invitations",
                    options: own.map { invitation in
                        let peers = invitation.peers.map(\.description).joined(separator: ", ")
                        let name = invitation.name.map { "\($0), " } ?? ""
                        return DataFormField.Option(
                            invitation.id, label: "\(invitation.id), \(name)to \(peers), until \(invitation.expires)")
                    })
            ])
        return .form(form) { form, context in
            let own = Set(Self.invitations(of: context.from, context.host.server).map(\.id))
            let chosen = form["invitations"]?.values.filter { own.contains($0) } ?? []
            try await Self.revoke(chosen, context.host.server)
            return .done(note: "Taken back: \(chosen.count).")
        }
    }
}
