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
        return has("body") || has(.store) || payload.children.contains(where: \.isContent)
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
        case .client: name == "subject" && !text.isEmpty
        case .receipts: name == "received"
        // XEP-0333 §4: whether it can be marked says nothing by itself.
        case .chatMarkers: name != "markable"
        case .omemo, .legacyOMEMO: name == "encrypted"
        case .openPGP: name == "openpgp"
        case .mucUser: has("invite") || has("decline")
        case .reactions, .retraction, .correction, .jingleMessage, .callInvite, .directInvitation, .outOfBand,
            .fileSharing:
            true
        default: false
        }
    }
}

extension Namespace {
    /// XEP-0384 §4.
    fileprivate static let omemo: Namespace = "urn:xmpp:omemo:2"
    /// XEP-0384 before version 0.4, which clients still use.
    fileprivate static let legacyOMEMO: Namespace = "eu.siacs.conversations.axolotl"
    /// XEP-0373.
    fileprivate static let openPGP: Namespace = "urn:xmpp:openpgp:0"
    /// XEP-0444.
    fileprivate static let reactions: Namespace = "urn:xmpp:reactions:0"
    /// XEP-0308.
    fileprivate static let correction: Namespace = "urn:xmpp:message-correct:0"
    /// XEP-0353.
    fileprivate static let jingleMessage: Namespace = "urn:xmpp:jingle-message:0"
    /// XEP-0482.
    fileprivate static let callInvite: Namespace = "urn:xmpp:call-invites:0"
    /// XEP-0066 §3.
    fileprivate static let outOfBand: Namespace = "jabber:x:oob"
    /// XEP-0447.
    fileprivate static let fileSharing: Namespace = "urn:xmpp:sfs:0"
}
