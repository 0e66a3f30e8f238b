/// A message stanza. RFC 6121 §5.
public struct Message: StanzaProtocol {
    /// RFC 6121 §5.2.2.
    public enum Kind: String, Sendable, CaseIterable {
        case chat, error, groupchat, headline, normal
    }

    public static var elementName: String { "message" }
    public var header: StanzaHeader
    public var kind: Kind
    public var payload: Element

    public init(
        to: JID? = nil, from: JID? = nil, id: String? = nil, kind: Kind = .normal,
        @ElementBuilder content: () -> [Element.Content] = { [] }
    ) {
        header = StanzaHeader(to: to, from: from, id: id)
        self.kind = kind
        payload = Element(Self.elementName, .client, content: content)
    }

    /// Reads a `<message/>`. A type that is not defined counts as "normal" (RFC 6121 §5.2.2).
    public init(_ element: Element) throws(StanzaError) {
        let (header, type) = try StanzaHeader.read(element)
        self.header = header
        kind = type.flatMap(Kind.init) ?? .normal
        payload = element
    }

    public var typeName: String? { kind == .normal ? nil : kind.rawValue }
    public var isError: Bool { kind == .error }
    public var stanza: Stanza { .message(self) }

    /// The text of the first `<body/>`.
    public var body: String? { text(of: "body") }

    /// The message that tells the sender of this one what went wrong.
    public func bounced(_ error: StanzaError) -> Message {
        var bounce = self
        (bounce.to, bounce.from) = (from, to)
        bounce.kind = .error
        bounce.payload = bouncedPayload(error)
        return bounce
    }
}
