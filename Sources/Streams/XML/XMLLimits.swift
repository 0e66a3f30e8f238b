/// What a peer may make the parser hold. Counted before memory is committed to it.
public struct XMLLimits: Sendable, Hashable {
    /// Bytes of one first-level element, or of the stream header.
    public var elementBytes: Int
    /// Elements inside each other, the stream element not counted.
    public var depth: Int
    /// Attributes and namespace declarations of one element.
    public var attributes: Int
    /// Different namespaces of elements within one first-level element.
    public var namespaces: Int

    public init(elementBytes: Int, depth: Int = 64, attributes: Int = 64, namespaces: Int = 128) {
        // Offsets on a tape have 32 bits, and escaping may make eight bytes of one.
        self.elementBytes = min(max(elementBytes, 0), Int(UInt32.max / 8))
        self.depth = depth
        self.attributes = attributes
        self.namespaces = namespaces
    }

    /// Before the peer has authenticated. RFC 6120 §13.12 asks for at least 10,000 bytes.
    public static let unauthenticated = XMLLimits(elementBytes: 16_384)
    /// After authentication.
    public static let authenticated = XMLLimits(elementBytes: 262_144)

    /// Bytes of one tag or reference that is not complete yet. libxml2 looks through all of it again and again.
    static let markupBytes = 16_384
    /// Names in a parser's dictionary that is still in use; no stanza needs a tenth of them.
    static let names = 16_384
    /// Bytes of those names, namespaces among them.
    static let nameBytes = 4_194_304
}
