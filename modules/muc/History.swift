import ServerKit

/// The last messages of a room, for those who enter. XEP-0045 §7.2.13.
struct History: Sendable {
    struct Item: Sendable {
        let id: String
        var message: Message
        let time: Timestamp
        /// Roughly its bytes.
        let size: Int
        /// Its number in the room, which only grows.
        let number: Int

        /// As it is shown to somebody who was not there. XEP-0045 §7.2.13.
        func delayed(by room: JID) -> Message {
            var message = message
            message.payload.append(Delay(stamp: time, from: room).element)
            return message
        }
    }

    /// However many messages there may be, those who enter are not sent more bytes than this.
    private static let byteLimit = 1_048_576

    private(set) var items: [Item] = []
    private var bytes = 0
    /// The number of the next message.
    private(set) var nextNumber = 0

    mutating func append(_ message: Message, id: String, at time: Timestamp, size: Int, limit: Int) {
        items.append(Item(id: id, message: message, time: time, size: size, number: nextNumber))
        bytes += size
        nextNumber += 1
        var surplus = max(0, items.count - limit)
        bytes -= items[..<surplus].reduce(0) { $0 + $1.size }
        while bytes > Self.byteLimit, surplus < items.count {
            bytes -= items[surplus].size
            surplus += 1
        }
        items.removeFirst(surplus)
    }

    func item(_ id: String) -> Item? { items.last { $0.id == id } }

    mutating func remove(_ id: String) {
        remove { $0.id == id }
    }

    /// Removes what was said before a time.
    mutating func remove(before time: Timestamp) {
        remove { $0.time < time }
    }

    private mutating func remove(_ isUnwanted: (Item) -> Bool) {
        items.removeAll(where: isUnwanted)
        bytes = items.reduce(0) { $0 + $1.size }
    }

    /// Puts another message in the place of one, such as a tombstone.
    mutating func replace(_ id: String, with message: Message) {
        guard let index = items.firstIndex(where: { $0.id == id }) else { return }
        items[index].message = message
    }

    /// What came from this number on and before another one.
    func items(from first: Int, before end: Int) -> [Item] {
        items.filter { $0.number >= first && $0.number < end }
    }

    /// The number of the message that came back with an error, if it can be told: by the id that the room gave it, or
    /// by its sender's where only that came back.
    func number(of bounced: Message, room: JID) -> Int? {
        let id = bounced.payload.children("stanza-id", .stanzaIDs).first { $0.jid("by") == room }?["id"]
        if let item = items.first(where: { $0.id == id }) { return item.number }
        guard let sent = bounced.id else { return nil }
        return items.last { $0.message.id == sent }?.number
    }

    /// What somebody is shown of the messages before a number. XEP-0045 §7.2.14: the smallest amount that meets all
    /// criteria.
    func selection(_ wanted: Request, before end: Int, room: JID, to viewer: JID, now: Timestamp) -> [Message] {
        var earliest = wanted.since
        if let seconds = wanted.seconds {
            let start = now.advanced(by: .zero - .seconds(seconds))
            earliest = earliest.map { max($0, start) } ?? start
        }
        var chosen: [Message] = []
        var size = 0
        for item in items.reversed() where item.number < end {
            if let earliest, item.time < earliest { break }
            if let limit = wanted.maxStanzas, chosen.count >= limit { break }
            var message = item.delayed(by: room)
            message.header.to = viewer
            if let limit = wanted.maxCharacters {
                size += message.characterCount
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

extension Message {
    /// The characters of the whole stanza as it is sent: those of XML, which are code points. XEP-0045 §7.2.14.
    fileprivate var characterCount: Int {
        var writer = XMLWriter()
        writer.write(self)
        // In UTF-8 each has one byte that does not continue another.
        return writer.bytes.count { $0 & 0xC0 != 0x80 }
    }
}

extension Room {
    func sendHistory(to session: Occupant.Session, _ request: Element?) {
        let (to, end, now) = (session.jid, history.nextNumber, service.host.clock.date)
        let request = History.Request(request)
        outbox.send {
            // Only now it is known which of them are on disk. What was said since comes to it like to everybody.
            for message in self.history.selection(request, before: end, room: self.jid, to: to, now: now) {
                self.router.route(message)
            }
        }
    }
}
