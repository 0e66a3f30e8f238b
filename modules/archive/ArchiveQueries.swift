import ServerKit

/// Answers what users ask their archives. XEP-0313 §4, §5.
@ServerActor
final class ArchiveQueries {
    /// Bytes that may wait for the client while there are more results for it.
    private static let backlogLimit = 524_288
    /// How long a client may leave them unread.
    private static let patience = Duration.seconds(20)

    private let host: ModuleHost
    private let store: ArchiveStore<[UInt8]>
    private let index: SearchIndex
    private let options: Archive.Options
    private let extras: ArchiveRequest.Extras

    init(_ host: ModuleHost, _ store: ArchiveStore<[UInt8]>, _ index: SearchIndex, _ options: Archive.Options) {
        self.host = host
        self.store = store
        self.index = index
        self.options = options
        extras = options.search ? [.groupchat, .text] : [.groupchat]
    }

    func register() {
        if options.search { host.advertise(.fullText, on: .account) }
        host.answer(.get, "query", .mam) { request in
            _ = try request.archiveOwner()
            return Element("query", .mam) { ArchiveRequest.form(self.extras).element }
        }
        host.answer(.set, "query", .mam) { try await self.search($0) }
        host.answer(.get, "metadata", .mam) { request in
            try await self.metadata(of: request.archiveOwner())
        }
        // XEP-0386: what a client needs to know in order to catch up.
        host.reportOnBind { stream in
            guard let account = stream.resource?.account else { return nil }
            return try? await self.metadata(of: account)
        }
    }

    /// XEP-0313 §5.
    private func metadata(of account: Account) async throws -> Element {
        guard let first = try await store.first(of: account.name), let last = try await store.last(of: account.name)
        else { return Element("metadata", .mam) }
        return Element("metadata", .mam) {
            Element("start", nil, ["id": first.id, "timestamp": Timestamp(microseconds: first.time).description])
            Element("end", nil, ["id": last.id, "timestamp": Timestamp(microseconds: last.time).description])
        }
    }

    private func search(_ request: IQRequest) async throws -> Element? {
        let account = try request.archiveOwner()
        let resource = try request.origin()
        let wanted = try ArchiveRequest(request.query, extras: extras, idLimit: options.pageLimit)
        let queue = resource[Queue.self] ?? ArchiveQueue()
        resource[Queue.self] = queue
        return try await queue.run(limit: options.waitingQueries) {
            var page = try await self.store.page(wanted, of: account.name, limits: self.options.limits) { with, query in
                // XEP-0313 §4.1.1.
                query.with = with.bare.description
                query.mark = with.resourcepart.map(ArchivedMessage.mark(ofResource:))
            }
            page.isStable = wanted.words == nil || self.index.isComplete
            try await self.send(page, wanted, to: resource)
            self.note(page, wanted, resource)
            return page.fin
        }
    }

    private func send(_ page: ArchivePage, _ wanted: ArchiveRequest, to resource: Resource) async throws {
        let archive = resource.account.jid
        for item in wanted.isFlipped ? page.items.reversed() : page.items {
            guard let content = ArchivedMessage.sealed(item.value) else {
                host.log.error("An archived message cannot be read", metadata: ["id": "\(item.id)"])
                continue
            }
            resource.send(
                ArchivePage.result(
                    item, queryID: wanted.queryID, from: archive, to: resource.jid, content: content))
            guard resource.backlog > Self.backlogLimit else { continue }
            guard await resource.waitForReader(below: Self.backlogLimit, patience: Self.patience) else {
                throw StanzaError.resourceConstraint("The results are not being read.")
            }
        }
    }

    private enum Queue: ResourceKey { static let defaultValue: ArchiveQueue? = nil }
}

// MARK: - Messages that need not be delivered again

extension ArchiveQueries {
    /// What a client that has not sent presence yet has read, and not in a selection only.
    private struct Seen {
        var ids: [String] = []
        /// Whether it has read up to the newest message.
        var isUpToDate = false
    }

    private enum SeenKey: ResourceKey { static let defaultValue: Seen? = nil }

    /// More than this are not remembered; they are delivered again.
    private static let seenLimit = 2000

    /// Once the client has read the archive up to its end, messages that wait for it and that it got that way are not
    /// delivered again with its presence. XEP-0313 §6.1.1.
    private func note(_ page: ArchivePage, _ wanted: ArchiveRequest, _ resource: Resource) {
        guard !resource.isAvailable, !wanted.isSelective,
            let offline = host.service((any OfflineQueue).self), offline.count(of: resource.account) > 0
        else { return }
        var seen = resource[SeenKey.self] ?? Seen()
        seen.ids += page.items.map(\.id)
        seen.ids = seen.ids.suffix(Self.seenLimit)
        if page.reachesEnd(of: wanted) { seen.isUpToDate = true }
        if seen.isUpToDate {
            offline.forget(seen.ids, of: resource.account)
            seen.ids = []
        }
        resource[SeenKey.self] = seen
    }
}

extension ArchivePage {
    /// Whether the archive's newest message is in the page.
    fileprivate func reachesEnd(of wanted: ArchiveRequest) -> Bool {
        guard wanted.end == nil, wanted.beforeID == nil, wanted.page.max != 0 else { return false }
        return switch wanted.page.position {
        case .first, .after: isComplete
        case .last: true
        case .before, .index: false
        }
    }
}
