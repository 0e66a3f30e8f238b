import ArgumentParser
import ServerKit

struct GuestsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "guests", abstract: "Invitations for people without an account.",
        subcommands: [GuestsInvite.self, GuestsList.self, GuestsRevoke.self], defaultSubcommand: GuestsList.self)
}

struct GuestsInvite: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "invite", abstract: "Invite a guest to a conversation.",
        discussion: """
            Prints the address and the password with which the guest logs in; the password is shown this once. The \
            guest can write to the addresses that are named, and to nobody else.
            """)

    @OptionGroup var file: ConfigurationOption
    @Argument(help: "The users and rooms that the guest may write to, here or elsewhere.") var conversation: [String]
    @Option(help: "The domain for the guest, if there are several with guests.") var host: String?
    @Option(help: "What to call the guest.") var name: String?
    @Option(help: "How long the invitation is good, such as \"2 days\".") var expires: String?
    @Option(help: "How many guests may hold it at a time.") var places: Int?
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let peers = try conversation.map { text in
            guard let jid = JID(text) else { throw ValidationError("\(text) is not an address.") }
            return jid
        }
        let lifetime = try expires.map { text in
            guard let duration = Duration(text: text) else {
                throw ValidationError("\(text) is not a duration such as \"2 days\".")
            }
            return Int(duration.components.seconds)
        }
        let pass = try ControlClient.require(try ConfigurationFile.readLoosely(file.path)).ask(
            .inviteGuest, GuestRequest(host: host, peers: peers, name: name, lifetime: lifetime, places: places))
        if json { return try Console.print(json: pass) }
        Console.print("\(pass.address) \(pass.password)")
        Console.complain(pass.hint)
        Console.complain("To take it back: martlet guests revoke \(pass.invitation.id)")
    }
}

struct GuestsList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the invitations that are good, and the guests who are here.")

    @OptionGroup var file: ConfigurationOption
    @Argument(help: "The domain whose invitations to list; all if none is named.") var host: String?
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let invitations = try ControlClient.require(try ConfigurationFile.readLoosely(file.path)).ask(
            .listGuests, GuestListArguments(host: host))
        if json { return try Console.print(json: invitations) }
        let head = ["ID", "HOST", "NAME", "BY", "EXPIRES", "HERE", "CONVERSATION"]
        Console.print(
            table: [head]
                + invitations.map { invitation in
                    [
                        invitation.id, invitation.host, invitation.name ?? "",
                        invitation.inviter?.description ?? "the administrator", invitation.expires,
                        "\(invitation.guests.count) of \(invitation.places)",
                        invitation.peers.map(\.description).joined(separator: " "),
                    ]
                })
    }
}

struct GuestsRevoke: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke", abstract: "Take an invitation back; its guests have to leave.")

    @OptionGroup var file: ConfigurationOption
    @Argument(help: "The invitation's id, as the list shows it.") var id: String

    func run() async throws {
        _ = try ControlClient.require(try ConfigurationFile.readLoosely(file.path)).ask(
            .revokeGuest, GuestRevocation(id: id))
    }
}
