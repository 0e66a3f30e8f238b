/// How one kind of option is written: what it is called, what is allowed, and the conversion in both directions.
struct OptionKind<Value> {
    /// What the value is, as the manual says it: `duration`, `size`.
    let type: String
    /// What a single value is, for messages: `a duration such as 30 days or 1h 30m`.
    let noun: String
    /// The bounds or the choices, for messages and the manual; nil when anything goes.
    let allowed: String?
    /// The value as it would be written in YAML; nil when it is not written at all.
    let write: (Value) -> String?
    /// What became of a text.
    let parse: (String) -> Parsed<Value>

    init(
        _ type: String, _ noun: String, allowed: String? = nil, write: @escaping (Value) -> String?,
        parse: @escaping (String) -> Parsed<Value>
    ) {
        self.type = type
        self.noun = noun
        self.allowed = allowed
        self.write = write
        self.parse = parse
    }

    /// The value that was written in `node`, or why it is none.
    func read(_ node: ConfigNode) throws(ConfigProblem) -> Value {
        let ending = allowed.map { "; allowed: \($0)." } ?? "."
        guard let text = node.text else {
            throw node.problem("expected \(noun), found \(node.outline)\(ending)")
        }
        switch parse(text) {
        case .value(let value): return value
        case .unreadable(let suggestion):
            throw node.problem("\(text.quotedForMessage) is not \(noun)\(ending)", suggestion: suggestion)
        case .outOfRange:
            throw node.problem("\(text.escapedForMessage) is out of range\(ending)")
        }
    }

    /// The same kind, or one of `words` for no value.
    func optional(_ words: [String]) -> OptionKind<Value?> {
        OptionKind<Value?>(
            type, noun, allowed: ([allowed ?? "a \(type)"] + words).joinedWithOr,
            write: { value in value.map(write) ?? words.first },
            parse: { text in words.contains(text.lowercased()) ? .value(nil) : parse(text).optional })
    }

    /// The same kind where nothing is written for no value.
    var orNothing: OptionKind<Value?> {
        OptionKind<Value?>(
            type, noun, allowed: allowed, write: { $0.flatMap(write) }, parse: { parse($0).optional })
    }
}

/// What became of a text.
enum Parsed<Value> {
    case value(Value)
    case unreadable(suggestion: String? = nil)
    case outOfRange

    fileprivate var optional: Parsed<Value?> {
        switch self {
        case .value(let value): .value(value)
        case .unreadable(let suggestion): .unreadable(suggestion: suggestion)
        case .outOfRange: .outOfRange
        }
    }
}

extension OptionKind where Value == Bool {
    static var bool: OptionKind {
        OptionKind("switch", "a switch", allowed: "on or off", write: { $0 ? "on" : "off" }) { text in
            Switch(text).map { .value($0.isOn) } ?? .unreadable()
        }
    }
}

extension OptionKind where Value == Int {
    static func int(_ range: ClosedRange<Int>) -> OptionKind {
        let allowed = bounds(range) { String($0) }
        return OptionKind("number", "a whole number", allowed: allowed, write: { String($0) }) { text in
            guard let number = Int(text) else { return .unreadable() }
            return range.contains(number) ? .value(number) : .outOfRange
        }
    }

    static func size(_ range: ClosedRange<Int>) -> OptionKind {
        let allowed = bounds(range, write: ByteSizeText.write)
        return OptionKind(
            "size", "a size such as 100 MB or 512 KiB", allowed: allowed, write: ByteSizeText.write
        ) { text in
            guard let bytes = ByteSizeText.parse(text) else { return .unreadable() }
            return range.contains(bytes) ? .value(bytes) : .outOfRange
        }
    }

    static func percent(_ range: ClosedRange<Int>) -> OptionKind {
        let allowed = bounds(range) { "\($0) %" }
        return OptionKind("percentage", "a percentage such as 80 %", allowed: allowed, write: { "\($0) %" }) { text in
            var rest = Substring(text)
            guard let (number, unit) = numberAndUnit(&rest), unit.isEmpty, rest.isEmpty || rest == "%" else {
                return .unreadable()
            }
            return range.contains(number) ? .value(number) : .outOfRange
        }
    }

    private static func bounds(_ range: ClosedRange<Int>, write: (Int) -> String) -> String? {
        switch (range.lowerBound, range.upperBound) {
        case (.min, .max): nil
        case (let lower, .max): "at least \(write(lower))"
        case (.min, let upper): "at most \(write(upper))"
        case (let lower, let upper): "\(write(lower)) to \(write(upper))"
        }
    }
}

extension OptionKind where Value == Duration {
    static func duration(_ range: ClosedRange<Duration>?) -> OptionKind {
        let allowed = range.map { "\(DurationText.write($0.lowerBound)) to \(DurationText.write($0.upperBound))" }
        return OptionKind(
            "duration", "a duration such as 30 days or 1h 30m", allowed: allowed, write: DurationText.write
        ) { text in
            guard let duration = DurationText.parse(text) else { return .unreadable() }
            return range?.contains(duration) ?? true ? .value(duration) : .outOfRange
        }
    }
}

extension OptionKind where Value == Rate {
    static func rate(bytes: Bool) -> OptionKind {
        let noun = bytes ? "a rate such as 64 KiB per second" : "a rate such as 30 per minute or 10/s"
        return OptionKind("rate", noun, write: { bytes ? $0.byteDescription : $0.description }) { text in
            Rate(text).map { .value($0) } ?? .unreadable()
        }
    }
}

extension OptionKind where Value == String {
    static func string(_ type: String, _ noun: String) -> OptionKind {
        OptionKind(type, noun, write: \.yamlScalar) { .value($0) }
    }

    static func choice(_ words: [String]) -> OptionKind {
        OptionKind("choice", "one of the choices", allowed: words.joinedWithOr, write: \.yamlScalar) { text in
            words.contains(text) ? .value(text) : .unreadable(suggestion: Suggestion.nearest(to: text, in: words))
        }
    }
}

extension OptionKind where Value: CaseIterable & RawRepresentable, Value.RawValue == String {
    static func choice() -> OptionKind {
        let words = Value.allCases.map(\.rawValue)
        return OptionKind(
            "choice", "one of the choices", allowed: words.joinedWithOr, write: \.rawValue.yamlScalar
        ) { text in
            Value(rawValue: text).map { .value($0) }
                ?? .unreadable(suggestion: Suggestion.nearest(to: text, in: words))
        }
    }
}

extension OptionKind where Value: CustomStringConvertible {
    static func parsed(_ noun: String, _ parse: @escaping (String) -> Value?) -> OptionKind {
        OptionKind(noun.withoutArticle, noun, write: \.description.yamlScalar) { text in
            parse(text).map { .value($0) } ?? .unreadable()
        }
    }
}

/// The words for on and off. YAML 1.1 knows all of them, YAML 1.2 two; administrators use whichever they met last.
struct Switch {
    let isOn: Bool

    init?(_ text: String) {
        switch text.lowercased() {
        case "on", "true", "yes": isOn = true
        case "off", "false", "no": isOn = false
        default: return nil
        }
    }
}

extension String {
    /// The noun without its article and example: `an address such as anna@example.org` becomes `address`.
    fileprivate var withoutArticle: String {
        var words = split(separator: " ")
        if let first = words.first, first == "a" || first == "an" { words.removeFirst() }
        let end = words.firstIndex(of: "such") ?? words.endIndex
        return words[..<end].joined(separator: " ")
    }
}
