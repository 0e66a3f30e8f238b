import ServerKit

extension Message {
    /// Whether the message is worth keeping: it has a body, or something else that people will want to see again on
    /// another device. XEP-0313 §6.1.1.
    var isWorthArchiving: Bool {
        switch kind {
        // Rooms keep what is said in them.
        case .error, .groupchat: return false
        // Events of PubSub nodes, announcements: news, unless the sender says otherwise.
        case .headline: return has(.store) && !isOffTheRecord
        case .chat, .normal: break
        }
        if isOffTheRecord { return false }
        return has(.store) || payload.children.contains(where: \.isContent)
    }

    /// XEP-0334 §4.1, §4.2.
    private var isOffTheRecord: Bool { has(.noPermanentStore) || has(.noStore) }

    /// Removes stanza ids that claim to come from the account or from a host of this server. XEP-0359 §3, rule 2.
    @ServerActor
    mutating func removeForgedStanzaIDs(of account: Account) {
        guard payload.has("stanza-id", .stanzaIDs) else { return }
        let router = account.host.router
        payload.removeChildren { child in
            guard child.is("stanza-id", .stanzaIDs), let by = child.jid("by") else { return false }
            return by == account.jid || by.isDomain && router.entity(for: by.domainpart) != nil
        }
    }
}

extension Element {
    /// Whether this child makes a message without a body meaningful.
    fileprivate var isContent: Bool {
        switch namespace {
        case .receipts: name == "received"
        // XEP-0333 §4: whether it can be marked says nothing by itself.
        case .chatMarkers: name != "markable"
        default: isMessageContent
        }
    }
}
