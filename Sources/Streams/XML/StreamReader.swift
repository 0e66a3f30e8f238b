import XMPP

/// Parsers in reserve, for one event loop. An idle connection holds none: a libxml2 context takes 16 KiB.
public final class ParserPool {
    private var parsers: [SAXParser] = []
    private let capacity: Int

    /// - Parameter capacity: how many idle parsers are kept.
    public init(capacity: Int = 16) {
        self.capacity = capacity
    }

    /// A parser that is ready for a new stream, or for going on with one whose header had these declarations.
    ///
    /// Most streams of a server declare the same namespaces, and parsers are put back between two stanzas: one of them
    /// can be taken as it is.
    func take(resuming declarations: String?) -> SAXParser? {
        if let declarations, let index = parsers.lastIndex(where: { $0.canResume(declarations) }) {
            return parsers.remove(at: index)
        }
        guard let parser = parsers.popLast() ?? SAXParser() else { return nil }
        parser.reset(resuming: declarations)
        return parser
    }

    func giveBack(_ parser: SAXParser) {
        guard parsers.count < capacity, parser.isReusable else { return }
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
    private var check = UTF8Check()
    /// The namespace declarations of the stream header that was read, as markup.
    private var declarations: String?
    /// Whether the peer has closed the stream, or an error did.
    private var hasEnded = false

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
        hasEnded = false
        check = UTF8Check()
        releaseParser()
    }

    /// Reads a piece of the stream and calls `handle` for what it completes, in order.
    ///
    /// `handle` returns false to stop: the rest of the bytes is thrown away, as after ``restart()`` or a close. After
    /// the stream's end tag or an error nothing is read any more.
    /// - Throws: the error to close the stream with. Events before it have been handled.
    public func read(
        _ bytes: UnsafeRawBufferPointer, handle: (StreamEvent) throws(StreamError) -> Bool
    ) throws(StreamError) {
        guard !hasEnded else { return }
        var rest = bytes
        if parser == nil, declarations != nil {
            // White space between stanzas is a keepalive (RFC 6120 §4.6.1) and needs no parser.
            guard let first = rest.firstIndex(where: { !$0.isXMLSpace }) else { return }
            rest = UnsafeRawBufferPointer(rebasing: rest[first...])
        }
        do throws(StreamError) {
            while !rest.isEmpty {
                let count = min(rest.count, Self.step)
                let piece = UnsafeRawBufferPointer(rebasing: rest[..<count])
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
                guard try feed(piece, handle) else { return }
            }
        } catch {
            hasEnded = true
            releaseParser()
            throw error
        }
    }

    /// Bytes parsed between two looks at the limits.
    static let step = 8_192

    private func feed(
        _ piece: UnsafeRawBufferPointer, _ handle: (StreamEvent) throws(StreamError) -> Bool
    ) throws(StreamError) -> Bool {
        let sound = check.soundCount(of: piece)
        if sound > 0 {
            let parser = try takeParser()
            parser.feed(UnsafeRawBufferPointer(rebasing: piece[..<sound]))
            for event in parser.takeEvents() {
                guard try pass(event, handle), self.parser === parser else { return false }
            }
            if let error = parser.error { throw error }
            if parser.isIdle { releaseParser() }
        }
        if sound < piece.count { throw check.error(inHeader: declarations == nil) }
        return true
    }

    /// Hands an event on; false when nothing more is to be read.
    private func pass(
        _ event: SAXParser.Event, _ handle: (StreamEvent) throws(StreamError) -> Bool
    ) throws(StreamError) -> Bool {
        switch event {
        case .opened(let header, let declarations):
            self.declarations = declarations
            return try handle(.opened(header))
        case .element(let element):
            return try handle(.element(element))
        case .closed:
            hasEnded = true
            releaseParser()
            _ = try handle(.closed)
            return false
        }
    }

    private func takeParser() throws(StreamError) -> SAXParser {
        if let parser { return parser }
        guard let parser = pool.take(resuming: declarations) else { throw StreamError(.resourceConstraint) }
        parser.limits = limits
        self.parser = parser
        return parser
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
        _ bytes: some Sequence<UInt8>, limits: XMLLimits = XMLLimits(elementBytes: .max)
    ) throws(StreamError) -> Element {
        guard let parser = SAXParser() else { throw StreamError(.resourceConstraint) }
        parser.reset(resuming: " xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'")
        parser.limits = limits
        var check = UTF8Check()
        var error: StreamError?
        Array(bytes).withUnsafeBytes { bytes in
            let sound = check.soundCount(of: bytes)
            var rest = UnsafeRawBufferPointer(rebasing: bytes[..<sound])
            while !rest.isEmpty, parser.error == nil {
                let count = min(rest.count, StreamReader.step)
                parser.feed(UnsafeRawBufferPointer(rebasing: rest[..<count]))
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            }
            error = parser.error ?? (sound < bytes.count ? check.error(inHeader: false) : nil)
        }
        if let error { throw error }
        guard parser.isIdle else { throw StreamError(.notWellFormed) }
        let events = parser.takeEvents()
        guard events.count == 1, case .element(let element) = events[0] else { throw StreamError(.badFormat) }
        return element
    }

    /// Parses one element that stands alone. An element without a namespace is in `jabber:client`.
    public static func parse(_ xml: String) throws(StreamError) -> Element {
        try parse(xml.utf8)
    }
}
