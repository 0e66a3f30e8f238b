import ServerKit

/// Keeps an account's bookmarks the same in all their forms. The conversions of one account happen one after another.
@ServerActor
final class BookmarkConverter: PrivateStorageConversion {
    /// The conversions of an account that are under way.
    @ServerActor
    private final class Line {
        var last: Task<Void, Never>?
        /// Whether the list is going to be written anyway.
        var isListDue = false
        var wasMigrated = false

        init() {}
    }

    private enum Lines: AccountKey { static var defaultValue: Line? { nil } }

    var limit: Int
    private let host: ModuleHost

    private static let items = Namespace.bookmarks.uri
    private static let list = Namespace.bookmarkList.uri
    /// XEP-0402 §3.3.
    private static let itemOptions = NodeOptions(
        accessModel: .whitelist, maxItems: .max, persistsItems: true, sendLastItem: .never)
    /// XEP-0223 §3, and XEP-0411 §5 for the access model.
    private static let listOptions = NodeOptions(accessModel: .whitelist, persistsItems: true)
    /// The id of the one item of the list's node. XEP-0048 §3.1.
    private static let listID = "current"

    init(_ host: ModuleHost, limit: Int) {
        self.host = host
        self.limit = limit
    }

    private var eventing: any PersonalEventing {
        get throws {
            guard let eventing = host.service((any PersonalEventing).self) else { throw StanzaError.serviceUnavailable }
            return eventing
        }
    }

    private func line(_ account: Account) -> Line {
        if let line = account[Lines.self] { return line }
        let line = Line()
        account[Lines.self] = line
        return line
    }

    /// Does something when what was begun before for the account is done.
    private func inLine<T: Sendable>(
        _ account: Account, _ body: @escaping @ServerActor () async throws -> T
    ) async throws -> T {
        let line = line(account)
        let previous = line.last
        let task = Task { @ServerActor in
            await previous?.value
            return try await body()
        }
        line.last = Task { @ServerActor in _ = await task.result }
        return try await task.value
    }

    /// The same for what nobody waits for.
    private func enqueue(
        _ account: Account, _ body: @escaping @ServerActor () async throws -> Void,
        then: @escaping @ServerActor () -> Void = {}
    ) {
        Task { @ServerActor in
            do {
                try await self.inLine(account, body)
            } catch {
                self.host.log.info(
                    "Bookmarks cannot be converted", metadata: ["jid": "\(account.jid)", "reason": "\(error)"])
            }
            then()
        }
    }

    // MARK: From items

    /// Items were published or retracted. Any number of them at once makes one list.
    func itemsChanged(_ account: Account) {
        let line = line(account)
        guard !line.isListDue else { return }
        line.isListDue = true
        enqueue(account) {
            line.isListDue = false
            try await self.publishList(account)
        }
    }

    /// XEP-0402 §5.3.1.
    private func publishList(_ account: Account) async throws {
        let eventing = try eventing
        let current = BookmarkList(try await eventing.latestItem(of: Self.list, account: account)?.payload)
        let bookmarks = try await self.bookmarks(of: account)
        guard bookmarks != current.bookmarks else { return }
        do {
            // What cannot be an item, such as a bookmark of a web page, stays in the list.
            try await eventing.publish(
                BookmarkList.element(bookmarks, and: current.others), id: Self.listID, to: Self.list, of: account,
                options: Self.listOptions, mismatch: .configure)
        } catch let error as StanzaError {
            // It is too large for an item. An old client that saw the one before would undo what has changed since.
            try await eventing.retract(Self.listID, of: Self.list, account: account, notifies: false)
            throw error
        }
    }

    /// The rooms among the items, each once.
    private func bookmarks(of account: Account) async throws -> [Bookmark] {
        var seen: Set<JID> = []
        return try await eventing.items(of: Self.items, account: account, limit: nil)
            .compactMap { Bookmark(id: $0.id, $0.payload) }.filter { seen.insert($0.jid).inserted }
    }

    // MARK: From lists

    /// A client published a list in PEP.
    func listPublished(_ payload: Element?, _ account: Account) {
        guard let payload, payload.is("storage", .bookmarkList) else { return }
        enqueue(account) { try await self.apply(BookmarkList(payload), to: account) }
    }

