/// Inside of what a client may ask for something else as well, and save round trips.
public enum InlineStep: Sendable, Hashable {
    /// SASL2's `<authenticate/>`; the answer goes into `<success/>`. XEP-0388 §2.6.
    case authentication
    /// Bind 2's `<bind/>`; the answer goes into `<bound/>`, and the stream has its resource. XEP-0386 §3.2.
    case bind
}

/// What a module says to an inline request.
public struct InlineAnswer {
    /// What the client is told; nil if there is nothing to tell.
    public let element: Element?
    /// What is done right after that was sent.
    public let afterwards: (@ServerActor () -> Void)?

    public init(_ element: Element?, afterwards: (@ServerActor () -> Void)? = nil) {
        self.element = element
        self.afterwards = afterwards
    }
}

/// What the modules of a host answer inside of SASL2 and Bind 2.
@ServerActor
public final class InlineNegotiation {
    public typealias Handler = @ServerActor (ClientStream, Element) async -> InlineAnswer?
    public typealias Report = @ServerActor (ClientStream) async -> Element?

    private struct Entry {
        let id: Int
        let rank: Int
        let step: InlineStep
        let name: String
        let namespace: Namespace
        let feature: Element?
        let body: Handler
    }

    private var entries: [Entry] = []
    private var reports: [(id: Int, rank: Int, body: Report)] = []
    private var nextID = 0

    init() {}

    /// What is advertised, in the order of the modules.
    public func features(_ step: InlineStep) -> [Element] {
        entries.filter { $0.step == step }.compactMap(\.feature)
    }

    /// The namespaces of what is answered, in the order of the modules.
    public func namespaces(_ step: InlineStep) -> [Namespace] {
        var namespaces: [Namespace] = []
        for entry in entries where entry.step == step && !namespaces.contains(entry.namespace) {
            namespaces.append(entry.namespace)
        }
        return namespaces
    }

    /// Whoever answers this element.
    public func handler(_ step: InlineStep, for element: Element) -> Handler? {
        entries.first { $0.step == step && element.is($0.name, $0.namespace) }?.body
    }

    /// What a client is told when it has bound a resource.
    public func reports(to stream: ClientStream) async -> [Element] {
        var elements: [Element] = []
        for report in reports {
            if let element = await report.body(stream) { elements.append(element) }
        }
        return elements
    }

    func add(
        _ step: InlineStep, _ name: String, _ namespace: Namespace, rank: Int, _ feature: Element?,
        _ body: @escaping Handler
    ) -> Int {
        nextID += 1
        let entry = Entry(
            id: nextID, rank: rank, step: step, name: name, namespace: namespace, feature: feature, body: body)
        entries.insert(entry, at: entries.firstIndex { $0.rank > rank } ?? entries.endIndex)
        return nextID
    }

    func addReport(rank: Int, _ body: @escaping Report) -> Int {
        nextID += 1
        reports.insert((nextID, rank, body), at: reports.firstIndex { $0.rank > rank } ?? reports.endIndex)
        return nextID
    }

    func remove(_ id: Int) {
        entries.removeAll { $0.id == id }
        reports.removeAll { $0.id == id }
    }
}
