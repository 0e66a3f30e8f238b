import ServerKit

/// The invitations of a host and the guests who are here, in memory; the former on disk as well.
final class InvitationBook: GuestBook {
    var options: Guests.Options
    private let host: ModuleHost
    private let store: MapStore<Invitation>
    /// By the localpart that guests log in with.
    private var table: [String: OpenInvitation] = [:]
    /// By localpart; those included who have logged in and not bound a resource yet.
    private var guests: [String: Guest] = [:]
    /// How many of them came without an invitation.
    private var uninvited = 0
    /// Those of whom something may lie on disk, by localpart.
    private let traces: MapStore<Bool>
    /// How many invitations name somebody at a domain.
    private var domains: [String: Int] = [:]
    private var isLoaded = false

    /// No account has this name, so that none takes the invitations with it when it goes.
    private static let owner = ""
    /// How long somebody may take to bind a resource.
    private static let bindTime = Duration.seconds(120)
    /// How many may be let in, or about to be.
    private static let guestLimit = 100_000
    private static let peerLimit = 20
    private static let nameLimit = 100

    init(_ host: ModuleHost, _ options: Guests.Options) {
        self.host = host
        self.options = options
        store = host.map("guest-invitations")
        traces = host.map("guests-admitted")
    }

    /// Reads the invitations, and deletes those that are over.
    func load() async throws {
        for entry in try await store.entries(of: Self.owner) where table[entry.key] == nil {
            if entry.value.expires > host.clock.date {
                add(OpenInvitation(entry.key, entry.value))
            } else {
                store.delete(entry.key, of: Self.owner)
            }
        }
        // A crash left what was kept for those who were here; nobody else may find it under their address.
        for entry in try await traces.entries(of: Self.owner) where guests[entry.key] == nil {
            host.server.storage.removeEverything(of: entry.key, on: host.domain)
            traces.delete(entry.key, of: Self.owner)
        }
        isLoaded = true
    }

    private func add(_ invitation: OpenInvitation) {
        table[invitation.localpart] = invitation
        for domain in Set(invitation.peers.map(\.domainpart)) { domains[domain, default: 0] += 1 }
    }

    // MARK: Coming in

    var isOpen: Bool { options.isOpen }

    func credentials(of localpart: String) -> CredentialLookup {
        guard isLoaded else { return .unavailable }
        return goodInvitation(localpart)?.record.password.map { .found($0) } ?? .unknown
    }

    private func goodInvitation(_ localpart: String) -> OpenInvitation? {
        guard let invitation = table[localpart], invitation.record.expires > host.clock.date else { return nil }
        return invitation
    }

    func admitAnybody() throws(SASLFailure) -> String {
        try note(Guest(RandomToken.make(bytes: 10), nil, at: host.clock.now))
    }

    func admit(_ localpart: String, isExact: Bool) throws(SASLFailure) -> String {
        guard let invitation = goodInvitation(localpart) else { throw .notAuthorized }
        // RFC 6120 §4.3.6: who asks for an address gets it or nothing.
        guard invitation.isForOne || !isExact else { throw .invalidAuthzid }
        host.log.info("Guest admitted", metadata: ["invitation": "\(localpart)"])
        let now = host.clock.now
        if invitation.isForOne {
            guard let guest = guests[localpart] else { return try note(Guest(localpart, invitation, at: now)) }
            guest.admittedAt = now
            return localpart
        }
        guard guests.values.count(where: { $0.invitation === invitation }) < invitation.record.places else {
            throw SASLFailure(.temporaryAuthFailure, "As many guests as it is for are here with this invitation.")
        }
        let pace = Rate(10 + 4 * invitation.record.places, per: .hours(1))
        guard invitation.admissions.take(1, limit: pace, now: now) == nil else {
            throw SASLFailure(.temporaryAuthFailure, "Guests with this invitation come and go too often.")
        }
        return try note(Guest(Self.localpart(for: invitation.record.name), invitation, at: now))
    }

    private func note(_ guest: Guest) throws(SASLFailure) -> String {
        guard guests.count < Self.guestLimit, guest.invitation != nil || uninvited < Self.guestLimit / 10 else {
            throw .temporaryAuthFailure
        }
        add(guest)
        return guest.localpart
    }

