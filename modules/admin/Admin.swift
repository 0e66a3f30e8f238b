import ServerKit

/// Service Administration (XEP-0133): accounts and sessions, from the administrator's client.
final class Admin: Module {
    static let info = ModuleInfo(
        "admin", "Lets administrators manage accounts from their clients",
        implements: [
            .xep(133, "1.3.1").partial(
                "Rosters, block lists, the list of administrators, restart and shutdown are not there.")
        ],
        group: .administration, requires: ["commands"])

    struct Options: ModuleOptions {
        let idleAfter: Duration

        init(_ config: inout OptionReader) {
            idleAfter = config.duration(
                "idle_after", default: .minutes(10), in: .minutes(1)...(.hours(24)),
                "After how long without a stanza a user counts as idle.")
        }
    }

    private let options: Options

    init(options: Options) {
        self.options = options
    }

    func load(into host: ModuleHost) {
        addAccountCommands(host)
        addSessionCommands(host)
        addReports(host, options.idleAfter)
        addLists(host, options.idleAfter)
    }
}

extension DataFormField {
    /// XEP-0133 §8.2.
    static func accountJID(_ label: String) -> DataFormField {
        DataFormField("accountjid", .jidSingle, label: label, isRequired: true)
    }

    /// XEP-0133 §8.2.
    static func accountJIDs(_ label: String) -> DataFormField {
        DataFormField("accountjids", .jidMulti, label: label, isRequired: true)
    }
}

extension ModuleHost {
    /// The account that a form names.
    ///
    /// - Throws: `.itemNotFound` unless it is a bare JID of this host.
    func accountName(_ jid: JID?) throws(StanzaError) -> String {
        guard let jid, let localpart = jid.localpart, jid.isBare, jid.domainpart == domain else {
            throw StanzaError(.itemNotFound, nil, "That is no account of \(domain).")
        }
        return localpart
    }

    /// The accounts that a form names, all of which exist.
    ///
    /// - Throws: `.itemNotFound` if any does not, so that nothing is done by halves.
    func accountNames(_ form: DataForm) async throws -> [String] {
        var names: [String] = []
        for jid in try form.jids("accountjids") ?? [] {
            let name = try accountName(jid)
            guard try await accounts.store.record(of: name) != nil else {
                throw StanzaError(.itemNotFound, nil, "There is no account \(jid).")
            }
            names.append(name)
        }
        return names
    }
}

extension AccountError {
    /// XEP-0133 §5.
    var stanzaError: StanzaError {
        switch self {
        case .exists: .conflict(description)
        case .unknown: StanzaError(.itemNotFound, nil, description)
        case .badPassword: .notAcceptable(description)
        }
    }
}
