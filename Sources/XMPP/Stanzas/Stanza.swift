/// The attributes that all stanzas share. RFC 6120 §8.1.
public struct StanzaHeader: Sendable {
    public var to: JID?
    public var from: JID?
    public var id: String?
    /// `xml:lang`
    public var language: String?

    public init(to: JID? = nil, from: JID? = nil, id: String? = nil, language: String? = nil) {
        self.to = to
        self.from = from
        self.id = id
        self.language = language
    }
}

/// What message, presence and IQ have in common.
public protocol StanzaProtocol: Sendable {
    /// `message`, `presence` or `iq`.
    static var elementName: String { get }
    var header: StanzaHeader { get set }
    /// The value of the `type` attribute; nil for the default type.
    var typeName: String? { get }
    /// An element whose content is the stanza's; its own attributes count only where ``StanzaHeader`` has no field.
    var payload: Element { get set }
    var isError: Bool { get }
    /// This stanza in the enumeration of the three.
    var stanza: Stanza { get }
}

extension StanzaProtocol {
    public var to: JID? {
        get { header.to }
        set { header.to = newValue }
    }
    public var from: JID? {
        get { header.from }
        set { header.from = newValue }
    }
    public var id: String? {
        get { header.id }
        set { header.id = newValue }
    }
    public var language: String? {
        get { header.language }
        set { header.language = newValue }
    }

    public func child(_ name: String, _ namespace: Namespace? = nil) -> Element? { payload.child(name, namespace) }
    public func has(_ name: String, _ namespace: Namespace? = nil) -> Bool { payload.has(name, namespace) }
    public func text(of child: String, _ namespace: Namespace? = nil) -> String? {
        payload.text(of: child, namespace)
    }

    /// What went wrong, in a stanza of type "error".
    public var error: StanzaError? {
        isError ? StanzaError(child("error") ?? Element("error")) : nil
    }

    /// The whole stanza as an element.
    public var element: Element {
        var own = header.attributes(type: typeName)
        var element = payload
        element.edit { tree in
            own += tree.attributes.lazy.filter { !StanzaHeader.holds($0.name) }
            tree.attributes = own
        }
        return element
    }

    /// What the sender of this stanza gets back: the content, and one error (RFC 6120 §8.3.1). An `<error/>` that the
    /// sender put into a stanza of another type would otherwise pass for ours.
    func bouncedPayload(_ error: StanzaError) -> Element {
        var payload = error.omitsRequest ? Element(Self.elementName, .client) : self.payload
        payload.removeChildren { $0.is("error", .client) }
        payload.append(error.element)
        return payload
    }
}

/// A message, a presence or an IQ.
public enum Stanza: Sendable {
    case message(Message)
    case presence(Presence)
    case iq(IQ)

    public var header: StanzaHeader {
        get {
            switch self {
            case .message(let message): message.header
            case .presence(let presence): presence.header
            case .iq(let iq): iq.header
            }
        }
        set {
            switch self {
            case .message(var message):
                message.header = newValue
                self = .message(message)
            case .presence(var presence):
                presence.header = newValue
                self = .presence(presence)
            case .iq(var iq):
                iq.header = newValue
                self = .iq(iq)
            }
        }
    }

    public var to: JID? {
        get { header.to }
        set { header.to = newValue }
    }
    public var from: JID? {
        get { header.from }
        set { header.from = newValue }
    }
    public var id: String? { header.id }

    /// What it takes in memory, nearly, in bytes: its content, and as much again as an empty one.
    public var estimatedSize: Int {
        switch self {
        case .message(let message): 256 + message.payload.estimatedSize
        case .presence(let presence): 256 + presence.payload.estimatedSize
        case .iq(let iq): 256 + iq.payload.estimatedSize
        }
    }

    public var isError: Bool {
        switch self {
        case .message(let message): message.isError
        case .presence(let presence): presence.isError
        case .iq(let iq): iq.isError
        }
    }

    /// The whole stanza as an element.
    public var element: Element {
        switch self {
        case .message(let message): message.element
        case .presence(let presence): presence.element
        case .iq(let iq): iq.element
        }
    }

    /// What tells the sender that this stanza failed; nil for errors and results, which are never answered
    /// (RFC 6120 §8.3.1, §8.2.3).
    public func bounced(_ error: StanzaError) -> Stanza? {
        switch self {
        case .message(let message): message.isError ? nil : .message(message.bounced(error))
        case .presence(let presence): presence.isError ? nil : .presence(presence.bounced(error))
        case .iq(let iq): iq.isRequest ? .iq(iq.bounced(error)) : nil
        }
    }

    /// The answer to a stanza that could not be read: what it carried, and the error. RFC 6120 §8.3.1.
    ///
    /// - Parameters:
    ///   - element: a `<message/>`, `<presence/>` or `<iq/>`.
    ///   - receiver: who sent it.
    /// - Returns: nil for errors and results, which are never answered (RFC 6120 §8.3.1).
    public init?(refusing element: Element, _ error: StanzaError, to receiver: JID?) {
        let type = element["type"]
        guard type != "error", !(element.name == "iq" && type == "result") else { return nil }
        var payload = element
        payload.removeChildren { $0.is("error", .client) }
        payload.append(error.element)
        // An address that is none cannot be the sender's.
        let header = StanzaHeader(
            to: receiver, from: element.jid("to"), id: element["id"], language: element["xml:lang"])
        switch element.name {
        case "message": self = .message(Message(kind: .error))
        case "presence": self = .presence(Presence(kind: .error))
        default: self = .iq(IQ(.error, id: ""))
        }
        self.payload = payload
        self.header = header
    }