    private func add(_ guest: Guest) {
        if guest.invitation == nil { uninvited += 1 }
        guests[guest.localpart] = guest
        traces.set(true, guest.localpart, of: Self.owner)
    }

    private func remove(_ localpart: String) {
        guard let guest = guests.removeValue(forKey: localpart) else { return }
        if guest.invitation == nil { uninvited -= 1 }
        traces.delete(localpart, of: Self.owner)
    }

    /// An address that nobody had before (XEP-0175 §3), beginning with what can be read of a name.
    private static func localpart(for name: String?) -> String {
        let letters = (name ?? "").lowercased().prefix(20).map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "-" }
        let words = String(letters).split(separator: "-").joined(separator: "-")
        return (words.isEmpty ? "" : words + "-") + RandomToken.make(bytes: 10)
    }

    /// A guest has a client; if there was one before, it has to go.
    func receive(_ resource: Resource) {
        let account = resource.account
        guard account.isTemporary else { return }
        guard let guest = guest(account) else {
            return resource.close(StreamError(.notAuthorized, "This invitation is not valid any more."))
        }
        if let end = guest.invitation?.end { return resource.close(end) }
        for other in account.resources where other !== resource {
            other.close(StreamError(.conflict, "Somebody has come in with the same invitation."))
        }
    }

    /// Who a temporary account is; nil for somebody who should not be here.
    func guest(_ account: Account) -> Guest? {
        if let guest = guests[account.name] { return guest }
        // It left between logging in again and binding a resource.
        guard let invitation = table[account.name], invitation.isForOne else { return nil }
        let guest = Guest(account.name, invitation, at: host.clock.now)
        add(guest)
        return guest
    }

    func forget(_ account: Account) {
        if account.isTemporary { remove(account.name) }
    }

    // MARK: Other servers

    func mayFederate(with domain: String) -> Bool { !isLoaded || domains[domain] != nil }

    // MARK: Inviting

    func invite(_ request: GuestRequest, by inviter: JID?) async throws -> GuestPass {
        guard isLoaded else { throw StanzaError(.internalServerError, .wait) }
        let record = try record(request, by: inviter)
        guard table.count < options.capacity else {
            throw StanzaError.resourceConstraint("There are \(table.count) invitations already.")
        }
        let password = OpenInvitation.makePassword()
        let invitation = OpenInvitation(Self.localpart(for: record.name), record)
        // Counted before it is good: others may invite meanwhile.
        add(invitation)
        do { try await keep(invitation, password) } catch {
            end(invitation, StreamError(.notAuthorized))
            throw error
        }
        host.log.info(
            "Guest invited",
            metadata: [
                "invitation": "\(invitation.localpart)", "jid": "\(inviter?.description ?? "the administrator")",
            ])
        let address = try JID(localpart: invitation.localpart, domainpart: host.domain)
        return GuestPass(address: address, password: password, invitation: describe(invitation))
    }

    /// Stores an invitation, and returns when it is on disk. As many iterations as accounts have: addresses that nobody
    /// was given look the same.
    private func keep(_ invitation: OpenInvitation, _ password: String) async throws {
        let stored = try await AccountStore.derive(password, iterations: host.server.passwordIterations)
        // It may have been taken back.
        guard table[invitation.localpart] === invitation else {
            throw StanzaError.notAcceptable("This invitation has been taken back already.")
        }
        invitation.complete(stored)
        try await host.server.storage.durable(store.set(invitation.record, invitation.localpart, of: Self.owner))
    }

    private func record(_ request: GuestRequest, by inviter: JID?) throws(StanzaError) -> Invitation {
        let lifetime = try self.lifetime(request.lifetime)
        let places = request.places ?? 1
        guard (1...options.places).contains(places) else {
            throw .notAcceptable("An invitation is for 1 to \(options.places) guests.")
        }
        let name = request.name.flatMap { $0.isEmpty ? nil : $0 }
        guard name?.count ?? 0 <= Self.nameLimit else {
            throw .notAcceptable("A name has at most \(Self.nameLimit) characters.")
        }
        let date = host.clock.date
        return Invitation(
            inviter: inviter?.bare, peers: try peers(request.peers), name: name, made: date,
            expires: date.advanced(by: lifetime), places: places)
    }

    private func lifetime(_ seconds: Int?) throws(StanzaError) -> Duration {
        guard let seconds else { return options.lifetime }
        let longest = Int(options.longestLifetime.components.seconds)
        guard (1...longest).contains(seconds) else {
            throw .notAcceptable("An invitation is good for at most \(options.longestLifetime.text).")
        }
        return .seconds(seconds)
    }

    private func peers(_ peers: [JID]) throws(StanzaError) -> [JID] {
        guard (1...Self.peerLimit).contains(peers.count) else {
            throw .notAcceptable("An invitation is to 1 to \(Self.peerLimit) addresses.")
        }
        for peer in peers {
            guard peer.localpart != nil, peer.isBare else {
                throw .notAcceptable("\(peer) is not the address of a user or a room.")
            }
            guard host.server.host(peer.domainpart)?.isAnonymous != true else {
                throw .notAcceptable("\(peer) would be a guest.")
            }
        }
        return Set(peers).sorted { $0.description < $1.description }
    }

    var invitations: [GuestInvitation] {
        table.values.sorted { ($0.record.made, $0.localpart) < ($1.record.made, $1.localpart) }.map { describe($0) }
    }

    private func describe(_ invitation: OpenInvitation) -> GuestInvitation {
        let record = invitation.record
        let present = guests.values.filter { guest in
            guest.invitation === invitation && host.accounts.loadedAccount(guest.localpart)?.resources.isEmpty == false
        }
        let addresses = present.compactMap { try? JID(localpart: $0.localpart, domainpart: host.domain) }
        return GuestInvitation(
            id: invitation.localpart, host: host.domain, inviter: record.inviter, peers: record.peers,
            name: record.name,
            expires: record.expires.description, places: record.places,
            guests: addresses.sorted { $0.description < $1.description })
    }

    // MARK: The end

    func revoke(_ id: String) async throws -> Bool {
        guard let invitation = table[id] else { return false }
        let number = store.delete(invitation.localpart, of: Self.owner)
        end(invitation, StreamError(.notAuthorized, "This invitation has been taken back."))
        try await host.server.storage.durable(number)
        host.log.info("Invitation revoked", metadata: ["invitation": "\(id)"])
        return true
    }

    /// Ends the sessions of an invitation's guests. What they say as they leave still reaches other servers.
    private func end(_ invitation: OpenInvitation, _ error: StreamError) {
        guard table[invitation.localpart] === invitation else { return }
        invitation.end = error
        for guest in guests.values where guest.invitation === invitation {
            guard let account = host.accounts.loadedAccount(guest.localpart) else { continue }
            for resource in account.resources { resource.close(error) }
        }
        table[invitation.localpart] = nil
        for domain in Set(invitation.peers.map(\.domainpart)) {
            let count = domains[domain, default: 1] - 1
            domains[domain] = count > 0 ? count : nil
        }
    }

    /// Guests without an invitation are not received any more.
    func endUninvited() {
        for guest in guests.values where guest.invitation == nil {
            guard let account = host.accounts.loadedAccount(guest.localpart) else { continue }
            for resource in account.resources {
                resource.close(StreamError(.notAuthorized, "Guests need an invitation now."))
            }
        }
    }

    func endAllSessions(_ error: StreamError) {
        for account in host.accounts.loadedAccounts where account.isTemporary {
            for resource in account.resources { resource.close(error) }
        }
    }

    /// Ends what is over, and forgets who logged in and never bound a resource.
    func sweep() {
        let date = host.clock.date
        for invitation in Array(table.values) where invitation.record.expires <= date {
            store.delete(invitation.localpart, of: Self.owner)
            end(invitation, StreamError(.notAuthorized, "This invitation has expired."))
        }
        let now = host.clock.now
        for (localpart, guest) in guests
        where now - guest.admittedAt > Self.bindTime && host.accounts.loadedAccount(localpart) == nil {
            remove(localpart)
        }
    }
}
