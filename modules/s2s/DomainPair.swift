import ServerKit

/// A domain served here and one served elsewhere: what a stream between servers is authenticated for. XEP-0220 §1.3.
///
/// Both are domainparts in their normal form, as in a ``JID``.
struct DomainPair: Hashable, CustomStringConvertible {
    let local: String
    let remote: String

    var description: String { "\(local) → \(remote)" }

    /// What the remote domain is part of, and nearly always belongs to one owner: two labels, but three where they are
    /// like `co.uk`.
    var zone: String {
        let labels = remote.split(separator: ".")
        let isShared = labels.count > 2 && labels[labels.count - 1].count == 2 && labels[labels.count - 2].count <= 3
        return labels.suffix(isShared ? 3 : 2).joined(separator: ".")
    }

    var localJID: JID { JID(unchecked: nil, domainpart: local, resourcepart: nil) }
    var remoteJID: JID { JID(unchecked: nil, domainpart: remote, resourcepart: nil) }
}

extension Namespace {
    /// XEP-0220 §2.3.1
    static let dialback: Namespace = "jabber:server:dialback"
    /// XEP-0220 §2.3.2
    static let dialbackFeature: Namespace = "urn:xmpp:features:dialback"
    /// XEP-0288 §2.1
    static let bidiFeature: Namespace = "urn:xmpp:features:bidi"
    /// XEP-0288 §2.2
    static let bidi: Namespace = "urn:xmpp:bidi"
    /// XEP-0198 §2
    static let sm: Namespace = "urn:xmpp:sm:3"
}

extension JID {
    /// The domainpart of an attribute that holds a domain and nothing else; nil for anything else.
    static func domain(_ text: String?) -> String? {
        guard let text, let jid = JID(text), jid.isDomain else { return nil }
        return jid.domainpart
    }
}
