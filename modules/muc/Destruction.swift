import ServerKit

/// How owners do away with their room. XEP-0045 §10.9.
extension Room {
    /// - Parameter element: `<destroy/>`
    /// - Throws: `.jidMalformed` when the alternate venue is no address.
    func destroy(_ element: Element) throws(StanzaError) {
        var alternate: JID?
        if let text = element["jid"], !text.isEmpty {
            guard let jid = JID(text) else { throw .jidMalformed }
            alternate = jid
        }
        destroy(
            alternate: alternate, password: element.text(of: "password").flatMap { $0.isEmpty ? nil : $0 },
            reason: element.text(of: "reason").flatMap { $0.isEmpty ? nil : $0 })
    }
}
