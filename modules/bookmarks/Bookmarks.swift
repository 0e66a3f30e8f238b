import ServerKit

/// Bookmarks of rooms for clients of all ages: items in PEP (XEP-0402), one list in PEP (XEP-0048), one list in private
/// XML storage (XEP-0049), all of which say the same (XEP-0411).
///
/// The items are the truth. The list in private storage is made of them when a client asks for it; the one in PEP is a
/// copy, so that clients are notified. A list that a client stores is compared with the items, which then change.
final class Bookmarks: Module {
    static let info = ModuleInfo(
        "bookmarks", "Shows old and new clients the same bookmarks",
        implements: [.xep(402, "1.2.0"), .xep(411, "1.1.0"), .xep(48, "1.2")],
        group: .recommended, requires: ["pubsub"], after: ["private"])

    struct Options: ModuleOptions {
        let rooms: Int

        init(_ config: inout OptionReader) {
            rooms = config.int(
                "max_rooms", default: 1_000, in: 1...100_000,
                "How many rooms a list may have that an old client stores.")
        }
    }

    private var options: Options
    private var converter: BookmarkConverter?

    init(options: Options) {
        self.options = options
    }

    func reconfigure(_ options: Options) -> Bool {
        self.options = options
        converter?.limit = options.rooms
        return true
    }

    func load(into host: ModuleHost) {
        let converter = BookmarkConverter(host, limit: options.rooms)
        self.converter = converter
        host.advertise(.bookmarksCompat, .bookmarksCompatPEP, .bookmarksConversion, on: .account)
        host.provide((any PrivateStorageConversion).self, converter)
        host.filter(.nodeItemPublishing) { self.admit($0) }
        host.observe(.nodeItemPublished) { event in
            switch Namespace(event.node) {
            case .bookmarks: self.itemsChanged(event.account, event.publisher)
            case .bookmarkList:
                if event.publisher != event.account.jid { converter.listPublished(event.payload, event.account) }
            default: break
            }
        }
        host.observe(.nodeItemRetracted) { event in
            if event.node == Namespace.bookmarks.uri { self.itemsChanged(event.account, event.publisher) }
        }
        // The list in PEP may be purged or deleted by clients that need it no longer: that changes no bookmarks.
        for hook in [Hook<NodeEvent>.nodePurged, .nodeDeleted] {
            host.observe(hook) { event in
                if event.node == Namespace.bookmarks.uri { self.itemsChanged(event.account, event.publisher) }
            }
        }
        // XEP-0411 §4: before the first client looks.
        host.observe(.resourceBound) { converter.migrate($0.resource.account) }
    }

    /// What this module publishes itself has been taken care of.
    private func itemsChanged(_ account: Account, _ publisher: JID) {
        if publisher != account.jid { converter?.itemsChanged(account) }
    }

    /// Lists that would become more items than anybody needs are refused, rather than taken by halves.
    private func admit(_ event: NodeItemEvent) -> Verdict {
        guard event.node == Namespace.bookmarkList.uri, event.publisher != event.account.jid,
            (event.payload?.children.count ?? 0) > options.rooms
        else { return .pass }
        return .bounce(.policyViolation("A list may have \(options.rooms) bookmarks."))
    }
}
