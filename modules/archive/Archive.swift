import ServerKit

/// Message Archive Management (XEP-0313): every device finds every message, whenever it looks.
///
/// Messages are kept once they are sent, or delivered (which includes the offline queue), under ids that go out with
/// them as stanza ids (XEP-0359).
final class Archive: Module {
    static let info = ModuleInfo(
        "archive", "Keeps messages, for devices that were away and for looking things up",
        implements: [
            .xep(313, "1.1.3"), .xep(334, "1.0.0"), .xep(359, "0.7.0"), .xep(424, "0.4.2"), .xep(431, "0.2.0"),
            .xep(441, "0.2.0"),
        ],
        group: .recommended, requires: ["messages"])

    struct Options: ModuleOptions {
        let retention: Duration?
        let cleanupHour: Int
        let standard: ArchivePreferences.Standard
        let listedContacts: Int
        let pageSize: Int
        let pageLimit: Int
        let pageBytes: Int
        let waitingQueries: Int
        let search: Bool

        init(_ config: inout OptionReader) {
            retention = config.optionalDuration(
                "retention", default: .days(365), in: .hours(1)...(.days(36_500)),
                "How long messages are kept. Users may choose less for themselves.")
            cleanupHour = config.int(
                "cleanup_hour", default: 3, in: 0...23,
                "The hour of the day, in UTC, at which older messages are removed.")
            standard = config.choice(
                "default", default: .always,
                "Whose messages are kept for users who chose nothing: always, never, or roster for their contacts'.")
            listedContacts = config.int(
                "listed_contacts", default: 500, in: 0...10_000,
                "How many addresses a user may list whose messages are always kept, or never.")
            pageSize = config.int(
                "page_size", default: 50, in: 1...1000, "Messages per page when the client does not say.")
            pageLimit = config.int("page_limit", default: 250, in: 1...1000, "The most messages per page.")
            pageBytes = config.size(
                "page_bytes", default: 1_048_576, in: 65_536...67_108_864,
                "A page ends with the message that makes it this large.")
            waitingQueries = config.int(
                "waiting_queries", default: 20, in: 1...1000,
                "How many queries of a client may wait for the one before them.")
            search = config.bool(
                "search", default: false,
                "Whether words can be searched for. Needs space: what people wrote is indexed.")
        }

        var limits: ArchivePage.Limits { .init(usual: pageSize, most: pageLimit, bytes: pageBytes) }
    }

    private let options: Options
    private var ids = StanzaIDMaker()

    init(options: Options) {
        self.options = options
    }

    func load(into host: ModuleHost) throws {
        let store = host.rawArchive("archive")
        guard !options.search || store.searchesText else {
            throw ModuleError("the storage cannot search texts: SQLite has no FTS5. Switch the option search off.")
        }
        host.advertise(.mam, .mamExtended, .mamGroupchatField, .stanzaIDs, .retraction, .tombstones, on: .account)
        // XEP-0424 §2: the server, too, which sees to it that retractions are kept. XEP-0313 §7 names the account only, but
        // Profanity looks for archives at its server.
        host.advertise(.retraction, .mam, on: .host)
        ArchivePreferences.register(on: host, options)
        let index = SearchIndex(host, store, isOn: options.search)
        ArchiveQueries(host, store, index, options).register()
        ArchiveRetention(host, store, options).register()

        host.transform(.messageSent) { self.prepareSent(&$0, host) }
        host.transform(.messageArrived) { self.prepareArrived(&$0, host) }
        let retractions = Retractions(host, store)
        host.observe(.messageSent) { event in
            if let peer = event.message.to { self.keep(event, .sent, peer, host, store, retractions) }
        }
        host.observe(.messageDelivered) { event in
            if let peer = event.message.from { self.keep(event, .received, peer, host, store, retractions) }
        }
    }

    // MARK: Before

