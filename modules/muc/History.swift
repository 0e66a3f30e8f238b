import ServerKit

/// The last messages of a room, for those who enter. XEP-0045 §7.2.13.
struct History: Sendable {
    struct Item: Sendable {
        let id: String
        var message: Message
        let time: Timestamp
        /// Its number in the room, which only grows.
        let number: Int

        /// As it is shown to somebody who was not there. XEP-0045 §7.2.13.
        func delayed(by room: JID) -> Message {
            var message = message
            message.payload.append(Delay(stamp: time, from: room).element)
            return message
        }
    }

    private(set) var items: [Item] = []
    /// The number of the next message.
    private(set) var nextNumber = 0

    mutating func append(_ message: Message, id: String, at time: Timestamp, limit: Int) {
        items.append(Item(id: id, message: message, time: time, number: nextNumber))
        nextNumber += 1
        if items.count > limit { items.removeFirst(items.count - limit) }
    }

    mutating func remove(_ id: String) {
        items.removeAll { $0.id == id }
    }

    /// Puts another message in the place of one, such as a tombstone.
    mutating func replace(_ id: String, with message: Message) {
        guard let index = items.firstIndex(where: { $0.id == id }) else { return }
        items[index].message = message
    }

    /// What somebody is shown. XEP-0045 §7.2.14: the smallest amount that meets all criteria.
    func selection(_ wanted: Request, room: JID, now: Timestamp) -> [Message] {
        var earliest = wanted.since
        if let seconds = wanted.seconds {
            let start = now.advanced(by: .zero - .seconds(seconds))
            earliest = earliest.map { max($0, start) } ?? start
        }
        var chosen: [Message] = []
        var size = 0
        for item in items.reversed() {
            if let earliest, item.time < earliest { break }
            if let limit = wanted.maxStanzas, chosen.count >= limit { break }
            let message = item.delayed(by: room)
            if let limit = wanted.maxCharacters {
                size += message.element.xml.count
                if size > limit { break }
            }
            chosen.append(message)
        }
        return chosen.reversed()
    }

    /// How much somebody who enters wants to see. XEP-0045 §7.2.14.
    struct Request: Sendable {
        var maxCharacters: Int?
        var maxStanzas: Int?
        var seconds: Int?
        var since: Timestamp?

        /// What is no number or time counts as if it were not there: a client that gets more than it wanted is better off
        /// than one that cannot enter.
        init(_ element: Element?) {
            maxCharacters = element?["maxchars"].flatMap { Int($0) }.map { max(0, $0) }
            maxStanzas = element?["maxstanzas"].flatMap { Int($0) }.map { max(0, $0) }
            seconds = element?["seconds"].flatMap { Int($0) }.map { min(max(0, $0), 1_000_000_000) }
            since = element?["since"].flatMap { Timestamp($0) }
        }
    }
}

extension Room {
    func sendHistory(to session: Occupant.Session, _ request: Element?) {
        let messages = history.selection(.init(request), room: jid, now: service.host.clock.date)
        guard !messages.isEmpty else { return }
        let to = session.jid
        outbox.send {
            for var message in messages {
                message.header.to = to
                self.router.route(message)
            }
        }
    }
}
