import ServerKit

/// Search for public rooms. XEP-0433.
struct RoomSearch: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        host.advertise(.channelSearch, on: .host)
        host.answer(.get, "search", .channelSearch, on: .host) { request in
            guard let form = try DataForm.find(in: request.query) else {
                return Element("search", .channelSearch) { SearchQuery.form.element }
            }
            let query = try SearchQuery(form)
            let wanted = try ResultSetRequest.find(in: request.query) ?? ResultSetRequest()
            let size = min(wanted.max ?? rooms.options.listSize, rooms.options.listSize)
            let start: SearchPosition
            switch wanted.position {
            case .first: start = query.isByOccupants ? .busy(nil) : .all(after: nil)
            case .after(let id):
                guard let position = SearchPosition(id), query.isByOccupants || !position.isBusy else {
                    throw StanzaError.itemNotFound
                }
                start = position
            // Pages are found by going on from the last one.
            case .before, .last, .index: throw StanzaError.featureNotImplemented
            }
            guard let page = try await rooms.directory.search(query, from: start, size: size) else {
                // XEP-0433 §4.2.2.4.
                throw StanzaError.resourceConstraint("Too many searches are going on.")
                    .with(Element("rate-limit", .searchErrors, ["retry-after": "5"]))
            }
            return Element("result", .channelSearch) {
                for entry in page.entries { entry.item(rooms.jid(entry.name)) }
                ResultSetResponse(first: page.first, last: page.last).element
            }
        }
    }
}

/// What is searched for. XEP-0433 §6.1.
private struct SearchQuery {
    /// All of them must be found; nil for all rooms.
    let terms: [String]?
    let inName: Bool
    let inDescription: Bool
    let inAddress: Bool
    let minOccupants: Int
    let isByOccupants: Bool
    let wantsRooms: Bool

    private static let formType = "urn:xmpp:channel-search:0:search-params"
    private static let byOccupants = "{urn:xmpp:channel-search:0:order}nusers"
    private static let byAddress = "{urn:xmpp:channel-search:0:order}address"
    /// Words and bytes in one search.
    private static let (termLimit, sizeLimit) = (10, 500)

    /// XEP-0433 §4.2.1.
    static let form = DataForm(
        .form, formType: formType,
        fields: [
            .text("q", nil, label: "Search for"),
            .boolean("all", false, label: "Return all rooms"),
            .boolean("sinname", true, label: "Search in the name"),
            .boolean("sindescription", true, label: "Search in the description"),
            .boolean("sinaddress", true, label: "Search in the address"),
            DataFormField(
                "min_users", .textSingle, label: "The fewest occupants", values: ["0"],
                validation: DataFormValidation("xs:integer", .range(min: "0", max: nil))),
            DataFormField(
                "types", .listMulti, label: "Kinds of service", values: ["xep-0045"],
                options: [.init("xep-0045", label: "Multi-User Chat")]),
            DataFormField(
                "key", .listSingle, label: "Order", values: [byOccupants],
                options: [.init(byOccupants, label: "Number of occupants"), .init(byAddress, label: "Address")]),
        ])

    /// XEP-0433 §4.2.2. Fields that are not known are ignored (§5).
    init(_ form: DataForm) throws(StanzaError) {
        guard form.kind == .submit else { throw .badRequest("A submitted form was expected.") }
        if let type = form.formType, type != Self.formType { throw .badRequest("The form has the wrong FORM_TYPE.") }
        let isAll = try form.bool("all") ?? false
        let text = form.text("q")
        if isAll, let text, !text.isEmpty {
            throw .badRequest("All rooms cannot be returned, and others searched for.").with(
                Element("conflicting-fields", .searchErrors) {
                    Element("var", text: "all")
                    Element("var", text: "q")
                })
        }
        if isAll {
            terms = nil
        } else if let text {
            guard text.utf8.count <= Self.sizeLimit else {
                throw Self.invalidTerms("No more than \(Self.sizeLimit) bytes can be searched for.")
            }
            let words = text.lowercased().split(whereSeparator: \.isWhitespace).map(String.init)
            guard !words.isEmpty else { throw Self.invalidTerms("There is no word to search for.") }
            guard words.count <= Self.termLimit else {
                throw Self.invalidTerms("No more than \(Self.termLimit) words can be searched for.")
            }
            terms = words
        } else {
            throw StanzaError(.badRequest, .cancel, "Nothing is searched for.")
                .with(Element("no-search-conditions", .searchErrors))
        }
        inName = try form.bool("sinname") ?? true
        inDescription = try form.bool("sindescription") ?? true
        // COMPAT The example of XEP-0433 §4.2.1 has another name for it than its table.
        let inAddress = try form.bool("sinaddress")
        let byOtherName = try form.bool("sinaddr")
        self.inAddress = inAddress ?? byOtherName ?? true
        if terms != nil, !inName, !inDescription, !self.inAddress {
            throw .badRequest("There is nowhere to search in.").with(
                Element("conflicting-fields", .searchErrors) {
                    for name in ["sinname", "sindescription", "sinaddress"] { Element("var", text: name) }
                })
        }
        minOccupants = try form.int("min_users", in: 0...Int.max) ?? 0
        let key = form.text("key").flatMap { $0.isEmpty ? nil : $0 } ?? Self.byOccupants
        guard key == Self.byOccupants || key == Self.byAddress else {
            throw StanzaError(.featureNotImplemented, .modify).with(Element("invalid-sort-key", .searchErrors))
        }
        isByOccupants = key == Self.byOccupants
        let types = form["types"]?.values.filter { !$0.isEmpty } ?? []
        wantsRooms = types.isEmpty || types.contains("xep-0045")
    }

