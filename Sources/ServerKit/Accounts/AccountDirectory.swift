/// The accounts of a host: loads them when they are needed, holds what is sent to them meanwhile, and lets go of them
/// when they have been idle.
@ServerActor
public final class AccountDirectory {
    /// Stanzas that wait for an account, each with the fence of the client that sent it.
    typealias Mailbox = ArraySlice<(stanza: Stanza, fence: DurabilityFence?)>
    private typealias Waiter = @ServerActor (Account?) -> Void

    public let store: AccountStore
    weak var host: Host?
    private var loaded: [String: Account] = [:]
    private var mailboxes: [String: Mailbox] = [:]
    private var waiters: [String: [Waiter]] = [:]
    private var loaders: [(id: Int, rank: Int, body: @ServerActor (Account) async throws -> Void)] = []
    private var nextLoader = 0
    /// For what presence modules want accounts to be loaded.
    private var presenceInterests: [(id: Int, isOfInterest: @ServerActor (Presence) -> Bool)] = []
    /// Stanzas in all mailboxes.
    private var waitingStanzas = 0
    /// Accounts that are being made or removed.
    private var changing: Set<String> = []

    /// One at a time changes an account's record: each reads what it changes.
    private let writers = NamedTurns()
    /// Accounts that have resources although they are not in memory yet: their clients may resume what they had before
    /// the server was started. Nil while it is not known which.
    private var expected: Set<String>? = []

    /// How many stanzas may wait for one account; more are answered with `resource-constraint`.
    static let mailboxLimit = 1_000
    /// How many may wait for all accounts of the host together.
    private static let totalLimit = 20_000
    /// How long an account without resources stays loaded.
    private static let idleTime = Duration.seconds(300)

    init(storage: Storage, host: String) {
        store = AccountStore(storage: storage, host: host)
    }

    /// The accounts in memory.
    public var loadedAccounts: [Account] { Array(loaded.values) }

    /// The account, if it is in memory.
    public func loadedAccount(_ localpart: String) -> Account? { loaded[localpart] }

    /// How many resources are connected.
    public var resourceCount: Int { loaded.values.reduce(0) { $0 + $1.resources.count } }

    /// Says which accounts get resources back as soon as they are loaded, or by nil that any may. What is sent to them
    /// loads them until then.
    public func expectResources(of names: Set<String>?) { expected = names }

    /// Whether an account that is not loaded may have resources all the same: those that it had before the server was
    /// started, and gets back when it is loaded.
    public func expectsResources(of localpart: String) -> Bool { expected?.contains(localpart) ?? true }

    /// The account, loaded if need be; nil when there is none or it cannot be read.
    public func account(_ localpart: String) async -> Account? {
        if let account = loaded[localpart] { return account }
        return await withCheckedContinuation { continuation in
            whenLoaded(localpart) { continuation.resume(returning: $0) }
        }
    }

    /// Gives a stanza to an account, now or when it has been loaded.
    func deliver(_ stanza: Stanza, to jid: JID) {
        guard let localpart = jid.localpart else { return }
        if let account = loaded[localpart] { return account.receive(stanza) }
        guard let host else { return }
        // RFC 6121 §8.5.2.2.2: nobody is there to see who comes and goes. An account that is not loaded has no
        // resources, and need not be loaded to learn that, unless a module has a use for the presence.
        if case .presence(let presence) = stanza, expected?.contains(localpart) == false {
            switch presence.kind {
            case .available: if !isOfInterest(presence) { return }
            // What comes while it is being loaded keeps its place.
            case .unavailable: if mailboxes[localpart] == nil, !isOfInterest(presence) { return }
            case .error, .probe, .subscribe, .subscribed, .unsubscribe, .unsubscribed: break
            }
        }
        let fence = host.router.fence
        guard mailboxes[localpart, default: []].count < Self.mailboxLimit, waitingStanzas < Self.totalLimit else {
            return host.router.bounce(stanza, .resourceConstraint)
        }
        fence?.enterDelivery()
        waitingStanzas += 1
        mailboxes[localpart, default: []].append((stanza, fence))
        load(localpart)
    }

    private func isOfInterest(_ presence: Presence) -> Bool {
        presenceInterests.contains { $0.isOfInterest(presence) }
    }

