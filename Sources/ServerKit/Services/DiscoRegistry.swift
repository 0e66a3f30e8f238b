/// What a host and its accounts say about themselves. Disco, capabilities and stream features read it; modules write
/// into it through their host facade, so that what is switched off is not advertised. XEP-0030 §3.
@ServerActor
public final class DiscoRegistry {
    /// Whom a feature, an identity or a form is about.
    public enum Subject: Sendable, Hashable, CaseIterable {
        case host, account
    }

    /// XEP-0030 §3.1; the registry is at xmpp.org/registrar/disco-categories.html.
    public struct Identity: Sendable, Hashable {
        public let category: String
        public let type: String
        public let name: String?
        /// The language of ``name``.
        public let language: String?

        public init(_ category: String, _ type: String, name: String? = nil, language: String? = nil) {
            self.category = category
            self.type = type
            self.name = name
            self.language = language
        }
    }

    /// An entry of disco#items.
    public struct Item: Sendable, Hashable {
        public let jid: JID
        public let node: String?
        public let name: String?

        public init(jid: JID, node: String? = nil, name: String? = nil) {
            self.jid = jid
            self.node = node
            self.name = name
        }
    }

    /// What another entity says about a part of the host or its accounts that it does in their place. XEP-0355 §7.2.
    public struct Nested: Sendable {
        public let subject: Subject
        /// Features that begin with it are not the host's own any more, nor forms of that type.
        public let namespace: Namespace
        public let info: DiscoInfo

        public init(_ subject: Subject, _ namespace: Namespace, _ info: DiscoInfo) {
            self.subject = subject
            self.namespace = namespace
            self.info = info
        }

        /// Whether something with this name belongs to the part: the namespace, or what follows it behind a `#`.
        func covers(_ name: String) -> Bool {
            name == namespace.uri || name.hasPrefix(namespace.uri + "#")
        }
    }

    /// A part of what lies below a host that has too much for one answer. XEP-0059.
    public struct Page: Sendable {
        public let items: [Item]
        public let set: ResultSetResponse?

        public init(_ items: [Item], _ set: ResultSetResponse? = nil) {
            self.items = items
            self.set = set
        }
    }

    /// Finds the page that a request asks for.
    public typealias PageFinder = @ServerActor (IQRequest) async throws -> Page

    /// Finds the node with a name, if it is there.
    public typealias NodeFinder = @ServerActor (_ name: String, _ request: IQRequest) -> (any DiscoNode)?

    private var features: [Subject: [Namespace: Int]] = [:]
    private var identities: [Subject: [Identity]] = [:]
    private var forms: [Subject: [(id: Int, form: @ServerActor () -> DataForm?)]] = [:]
    private var items: [(id: Int, items: @ServerActor (IQRequest) -> [Item])] = []
    private var nested: [Nested] = []
    private var pages: PageFinder?
    private var nodes: [String: any DiscoNode] = [:]
    private var finders: [(id: Int, subject: Subject, find: NodeFinder)] = []
    private var nextID = 0
    /// Grows with every change, so that what was derived can be kept until then.
    public private(set) var revision = 0

    init() {}

    public func features(of subject: Subject) -> [Namespace] {
        let own = (features[subject] ?? [:]).keys
        let nested = nested(in: subject)
        guard !nested.isEmpty else { return own.sorted { $0.uri < $1.uri } }
        let others = Set(nested.flatMap(\.info.features))
        let left = own.filter { feature in !nested.contains { $0.covers(feature.uri) } }
        return others.union(left).sorted { $0.uri < $1.uri }
    }

    /// Who does something in the host's place says what it is: identities of a category that it names are its own.
    public func identities(of subject: Subject) -> [Identity] {
        let own = identities[subject] ?? []
        let others = nested(in: subject).flatMap(\.info.identities)
        return own.filter { identity in !others.contains { $0.category == identity.category } } + others
    }

    /// Extended information, one form each. XEP-0128.
    public func forms(of subject: Subject) -> [DataForm] {
        let own = (forms[subject] ?? []).compactMap { $0.form() }
        let nested = nested(in: subject)
        guard !nested.isEmpty else { return own }
        return own.filter { form in !nested.contains { $0.covers(form.formType ?? "") } } + nested.flatMap(\.info.forms)
    }

    private func nested(in subject: Subject) -> [Nested] {
        nested.isEmpty ? [] : nested.filter { $0.subject == subject }
    }

    /// What lies below the host or account that was asked.
    public func items(for request: IQRequest) -> [Item] { items.flatMap { $0.items(request) } }

    /// The items of the host that come in pages; nil when it has none such.
    public func page(for request: IQRequest) async throws -> Page? {
        guard request.account == nil, let pages else { return nil }
        return try await pages(request)
    }

    /// What a module says about a node of the host or account that was asked.
    public func node(_ name: String, for request: IQRequest) -> (any DiscoNode)? {
        let subject: Subject = request.account == nil ? .host : .account
        if subject == .host, let node = nodes[name] ?? nodes.first(where: { name.hasPrefix($0.key + "#") })?.value {
            return node
        }
        return finders.lazy.filter { $0.subject == subject }.compactMap { $0.find(name, request) }.first
    }

    func add(_ feature: Namespace, _ subject: Subject) {
        features[subject, default: [:]][feature, default: 0] += 1
        revision += 1
    }

    func remove(_ feature: Namespace, _ subject: Subject) {
        let count = features[subject]?[feature] ?? 0
        features[subject]?[feature] = count > 1 ? count - 1 : nil
        revision += 1
    }

    func add(_ identity: Identity, _ subject: Subject) {
        identities[subject, default: []].append(identity)
        revision += 1
    }

    func remove(_ identity: Identity, _ subject: Subject) {
        if let index = identities[subject]?.firstIndex(of: identity) { identities[subject]?.remove(at: index) }
        revision += 1
    }

    func addForm(_ subject: Subject, _ form: @escaping @ServerActor () -> DataForm?) -> Int {
        nextID += 1
        revision += 1
        forms[subject, default: []].append((nextID, form))
        return nextID
    }

    func removeForm(_ id: Int) {
        for subject in Subject.allCases { forms[subject]?.removeAll { $0.id == id } }
        revision += 1
    }

    func addItems(_ body: @escaping @ServerActor (IQRequest) -> [Item]) -> Int {
        nextID += 1
        items.append((nextID, body))
        return nextID
    }

    func removeItems(_ id: Int) {
        items.removeAll { $0.id == id }
    }

    func setNested(_ nested: [Nested]) {
        self.nested = nested
        revision += 1
    }

    func setPages(_ pages: PageFinder?) {
        self.pages = pages
    }

    func addFinder(_ subject: Subject, _ find: @escaping NodeFinder) -> Int {
        nextID += 1
        finders.append((nextID, subject, find))
        return nextID
    }

    func removeFinder(_ id: Int) {
        finders.removeAll { $0.id == id }
    }

    func setNode(_ name: String, _ node: (any DiscoNode)?) {
        nodes[name] = node
    }
}

/// A node of a host or account that disco may be asked about, such as the list of ad-hoc commands.
@ServerActor
public protocol DiscoNode: AnyObject {
    /// The children of `<query/>` in disco#info for the node.
    func info(node: String, request: IQRequest) throws -> [Element]
    func items(node: String, request: IQRequest) async throws -> [DiscoRegistry.Item]
}
