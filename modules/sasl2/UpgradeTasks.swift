import ServerKit

/// The keys that an account lacks and a client is ready to derive, one task after the other. XEP-0480.
struct UpgradeTasks {
    /// What comes of a message.
    enum Step {
        case send(Element)
        case store(SCRAMCredentials)
    }

    let success: AuthenticationSuccess
    private var due: [SCRAMHash]
    /// What the client was given to derive the keys of the first from.
    private var salt: [UInt8]?
    private let iterations: Int

    /// What to do for a client that knew the password; nil if there is nothing. One with a token could give the account
    /// another password, and never has to do anything (XEP-0484 §4.2).
    init?(_ requested: [String], offered: [SCRAMHash], _ success: AuthenticationSuccess) {
        guard success.token == nil, let record = success.record else { return nil }
        self.success = success
        due = offered.filter { requested.contains($0.upgradeTask) && record.password[$0] == nil }
        if due.isEmpty { return nil }
        // As hard to guess as the others. RFC 7677 §4: at least 4096.
        iterations = max(4_096, record.password.strongest?.iterations ?? StoredPassword.defaultIterations)
    }

    /// The next one, if any is left.
    var next: SCRAMHash? { due.first }

    /// XEP-0480 §3: the client begins, and gets salt and iteration count.
    mutating func begin(_ next: Element) throws(SASLFailure) -> Step {
        guard let hash = due.first, salt == nil, next["task"] == hash.upgradeTask else { throw .malformedRequest }
        let salt = Digest.randomBytes(StoredPassword.saltLength)
        self.salt = salt
        return .send(
            Element("salt", .scramUpgrade, ["iterations": String(iterations)], text: Base64.encode(salt)))
    }

    /// XEP-0480 §3: the client answers with the SaltedPassword.
    mutating func finish(_ data: Element) throws(SASLFailure) -> Step {
        guard let hash = due.first, let salt, let answer = data.child("hash", .scramUpgrade) else {
            throw .malformedRequest
        }
        let salted = try answer.saslData()
        guard salted.count == hash.algorithm.byteCount else { throw .malformedRequest }
        due.removeFirst()
        self.salt = nil
        return .store(SCRAMCredentials(hash: hash, saltedPassword: salted, salt: salt, iterations: iterations))
    }
}
