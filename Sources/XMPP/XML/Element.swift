/// An XML element: a value, cheap to copy, safe to share.
///
/// An element that was parsed is a view on the bytes it arrived in; the first change turns its top level into a tree
/// of its own, with its children still views.
public struct Element: Sendable {
    enum Storage: Sendable {
        case view(Tape, UInt32)
        case tree(Tree)
    }

    /// An element that was built or changed.
    struct Tree: Sendable {
        var name: String
        /// nil until the element is put into a parent, whose namespace it then takes.
        var namespace: Namespace?
        var attributes: [Attribute] = []
        var content: [Content] = []
    }

    /// A name, with the prefix `xml:` where it has that, and an unescaped value.
    public struct Attribute: Sendable, Hashable {
        public let name: String
        public var value: String
    }

    /// What stands between the tags.
    public enum Content: Sendable {
        case element(Element)
        case text(String)
    }

    var storage: Storage

    init(tape: Tape, node: UInt32) {
        storage = .view(tape, node)
    }

    init(tree: Tree) {
        storage = .tree(tree)
    }

    // MARK: Reading

    /// The local name.
    public var name: String {
        switch storage {
        case .view(let tape, let index):
            let node = tape.nodes[Int(index)]
            return tape.string((node.start &+ 1)..<node.nameEnd)
        case .tree(let tree): return tree.name
        }
    }

    /// The namespace; ``Namespace/client`` for an element that was built without one.
    public var namespace: Namespace {
        switch storage {
        case .view(let tape, let index): tape.namespaces[Int(tape.nodes[Int(index)].namespace)]
        case .tree(let tree): tree.namespace ?? .client
        }
    }

    /// Whether the element has this name and namespace.
    public func `is`(_ name: String, _ namespace: Namespace) -> Bool {
        hasName(name) && self.namespace == namespace
    }

    /// The value of an attribute; setting nil removes it.
    public subscript(attribute: String) -> String? {
        get { withAttribute(attribute, XMLEscaping.unescape, { $0 }) }
        set {
            edit { tree in
                let index = tree.attributes.firstIndex { $0.name == attribute }
                switch (index, newValue) {
                case (let index?, let value?): tree.attributes[index].value = value
                case (let index?, nil): tree.attributes.remove(at: index)
                case (nil, let value?): tree.attributes.append(Attribute(name: attribute, value: value))
                case (nil, nil): break
                }
            }
        }
    }

    /// The value of a JID attribute; nil when it is missing or is no JID.
    public func jid(_ attribute: String) -> JID? {
        withAttribute(
            attribute, { raw in Self.jid(raw) },
            { JID($0) }) ?? nil
    }

    static func jid(_ raw: UnsafeBufferPointer<UInt8>) -> JID? {
        raw.contains(UInt8(ascii: "&")) ? JID(XMLEscaping.unescape(raw)) : JID(utf8: raw)
    }

    /// All attributes but namespace declarations, in document order.
    public var attributes: [Attribute] {
        declarationsAndAttributes.filter { !$0.name.hasPrefix("xmlns:") }
    }

    /// The bytes that it takes in memory, nearly. Constant time for what was parsed.
    public var estimatedSize: Int {
        switch storage {
        case .view(let tape, let index):
            let node = tape.nodes[Int(index)]
            return Int(node.end &- node.start)
        case .tree(let tree):
            let attributes = tree.attributes.reduce(0) { $0 + $1.name.utf8.count + $1.value.utf8.count + 32 }
            return tree.content.reduce(64 + attributes) { size, content in
                switch content {
                case .element(let child): size + child.estimatedSize
                case .text(let text): size + text.utf8.count
                }
            }
        }
    }

    /// Child elements, in document order.
    public var children: [Element] {
        switch storage {
        case .view(let tape, let index):
            var result: [Element] = []
            forEachChildNode(of: tape, index) { result.append(Element(tape: tape, node: $0)) }
            return result
        case .tree(let tree):
            return tree.content.compactMap { if case .element(let child) = $0 { child } else { nil } }
        }
    }

