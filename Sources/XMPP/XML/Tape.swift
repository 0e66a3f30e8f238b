/// One parsed element, kept flat: its canonical serialisation in one buffer, and an array of nodes with byte offsets.
///
/// Canonical means: default namespaces only, declared where they differ from the parent's; attributes in single
/// quotes; the five predefined entities and character references for what must be escaped. A child can therefore be
/// copied into another element as bytes, whatever prefixes its sender used.
final class Tape: Sendable {
    let bytes: [UInt8]
    let nodes: [TapeNode]
    let namespaces: [Namespace]

    init(bytes: [UInt8], nodes: [TapeNode], namespaces: [Namespace]) {
        self.bytes = bytes
        self.nodes = nodes
        self.namespaces = namespaces
    }

    /// Calls `body` with the bytes in `range`. Offsets come from the builder and lie within the buffer.
    @inline(__always)
    func withBytes<R>(_ range: Range<UInt32>, _ body: (UnsafeBufferPointer<UInt8>) -> R) -> R {
        bytes.withUnsafeBufferPointer { all in
            body(UnsafeBufferPointer(rebasing: all[Int(range.lowerBound)..<Int(range.upperBound)]))
        }
    }

    func string(_ range: Range<UInt32>) -> String {
        withBytes(range) { String(decoding: $0, as: UTF8.self) }
    }
}

/// An element or a run of character data on a ``Tape``. Offsets count bytes from the start of the tape.
struct TapeNode: Sendable {
    /// The `<`, or the first byte of text.
    var start: UInt32
    /// The end of the element's name; the namespace declaration, if any, follows.
    var nameEnd: UInt32
    /// Where attributes begin, behind the namespace declaration.
    var attributesStart: UInt32
    /// Where attributes end: at `>` or `/>`.
    var attributesEnd: UInt32
    /// Between the tags; empty for `<a/>`.
    var contentStart: UInt32
    var contentEnd: UInt32
    /// Behind the end tag, or behind the last byte of text.
    var end: UInt32
    /// The index of the first node behind this one and its descendants.
    var next: UInt32
    /// An index into ``Tape/namespaces``; `TapeNode.text` for character data.
    var namespace: UInt16

    static let text = UInt16.max

    var isText: Bool { namespace == Self.text }
}

/// Builds the value of one element from the events of a parser, top to bottom.
///
/// The caller guarantees balanced `startElement` and `endElement` calls and names that are valid XML names; the
/// builder escapes attribute values and text. Reusable: ``finish()`` leaves it empty.
public struct TapeBuilder: Sendable {
    private var bytes: [UInt8] = []
    private var nodes: [TapeNode] = []
    private var namespaces: [Namespace] = []
    private var open: [UInt32] = []
    private var tagIsOpen = false

    public init() {
        bytes.reserveCapacity(512)
        nodes.reserveCapacity(16)
    }

    /// How many elements are open.
    public var depth: Int { open.count }

    /// How many different namespaces were used so far. Looking one up takes time in proportion, so callers limit it.
    public var namespaceCount: Int { namespaces.count }

    /// How many bytes the serialisation takes so far.
    public var count: Int { bytes.count }

    /// Opens an element; attributes may follow until the next call that is not ``attribute(_:_:)``.
    public mutating func startElement(_ name: UnsafeBufferPointer<UInt8>, _ namespace: Namespace) {
        closeStartTag()
        let index = intern(namespace)
        let start = position
        bytes.append(UInt8(ascii: "<"))
        bytes.append(contentsOf: name)
        let nameEnd = position
        if open.last.map({ nodes[Int($0)].namespace != index }) ?? true {
            bytes.append(contentsOf: " xmlns='".utf8)
            appendEscapedAttribute(namespace.uri.utf8)
            bytes.append(UInt8(ascii: "'"))
        }
        let attributesStart = position
        open.append(UInt32(truncatingIfNeeded: nodes.count))
        nodes.append(
            TapeNode(
                start: start, nameEnd: nameEnd, attributesStart: attributesStart, attributesEnd: attributesStart,
                contentStart: 0, contentEnd: 0, end: 0, next: 0, namespace: index))
        tagIsOpen = true
    }

