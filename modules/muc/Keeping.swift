import ServerKit

/// What a room keeps of what is said in it: the last messages for those who enter, in memory, and all in the archive.
/// XEP-0045 §7.2.13, XEP-0313 §6.1.2.
extension Room {
    /// Keeps a message, as far as it is to be kept.
    ///
    /// - Parameter isForHistory: whether it is shown to those who enter.
    /// - Returns: the write after which it is in the archive; nil if it does not go there.
    func keep(
        _ message: Message, _ id: String, from sender: ArchivedRoomMessage.Sender?, isForHistory: Bool
    ) -> CommitNumber? {
        let time = service.host.clock.date
        let isForArchive = isArchived && message.isForArchive
        guard isForHistory || isForArchive else { return nil }
        let head = ArchivedRoomMessage.Head(
            sender: sender, isForHistory: isForHistory, isOpen: settings.whois == .anyone)
        let value = ArchivedRoomMessage.encode(message, head)
        if isForHistory {
            history.append(message, id: id, at: time, size: value.count, limit: historyLength)
        }
        guard isForArchive else { return nil }
        let item = NewArchiveItem(
            id: id, time: time.microseconds, with: message.from?.resourcepart ?? "", value: value)
        return service.stores.archive.append(item, to: name)
    }

    /// Whether messages are kept for later. XEP-0313.
    var isArchived: Bool { settings.isArchived(under: service.options) }

    /// How many messages somebody who enters is shown at most.
    var historyLength: Int { settings.historyLength(under: service.options) }
}

extension RoomSettings {
    func isArchived(under options: MUC.Options) -> Bool {
        switch options.archive {
        case .off: false
        case .on: isArchived ?? true
        case .onRequest: isArchived ?? false
        }
    }

    func historyLength(under options: MUC.Options) -> Int {
        min(historyLength ?? options.historyLength, options.historyLimit)
    }
}

extension ArchivedRoomMessage.Sender {
    @ServerActor
    init(_ session: Occupant.Session) {
        self.init(jid: session.jid, affiliation: session.occupant.affiliation, role: session.occupant.role)
    }
}

extension Message {
    /// Whether it is kept at all: what has content, and what its sender asks to be kept (XEP-0334 §4.4), unless it is not
    /// to be stored even for those who are not here (XEP-0334 §4.2).
    var isWorthKeeping: Bool {
        // XEP-0424 §5: who was away must learn of it, whatever the sender says.
        if retractedID != nil { return true }
        return !has(.noStore) && (has(.store) || isMessageContent)
    }

    /// Whether those who enter are shown it: what is said, and not what is kept for other reasons only. A subject is told
    /// in its own place (XEP-0045 §7.2.15).
    var isForHistory: Bool { isMessageContent && !isSubjectChange }

    /// XEP-0334 §4.1: the sender may want it in no archive, but told to those who enter.
    var isForArchive: Bool { !has(.noPermanentStore) || retractedID != nil }

    /// Whether people see something of it.
    var isMessageContent: Bool { payload.children.contains(where: \.isMessageContent) }
}
