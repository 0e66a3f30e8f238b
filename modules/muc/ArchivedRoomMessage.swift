import ServerKit

/// A message as a room's archive keeps it: a head with what the stanza does not tell, and the serialised stanza, which
/// goes into results as it is.
///
/// The head: a format number; affiliation and role of the sender; whether the message is for the history; whether it was
/// said where everybody could see who the sender is; the sender's bare JID and its resourcepart, with two bytes of length
/// before each.
enum ArchivedRoomMessage {
    private static let format: UInt8 = 1

    /// Who sent a message.
    struct Sender: Sendable, Equatable {
        /// The full JID.
        let jid: JID
        let affiliation: Affiliation
        let role: Role

        /// As others see it, if they may. XEP-0313 §6.1.2.
        var element: Element {
            Element("x", .mucUser) {
                Element(
                    "item", nil,
                    ["affiliation": affiliation.rawValue, "jid": jid.description, "role": role.rawValue])
            }
        }
    }

    struct Head: Sendable, Equatable {
        /// nil when the room said it.
        let sender: Sender?
        /// Whether those who enter are shown it.
        let isForHistory: Bool
        /// Whether everybody could see the sender's real JID then. XEP-0045 §4.2.
        let isOpen: Bool
    }

    static func encode(_ message: Message, _ head: Head) -> [UInt8] {
        var bytes: [UInt8] = [format, rank(head.sender), head.isForHistory ? 1 : 0, head.isOpen ? 1 : 0]
        bytes += text(head.sender?.jid.bare.description ?? "")
        bytes += text(head.sender?.jid.resourcepart ?? "")
        var writer = XMLWriter(after: bytes)
        var message = message
        // XEP-0313 §6.1.2: it was for everybody.
        message.to = nil
        writer.write(message, in: nil)
        return writer.bytes
    }

    private static func text(_ text: String) -> [UInt8] {
        let bytes = Array(text.utf8)
        return [UInt8(truncatingIfNeeded: bytes.count >> 8), UInt8(truncatingIfNeeded: bytes.count)] + bytes
    }

    private static func rank(_ sender: Sender?) -> UInt8 {
        let affiliation = sender.flatMap { Affiliation.allCases.firstIndex(of: $0.affiliation) } ?? 0
        let role = sender.flatMap { Role.allCases.firstIndex(of: $0.role) } ?? 0
        return UInt8(affiliation << 4 | role)
    }

    // MARK: Reading

    /// The texts of the head, and where the stanza begins; nil if the bytes are none of this format.
    private static func read(_ value: [UInt8]) -> (bare: Range<Int>, resource: Range<Int>, start: Int)? {
        guard value.count > 8, value[0] == format else { return nil }
        func range(at offset: Int) -> Range<Int>? {
            guard offset + 2 <= value.count else { return nil }
            let end = offset + 2 + Int(value[offset]) << 8 + Int(value[offset + 1])
            return end <= value.count ? offset + 2..<end : nil
        }
        guard let bare = range(at: 4), let resource = range(at: bare.upperBound), resource.upperBound < value.count
        else { return nil }
        return (bare, resource, resource.upperBound)
    }

    static func head(_ value: [UInt8]) -> Head? {
        guard let parts = read(value), let who = sender(value, parts.bare, parts.resource) else { return nil }
        return Head(sender: who, isForHistory: value[2] == 1, isOpen: value[3] == 1)
    }

    /// nil when it cannot be read; a nil inside when there is none.
    private static func sender(_ value: [UInt8], _ bare: Range<Int>, _ resource: Range<Int>) -> Sender?? {
        guard !bare.isEmpty else { return .some(nil) }
        let (affiliation, role) = (Int(value[1] >> 4), Int(value[1] & 15))
        guard affiliation < Affiliation.allCases.count, role < Role.allCases.count else { return nil }
        var text = String(decoding: value[bare], as: UTF8.self)
        if !resource.isEmpty { text += "/" + String(decoding: value[resource], as: UTF8.self) }
        guard let jid = JID(text) else { return nil }
        return Sender(jid: jid, affiliation: Affiliation.allCases[affiliation], role: Role.allCases[role])
    }

    static func isForHistory(_ value: [UInt8]) -> Bool { value.count > 2 && value[0] == format && value[2] == 1 }

    /// What distinguishes messages whose sender has this real JID, bare or full.
    ///
    /// - Parameter isOpen: only those that were said where everybody could see it.
    static func mark(of jid: JID, isOpen: Bool) -> ArchiveQuery.Mark {
        let name = text(jid.bare.description) + (jid.resourcepart.map(text) ?? [])
        return isOpen ? .init([1] + name, at: 3) : .init(name, at: 4)
    }

    /// The stanza for a result, whose content is not looked into.
    static func sealed(_ value: [UInt8]) -> Element? {
        read(value).flatMap { Element(sealed: value, from: $0.start) }
    }

    /// The stanza; nil if the bytes are none.
    static func message(_ value: [UInt8]) -> Message? {
        guard let start = read(value)?.start, let element = try? Element.parse(value[start...]) else { return nil }
        return try? Message(element)
    }
}
