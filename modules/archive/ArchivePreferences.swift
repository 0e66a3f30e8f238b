import ServerKit

/// Whose messages a user wants kept. XEP-0441 §2.1.
struct ArchivePreferences: Codable, Sendable {
    /// What holds for those that are in no list. XEP-0441 §2.1.1.
    enum Standard: String, Codable, CaseIterable, Sendable {
        case always, never, roster

        @ServerActor
        func includes(_ peer: JID, _ account: Account) -> Bool {
            switch self {
            case .always: true
            case .never: false
            // One's notes to oneself are nobody else's.
            case .roster:
                peer.bare == account.jid
                    || account.host.service((any ContactList).self)?.contains(peer.bare, account: account) ?? false
            }
        }
    }

    /// nil for what the server says.
    var standard: Standard?
    var always: Set<JID> = []
    var never: Set<JID> = []

    /// The choices of an account's user; nil when none were made.
    enum Key: AccountKey { static let defaultValue: ArchivePreferences? = nil }

    /// XEP-0441 §2.3. What is in both lists is not kept.
    @ServerActor
    func include(_ peer: JID, _ account: Account, otherwise standard: Standard) -> Bool {
        if !never.isEmpty, never.contains(peer) || never.contains(peer.bare) { return false }
        if !always.isEmpty, always.contains(peer) || always.contains(peer.bare) { return true }
        return (self.standard ?? standard).includes(peer, account)
    }
}

// MARK: - The protocol

extension ArchivePreferences {
    @ServerActor
    static func register(on host: ModuleHost, _ options: Archive.Options) {
        let store = ArchivePreferences.store(on: host)
        host.loadWithAccounts(Key.self) { try await store.value(for: $0.name) }
        host.answer(.get, "prefs", .mam) { request in
            let account = try request.archiveOwner()
            return (account[Key.self] ?? ArchivePreferences()).element(options.standard)
        }
        host.answer(.set, "prefs", .mam) { request in
            let account = try request.archiveOwner()
            let preferences = try ArchivePreferences(request.query, limit: options.listedContacts)
            account[Key.self] = preferences
            store.set(preferences, for: account.name)
            return preferences.element(options.standard)
        }
    }

    @ServerActor
    static func store(on host: ModuleHost) -> KeyValueStore<ArchivePreferences> { host.store("archive-preferences") }

    /// Reads a `<prefs/>`.
    ///
    /// - Throws: `.badRequest` for a default that is none, `.jidMalformed`, or `.policyViolation` for too many
    ///   addresses.
    init(_ element: Element, limit: Int) throws(StanzaError) {
        guard let standard = element["default"].flatMap(Standard.init) else {
            throw .badRequest("The default is always, never or roster.")
        }
        self.standard = standard
        always = try Self.jids(element.child("always"))
        never = try Self.jids(element.child("never"))
        guard always.count + never.count <= limit else {
            throw .policyViolation("At most \(limit) addresses can be listed.")
        }
    }

    private static func jids(_ list: Element?) throws(StanzaError) -> Set<JID> {
        var jids: Set<JID> = []
        for element in list?.children("jid") ?? [] {
            guard let jid = JID(element.text.trimmedXMLSpace) else { throw .jidMalformed }
            jids.insert(jid)
        }
        return jids
    }

    private func element(_ standard: Standard) -> Element {
        Element("prefs", .mam, ["default": (self.standard ?? standard).rawValue]) {
            Element("always") { for jid in always.sorted() { Element("jid", text: jid) } }
            Element("never") { for jid in never.sorted() { Element("jid", text: jid) } }
        }
    }
}

extension Set<JID> {
    fileprivate func sorted() -> [String] { map(\.description).sorted() }
}

extension IQRequest {
    /// The account whose archive is asked for, by its owner.
    ///
    /// - Throws: `.forbidden` when others ask (XEP-0313 §8.1).
    @ServerActor
    func archiveOwner() throws(StanzaError) -> Account {
        let account = try owner()
        guard from.bare == account.jid else { throw .forbidden }
        return account
    }
}
