import XMPP

/// Parsers in reserve, for one event loop. An idle connection holds none: a libxml2 context takes 16 KiB.
public final class ParserPool {
    private var parsers: [SAXParser] = []
    private let capacity: Int

    /// - Parameter capacity: how many idle parsers are kept.
    public init(capacity: Int = 16) {
        self.capacity = capacity
    }

    func take() -> SAXParser? {
        parsers.popLast() ?? SAXParser()
    }

    func giveBack(_ parser: SAXParser) {
        // A peer that invents names fills the dictionary, which never shrinks, and slows every look-up down.
        guard parsers.count < capacity, parser.nameCount < 4_096 else { return }
        parsers.append(parser)
    }
}

/// What a stream's bytes say.
public enum StreamEvent: Sendable {
    case opened(StreamHeader)
    /// A first-level element, complete.
    case element(Element)
    /// The stream's end tag.
    case closed
}

/// Reads one direction of a stream: bytes in, events out.
public final class StreamReader {
    /// Counted from the first byte of an element; may be raised once the peer has authenticated.
    public var limits: XMLLimits {
        didSet { parser?.limits = limits }
    }

    private let pool: ParserPool
    private var parser: SAXParser?
    /// The namespace declarations of the stream header that was read, as markup.
    private var declarations: String?
    /// Bytes fed since the last element ended.
    private var pending = 0

    public init(pool: ParserPool, limits: XMLLimits = .unauthenticated) {
        self.pool = pool
        self.limits = limits
    }

    deinit {
        if let parser { pool.giveBack(parser) }
    }

    /// Whether a parser is at work on something incomplete.
    public var isInsideElement: Bool { parser != nil }

    /// Forgets everything; the next byte is the first of a new stream (RFC 6120 §4.3.3). Bytes that were fed and not
    /// yet parsed are thrown away, so nothing sent in plain text outlives the TLS negotiation.
    public func restart() {
        declarations = nil
        pending = 0
        releaseParser()
    }

    /// Reads a piece of the stream and calls `handle` for what it completes, in order.
    ///
    /// `handle` returns false to stop: the rest of the bytes is thrown away, as after ``restart()`` or a close.
    /// - Throws: the error to close the stream with. Events before it have been handled.
    public func read(
        _ bytes: UnsafeRawBufferPointer, handle: (StreamEvent) throws(StreamError) -> Bool
    ) throws(StreamError) {
        var rest = bytes
        if parser == nil, declarations != nil {
            // White space between stanzas is a keepalive (RFC 6120 §4.6.1) and needs no parser.
            let isSpace: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0x0A || $0 == 0x0D || $0 == 0x09 }
            guard let first = rest.firstIndex(where: { !isSpace($0) }) else { return }
            rest = UnsafeRawBufferPointer(rebasing: rest[first...])
        }
        while !rest.isEmpty {
            let count = min(rest.count, Self.step)
            let piece = UnsafeRawBufferPointer(rebasing: rest[..<count])
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            guard try feed(piece, handle) else { return }
        }
    }

    /// Bytes parsed between two looks at the limits.
    private static let step = 8_192

    private func feed(
        _ piece: UnsafeRawBufferPointer, _ handle: (StreamEvent) throws(StreamError) -> Bool
    ) throws(StreamError) -> Bool {
        let parser = try takeParser(for: piece)
        pending &+= piece.count
        parser.feed(piece)
        if parser.tookElementEnd() { pending = parser.unparsed.count }
        for event in parser.takeEvents() {
            let goesOn: Bool
            switch event {
            case .opened(let header, let declarations):
                self.declarations = declarations
                pending = 0
                goesOn = try handle(.opened(header))
            case .element(let element): goesOn = try handle(.element(element))
            case .closed: goesOn = try handle(.closed)
            }
            guard goesOn, self.parser === parser else { return false }
        }
        if let error = parser.error { throw error }
        guard pending <= limits.elementBytes else {
            throw StreamError(.policyViolation, "A stanza is larger than \(limits.elementBytes) bytes.")
        }
        releaseIfIdle(parser)
        return true
    }

    private func takeParser(for piece: UnsafeRawBufferPointer) throws(StreamError) -> SAXParser {
        if let parser { return parser }
        // libxml2 would take a byte order mark of UTF-16 at its word. RFC 6120 §11.6.
        if declarations == nil, piece.count >= 2, [0xFE, 0xFF, 0x00].contains(piece[0]) {
            throw StreamError(.unsupportedEncoding, "Only UTF-8 is spoken here.")
        }
        guard let parser = pool.take() else { throw StreamError(.resourceConstraint) }
        parser.reset(resuming: declarations)
        parser.limits = limits
        self.parser = parser
        return parser
    }

    private func releaseIfIdle(_ parser: SAXParser) {
        guard declarations != nil, !parser.isInsideElement,
            parser.unparsed.allSatisfy({ $0 == 0x20 || $0 == 0x0A || $0 == 0x0D || $0 == 0x09 })
        else { return }
        pending = 0
        releaseParser()
    }

    private func releaseParser() {
        guard let parser else { return }
        self.parser = nil
        pool.giveBack(parser)
    }
}

extension Element {
    /// Parses one element that stands alone, such as one that was stored.
    ///
    /// - Throws: what is wrong with the bytes.
    public static func parse(
        _ bytes: some Sequence<UInt8>, limits: XMLLimits = XMLLimits(elementBytes: .max / 8)
    ) throws(StreamError) -> Element {
        guard let parser = SAXParser() else { throw StreamError(.resourceConstraint) }
        parser.reset(resuming: " xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'")
        parser.limits = limits
        Array(bytes).withUnsafeBytes { parser.feed($0) }
        "</stream:stream>".utf8.withContiguousStorageIfAvailable { parser.feed(UnsafeRawBufferPointer($0)) }
        if let error = parser.error { throw error }
        let elements = parser.takeEvents().compactMap { if case .element(let element) = $0 { element } else { nil } }
        guard elements.count == 1, let element = elements.first else { throw StreamError(.badFormat) }
        return element
    }

    /// Parses one element that stands alone. An element without a namespace is in `jabber:client`.
    public static func parse(_ xml: String) throws(StreamError) -> Element {
        try parse(xml.utf8)
    }
}