    /// Makes an account that lives as long as its resources.
    ///
    /// - Parameter localpart: one that nobody else has; clients that share it share the account.
    public func makeTemporary(_ localpart: String = RandomToken.make(bytes: 10)) async throws -> Account {
        guard let host else { throw StanzaError.internalServerError }
        let jid = JID(unchecked: localpart, domainpart: host.domain, resourcepart: nil)
        let account = Account(jid: jid, host: host, isLocked: false, isTemporary: true)
        try await runLoaders(account)
        // Another client of the same guest may have been quicker.
        if let other = loaded[localpart] { return other }
        loaded[localpart] = account
        return account
    }

    /// Makes an account.
    ///
    /// - Throws: ``AccountError`` or a storage error.
    public func create(_ localpart: String, password: String) async throws {
        guard let host, !host.isComponent else { throw AccountError.unknown }
        // While another one makes or removes it, there is no telling.
        guard changing.insert(localpart).inserted else { throw AccountError.exists }
        defer { changing.remove(localpart) }
        let iterations = host.server.passwordIterations
        try await store.create(localpart, password: password, iterations: iterations, at: host.server.clock.date)
        if let account = await account(localpart) {
            host.hooks.accountCreated.notify(AccountEvent(account: account))
        }
    }

    /// Changes a password. Sessions go on.
    public func setPassword(_ password: String, of localpart: String) async throws {
        guard let host else { return }
        await writers.begin(localpart)
        defer { writers.end(localpart) }
        try await store.setPassword(password, of: localpart, iterations: host.server.passwordIterations)
    }

    /// Adds keys of the present password: see ``AccountStore/add(_:of:to:)``.
    public func add(_ credentials: SCRAMCredentials, of version: Int, to localpart: String) async throws {
        await writers.begin(localpart)
        defer { writers.end(localpart) }
        try await store.add(credentials, of: version, to: localpart)
    }

    /// Locks an account, whose sessions end, or unlocks it.
    public func setLocked(_ isLocked: Bool, _ localpart: String) async throws {
        await writers.begin(localpart)
        defer { writers.end(localpart) }
        try await store.setLocked(isLocked, localpart)
        // One that is being loaded may have been read before.
        guard let account = await account(localpart) else { return }
        account.isLocked = isLocked
        guard isLocked else { return }
        for resource in account.resources {
            resource.close(StreamError(.policyViolation, "This account has been locked."))
        }
    }

    /// Removes an account: its contacts are told (RFC 6121 §3.2, §3.3 by way of ``Hook/accountRemoved``), its sessions
    /// end, and everything it stored is deleted.
    ///
    /// - Parameter announce: tells whoever asked for it, once that is on disk and before the sessions end.
    public func remove(_ localpart: String, announce: @ServerActor () -> Void = {}) async throws {
        guard let host else { return }
        guard changing.insert(localpart).inserted else { throw AccountError.unknown }
        defer { changing.remove(localpart) }
        guard let account = await account(localpart) else { throw AccountError.unknown }
        host.hooks.accountRemoved.notify(AccountEvent(account: account))
        await writers.begin(localpart)
        defer { writers.end(localpart) }
        try await store.remove(localpart)
        announce()
        for resource in account.resources {
            resource.close(StreamError(.notAuthorized, "This account has been removed."))
        }
        unload(localpart)
        // What the sessions wrote until their end.
        host.server.storage.removeEverything(of: localpart, on: host.domain)
    }

    func unload(_ localpart: String) {
        loaded[localpart] = nil
    }

    /// Lets go of this account, unless another one has taken its place.
    func unload(_ account: Account) {
        if loaded[account.name] === account { loaded[account.name] = nil }
    }

    /// Lets go of all accounts. For a host that is no longer served.
    func unloadAll() {
        loaded = [:]
    }

    /// Lets go of accounts that nobody has used for a while; they are loaded anew when needed.
    func evictIdle(now: Duration) {
        for (localpart, account) in loaded
        where account.resources.isEmpty && now - account.lastUse > Self.idleTime {
            if account.isTemporary { host?.discardTemporary(account) } else { loaded[localpart] = nil }
        }
    }

    /// Whether nothing waits for an account to be loaded.
    var isIdle: Bool { waitingStanzas == 0 }

    // MARK: Loading

