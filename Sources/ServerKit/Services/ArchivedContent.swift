extension Element {
    /// Whether this child of a message is something that people will want to see again, on another device or when they
    /// come later: text, or what stands in its place or is about an earlier message. XEP-0313 §6.1.1.
    ///
    /// What only tells how a message fares, as receipts and markers do, is not.
    public var isMessageContent: Bool {
        switch namespace {
        case .client: name == "body" || name == "subject" && !text.isEmpty
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
    /// XEP-0424 §2.
    public static let retraction: Namespace = "urn:xmpp:message-retract:1"
    /// XEP-0424 §4.
    public static let tombstones: Namespace = "urn:xmpp:message-retract:1#tombstone"
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

extension Message {
    /// The id of the message that this one retracts. XEP-0424 §3.
    public var retractedID: String? { payload.child("retract", .retraction)?["id"] }

    /// What a search finds the message by.
    public var searchableText: String? {
        let texts = payload.children.filter { $0.is("body", .client) || $0.is("subject", .client) }.map(\.text)
        return texts.isEmpty ? nil : texts.joined(separator: "\n")
    }
}
