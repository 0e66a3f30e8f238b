extension Element {
    /// An element with attributes; those whose value is nil are left out. Without a namespace it takes its parent's.
    public init(
        _ name: String, _ namespace: Namespace? = nil, _ attributes: KeyValuePairs<String, String?> = [:],
        text: String? = nil
    ) {
        let present = attributes.compactMap { name, value in value.map { Attribute(name: name, value: $0) } }
        let content: [Content] = text.map { [.text($0)] } ?? []
        self.init(tree: Tree(name: name, namespace: namespace, attributes: present, content: content))
    }

    /// An element with content, written as the XML would be:
    /// `Element("query", .roster, ["ver": version]) { for item in items { item.element } }`.
    public init(
        _ name: String, _ namespace: Namespace? = nil, _ attributes: KeyValuePairs<String, String?> = [:],
        @ElementBuilder content: () throws -> [Content]
    ) rethrows {
        self.init(name, namespace, attributes)
        let content = try content()
        edit { tree in
            tree.content = content.map {
                if case .element(let child) = $0 { .element(child.inheriting(namespace)) } else { $0 }
            }
        }
    }
}

/// Collects the content of an ``Element``: elements, texts, optionals, loops.
@resultBuilder
public enum ElementBuilder {
    public static func buildExpression(_ element: Element) -> [Element.Content] { [.element(element)] }
    public static func buildExpression(_ element: Element?) -> [Element.Content] {
        element.map { [.element($0)] } ?? []
    }
    public static func buildExpression(_ elements: [Element]) -> [Element.Content] { elements.map { .element($0) } }
    public static func buildExpression(_ text: String) -> [Element.Content] { [.text(text)] }
    public static func buildExpression(_ content: [Element.Content]) -> [Element.Content] { content }
    public static func buildBlock(_ parts: [Element.Content]...) -> [Element.Content] { parts.flatMap { $0 } }
    public static func buildOptional(_ part: [Element.Content]?) -> [Element.Content] { part ?? [] }
    public static func buildEither(first part: [Element.Content]) -> [Element.Content] { part }
    public static func buildEither(second part: [Element.Content]) -> [Element.Content] { part }
    public static func buildArray(_ parts: [[Element.Content]]) -> [Element.Content] { parts.flatMap { $0 } }
}
