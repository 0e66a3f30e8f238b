import ArgumentParser
import ServerKit

struct User: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Add, change and remove accounts.",
        discussion: "Works whether the server runs or not.",
        subcommands: [
            UserAdd.self, UserPassword.self, UserRemove.self, UserList.self, UserLock.self, UserUnlock.self,
            UserImport.self,
        ])
}

/// The address of an account on the command line.
struct AccountAddress: ExpressibleByArgument {
    let jid: JID

    init?(argument: String) {
        guard let jid = JID(argument), jid.localpart != nil, jid.resourcepart == nil else { return nil }
        self.jid = jid
    }

    var defaultValueDescription: String { jid.description }
}

/// What the commands about one account have in common.
struct AccountOptions: ParsableArguments {
    @OptionGroup var file: ConfigurationOption
    @Argument(help: ArgumentHelp("The account's address, such as anna@example.org.", valueName: "jid"))
    var address: AccountAddress

    var jid: JID { address.jid }

    /// The configuration, which must know the account's host.
    func configuration() throws -> ServerConfiguration {
        let configuration = try ConfigurationFile.readLoosely(file.path)
        try configuration.requireHost(jid.domainpart, path: file.path)
        return configuration
    }
}

extension ServerConfiguration {
    /// - Throws: a ``CommandFailure`` that names the host that was probably meant.
    func requireHost(_ domain: String, path: String) throws {
        let names = hosts.map(\.name)
        guard !names.contains(domain) else { return }
        let hint = Suggestion.nearest(to: domain, in: names).map { " Did you mean \($0)?" } ?? ""
        throw CommandFailure("\(path) has no host \(domain).\(hint)", ExitStatus.configuration)
    }
}

/// Runs something about one account and words what stands in its way.
func withAccount<Result>(
    _ options: AccountOptions, _ body: (any Accounts) async throws -> Result
) async throws -> Result {
    do {
        return try await AccountAccess.with(try options.configuration(), body)
    } catch let error as AccountError {
        throw CommandFailure("\(options.jid): \(error)")
    } catch let error as ControlFailure {
        throw CommandFailure("\(options.jid): \(error)", error.exitCode)
    }
}

struct UserAdd: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Add an account.",
        discussion: "Asks for the password on the terminal unless told where else to find it.")

    @OptionGroup var account: AccountOptions
    @OptionGroup var options: PasswordOptions

    func run() async throws {
        // What is wrong is said before anybody has typed a password.
        _ = try account.configuration()
        let password = try options.password(for: account.jid.description)
        try await withAccount(account) { try await $0.add(account.jid, password: password.text) }
        Console.print(password.isNew ? password.text : "Added \(account.jid).")
    }
}

struct UserPassword: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "passwd", abstract: "Change an account's password.",
        discussion: "Sessions that are open go on.")

    @OptionGroup var account: AccountOptions
    @OptionGroup var options: PasswordOptions

    func run() async throws {
        _ = try account.configuration()
        let password = try options.password(for: account.jid.description)
        try await withAccount(account) { try await $0.setPassword(password.text, of: account.jid) }
        Console.print(password.isNew ? password.text : "Changed the password of \(account.jid).")
    }
}

struct UserRemove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Remove an account and everything it stored.",
        discussion: "On a running server its sessions end and its contacts are told. There is no way back.")

    @OptionGroup var account: AccountOptions

    func run() async throws {
        try await withAccount(account) { accounts in
            try await accounts.remove(account.jid)
            Console.print("Removed \(account.jid).")
            if let note = accounts.removalNote { Console.complain(note) }
        }
    }
}

struct UserLock: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lock", abstract: "Keep an account from logging in; what it stored is kept.",
        discussion: "On a running server its sessions end.")

    @OptionGroup var account: AccountOptions

    func run() async throws {
        try await withAccount(account) { try await $0.setLocked(true, account.jid) }
        Console.print("Locked \(account.jid).")
    }
}

struct UserUnlock: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unlock", abstract: "Let an account log in again.")

    @OptionGroup var account: AccountOptions

    func run() async throws {
        try await withAccount(account) { try await $0.setLocked(false, account.jid) }
        Console.print("Unlocked \(account.jid).")
    }
}
