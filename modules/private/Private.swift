import ServerKit

/// Private XML Storage (XEP-0049): clients keep settings and bookmarks with the account.
final class Private: Module {
    static let info = ModuleInfo(
        "private", "Keeps what clients want to remember about their user",
        implements: [.xep(49, "1.2")],
        group: .recommended)

    struct Options: ModuleOptions {
        let size: Int
        let elements: Int

        init(_ config: inout OptionReader) {
            size = config.size(
                "size", default: 131_072, in: 1024...16_777_216, "How large one of the elements that are kept may be.")
            elements = config.int(
                "elements", default: 100, in: 1...100_000, "How many elements are kept for an account.")
        }
    }

    private var options: Options
    private var store: MapStore<[UInt8]>?

    init(options: Options) {
        self.options = options
    }

    func reconfigure(_ options: Options) -> Bool {
        self.options = options
        return true
    }

    func load(into host: ModuleHost) {
        let store = host.rawMap("private")
        self.store = store
        host.advertise(.privateXML, on: .host)
        // XEP-0049 §2.3: others get the error that is in common use.
        host.answer(.get, "query", .privateXML, from: .owner) { try await self.get($0, store) }
        host.answer(.set, "query", .privateXML, from: .owner) { try await self.set($0, store) }
        host.provide((any PrivateStorage).self, self)
    }

    private func get(_ request: IQRequest, _ store: MapStore<[UInt8]>) async throws -> Element? {
        let wanted = request.query.children
        // XEP-0049 §2.3: "bad format", which is no stanza error any more, for none; more than one are not allowed.
        guard let element = wanted.first else { throw StanzaError.badRequest("The query needs a child element.") }
        guard wanted.count == 1 else { throw StanzaError.badRequest("One element can be asked for at a time.") }
        let key = try element.storageKey
        let account = try request.owner()
        let stored = try await store.value(key, of: account.name).map { try Element.parse($0) }
        if let conversion = conversion(of: element, request.host) {
            let shown = try await conversion.shown(stored?.firstChild, of: account)
            return Element("query", .privateXML) { shown ?? Element(element.name, element.namespace) }
        }
        // What was never stored is empty.
        return stored ?? Element("query", .privateXML) { Element(element.name, element.namespace) }
    }

    /// Who has the say about an element besides this module.
    private func conversion(of element: Element, _ host: Host) -> (any PrivateStorageConversion)? {
        guard let conversion = host.service((any PrivateStorageConversion).self) else { return nil }
        return conversion.converts(element.name, element.namespace) ? conversion : nil
    }

    private func set(_ request: IQRequest, _ store: MapStore<[UInt8]>) async throws -> Element? {
        var query = request.query
        try check(Entry.read(query))
        let account = try request.owner()
        // While it reads, later requests wait, so that they are handled in order (RFC 6120 §10.1).
        account.suspend()
        defer { account.resume() }
        if query.children.contains(where: { conversion(of: $0, request.host) != nil }) {
            query = try await converted(query, account)
        }
        try await write(Entry.read(query), of: account, store)
        return nil
    }

    private func check(_ entries: [Entry]) throws(StanzaError) {
        for entry in entries where (entry.value?.count ?? 0) > options.size {
            throw .policyViolation("At most \(options.size) bytes are kept of an element.")
        }
    }

    /// What is left of a request when others have taken what they keep.
    private func converted(_ query: Element, _ account: Account) async throws -> Element {
        var rest: [Element] = []
        for element in query.children {
            let conversion = conversion(of: element, account.host)
            rest.append(try await conversion?.take(element, of: account) ?? element)
        }
        return Element("query", .privateXML) { rest }
    }

    private func write(_ entries: [Entry], of account: Account, _ store: MapStore<[UInt8]>) async throws {
        if account[Keys.self] == nil {
            account[Keys.self] = Set(try await store.entries(of: account.name).map(\.key))
        }
        var keys = account[Keys.self] ?? []
        for entry in entries {
            if entry.value == nil { keys.remove(entry.key) } else { keys.insert(entry.key) }
        }
        guard keys.count <= options.elements else {
            throw StanzaError.policyViolation("At most \(options.elements) elements are kept.")
        }
        account[Keys.self] = keys
        for entry in entries {
            if let value = entry.value {
                store.set(value, entry.key, of: account.name)
            } else {
                store.delete(entry.key, of: account.name)
            }
        }
    }

    /// What an account has stored; nil until it is needed.
    private enum Keys: AccountKey { static let defaultValue: Set<String>? = nil }
}

extension Private: PrivateStorage {
    func element(_ name: String, _ namespace: Namespace, of account: Account) async throws -> Element? {
        let key = try Element(name, namespace).storageKey
        return try await store?.value(key, of: account.name).map { try Element.parse($0) }?.firstChild
    }

    func set(_ element: Element, of account: Account) async throws {
        guard let store else { return }
        let entries = try Entry.read(Element("query", .privateXML) { element })
        try check(entries)
        try await write(entries, of: account, store)
    }
}

/// The elements of a request that share name and namespace.
private struct Entry {
    let key: String
    /// The `<query/>` that holds them, as it will be returned; nil when they are empty, and are forgotten therefore.
    let value: [UInt8]?

    /// - Throws: `.notAcceptable` when there is nothing to store, or something without a namespace of its own.
    static func read(_ query: Element) throws(StanzaError) -> [Entry] {
        var keys: [String] = []
        var groups: [String: [Element]] = [:]
        for element in query.children {
            let key = try element.storageKey
            if groups[key] == nil { keys.append(key) }
            groups[key, default: []].append(element)
        }
        guard !keys.isEmpty else { throw .notAcceptable("There is nothing to store.") }
        return keys.map { key in
            let elements = groups[key] ?? []
            let isEmpty = elements.allSatisfy { $0.content.isEmpty && $0.attributes.allSatisfy { $0.name == "xmlns" } }
            return Entry(key: key, value: isEmpty ? nil : Element("query", .privateXML) { elements }.xmlBytes)
        }
    }
}

extension Element {
    /// Name and namespace, under which an element is stored. XEP-0049 §2.1.
    fileprivate var storageKey: String {
        get throws(StanzaError) {
            guard namespace != .privateXML, namespace != .client, !namespace.uri.isEmpty else {
                throw .notAcceptable("An element needs a namespace of its own.")
            }
            return "{\(namespace)}\(name)"
        }
    }
}

extension Namespace {
    /// XEP-0049 §2.
    fileprivate static let privateXML: Namespace = "jabber:iq:private"
}