    /// Registers what a module loads with every account.
    func addLoader(rank: Int, _ body: @escaping @ServerActor (Account) async throws -> Void) -> Int {
        nextLoader += 1
        let index = loaders.firstIndex { $0.rank > rank } ?? loaders.endIndex
        loaders.insert((nextLoader, rank, body), at: index)
        return nextLoader
    }

    func removeLoader(_ id: Int) {
        loaders.removeAll { $0.id == id }
    }

    func addPresenceInterest(_ isOfInterest: @escaping @ServerActor (Presence) -> Bool) -> Int {
        nextLoader += 1
        presenceInterests.append((nextLoader, isOfInterest))
        return nextLoader
    }

    func removePresenceInterest(_ id: Int) {
        presenceInterests.removeAll { $0.id == id }
    }

    private func whenLoaded(_ localpart: String, _ body: @escaping Waiter) {
        waiters[localpart, default: []].append(body)
        load(localpart)
    }

    private var loading: Set<String> = []

    private func load(_ localpart: String) {
        guard loading.insert(localpart).inserted else { return }
        Task { @ServerActor in
            let outcome: Result<Account?, any Error>
            do { outcome = .success(try await self.read(localpart)) } catch { outcome = .failure(error) }
            self.loading.remove(localpart)
            self.finishLoading(localpart, outcome)
        }
    }

    private func read(_ localpart: String) async throws -> Account? {
        guard let host, !host.isAnonymous, !host.isComponent, let record = try await store.record(of: localpart) else {
            return nil
        }
        let jid = JID(unchecked: localpart, domainpart: host.domain, resourcepart: nil)
        let account = Account(jid: jid, host: host, isLocked: record.isLocked == true)
        try await runLoaders(account)
        return account
    }

    /// Runs all loaders, those included that are registered meanwhile. They read at the same time: the storage's thread
    /// then wakes up once for all of them.
    private func runLoaders(_ account: Account) async throws {
        var done: Set<Int> = []
        while true {
            let due = loaders.filter { !done.contains($0.id) }
            guard !due.isEmpty else { return }
            done.formUnion(due.map(\.id))
            let tasks = due.map { loader in
                let body = loader.body
                return Task { @ServerActor in try await body(account) }
            }
            for task in tasks { try await task.value }
        }
    }

    private func finishLoading(_ localpart: String, _ outcome: Result<Account?, any Error>) {
        guard let host else { return }
        var error = StanzaError.serviceUnavailable
        var account: Account?
        switch outcome {
        // A temporary account, of which the storage knows nothing, may have been made meanwhile.
        case .success(let found): account = found ?? loaded[localpart]
        case .failure(let failure):
            host.log.error(
                "An account cannot be loaded", metadata: ["account": "\(localpart)", "reason": "\(failure)"])
            error = StanzaError(.internalServerError, .wait)
        }
        loaded[localpart] = account
        if let account {
            expected?.remove(localpart)
            host.hooks.accountLoaded.notify(AccountEvent(account: account))
        }
        for waiter in waiters.removeValue(forKey: localpart) ?? [] { waiter(account) }
        for (stanza, fence) in mailboxes.removeValue(forKey: localpart) ?? [] {
            waitingStanzas -= 1
            host.router.track(fence) {
                if let account { account.receive(stanza) } else { refuse(stanza, error, host) }
            }
            fence?.leaveDelivery()
        }
    }

    /// A stanza to an account that does not exist, or cannot be read now. RFC 6121 §8.5.1: messages and IQs are
    /// answered, presence is not, or strangers could find out who has an account.
    private func refuse(_ stanza: Stanza, _ error: StanzaError, _ host: Host) {
        switch stanza {
        case .presence(let presence):
            // RFC 6121 §4.3.2: the same answer as from an account that does not know the one who probes.
            guard presence.kind == .probe, error == .serviceUnavailable else { return }
            host.router.route(
                Presence(to: presence.from?.bare, from: presence.to?.bare, id: presence.id, kind: .unsubscribed))
        // RFC 6121 §8.5.4: nor are headlines, or they would tell who has an account without being online.
        case .message(let message) where message.kind == .headline: return
        case .message, .iq: host.router.bounce(stanza, error)
        }
    }
}

/// Random names that cannot be guessed.
public enum RandomToken {
    /// Lower-case letters and digits, two for each of `bytes` random bytes.
    public static func make(bytes: Int = 16) -> String {
        Hex.encode(Digest.randomBytes(bytes))
    }
}
