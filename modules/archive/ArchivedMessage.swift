import ServerKit

/// A message as the archive keeps it: a head by which queries tell messages apart, then the serialised stanza, which
/// goes into results as it is.
///
/// The head: a format number, the direction, four bytes of hash of the stanza's id, eight of the peer's resourcepart.
enum ArchivedMessage {
    enum Direction: UInt8 {
        case sent = 0x3E
        case received = 0x3C
    }

    private static let format: UInt8 = 1
    private static let headSize = 14

    static func encode(_ message: Message, _ direction: Direction, _ peer: JID) -> [UInt8] {
        var head: [UInt8] = []
        head.reserveCapacity(headSize)
        head.append(format)
        head.append(direction.rawValue)
        append(hash(message.id ?? ""), 4, to: &head)
        append(hash(peer.resourcepart ?? ""), 8, to: &head)
        var writer = XMLWriter(after: head)
        writer.write(message.withoutForgedOccupants, in: nil)
        return writer.bytes
    }

    /// The stanza for a result, whose content is not looked into.
    static func sealed(_ value: [UInt8]) -> Element? {
        isReadable(value) ? Element(sealed: value, from: headSize) : nil
    }

    /// The stanza; nil if the bytes are none.
    static func message(_ value: [UInt8]) -> Message? {
        guard isReadable(value), let element = try? Element.parse(value.dropFirst(headSize)) else { return nil }
        return try? Message(element)
    }

    private static func isReadable(_ value: [UInt8]) -> Bool { value.count > headSize && value[0] == format }

    // MARK: Marks

    /// What distinguishes messages from and to a full JID among those of its bare JID.
    static func mark(ofResource resourcepart: String) -> ArchiveQuery.Mark {
        var bytes: [UInt8] = []
        append(hash(resourcepart), 8, to: &bytes)
        return .init(bytes, at: 6)
    }

    /// What distinguishes a message with this id in this direction; others may have it, too.
    static func mark(of id: String, _ direction: Direction) -> ArchiveQuery.Mark {
        var bytes = [direction.rawValue]
        append(hash(id), 4, to: &bytes)
        return .init(bytes, at: 1)
    }

    /// FNV-1a.
    private static func hash(_ text: String) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
        return hash
    }

    /// Appends the first bytes of a hash.
    private static func append(_ hash: UInt64, _ count: Int, to bytes: inout [UInt8]) {
        for index in 0..<count { bytes.append(UInt8(truncatingIfNeeded: hash >> UInt64(56 - 8 * index))) }
    }
}

extension Message {
    /// Without what rooms say about the occupant who sent it, which in a message between two users could only be
    /// forged. XEP-0313 §8.4. Invitations, which have the same wrapping, stay.
    fileprivate var withoutForgedOccupants: Message {
        guard let x = payload.child("x", .mucUser), x.has("item") else { return self }
        var message = self
        message.payload.removeChildren { $0.is("x", .mucUser) && $0.has("item") }
        return message
    }
}
