extension Tape {
    /// This tape with a child appended to its outermost element, as bytes: what the server adds to a message on its way
    /// must not cost more than the rest of the way.
    ///
    /// - Returns: nil where that is not possible, because the element is empty, or the child is a view or shares the
    ///   element's namespace.
    func appending(_ child: Element) -> Tape? {
        guard let root = nodes.first, Int(root.next) == nodes.count, root.contentEnd != root.end,
            case .tree(let tree) = child.storage, let namespace = tree.namespace,
            namespace != namespaces[Int(root.namespace)]
        else { return nil }
        var builder = TapeBuilder()
        guard builder.add(tree, in: namespace), let added = builder.finish(), case .view(let other, _) = added.storage
        else { return nil }
        let (sum, overflow) = UInt32(truncatingIfNeeded: bytes.count)
            .addingReportingOverflow(UInt32(truncatingIfNeeded: other.bytes.count))
        guard !overflow, bytes.count <= UInt32.max, sum < .max else { return nil }
        return splicing(other, at: root.contentEnd)
    }

    private func splicing(_ other: Tape, at place: UInt32) -> Tape {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(self.bytes.count + other.bytes.count)
        bytes += self.bytes[..<Int(place)]
        bytes += other.bytes
        bytes += self.bytes[Int(place)...]
        var namespaces = self.namespaces
        let indices = other.namespaces.map { namespace in
            if let index = namespaces.firstIndex(of: namespace) { return UInt16(truncatingIfNeeded: index) }
            namespaces.append(namespace)
            return UInt16(truncatingIfNeeded: namespaces.count - 1)
        }
        var nodes: [TapeNode] = []
        nodes.reserveCapacity(self.nodes.count + other.nodes.count)
        nodes += self.nodes
        let count = UInt32(truncatingIfNeeded: nodes.count)
        let length = UInt32(truncatingIfNeeded: other.bytes.count)
        for node in other.nodes { nodes.append(node.moved(by: place, count, indices)) }
        nodes[0].contentEnd += length
        nodes[0].end += length
        nodes[0].next = UInt32(truncatingIfNeeded: nodes.count)
        return Tape(bytes: bytes, nodes: nodes, namespaces: namespaces)
    }
}

extension TapeNode {
    fileprivate func moved(by offset: UInt32, _ count: UInt32, _ namespaces: [UInt16]) -> TapeNode {
        TapeNode(
            start: start + offset, nameEnd: nameEnd + offset, attributesStart: attributesStart + offset,
            attributesEnd: attributesEnd + offset, contentStart: contentStart + offset, contentEnd: contentEnd + offset,
            end: end + offset, next: next + count, namespace: isText ? namespace : namespaces[Int(namespace)])
    }
}

extension TapeBuilder {
    /// Adds a tree; false where it holds a view or a prefixed attribute.
    fileprivate mutating func add(_ tree: Element.Tree, in context: Namespace) -> Bool {
        let namespace = tree.namespace ?? context
        withBytes(tree.name) { startElement($0, namespace) }
        for attribute in tree.attributes {
            guard !attribute.name.utf8.contains(UInt8(ascii: ":")) else { return false }
            withBytes(attribute.name) { name in withBytes(attribute.value) { self.attribute(name, $0) } }
        }
        for item in tree.content {
            switch item {
            case .text(let text): withBytes(text) { self.text($0) }
            case .element(let child):
                guard case .tree(let tree) = child.storage, add(tree, in: namespace) else { return false }
            }
        }
        endElement()
        return true
    }

    private func withBytes(_ string: String, _ body: (UnsafeBufferPointer<UInt8>) -> Void) {
        var string = string
        string.withUTF8(body)
    }
}
