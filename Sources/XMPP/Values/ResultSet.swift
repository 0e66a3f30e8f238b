extension Namespace {
    /// XEP-0059.
    public static let rsm: Namespace = "http://jabber.org/protocol/rsm"
}

/// Which page of a result set is asked for. XEP-0059 §2.
public struct ResultSetRequest: Sendable, Hashable {
    /// Where the page lies in the result set.
    public enum Position: Sendable, Hashable {
        /// From the start.
        case first
        /// Behind the item with this id. XEP-0059 §2.2.
        case after(String)
        /// Right before the item with this id. XEP-0059 §2.3.
        case before(String)
        /// At the end. XEP-0059 §2.5.
        case last
        /// From the item at this index on. XEP-0059 §2.6.
        case index(Int)
    }

    /// How many items the page may have; nil when the requester leaves that to the responder. 0 asks for the count
    /// alone (XEP-0059 §2.7).
    public var max: Int?
    public var position: Position

    public init(max: Int? = nil, _ position: Position = .first) {
        self.max = max
        self.position = position
    }

    /// Reads a `<set/>`.
    ///
    /// - Throws: `.badRequest` for numbers that are none or negative, or two positions at once.
    public init(_ element: Element) throws(StanzaError) {
        max = try element.number(in: "max")
        var positions: [Position] = []
        if let id = element.text(of: "after", .rsm) {
            // XEP-0059 §2.2: without an id, the page starts before the first item.
            positions.append(id.isEmpty ? .first : .after(id))
        }
        if let id = element.text(of: "before", .rsm) { positions.append(id.isEmpty ? .last : .before(id)) }
        if let index = try element.number(in: "index") { positions.append(.index(index)) }
        guard positions.count <= 1 else { throw .badRequest("A result set has one position: after, before or index.") }
        position = positions.first ?? .first
    }

    /// The request inside a query; nil when there is none.
    public static func find(in query: Element) throws(StanzaError) -> ResultSetRequest? {
        guard let element = query.child("set", .rsm) else { return nil }
        return try ResultSetRequest(element)
    }

    public var element: Element {
        Element("set", .rsm) {
            if let max { Element("max", text: String(max)) }
            switch position {
            case .first: [Element.Content]()
            case .after(let id): Element("after", text: id)
            case .before(let id): Element("before", text: id)
            case .last: Element("before")
            case .index(let index): Element("index", text: String(index))
            }
        }
    }
}

/// Which page of a result set was returned. XEP-0059 §2.2.
public struct ResultSetResponse: Sendable, Hashable {
    /// The id of the page's first item; nil, like ``last``, for an empty page.
    public var first: String?
    /// The position of that item in the whole set.
    public var index: Int?
    /// The id of the page's last item.
    public var last: String?
    /// How many items the whole set has.
    public var count: Int?

    public init(first: String? = nil, index: Int? = nil, last: String? = nil, count: Int? = nil) {
        self.first = first
        self.index = index
        self.last = last
        self.count = count
    }

    /// Reads a `<set/>`.
    ///
    /// - Throws: `.badRequest` for numbers that are none or negative, or only one of first and last.
    public init(_ element: Element) throws(StanzaError) {
        first = element.text(of: "first", .rsm)
        last = element.text(of: "last", .rsm)
        guard (first == nil) == (last == nil) else { throw .badRequest("A page has a first and a last item.") }
        index = try Element.number(element.child("first", .rsm)?["index"])
        count = try element.number(in: "count")
    }

    public var element: Element {
        Element("set", .rsm) {
            if let first { Element("first", nil, ["index": index.map(String.init)], text: first) }
            if let last { Element("last", text: last) }
            if let count { Element("count", text: String(count)) }
        }
    }
}

/// A part of an ordered collection, with what the requester learns about it.
public struct ResultSetPage<Item> {
    public let items: ArraySlice<Item>
    public let response: ResultSetResponse
    /// Whether the page reaches the end of the set in the direction of paging.
    public let isComplete: Bool
}

extension ResultSetPage: Sendable where Item: Sendable {}

extension ResultSetRequest {
    /// Cuts the page that is asked for out of `items`.
    ///
    /// - Parameters:
    ///   - id: the unique id of an item.
    ///   - limit: the most items a page may have, whatever the requester asks for.
    /// - Throws: `.itemNotFound` when the item that the page borders on does not exist (XEP-0059 §2.4). An index past
    ///   the end gives an empty page.
    public func page<Item>(
        of items: [Item], limit: Int = .max, id: (Item) -> String
    ) throws(StanzaError) -> ResultSetPage<Item> {
        let size = Swift.max(0, Swift.min(max ?? limit, limit, items.count))
        let range: Range<Int>
        switch position {
        case .first: range = 0..<size
        case .last: range = (items.count - size)..<items.count
        case .after(let wanted):
            let start = try Self.index(of: wanted, in: items, id) + 1
            range = start..<(start + Swift.min(size, items.count - start))
        case .before(let wanted):
            let end = try Self.index(of: wanted, in: items, id)
            range = (end - Swift.min(size, end))..<end
        case .index(let start):
            let start = Swift.min(Swift.max(0, start), items.count)
            range = start..<(start + Swift.min(size, items.count - start))
        }
        let page = items[range]
        let isBackwards: Bool
        switch position {
        case .before, .last: isBackwards = true
        case .first, .after, .index: isBackwards = false
        }
        return ResultSetPage(
            items: page,
            response: ResultSetResponse(
                first: page.first.map(id), index: page.isEmpty ? nil : range.lowerBound, last: page.last.map(id),
                count: items.count),
            isComplete: isBackwards ? range.lowerBound == 0 : range.upperBound == items.count)
    }

    private static func index<Item>(
        of wanted: String, in items: [Item], _ id: (Item) -> String
    ) throws(StanzaError) -> Int {
        guard let index = items.firstIndex(where: { id($0) == wanted }) else { throw .itemNotFound }
        return index
    }
}

extension Element {
    /// The number in a child; nil when there is no such child.
    fileprivate func number(in child: String) throws(StanzaError) -> Int? {
        try Self.number(text(of: child, .rsm)?.trimmedXMLSpace)
    }

    /// An `xs:int` (XEP-0059 §8) that is not negative.
    fileprivate static func number(_ text: String?) throws(StanzaError) -> Int? {
        guard let text else { return nil }
        guard text.utf8.allSatisfy({ 0x30...0x39 ~= $0 }), let number = Int32(text) else {
            throw .badRequest("A number in the result set is none.")
        }
        return Int(number)
    }
}
