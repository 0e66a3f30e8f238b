extension Tape {
    /// This tape with an element that has attributes only put at the end of its outermost element, as bytes: what the
    /// server adds to a message on its way must not cost more than the rest of the way.
    ///
    /// - Returns: nil where that is not possible: for an element with content, of the same namespace, with a prefixed
    ///   attribute, or where the outermost element is empty.
    func appending(_ child: Element) -> Tape? {
        guard let root = nodes.first, Int(root.next) == nodes.count, root.contentEnd != root.end,
            case .tree(let tree) = child.storage, tree.content.isEmpty, let namespace = tree.namespace,
            namespace != namespaces[Int(root.namespace)],
            !tree.attributes.contains(where: { $0.name.utf8.contains(UInt8(ascii: ":")) }),
            bytes.count < Int(UInt32.max) / 2
        else { return nil }
        var namespaces = self.namespaces
        let index = namespaces.firstIndex(of: namespace) ?? namespaces.count
        guard index < TapeNode.text - 1 else { return nil }
        if index == namespaces.count { namespaces.append(namespace) }

        let end = Int(root.contentEnd)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(self.bytes.count + 256)
        bytes += self.bytes[..<end]
        bytes.append(UInt8(ascii: "<"))
        bytes += tree.name.utf8
        let nameEnd = bytes.count
        Self.append("xmlns", namespace.uri, to: &bytes)
        let attributesStart = bytes.count
        for attribute in tree.attributes { Self.append(attribute.name, attribute.value, to: &bytes) }
        let attributesEnd = bytes.count
        bytes.append(UInt8(ascii: "/"))
        bytes.append(UInt8(ascii: ">"))
        let added = UInt32(bytes.count)
        bytes += self.bytes[end...]

        var nodes: [TapeNode] = []
        nodes.reserveCapacity(self.nodes.count + 1)
        nodes += self.nodes
        let count = UInt32(nodes.count + 1)
        nodes.append(
            TapeNode(
                start: root.contentEnd, nameEnd: UInt32(nameEnd), attributesStart: UInt32(attributesStart),
                attributesEnd: UInt32(attributesEnd), contentStart: added, contentEnd: added, end: added, next: count,
                namespace: UInt16(index)))
        nodes[0].end += added - root.contentEnd
        nodes[0].contentEnd = added
        nodes[0].next = count
        return Tape(bytes: bytes, nodes: nodes, namespaces: namespaces)
    }

    private static func append(_ name: String, _ value: String, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: " "))
        bytes += name.utf8
        bytes.append(UInt8(ascii: "="))
        bytes.append(UInt8(ascii: "'"))
        XMLEscaping.append(value.utf8, to: &bytes, escaping: .attribute)
        bytes.append(UInt8(ascii: "'"))
    }
}
