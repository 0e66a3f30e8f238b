import ServerKit

/// What the clients around the accounts of a host can do: notes what their presence claims, asks whoever claims
/// something new, and tells those who want to know. XEP-0115 §5.4.
@ServerActor
final class PeerCaps: Capabilities {
    typealias Profile = CapsCache.Profile

    /// A resource around an account.
    struct Peer {
        var claim: CapsClaim
        /// What it can do; nil while that is not known.
        var profile: Profile?
    }

    /// The resources around an account.
    @ServerActor
    final class Surroundings {
        fileprivate(set) var peers: [JID: Peer] = [:]
        init() {}
    }

    enum Around: AccountKey { static let defaultValue: Surroundings? = nil }

    private struct Stored: Codable, Sendable {
        let jid: JID
        let claim: CapsClaim
    }

    /// A resource around an account that claims what is being asked for.
    private struct Waiter: Hashable {
        let account: String
        let jid: JID
    }

    /// A request that is under way, and those for whom the answer counts.
    private struct Request {
        var asked: Set<JID>
        var waiting: Set<Waiter>
    }

    var options: Caps.Options
    let cache: CapsCache
    private let host: ModuleHost
    private let known: HookList<CapabilitiesEvent>
    private let stored: KeyValueStore<[Stored]>
    private var requests: [CapsClaim.Key: Request] = [:]
    /// How often each bare JID was asked lately.
    private var recent: [JID: Int] = [:]
    private var isUnloaded = false
    /// Reads what was known before a restart.
    private let loading: Task<Void, Never>

    /// How long a client may take to answer.
    private static let patience = Duration.seconds(120)
    /// How many who claim the same are asked, before the next one to claim it is.
    private static let attempts = 5

    init(_ host: ModuleHost, _ options: Caps.Options) {
        self.host = host
        self.options = options
        let cache = CapsCache(host)
        self.cache = cache
        loading = Task { @ServerActor in await cache.load(limit: options.cache) }
        known = host.host.hooks.list(.capabilitiesKnown)
        stored = host.store("caps-around")
    }

    func unload() { isUnloaded = true }

    // MARK: The service

    func info(of jid: JID, seenBy account: Account) -> DiscoInfo? { account[Around.self]?.peers[jid]?.profile?.info }

    func supports(_ feature: Namespace, _ jid: JID, seenBy account: Account) -> Bool {
        account[Around.self]?.peers[jid]?.profile?.features.contains(feature) ?? false
    }

    func resources(supporting feature: Namespace, seenBy account: Account) -> [JID] {
        guard let peers = account[Around.self]?.peers else { return [] }
        return peers.compactMap { $0.value.profile?.features.contains(feature) ?? false ? $0.key : nil }
    }

    // MARK: Presence

    /// Notes what a resource claims. XEP-0115 §8.4: presence that says nothing leaves it as it is.
    func note(_ presence: Presence, of jid: JID, around account: Account) {
        guard let claim = CapsClaim(presence), let around = account[Around.self] else { return }
        let before = around.peers[jid]
        if before?.claim == claim, before?.profile != nil { return }
        guard before != nil || hasRoom(for: jid, around, account) else { return }
        var peer = before ?? Peer(claim: claim)
        peer.claim = claim
        around.peers[jid] = peer
        if let profile = cache.profile(claim.key) {
            learn(profile, jid, around: account)
        } else {
            ask(claim, jid, account)
        }
    }

    /// Own resources are bounded by what the account may bind.
    private func hasRoom(for jid: JID, _ around: Surroundings, _ account: Account) -> Bool {
        if jid.bare == account.jid { return true }
        guard around.peers.count < options.resources else { return false }
        // A client has one resource; who has this many has found a way to fill memory.
        return around.peers.keys.lazy.filter { $0.localpart == jid.localpart && $0.domainpart == jid.domainpart }
            .prefix(options.resourcesPerContact).count < options.resourcesPerContact
    }

    /// A resource has gone, or all of a bare JID have.
    func forget(_ jid: JID, around account: Account) {
        guard let around = account[Around.self] else { return }
        if jid.isFull {
            around.peers[jid] = nil
        } else if !around.peers.isEmpty {
            around.peers = around.peers.filter { $0.key.bare != jid }
        }
    }

    // MARK: Asking

    /// Asks a resource, unless somebody who claims the same is being asked. XEP-0115 §6.2.
    private func ask(_ claim: CapsClaim, _ jid: JID, _ account: Account) {
        if let request = requests[claim.key] {
            guard request.waiting.count < options.resources else { return }
            requests[claim.key]?.waiting.insert(Waiter(account: account.name, jid: jid))
            return
        }
        guard requests.count < options.requests, mayAsk(jid) else { return }
        requests[claim.key] = Request(asked: [jid], waiting: [Waiter(account: account.name, jid: jid)])
        send(claim, to: jid)
    }