    /// Everything between the tags, in document order.
    public var content: [Content] {
        switch storage {
        case .view(let tape, let index):
            var result: [Content] = []
            var child = index &+ 1
            let end = tape.nodes[Int(index)].next
            while child < end {
                let node = tape.nodes[Int(child)]
                result.append(
                    node.isText
                        ? .text(tape.withBytes(node.start..<node.end, XMLEscaping.unescape))
                        : .element(Element(tape: tape, node: child)))
                child = node.next
            }
            return result
        case .tree(let tree): return tree.content
        }
    }

    /// Whether there is any child element.
    public var hasChildren: Bool { firstChild != nil }

    /// The first child element.
    public var firstChild: Element? {
        switch storage {
        case .view(let tape, let index):
            var child = index &+ 1
            let end = tape.nodes[Int(index)].next
            while child < end {
                if !tape.nodes[Int(child)].isText { return Element(tape: tape, node: child) }
                child = tape.nodes[Int(child)].next
            }
            return nil
        case .tree(let tree):
            for case .element(let child) in tree.content { return child }
            return nil
        }
    }

    /// The first child with this name and namespace; without a namespace, in this element's own.
    public func child(_ name: String, _ namespace: Namespace? = nil) -> Element? {
        switch storage {
        case .view(let tape, let index):
            let parent = tape.nodes[Int(index)]
            let wanted: UInt16
            if let namespace {
                guard let found = tape.namespaces.firstIndex(of: namespace) else { return nil }
                wanted = UInt16(truncatingIfNeeded: found)
            } else {
                wanted = parent.namespace
            }
            var child = index &+ 1
            while child < parent.next {
                let node = tape.nodes[Int(child)]
                if node.namespace == wanted, tape.name(of: node, is: name) { return Element(tape: tape, node: child) }
                child = node.next
            }
            return nil
        case .tree(let tree):
            let wanted = namespace ?? self.namespace
            for case .element(let child) in tree.content where child.is(name, wanted) { return child }
            return nil
        }
    }

    /// All children with this name and namespace; without a namespace, in this element's own.
    public func children(_ name: String, _ namespace: Namespace? = nil) -> [Element] {
        let wanted = namespace ?? self.namespace
        return children.filter { $0.is(name, wanted) }
    }

    /// Whether there is a child with this name and namespace; without a namespace, in this element's own.
    public func has(_ name: String, _ namespace: Namespace? = nil) -> Bool {
        child(name, namespace) != nil
    }

    /// The character data directly inside this element.
    public var text: String {
        switch storage {
        case .view(let tape, let index):
            let node = tape.nodes[Int(index)]
            var result = ""
            var child = index &+ 1
            while child < node.next {
                let inner = tape.nodes[Int(child)]
                if inner.isText { result += tape.withBytes(inner.start..<inner.end, XMLEscaping.unescape) }
                child = inner.next
            }
            return result
        case .tree(let tree):
            var result = ""
            for case .text(let text) in tree.content { result += text }
            return result
        }
    }

    /// The text of the first child with this name; nil when there is no such child.
    public func text(of child: String, _ namespace: Namespace? = nil) -> String? {
        self.child(child, namespace)?.text
    }

    // MARK: Changing

    /// Appends a child, which takes this element's namespace if it was built without one.
    public mutating func append(_ child: Element) {
        if case .view(let tape, 0) = storage, let longer = tape.appending(child) {
            storage = .view(longer, 0)
            return
        }
        edit { $0.content.append(.element(child.inheriting($0.namespace))) }
    }

    /// Removes the child elements for which `predicate` holds.
    public mutating func removeChildren(where predicate: (Element) -> Bool) {
        guard children.contains(where: predicate) else { return }
        edit { tree in
            tree.content.removeAll { if case .element(let child) = $0 { predicate(child) } else { false } }
        }
    }

    /// Changes the tree, which a view first becomes.
    mutating func edit(_ change: (inout Tree) -> Void) {
        switch storage {
        case .tree(var tree):
            storage = .tree(Tree(name: "", namespace: nil))  // Releases the arrays, so that the change is in place.
            change(&tree)
            storage = .tree(tree)
        case .view:
            var tree = Tree(name: name, namespace: namespace, attributes: declarationsAndAttributes, content: content)
            change(&tree)
            storage = .tree(tree)
        }
    }

    // MARK: Helpers