    /// Adds an attribute to the element that was opened last. A prefixed one other than `xml:` needs the declaration
    /// of its prefix (`xmlns:p`) as an attribute of the same element.
    public mutating func attribute(_ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>) {
        bytes.append(UInt8(ascii: " "))
        bytes.append(contentsOf: name)
        bytes.append(UInt8(ascii: "="))
        bytes.append(UInt8(ascii: "'"))
        appendEscapedAttribute(value)
        bytes.append(UInt8(ascii: "'"))
    }

    /// Adds character data. Adjacent runs become one node.
    public mutating func text(_ data: UnsafeBufferPointer<UInt8>) {
        guard !data.isEmpty, !open.isEmpty else { return }
        closeStartTag()
        let start = position
        XMLEscaping.append(data, to: &bytes, escaping: .text)
        if let last = nodes.indices.last, nodes[last].isText, nodes[last].end == start {
            nodes[last].end = position
            nodes[last].contentEnd = position
        } else {
            nodes.append(
                TapeNode(
                    start: start, nameEnd: start, attributesStart: start, attributesEnd: start,
                    contentStart: start, contentEnd: position, end: position,
                    next: UInt32(truncatingIfNeeded: nodes.count) &+ 1, namespace: TapeNode.text))
        }
    }

    /// Closes the innermost element.
    public mutating func endElement() {
        guard let index = open.popLast().map(Int.init) else { return }
        if tagIsOpen {
            tagIsOpen = false
            nodes[index].attributesEnd = position
            bytes.append(UInt8(ascii: "/"))
            bytes.append(UInt8(ascii: ">"))
            nodes[index].contentStart = position
            nodes[index].contentEnd = position
        } else {
            nodes[index].contentEnd = position
            bytes.append(UInt8(ascii: "<"))
            bytes.append(UInt8(ascii: "/"))
            let name = Int(nodes[index].start) + 1..<Int(nodes[index].nameEnd)
            bytes.reserveCapacity(bytes.count + name.count + 1)
            for offset in name {
                bytes.append(bytes[offset])
            }
            bytes.append(UInt8(ascii: ">"))
        }
        nodes[index].end = position
        nodes[index].next = UInt32(truncatingIfNeeded: nodes.count)
    }

    /// The element that was built, or nil while one is still open; the builder is empty afterwards.
    public mutating func finish() -> Element? {
        guard open.isEmpty, !nodes.isEmpty else { return nil }
        // Copies of exactly their size: a presence is kept for as long as its resource is there.
        let tape = Tape(bytes: Self.exact(bytes), nodes: Self.exact(nodes), namespaces: namespaces)
        reset()
        return Element(tape: tape, node: 0)
    }

    /// Forgets what was built so far.
    public mutating func reset() {
        // Buffers that one large element needed are not kept for the small ones after it.
        bytes.removeAll(keepingCapacity: bytes.capacity <= 16_384)
        nodes.removeAll(keepingCapacity: nodes.capacity <= 1_024)
        namespaces = []
        open.removeAll(keepingCapacity: true)
        tagIsOpen = false
    }

    private static func exact<Item>(_ items: [Item]) -> [Item] {
        items.withUnsafeBufferPointer { source in
            [Item](unsafeUninitializedCapacity: source.count) { target, count in
                _ = target.initialize(from: source)
                count = source.count
            }
        }
    }

    private var position: UInt32 { UInt32(truncatingIfNeeded: bytes.count) }

    private mutating func closeStartTag() {
        guard tagIsOpen, let index = open.last else { return }
        tagIsOpen = false
        nodes[Int(index)].attributesEnd = position
        bytes.append(UInt8(ascii: ">"))
        nodes[Int(index)].contentStart = position
    }

    private mutating func intern(_ namespace: Namespace) -> UInt16 {
        if let index = namespaces.firstIndex(of: namespace) { return UInt16(truncatingIfNeeded: index) }
        namespaces.append(namespace)
        return UInt16(truncatingIfNeeded: min(namespaces.count - 1, Int(TapeNode.text) - 1))
    }

    private mutating func appendEscapedAttribute(_ value: some Collection<UInt8>) {
        XMLEscaping.append(value, to: &bytes, escaping: .attribute)
    }
}
