import ServerKit

/// Contacts on other servers that are shown as available: when their server is lost nobody else can say that they are
/// not. RFC 6121 §4.5.
extension PresenceExchange {
    /// What an account's clients were shown, by domain.
    @ServerActor
    final class RemoteContacts {
        /// Full JIDs; a bare one stands for resources that are not known, as after a restart.
        var shown: [String: Set<JID>] = [:]
    }

    enum Remote: AccountKey {
        static let defaultValue: RemoteContacts? = nil
    }

    /// Addresses of one domain that are kept in mind for one account. Whoever has more clients there keeps some of them
    /// on the screen.
    private static let shownLimit = 500

    /// Contacts' presence is noted, and not that of rooms and strangers.
    func noteAvailable(_ presence: Presence, to account: Account) {
        guard let from = presence.from, from.isFull, account.host.router.entity(for: from.domainpart) == nil,
            !account.availableResources.isEmpty,
            account.contactList?.contact(from, of: account)?.subscription.seesContact == true
        else { return }
        account[Remote.self]?.shown[from.domainpart]?.remove(from.bare)
        noteShown(from, to: account)
    }

    func noteShown(_ contact: JID, to account: Account) {
        let remote = account[Remote.self] ?? RemoteContacts()
        account[Remote.self] = remote
        guard remote.shown[contact.domainpart, default: []].count < Self.shownLimit else { return }
        remote.shown[contact.domainpart, default: []].insert(contact)
        onlookers[contact.domainpart, default: []].insert(account.name)
    }

    func forgetShown(_ contact: JID, to account: Account) {
        guard let remote = account[Remote.self], let shown = remote.shown[contact.domainpart] else { return }
        let left = contact.isFull ? shown.subtracting([contact, contact.bare]) : shown.filter { $0.bare != contact }
        remote.shown[contact.domainpart] = left.isEmpty ? nil : left
        if left.isEmpty { forgetOnlooker(account, contact.domainpart) }
    }

    /// Nobody is there to whom anything is shown.
    func forgetAllShown(to account: Account) {
        guard let remote = account[Remote.self] else { return }
        account[Remote.self] = nil
        for domain in remote.shown.keys { forgetOnlooker(account, domain) }
    }

    private func forgetOnlooker(_ account: Account, _ domain: String) {
        onlookers[domain]?.remove(account.name)
        if onlookers[domain]?.isEmpty == true { onlookers[domain] = nil }
    }

    /// The server of a domain is given up. Its contacts go as if they had said so themselves, so that all who take an
    /// interest hear of it.
    func takeBackContacts(of domain: String, on host: Host) {
        for name in onlookers.removeValue(forKey: domain) ?? [] {
            guard let account = host.accounts.loadedAccount(name),
                let shown = account[Remote.self]?.shown.removeValue(forKey: domain)
            else { continue }
            for contact in shown {
                host.router.route(Presence(to: account.jid, from: contact, kind: .unavailable))
            }
        }
    }
}
