import ServerKit

/// Guests: people without an account, each bound to an invitation to one conversation.
///
/// An invitation is an address on an anonymous host and a random password, with which any client logs in for some days.
/// It names the users and rooms, here or elsewhere, whom its guest may write to. `martlet guests invite
/// juliet@example.org` makes one, and so does a command in clients. While this is on for an anonymous host nobody gets
/// in there without an invitation, unless `open` says so: then SASL ANONYMOUS (XEP-0175) is offered as well.
///
/// **Whom a guest reaches.** The addresses of the invitation, with all their clients or occupants, and itself. Of its
/// own host it may ask (`get`) anything, of the components that belong to it only what they are and whether they are
/// there; it can change nothing with either. It keeps no contacts and no nodes, subscribes to nobody and invites nobody
/// to rooms. Whatever else it writes is answered with `not-allowed`. For all others there is no such user. Those who
/// may come in without an invitation write to whoever is on this server, and to nobody elsewhere.
///
/// **Who comes back.** The address of an invitation for one guest at a time is the guest's, so that a page that is
/// loaded anew goes on with the conversation; the client that was there before has to go. Of several guests each gets
/// an address that nobody had before, which the client learns as it binds a resource (RFC 6120 §4.3.6). What the server
/// kept for a guest goes when the guest leaves; there is no account, whose password could be changed.
///
/// **Other servers.** With the option `guests` of the module `s2s` the host speaks with domains that an invitation
/// names, and with no others.
///
/// **Unwanted guests.** A guest of an invitation for several comes back under another address. Who is to stay out of a
/// room for good is kept out by revoking the invitation, or by banning the guests' domain there.
final class Guests: Module {
    static let info = ModuleInfo(
        "guests", "Lets invited people without an account take part in one conversation",
        group: .optional, defaultOn: false, requires: ["sasl"])

    struct Options: ModuleOptions {
        /// Who may invite.
        enum Inviters: String, CaseIterable, Sendable { case admins, users }

        let isOpen: Bool
        let rate: Rate
        let lifetime: Duration
        let longestLifetime: Duration
        let places: Int
        let capacity: Int
        let inviters: Inviters
        let perUser: Int

        init(_ config: inout OptionReader) {
            isOpen = config.bool(
                "open", default: false,
                "Whether people without an invitation get in as well, by ANONYMOUS; they write within this server only."
            )
            rate = config.rate(
                "rate", default: Rate(60, per: .minutes(1)),
                "How many stanzas a guest may send; so many may come at once.")
            lifetime = config.duration(
                "lifetime", default: .days(7), in: .minutes(1)...(.days(3_650)), "How long an invitation is good.")
            longestLifetime = config.duration(
                "max_lifetime", default: .days(90), in: .minutes(1)...(.days(3_650)),
                "The longest that whoever invites may choose.")
            places = config.int(
                "max_places", default: 50, in: 1...10_000, "How many guests one invitation may admit at a time.")
            capacity = config.int(
                "max_invitations", default: 1_000, in: 1...100_000, "Invitations that are good at the same time.")
            inviters = config.choice(
                "invite", default: Inviters.admins,
                "Who of a host's users may invite with their client: users only to themselves and to rooms.")
            perUser = config.int(
                "invitations_per_user", default: 10, in: 1...10_000,
                "Invitations of one user that are good at the same time; administrators may make more.")
            if lifetime > longestLifetime { config.report("lifetime", "it is longer than max_lifetime.") }
        }
    }

    private(set) var options: Options
    private var book: InvitationBook?

    init(options: Options) {
        self.options = options
    }

    /// New options hold for those who are here, too. Who may invite is asked when the command is registered.
    func reconfigure(_ options: Options) -> Bool {
        guard options.inviters == self.options.inviters || book != nil else { return false }
        let closes = self.options.isOpen && !options.isOpen
        self.options = options
        book?.options = options
        if closes { book?.endUninvited() }
        return true
    }

    func load(into host: ModuleHost) {
        if host.host.isAnonymous {
            receiveGuests(host)
        } else {
            addCommands(host)
            host.observe(.accountRemoved) { event in self.revokeAll(by: event.account.jid, host) }
        }
        host.onConfigurationChange {
            // Accounts of its own, if it had any, go on as they are.
            if self.book == nil, host.host.isAnonymous { self.receiveGuests(host) }
        }
        host.onUnload {
            // Nothing holds them to their conversation any more.
            self.book?.endAllSessions(StreamError(.reset, "Guests are not received any more."))
            self.book = nil
        }
    }

    /// Takes back what somebody made who is no user any more.
    private func revokeAll(by inviter: JID, _ host: ModuleHost) {
        let ids = Self.invitations(of: inviter, host.server).map(\.id)
        guard !ids.isEmpty else { return }
        Task { @ServerActor in
            do { try await Self.revoke(ids, host.server) } catch {
                host.log.error("An invitation cannot be revoked", metadata: ["reason": "\(error)"])
            }
        }
    }

    private func receiveGuests(_ host: ModuleHost) {
        let book = InvitationBook(host, options)
        self.book = book
        // Those who came before there was a book are not in it.
        book.endAllSessions(StreamError(.reset, "Guests need an invitation now."))
        host.provide((any GuestBook).self, book)
        host.startUp { try await book.load() }
        host.observe(.resourceBound) { book.receive($0.resource) }
        host.observe(.accountRemoved) { book.forget($0.account) }
        host.every(.seconds(5)) { book.sweep() }
        Confinement(host, book).confine()
    }
}
