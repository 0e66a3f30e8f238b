import ServerKit

/// A message as it was kept, wherever that is.
struct KeptMessage {
    let id: String
    let message: Message
    /// What the archive knows of it; nil if it is in the history only.
    let head: ArchivedRoomMessage.Head?

    /// Whether what it said is gone already.
    var isTombstone: Bool { message.payload.has("retracted", .retraction) && !message.has("body") }
}

extension Room {
    /// The message with this id, however old it is.
    func keptMessage(_ id: String) async throws -> KeptMessage? {
        if isArchived, let item = try await service.stores.archive.item(id, of: name),
            let message = ArchivedRoomMessage.message(item.value), let head = ArchivedRoomMessage.head(item.value)
        {
            return KeptMessage(id: id, message: message, head: head)
        }
        return history.item(id).map { KeptMessage(id: id, message: $0.message, head: nil) }
    }

    /// Puts a tombstone in the place of a message, where it is kept. XEP-0424 §4.
    func bury(_ kept: KeptMessage, _ tombstone: Element...) {
        let message = kept.message.tombstone(tombstone)
        history.replace(kept.id, with: message)
        guard let head = kept.head, !isDestroyed else { return }
        service.stores.archive.change(kept.id, of: name, to: ArchivedRoomMessage.encode(message, head))
    }
}

extension Message {
    /// XEP-0424 §4: everything that was said goes; who said it and under which id stays. So does a retraction's own
    /// purpose, which those must learn who were away (XEP-0424 §5).
    fileprivate func tombstone(_ elements: [Element]) -> Message {
        var tombstone = self
        tombstone.payload = Element("message", .client) {
            if let retractedID { Element("retract", .retraction, ["id": retractedID]) }
            elements
            payload.children.filter { $0.namespace == .occupantID || $0.is("stanza-id", .stanzaIDs) }
        }
        return tombstone
    }
}
