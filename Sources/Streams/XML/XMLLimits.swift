/// What a peer may make the parser hold. Counted before memory is committed to it.
public struct XMLLimits: Sendable, Hashable {
    /// Bytes of one first-level element, or of the stream header.
    public var elementBytes: Int
    /// Elements inside each other, the stream element not counted.
    public var depth: Int
    /// Attributes and namespace declarations of one element.
    public var attributes: Int
    /// Different namespaces within one first-level element.
    public var namespaces: Int

    public init(elementBytes: Int, depth: Int = 64, attributes: Int = 64, namespaces: Int = 128) {
        self.elementBytes = elementBytes
        self.depth = depth
        self.attributes = attributes
        self.namespaces = namespaces
    }

    /// Before the peer has authenticated. RFC 6120 §13.12 asks for at least 10,000 bytes.
    public static let unauthenticated = XMLLimits(elementBytes: 16_384)
    /// After authentication.
    public static let authenticated = XMLLimits(elementBytes: 262_144)
}
