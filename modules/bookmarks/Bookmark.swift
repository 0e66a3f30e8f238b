import ServerKit

/// A room that a user comes back to, in the formats of XEP-0402 and XEP-0048.
struct Bookmark: Sendable, Equatable {
    let jid: JID
    let name: String?
    let joinsAutomatically: Bool
    let nick: String?
    let password: String?

    /// Reads an item of the node `urn:xmpp:bookmarks:1`, whose id is the room's address; nil when it is none.
    /// XEP-0402 §2.
    init?(id: String, _ conference: Element?) {
        guard let conference, conference.is("conference", .bookmarks), let jid = JID(id), jid.isBare else { return nil }
        self.init(jid, conference)
    }

    /// Reads a `<conference/>` in a list; nil when it has no address, or one that is no room's. XEP-0048 §2.
    init?(listed conference: Element) {
        guard conference.is("conference", .bookmarkList), let jid = conference.jid("jid"), jid.isBare else {
            return nil
        }
        self.init(jid, conference)
    }

    private init(_ jid: JID, _ conference: Element) {
        self.jid = jid
        name = conference["name"]
        joinsAutomatically = ["1", "true"].contains(conference["autojoin"] ?? "")
        nick = conference.text(of: "nick")
        password = conference.text(of: "password")
    }

    /// The payload of an item. XEP-0402 §2.
    ///
    /// - Parameter extensions: what the item had that lists cannot hold, and must be kept.
    func conference(keeping extensions: Element? = nil) -> Element {
        Element(
            "conference", .bookmarks, ["name": name, "autojoin": joinsAutomatically ? "true" : nil]
        ) {
            if let nick { Element("nick", text: nick) }
            if let password { Element("password", text: password) }
            extensions
        }
    }

    /// An entry of a list. XEP-0048 §2.
    var listed: Element {
        Element(
            "conference", .bookmarkList,
            ["jid": jid.description, "name": name, "autojoin": joinsAutomatically ? "true" : "false"]
        ) {
            if let nick { Element("nick", text: nick) }
            if let password { Element("password", text: password) }
        }
    }
}

/// A `<storage/>` with all bookmarks of a user. XEP-0048 §2.
struct BookmarkList {
    /// The rooms, each once; those without a valid address are left out.
    let bookmarks: [Bookmark]
    /// Bookmarks of web pages, and whatever else there is.
    let others: [Element]

    init(_ storage: Element?) {
        var seen: Set<JID> = []
        let children = storage?.children ?? []
        bookmarks = children.compactMap(Bookmark.init(listed:)).filter { seen.insert($0.jid).inserted }
        others = children.filter { !$0.is("conference", .bookmarkList) }
    }

    static func element(_ bookmarks: [Bookmark], and others: [Element] = []) -> Element {
        Element("storage", .bookmarkList) {
            bookmarks.map(\.listed)
            others
        }
    }
}

extension Namespace {
    /// XEP-0402 §2.
    static let bookmarks: Namespace = "urn:xmpp:bookmarks:1"
    /// XEP-0402 §6: lists in private XML storage say the same.
    static let bookmarksCompat: Namespace = "urn:xmpp:bookmarks:1#compat"
    /// XEP-0402 §6: lists in PEP say the same.
    static let bookmarksCompatPEP: Namespace = "urn:xmpp:bookmarks:1#compat-pep"
    /// XEP-0411 §2.
    static let bookmarksConversion: Namespace = "urn:xmpp:bookmarks-conversion:0"
    /// XEP-0048 §2.
    static let bookmarkList: Namespace = "storage:bookmarks"
}
