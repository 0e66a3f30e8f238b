import ServerKit

/// Announcements: to everybody online, to everybody once as the message of the day, and a welcome to new accounts.
///
/// Administrators write to the addresses that jabberd made customary, such as `example.org/announce/online`, or run the
/// commands of XEP-0133 §4.23 to §4.28.
final class Announce: Module {
    static let info = ModuleInfo(
        "announce", "Sends announcements, a message of the day and a welcome",
        implements: [.xep(133, "1.3.1").partial("Announcements, the message of the day and the welcome message.")],
        group: .administration)

    struct Options: ModuleOptions {
        let welcome: String?
        let welcomeSubject: String

        init(_ config: inout OptionReader) {
            welcome = config.optionalString("welcome", "What new users are told first; a command can change it.")
            welcomeSubject = config.string("welcome_subject", default: "Welcome", "The subject of that message.")
        }
    }

    private let options: Options

    init(options: Options) {
        self.options = options
    }

    func load(into host: ModuleHost) {
        let board = NoticeBoard(host)
        let seen = host.store("motd-seen", of: String.self)
        // Its messages are not shown to anybody before they were read from the store.
        host.startUp { try await board.load() }
        host.loadWithAccounts(SeenMessage.self) { account in
            account.isTemporary ? nil : try await seen.value(for: account.name)
        }
        host.claim(.hostMessage) { self.take($0, board, seen, host) }
        host.observe(.resourceAvailable) { self.showMessageOfTheDay(to: $0.resource, board, seen, host) }
        host.observe(.accountCreated) { self.welcome($0.account, board, host) }
        addCommands(host, board, seen)
    }

    // MARK: Addresses

    private func take(
        _ event: HostMessageEvent, _ board: NoticeBoard, _ seen: KeyValueStore<String>, _ host: ModuleHost
    ) -> Bool {
        let message = event.message
        guard !message.isError, let address = message.to?.resourcepart.flatMap(Address.init), let from = message.from
        else { return false }
        guard mayUse(address, from, host) else {
            host.router.bounce(.message(message), .forbidden)
            return true
        }
        if address == .deleteMessageOfTheDay {
            board.setMessageOfTheDay(nil)
            return true
        }
        guard let notice = Notice(message) else {
            host.router.bounce(.message(message), .badRequest("An announcement needs a body."))
            return true
        }
        switch address {
        case .online: send(notice, toAllOn: host.host, from: host.jid)
        case .allHosts:
            for other in host.server.allHosts { send(notice, toAllOn: other, from: host.jid) }
        case .messageOfTheDay: setMessageOfTheDay(notice, board, seen, host)
        case .updateMessageOfTheDay: board.setMessageOfTheDay(notice)
        case .deleteMessageOfTheDay: break
        }
        return true
    }

    /// Administrators of one host speak to that host only.
    private func mayUse(_ address: Address, _ jid: JID, _ host: ModuleHost) -> Bool {
        address == .allHosts ? host.server.configuration.admins.contains(jid.bare) : host.host.isAdmin(jid)
    }

    private enum Address: String {
        case online = "announce/online"
        case allHosts = "announce/all-hosts/online"
        case messageOfTheDay = "announce/motd"
        case updateMessageOfTheDay = "announce/motd/update"
        case deleteMessageOfTheDay = "announce/motd/delete"
    }

    // MARK: Sending

    func send(_ notice: Notice, toAllOn host: Host, from sender: JID) {
        for account in host.accounts.loadedAccounts where !account.availableResources.isEmpty {
            // RFC 6121 §5.2.2: a headline reaches all who are there and is kept for nobody.
            host.router.route(notice.message(to: account.jid, from: sender, .headline))
        }
    }

    /// Shows it to those who are there now, and to everybody else when they come.
    func setMessageOfTheDay(
        _ notice: Notice, _ board: NoticeBoard, _ seen: KeyValueStore<String>, _ host: ModuleHost
    ) {
        board.setMessageOfTheDay(notice)
        for account in host.accounts.loadedAccounts {
            guard let resource = account.availableResources.max(by: { $0.priority < $1.priority }) else { continue }
            showMessageOfTheDay(to: resource, board, seen, host)
        }
    }

    private func showMessageOfTheDay(
        to resource: Resource, _ board: NoticeBoard, _ seen: KeyValueStore<String>, _ host: ModuleHost
    ) {
        let account = resource.account
        guard let current = board.current, resource.priority >= 0, account[SeenMessage.self] != current.id else {
            return
        }
        account[SeenMessage.self] = current.id
        if !account.isTemporary { seen.set(current.id, for: account.name) }
        host.router.route(current.notice.message(to: account.jid, from: host.jid, .headline))
    }

    private func welcome(_ account: Account, _ board: NoticeBoard, _ host: ModuleHost) {
        guard let text = board.welcome ?? options.welcome, !text.isEmpty else { return }
        let notice = Notice(subject: options.welcomeSubject, body: text)
        host.router.route(notice.message(to: account.jid, from: host.jid, .normal))
    }

    /// What the administrators see when they are about to change the welcome.
    func presentWelcome(_ board: NoticeBoard) -> String { board.welcome ?? options.welcome ?? "" }

    /// The id of the message of the day that the account was shown last.
    private enum SeenMessage: AccountKey { static let defaultValue: String? = nil }
}
