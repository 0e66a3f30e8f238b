import ServerKit

/// What the tool may ask about guests.
extension ServerProcess {
    func answerGuestCommands() {
        let control = server.control
        control.answer(.inviteGuest) { request in
            let (_, book) = try self.guestBook(request.host)
            do {
                return try await book.invite(request, by: nil)
            } catch let error as StanzaError {
                throw ControlFailure(error.text ?? "This cannot be an invitation.", exitCode: ExitStatus.configuration)
            }
        }
        control.answer(.listGuests) { arguments in
            if arguments.host != nil { return try self.guestBook(arguments.host).book.invitations }
            return self.guestBooks.flatMap(\.book.invitations)
        }
        control.answer(.revokeGuest) { arguments in
            for (_, book) in self.guestBooks {
                if try await book.revoke(arguments.id) { return ControlNothing() }
            }
            throw ControlFailure("There is no invitation \(arguments.id).")
        }
    }

    private var guestBooks: [(host: Host, book: any GuestBook)] {
        server.allHosts.compactMap { host in
            guard host.isAnonymous, let book = host.service((any GuestBook).self) else { return nil }
            return (host, book)
        }
    }

    /// The book of a domain, or of the only one that has guests.
    private func guestBook(_ domain: String?) throws -> (host: Host, book: any GuestBook) {
        let all = guestBooks
        if let domain {
            let name = JID(domain: domain)?.domainpart
            if let found = all.first(where: { $0.host.domain == name }) { return found }
            throw ControlFailure(
                "\(domain) has no guests: it needs \"authentication: anonymous\" and the module guests.",
                exitCode: ExitStatus.configuration)
        }
        guard let first = all.first else {
            throw ControlFailure(
                "No host has guests: one needs \"authentication: anonymous\" and the module guests.",
                exitCode: ExitStatus.configuration)
        }
        guard all.count == 1 else {
            throw ControlFailure(
                "Several hosts have guests; choose one with --host: \(all.map(\.host.domain).joined(separator: ", "))",
                exitCode: ExitStatus.configuration)
        }
        return first
    }
}
