/// What the modules of a host bring to its streams: features, and the elements that are no stanzas.
@ServerActor
public final class StreamNegotiation {
    typealias ElementHandler = @ServerActor (ClientStream, Element) throws(StreamError) -> Void
    typealias IQHandler = @ServerActor (ClientStream, IQ, Element) -> Void

    private struct Key: Hashable {
        let name: String
        let namespace: Namespace
    }

    private var features: [(id: Int, rank: Int, body: @ServerActor (ClientStream) -> Element?)] = []
    private var elementHandlers: [Key: ElementHandler] = [:]
    private var iqHandlers: [Key: IQHandler] = [:]
    private var nextID = 0

    init() {}

    /// The stream features for a stream in its present state. RFC 6120 §4.3.2.
    func features(for stream: ClientStream) -> Element {
        Element("features", .streams) {
            for feature in features {
                if let element = feature.body(stream) { element }
            }
        }
    }

    func addFeature(rank: Int, _ body: @escaping @ServerActor (ClientStream) -> Element?) -> Int {
        nextID += 1
        let index = features.firstIndex { $0.rank > rank } ?? features.endIndex
        features.insert((nextID, rank, body), at: index)
        return nextID
    }

    func removeFeature(_ id: Int) {
        features.removeAll { $0.id == id }
    }

    func setHandler(_ name: String, _ namespace: Namespace, _ handler: ElementHandler?) {
        elementHandlers[Key(name: name, namespace: namespace)] = handler
    }

    func setIQHandler(_ name: String, _ namespace: Namespace, _ handler: IQHandler?) {
        iqHandlers[Key(name: name, namespace: namespace)] = handler
    }

    func handler(for element: Element) -> ElementHandler? {
        elementHandlers[Key(name: element.name, namespace: element.namespace)]
    }

    func iqHandler(for query: Element) -> IQHandler? {
        iqHandlers[Key(name: query.name, namespace: query.namespace)]
    }
}
