import ServerKit

/// One wish of a moderator, admin or owner: a role or an affiliation for somebody. XEP-0045 §19.3.
struct AdminItem: Sendable {
    enum Wish: Sendable, Equatable {
        case role(Role)
        case affiliation(Affiliation)
    }

    let wish: Wish
    let jid: JID?
    let nick: String?
    let reason: String?

    /// The longest reason that is kept and shown.
    private static let reasonLength = 1_000

    /// - Throws: `.badRequest` for what is neither a role nor an affiliation, or both (XEP-0045 §17.4), or for nobody;
    ///   `.jidMalformed` for what is no JID.
    init(_ element: Element) throws(StanzaError) {
        wish = try Self.wish(element)
        if let text = element["jid"] {
            guard let jid = JID(text) else { throw StanzaError(.jidMalformed, nil, "\(text.prefix(100)) is no JID.") }
            self.jid = jid
        } else {
            jid = nil
        }
        nick = element["nick"]
        guard jid != nil || nick?.isEmpty == false else { throw .badRequest("An item is for a nick or a JID.") }
        let text = element.text(of: "reason") ?? ""
        reason = text.isEmpty ? nil : String(text.prefix(Self.reasonLength))
    }

    /// What an item is about. In a request for a list it says which one.
    static func wish(_ element: Element) throws(StanzaError) -> Wish {
        switch (element["role"], element["affiliation"]) {
        case (let role?, nil):
            guard let role = Role(rawValue: role) else { throw .badRequest("There is no such role.") }
            return .role(role)
        case (nil, let affiliation?):
            guard let affiliation = Affiliation(rawValue: affiliation) else {
                throw .badRequest("There is no such affiliation.")
            }
            return .affiliation(affiliation)
        case (nil, nil): throw .badRequest("An item has a role or an affiliation.")
        case (_?, _?):
            // XEP-0045 §17.4.
            throw .badRequest("An item has a role or an affiliation, not both.")
        }
    }
}