    /// See ``StanzaProtocol/payload``.
    public var payload: Element {
        get {
            switch self {
            case .message(let message): message.payload
            case .presence(let presence): presence.payload
            case .iq(let iq): iq.payload
            }
        }
        set {
            switch self {
            case .message(var message):
                message.payload = newValue
                self = .message(message)
            case .presence(var presence):
                presence.payload = newValue
                self = .presence(presence)
            case .iq(var iq):
                iq.payload = newValue
                self = .iq(iq)
            }
        }
    }

    /// Reads a stanza.
    ///
    /// - Throws: `.jidMalformed` for an address that is none (RFC 6120 §8.1.1, §8.1.2), `.badRequest` for an IQ without
    ///   id or with an impossible type, or with other than one child in a request (RFC 6120 §8.2.3).
    /// - Returns: nil when the element is no stanza (RFC 6120 §4.9.3.24).
    public static func parse(_ element: Element) throws(StanzaError) -> Stanza? {
        guard element.namespace == .client else { return nil }
        switch element.name {
        case "message": return .message(try Message(element))
        case "presence": return .presence(try Presence(element))
        case "iq": return .iq(try IQ(element))
        default: return nil
        }
    }
}

extension StanzaHeader {
    /// Reads the attributes that all stanzas share, and the `type`.
    ///
    /// - Throws: `.jidMalformed` for an address that is none (RFC 6120 §8.1.1, §8.1.2).
    static func read(_ element: Element) throws(StanzaError) -> (header: StanzaHeader, type: String?) {
        var header = StanzaHeader()
        var type: String?
        var isMalformed = false
        switch element.storage {
        case .view(let tape, let index):
            // Every stanza comes this way: one walk over the start tag.
            AttributeScanner.scan(tape, tape.nodes[Int(index)]) { name, value in
                if name.equals("to") {
                    header.to = Element.jid(value)
                    isMalformed = isMalformed || header.to == nil
                } else if name.equals("from") {
                    header.from = Element.jid(value)
                    isMalformed = isMalformed || header.from == nil
                } else if name.equals("id") {
                    header.id = XMLEscaping.unescape(value)
                } else if name.equals("type") {
                    type = XMLEscaping.unescape(value)
                } else if name.equals("xml:lang") {
                    header.language = XMLEscaping.unescape(value)
                }
                return true
            }
        case .tree:
            header = StanzaHeader(
                to: element.jid("to"), from: element.jid("from"), id: element["id"], language: element["xml:lang"])
            type = element["type"]
            isMalformed =
                header.to == nil && element["to"] != nil || header.from == nil && element["from"] != nil
        }
        if isMalformed { throw .jidMalformed }
        return (header, type)
    }

    func attributes(type: String?) -> [Element.Attribute] {
        let all = [
            ("xml:lang", language), ("to", to?.description), ("from", from?.description), ("type", type), ("id", id),
        ]
        return all.compactMap { name, value in value.map { Element.Attribute(name: name, value: $0) } }
    }

    /// Whether the attribute is a field of the header, or the type.
    static func holds(_ attribute: String) -> Bool {
        switch attribute {
        case "to", "from", "id", "type", "xml:lang": true
        default: false
        }
    }
}

extension XMLWriter {
    /// Writes a stanza into a stream whose default namespace is `jabber:client` (or, for servers, `jabber:server`).
    /// Only the header is built anew; the content of a parsed stanza is copied as bytes.
    public mutating func write(_ stanza: Stanza, in context: Namespace? = .client) {
        switch stanza {
        case .message(let message):
            write("<message", message.header, message.typeName, message.payload, "</message>", in: context)
        case .presence(let presence):
            write("<presence", presence.header, presence.typeName, presence.payload, "</presence>", in: context)
        case .iq(let iq):
            write("<iq", iq.header, iq.typeName, iq.payload, "</iq>", in: context)
        }
    }

    /// Writes a stanza whose addresses may differ from those it carries.
    public mutating func write(_ stanza: some StanzaProtocol, in context: Namespace? = .client) {
        write(stanza.stanza, in: context)
    }

    private mutating func write(
        _ start: StaticString, _ header: StanzaHeader, _ type: String?, _ payload: Element, _ end: StaticString,
        in context: Namespace?
    ) {
        raw(start)
        if context != .client { raw(" xmlns='jabber:client'") }
        if let language = header.language { attribute("xml:lang", language) }
        if let to = header.to { attribute("to", to) }
        if let from = header.from { attribute("from", from) }
        if let type { attribute("type", type) }
        if let id = header.id { attribute("id", id) }
        writeAttributes(of: payload) { name in
            name.equals("to") || name.equals("from") || name.equals("type") || name.equals("id")
                || name.equals("xml:lang")
        }
        let before = bytes.count
        raw(">")
        writeContent(of: payload, in: .client)
        if bytes.count == before + 1 {
            closeEmptyTag()
        } else {
            raw(end)
        }
    }
}
