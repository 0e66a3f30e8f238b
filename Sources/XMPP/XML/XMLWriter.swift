/// Serialises elements into a buffer of bytes. Reusable: take ``bytes`` and call ``removeAll()``.
public struct XMLWriter: Sendable {
    /// What was written, UTF-8.
    public private(set) var bytes: [UInt8] = []

    /// Whether the prefix `stream:` has been declared, as in a stream: then elements of that namespace use it, as
    /// RFC 6120 §4.8.5 wants and simple clients expect.
    private let isInStream: Bool

    /// - Parameter inStream: whether elements stand inside a stream whose header declares the prefix `stream:`.
    public init(inStream: Bool = false) {
        isInStream = inStream
    }

    /// Begins behind bytes that are no markup: those that a store puts in front of what it keeps.
    public init(after prefix: [UInt8]) {
        isInStream = false
        bytes.reserveCapacity(prefix.count + 512)
        bytes += prefix
    }

    public mutating func removeAll() {
        bytes.removeAll(keepingCapacity: bytes.capacity <= 65_536)
    }

    /// Writes markup that is known to be well-formed, such as the fixed parts of a stream header.
    public mutating func raw(_ markup: StaticString) {
        markup.withUTF8Buffer { bytes.append(contentsOf: $0) }
    }

    /// Makes `<a/>` of the `<a>` written last.
    mutating func closeEmptyTag() {
        bytes.removeLast()
        raw("/>")
    }

    /// Writes ` name='value'`.
    public mutating func attribute(_ name: StaticString, _ value: String) {
        bytes.append(UInt8(ascii: " "))
        name.withUTF8Buffer { bytes.append(contentsOf: $0) }
        raw("='")
        XMLEscaping.append(value.utf8, to: &bytes, escaping: .attribute)
        bytes.append(UInt8(ascii: "'"))
    }

    /// Writes ` name='value'` for a JID. Its parts may hold characters that must be escaped.
    public mutating func attribute(_ name: StaticString, _ jid: JID) {
        bytes.append(UInt8(ascii: " "))
        name.withUTF8Buffer { bytes.append(contentsOf: $0) }
        raw("='")
        if let localpart = jid.localpart {
            XMLEscaping.append(localpart.utf8, to: &bytes, escaping: .attribute)
            bytes.append(UInt8(ascii: "@"))
        }
        XMLEscaping.append(jid.domainpart.utf8, to: &bytes, escaping: .attribute)
        if let resourcepart = jid.resourcepart {
            bytes.append(UInt8(ascii: "/"))
            XMLEscaping.append(resourcepart.utf8, to: &bytes, escaping: .attribute)
        }
        bytes.append(UInt8(ascii: "'"))
    }

    /// Writes character data.
    public mutating func text(_ text: String) {
        XMLEscaping.append(text.utf8, to: &bytes, escaping: .text)
    }

    /// Writes an element whose surroundings have the default namespace `context`.
    public mutating func write(_ element: Element, in context: Namespace? = nil) {
        switch element.storage {
        case .view(let tape, let index): write(tape, tape.nodes[Int(index)], in: context)
        case .tree(let tree): write(tree, in: context)
        }
    }

    /// Writes what stands between the tags of `element`, where the default namespace is `context`.
    public mutating func writeContent(of element: Element, in context: Namespace) {
        switch element.storage {
        case .view(let tape, let index):
            let node = tape.nodes[Int(index)]
            if tape.namespaces[Int(node.namespace)] == context {
                copy(tape, node.contentStart..<node.contentEnd)
            } else {
                for item in element.content { write(item, in: context) }
            }
        case .tree(let tree):
            for item in tree.content { write(item, in: context) }
        }
    }

    /// Writes the attributes of `element` and the declarations they use, except those whose name is `excluded`.
    mutating func writeAttributes(of element: Element, except excluded: (UnsafeBufferPointer<UInt8>) -> Bool) {
        switch element.storage {
        case .view(let tape, let index):
            AttributeScanner.scan(tape, tape.nodes[Int(index)], includingDeclarations: true) { name, value in
                if !excluded(name) {
                    bytes.append(UInt8(ascii: " "))
                    bytes.append(contentsOf: name)
                    raw("='")
                    bytes.append(contentsOf: value)
                    bytes.append(UInt8(ascii: "'"))
                }
                return true
            }
        case .tree(let tree):
            for attribute in tree.attributes {
                var name = attribute.name
                if !name.withUTF8(excluded) { write(attribute) }
            }
        }
    }

    private mutating func write(_ attribute: Element.Attribute) {
        bytes.append(UInt8(ascii: " "))
        bytes.append(contentsOf: attribute.name.utf8)
        raw("='")
        XMLEscaping.append(attribute.value.utf8, to: &bytes, escaping: .attribute)
        bytes.append(UInt8(ascii: "'"))
    }

    private mutating func write(_ item: Element.Content, in context: Namespace?) {
        switch item {
        case .element(let child): write(child, in: context)
        case .text(let text): self.text(text)
        }
    }

    private mutating func write(_ tree: Element.Tree, in context: Namespace?) {
        let namespace = tree.namespace ?? context ?? .client
        let isPrefixed = isInStream && namespace == .streams
        bytes.append(UInt8(ascii: "<"))
        if isPrefixed { raw("stream:") }
        bytes.append(contentsOf: tree.name.utf8)
        if namespace != context, !isPrefixed { declare(namespace) }
        for attribute in tree.attributes { write(attribute) }
        guard !tree.content.isEmpty else { return raw("/>") }
        bytes.append(UInt8(ascii: ">"))
        for item in tree.content { write(item, in: isPrefixed ? context : namespace) }
        raw("</")
        if isPrefixed { raw("stream:") }
        bytes.append(contentsOf: tree.name.utf8)
        bytes.append(UInt8(ascii: ">"))
    }

    /// Copies a parsed element as bytes, with its namespace declaration added or left out as its new place needs.
    private mutating func write(_ tape: Tape, _ node: TapeNode, in context: Namespace?) {
        let namespace = tape.namespaces[Int(node.namespace)]
        copy(tape, node.start..<node.nameEnd)
        if namespace != context { declare(namespace) }
        copy(tape, node.attributesStart..<node.end)
    }

    /// Writes the declaration of a namespace: ` xmlns='…'`, or with a prefix ` xmlns:prefix='…'`.
    public mutating func declare(_ namespace: Namespace, as prefix: String? = nil) {
        raw(" xmlns")
        if let prefix {
            bytes.append(UInt8(ascii: ":"))
            bytes.append(contentsOf: prefix.utf8)
        }
        raw("='")
        XMLEscaping.append(namespace.uri.utf8, to: &bytes, escaping: .attribute)
        bytes.append(UInt8(ascii: "'"))
    }

    private mutating func copy(_ tape: Tape, _ range: Range<UInt32>) {
        tape.withBytes(range) { bytes.append(contentsOf: $0) }
    }
}

extension Element: CustomStringConvertible {
    /// The element's serialisation, standing alone.
    public var xml: String { String(decoding: xmlBytes, as: UTF8.self) }

    /// The element's serialisation, standing alone, in UTF-8.
    public var xmlBytes: [UInt8] {
        var writer = XMLWriter()
        writer.write(self)
        return writer.bytes
    }

    public var description: String { xml }
}
