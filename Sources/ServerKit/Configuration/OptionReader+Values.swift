/// The kinds of option. Each call takes the key, the default, the bounds if there are any, and the sentence for the
/// administrator; it returns the default when the option was not written or is wrong.
extension OptionReader {
    /// `on` or `off`; also `true`, `false`, `yes` and `no`.
    public mutating func bool(_ key: String, default value: Bool, _ sentence: String) -> Bool {
        read(key, .bool, default: value, sentence)
    }

    /// A whole number.
    public mutating func int(
        _ key: String, default value: Int, in range: ClosedRange<Int> = .min ... .max, _ sentence: String
    ) -> Int {
        read(key, .int(range), default: value, sentence)
    }

    /// A whole number, or `unlimited`, which is nil.
    public mutating func optionalInt(
        _ key: String, default value: Int?, in range: ClosedRange<Int> = .min ... .max, _ sentence: String
    ) -> Int? {
        read(key, OptionKind.int(range).optional(["unlimited"]), default: value, sentence)
    }

    /// A text.
    public mutating func string(_ key: String, default value: String, _ sentence: String) -> String {
        read(key, .string("text", "a text"), default: value, sentence)
    }

    /// A text, nil when it was not written.
    public mutating func optionalString(_ key: String, _ sentence: String) -> String? {
        read(key, OptionKind.string("text", "a text").orNothing, default: nil, sentence)
    }

    /// Anything that can be made from a text and must be written; nil, and a problem, when it was not. `example` is
    /// what the sample file shows.
    public mutating func required<Value: CustomStringConvertible>(
        _ key: String, example: Value, as noun: String, _ sentence: String, _ parse: @escaping (String) -> Value?
    ) -> Value? {
        let value = read(key, OptionKind.parsed(noun, parse).orNothing, default: isDescribing ? example : nil, sentence)
        if !isGiven(key), isGroup { report(key, "it is missing; expected \(noun).") }
        return value
    }

    /// A list of texts, or one.
    public mutating func strings(_ key: String, default values: [String] = [], _ sentence: String) -> [String] {
        readList(key, .string("text", "a text"), default: values, sentence)
    }

    /// A file or directory.
    public mutating func path(_ key: String, default value: String, _ sentence: String) -> String {
        read(key, .string("path", "a path"), default: value, sentence)
    }

    /// A file or directory, nil when it was not written.
    public mutating func optionalPath(_ key: String, _ sentence: String) -> String? {
        read(key, OptionKind.string("path", "a path").orNothing, default: nil, sentence)
    }

    /// A size in bytes: `100 MB`, `3 GB`, `512 KiB`, `4096`.
    public mutating func size(
        _ key: String, default value: Int, in range: ClosedRange<Int> = 0 ... .max, _ sentence: String
    ) -> Int {
        read(key, .size(range), default: value, sentence)
    }

    /// A size in bytes, or `unlimited`, which is nil.
    public mutating func optionalSize(
        _ key: String, default value: Int?, in range: ClosedRange<Int> = 0 ... .max, _ sentence: String
    ) -> Int? {
        read(key, OptionKind.size(range).optional(["unlimited"]), default: value, sentence)
    }

    /// A duration: `30 days`, `1h 30m`, `90 s`, `2 weeks`. Numbers without a unit are refused.
    public mutating func duration(
        _ key: String, default value: Duration, in range: ClosedRange<Duration>? = nil, _ sentence: String
    ) -> Duration {
        read(key, .duration(range), default: value, sentence)
    }

    /// A duration, or `never` or `unlimited`, which are nil.
    public mutating func optionalDuration(
        _ key: String, default value: Duration?, in range: ClosedRange<Duration>? = nil, _ sentence: String
    ) -> Duration? {
        read(key, OptionKind.duration(range).optional(["never", "unlimited"]), default: value, sentence)
    }

    /// Whole percent: `80 %` or `80`.
    public mutating func percent(
        _ key: String, default value: Int, in range: ClosedRange<Int> = 0...100, _ sentence: String
    ) -> Int {
        read(key, .percent(range), default: value, sentence)
    }

    /// So many in so much time: `30 per minute`, `10/s`.
    public mutating func rate(_ key: String, default value: Rate, _ sentence: String) -> Rate {
        read(key, .rate(bytes: false), default: value, sentence)
    }

    /// So many in so much time, or `unlimited`, which is nil.
    public mutating func optionalRate(_ key: String, default value: Rate?, _ sentence: String) -> Rate? {
        read(key, OptionKind.rate(bytes: false).optional(["unlimited"]), default: value, sentence)
    }

    /// Bytes in so much time: `64 KiB per second`.
    public mutating func byteRate(_ key: String, default value: Rate, _ sentence: String) -> Rate {
        read(key, .rate(bytes: true), default: value, sentence)
    }

    /// Bytes in so much time, or `unlimited`, which is nil.
    public mutating func optionalByteRate(_ key: String, default value: Rate?, _ sentence: String) -> Rate? {
        read(key, OptionKind.rate(bytes: true).optional(["unlimited"]), default: value, sentence)
    }

    /// One of an enumeration's cases, written as its raw value.
    public mutating func choice<Choice: CaseIterable & RawRepresentable>(
        _ key: String, default value: Choice, _ sentence: String
    ) -> Choice where Choice.RawValue == String {
        read(key, .choice(), default: value, sentence)
    }

    /// One of some words.
    public mutating func choice(
        _ key: String, default value: String, of words: [String], _ sentence: String
    ) -> String {
        read(key, .choice(words), default: value, sentence)
    }

    /// Anything that can be made from a text. `noun` completes the message "… is not": `an address such as
    /// anna@example.org`.
    public mutating func parsed<Value: CustomStringConvertible>(
        _ key: String, default value: Value, as noun: String, _ sentence: String,
        _ parse: @escaping (String) -> Value?
    ) -> Value {
        read(key, .parsed(noun, parse), default: value, sentence)
    }

    /// Anything that can be made from a text, nil when it was not written.
    public mutating func optionalParsed<Value: CustomStringConvertible>(
        _ key: String, as noun: String, _ sentence: String, _ parse: @escaping (String) -> Value?
    ) -> Value? {
        read(key, OptionKind.parsed(noun, parse).orNothing, default: nil, sentence)
    }

    /// A list of values that can be made from texts, or one.
    public mutating func parsedList<Value: CustomStringConvertible>(
        _ key: String, default values: [Value] = [], as noun: String, _ sentence: String,
        _ parse: @escaping (String) -> Value?
    ) -> [Value] {
        readList(key, .parsed(noun, parse), default: values, sentence)
    }

    /// Where a service listens: a port, an address with a port, a list of them, or `off` for nowhere.
    public mutating func listen(
        _ key: String, default values: [ListenAddress], _ sentence: String
    ) -> [ListenAddress] {
        let noun = "a port or an address with a port, such as 5222, \"127.0.0.1:5280\" or \"[::1]:5222\""
        let kind = OptionKind<ListenAddress>(
            "listen address", noun, allowed: "a list of them, or off", write: { $0.description.yamlScalar }
        ) { text in ListenAddress(text).map { .value($0) } ?? .unreadable() }
        if isDescribing {
            let texts = values.map { $0.description.yamlScalar }
            let text = texts.count == 1 ? texts[0] : texts.isEmpty ? "off" : "[\(texts.joined(separator: ", "))]"
            describe(key, "listen address", default: text, allowed: kind.allowed, sentence)
            return values
        }
        if let text = node(key)?.text, Switch(text)?.isOn == false { return [] }
        return readList(key, kind, default: values, sentence)
    }
}