    /// Nobody is asked without end, however often the claim changes.
    private func mayAsk(_ jid: JID) -> Bool {
        let count = recent[jid.bare, default: 0]
        guard count < options.questions else { return false }
        recent[jid.bare] = count + 1
        return true
    }

    /// To be called from time to time.
    func forgetQuestions() { recent = [:] }

    private func send(_ claim: CapsClaim, to jid: JID) {
        let iq = IQ(.get, to: jid, id: "") { Element("query", .discoInfo, ["node": claim.discoNode]) }
        host.host.ask(iq, limit: Self.patience) { [weak self] answer in
            guard let self, !self.isUnloaded else { return }
            self.take(answer, from: jid, claim)
        }
    }

    private func take(_ answer: IQ, from jid: JID, _ claim: CapsClaim) {
        guard let request = requests[claim.key] else { return }
        var verdict = CapsClaim.Verdict.illFormed
        if answer.kind == .result, let query = answer.query, query.is("query", .discoInfo),
            query.xmlBytes.count <= options.answerSize
        {
            verdict = claim.verdict(on: query)
            if case .proven(let info) = verdict {
                requests[claim.key] = nil
                let profile = cache.keep(info, query, for: claim.key, limit: options.cache)
                for waiter in request.waiting { learn(profile, waiter, claim) }
                return
            }
        }
        host.log.debug(
            "Capabilities are not proven", metadata: ["peer": "\(jid)", "reason": "\(verdict.reason)"])
        if case .claimed(let info) = verdict {
            let profile = Profile(info)
            for waiter in request.waiting where waiter.jid == jid { learn(profile, waiter, claim) }
        }
        askNext(claim, asked: request.asked, request.waiting.filter { $0.jid != jid })
    }

    /// XEP-0115 §5.4 step 3.9: another one who claims the same may prove it.
    private func askNext(_ claim: CapsClaim, asked: Set<JID>, _ waiting: Set<Waiter>) {
        requests[claim.key] = nil
        guard asked.count < Self.attempts else { return }
        for candidate in waiting where !asked.contains(candidate.jid) {
            // It may have gone or changed meanwhile, or claim it of another software.
            guard let account = host.accounts.loadedAccount(candidate.account),
                let current = account[Around.self]?.peers[candidate.jid]?.claim, current.key == claim.key,
                mayAsk(candidate.jid)
            else { continue }
            requests[claim.key] = Request(asked: asked.union([candidate.jid]), waiting: waiting)
            send(current, to: candidate.jid)
            return
        }
    }

    // MARK: Learning

    private func learn(_ profile: Profile, _ waiter: Waiter, _ claim: CapsClaim) {
        guard let account = host.accounts.loadedAccount(waiter.account),
            account[Around.self]?.peers[waiter.jid]?.claim.key == claim.key
        else { return }
        learn(profile, waiter.jid, around: account)
    }

    private func learn(_ profile: Profile, _ jid: JID, around account: Account) {
        guard let around = account[Around.self], let peer = around.peers[jid] else { return }
        around.peers[jid]?.profile = profile
        guard peer.profile?.info != profile.info else { return }
        let event = CapabilitiesEvent(account: account, jid: jid, info: profile.info, previous: peer.profile?.info)
        known.notify(event)
    }

    // MARK: Restarts

    /// What is around an account when it is loaded: at first its own resources, and what was there when the server
    /// stopped in good order, since those whose sessions survive see nobody's presence a second time.
    func surroundings(of account: Account) async throws -> Surroundings? {
        let around = Surroundings()
        var peers: [Stored] = []
        if let found = try await stored.value(for: account.name) {
            stored.delete(account.name)
            peers = found
        }
        await loading.value
        for resource in account.availableResources {
            guard let claim = resource.presence.flatMap(CapsClaim.init) else { continue }
            peers.append(Stored(jid: resource.jid, claim: claim))
        }
        for peer in peers {
            let profile = cache.profile(peer.claim.key)
            around.peers[peer.jid] = Peer(claim: peer.claim, profile: profile)
            if profile == nil { ask(peer.claim, peer.jid, account) }
        }
        return around
    }

    /// Writes down what is around the accounts whose sessions outlive the server.
    func save() {
        for account in host.accounts.loadedAccounts where !account.resources.isEmpty && !account.isTemporary {
            guard let peers = account[Around.self]?.peers, !peers.isEmpty else { continue }
            stored.set(peers.map { Stored(jid: $0.key, claim: $0.value.claim) }, for: account.name)
        }
    }
}

extension CapsClaim.Verdict {
    fileprivate var reason: String {
        switch self {
        case .proven: "they are"
        case .claimed: "another hash"
        case .illFormed: "no answer that counts"
        }
    }
}
