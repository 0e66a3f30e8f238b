/// A presence stanza. RFC 6121 §4.
public struct Presence: StanzaProtocol {
    /// RFC 6121 §4.7.1; `available` stands for the missing type.
    public enum Kind: String, Sendable, CaseIterable {
        case available, error, probe, subscribe, subscribed, unavailable, unsubscribe, unsubscribed

        /// Whether it is part of managing subscriptions. RFC 6121 §3.
        public var isSubscription: Bool {
            switch self {
            case .subscribe, .subscribed, .unsubscribe, .unsubscribed: true
            case .available, .unavailable, .probe, .error: false
            }
        }
    }

    /// RFC 6121 §4.7.2.1; `online` stands for the missing element.
    public enum Show: String, Sendable, CaseIterable {
        case away, chat, dnd, online, xa
    }

    public static var elementName: String { "presence" }
    public var header: StanzaHeader
    public var kind: Kind
    public var payload: Element

    public init(
        to: JID? = nil, from: JID? = nil, id: String? = nil, kind: Kind = .available,
        @ElementBuilder content: () -> [Element.Content] = { [] }
    ) {
        header = StanzaHeader(to: to, from: from, id: id)
        self.kind = kind
        payload = Element(Self.elementName, .client, content: content)
    }

    /// Reads a `<presence/>`.
    ///
    /// - Throws: `.badRequest` for a type that is not defined (RFC 6121 §4.7.1).
    public init(_ element: Element) throws(StanzaError) {
        let (header, type) = try StanzaHeader.read(element)
        self.header = header
        if let type {
            guard let kind = Kind(rawValue: type), kind != .available else {
                throw .badRequest("There is no such presence type.")
            }
            self.kind = kind
        } else {
            kind = .available
        }
        payload = element
    }

    public var typeName: String? { kind == .available ? nil : kind.rawValue }
    public var isError: Bool { kind == .error }
    public var stanza: Stanza { .presence(self) }

    /// Between -128 and 127; 0 when missing or nonsense (RFC 6121 §4.7.2.3).
    public var priority: Int8 { text(of: "priority").flatMap { Int8($0.trimmedXMLSpace) } ?? 0 }

    public var show: Show { text(of: "show").flatMap { Show(rawValue: $0.trimmedXMLSpace) } ?? .online }

    /// The text of the first `<status/>`.
    public var status: String? { text(of: "status") }

    /// The presence that tells the sender of this one what went wrong.
    public func bounced(_ error: StanzaError) -> Presence {
        var bounce = self
        (bounce.to, bounce.from) = (from, to)
        bounce.kind = .error
        bounce.payload = bouncedPayload(error)
        return bounce
    }
}

extension String {
    /// Without XML white space at both ends.
    public var trimmedXMLSpace: String {
        let isSpace: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0x09 || $0 == 0x0A || $0 == 0x0D }
        guard let first = utf8.firstIndex(where: { !isSpace($0) }),
            let last = utf8.lastIndex(where: { !isSpace($0) })
        else { return "" }
        return String(self[first...last])
    }
}
