import ServerKit

/// The accounts of a server, reached in whichever way is possible at the moment.
protocol Accounts: Sendable {
    /// How many iterations new passwords get.
    var iterations: Int { get async throws }
    /// What the administrator should know about a removal.
    var removalNote: String? { get }
    func add(_ jid: JID, password: String) async throws
    func setPassword(_ password: String, of jid: JID) async throws
    func setLocked(_ isLocked: Bool, _ jid: JID) async throws
    func remove(_ jid: JID) async throws
    func page(_ arguments: AccountPageArguments) async throws -> AccountPage
    func insert(_ batch: AccountBatch) async throws -> [String]
}

/// Those of a running server.
struct RunningAccounts: Accounts, @unchecked Sendable {
    // Sendable by use: a tool asks one question after the other, and no two tasks hold the client.
    let client: ControlClient

    var iterations: Int { get async throws { try client.ask(.status).passwordIterations } }
    var removalNote: String? { nil }

    func add(_ jid: JID, password: String) async throws {
        _ = try client.ask(.addAccount, AccountArguments(address: jid.description, password: password))
    }
    func setPassword(_ password: String, of jid: JID) async throws {
        _ = try client.ask(.setPassword, AccountArguments(address: jid.description, password: password))
    }
    func setLocked(_ isLocked: Bool, _ jid: JID) async throws {
        _ = try client.ask(isLocked ? .lockAccount : .unlockAccount, AccountArguments(address: jid.description))
    }
    func remove(_ jid: JID) async throws {
        _ = try client.ask(.removeAccount, AccountArguments(address: jid.description))
    }
    func page(_ arguments: AccountPageArguments) async throws -> AccountPage {
        try client.ask(.listAccounts, arguments)
    }
    func insert(_ batch: AccountBatch) async throws -> [String] {
        try client.ask(.insertAccounts, batch).existing
    }
}

/// Those in the storage of a server that does not run.
struct StoredAccounts: Accounts {
    let storage: Storage
    let iterations: Int

    var removalNote: String? {
        "The server is not running: contacts of the account have not been told that it is gone."
    }

    func add(_ jid: JID, password: String) async throws {
        try await store(jid).create(try localpart(jid), password: password, iterations: iterations, at: .now)
    }
    func setPassword(_ password: String, of jid: JID) async throws {
        try await store(jid).setPassword(password, of: try localpart(jid), iterations: iterations)
    }
    func setLocked(_ isLocked: Bool, _ jid: JID) async throws {
        try await store(jid).setLocked(isLocked, try localpart(jid))
    }
    func remove(_ jid: JID) async throws {
        try await store(jid).remove(try localpart(jid))
    }
    func page(_ arguments: AccountPageArguments) async throws -> AccountPage {
        try await AccountStore(storage: storage, host: arguments.host).page(arguments)
    }
    func insert(_ batch: AccountBatch) async throws -> [String] {
        try await AccountStore(storage: storage, host: batch.host).insert(batch)
    }

    private func store(_ jid: JID) -> AccountStore {
        AccountStore(storage: storage, host: jid.domainpart)
    }

    private func localpart(_ jid: JID) throws -> String {
        guard let localpart = jid.localpart else { throw AccountError.unknown }
        return localpart
    }
}

/// Opens the accounts of the server that a configuration describes, and closes them after.
enum AccountAccess {
    static func with<Result>(
        _ configuration: ServerConfiguration, _ body: (any Accounts) async throws -> Result
    ) async throws -> Result {
        if let client = try ControlClient.connect(configuration) {
            return try await body(RunningAccounts(client: client))
        }
        let storage: Storage
        do { storage = try OpenStorage.openAsOwner(configuration) } catch let error as StorageError {
            throw CommandFailure("\(error)")
        }
        defer { storage.driver.close() }
        let iterations = configuration.setting(module: "sasl")?.node["password_iterations"]?.text.flatMap { Int($0) }
        return try await body(
            StoredAccounts(storage: storage, iterations: iterations ?? StoredPassword.defaultIterations))
    }
}

extension AccountStore {
    func page(_ arguments: AccountPageArguments) async throws -> AccountPage {
        let limit = min(max(arguments.limit, 1), 1_000)
        let names = try await names(after: arguments.after, limit: limit)
        var accounts: [AccountSummary] = []
        for name in names {
            var summary = AccountSummary(address: "\(name)@\(arguments.host)")
            if arguments.hasDetails, let record = try await record(of: name) {
                summary.created = record.created?.description
                summary.isLocked = record.isLocked ?? false
            }
            accounts.append(summary)
        }
        return AccountPage(accounts: accounts, next: names.count == limit ? names.last : nil)
    }

    func insert(_ batch: AccountBatch) async throws -> [String] {
        try await insert(batch.accounts.map { ($0.localpart, $0.record) })
    }
}
