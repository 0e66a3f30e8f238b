import ServerKit

/// A token as it is stored. A mechanism of the family HT needs the token itself, as the key of a MAC, so that a hash
/// of it would not do. What is stored is only a number, from which and from the server's secret the token follows: who
/// sees this store alone, in an export or in part of a backup, cannot log in.
struct StoredToken: Codable, Sendable, Hashable {
    /// Random, and unlike any other; names the token, too.
    let nonce: String
    /// Servers must bind tokens to the mechanism that the client asked for. XEP-0484 §3.4.
    let mechanism: HashedTokenMechanism
    let issued: Timestamp
    let expiry: Timestamp
    /// The account's ``AccountRecord/passwordVersion`` and ``AccountRecord/lockCount`` at that time.
    let passwordVersion: Int
    let lockCount: Int
    /// When the account was made: a later one of the same name is another.
    let created: Timestamp?
    /// The highest counter that came with it. XEP-0484 §3.4.
    var count: Int?

    init(
        _ mechanism: HashedTokenMechanism, issued: Timestamp, lifetime: Duration, record: AccountRecord
    ) {
        nonce = RandomToken.make()
        self.mechanism = mechanism
        self.issued = issued
        expiry = issued.advanced(by: lifetime)
        passwordVersion = record.passwordVersion ?? 0
        lockCount = record.lockCount ?? 0
        created = record.created
    }

    /// The token. The prefix lets tools that look for leaked secrets find it (RFC 8959).
    func text(secret: [UInt8], account: String, client: String) -> String {
        let subject = Array("fast\0\(account)\0\(client)\0\(nonce)".utf8)
        return "secret-token:\(Hex.encode(Digest.hmac(.sha256, key: secret, subject)))"
    }

    /// Whether it still opens the account.
    func isValid(at date: Timestamp, record: AccountRecord) -> Bool {
        date < expiry && isOf(record)
    }

    /// Whether the account is the one it was made for, with the password it had.
    func isOf(_ record: AccountRecord) -> Bool {
        created == record.created && passwordVersion == record.passwordVersion ?? 0
            && lockCount == record.lockCount ?? 0
    }
}

/// The tokens of one client: the one it uses, and one that it was given and has not used yet. XEP-0484 §5.1.
struct TokenSlots: Codable, Sendable, Hashable {
    var userAgent: UserAgent
    let since: Timestamp
    var lastUse: Timestamp
    private(set) var current: StoredToken?
    private(set) var new: StoredToken?

    init(userAgent: UserAgent, since: Timestamp) {
        self.userAgent = userAgent
        self.since = since
        lastUse = since
    }

    /// The tokens that the client may come with, the newest first.
    var tokens: [StoredToken] { [new, current].compactMap(\.self) }

    func token(_ nonce: String) -> StoredToken? { tokens.first { $0.nonce == nonce } }

    /// Puts a token beside the one in use, which stays valid until this one was used. One that was never used goes.
    /// XEP-0484 §3.5.
    mutating func add(_ token: StoredToken) {
        new = token
    }

    /// Notes that a token was used: those that are older are worth nothing from now on. XEP-0484 §3.5.
    mutating func use(_ nonce: String, count: Int?, at date: Timestamp) {
        if let new, new.nonce == nonce {
            current = new
            self.new = nil
        }
        if let count { current?.count = count }
        lastUse = date
    }

    /// Forgets all tokens. XEP-0484 §3.6 is about the one that was used; one that the client was given beside it, and
    /// does not know or does not want, must not survive it.
    mutating func invalidate() {
        current = nil
        new = nil
    }
}
