/// An info/query stanza. RFC 6120 §8.2.3.
public struct IQ: StanzaProtocol {
    public enum Kind: String, Sendable, CaseIterable {
        case get, set, result, error
    }

    public static var elementName: String { "iq" }
    public var header: StanzaHeader
    public var kind: Kind
    public var payload: Element

    public init(
        _ kind: Kind, to: JID? = nil, from: JID? = nil, id: String,
        @ElementBuilder content: () -> [Element.Content] = { [] }
    ) {
        header = StanzaHeader(to: to, from: from, id: id)
        self.kind = kind
        payload = Element(Self.elementName, .client, content: content)
    }

    /// Reads an `<iq/>`.
    ///
    /// - Throws: `.badRequest` when id or type is missing or unknown, or a request has not exactly one child.
    public init(_ element: Element) throws(StanzaError) {
        let (header, type) = try StanzaHeader.read(element)
        self.header = header
        guard header.id != nil else { throw .badRequest("An IQ needs an id.") }
        guard let kind = type.flatMap(Kind.init) else {
            throw .badRequest("An IQ is of type get, set, result or error.")
        }
        self.kind = kind
        payload = element
        if isRequest, element.children.count != 1 { throw .badRequest("A request has exactly one child element.") }
    }

    public var typeName: String? { kind.rawValue }
    public var isError: Bool { kind == .error }
    public var stanza: Stanza { .iq(self) }

    /// Whether this is a get or a set, which must be answered.
    public var isRequest: Bool { kind == .get || kind == .set }

    /// The first child: what is asked for, or the answer.
    public var query: Element? { payload.firstChild }

    /// The answer to this request. RFC 6120 §8.2.3.
    public func result(_ content: Element? = nil) -> IQ {
        IQ(.result, to: from, from: to, id: id ?? "") {
            if let content { content }
        }
    }

    /// The answer to a request that failed; holds what was asked (RFC 6120 §8.3.1).
    public func bounced(_ error: StanzaError) -> IQ {
        var bounce = self
        (bounce.to, bounce.from) = (from, to)
        bounce.kind = .error
        bounce.payload = bouncedPayload(error)
        return bounce
    }
}
