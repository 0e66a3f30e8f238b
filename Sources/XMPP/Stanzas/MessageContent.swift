extension Namespace {
    /// XEP-0085 §11.1.
    public static let chatStates: Namespace = "http://jabber.org/protocol/chatstates"
    /// XEP-0184 §5.1.
    public static let receipts: Namespace = "urn:xmpp:receipts"
    /// XEP-0333 §4.
    public static let chatMarkers: Namespace = "urn:xmpp:chat-markers:0"
    /// XEP-0297 §3.
    public static let forward: Namespace = "urn:xmpp:forward:0"
    /// What rooms tell their occupants and those they invite. XEP-0045 §18.2.
    public static let mucUser: Namespace = "http://jabber.org/protocol/muc#user"
    /// An invitation that goes from user to user. XEP-0249 §2.
    public static let directInvitation: Namespace = "jabber:x:conference"
    /// XEP-0334 §4.
    public static let hints: Namespace = "urn:xmpp:hints"
    /// XEP-0359 §2.
    public static let stanzaIDs: Namespace = "urn:xmpp:sid:0"
}

/// What the sender of a message would like to happen to it on the way. XEP-0334 §4.
public enum ProcessingHint: String, Sendable, CaseIterable {
    /// Keep it in no archive; keeping it until it is delivered is fine.
    case noPermanentStore = "no-permanent-store"
    /// Keep it nowhere.
    case noStore = "no-store"
    /// Give it to nobody but the one it is addressed to.
    case noCopy = "no-copy"
    /// Keep it, though the rules would not.
    case store
}

extension Message {
    /// Whether the sender gave this hint. Errors have none: they carry those of what failed (XEP-0334 §5).
    public func has(_ hint: ProcessingHint) -> Bool {
        !isError && payload.has(hint.rawValue, .hints)
    }

    /// The invitation to a room that the room passes on, or is asked to. XEP-0045 §7.8.2.
    public var mediatedInvitation: Element? {
        payload.child("x", .mucUser)?.child("invite")
    }

    /// Whether the message says that somebody is typing, or the like, and nothing more. XEP-0085 §5.6.
    public var isStandaloneChatState: Bool {
        var hasState = false
        for child in payload.children {
            switch child.namespace {
            case .chatStates: hasState = true
            case .client where child.name == "thread": continue
            case .hints, .stanzaIDs: continue
            default: return false
            }
        }
        return hasState
    }
}
