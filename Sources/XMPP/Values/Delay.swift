extension Namespace {
    /// XEP-0203 §2.
    public static let delay: Namespace = "urn:xmpp:delay"
}

/// When, and by whom, a stanza was kept back. XEP-0203 §2.
public struct Delay: Sendable, Hashable {
    /// When the stanza was sent first.
    public var stamp: Timestamp
    /// Who kept it.
    public var from: JID?
    /// Why, in a sentence for people.
    public var reason: String?

    public init(stamp: Timestamp, from: JID? = nil, reason: String? = nil) {
        self.stamp = stamp
        self.from = from
        self.reason = reason
    }

    /// Reads a `<delay/>`.
    ///
    /// - Throws: `.badRequest` when the stamp is missing or no DateTime, `.jidMalformed` for an address that is none.
    public init(_ element: Element) throws(StanzaError) {
        guard let stamp = element["stamp"].flatMap({ Timestamp($0) }) else {
            throw .badRequest("A delay needs a stamp as XEP-0082 defines it.")
        }
        self.stamp = stamp
        from = element.jid("from")
        if from == nil, element["from"] != nil { throw .jidMalformed }
        let text = element.text
        reason = text.isEmpty ? nil : text
    }

    public var element: Element {
        Element("delay", .delay, ["from": from?.description, "stamp": stamp.description], text: reason)
    }
}

extension StanzaProtocol {
    /// The first well-formed `<delay/>` that `keeper` added; without a keeper, the first at all.
    public func delay(by keeper: JID? = nil) -> Delay? {
        payload.children("delay", .delay).lazy
            .compactMap { try? Delay($0) }
            .first { keeper == nil || $0.from == keeper }
    }
}
