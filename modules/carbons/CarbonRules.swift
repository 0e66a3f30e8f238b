import ServerKit

/// To whom a message may be copied.
enum CarbonRule: Equatable {
    /// To all devices that asked for copies.
    case all
    /// To those that are in this room: others could not answer. XEP-0280 §6.1, note.
    case room(JID)
    /// To all, if it answers a message that was eligible.
    case error
}

/// A copy of a message.
enum Carbon {
    /// Which half of a conversation is copied, and the name of the element around it.
    enum Direction: String {
        case received, sent
    }

    /// The copy, still without the address of who gets it. The content of a parsed message is shared. XEP-0280 §7, §8.
    @ServerActor
    static func make(of event: MessageEvent, _ direction: Direction) -> Message {
        let owner = event.account.jid
        var original = event.message.element
        if direction == .sent, let id = event.archiveID {
            // So that a device that reads the archive later knows the message again. XEP-0313 §3.5.
            original.append(Element("stanza-id", .stanzaIDs, ["by": owner.description, "id": id]))
        }
        return Message(from: owner, kind: event.message.kind) {
            Element(direction.rawValue, .carbons) { Element("forwarded", .forward) { original } }
        }
    }
}

extension Message {
    /// Whether it pretends to be a copy.
    var holdsCarbon: Bool {
        payload.has(Carbon.Direction.received.rawValue, .carbons)
            || payload.has(Carbon.Direction.sent.rawValue, .carbons)
    }

    /// Whether, and to whom, it is copied; nil if it is not. XEP-0280 §6.1.
    func carbonRule(_ direction: Carbon.Direction) -> CarbonRule? {
        // XEP-0280 §9 has both together, XEP-0334 §4.3 the one alone. Errors carry those of what they answer.
        guard !has("private", .carbons), !has(ProcessingHint.noCopy.rawValue, .hints) else { return nil }
        switch kind {
        case .groupchat: return nil
        case .error: return .error
        case .chat, .headline, .normal: break
        }
        if let room = child("x", .mucUser) {
            if room.has("invite") { return .all }
            switch direction {
            // The room has given it to all clients that joined.
            case .received: if from?.isFull == true { return nil }
            case .sent: if let to, to.isFull { return .room(to) }
            }
        }
        let isEligible =
            kind == .chat || kind == .normal && has("body") || has("x", .directInvitation)
            || payload.children.contains { Self.instantMessaging.contains($0.namespace) }
        return isEligible ? .all : nil
    }

    /// Payloads of instant messaging that may come without a body. XEP-0280 §6.1.
    private static let instantMessaging: [Namespace] = [.receipts, .chatStates, .chatMarkers]
}

extension Namespace {
    /// XEP-0280 §6.2.
    static let carbonsRules: Namespace = "urn:xmpp:carbons:rules:0"
}
