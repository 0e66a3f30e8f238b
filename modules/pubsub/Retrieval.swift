import ServerKit

extension Feature {
    /// Reading items. XEP-0060 §6.5.
    static let retrieval = Feature(
        ["retrieve-items", "rsm"], [Operation(.get, "items") { try await $0.items($1) }])
}

extension Service {
    fileprivate func items(_ request: Request) async throws -> Element {
        let node = try find(request)
        if let refusal = refusal(of: request.from, at: node) { throw refusal }
        guard node.configuration.persistsItems else { throw StanzaError.unsupported("persistent-items") }
        let wanted = request.action.children("item")
        let bytes = pageBytes(for: request)
        if !wanted.isEmpty {
            let items = try await items(wanted, of: node, bytes)
            return Element("pubsub", .pubsub) { list(items, of: node) }
        }
        let newest = try Self.number(request.action["max_items"])
        let pages = try ResultSetRequest.find(in: request.pubsub)
        return try await answer(node, newest: newest, pages, bytes)
    }

    /// How large an answer may be. Other servers end a stream for a stanza that is larger than they like, and few like
    /// more than this.
    private func pageBytes(for request: Request) -> Int {
        request.iq.resource == nil ? min(options.pageBytes, 131_072) : options.pageBytes
    }

    /// The items that are asked for by their ids. XEP-0060 §6.5.8; those that are not there are left out (§6.5.9.11).
    private func items(_ wanted: [Element], of node: Node, _ limit: Int) async throws -> [Item] {
        guard wanted.count <= options.pageSize else {
            throw StanzaError.policyViolation("At most \(options.pageSize) items at a time.")
        }
        var items: [Item] = []
        var seen: Set<String> = []
        var bytes = 0
        for element in wanted {
            guard let id = element["id"], !id.isEmpty else { throw StanzaError.badRequest("An item has an id.") }
            guard seen.insert(id).inserted, let item = try await item(id, of: node) else { continue }
            bytes += item.payload?.xmlBytes.count ?? 0
            items.append(item)
            if bytes >= limit { break }
        }
        return items
    }

    /// A page, or everything if it fits into one. XEP-0060 §6.5.2 to §6.5.7.
    private func answer(
        _ node: Node, newest: Int?, _ pages: ResultSetRequest?, _ bytes: Int
    ) async throws -> Element {
        let pages = pages ?? ResultSetRequest(newest == nil ? .first : .last)
        let isPaged = pages != ResultSetRequest(newest == nil ? .first : .last)
        let wanted = min(pages.max ?? .max, newest ?? .max)
        if wanted == 0 {
            // XEP-0059 §2.7.
            let response = ResultSetResponse(count: try await count(of: node))
            return Element("pubsub", .pubsub) {
                list([], of: node)
                response.element
            }
        }
        let page = try await page(
            of: node, pages.position, limit: min(wanted, options.pageSize), bytes: bytes)
        // Of more than one answer holds, clients are told how to get the rest.
        let isCut = !page.isComplete && page.items.count < wanted
        guard isPaged || isCut else {
            return Element("pubsub", .pubsub) { list(page.items, of: node) }
        }
        var response = ResultSetResponse(
            first: page.items.first?.id, last: page.items.last?.id, count: try await count(of: node))
        if let start = page.start { response.index = try await count(of: node, before: start) }
        return Element("pubsub", .pubsub) {
            list(page.items, of: node)
            response.element
        }
    }

    private func list(_ items: [Item], of node: Node) -> Element {
        let withPublisher = node.configuration.itemReply == .publisher
        return Element("items", .pubsub, ["node": node.name]) {
            for item in items { item.element(.pubsub, withPayload: true, withPublisher: withPublisher) }
        }
    }

    private static func number(_ text: String?) throws(StanzaError) -> Int? {
        guard let text else { return nil }
        guard text.utf8.allSatisfy({ 0x30...0x39 ~= $0 }), let number = Int32(text), number > 0 else {
            throw .badRequest("max_items is a positive number.")
        }
        return Int(number)
    }
}