    /// Makes the items say what a list says; those that say it already are left alone. XEP-0402 §5.3.2.
    private func apply(_ list: BookmarkList, to account: Account) async throws {
        let eventing = try eventing
        let wanted = Set(list.bookmarks.map(\.jid))
        var known: [JID: (item: NodeItem, bookmark: Bookmark)] = [:]
        for item in try await eventing.items(of: Self.items, account: account, limit: nil) {
            guard let bookmark = Bookmark(id: item.id, item.payload) else { continue }
            // A second one for the same room, under an address written otherwise, goes.
            if !wanted.contains(bookmark.jid) || known[bookmark.jid] != nil {
                try await eventing.retract(item.id, of: Self.items, account: account, notifies: true)
            } else {
                known[bookmark.jid] = (item, bookmark)
            }
        }
        for bookmark in list.bookmarks where known[bookmark.jid]?.bookmark != bookmark {
            let item = known[bookmark.jid]?.item
            let extensions = item?.payload?.child("extensions", .bookmarks)
            try await eventing.publish(
                bookmark.conference(keeping: extensions), id: item?.id ?? bookmark.jid.description, to: Self.items,
                of: account, options: Self.itemOptions, mismatch: .configure)
        }
    }

    // MARK: Private storage

    func converts(_ name: String, _ namespace: Namespace) -> Bool { name == "storage" && namespace == .bookmarkList }

    func shown(_ stored: Element?, of account: Account) async throws -> Element? {
        try await inLine(account) {
            let list = BookmarkList(stored)
            if !list.bookmarks.isEmpty { try await self.importList(list, account) }
            let bookmarks = try await self.bookmarks(of: account)
            guard !bookmarks.isEmpty || !list.others.isEmpty else { return nil }
            return BookmarkList.element(bookmarks, and: list.others)
        }
    }

    func take(_ element: Element, of account: Account) async throws -> Element {
        let list = BookmarkList(element)
        guard list.bookmarks.count <= limit else {
            throw StanzaError.policyViolation("A list may have \(limit) bookmarks.")
        }
        return try await inLine(account) {
            try await self.apply(list, to: account)
            // XEP-0411 §3.
            try await self.publishList(account)
            return BookmarkList.element([], and: list.others)
        }
    }

    // MARK: What was stored before

    /// Makes items of the bookmarks that an account stored while nobody converted them, if there are any.
    func migrate(_ account: Account) {
        let line = line(account)
        guard !line.wasMigrated, !account.isTemporary else { return }
        line.wasMigrated = true
        // What asks for the items meanwhile waits.
        account.suspend()
        enqueue(account) { try await self.importStored(account) } then: { account.resume() }
    }

    private func importStored(_ account: Account) async throws {
        let eventing = try eventing
        if let stored = try await host.service((any PrivateStorage).self)?
            .element("storage", .bookmarkList, of: account)
        {
            let list = BookmarkList(stored)
            if !list.bookmarks.isEmpty { try await importList(list, account) }
        }
        // A list in PEP from before there were items.
        guard eventing.options(of: Self.items, account: account) == nil,
            let payload = try await eventing.latestItem(of: Self.list, account: account)?.payload
        else { return }
        let list = BookmarkList(payload)
        if !list.bookmarks.isEmpty, list.bookmarks.count <= limit { try await apply(list, to: account) }
    }

    /// Adds rooms that are known from private storage alone to the items, which win, and leaves the rest in storage.
    private func importList(_ list: BookmarkList, _ account: Account) async throws {
        let known = Set(try await bookmarks(of: account).map(\.jid))
        for bookmark in list.bookmarks.prefix(limit) where !known.contains(bookmark.jid) {
            try await eventing.publish(
                bookmark.conference(), id: bookmark.jid.description, to: Self.items, of: account,
                options: Self.itemOptions, mismatch: .configure)
        }
        try await host.service((any PrivateStorage).self)?.set(
            BookmarkList.element([], and: list.others), of: account)
        try await publishList(account)
    }
}
