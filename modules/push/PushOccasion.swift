import ServerKit

/// Something that a user would want to be woken for.
struct PushOccasion {
    enum Kind {
        case message
        /// Somebody calls, and will not wait long.
        case call
        /// Somebody would like to see the user's presence.
        case subscription
    }

    let kind: Kind
    private(set) var sender: JID?
    /// The text, unless it is encrypted.
    private(set) var body: String?
    /// Whether it was said in a room.
    private(set) var isFromRoom = false

    init(_ kind: Kind) {
        self.kind = kind
    }

    /// Nil for what can wait until the user looks: chat states, markers, receipts, notices, what the user wrote. The
    /// same distinction as a phone makes whose screen is off (XEP-0352 §3.2).
    ///
    /// - Parameters:
    ///   - account: whom it is for, a bare JID.
    ///   - isWaiting: whether it waits in a session, where what was addressed to this one client counts, too.
    init?(_ stanza: Stanza, for account: JID, isWaiting: Bool) {
        guard !stanza.isError else { return nil }
        switch stanza {
        case .message(let message): self.init(message, for: account, isWaiting: isWaiting)
        case .presence(let presence):
            guard presence.kind == .subscribe else { return nil }
            self.init(.subscription)
        case .iq(let iq):
            // XEP-0166 §6.2: clients that call without asking around first.
            guard iq.kind == .set, let query = iq.query, query.is("jingle", .jingle),
                query["action"] == "session-initiate"
            else { return nil }
            self.init(.call)
            sender = iq.from
        }
    }

    private init?(_ message: Message, for account: JID, isWaiting: Bool) {
        // XEP-0280 §7. What another client of the user sent is no news.
        if message.from == account, let received = message.child("received", .copies) {
            guard let element = received.child("forwarded", .forwarding)?.child("message", .client),
                let copied = try? Message(element)
            else { return nil }
            self.init(copied, for: account, isWaiting: isWaiting)
            return
        }
        guard let from = message.from, from.bare != account else { return nil }
        switch message.kind {
        case .chat, .normal: break
        case .groupchat: if !isWaiting { return nil }
        case .headline, .error: return nil
        }
        if message.isCall {
            self.init(.call)
        } else {
            guard message.says else { return nil }
            self.init(.message)
            body = message.isEncrypted ? nil : message.body
        }
        sender = from
        isFromRoom = message.kind == .groupchat
    }
}

extension Message {
    /// Whether somebody calls. XEP-0353 §3.1.
    fileprivate var isCall: Bool { has("propose", .jingleMessages) }

    fileprivate var isEncrypted: Bool {
        payload.children.contains { child in
            ["encrypted", "openpgp", "encryption"].contains(child.name)
                || child.is("x", .oldOpenPGP)
        }
    }

    /// Whether there is something to read: text, in clear or encrypted, or an invitation to a room.
    fileprivate var says: Bool {
        // Some say in the clear only that they are encrypted.
        if let body, !body.isEmpty { return true }
        return payload.children.contains { child in
            switch (child.name, child.namespace) {
            // Without a payload it only changes keys. XEP-0384 §5.5.
            case ("encrypted", _): child.has("payload")
            case ("openpgp", _), ("x", .oldOpenPGP), ("x", .invitations): true
            case ("x", .rooms): child.has("invite")
            default: false
            }
        }
    }
}

extension Namespace {
    fileprivate static let copies: Namespace = "urn:xmpp:carbons:2"
    fileprivate static let forwarding: Namespace = "urn:xmpp:forward:0"
    fileprivate static let invitations: Namespace = "jabber:x:conference"
    fileprivate static let jingle: Namespace = "urn:xmpp:jingle:1"
    fileprivate static let jingleMessages: Namespace = "urn:xmpp:jingle-message:0"
    fileprivate static let oldOpenPGP: Namespace = "jabber:x:encrypted"
    fileprivate static let rooms: Namespace = "http://jabber.org/protocol/muc#user"
}
