import ServerKit

extension Element {
    /// Whether everything that `pattern` names is here: its name, namespace, attributes, text and children; extras are
    /// allowed unless `exactly` is set. The order of children does not matter.
    public func matches(_ pattern: Element, exactly: Bool = false) -> Bool {
        guard name == pattern.name, namespace == pattern.namespace else { return false }
        for attribute in pattern.attributes where self[attribute.name] != attribute.value { return false }
        let text = pattern.text.trimmedXMLSpace
        if !text.isEmpty || exactly, self.text.trimmedXMLSpace != text { return false }
        var rest = children
        for child in pattern.children {
            guard let index = rest.firstIndex(where: { $0.matches(child, exactly: exactly) }) else { return false }
            rest.remove(at: index)
        }
        return !exactly || (rest.isEmpty && attributes.count == pattern.attributes.count)
    }
}

/// What a play expected and did not see.
public struct StageError: Error, CustomStringConvertible {
    public let description: String

    init(_ description: String, _ place: Place) {
        self.description = "\(description)\n  at \(place.file):\(place.line)"
    }

    /// For steps that a test has of its own.
    public init(_ description: String, file: String, line: Int) {
        self.init(description, Place(file: file, line: line))
    }

    /// Where in a test something was asked for.
    struct Place {
        let file: String
        let line: Int
    }
}
