import ServerKit

/// The list of public rooms. XEP-0045 §6.3.
struct RoomList: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        let directory = rooms.directory
        host.advertise(.rsm, on: .host)
        host.observe(.roomLoaded) { directory.forget($0.room.name) }
        host.observe(.roomCreated) { directory.forget($0.room.name) }
        host.listPages { request in
            let wanted = try ResultSetRequest.find(in: request.query)
            let (page, set) = try await directory.page(wanted ?? ResultSetRequest(), limit: rooms.options.listSize) {
                rooms.jid($0)
            }
            var items: [DiscoRegistry.Item] = []
            for name in page {
                guard let entry = try await directory.entry(name) else { continue }
                items.append(.init(jid: rooms.jid(name), name: entry.room.title ?? name))
            }
            // Who does not know of pages is told of them when there is more than one.
            return DiscoRegistry.Page(items, wanted != nil || page.count < set.count ?? 0 ? set : nil)
        }
    }
}

extension RoomDirectory {
    /// A page of the names. The ids of XEP-0059 are the rooms' JIDs, which are in order, so that a page can begin after a
    /// room that is not there any more (§2.2).
    fileprivate func page(
        _ wanted: ResultSetRequest, limit: Int, _ jid: (String) -> JID
    ) async throws -> (names: [String], set: ResultSetResponse) {
        let size = min(wanted.max ?? limit, limit)
        let count = try await count()
        var index: Int?
        var names: [String]
        switch wanted.position {
        case .first:
            names = try await self.names(after: nil, limit: size)
            index = 0
        case .after(let id): names = try await self.names(after: try name(id, jid), limit: size)
        case .last: (index, names) = try await end(before: nil, size: size)
        case .before(let id): (index, names) = try await end(before: try name(id, jid), size: size)
        case .index(let start):
            names = try await part(from: start, size: size)
            index = start
        }
        let set = ResultSetResponse(
            first: names.first.map { jid($0).description }, index: names.isEmpty ? nil : index,
            last: names.last.map { jid($0).description }, count: count)
        return (names, set)
    }

    private func name(_ id: String, _ jid: (String) -> JID) throws(StanzaError) -> String {
        guard let wanted = JID(id), let name = wanted.localpart, jid(name) == wanted else { throw .itemNotFound }
        return name
    }

    private static let step = 1_000

    /// Calls `body` with all names in order until it is content.
    private func walk(_ body: ([String]) -> Bool) async throws {
        let hasRun: Void? = try await takingTurns {
            var after: String?
            while true {
                let names = try await self.names(after: after, limit: Self.step)
                if body(names) || names.count < Self.step { return }
                after = names.last
            }
        }
        guard hasRun != nil else { throw StanzaError.resourceConstraint("Too many lists are asked for.") }
    }

    /// The last names, before one or at all, and the index of the first.
    private func end(before: String?, size: Int) async throws -> (Int, [String]) {
        var tail: [String] = []
        var index = 0
        try await walk { names in
            let part = before.map { end in names.filter { Array($0.utf8).precedes(end) } } ?? names
            tail += part
            let surplus = max(0, tail.count - size)
            tail.removeFirst(surplus)
            index += surplus
            return part.count < names.count
        }
        return (index, tail)
    }

    private func part(from start: Int, size: Int) async throws -> [String] {
        var result: [String] = []
        var position = 0
        try await walk { names in
            for name in names {
                if position >= start, result.count < size { result.append(name) }
                position += 1
            }
            return result.count >= size
        }
        return result
    }
}

extension [UInt8] {
    /// In the order in which the storage has names.
    fileprivate func precedes(_ other: String) -> Bool { lexicographicallyPrecedes(other.utf8) }
}
