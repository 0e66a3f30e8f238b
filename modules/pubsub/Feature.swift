import ServerKit

/// Something that can be done with a service: what disco says of it, and the requests it answers.
struct Feature: Sendable {
    /// The names of XEP-0060 §10.
    let advertises: [String]
    let operations: [Operation]

    init(_ advertises: [String], _ operations: [Operation] = []) {
        self.advertises = advertises
        self.operations = operations
    }

    /// All there are.
    static let all: [Feature] = [
        .publishing, .retrieval, .retraction, .subscribing, .subscriptionOptions, .creation, .configuration, .removal,
        .affiliations, .subscribers, .lists, .delivery,
    ]
}

/// One kind of request.
struct Operation: Sendable {
    typealias Body = @Sendable @ServerActor (Service, Request) async throws -> Element?

    let kind: IQ.Kind
    /// The child of `<pubsub/>` that asks for it.
    let name: String
    let namespace: Namespace
    /// The child that may follow.
    let companion: String?
    /// Returns the child of `<pubsub/>` in the answer, or nothing at all, or a whole `<pubsub/>`.
    let body: Body

    init(
        _ kind: IQ.Kind, _ name: String, _ namespace: Namespace = .pubsub, with companion: String? = nil,
        _ body: @escaping Body
    ) {
        self.kind = kind
        self.name = name
        self.namespace = namespace
        self.companion = companion
        self.body = body
    }

    struct Key: Hashable {
        let kind: IQ.Kind
        let name: String
        let namespace: Namespace
    }

    /// All there are, by what asks for them.
    static let table: [Key: Operation] = {
        let all = Feature.all.flatMap(\.operations)
        return Dictionary(
            all.map { (Key(kind: $0.kind, name: $0.name, namespace: $0.namespace), $0) }, uniquingKeysWith: { $1 })
    }()
}

/// A request to a service.
struct Request: Sendable {
    let iq: IQRequest
    let from: JID
    /// The `<pubsub/>`.
    let pubsub: Element
    /// Its child that says what is wanted.
    let action: Element
    /// The child that goes with it, such as `<publish-options/>`.
    let companion: Element?

    /// The node that is named; an empty name is none (XEP-0248 would take it for the root).
    var nodeName: String? { action["node"].flatMap { $0.isEmpty ? nil : $0 } }

    func requiredNodeName() throws(StanzaError) -> String {
        guard let nodeName else { throw .nodeIDRequired }
        return nodeName
    }
}

extension Service {
    /// Answers a `<pubsub/>`.
    func answer(_ iq: IQRequest) async throws -> Element? {
        let namespace = iq.query.namespace
        // Result set management stands beside what is asked for, in its own namespace.
        let children = iq.query.children.filter { $0.namespace == namespace }
        guard let action = children.first else { throw StanzaError.badRequest("Nothing is asked for.") }
        let key = Operation.Key(kind: iq.kind, name: action.name, namespace: namespace)
        guard let operation = Operation.table[key] else { throw Self.unknown(action, iq.kind) }
        guard children.count <= 2, children.count == 1 || children[1].name == operation.companion else {
            throw StanzaError.badRequest("More is asked for than goes together.")
        }
        let request = Request(
            iq: iq, from: iq.from, pubsub: iq.query, action: action, companion: children.dropFirst().first)
        guard let content = try await operation.body(self, request) else { return nil }
        if content.name == "pubsub" { return content }
        return Element("pubsub", namespace) { content }
    }

    private static func unknown(_ action: Element, _ kind: IQ.Kind) -> StanzaError {
        let isKnown = [IQ.Kind.get, .set].contains {
            Operation.table[Operation.Key(kind: $0, name: action.name, namespace: action.namespace)] != nil
        }
        let isCompanion = Operation.table.values.contains { $0.companion == action.name }
        return isKnown || isCompanion ? .badRequest : .featureNotImplemented
    }
}
