/// A field of a data form. XEP-0004 §3.2.
public struct DataFormField: Sendable, Hashable {
    /// XEP-0004 §3.3.
    public enum Kind: String, Sendable, CaseIterable {
        case boolean
        case fixed
        case hidden
        case jidMulti = "jid-multi"
        case jidSingle = "jid-single"
        case listMulti = "list-multi"
        case listSingle = "list-single"
        case textMulti = "text-multi"
        case textPrivate = "text-private"
        case textSingle = "text-single"

        /// Whether a field may have more than one value. XEP-0004 §3.2.
        public var isMulti: Bool {
            switch self {
            case .hidden, .jidMulti, .listMulti, .textMulti: true
            case .boolean, .fixed, .jidSingle, .listSingle, .textPrivate, .textSingle: false
            }
        }
    }

    /// One of the values to choose from.
    public struct Option: Sendable, Hashable {
        public var label: String?
        public var value: String

        public init(_ value: String, label: String? = nil) {
            self.value = value
            self.label = label
        }
    }

    /// The `var` attribute; only fixed fields lack it.
    public var name: String?
    /// nil where the context says it, as in submissions.
    public var kind: Kind?
    public var label: String?
    /// A longer explanation.
    public var description: String?
    public var isRequired: Bool
    public var values: [String]
    public var options: [Option]
    public var validation: DataFormValidation?

    public init(
        _ name: String?, _ kind: Kind? = nil, label: String? = nil, description: String? = nil,
        isRequired: Bool = false, values: [String] = [], options: [Option] = [],
        validation: DataFormValidation? = nil
    ) {
        self.name = name
        self.kind = kind
        self.label = label
        self.description = description
        self.isRequired = isRequired
        self.values = values
        self.options = options
        self.validation = validation
    }

    static let formTypeName = "FORM_TYPE"

    /// The hidden field that names the set of fields. XEP-0068 §3.1.
    public init(formType: String) {
        self.init(Self.formTypeName, .hidden, values: [formType])
    }

    /// A boolean with a value.
    public static func boolean(_ name: String, _ value: Bool, label: String? = nil) -> DataFormField {
        DataFormField(name, .boolean, label: label, values: [value ? "1" : "0"])
    }

    /// A text of one line with a value.
    public static func text(_ name: String, _ value: String?, label: String? = nil) -> DataFormField {
        DataFormField(name, .textSingle, label: label, values: value.map { [$0] } ?? [])
    }

    /// A text of many lines, a value for each (XEP-0004 §3.3).
    public static func lines(_ name: String, _ text: String, label: String? = nil) -> DataFormField {
        let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).map(String.init)
        return DataFormField(name, .textMulti, label: label, values: text.isEmpty ? [] : lines)
    }

    /// Text for people only.
    public static func fixed(_ text: String) -> DataFormField {
        DataFormField(nil, .fixed, values: [text])
    }

    /// The first value.
    public var value: String? { values.first }

    /// Reads a `<field/>`. A type that is not defined counts as text-single (XEP-0004 §3.3).
    ///
    /// - Throws: `.badRequest` when a field other than a fixed one has no name (XEP-0004 §3.2), an option has not
    ///   exactly one value, or the validation is malformed.
    public init(_ element: Element) throws(StanzaError) {
        name = element["var"]
        kind = element["type"].map { Kind(rawValue: $0) ?? .textSingle }
        guard name != nil || kind == .fixed else { throw .badRequest("A field has no name.") }
        label = element["label"]
        description = element.text(of: "desc")
        isRequired = element.has("required")
        values = element.children("value").map(\.text)
        options = []
        for option in element.children("option") {
            let values = option.children("value")
            guard values.count == 1, let value = values.first else {
                throw .badRequest("An option has exactly one value.")
            }
            options.append(Option(value.text, label: option["label"]))
        }
        if let validate = element.child("validate", .dataValidate) { validation = try DataFormValidation(validate) }
    }

    public var element: Element {
        Element("field", .dataForms, ["type": kind?.rawValue, "var": name, "label": label]) {
            if let description { Element("desc", text: description) }
            if isRequired { Element("required") }
            for value in values { Element("value", text: value) }
            for option in options {
                Element("option", nil, ["label": option.label]) { Element("value", text: option.value) }
            }
            if let validation { validation.element }
        }
    }
}