    private func prepareSent(_ event: inout MessageEvent, _ host: ModuleHost) {
        event.message.removeForgedStanzaIDs(of: event.account)
        // What is for the own account is kept when it arrives there: once (XEP-0313 §6.1.1).
        guard let peer = event.message.to, peer.bare != event.account.jid, wants(event, peer) else { return }
        event.archiveID = ids.make(at: host.clock.date)
    }

    private func prepareArrived(_ event: inout MessageEvent, _ host: ModuleHost) {
        event.message.removeForgedStanzaIDs(of: event.account)
        guard let peer = event.message.from, wants(event, peer) else { return }
        let copy = PrivateRoomMessage.Copy(event.message, at: host.clock.now)
        // What came to another client of the user already is the same message.
        let id = copy.flatMap { event.account[PrivateRoomMessage.self]?.id(of: $0) } ?? ids.make(at: host.clock.date)
        event.archiveID = id
        if let copy { event.account[PrivateRoomMessage.self] = .init(id, copy, event.account[PrivateRoomMessage.self]) }
        // XEP-0313 §3.5.
        event.message.payload.append(
            Element("stanza-id", .stanzaIDs, ["by": event.account.jid.description, "id": id]))
    }

    private func wants(_ event: MessageEvent, _ peer: JID) -> Bool {
        guard event.message.isWorthArchiving else { return false }
        guard let preferences = event.account[ArchivePreferences.Key.self] else {
            return options.standard.includes(peer, event.account)
        }
        return preferences.include(peer, event.account, otherwise: options.standard)
    }

    // MARK: After

    private func keep(
        _ event: MessageEvent, _ direction: ArchivedMessage.Direction, _ peer: JID, _ host: ModuleHost,
        _ store: ArchiveStore<[UInt8]>, _ retractions: Retractions
    ) {
        guard let id = event.archiveID else { return }
        if direction == .received, event.account[PrivateRoomMessage.self]?.isKept(id) == true { return }
        let message = event.message
        let item = NewArchiveItem(
            id: id, time: host.clock.date.microseconds, with: peer.bare.description,
            value: ArchivedMessage.encode(message, direction, peer),
            text: options.search ? message.searchableText : nil)
        store.append(item, to: event.account.name)
        if let retracted = message.retractedID {
            retractions.process(retracted, by: message, id, direction, peer, event.account)
        }
    }
}

/// The last private message of an occupant of a room. The room gives it to each of the user's clients that has joined, one
/// after the other (XEP-0045 §7.5); the archive keeps it once.
private enum PrivateRoomMessage: AccountKey {
    static let defaultValue: Last? = nil

    /// The message as all copies of it are.
    struct Copy: Equatable {
        private let content: String
        fileprivate let time: Duration

        /// nil for what is no such message.
        init?(_ message: Message, at time: Duration) {
            guard message.from?.resourcepart != nil, message.to?.resourcepart != nil, message.has("x", .mucUser) else {
                return nil
            }
            var message = message
            message.to = nil
            content = message.element.xml
            self.time = time
        }

        static func == (left: Copy, right: Copy) -> Bool { left.content == right.content }
    }

    @ServerActor
    final class Last {
        private static let limit = Duration.seconds(30)
        private let archiveID: String
        private let copy: Copy
        private var isKept: Bool

        init(_ id: String, _ copy: Copy, _ last: Last?) {
            archiveID = id
            self.copy = copy
            isKept = last?.archiveID == id && last?.isKept == true
        }

        /// The id of a message that this one is a copy of.
        func id(of other: Copy) -> String? {
            copy == other && other.time - copy.time < Self.limit ? archiveID : nil
        }

        /// Whether the message with this id was kept before; if it is this one, it is from now on.
        func isKept(_ id: String) -> Bool {
            guard id == archiveID else { return false }
            defer { isKept = true }
            return isKept
        }
    }
}

extension Namespace {
    /// XEP-0313 §7: the field is understood; there are no messages from rooms here.
    fileprivate static let mamGroupchatField: Namespace = "urn:xmpp:mam:2#groupchat-field"
}
