import ServerKit

extension FuzzTarget {
    /// A stream, read whole, byte by byte and cut in two: the same elements each time, and each of them reads the
    /// same again once it is written.
    static let stream = FuzzTarget(name: "stream") { bytes in
        let whole = Reading([bytes])
        let slow = Reading(bytes.indices.map { UnsafeRawBufferPointer(rebasing: bytes[$0...$0]) })
        require(whole.lines == slow.lines, "Whole: \(whole.lines)\nSlow: \(slow.lines)")
        require(whole.error == nil || slow.error != nil || whole.isUncertain, "Refused only when whole.")
        let middle = bytes.count / 2
        let halves = Reading([
            UnsafeRawBufferPointer(rebasing: bytes[..<middle]), UnsafeRawBufferPointer(rebasing: bytes[middle...]),
        ])
        require(whole.lines == halves.lines, "Whole: \(whole.lines)\nHalves: \(halves.lines)")
        for element in whole.elements { requireRoundTrip(element) }
    }

    /// An element from storage.
    static let element = FuzzTarget(name: "element") { bytes in
        guard let element = try? Element.parse(bytes) else { return }
        requireRoundTrip(element)
        _ = element.jid("to")
        _ = try? Stanza.parse(element)
    }
}

/// What a reader made of the pieces of a stream.
private struct Reading {
    var lines: [String] = []
    var elements: [Element] = []
    var error: StreamError?

    /// Whether the refusal may come later when the bytes come slowly: a complete tag can show that it is broken.
    var isUncertain: Bool { error?.condition == .notWellFormed || error?.condition == .policyViolation }

    nonisolated(unsafe) private static let pool = ParserPool(capacity: 2)

    init(_ pieces: [UnsafeRawBufferPointer]) {
        let reader = StreamReader(pool: Self.pool, limits: XMLLimits(elementBytes: 4_096, depth: 8, namespaces: 8))
        for piece in pieces {
            // A copy, so that the sanitizer sees pointers that outlive the call.
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: piece.count, alignment: 1)
            defer { copy.deallocate() }
            copy.copyMemory(from: piece)
            do throws(StreamError) {
                try reader.read(UnsafeRawBufferPointer(copy)) { event in
                    switch event {
                    case .opened(let header): lines.append("opened \(header)")
                    case .element(let element):
                        lines.append(element.xml)
                        elements.append(element)
                    case .closed: lines.append("closed")
                    }
                    return true
                }
            } catch {
                require(self.error == nil, "A second error.")
                self.error = error
            }
        }
    }
}

private func requireRoundTrip(_ element: Element) {
    let xml = element.xml
    guard let again = try? Element.parse(xml) else { fatalError("Not readable: \(xml)") }
    require(again.xml == xml, "\(xml)\nbecame\n\(again.xml)")
    // As a tree, too.
    var tree = element
    tree["fuzz"] = "'&\n"
    tree["fuzz"] = nil
    require(tree.xml == xml, "\(xml)\nas a tree is\n\(tree.xml)")
    require(tree.text == element.text, "Text differs in \(xml)")
    require(again.attributes == element.attributes, "Attributes differ in \(xml)")
    var writer = XMLWriter()
    writer.write(Element("outer", Namespace("urn:example:outer")) { element })
    guard let outer = try? Element.parse(writer.bytes), let inner = outer.firstChild else {
        fatalError("Not readable inside another: \(xml)")
    }
    require(inner.xml == xml, "\(xml)\ninside another became\n\(inner.xml)")
}
