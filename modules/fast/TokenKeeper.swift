import ServerKit

/// Issues, checks, replaces and revokes the tokens of a host's accounts.
@ServerActor
final class TokenKeeper: TokenAuthority {
    private let host: ModuleHost
    private let options: FAST.Options
    private let store: MapStore<TokenSlots>
    /// One at a time changes the tokens of an account.
    private let turns = NamedTurns()

    /// How exactly the time of the last use is kept where nothing else changes.
    private static let precision = Duration.seconds(3_600)

    init(host: ModuleHost, options: FAST.Options) {
        self.host = host
        self.options = options
        store = host.map("fast")
    }

    // MARK: The offer

    /// XEP-0484 §3.1. TLS early data is not accepted, which is said by leaving `tls-0rtt` out.
    func feature(for stream: ClientStream) -> Element? {
        guard stream.transport.isSecure else { return nil }
        return Element("fast", .fast) {
            for mechanism in mechanisms(for: stream) { Element("mechanism", text: mechanism.rawValue) }
        }
    }

    private func mechanisms(for stream: ClientStream) -> [HashedTokenMechanism] {
        HashedTokenMechanism.usable(with: stream.transport.tls?.channelBindings ?? [])
    }

    // MARK: Logging in

    /// XEP-0484 §3.4.
    func attempt(
        _ authenticate: Element, initialResponse: [UInt8]?, agentID: String?, on stream: ClientStream
    ) throws(SASLFailure) -> TokenAttempt? {
        guard let mechanism = authenticate["mechanism"].flatMap({ HashedTokenMechanism(rawValue: $0) }) else {
            return nil
        }
        let request = try FASTRequest(authenticate)
        // XEP-0484 §4.1. Without the id there is no telling whose token it is.
        guard request.isPresent, let agentID else {
            throw SASLFailure(.malformedRequest, "A token comes with <fast/> and the id of the user agent.")
        }
        return TokenAttempt(mechanism: mechanism, initialResponse: initialResponse) { account, record in
            try await self.candidates(agentID, of: account, mechanism, record)
        }
    }

    /// The tokens that the client may hold. One that has become worthless only fails who holds it, in words that tell
    /// the client to ask for the password (XEP-0484 §4.2).
    private func candidates(
        _ agentID: String, of account: String, _ mechanism: HashedTokenMechanism, _ record: AccountRecord?
    ) async throws -> [HashedToken] {
        let client = UserAgent.client(agentID, of: account, on: host.host)
        let slots = try await store.value(client, of: account)
        guard let record, let slots else { return [] }
        return slots.tokens.filter { $0.mechanism == mechanism }.map { token in
            HashedToken(
                id: token.nonce,
                key: Array(token.text(secret: host.server.secret, account: account, client: client).utf8),
                failure: token.isValid(at: host.clock.date, record: record) ? nil : .credentialsExpired)
        }
    }

    // MARK: After the login

    func conclude(
        _ success: AuthenticationSuccess, _ authenticate: Element, agent: UserAgent?, client: String?,
        on stream: ClientStream
    ) async throws(SASLFailure) -> Element? {
        guard let client, let record = success.record else { return nil }
        let request = try FASTRequest(authenticate)
        let wanted = request.wantedMechanism.flatMap { mechanisms(for: stream).contains($0) ? $0 : nil }
        guard success.token != nil || wanted != nil else { return nil }
        let account = success.localpart
        await turns.begin(account)
        defer { turns.end(account) }
        do {
            // The account may have been removed, locked or given another password since it was looked up.
            guard let present = try await host.accounts.store.record(of: account), present.isLocked != true,
                present.created == record.created, present.passwordVersion == record.passwordVersion,
                present.lockCount == record.lockCount
            else { throw SASLFailure.credentialsExpired }
            let old = try await store.value(client, of: account)
            var slots = old ?? TokenSlots(userAgent: agent ?? UserAgent(), since: host.clock.date)
            if let nonce = success.token { try use(nonce, of: &slots, request, record) }
            let token = wanted.map { make($0, record) } ?? replacement(for: success.token, in: slots, request, record)
            if let token { slots.add(token) }
            if let agent { slots.userAgent = agent }
            try await write(slots, for: client, of: account, old)
            return token.map { element($0, account: account, client: client) }
        } catch let failure as SASLFailure {
            throw failure
        } catch {
            host.log.error("A token cannot be kept", metadata: ["account": "\(account)", "reason": "\(error)"])
            // Without it the client can still work, unless its token was to be worthless from now on.
            if success.token != nil { throw .temporaryAuthFailure }
            return nil
        }
    }

