extension Namespace {
    /// XEP-0004.
    public static let dataForms: Namespace = "jabber:x:data"
    /// XEP-0122.
    public static let dataValidate: Namespace = "http://jabber.org/protocol/xdata-validate"
}

/// A data form. XEP-0004 §3.
///
/// Media elements (XEP-0221) and other extensions of fields are not kept.
public struct DataForm: Sendable, Hashable {
    /// XEP-0004 §3.1.
    public enum Kind: String, Sendable, CaseIterable {
        /// The one asks the other to fill it out.
        case form
        case submit
        case cancel
        case result
    }

    public var kind: Kind
    public var title: String?
    /// Paragraphs of advice.
    public var instructions: [String]
    public var fields: [DataFormField]
    /// The columns of a table of results. XEP-0004 §3.4.
    public var reported: [DataFormField]
    /// The rows of a table of results. XEP-0004 §3.4.
    public var items: [[DataFormField]]

    /// - Parameter formType: the name of the set of fields; it becomes the hidden first field (XEP-0068 §3.1).
    public init(
        _ kind: Kind, formType: String? = nil, title: String? = nil, instructions: [String] = [],
        fields: [DataFormField] = [], reported: [DataFormField] = [], items: [[DataFormField]] = []
    ) {
        self.kind = kind
        self.title = title
        self.instructions = instructions
        self.fields = (formType.map { [DataFormField(formType: $0)] } ?? []) + fields
        self.reported = reported
        self.items = items
    }

    /// Service discovery information beyond features: a result form with FORM_TYPE. XEP-0128 §2.
    public static func extendedInfo(_ formType: String, _ fields: [DataFormField]) -> DataForm {
        DataForm(.result, formType: formType, fields: fields)
    }

    /// Reads an `<x/>`.
    ///
    /// - Throws: `.badRequest` when the form has no type that XEP-0004 §3.1 defines, when a field that needs a name has
    ///   none (§3.2), or when two fields have the same.
    public init(_ element: Element) throws(StanzaError) {
        guard element.is("x", .dataForms) else { throw .badRequest("A data form was expected.") }
        guard let kind = element["type"].flatMap(Kind.init) else {
            throw .badRequest("A data form is of type form, submit, cancel or result.")
        }
        self.kind = kind
        title = element.text(of: "title")
        instructions = element.children("instructions").map(\.text)
        fields = try Self.fields(of: element)
        reported = []
        items = []
        for child in element.children where child.namespace == .dataForms {
            if child.hasName("reported") { reported += try Self.fields(of: child) }
            if child.hasName("item") { items.append(try Self.fields(of: child)) }
        }
    }

    /// The first form inside `parent`, if its FORM_TYPE is `formType` or that does not matter.
    public static func find(in parent: Element, formType: String? = nil) throws(StanzaError) -> DataForm? {
        for element in parent.children("x", .dataForms) {
            let form = try DataForm(element)
            if formType == nil || form.formType == formType { return form }
        }
        return nil
    }

    public var element: Element {
        Element("x", .dataForms, ["type": kind.rawValue]) {
            if let title { Element("title", text: title) }
            for paragraph in instructions { Element("instructions", text: paragraph) }
            fields.map(\.element)
            if !reported.isEmpty {
                Element("reported") { reported.map(\.element) }
            }
            for item in items {
                Element("item") { item.map(\.element) }
            }
        }
    }

    /// The field with this name.
    public subscript(name: String) -> DataFormField? {
        fields.first { $0.name == name }
    }

    /// The name of the set of fields. XEP-0068 §3.1: a field of another type does not count, except in submissions,
    /// which need not repeat types.
    public var formType: String? {
        guard let field = self[DataFormField.formTypeName] else { return nil }
        guard field.kind == .hidden || kind == .submit && field.kind == nil else { return nil }
        return field.value
    }

    private static func fields(of element: Element) throws(StanzaError) -> [DataFormField] {
        var fields: [DataFormField] = []
        var names: Set<String> = []
        for child in element.children("field", .dataForms) {
            let field = try DataFormField(child)
            if let name = field.name, !names.insert(name).inserted {
                throw .badRequest("Two fields have the same name.")
            }
            fields.append(field)
        }
        return fields
    }
}
