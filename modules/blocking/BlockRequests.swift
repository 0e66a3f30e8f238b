import ServerKit

/// What users ask for, and what their devices are told. XEP-0191 §3.2 to §3.5.
extension Blocking {
    func list(_ request: IQRequest) throws -> Element? {
        let resource = try request.origin()
        let account = resource.account
        let blocked = try blocked(of: account)
        // The answer may wait for the disk; pushes that overtook it would be undone by it.
        resource[IsInterested.self] = false
        request.afterAnswer {
            resource[IsInterested.self] = true
            guard let now = account[Blocked.self], now != blocked else { return }
            self.push("block", now.subtracting(blocked), to: [resource])
            self.push("unblock", blocked.subtracting(now), to: [resource])
        }
        return Element("blocklist", .blocking) { Element.items(blocked) }
    }

    func block(_ request: IQRequest) throws -> Element? {
        let account = try request.owner()
        let blocked = try blocked(of: account)
        let items = try BlockItem.read(request.query)
        guard !items.isEmpty else { throw StanzaError.badRequest("Whom to block?") }
        let wanted = Set(items.map(\.jid))
        guard !wanted.contains(where: { $0.bare == account.jid }) else {
            throw StanzaError.notAllowed("Nobody can block their own devices.")
        }
        let new = wanted.subtracting(blocked)
        guard blocked.count + new.count <= options.limit else {
            throw StanzaError.resourceConstraint("The block list is full.")
        }
        // They see the user leave, as long as they may see anything.
        hidePresence(of: account, from: new)
        account[Blocked.self] = blocked.union(new)
        write(new.map { store?.setting(Self.mark, $0.description, of: account.name) })
        push("block", wanted, to: account.interestedResources)
        for item in items {
            observers?.notify(BlockEvent(account: account, jid: item.jid, item: item.element))
        }
        return nil
    }

    func unblock(_ request: IQRequest) throws -> Element? {
        let account = try request.owner()
        let blocked = try blocked(of: account)
        let items = try BlockItem.read(request.query)
        let wanted = Set(items.map(\.jid))
        let old = items.isEmpty ? blocked : wanted.intersection(blocked)
        account[Blocked.self] = blocked.subtracting(old)
        if items.isEmpty {
            store?.deleteAll(of: account.name)
            pushUnblockingOfAll(to: account.interestedResources)
        } else {
            write(old.map { jid in
                store.map { .deleteEntry($0.address, owner: account.name, key: jid.description) }
            })
            push("unblock", wanted, to: account.interestedResources)
        }
        revealPresence(of: account, to: old)
        return nil
    }

    private func blocked(of account: Account) throws(StanzaError) -> Set<JID> {
        guard let blocked = account[Blocked.self] else { throw StanzaError(.internalServerError, .wait) }
        return blocked
    }

    /// What is stored under an address, which says all there is to say.
    private static let mark: [UInt8] = [1]

    /// All of it is written, or nothing.
    private func write(_ writes: [StorageWrite?]) {
        let writes = writes.compactMap(\.self)
        if !writes.isEmpty { _ = storage?.driver.enqueue(writes) }
    }

    // MARK: Presence

    /// XEP-0191 §3.3: to those who may see the user's presence.
    private func hidePresence(of account: Account, from new: Set<JID>) {
        guard let broadcast = account.host.service((any PresenceBroadcast).self), !new.isEmpty else { return }
        broadcast.hidePresence(of: account, from: new.covers)
        for jid in new.singleResources where account.isVisible(to: jid) {
            broadcast.sendUnavailable(of: account, to: jid)
        }
    }

    /// XEP-0191 §3.4. Another item may still block them.
    private func revealPresence(of account: Account, to old: Set<JID>) {
        guard let broadcast = account.host.service((any PresenceBroadcast).self), !old.isEmpty else { return }
        broadcast.revealPresence(of: account) { old.covers($0) && !self.isBlocked($0, by: account) }
        for jid in old.singleResources where account.isVisible(to: jid) && !isBlocked(jid, by: account) {
            broadcast.sendPresence(of: account, to: jid)
        }
    }

    // MARK: Pushes

    private func push(_ name: String, _ jids: Set<JID>, to resources: [Resource]) {
        guard !jids.isEmpty, !resources.isEmpty else { return }
        push(Element(name, .blocking) { Element.items(jids) }, to: resources)
    }

    /// XEP-0191 §3.5.
    private func pushUnblockingOfAll(to resources: [Resource]) {
        push(Element("unblock", .blocking), to: resources)
    }

    private func push(_ payload: Element, to resources: [Resource]) {
        let id = "blocking-" + RandomToken.make(bytes: 6)
        for resource in resources { resource.send(IQ(.set, to: resource.jid, id: id) { payload }) }
    }
}

/// An `<item/>` of a request.
private struct BlockItem {
    let jid: JID
    let element: Element

    /// - Throws: `.badRequest` for an item without an address, `.jidMalformed` for an address that is none.
    static func read(_ request: Element) throws(StanzaError) -> [BlockItem] {
        var items: [BlockItem] = []
        for element in request.children("item") {
            guard element["jid"] != nil else { throw .badRequest("An item has an address.") }
            guard let jid = element.jid("jid") else { throw .jidMalformed }
            items.append(BlockItem(jid: jid, element: element))
        }
        return items
    }
}

extension Element {
    /// XEP-0191 §3.2. In an order, so that two answers can be compared.
    fileprivate static func items(_ jids: Set<JID>) -> [Element] {
        jids.map(\.description).sorted().map { Element("item", .blocking, ["jid": $0]) }
    }
}

extension Set<JID> {
    /// The full JIDs of clients.
    fileprivate var singleResources: [JID] { filter { $0.isFull && $0.localpart != nil } }
}

extension Account {
    /// Those that asked for the block list. XEP-0191 §3.3.
    fileprivate var interestedResources: [Resource] { resources.filter { $0[Blocking.IsInterested.self] } }
}