    private static func invalidTerms(_ text: String) -> StanzaError {
        .badRequest(text).with(Element("invalid-search-terms", .searchErrors))
    }

    func matches(_ entry: RoomDirectory.Entry) -> Bool {
        guard entry.occupantCount >= minOccupants else { return false }
        guard let terms else { return true }
        var texts: [String] = []
        if inName { texts.append((entry.room.title ?? entry.name).lowercased()) }
        if inDescription, let description = entry.room.description { texts.append(description.lowercased()) }
        if inAddress { texts.append(entry.name) }
        return terms.allSatisfy { term in texts.contains { $0.contains(term) } }
    }
}

/// Where a page of results begins: all that one must know to go on, so that nothing is kept between pages.
private enum SearchPosition {
    /// Among those in which somebody is, after the one with this many and this name.
    case busy((count: Int, name: String)?)
    case all(after: String?)

    var isBusy: Bool { if case .busy = self { true } else { false } }

    /// A slash is in no name.
    init?(_ id: String) {
        let parts = id.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        if parts.count == 1 {
            self = .all(after: id.isEmpty ? nil : id)
        } else if let count = Int(parts[0]) {
            self = .busy((count, String(parts[1])))
        } else {
            return nil
        }
    }
}

/// Some results.
private struct SearchPage {
    var entries: [RoomDirectory.Entry] = []
    var first: String?
    var last: String?

    mutating func append(_ entry: RoomDirectory.Entry, _ id: String) {
        entries.append(entry)
        if first == nil { first = id }
        last = id
    }
}

extension RoomDirectory {
    /// Rooms that one search looks at before it returns what it has found, and from where to go on.
    private static let lookLimit = 5_000
    private static let step = 200

    /// nil when too many searches are going on.
    fileprivate func search(
        _ query: SearchQuery, from start: SearchPosition, size: Int
    ) async throws -> SearchPage? {
        guard query.wantsRooms, size > 0 else { return SearchPage() }
        return try await takingTurns {
            var page = SearchPage()
            var after: String?
            switch start {
            case .busy(let last):
                await self.search(query, after: last, size: size, &page)
                if page.entries.count == size { return page }
            case .all(let name): after = name
            }
            // In all that are left there is nobody.
            if query.isByOccupants, query.minOccupants > 0 { return page }
            try await self.search(query, after: after, size: size, &page)
            return page
        }
    }

    /// Goes through those in which somebody is.
    private func search(
        _ query: SearchQuery, after last: (count: Int, name: String)?, size: Int, _ page: inout SearchPage
    ) async {
        for (number, entry) in busy().enumerated() {
            if number % Self.step == Self.step - 1 { await Task.yield() }
            if let last, (last.count, entry.name) <= (entry.occupantCount, last.name) { continue }
            guard query.matches(entry) else { continue }
            page.append(entry, "\(entry.occupantCount)/\(entry.name)")
            if page.entries.count == size { return }
        }
    }

    /// Goes on in the order of the addresses.
    private func search(
        _ query: SearchQuery, after start: String?, size: Int, _ page: inout SearchPage
    ) async throws {
        var after = start
        var looks = 0
        while true {
            let names = try await names(after: after, limit: Self.step)
            for name in names {
                after = name
                looks += 1
                guard let entry = try await entry(name), !(query.isByOccupants && entry.occupantCount > 0),
                    query.matches(entry)
                else { continue }
                page.append(entry, name)
                if page.entries.count == size { return }
            }
            if names.count < Self.step { return }
            if looks >= Self.lookLimit {
                page.last = after
                page.first = page.first ?? after
                return
            }
        }
    }
}

extension RoomDirectory.Entry {
    /// XEP-0433 §6.2.
    fileprivate func item(_ jid: JID) -> Element {
        Element("item", .channelSearch, ["address": jid.description]) {
            Element("name", text: room.title ?? name)
            if let description = room.description { Element("description", text: description) }
            if let language = room.language { Element("language", text: language) }
            Element("nusers", text: String(occupantCount))
            Element("service-type", text: "xep-0045")
            Element("is-open", text: room.isOpen ? "true" : "false")
            Element(
                "anonymity-mode",
                text: room.isNonAnonymous == true
                    ? "{urn:xmpp:channel-search:0:anonymity}none" : "muc_semianonymous")
        }
    }
}

extension Namespace {
    /// XEP-0433 §4.1.
    fileprivate static let channelSearch: Namespace = "urn:xmpp:channel-search:0:search"
    fileprivate static let searchErrors: Namespace = "urn:xmpp:channel-search:0:error"
}
