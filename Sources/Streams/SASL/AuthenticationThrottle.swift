/// Slows down guessing of passwords: counts failures by network and by account, makes each one beyond a number of free
/// ones wait twice as long as the last, and forgets with time.
///
/// Existing and missing accounts are treated alike. A success clears the account but not the network, or somebody with
/// an account here could guess at others between logins of their own.
public struct AuthenticationThrottle: Sendable {
    /// Whether an attempt may go on.
    public enum Verdict: Hashable, Sendable {
        case allowed
        case refused(retryAfter: Duration)
    }

    /// When failures begin to cost, and how much.
    public struct Rule: Hashable, Sendable {
        /// Failures without consequence.
        public var free: Int
        /// The wait after the first failure beyond those. It doubles with each further one.
        public var firstDelay: Duration
        /// The longest wait.
        public var maximumDelay: Duration
        /// The time in which one failure is forgotten.
        public var forgiveness: Duration
        /// How many networks or accounts are remembered; the one that failed longest ago is forgotten first.
        public var capacity: Int

        public init(
            free: Int, firstDelay: Duration, maximumDelay: Duration, forgiveness: Duration, capacity: Int = 10_000
        ) {
            self.free = free
            self.firstDelay = firstDelay
            self.maximumDelay = maximumDelay
            self.forgiveness = forgiveness
            self.capacity = capacity
        }

        /// A school or an office behind one address mistypes a few times a minute.
        public static let network = Rule(
            free: 20, firstDelay: .seconds(2), maximumDelay: .seconds(900), forgiveness: .seconds(30))
        /// The longest wait is short: anybody may fail in somebody else's name.
        public static let account = Rule(
            free: 5, firstDelay: .seconds(1), maximumDelay: .seconds(60), forgiveness: .seconds(60))
    }

    private var networks: Table<PeerNetwork>
    /// By hash, so that names of any length cost the same; a collision makes somebody wait a little.
    private var accounts: Table<Int>

    public init(network: Rule = .network, account: Rule = .account) {
        networks = Table(rule: network)
        accounts = Table(rule: account)
    }

    /// Whether an attempt may go on; ask before anything is computed for it.
    ///
    /// - Parameters:
    ///   - address: nil where there is none, as on a local socket.
    ///   - account: The bare JID, prepared, if it is known yet.
    ///   - now: The time since any fixed moment, by a clock that does not jump.
    public func verdict(address: PeerNetwork?, account: String?, now: Duration) -> Verdict {
        let waits = [
            address.map { networks.wait($0, now: now) },
            account.map { accounts.wait($0.hashValue, now: now) },
        ]
        let wait = waits.lazy.compactMap(\.self).max() ?? .zero
        return wait > .zero ? .refused(retryAfter: wait) : .allowed
    }

    /// Counts a wrong password. Not for attempts that were refused, aborted or failed through our own fault.
    public mutating func recordFailure(address: PeerNetwork?, account: String?, now: Duration) {
        if let address { networks.fail(address, now: now) }
        if let account { accounts.fail(account.hashValue, now: now) }
    }

    /// Forgets what was held against the account.
    public mutating func recordSuccess(account: String) {
        accounts.forget(account.hashValue)
    }

    /// How many networks and accounts are remembered.
    public var count: Int { networks.count + accounts.count }

    private struct Record {
        var failures: Int
        var lastFailure: Duration
        /// Up to when forgiveness was granted.
        var since: Duration
        var blockedUntil: Duration

        mutating func forgive(_ rule: Rule, now: Duration) {
            guard now > since else { return }
            let forgiven = Int(min((now - since) / rule.forgiveness, Double(failures)))
            failures -= forgiven
            since = failures == 0 ? now : since + rule.forgiveness * forgiven
        }
    }

    private struct Table<Key: Hashable & Sendable>: Sendable {
        let rule: Rule
        private var records: [Key: Record] = [:]

        init(rule: Rule) {
            self.rule = rule
        }

        var count: Int { records.count }

        func wait(_ key: Key, now: Duration) -> Duration {
            guard let record = records[key] else { return .zero }
            return min(max(.zero, record.blockedUntil - now), rule.maximumDelay)
        }

        mutating func fail(_ key: Key, now: Duration) {
            if records[key] == nil { makeRoom(now: now) }
            var record = records[key] ?? Record(
                failures: 0, lastFailure: now, since: now, blockedUntil: .zero)
            record.forgive(rule, now: now)
            record.lastFailure = now
            // More failures than the doubling can count would change nothing, but take as long to be forgotten.
            record.failures = min(record.failures + 1, rule.free + 32)
            if record.failures > rule.free {
                let delay = rule.firstDelay * (1 << (record.failures - rule.free - 1))
                record.blockedUntil = now + min(delay, rule.maximumDelay)
            }
            records[key] = record
        }

        mutating func forget(_ key: Key) {
            records[key] = nil
        }

        /// Drops what is forgiven, and if that is not enough, the oldest eighth: one pass for many failures, so that
        /// a flood from everywhere does not cost a pass each.
        private mutating func makeRoom(now: Duration) {
            guard records.count >= max(1, rule.capacity) else { return }
            records = records.filter { _, record in
                var record = record
                record.forgive(rule, now: now)
                return record.failures > 0 || record.blockedUntil > now
            }
            guard records.count >= max(1, rule.capacity) else { return }
            let byAge = records.sorted { $0.value.lastFailure < $1.value.lastFailure }
            for (key, _) in byAge.prefix(max(1, byAge.count / 8)) { records[key] = nil }
        }
    }
}
