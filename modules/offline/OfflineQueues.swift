import ServerKit

/// The messages that wait for the accounts of a host.
@ServerActor
final class OfflineQueues: OfflineQueue {
    /// How many messages wait for an account; nil while that is not known.
    enum Count: AccountKey { static let defaultValue: Int? = nil }
    /// Whether the account's messages are being read for a resource.
    private enum IsDelivering: AccountKey { static let defaultValue = false }

    /// Messages that are read and handed over at a time.
    private static let pageSize = 50
    /// Bytes that may wait for the client while there are more messages for it.
    private static let backlogLimit = 524_288
    /// How long a client may leave them unread before it gets the rest another time.
    private static let patience = Duration.seconds(10)

    private let store: ArchiveStore<[UInt8]>
    private let host: ModuleHost
    private var isExpiring = false

    init(_ host: ModuleHost) {
        self.host = host
        store = host.rawArchive("offline")
    }

    // MARK: Keeping

    func count(of account: Account) -> Int { account[Count.self] ?? 0 }

    /// Counts the messages of an account while it is being loaded. One that is in use already, because the module was
    /// loaded later, may have got messages meanwhile.
    func count(of account: Account) async throws -> Int? {
        let stored = try await store.count(of: account.name)
        return max(stored, account[Count.self] ?? 0)
    }

    /// - Parameter archiveID: the id under which the account's archive keeps the message, too.
    func append(_ message: Message, _ archiveID: String?, to account: Account) {
        var writer = XMLWriter()
        writer.write(message, in: nil)
        let item = NewArchiveItem(
            id: archiveID ?? RandomToken.make(), time: host.clock.date.microseconds, value: writer.bytes)
        store.append(item, to: account.name)
        account[Count.self] = count(of: account) + 1
    }

    func forget(_ archiveIDs: [String], of account: Account) {
        guard !archiveIDs.isEmpty, count(of: account) > 0 else { return }
        store.delete(archiveIDs, of: account.name)
        Task { @ServerActor in
            do {
                let before = account[Count.self]
                let after = try await self.store.count(of: account.name)
                if account[Count.self] == before { account[Count.self] = after }
            } catch {
                self.host.log.error("Offline messages cannot be counted", metadata: ["reason": "\(error)"])
            }
        }
    }

    // MARK: Delivering

    /// Delivers what waits for the account to a resource that can take it. Stanzas that arrive while it is being read
    /// come after it (RFC 6120 §10.1): the account puts them off.
    func deliver(to resource: Resource) {
        let account = resource.account
        guard resource.isReader, account[Count.self] != 0, !account[IsDelivering.self] else { return }
        account[IsDelivering.self] = true
        account.suspend()
        Task { @ServerActor in
            var isRead = true
            do {
                try await self.deliverAll(to: resource)
            } catch {
                isRead = false
                self.host.log.error("Offline messages cannot be read", metadata: ["reason": "\(error)"])
            }
            account[IsDelivering.self] = false
            account.resume()
            // One that came meanwhile may read what this one left.
            let next = account.resources.first {
                $0 !== resource && $0.isReader && $0.backlog <= Self.backlogLimit
            }
            if isRead, let next { self.deliver(to: next) }
        }
    }

    /// Hands the messages over page by page. If the resource goes away meanwhile another one gets the rest, or it stays
    /// where it is.
    private func deliverAll(to first: Resource) async throws {
        let account = first.account
        var position: Int64 = 0
        while true {
            let page = try await store.items(
                of: account.name, ArchiveQuery(after: .sequence(position), limit: Self.pageSize))
            guard !page.isEmpty else { break }
            guard
                let resource = account.resources.first(where: { $0 === first && $0.isReader })
                    ?? account.resources.first(where: \.isReader)
            else { break }
            let delivered = hand(page, to: resource)
            if let last = delivered.last {
                position = last.sequence
                store.delete(through: position, of: account.name)
            }
            guard await resource.waitForReader(below: Self.backlogLimit, patience: Self.patience) else { break }
        }
        let before = account[Count.self]
        let after = try await store.count(of: account.name)
        // More may have come meanwhile. A number that is too high does no harm: the next delivery counts again.
        if account[Count.self] == before { account[Count.self] = after }
    }

    /// Sends messages to a resource, and returns those that its stream has taken.
    private func hand(_ page: [ArchiveItem<[UInt8]>], to resource: Resource) -> ArraySlice<ArchiveItem<[UInt8]>> {
        for (index, item) in page.enumerated() {
            if let message = message(of: item, resource.account) { resource.send(message) }
            // A stream that ended within `send` has not taken the message.
            guard resource.isReader else { return page[..<index] }
            if resource.backlog > Self.backlogLimit { return page[...index] }
        }
        return page[...]
    }

    /// The message as its recipient gets it; nil when what was stored cannot be read.
    private func message(of item: ArchiveItem<[UInt8]>, _ account: Account) -> Message? {
        do {
            var message = try Message(Element.parse(item.value))
            // A session that ended may have said already when the message was sent to its client first.
            if message.delay(by: account.host.jid) == nil {
                let stamp = Timestamp(microseconds: item.time)
                message.payload.append(Delay(stamp: stamp, from: account.host.jid, reason: "Offline Storage").element)
            }
            return message
        } catch {
            host.log.error("An offline message cannot be read", metadata: ["reason": "\(error)", "id": "\(item.id)"])
            return nil
        }
    }

    // MARK: Expiring

    func deleteMessages(olderThan age: Duration) {
        guard !isExpiring else { return }
        isExpiring = true
        let limit = host.clock.date.advanced(by: .zero - age).microseconds
        Task { @ServerActor in
            do {
                while let oldest = try await self.store.oldestTime(), oldest < limit {
                    self.store.deleteOlder(than: limit, limit: 500)
                }
                for account in self.host.accounts.loadedAccounts where self.count(of: account) > 0 {
                    let before = account[Count.self]
                    let after = try await self.store.count(of: account.name)
                    if account[Count.self] == before { account[Count.self] = after }
                }
            } catch {
                self.host.log.error("Offline messages cannot be deleted", metadata: ["reason": "\(error)"])
            }
            self.isExpiring = false
        }
    }
}

extension Resource {
    /// Whether it gets what is sent to the bare JID, and has not left within the same turn.
    fileprivate var isReader: Bool {
        takesMessages && account.resources.contains { $0 === self }
    }
}
