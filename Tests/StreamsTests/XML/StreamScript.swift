import XMPP

@testable import Streams

/// What a reader made of some bytes.
struct StreamScript: Equatable, CustomStringConvertible {
    var events: [String] = []
    var condition: StreamError.Condition?

    /// The elements only, serialised.
    var elements: [String] { events.filter { !$0.hasPrefix("opened") && $0 != "closed" } }

    var description: String { events.joined(separator: "\n") + (condition.map { "\n! \($0.rawValue)" } ?? "") }

    static let header = """
        <?xml version='1.0'?><stream:stream to='montague.example' version='1.0' xml:lang='en' \
        xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>
        """

    /// Feeds `pieces` to a reader, each as one chunk.
    static func reading(
        _ pieces: [[UInt8]], by reader: StreamReader? = nil, limits: XMLLimits = .authenticated
    ) -> StreamScript {
        let reader = reader ?? StreamReader(pool: ParserPool(), limits: limits)
        var script = StreamScript()
        for piece in pieces { script.read(piece, reader) }
        return script
    }

    static func reading(
        _ text: String, by reader: StreamReader? = nil, limits: XMLLimits = .authenticated
    ) -> StreamScript {
        reading([Array(text.utf8)], by: reader, limits: limits)
    }

    /// Reads a stream with an ordinary header in front.
    static func readingContent(_ text: String, limits: XMLLimits = .authenticated) -> StreamScript {
        var script = reading([Array(header.utf8), Array(text.utf8)], limits: limits)
        if script.events.first?.hasPrefix("opened") == true { script.events.removeFirst() }
        return script
    }

    mutating func read(_ bytes: [UInt8], _ reader: StreamReader) {
        do throws(StreamError) {
            try Self.feed(bytes, to: reader) { event throws(StreamError) in
                events.append(Self.line(event))
                return true
            }
        } catch {
            condition = condition ?? error.condition
        }
    }

    static func feed(
        _ bytes: [UInt8], to reader: StreamReader, _ handle: (StreamEvent) throws(StreamError) -> Bool
    ) throws(StreamError) {
        // A buffer of its own, so that the address sanitizer sees a parser that keeps pointers into it.
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        defer { copy.deallocate() }
        copy.copyBytes(from: bytes)
        try reader.read(UnsafeRawBufferPointer(copy), handle: handle)
    }

    private static func line(_ event: StreamEvent) -> String {
        switch event {
        case .opened(let header):
            let version = header.version.map { "\($0.major).\($0.minor)" } ?? "nonsense"
            let parts = [header.to, header.from, header.id, version, header.language, header.contentNamespace.uri]
            return "opened " + parts.map { $0 ?? "-" }.joined(separator: " ")
        case .element(let element): return element.xml
        case .closed: return "closed"
        }
    }
}

/// One element of `count` bytes.
func element(ofSize count: Int) -> String {
    let shell = "<message><body></body></message>"
    return "<message><body>" + String(repeating: "x", count: count - shell.utf8.count) + "</body></message>"
}
