extension Element {
    /// An element that is only passed on: `bytes` from `offset` on must be one element as ``XMLWriter`` wrote it,
    /// standing alone. Its name, namespace and attributes can be read; what is inside is copied when it is written and
    /// is not seen before. For stored stanzas that are sent again, which saves parsing them.
    ///
    /// - Returns: nil where the bytes do not begin and end like an element.
    public init?(sealed bytes: [UInt8], from offset: Int = 0) {
        guard let (node, namespace) = bytes.withUnsafeBufferPointer({ SealedStart.read($0, offset) }) else { return nil }
        self.init(tape: Tape(bytes: bytes, nodes: [node], namespaces: [namespace]), node: 0)
    }
}

/// Finds the start tag of a serialised element, in which `>` and `'` are escaped inside of values.
private enum SealedStart {
    static func read(_ bytes: UnsafeBufferPointer<UInt8>, _ start: Int) -> (TapeNode, Namespace)? {
        guard start >= 0, bytes.count - start >= 4, UInt32(exactly: bytes.count) != nil,
            bytes[start] == UInt8(ascii: "<")
        else { return nil }
        guard let nameEnd = bytes[start...].firstIndex(where: { $0 == 0x20 || $0 == 0x2F || $0 == 0x3E }),
            let tagEnd = bytes[nameEnd...].firstIndex(of: UInt8(ascii: ">")), nameEnd > start + 1
        else { return nil }
        var attributesStart = nameEnd
        var namespace = Namespace.client
        let declaration: StaticString = " xmlns='"
        let valueStart = nameEnd + declaration.utf8CodeUnitCount
        if valueStart < tagEnd, UnsafeBufferPointer(rebasing: bytes[nameEnd..<valueStart]).equals(declaration) {
            guard let valueEnd = bytes[valueStart..<tagEnd].firstIndex(of: UInt8(ascii: "'")) else { return nil }
            namespace = Namespace(XMLEscaping.unescape(UnsafeBufferPointer(rebasing: bytes[valueStart..<valueEnd])))
            attributesStart = valueEnd + 1
        }
        let isEmpty = bytes[tagEnd - 1] == UInt8(ascii: "/")
        let endTag = isEmpty ? 0 : nameEnd - start + 2
        let attributesEnd = isEmpty ? tagEnd - 1 : tagEnd
        guard attributesStart <= attributesEnd, tagEnd + 1 + endTag <= bytes.count, bytes[bytes.count - 1] == 0x3E,
            !isEmpty || tagEnd + 1 == bytes.count
        else { return nil }
        let node = TapeNode(
            start: UInt32(start), nameEnd: UInt32(nameEnd), attributesStart: UInt32(attributesStart),
            attributesEnd: UInt32(attributesEnd), contentStart: UInt32(tagEnd + 1),
            contentEnd: UInt32(bytes.count - endTag), end: UInt32(bytes.count), next: 1, namespace: 0)
        return (node, namespace)
    }
}
