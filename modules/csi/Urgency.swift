import ServerKit

/// What a stanza that waits says something about; a later one about the same takes its place.
enum HeldKey: Hashable {
    /// Who is there.
    case presence(JID)
    /// What somebody is about to write; who to is of interest in copies of messages.
    case chatState(of: JID, to: JID?)
    /// What somebody published.
    case item(publisher: JID, node: String, id: String?)
}

/// How much a client that nobody looks at needs a stanza.
enum Urgency: Equatable {
    /// It can wait. With a key, it takes the place of the one that waits under it.
    case none(HeldKey?)
    /// The client should have it now, but need not be shown anything.
    case own
    /// It is for the user. What waits under the key is superfluous then.
    case full(HeldKey?)

    @ServerActor
    init(of stanza: Stanza, for resource: Resource, _ options: ClientState.Options) {
        switch stanza {
        case .iq: self = .own
        case .presence(let presence):
            self = options.presence ? Urgency(of: presence, for: resource) : .own
        case .message(let message): self = Urgency(of: message, for: resource, options)
        }
    }

    @ServerActor
    private init(of presence: Presence, for resource: Resource) {
        switch presence.kind {
        case .available, .unavailable:
            // The client's own, which tells it what became of what it asked for.
            guard let from = presence.from, from != resource.jid, !presence.isOwnInRoom else {
                self = .full(nil)
                return
            }
            self = .none(.presence(from))
        case .error, .probe, .subscribe, .subscribed, .unsubscribe, .unsubscribed: self = .full(nil)
        }
    }

    @ServerActor
    private init(of message: Message, for resource: Resource, _ options: ClientState.Options) {
        guard let from = message.from, !message.isError else {
            self = .full(nil)
            return
        }
        // XEP-0280 §11: a copy is only believed from the own account.
        if from == resource.jid.bare, let copied = message.copiedMessage, let author = copied.from {
            let key = HeldKey.chatState(of: author, to: copied.to)
            self = options.chatStates && copied.isStandaloneChatState ? .none(key) : .full(key)
        } else if message.isStandaloneChatState {
            let key = HeldKey.chatState(of: from, to: nil)
            self = options.chatStates ? .none(key) : .full(key)
        } else if let items = message.publishedItems, from.resourcepart == nil, from != resource.jid.bare {
            // The own account's are settings of the user's other clients, such as what has been read there, which
            // takes a notice off the screen (XEP-0490).
            self = options.notifications ? .none(items.key(from)) : .full(nil)
        } else {
            self = .full(.chatState(of: from, to: nil))
        }
    }
}

/// What a notice says about a node. XEP-0060 §7.1.2.1, XEP-0163 §4.
private struct PublishedItems {
    let node: String
    let children: [Element]

    /// Nil where the notice is about several items, or not just about one that was published.
    func key(_ publisher: JID) -> HeldKey? {
        guard children.count == 1, let item = children.first, item.name == "item" else { return nil }
        return .item(publisher: publisher, node: node, id: item["id"])
    }
}

extension Presence {
    /// Whether a room tells a client about itself. XEP-0045 §7.1.
    fileprivate var isOwnInRoom: Bool {
        payload.child("x", Payload.room)?.children.contains { $0.name == "status" && $0["code"] == "110" } ?? false
    }
}

extension Message {
    /// The message that another client of the user sent or got. XEP-0280 §7, §8.
    fileprivate var copiedMessage: Message? {
        let copy = payload.child("received", Payload.carbons) ?? payload.child("sent", Payload.carbons)
        guard let element = copy?.child("forwarded", Payload.forward)?.child("message", .client) else { return nil }
        return try? Message(element)
    }

    /// What somebody published about himself, if that is all it says; the payloads of personal eventing are shown when
    /// there is an occasion to. They are headlines (XEP-0163 §4.3).
    fileprivate var publishedItems: PublishedItems? {
        guard kind == .headline, !has("body"), let items = payload.child("event", Payload.events)?.firstChild,
            items.name == "items", let node = items["node"]
        else { return nil }
        return PublishedItems(node: node, children: items.children)
    }
}

/// What is looked for in the payloads of others.
private enum Payload {
    static let carbons: Namespace = "urn:xmpp:carbons:2"
    static let events: Namespace = "http://jabber.org/protocol/pubsub#event"
    static let forward: Namespace = "urn:xmpp:forward:0"
    static let room: Namespace = "http://jabber.org/protocol/muc#user"
}
