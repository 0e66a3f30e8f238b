@testable import XMPP

/// Reads trusted XML with default namespaces only, through ``TapeBuilder`` as the stream parser does.
func parse(_ xml: String) -> Element {
    var reader = TestReader(rest: Array(xml.utf8)[...])
    return reader.read() ?? Element("unparsable")
}

/// The same element as a view on a tape.
func view(_ element: Element) -> Element {
    var builder = TapeBuilder()
    emit(element, into: &builder)
    return builder.finish() ?? Element("unbalanced")
}

private func emit(_ element: Element, into builder: inout TapeBuilder) {
    withBytes(element.name) { builder.startElement($0, element.namespace) }
    for attribute in element.attributes {
        withBytes(attribute.name) { name in withBytes(attribute.value) { builder.attribute(name, $0) } }
    }
    for item in element.content {
        switch item {
        case .element(let child): emit(child, into: &builder)
        case .text(let text): withBytes(text) { builder.text($0) }
        }
    }
    builder.endElement()
}

func withBytes(_ string: String, _ body: (UnsafeBufferPointer<UInt8>) -> Void) {
    var string = string
    string.withUTF8(body)
}

private struct TestReader {
    var rest: ArraySlice<UInt8>
    var builder = TapeBuilder()
    var scopes: [Namespace] = [.client]

    mutating func read() -> Element? {
        while !rest.isEmpty {
            if rest.first != UInt8(ascii: "<") {
                let text = decoded(take { $0 != UInt8(ascii: "<") })
                withBytes(text) { builder.text($0) }
                continue
            }
            rest.removeFirst()
            if rest.first == UInt8(ascii: "/") {
                _ = take { $0 != UInt8(ascii: ">") }
                rest.removeFirst()
                end()
            } else {
                startTag()
            }
        }
        return builder.finish()
    }

    private mutating func startTag() {
        let isNameByte: (UInt8) -> Bool = { !" \n\t/>=".utf8.contains($0) }
        let name = take(isNameByte)
        var namespace = scopes.last ?? .client
        var attributes: [(String, String)] = []
        while true {
            _ = take { " \n\t".utf8.contains($0) }
            if rest.first == UInt8(ascii: "/") || rest.first == UInt8(ascii: ">") || rest.isEmpty { break }
            let attribute = take(isNameByte)
            rest.removeFirst()
            let quote = rest.removeFirst()
            let value = decoded(take { $0 != quote })
            rest.removeFirst()
            if attribute == "xmlns" { namespace = Namespace(value) } else { attributes.append((attribute, value)) }
        }
        withBytes(name) { builder.startElement($0, namespace) }
        for (name, value) in attributes {
            withBytes(name) { name in withBytes(value) { builder.attribute(name, $0) } }
        }
        scopes.append(namespace)
        if rest.first == UInt8(ascii: "/") {
            rest.removeFirst()
            end()
        }
        rest.removeFirst()
    }

    private mutating func end() {
        builder.endElement()
        scopes.removeLast()
    }

    private mutating func take(_ condition: (UInt8) -> Bool) -> String {
        let taken = rest.prefix(while: condition)
        rest = rest.dropFirst(taken.count)
        return String(decoding: taken, as: UTF8.self)
    }

    private func decoded(_ raw: String) -> String {
        var raw = raw
        withBytes(raw) { raw = XMLEscaping.unescape($0) }
        return raw
    }
}
