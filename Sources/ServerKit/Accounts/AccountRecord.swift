/// What is stored about an account.
public struct AccountRecord: Sendable, Codable, Hashable {
    /// Salted keys, never the password.
    public var password: StoredPassword
    /// When the account was made.
    public var created: Timestamp?
    /// Set for an account that may not log in.
    public var isLocked: Bool?
    /// How often the password was changed: what was granted to somebody who knew an older one is void.
    public var passwordVersion: Int?
    /// How often the account was locked: what was granted before is void.
    public var lockCount: Int?

    public init(password: StoredPassword, created: Timestamp? = nil, isLocked: Bool? = nil) {
        self.password = password
        self.created = created
        self.isLocked = isLocked
    }
}

/// Why an account could not be made or changed.
public enum AccountError: Error, Sendable, CustomStringConvertible {
    case exists
    case unknown
    case badPassword

    public var description: String {
        switch self {
        case .exists: "The account exists already."
        case .unknown: "There is no such account."
        case .badPassword: "A password must not be empty, nor contain control characters."
        }
    }
}

/// The accounts of a host as they are stored. Works without a running server, too.
public struct AccountStore: Sendable {
    let records: KeyValueStore<AccountRecord>
    let storage: Storage
    let domain: String

    public init(storage: Storage, host: String) {
        self.storage = storage
        domain = host
        records = storage.values("accounts", on: host, of: AccountRecord.self)
    }

    nonisolated(nonsending) public func record(of localpart: String) async throws(StorageError) -> AccountRecord? {
        try await records.value(for: localpart)
    }

    /// A page of the localparts, in order.
    nonisolated(nonsending) public func names(after: String? = nil, limit: Int = 1_000) async throws(StorageError) -> [String] {
        try await records.owners(after: after, limit: limit)
    }

    /// How many accounts there are.
    nonisolated(nonsending) public func count() async throws(StorageError) -> Int {
        try await records.count()
    }

    /// Makes an account and returns once it is on disk.
    ///
    /// - Throws: ``AccountError`` or a storage error.
    public func create(_ localpart: String, password: String, iterations: Int, at date: Timestamp) async throws {
        guard try await record(of: localpart) == nil else { throw AccountError.exists }
        let stored = try await Self.derive(password, iterations: iterations)
        guard try await record(of: localpart) == nil else { throw AccountError.exists }
        try await storage.durable(records.set(AccountRecord(password: stored, created: date), for: localpart))
    }

    /// Makes accounts whose keys were derived elsewhere, in one commit, and returns once they are on disk. Those that
    /// exist already stay as they are.
    ///
    /// - Returns: the localparts that existed.
    public func insert(_ accounts: [(localpart: String, record: AccountRecord)]) async throws -> [String] {
        var existing: [String] = []
        var writes: [StorageWrite] = []
        for account in accounts {
            if try await record(of: account.localpart) == nil {
                writes.append(records.setting(account.record, for: account.localpart))
            } else {
                existing.append(account.localpart)
            }
        }
        try await storage.durable(storage.driver.enqueue(writes))
        return existing
    }

    /// Changes a password and returns once it is on disk.
    public func setPassword(_ password: String, of localpart: String, iterations: Int) async throws {
        guard try await record(of: localpart) != nil else { throw AccountError.unknown }
        let stored = try await Self.derive(password, iterations: iterations)
        guard var record = try await record(of: localpart) else { throw AccountError.unknown }
        record.password = stored
        record.passwordVersion = (record.passwordVersion ?? 0) + 1
        try await storage.durable(records.set(record, for: localpart))
    }

    /// Adds keys of the present password for another hash and returns once they are on disk.
    ///
    /// - Parameter version: The version of the password they were derived from.
    /// - Throws: ``AccountError/badPassword`` if that is not the present one any more, or a storage error.
    public func add(_ credentials: SCRAMCredentials, of version: Int, to localpart: String) async throws {
        guard var record = try await record(of: localpart) else { throw AccountError.unknown }
        guard record.passwordVersion ?? 0 == version else { throw AccountError.badPassword }
        guard record.password[credentials.hash] == nil else { return }
        record.password.credentials.append(credentials)
        try await storage.durable(records.set(record, for: localpart))
    }

    /// Locks or unlocks an account and returns once that is on disk.
    public func setLocked(_ isLocked: Bool, _ localpart: String) async throws {
        guard var record = try await record(of: localpart) else { throw AccountError.unknown }
        if isLocked, record.isLocked != true { record.lockCount = (record.lockCount ?? 0) + 1 }
        record.isLocked = isLocked ? true : nil
        try await storage.durable(records.set(record, for: localpart))
    }

    /// Removes an account with all that any module stored for it, and returns once that is on disk.
    public func remove(_ localpart: String) async throws {
        guard try await record(of: localpart) != nil else { throw AccountError.unknown }
        try await storage.durable(storage.removeEverything(of: localpart, on: domain))
    }

    /// The keys of a password. Takes milliseconds, on another thread.
    @concurrent
    public static func derive(_ password: String, iterations: Int) async throws(AccountError) -> StoredPassword {
        let stored = StoredPassword.derive(password: password, iterations: iterations) { password in
            try? PRECIS.opaqueString(password)
        }
        guard let stored else { throw .badPassword }
        return stored
    }
}