    /// Looks again at a token that was right a moment ago: another stream may have used or revoked it meanwhile.
    private func use(
        _ nonce: String, of slots: inout TokenSlots, _ request: FASTRequest, _ record: AccountRecord
    ) throws(SASLFailure) {
        guard let token = slots.token(nonce) else { throw .credentialsExpired }
        // XEP-0484 §3.4: what has been sent before is a replay.
        if let count = request.count, let last = token.count, count <= last { throw .notAuthorized }
        slots.use(nonce, count: request.count, at: host.clock.date)
        if request.invalidates { slots.invalidate() }
    }

    /// A new token in the place of one that has been in use for long. XEP-0484 §3.5; §3.6 has none for a client that
    /// gives its token up.
    private func replacement(
        for nonce: String?, in slots: TokenSlots, _ request: FASTRequest, _ record: AccountRecord
    ) -> StoredToken? {
        guard let nonce, !request.invalidates, let used = slots.token(nonce),
            host.clock.date >= used.issued.advanced(by: options.rotation)
        else { return nil }
        return make(used.mechanism, record)
    }

    private func make(_ mechanism: HashedTokenMechanism, _ record: AccountRecord) -> StoredToken {
        StoredToken(mechanism, issued: host.clock.date, lifetime: options.lifetime, record: record)
    }

    /// XEP-0484 §3.3.
    private func element(_ token: StoredToken, account: String, client: String) -> Element {
        let text = token.text(secret: host.server.secret, account: account, client: client)
        return Element("token", .fast, ["token": text, "expiry": token.expiry.description])
    }

    /// Stores what has changed, and waits for the disk where the client or an attacker could tell the difference.
    private func write(
        _ slots: TokenSlots, for client: String, of account: String, _ old: TokenSlots?
    ) async throws {
        guard slots != old else { return }
        if slots.tokens.isEmpty {
            return try await host.server.storage.durable(store.delete(client, of: account))
        }
        if let old, slots.lastUse < old.lastUse.advanced(by: Self.precision) {
            var same = slots
            same.lastUse = old.lastUse
            if same == old { return }
        }
        if old == nil { try await makeRoom(in: account) }
        try await host.server.storage.durable(store.set(slots, client, of: account))
    }

    /// Drops what has expired, and if that is not enough, the clients that were away longest.
    private func makeRoom(in account: String) async throws {
        var entries = try await store.entries(of: account).sorted { $0.value.lastUse < $1.value.lastUse }
        let date = host.clock.date
        let expired = entries.filter { entry in entry.value.tokens.allSatisfy { $0.expiry <= date } }
        for entry in expired { store.delete(entry.key, of: account) }
        entries.removeAll { entry in expired.contains { $0.key == entry.key } }
        for entry in entries.prefix(max(0, entries.count - options.clients + 1)) {
            store.delete(entry.key, of: account)
        }
    }

    // MARK: For the owner

    func clients(of account: String) async throws -> [TokenClient] {
        guard let record = try await host.accounts.store.record(of: account) else { return [] }
        return try await store.entries(of: account).compactMap { entry in
            let slots = entry.value
            guard slots.tokens.contains(where: { $0.isValid(at: host.clock.date, record: record) }) else { return nil }
            return TokenClient(
                client: entry.key, userAgent: slots.userAgent, since: slots.since, lastUse: slots.lastUse)
        }
    }

    func revoke(client: String, of account: String) async throws {
        await turns.begin(account)
        defer { turns.end(account) }
        try await host.server.storage.durable(store.delete(client, of: account))
    }
}

/// What a client says about tokens in its `<authenticate/>`.
private struct FASTRequest {
    /// Whether it says that it comes with a token.
    let isPresent: Bool
    /// The number of this attempt with the token. XEP-0484 §3.4.
    let count: Int?
    /// Whether the token is to be worthless from now on. XEP-0484 §3.6.
    let invalidates: Bool
    /// The mechanism for which it wants a token; nil if it wants none, or one we do not know. XEP-0484 §3.2.
    let wantedMechanism: HashedTokenMechanism?

    init(_ authenticate: Element) throws(SASLFailure) {
        let fast = authenticate.child("fast", .fast)
        isPresent = fast != nil
        if let text = fast?["count"] {
            guard let number = UInt32(text) else { throw .malformedRequest }
            count = Int(number)
        } else {
            count = nil
        }
        switch fast?["invalidate"] {
        case nil, "false", "0": invalidates = false
        case "true", "1": invalidates = true
        default: throw .malformedRequest
        }
        wantedMechanism = authenticate.child("request-token", .fast)?["mechanism"]
            .flatMap { HashedTokenMechanism(rawValue: $0) }
    }
}