    func hasName(_ wanted: String) -> Bool {
        switch storage {
        case .view(let tape, let index): tape.name(of: tape.nodes[Int(index)], is: wanted)
        case .tree(let tree): tree.name == wanted
        }
    }

    func inheriting(_ parent: Namespace?) -> Element {
        guard let parent, case .tree(var tree) = storage, tree.namespace == nil else { return self }
        tree.namespace = parent
        tree.content = tree.content.map {
            if case .element(let child) = $0 { .element(child.inheriting(parent)) } else { $0 }
        }
        return Element(tree: tree)
    }

    private func forEachChildNode(of tape: Tape, _ index: UInt32, _ body: (UInt32) -> Void) {
        var child = index &+ 1
        let end = tape.nodes[Int(index)].next
        while child < end {
            if !tape.nodes[Int(child)].isText { body(child) }
            child = tape.nodes[Int(child)].next
        }
    }

    /// The attributes together with the declarations of the prefixes they use.
    private var declarationsAndAttributes: [Attribute] {
        switch storage {
        case .view(let tape, let index):
            var all: [Attribute] = []
            AttributeScanner.scan(tape, tape.nodes[Int(index)], includingDeclarations: true) { name, value in
                all.append(
                    Attribute(name: String(decoding: name, as: UTF8.self), value: XMLEscaping.unescape(value)))
                return true
            }
            return all
        case .tree(let tree): return tree.attributes
        }
    }

    private func withAttribute<R>(
        _ wanted: String, _ raw: (UnsafeBufferPointer<UInt8>) -> R, _ plain: (String) -> R
    ) -> R? {
        switch storage {
        case .view(let tape, let index):
            var result: R?
            var wanted = wanted
            wanted.withUTF8 { wanted in
                AttributeScanner.scan(tape, tape.nodes[Int(index)]) { name, value in
                    guard name.elementsEqual(wanted) else { return true }
                    result = raw(value)
                    return false
                }
            }
            return result
        case .tree(let tree):
            return tree.attributes.first { $0.name == wanted }.map { plain($0.value) }
        }
    }
}

extension Tape {
    func name(of node: TapeNode, is wanted: String) -> Bool {
        guard wanted.utf8.count == Int(node.nameEnd &- node.start) - 1 else { return false }
        return withBytes((node.start &+ 1)..<node.nameEnd) { $0.elementsEqual(wanted.utf8) }
    }
}

extension UnsafeBufferPointer<UInt8> {
    /// Whether this attribute name declares a prefix.
    var isPrefixDeclaration: Bool { count > 6 && self[5] == UInt8(ascii: ":") && hasBytes("xmlns", count: 5) }

    /// Whether the bytes are those of `literal`.
    @inline(__always)
    func equals(_ literal: StaticString) -> Bool {
        count == literal.utf8CodeUnitCount && hasBytes(literal, count: count)
    }

    @inline(__always)
    private func hasBytes(_ literal: StaticString, count: Int) -> Bool {
        for index in 0..<count where self[index] != literal.utf8Start[index] { return false }
        return true
    }
}

/// Walks the canonical ` name='value'` pairs of a start tag.
enum AttributeScanner {
    /// Calls `body` with the bytes of each attribute until it returns false.
    @inline(__always)
    static func scan(
        _ tape: Tape, _ node: TapeNode, includingDeclarations: Bool = false,
        _ body: (UnsafeBufferPointer<UInt8>, UnsafeBufferPointer<UInt8>) -> Bool
    ) {
        tape.withBytes(node.attributesStart..<node.attributesEnd) { bytes in
            var position = 0
            while position < bytes.count {
                let nameStart = position + 1
                var equals = nameStart
                while equals < bytes.count, bytes[equals] != UInt8(ascii: "=") { equals += 1 }
                guard equals + 2 <= bytes.count else { return }
                var quote = equals + 2
                while quote < bytes.count, bytes[quote] != UInt8(ascii: "'") { quote += 1 }
                guard quote < bytes.count else { return }
                let name = UnsafeBufferPointer(rebasing: bytes[nameStart..<equals])
                if includingDeclarations || !name.isPrefixDeclaration {
                    let value = UnsafeBufferPointer(rebasing: bytes[(equals + 2)..<quote])
                    guard body(name, value) else { return }
                }
                position = quote + 1
            }
        }
    }
}
