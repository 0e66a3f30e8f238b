import ServerKit

/// An item of a node. XEP-0060 §7.1.
struct Item: Sendable {
    let id: String
    let publisher: JID?
    /// What was published; nil where a node keeps none.
    let payload: Element?
    let published: Timestamp

    /// As it is sent: with its publisher if the node is configured so (XEP-0060 §7.1.2.3).
    func element(_ namespace: Namespace, withPayload: Bool, withPublisher: Bool) -> Element {
        Element(
            "item", namespace, ["id": id, "publisher": withPublisher ? publisher?.description : nil]
        ) {
            if withPayload, let payload { payload }
        }
    }

    /// As it is stored.
    var stored: [UInt8] {
        Element("item", .pubsub, ["publisher": publisher?.description]) {
            if let payload { payload }
        }.xmlBytes
    }

    init(id: String, publisher: JID?, payload: Element?, published: Timestamp) {
        self.id = id
        self.publisher = publisher
        self.payload = payload
        self.published = published
    }

    /// Reads what was stored; nil when it cannot be read.
    init?(stored: ArchiveItem<[UInt8]>) {
        guard
            let id = stored.id.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).dropFirst().first,
            let element = try? Element.parse(stored.value)
        else { return nil }
        self.init(
            id: String(id), publisher: element.jid("publisher"), payload: element.firstChild,
            published: Timestamp(microseconds: stored.time))
    }
}
