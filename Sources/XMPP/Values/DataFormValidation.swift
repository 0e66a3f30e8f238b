import Glibc

/// What the values of a field must look like. XEP-0122 §3.
public struct DataFormValidation: Sendable, Hashable {
    /// XEP-0122 §3.2.
    public enum Method: Sendable, Hashable {
        case basic
        /// Values beyond the options are welcome.
        case open
        /// Bounds, written as the datatype is; nil is none.
        case range(min: String?, max: String?)
        /// A POSIX extended regular expression for the whole value.
        case regex(String)
    }

    /// How many values of a list-multi are to be chosen. XEP-0122 §3.3.
    public struct ListRange: Sendable, Hashable {
        public var min: Int?
        public var max: Int?

        public init(min: Int? = nil, max: Int? = nil) {
            self.min = min
            self.max = max
        }
    }

    /// Such as `xs:integer`.
    public var datatype: String
    public var method: Method
    public var listRange: ListRange?

    public init(_ datatype: String = "xs:string", _ method: Method = .basic, listRange: ListRange? = nil) {
        self.datatype = datatype
        self.method = method
        self.listRange = listRange
    }

    /// Reads a `<validate/>`; a method that is not defined counts as basic (XEP-0122 §4.1).
    ///
    /// - Throws: `.badRequest` for two methods, or a selection range that is none.
    public init(_ element: Element) throws(StanzaError) {
        datatype = element["datatype"] ?? "xs:string"
        var methods: [Method] = []
        for child in element.children {
            // COMPAT XEP-0122 §4.2: its example with prefixes leaves the children in the namespace of the form.
            guard child.namespace == .dataValidate || child.namespace == .dataForms else { continue }
            switch child.name {
            case "basic": methods.append(.basic)
            case "open": methods.append(.open)
            case "range": methods.append(.range(min: child["min"], max: child["max"]))
            case "regex": methods.append(.regex(child.text))
            case "list-range":
                listRange = ListRange(min: try Self.bound(child["min"]), max: try Self.bound(child["max"]))
            default: break
            }
        }
        guard methods.count <= 1 else { throw .badRequest("A field has one validation method.") }
        method = methods.first ?? .basic
    }

    private static func bound(_ text: String?) throws(StanzaError) -> Int? {
        guard let text else { return nil }
        guard let number = UInt32(text) else { throw .badRequest("A selection range is a positive integer.") }
        return Int(number)
    }

    public var element: Element {
        Element("validate", .dataValidate, ["datatype": datatype]) {
            switch method {
            case .basic: Element("basic")
            case .open: Element("open")
            case .range(let min, let max): Element("range", nil, ["min": min, "max": max])
            case .regex(let pattern): Element("regex", text: pattern)
            }
            if let listRange {
                Element(
                    "list-range", nil,
                    ["min": listRange.min.map(String.init), "max": listRange.max.map(String.init)])
            }
        }
    }

    /// What is wrong with a value, as the end of a sentence; nil when it is right.
    func problem(with value: String) -> String? {
        let number = Quantity(value, datatype)
        if number == nil, Quantity.isKnown(datatype) { return "is no \(datatype)" }
        switch method {
        case .basic, .open: return nil
        case .range(let min, let max):
            guard let number else { return nil }  // XEP-0122 §4.6: ranges need a datatype with an order.
            if let min = min.flatMap({ Quantity($0, datatype) }), number < min { return "is too small" }
            if let max = max.flatMap({ Quantity($0, datatype) }), max < number { return "is too large" }
            return nil
        case .regex(let pattern): return Self.matches(value, pattern) ? nil : "has not the form that is asked for"
        }
    }

    /// Patterns come from our own forms, values from anywhere: long ones never match. A pattern that does not compile
    /// matches nothing.
    private static func matches(_ value: String, _ pattern: String) -> Bool {
        guard value.utf8.count <= 4096, !value.utf8.contains(0) else { return false }
        var expression = regex_t()
        guard regcomp(&expression, "^(\(pattern))$", REG_EXTENDED | REG_NOSUB) == 0 else { return false }
        defer { regfree(&expression) }
        return regexec(&expression, value, 0, nil, 0) == 0
    }
}

/// A value of a datatype that has an order.
private enum Quantity: Comparable {
    case integer(Int64)
    case decimal(Double)
    case instant(Int64)

    /// Bounds of the integer types of XML Schema part 2; nil for the unbounded one.
    private static func bounds(_ datatype: String) -> ClosedRange<Int64>? {
        switch datatype {
        case "xs:integer", "xs:long": Int64.min...Int64.max
        case "xs:int": Int64(Int32.min)...Int64(Int32.max)
        case "xs:short": Int64(Int16.min)...Int64(Int16.max)
        case "xs:byte": Int64(Int8.min)...Int64(Int8.max)
        case "xs:nonNegativeInteger", "xs:unsignedLong": 0...Int64.max
        case "xs:positiveInteger": 1...Int64.max
        case "xs:unsignedInt": 0...Int64(UInt32.max)
        case "xs:unsignedShort": 0...Int64(UInt16.max)
        case "xs:unsignedByte": 0...Int64(UInt8.max)
        default: nil
        }
    }

    static func isKnown(_ datatype: String) -> Bool {
        switch datatype {
        case "xs:decimal", "xs:double", "xs:float", "xs:boolean", "xs:date", "xs:dateTime", "xs:time": true
        default: bounds(datatype) != nil
        }
    }

    /// Integers beyond 64 bits are not supported.
    init?(_ text: String, _ datatype: String) {
        let text = text.trimmedXMLSpace
        switch datatype {
        case "xs:boolean":
            guard let value = Bool(formValue: text) else { return nil }
            self = .integer(value ? 1 : 0)
        case "xs:decimal", "xs:double", "xs:float":
            guard let value = Double(text), value.isFinite else { return nil }
            self = .decimal(value)
        case "xs:date":
            guard let value = CivilDate(text) else { return nil }
            self = .instant(value.daysSinceEpoch)
        case "xs:dateTime":
            guard let value = Timestamp(text) else { return nil }
            self = .instant(value.microseconds)
        case "xs:time":
            guard let value = TimeOfDay(text) else { return nil }
            self = .instant(value.microseconds)
        default:
            guard let bounds = Self.bounds(datatype), let value = Int64(text), bounds.contains(value) else {
                return nil
            }
            self = .integer(value)
        }
    }
}

extension Bool {
    /// XEP-0004 §3.3, note on booleans: `1`, `true`, `0` or `false`.
    init?(formValue text: String) {
        switch text {
        case "1", "true": self = true
        case "0", "false": self = false
        default: return nil
        }
    }
}
